"""Models and adapters by name: `ORG/NAME[@REVISION]` wherever a folder is taken, `ORG/NAME[/FILE.safetensors][@REVISION]` for a LoRA.

    name -> list of files -> headers alone, checked -> what the layout needs, fetched and compared with its hashes -> a folder

An existing path goes before a name, and `./x` is never one. Before the first gigabyte the headers of all weights are read by requests of
ranges and put into a folder of outlines: files of the right size that hold their header and zeros, which take no room on the disk. So
what can't be run, lacks a part or doesn't fit together is refused first, and `v2v doctor` examines a model that was never fetched.
"""

import os
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from v2v.checkpoints import hub_client, hub_files, known_models, torch_file
from v2v.checkpoints.hub_client import HubFile, HubName, Listing, Repository, find_hub_name, find_snapshot
from v2v.checkpoints.model_folder import read_model_folder
from v2v.checkpoints.part_files import guess_part
from v2v.errors import InputError

# The LoRA file that a repository means where it has several, as diffusers and `adapter_release.py` name it.
MAIN_ADAPTER = "pytorch_lora_weights.safetensors"
# Bytes read at first of a file of weights; most headers are shorter.
HEADER_GUESS = 1 << 18
# Bytes read at either end of a file of torch.save.
ARCHIVE_END = 1 << 20
# What names stand for in this process: a model doesn't change while a process uses it.
_folders: dict[HubName, Path] = {}
_adapters: dict[HubName, Path] = {}


def resolve_model(model: str | Path, *, progress: bool | None = None) -> Path:
    """Return the folder of a model; one that is named by its repository is fetched, as far as the cache lacks it.

    Args:
      model: a path, or ORG/NAME[@REVISION].
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
    listing = _list_model(name)
    if listing.repository is None:
        assert listing.snapshot is not None
        return listing.snapshot
    files = model_files(listing.repository)
    if hub_client.missing_files(listing.repository, files):
        _check_outline(listing.repository)
    return hub_client.download(listing.repository, files, progress)


def _check_outline(repository: Repository) -> None:
    """Raise InputError if a published model can't be run, from its configurations and headers; folders of ours are not checked."""
    paths = _paths(repository)
    if "base.safetensors" in paths or hub_files.is_converted(paths):
        return
    with outline(repository, with_tokenizer=False) as folder:
        read_model_folder(folder).require()


def _list_model(name: HubName) -> Listing:
    """Return what is known of a model's repository; raise InputError for the name of a file or of a model that isn't supported."""
    if name.file:
        raise InputError(f"{name}: is one file; expected a model, ORG/NAME, or pass the file with --lora")
    known_models.check_supported(name.repository)
    return hub_client.read_listing(name)


def _fetch_adapter(name: HubName, progress: bool | None) -> Path:
    listing = hub_client.read_listing(name)
    if listing.repository is None:
        assert listing.snapshot is not None
        folder = listing.snapshot
        paths = [p.relative_to(folder).as_posix() for p in sorted(folder.rglob("*")) if p.is_file()]
        return folder / _choose_adapter(name, paths)
    paths = _paths(listing.repository)
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


def model_files(repository: Repository) -> list[HubFile]:
    """Return the files of a repository that its layout needs.

    Raises:
      InputError: it holds no model.
    """
    selected = set(hub_files.select_files(_paths(repository)))
    files = [file for file in repository.files if file.path in selected]
    has_weights = any(
        file.path.endswith(".safetensors")
        or (file.path.endswith(torch_file.SUFFIXES) and guess_part(file.path) == "dit")
        for file in files
    )
    if not has_weights and not hub_files.is_converted(selected):
        raise InputError(
            f"{repository.name}: expected a model (transformer/, vae/, text_encoder/, tokenizer/), found "
            f"{hub_files.describe_content(_paths(repository))}; v2v models lists what is known to work"
        )
    return files


@contextmanager
def outline(repository: Repository, with_tokenizer: bool = True) -> Iterator[Path]:
    """Make a folder of outlines of a repository's model: configurations whole, of weights the headers.

    Errors that name the folder name the repository instead.

    Args:
      repository: the repository.
      with_tokenizer: fetch tokenizer.json too, some megabytes; else it is empty.

    Yields:
      the folder, which is removed at the end of the block.

    Raises:
      InputError: no access, no connection, or a file that holds no tensors.
    """
    files = model_files(repository)
    with tempfile.TemporaryDirectory(prefix="v2v-outline-") as temporary:
        folder = Path(temporary) / repository.name.repository.rpartition("/")[2]
        for path in hub_files.select_unreadable(_paths(repository)):
            _place(folder, path, b"")
        for file in files:
            if file.path.endswith(".safetensors"):
                _place(folder, file.path, _read_header(repository, file), file.size)
            elif file.path.endswith(torch_file.SUFFIXES):
                _place_ends(folder, repository, file)
            elif file.path.endswith(".json") and (with_tokenizer or not file.path.endswith("tokenizer.json")):
                _place(folder, file.path, hub_client.read_range(repository, file.path, 0, file.size))
            else:
                _place(folder, file.path, b"")
        try:
            yield folder
        except InputError as error:
            raise InputError(str(error).replace(str(folder), str(repository.name))) from error


def _read_header(repository: Repository, file: HubFile) -> bytes:
    """Read the header of a safetensors file with the 8 bytes before it; what is no header is returned as it is."""
    data = hub_client.read_range(repository, file.path, 0, min(HEADER_GUESS, file.size))
    length = 8 + struct.unpack("<Q", data[:8])[0] if len(data) >= 8 else 0
    if len(data) < length <= file.size:
        data = hub_client.read_range(repository, file.path, 0, length)
    return data[:length] if 8 < length <= len(data) else data


def _place(folder: Path, path: str, data: bytes, size: int | None = None) -> None:
    """Write a file of `size` bytes that begins with `data`."""
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    if size is not None and size > len(data):
        os.truncate(target, size)


def _place_ends(folder: Path, repository: Repository, file: HubFile) -> None:
    """Write a file of torch.save without its values: its index of tensors is at the beginning, the archive's directory at the end."""
    head = min(ARCHIVE_END, file.size)
    _place(folder, file.path, hub_client.read_range(repository, file.path, 0, head), file.size)
    if head < file.size:
        start = max(head, file.size - ARCHIVE_END)
        with open(folder / file.path, "r+b") as f:
            f.seek(start)
            f.write(hub_client.read_range(repository, file.path, start, file.size - start))


def _paths(repository: Repository) -> list[str]:
    return [file.path for file in repository.files]


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
    listing = _list_model(name)
    if listing.repository is None:
        assert listing.snapshot is not None
        yield Examination(listing.snapshot, name)
        return
    repository = listing.repository
    if not hub_client.missing_files(repository, model_files(repository)):
        snapshot = hub_client.repository_folder(name.repository) / "snapshots" / repository.commit
        yield Examination(snapshot, name, repository)
        return
    if hub_files.is_converted(_paths(repository)):
        raise InputError(
            f"{name}: is a folder of v2v convert, which can't be examined from afar; fetch it with v2v models --fetch {name}"
        )
    with outline(repository) as folder:
        yield Examination(folder, name, repository, True)
