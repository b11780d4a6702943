"""Hidden names under which outputs are written, so that none is seen half, each held by one process at a time."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from v2v.errors import InputError


@contextmanager
def hold_partial(path: Path, *, is_folder: bool = False) -> Iterator[Path]:
    """Give the name under which an output begins, and remove what still has it at the end.

    What a process that was killed left under this name is overwritten.

    Args:
      path: the output.
      is_folder: whether it is a folder; the one that is given is empty.

    Raises:
      InputError: another process or thread is writing this output.
      OSError: it can't be created.
    """
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    descriptor = _lock(path, partial, is_folder)
    try:
        for child in partial.iterdir() if is_folder else ():
            child.unlink()
        yield partial
    finally:
        # Once it has its final name, this one may be another process's.
        if _has_name(descriptor, partial):
            if is_folder:
                shutil.rmtree(partial, ignore_errors=True)
            else:
                partial.unlink(missing_ok=True)
        with suppress(OSError):
            # Closing isn't enough where a child process has the descriptor too.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _lock(path: Path, partial: Path, is_folder: bool) -> int:
    """Return a descriptor of the file or folder of the hidden name, which is created and locked."""
    while True:
        if is_folder:
            partial.mkdir(exist_ok=True)
        descriptor = os.open(partial, os.O_RDONLY if is_folder else os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise InputError(
                f"{path}: another process is writing it; wait for that, or name another with -o"
            ) from None
        except OSError:
            # A file system without locks.
            return descriptor
        if _has_name(descriptor, partial):
            return descriptor
        # The process that had it has renamed or removed it meanwhile.
        os.close(descriptor)


def _has_name(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    except OSError:
        return False
