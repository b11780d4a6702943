"""A lock on the folder of a run, so that a second run does not write into it."""

import contextlib
import datetime
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from v2v.errors import InputError

try:
    import fcntl
except ImportError:  # Windows has none
    fcntl = None


@contextlib.contextmanager
def locked_workdir(workdir: Path) -> Iterator[None]:
    """Hold the lock of a local folder, a file beside it; the system releases it when the process ends in any way.

    Args:
      workdir: the folder, which need not exist; in a bucket, which has no locks, nothing is held.

    Raises:
      InputError: another process holds it.
    """
    if fcntl is None or "://" in str(workdir):
        yield
        return
    workdir = workdir.absolute()
    workdir.parent.mkdir(parents=True, exist_ok=True)
    with open(workdir.parent / f".{workdir.name}.lock", "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            holder = file.read().strip() or "an unknown process"
            raise InputError(
                f"{workdir}: another run is writing here ({holder}); wait for it, or choose another --workdir"
            ) from None
        time = datetime.datetime.now().isoformat(" ", "seconds")
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()} since {time}")
        file.flush()
        yield
