"""Models and adapters by name: `ORG/NAME[@REVISION]` wherever a folder is taken, `ORG/NAME[/FILE.safetensors][@REVISION]` for a LoRA.

A model may also be `ORG/NAME/FILE.gguf[@REVISION]`, the transformer alone: the other parts come from the published model it was made of
(hub_transformer.py).

    name -> list of files -> headers alone, checked -> what the layout needs, fetched and compared with its hashes -> a folder

An existing path goes before a name, and `./x` is never one. Before the first gigabyte the headers of all weights are read by requests of
ranges and put into a folder of outlines: files of the right size that hold their header and zeros, which take no room on the disk. So
what can't be run, lacks a part or doesn't fit together is refused first, and `v2v doctor` examines a model that was never fetched.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from v2v.checkpoints import gguf_file, hub_client, hub_files, hub_outline, hub_transformer, known_models
from v2v.checkpoints.hub_client import HubName, Listing, Repository, find_hub_name, find_snapshot
from v2v.checkpoints.model_folder import read_model_folder
from v2v.errors import InputError

# The LoRA file that a repository means where it has several, as diffusers and `adapter_release.py` name it.
MAIN_ADAPTER = "pytorch_lora_weights.safetensors"
# What names stand for in this process: a model doesn't change while a process uses it.
_folders: dict[HubName, Path] = {}
_adapters: dict[HubName, Path] = {}


def resolve_model(model: str | Path, *, progress: bool | None = None) -> Path:
    """Return the folder of a model; one that is named by its repository is fetched, as far as the cache lacks it.

    Args:
      model: a path, ORG/NAME[@REVISION], or ORG/NAME/FILE.gguf[@REVISION].
      progress: show a bar on stderr; None to show one where stderr is a terminal.

    Returns:
      the folder; for a path that doesn't exist the path.

    Raises:
      InputError: no such repository, no access to it, a model that can't be run, no connection, or too little room.
    """
    name = find_hub_name(model)
    if name is None:
        return find_snapshot(Path(model))
    if name not in _folders:
        _folders[name] = _fetch_model(name, progress)
    return _folders[name]


def resolve_adapter(adapter: str | Path, *, progress: bool | None = None) -> Path:
    """Return the path of a LoRA file; one that is named by its repository is fetched.

    Args:
      adapter: a path, ORG/NAME/FILE.safetensors, or ORG/NAME of a repository with one LoRA; both with @REVISION.
      progress: as in `resolve_model`.

    Raises:
      InputError: as `resolve_model`, or a repository with none or several LoRA files, which are listed.
    """
    name = find_hub_name(adapter)
    if name is None:
        return Path(adapter)
    if name not in _adapters:
        _adapters[name] = _fetch_adapter(name, progress)
    return _adapters[name]


def forget() -> None:
    """Ask the hub again for names that this process has asked for already."""
    _folders.clear()
    _adapters.clear()


def _fetch_model(name: HubName, progress: bool | None) -> Path:
    if name.file.endswith(gguf_file.SUFFIX):
        return hub_transformer.fetch(name, progress)
    listing = _list_model(name)
    if listing.repository is None:
        assert listing.snapshot is not None
        return listing.snapshot
    files = hub_outline.model_files(listing.repository)
    if hub_client.missing_files(listing.repository, files):
        _check_outline(listing.repository)
    return hub_client.download(listing.repository, files, progress)


def _check_outline(repository: Repository) -> None:
    """Raise InputError if a published model can't be run, from its configurations and headers; folders of ours are not checked."""
    paths = hub_outline.list_paths(repository)
    if "base.safetensors" in paths or hub_files.is_converted(paths):
        return
    with hub_outline.outline(repository, with_tokenizer=False) as folder:
        read_model_folder(folder).require()


def _list_model(name: HubName) -> Listing:
    """Return what is known of a model's repository; raise InputError for the name of a file or of a model that isn't supported."""
    if name.file:
        raise InputError(
            f"{name}: is one file; expected a model, ORG/NAME or ORG/NAME/FILE.gguf, or pass the file with --lora"
        )
    known_models.check_supported(name.repository)
    return hub_client.read_listing(name)


def _fetch_adapter(name: HubName, progress: bool | None) -> Path:
    listing = hub_client.read_listing(name)
    if listing.repository is None:
        assert listing.snapshot is not None
        folder = listing.snapshot
        paths = [p.relative_to(folder).as_posix() for p in sorted(folder.rglob("*")) if p.is_file()]
        return folder / _choose_adapter(name, paths)
    paths = hub_outline.list_paths(listing.repository)
    adapter_file = _choose_adapter(name, paths)
    names = set(hub_files.adapter_files(adapter_file, paths))
    files = [file for file in listing.repository.files if file.path in names]
    return hub_client.download(listing.repository, files, progress) / adapter_file


def _choose_adapter(name: HubName, paths: list[str]) -> str:
    """Return the LoRA file that a name means among the files of its repository."""
    adapters = hub_files.find_adapters(paths)
    if name.file in adapters:
        return name.file
    examples = ", ".join(f"{name.repository}/{path}" for path in adapters[:8]) or "none"
    if name.file:
        raise InputError(f"{name}: has no such file; its LoRA files are {examples}")
    if hub_files.is_model(paths):
        raise InputError(f"{name}: is a whole model, expected a LoRA; pass it with --model")
    if MAIN_ADAPTER in adapters:  # others beside it are the same for other tools
        return MAIN_ADAPTER
    if len(adapters) != 1:
        raise InputError(f"{name}: expected one LoRA file, got {len(adapters)} ({examples}); name the file")
    return adapters[0]


@dataclass(frozen=True)
class Examination:
    """A model to be examined.

    Attributes:
      folder: its files, whole or outlined.
      name: as it was asked for; None for a folder of the user's.
      repository: what the hub says; None without a connection and for folders.
      is_outline: whether weights are missing in `folder`.
    """

    folder: Path
    name: HubName | None = None
    repository: Repository | None = None
    is_outline: bool = False


@contextmanager
def open_for_examination(model: str | Path) -> Iterator[Examination]:
    """Open a model of which names, shapes and sizes are wanted; of one that isn't in the cache an outline is made.

    Args:
      model: as in `resolve_model`.

    Raises:
      InputError: as `resolve_model`.
    """
    name = find_hub_name(model)
    if name is None:
        yield Examination(find_snapshot(Path(model)))
        return
    if name.file.endswith(gguf_file.SUFFIX):
        with hub_transformer.examine(name) as (folder, is_outline):
            yield Examination(folder, name, None, is_outline)
        return
    listing = _list_model(name)
    if listing.repository is None:
        assert listing.snapshot is not None
        yield Examination(listing.snapshot, name)
        return
    repository = listing.repository
    if not hub_client.missing_files(repository, hub_outline.model_files(repository)):
        snapshot = hub_client.repository_folder(name.repository) / "snapshots" / repository.commit
        yield Examination(snapshot, name, repository)
        return
    if hub_files.is_converted(hub_outline.list_paths(repository)):
        raise InputError(
            f"{name}: is a folder of v2v convert, which can't be examined from afar; fetch it with v2v models --fetch {name}"
        )
    with hub_outline.outline(repository) as folder:
        yield Examination(folder, name, repository, True)
