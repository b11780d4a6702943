"""Caches of what is read from files that may change while a process runs: each entry is kept together with its file's stamp."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from data_synth.places import is_address

Content = TypeVar("Content")

# Inode, size and times of the last changes; None where there is no file.
FileStamp = tuple[int, int, int, int] | None


def file_stamp(path: str | Path) -> FileStamp:
    """Return a value that changes with the file, or with the list of files directly in the folder; None where there is nothing."""
    if is_address(path):
        return _address_stamp(str(path))
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # ValueError: of a name that can't be one
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _address_stamp(address: str) -> FileStamp:
    from etils import epath

    try:
        status = epath.Path(address).stat()
    except (OSError, KeyError, ValueError):
        return None
    # A folder of a bucket has neither length nor time.
    return 0, int(status.length or 0), int((status.mtime or 0) * 1e9), 0


class FileReader(Generic[Content]):
    """A function of a file's path that reads a file once, and again after the file has changed.

    Args:
      function: Reads a file.
      size: Number of files whose content is held.
    """

    def __init__(self, function: Callable[[str], Content], size: int):
        functools.update_wrapper(self, function)

        @functools.lru_cache(maxsize=size)
        def read(path: str, stamp: FileStamp) -> Content:
            return function(path)

        self._read = read

    def __call__(self, path: str) -> Content:
        """Return the content of the file as it is now."""
        return self._read(path, file_stamp(path))

    def __reduce__(self) -> str:
        """Pickle by name, as the function that is wrapped would be."""
        return self.__qualname__  # pyright: ignore[reportAttributeAccessIssue] set by update_wrapper

    def cache_clear(self) -> None:
        """Forget what was read."""
        self._read.cache_clear()


def cached_by_file(size: int = 64) -> Callable[[Callable[[str], Content]], FileReader[Content]]:
    """Return a decorator that makes a `FileReader` of a function, which holds the content of `size` files."""
    return functools.partial(FileReader, size=size)
