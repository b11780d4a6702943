"""Where a build lies while it is unfinished: its hidden folder, for one run at a time, and a place elsewhere for its shards.

request.py → **places** → synth.py, shards.py
"""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from v2v.errors import InputError


@contextlib.contextmanager
def alone(work: Path) -> Iterator[None]:
    """The folder of an unfinished build, for one run at a time. Raises InputError when it can't be had."""
    try:
        work.mkdir(parents=True, exist_ok=True)
        lock = (work / "lock").open("w")
    except OSError as error:
        raise InputError(
            f"{work.parent}: expected a folder for the pairs, or a place where one can be made, got '{error.strerror}'; name another --out"
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"{work}: another run of this very command is at work here; wait for it"
            ) from None
        yield


def elsewhere(unfinished: str, name: str):
    """The folder of this request's shards in the one that the caller named."""
    from etils import epath

    folder = epath.Path(unfinished) / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except Exception as error:  # file systems of buckets raise what they like
        raise InputError(
            f"--unfinished {unfinished}: expected a folder, or a place where one can be made, got "
            f"'{getattr(error, 'strerror', None) or error}'; name another (for gs://, pip install 'v2v[gcs]')"
        ) from None
    return folder
