"""What the cache of the Hugging Face Hub holds, and how a model is removed from it. The cache is shared with other programs."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from v2v.checkpoints import hub_client
from v2v.errors import InputError


@dataclass(frozen=True)
class CachedModel:
    """A repository of models in the cache.

    Attributes:
      name: ORG/NAME.
      bytes: on the disk, unfinished downloads included.
      files: number of complete files.
      unfinished: number of downloads that were interrupted.
      revisions: branches and tags, or commits where none is recorded.
    """

    name: str
    bytes: int
    files: int
    unfinished: int
    revisions: tuple[str, ...]


def list_cached() -> list[CachedModel]:
    """Return the models in the cache, by name."""
    folders = sorted(path for path in hub_client.cache_folder().glob("models--*--*") if path.is_dir())
    return [_describe(folder) for folder in folders]


def delete_cached(name: str) -> CachedModel:
    """Remove a repository with all its revisions from the cache.

    Args:
      name: ORG/NAME.

    Returns:
      what was removed.

    Raises:
      InputError: the cache doesn't hold it, or it can't be removed.
    """
    parsed = hub_client.parse_hub_name(name)
    folder = hub_client.repository_folder(parsed.repository) if parsed else None
    if parsed is None or parsed.file or parsed.revision or folder is None or not folder.is_dir():
        raise InputError(
            f"models --delete {name}: expected ORG/NAME of a model in {hub_client.cache_folder()}; v2v models --cached lists them"
        )
    model = _describe(folder)
    try:
        shutil.rmtree(folder)
        shutil.rmtree(hub_client.cache_folder() / ".locks" / folder.name, ignore_errors=True)
    except OSError as error:
        raise InputError(f"models --delete {name}: {folder} can't be removed ({error})") from error
    return model


def _describe(folder: Path) -> CachedModel:
    _, organization, *name = folder.name.split("--")
    blobs = [path for path in (folder / "blobs").glob("*") if path.is_file()]
    unfinished = [path for path in blobs if path.suffix == ".incomplete"]
    references = sorted(path for path in (folder / "refs").rglob("*") if path.is_file())
    revisions = [path.relative_to(folder / "refs").as_posix() for path in references]
    commits = sorted(path.name for path in (folder / "snapshots").glob("*"))
    return CachedModel(
        f"{organization}/{'--'.join(name)}",
        sum(path.stat().st_size for path in blobs),
        len(blobs) - len(unfinished),
        len(unfinished),
        tuple(revisions or commits),
    )
