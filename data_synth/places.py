"""Places of files: folders of this machine and addresses of buckets (gs://, s3://, memory://), behind the methods of `pathlib.Path`.

text → **open_place** → listing, notes → **local_copy** → decoders, which seek in files of this machine
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import cast

from v2v.errors import InputError
from v2v.runtime.environment import cache_folder

# Bytes of copies that are kept; the oldest go first.
MAX_CACHE_BYTES = 20 << 30


def is_address(place: object) -> bool:
    """Return whether a place is an address, such as gs://bucket/folder, rather than a path of this machine."""
    return "://" in str(place)


def open_place(place: str | Path) -> Path:
    """Return a place with the methods of a path.

    Args:
      place: A path, or an address that `etils.epath` or fsspec knows.

    Raises:
      InputError: Nothing here opens addresses of this kind.
    """
    if not is_address(place):
        return Path(place)
    from etils import epath

    try:
        path = epath.Path(str(place))
        path.exists()
    except (ImportError, ValueError, KeyError) as error:
        raise InputError(
            f"{place}: expected an address that can be opened, got '{error}'; install what opens it (for gs://: pip install 'v2v-edit[gcs]')"
        ) from None
    return cast(Path, path)  # offers the same methods


def local_copy(place: str | Path) -> Path:
    """Return a file of this machine with the content of a place: itself, or a copy in the cache folder, which is fetched where it is missing.

    Raises:
      OSError: The file can't be read.
    """
    if not is_address(place):
        return Path(place)
    from etils import epath

    source = epath.Path(str(place))
    stamp = source.stat()
    key = hashlib.sha256(f"{place} {stamp.length} {stamp.mtime}".encode()).hexdigest()[:32]
    folder = cache_folder("footage")
    copy = folder / key[:2] / f"{key}{Path(str(place)).suffix}"
    if copy.is_file():
        os.utime(copy)
        return copy
    copy.parent.mkdir(parents=True, exist_ok=True)
    _make_room(folder, stamp.length)
    partial = copy.with_name(f"{copy.name}.{os.getpid()}")
    try:
        with source.open("rb") as remote, partial.open("wb") as file:
            shutil.copyfileobj(remote, file, 1 << 22)
        partial.replace(copy)
    finally:
        partial.unlink(missing_ok=True)
    return copy


def _make_room(folder: Path, size: int) -> None:
    """Remove the copies that were used longest ago until `size` bytes more fit."""
    copies = []
    for path in folder.glob("*/*"):
        try:
            status = path.stat()
        except OSError:  # another worker removed it
            continue
        copies.append((status.st_mtime, status.st_size, path))
    total = size + sum(bytes_of for _, bytes_of, _ in copies)
    for _, bytes_of, path in sorted(copies):
        if total <= MAX_CACHE_BYTES:
            return
        path.unlink(missing_ok=True)
        total -= bytes_of
