"""Whether a request finds room: jobs of its sender that wait, how fast they come, and the disk.

What is still being sent counts as if it were there, so that a thousand uploads at the same moment are limited like a thousand one after the other.
"""

import contextlib
import shutil
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request

from v2v.app.access import Limits
from v2v.app.api_error import ApiError
from v2v.app.clip_files import ClipFiles
from v2v.app.job import STATUSES, Status
from v2v.app.job_files import JobFiles
from v2v.app.job_store import JobStore

UNFINISHED: tuple[Status, ...] = ("queued", "in_progress")
# Clips of an owner that a server keeps.
MOST_CLIPS = 100
# Bytes of a disk that uploads leave free, for results and the store.
RESERVE = 64 << 20


class Admission:
    """Admits requests within the limits of a server."""

    def __init__(self, store: JobStore, files: JobFiles, clips: ClipFiles, limits: Limits):
        """Make one, with nothing on its way.

        Args:
          store: the queue.
          files: the jobs' files.
          clips: the clips.
          limits: of the server.
        """
        self._store, self._files, self._clips, self._limits = store, files, clips, limits
        # One request is looked at at a time; the second lock is never held for long.
        self._turn, self._lock = threading.Lock(), threading.Lock()
        self._uploads: set[Upload] = set()

    def admit_job(self, owner: str, size: int | None) -> "Upload":
        """Hold room for a job while it is sent.

        Args:
          owner: who sends it.
          size: bytes of the request; None where it doesn't say.

        Returns:
          The room, a context that gives it back.

        Raises:
          ApiError: there is none.
        """
        limits = self._limits
        with self._turn:
            pending = self._count_uploads(owner)
            if self._store.count(UNFINISHED, owner) + pending >= limits.waiting:
                raise ApiError(
                    429, "too_many_jobs", f"{limits.waiting} of your jobs have not ended; wait for one", 10
                )
            if self._store.count(STATUSES, owner, time.time() - 60) + pending >= limits.per_minute:
                raise ApiError(429, "too_fast", f"expected at most {limits.per_minute} jobs a minute", 30)
            return self._hold(owner, size)

    def admit_clip(self, owner: str, size: int | None) -> "Upload":
        """Hold room for a clip while it is sent; as `admit_job`."""
        limits = self._limits
        with self._turn:
            pending = self._count_uploads(owner)
            if self._clips.count(owner) + pending >= MOST_CLIPS:
                raise ApiError(429, "too_many_clips", f"{MOST_CLIPS} of your clips are here; delete one", 60)
            if self._clips.count(owner, time.time() - 60) + pending >= limits.per_minute:
                raise ApiError(429, "too_fast", f"expected at most {limits.per_minute} clips a minute", 30)
            return self._hold(owner, size)

    def check_disk(self, size: int = 0) -> None:
        """Check that the disk has room for so many bytes more, beside what is being sent.

        Raises:
          ApiError: it has none.
        """
        with self._lock:
            size += sum(upload.size for upload in self._uploads)
        is_full = self._files.bytes_used() + size > self._limits.disk_bytes
        # Uploads pass through the folder of temporary files.
        for folder in (self._files.root, Path(tempfile.gettempdir())):
            with contextlib.suppress(OSError):  # a disk that doesn't tell may still have room
                is_full = is_full or shutil.disk_usage(folder).free < size + RESERVE
        if is_full:
            raise disk_full()

    def release(self, upload: "Upload") -> None:
        """Take back the room of an upload."""
        with self._lock:
            self._uploads.discard(upload)

    def _count_uploads(self, owner: str) -> int:
        with self._lock:
            return sum(upload.owner == owner for upload in self._uploads)

    def _hold(self, owner: str, size: int | None) -> "Upload":
        upload = Upload(self, owner, self._limits.upload_bytes if size is None else size)
        self.check_disk(upload.size)
        with self._lock:
            self._uploads.add(upload)
        return upload


@dataclass(frozen=True, eq=False)
class Upload:
    """Room for a request that is being sent; a context at whose end it has been.

    Attributes:
      admission: what holds the room.
      owner: who sends it.
      size: most bytes of the request.
    """

    admission: Admission
    owner: str
    size: int

    def __enter__(self) -> "Upload":
        return self

    def __exit__(self, *error: object) -> None:
        self.admission.release(self)


def disk_full() -> ApiError:
    """Return the answer where the disk is full."""
    return ApiError(507, "disk_full", "the server's disk is full; delete jobs, or come again later", 600)


def body_size(request: Request) -> int | None:
    """Return the bytes that a request says its body has; None where it doesn't say."""
    length = request.headers.get("content-length")
    return None if length is None else int(length)
