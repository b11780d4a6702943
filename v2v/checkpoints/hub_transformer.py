"""A transformer in a GGUF file of the Hugging Face Hub, by name: `ORG/NAME/FILE.gguf[@REVISION]`.

Repositories of such files hold one transformer in many precisions, and often nothing else. Autoencoder, text encoder and tokenizer are those
of the published model of the same type (known_models.py), of which all but the transformer is fetched. The parts meet in a folder of links
in v2v's cache; the files themselves stay in the hub's.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from v2v.checkpoints import gguf_file, hub_client, hub_files, hub_outline, known_models, wan_config
from v2v.checkpoints.hub_client import HubFile, HubName, Listing, Repository
from v2v.checkpoints.part_files import SUBFOLDERS, noise_level
from v2v.checkpoints.tensor_files import TensorFiles
from v2v.errors import InputError, note
from v2v.runtime.environment import cache_folder

TRANSFORMER_FOLDER = SUBFOLDERS["dit"]


@dataclass(frozen=True)
class _Source:
    """Some files of a repository.

    Attributes:
      listing: what is known of it.
      paths: of the files.
    """

    listing: Listing
    paths: tuple[str, ...]

    @property
    def missing(self) -> list[HubFile]:
        """Return the files that are not in the cache; nothing without a connection."""
        repository = self.listing.repository
        return [] if repository is None else hub_client.missing_files(repository, self._files(repository))

    def fetch(self, progress: bool | None) -> dict[str, Path]:
        """Return the files in the cache by their paths in the repository, fetched as far as they are missing."""
        folder, repository = self.listing.snapshot, self.listing.repository
        if repository is not None:
            folder = hub_client.download(repository, self._files(repository), progress)
        assert folder is not None
        return {path: folder / path for path in self.paths if (folder / path).is_file()}

    @contextmanager
    def outline(self) -> Iterator[dict[str, Path]]:
        """Yield the files by their paths in the repository, outlined as far as weights are missing in the cache."""
        repository = self.listing.repository
        if repository is None or not self.missing:
            yield self.fetch(False)
            return
        with hub_outline.outline(repository, files=self._files(repository)) as folder:
            yield {path: folder / path for path in self.paths}

    def _files(self, repository: Repository) -> list[HubFile]:
        return [file for file in repository.files if file.path in self.paths]


def fetch(name: HubName, progress: bool | None = None) -> Path:
    """Return the folder of a model whose transformer is a GGUF file of the hub.

    Args:
      name: of the file.
      progress: show a bar on stderr; None to show one where stderr is a terminal.

    Raises:
      InputError: no such file, a transformer that can't be run, or what fetching raises.
    """
    transformer = _find_transformer(name)
    with transformer.outline() as files:
        published = _find_published(name, files[name.file])
    others = _find_others(published)
    note(f"{name}: its other parts are those of {published}")
    linked = _arrange(name, transformer.fetch(progress), others.fetch(progress))
    root = cache_folder("combined") / f"{name.repository.replace('/', '--')}@{name.revision or 'main'}"
    folder = root / Path(name.file).stem
    root.mkdir(parents=True, exist_ok=True)
    # Made aside and moved, so that another process never sees a half.
    with tempfile.TemporaryDirectory(dir=root, prefix=".new-") as temporary:
        new = Path(temporary) / "model"
        _link(new, linked)
        if folder.is_dir():
            os.replace(folder, Path(temporary) / "old")
        os.replace(new, folder)
    return folder


@contextmanager
def examine(name: HubName) -> Iterator[tuple[Path, bool]]:
    """Yield such a model's folder, and whether weights are missing in it: nothing is fetched but headers.

    Args:
      name: of the file.

    Raises:
      InputError: as `fetch`.
    """
    transformer = _find_transformer(name)
    with transformer.outline() as files:
        others = _find_others(_find_published(name, files[name.file]))
        with others.outline() as other_files, tempfile.TemporaryDirectory(prefix="v2v-outline-") as temporary:
            folder = Path(temporary) / Path(name.file).stem
            _link(folder, _arrange(name, files, other_files))
            yield folder, bool(transformer.missing or others.missing)


def _find_transformer(name: HubName) -> _Source:
    """Return the file of a name in its repository; raise InputError where it isn't there, or is one of two."""
    known_models.check_supported(name.repository)
    listing = hub_client.read_listing(name)
    paths = _list(listing)
    if name.file not in paths:
        present = [path for path in paths if path.endswith(gguf_file.SUFFIX)]
        examples = ", ".join(f"{name.repository}/{path}" for path in present[:8]) or "none"
        raise InputError(f"{name}: has no such file; its GGUF files are {examples}")
    if noise_level(name.file):
        raise InputError(
            f"{name}: is one of two transformers; fetch both and the other parts into a folder, and name that"
        )
    return _Source(listing, (name.file,))


def _find_published(name: HubName, file: Path) -> str:
    """Return the published model of the type of a transformer; raise InputError where it is of no known type."""
    files = TensorFiles.open(file)
    try:
        # Of any number of heads, which the file doesn't tell: the published model does.
        dit = wan_config.build_dit_config(file, files, None, {"num_heads": 1})
    except InputError as error:
        raise InputError(str(error).replace(str(file), str(name))) from error
    for published, build in known_models.CONFIGURATIONS.items():
        other = build().dit
        if (dit.layers, dit.width, dit.in_channels) == (other.layers, other.width, other.in_channels):
            return published
    raise InputError(
        f"{name}: has {dit.layers} layers of width {dit.width} and {dit.in_channels} input channels, as no known model; "
        "fetch it and its other parts into a folder, and name that"
    )


def _find_others(published: str) -> _Source:
    """Return the files of a published model without its transformer's weights."""
    listing = hub_client.read_listing(HubName(published))
    selected = hub_files.select_files(_list(listing))
    config = f"{TRANSFORMER_FOLDER}/config.json"
    return _Source(
        listing,
        tuple(path for path in selected if path == config or not path.startswith(f"{TRANSFORMER_FOLDER}/")),
    )


def _list(listing: Listing) -> list[str]:
    if listing.repository is not None:
        return hub_outline.list_paths(listing.repository)
    folder = listing.snapshot
    assert folder is not None
    return [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]


def _arrange(name: HubName, transformer: Mapping[str, Path], others: Mapping[str, Path]) -> dict[str, Path]:
    """Return the files of the whole model by their places in its folder."""
    place = f"{TRANSFORMER_FOLDER}/{Path(name.file).name}"
    return {**others, place: transformer[name.file]}


def _link(folder: Path, files: Mapping[str, Path]) -> None:
    for place, file in files.items():
        link = folder / place
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file.absolute())
