"""Work shared by several processes, on one machine or many, that see one folder: who does what, and what becomes of a dead one's share.

A process claims a piece of work by creating a file that must not exist yet, and removes it when the work is in the cache. Every process touches
its claims now and then. A claim that nobody has touched for `STALE_SECONDS`, or whose process on this machine is gone, is taken over. Times are
those of the folder's file system, so that clocks of machines need not agree. Work that failed leaves its reason, which the other processes of
the run take for its result, so that it isn't done twice; a later run tries it again. A run lasts as long as one of its processes: one that joins
while another is at work belongs to that one's run.

Taking a dead process's claim over has a window of a few system calls in which two can do it. Then a piece of work is done twice, to the same
result: entries of the cache are written whole.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from v2v.evaluation.cache import StorageError, digest, storage_errors, write_text_atomically

STALE_SECONDS = 60.0
# Seconds before work of others is looked for again.
PAUSE = 0.5

Task = TypeVar("Task", bound=Hashable)
Result = TypeVar("Result")


class WorkClaims:
    """The claims of this process; as a context it touches them, and gives them up at its end.

    Attributes:
      folder: where all processes claim.
      stale_seconds: seconds after which an untouched claim is taken over.

    Raises:
      StorageError: the disk is full, or may not be written to; likewise from `take` and `store_failure`.
    """

    def __init__(self, folder: Path, stale_seconds: float = STALE_SECONDS):
        self.folder, self.stale_seconds = Path(folder), stale_seconds
        self._name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._member = self.folder / f"{self._name}.member"
        self._claims: set[Path] = set()
        self._lock, self._end = threading.Lock(), threading.Event()
        try:
            with storage_errors(self._member):
                self.folder.mkdir(parents=True, exist_ok=True)
                self._begin = min([self._now(), *self._other_begins()])
                self._member.write_text(json.dumps({**_owner(), "begin": self._begin}))
        except StorageError:
            _remove_file(self._member)
            raise

    def __enter__(self) -> WorkClaims:
        threading.Thread(target=self._touch, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for path in [*self._claims]:
            self._remove(path)
        _remove_file(self._member)

    def take(self, key: Any) -> bool:
        """Claim a piece of work.

        Args:
          key: names the work for all processes, JSON-able.

        Returns:
          Whether this process has it now; not where another one has.
        """
        path = self._path(key, ".claim")
        if self._create(path):
            return True
        return self._bury_if_stale(path) and self._create(path)

    def release(self, key: Any) -> None:
        """Give a claim up, after its work is in the cache or has failed."""
        self._remove(self._path(key, ".claim"))

    def store_failure(self, key: Any, record: dict[str, Any]) -> None:
        """Tell the processes of this run that the work failed, and why."""
        write_text_atomically(self._path(key, ".failed"), json.dumps(record))

    def load_failure(self, key: Any) -> dict[str, Any] | None:
        """Return why work failed since this run began, or None."""
        path = self._path(key, ".failed")
        try:
            return json.loads(path.read_text()) if path.stat().st_mtime >= self._begin else None
        except (OSError, ValueError):
            return None

    def _path(self, key: Any, suffix: str) -> Path:
        return self.folder / f"{digest(key)}{suffix}"

    def _create(self, path: Path) -> bool:
        try:
            with storage_errors(path), path.open("x") as file:
                json.dump(_owner(), file)
        except FileExistsError:
            return False
        except StorageError:
            # One without an owner would keep the others waiting.
            _remove_file(path)
            raise
        with self._lock:
            self._claims.add(path)
        return True

    def _remove(self, path: Path) -> None:
        with self._lock:
            self._claims.discard(path)
        _remove_file(path)

    def _bury_if_stale(self, path: Path) -> bool:
        """Remove the claim of a dead process; False where its process may live or another one was quicker."""
        try:
            before, text = path.stat(), path.read_text()
        except OSError:
            return False
        if self._now() - before.st_mtime < self.stale_seconds and not _is_gone(text):
            return False
        grave = path.with_name(f".{uuid.uuid4().hex}")
        try:
            path.rename(grave)
        except OSError:
            return False
        if grave.stat().st_ino != before.st_ino:
            # Another process took it over in the meantime: it gets its claim back.
            with contextlib.suppress(OSError):
                os.link(grave, path)
            _remove_file(grave)
            return False
        _remove_file(grave)
        return True

    def _now(self) -> float:
        """Return the time of the folder's file system."""
        with storage_errors(self._member):
            self._member.touch()
            return self._member.stat().st_mtime

    def _other_begins(self) -> Iterator[float]:
        """Yield the times at which the runs of other living processes began."""
        now = self._now()
        for path in self.folder.glob("*.member"):
            try:
                text, touched = path.read_text(), path.stat().st_mtime
                if path != self._member and now - touched < self.stale_seconds and not _is_gone(text):
                    yield float(json.loads(text)["begin"])
            except (OSError, ValueError, KeyError, TypeError):
                continue

    def _touch(self) -> None:
        while not self._end.wait(self.stale_seconds / 6):
            with self._lock:
                paths = [*self._claims, self._member]
            for path in paths:
                with contextlib.suppress(OSError):
                    os.utime(path)


def share_work(
    claims: WorkClaims,
    tasks: Iterable[Task],
    key: Callable[[Task], Any],
    find: Callable[[Task], Result | None],
    work: Callable[[Task], Result],
) -> Iterator[tuple[Task, Result]]:
    """Yield the tasks with their results, done here or by another process, until all are done.

    Args:
      claims: of this process.
      tasks: what is to be done.
      key: returns the name of a task for all processes, JSON-able.
      find: returns a result that is there, or None.
      work: does a task; its result must then be found by others, or stored as a failure.
    """
    waiting = deque(tasks)
    while waiting:
        for _ in range(len(waiting)):
            task = waiting.popleft()
            result = find(task)
            if result is None and claims.take(key(task)):
                try:
                    # It may have been finished since.
                    result = find(task)
                    if result is None:
                        result = work(task)
                finally:
                    claims.release(key(task))
            if result is None:
                waiting.append(task)
            else:
                yield task, result
        if waiting:
            time.sleep(PAUSE)


def _remove_file(path: Path) -> None:
    """Remove a file if that is possible; one that stays is taken over when it is stale."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def _owner() -> dict[str, Any]:
    return {"host": socket.gethostname(), "pid": os.getpid()}


def _is_gone(text: str) -> bool:
    """Return whether a claim is of a process of this machine that has ended."""
    try:
        owner = json.loads(text)
        if owner["host"] != socket.gethostname():
            return False
        os.kill(int(owner["pid"]), 0)
    except ProcessLookupError:
        return True
    except (ValueError, KeyError, TypeError, OSError):
        return False
    return False
