"""The sweep cache: edits, scores and previews, stored under the hash of everything that they depend on, the code included.

A key is any JSON-able value; its name is the SHA-256 of its canonical JSON. Files enter a key by the hash of their content, never by name or
time, so that a renamed folder costs nothing and a changed file is noticed. Entries are written beside their place and renamed: a process
that is killed leaves complete entries or none, and a sweep that is run again finds all but those in progress.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from v2v.errors import InputError
from v2v.evaluation.code_version import package_commit

# Bytes read at a time.
READ_SIZE = 1 << 20


# What a sweep can be told to do anew: edits, scores computed here, scores of judges.
Work = Literal["edits", "scores", "judge"]
WORK: tuple[Work, ...] = get_args(Work)
# What makes a folder unfit to store anything more, whatever is stored.
STORAGE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)
# The commit of work from before commits were stored.
UNKNOWN_COMMIT = "unknown"


class StorageError(InputError):
    """Finished work, or results, can't be stored: no fault of an editor or a metric."""


@dataclass(frozen=True)
class FinishedWork:
    """A finished edit or score that was found.

    Attributes:
      key: under which it is stored.
      record: what is stored.
      commit: the commit or version of v2v that made it, or UNKNOWN_COMMIT.
    """

    key: dict
    record: dict
    commit: str


class SweepCache:
    """A folder of entries `kind/ab/abcdef....suffix`.

    Attributes:
      folder: the folder; created when something is stored.
      any_code: whether work of other code than the present one is used too.
      fresh: work to do anew although it is finished.
    """

    def __init__(self, folder: Path, *, any_code: bool = False, fresh: frozenset[Work] = frozenset()):
        self.folder = Path(folder)
        self.any_code, self.fresh = any_code, fresh
        # Keys of work that was done in this process, which is fresh.
        self._new_keys: set[str] = set()
        self._hashes = self.folder / "hashes"
        self._hash_by_identity: dict[tuple, str] = {}
        # A link is followed once: a sweep asks for the hash of every file many times.
        self._resolved_paths: dict[str, str] = {}

    def load(self, kind: str, key: Any) -> dict | None:
        """Return a record, or None where there is none or it is damaged."""
        try:
            return json.loads(self.path(kind, key, ".json").read_text())
        except (OSError, ValueError):
            return None

    def store(self, kind: str, key: Any, record: dict) -> None:
        """Store a record together with its key."""
        write_text_atomically(self.path(kind, key, ".json"), json.dumps({**record, "key": key}, indent=1))

    def find_work(
        self, work: Work, inputs: dict, code: str, old_inputs: Callable[[], dict] | None = None
    ) -> FinishedWork | None:
        """Return finished work, or None where there is none that may be used.

        Args:
          work: what it is.
          inputs: everything that it depends on, without the code, JSON-able.
          code: hash of the code that makes it.
          old_inputs: returns the inputs as they were written before work was stored with its code, where they differ.
        """
        kind, key = _kind(work), {**inputs, "code": code}
        if work in self.fresh and digest(key) not in self._new_keys:
            return None
        work_record = self._load_work(kind, key)
        if work_record or not self.any_code:
            return work_record
        return self._other_work(kind, inputs, old_inputs)

    def has_other_work(self, work: Work, inputs: dict, old_inputs: Callable[[], dict] | None = None) -> bool:
        """Return whether the same work was done by other code."""
        return self._other_work(_kind(work), inputs, old_inputs) is not None

    def store_work(self, work: Work, inputs: dict, code: str, record: dict) -> FinishedWork:
        """Store finished work with its code and the commit."""
        kind, key, commit = _kind(work), {**inputs, "code": code}, package_commit()
        self.store(kind, key, {**record, "commit": commit})
        self.store("code", {"of": kind, **inputs}, {"code": code})
        self._new_keys.add(digest(key))
        return FinishedWork(key, record, commit)

    def _other_work(
        self, kind: str, inputs: dict, old_inputs: Callable[[], dict] | None
    ) -> FinishedWork | None:
        """Return the latest of the same work, of whatever code."""
        latest = self.load("code", {"of": kind, **inputs})
        keys = [{**inputs, "code": latest["code"]}] if latest else []
        keys.append(old_inputs() if old_inputs else inputs)
        return next(filter(None, (self._load_work(kind, key) for key in keys)), None)

    def _load_work(self, kind: str, key: dict) -> FinishedWork | None:
        record = self.load(kind, key)
        if record is None or ("suffix" in record and not self.path(kind, key, record["suffix"]).exists()):
            return None
        return FinishedWork(key, record, record.get("commit", UNKNOWN_COMMIT))

    def path(self, kind: str, key: Any, suffix: str) -> Path:
        """Return the path of an entry."""
        name = digest(key)
        return self.folder / kind / name[:2] / f"{name}{suffix}"

    @contextmanager
    def writing(self, kind: str, key: Any, suffix: str) -> Iterator[Path]:
        """Yield a temporary path that becomes the entry when the block succeeds."""
        with atomic_path(self.path(kind, key, suffix)) as partial:
            yield partial

    def hash_of(self, path: Path) -> str:
        """Return the SHA-256 of a file, or of a folder's files and names.

        It is remembered by path, size and time of change, in memory and in the folder.

        Raises:
          FileNotFoundError: no such file.
        """
        place = os.path.abspath(path)
        if place not in self._resolved_paths:
            self._resolved_paths[place] = os.path.realpath(place)
        root = self._resolved_paths[place]
        status = os.stat(root)
        if stat.S_ISDIR(status.st_mode):
            files = sorted(file for file in Path(root).rglob("*") if file.is_file())
            stamp = [(str(f.relative_to(root)), s.st_size, s.st_mtime_ns) for f in files for s in [f.stat()]]
        else:
            files, stamp = [Path(root)], [(".", status.st_size, status.st_mtime_ns)]
        identity = (root, *stamp)
        if identity not in self._hash_by_identity:
            hash_file = self._hashes / digest([root, stamp])
            try:
                file_hash = hash_file.read_text()
            except OSError:
                file_hash = _hash(files, Path(root))
                write_text_atomically(hash_file, file_hash)
            self._hash_by_identity[identity] = file_hash
        return self._hash_by_identity[identity]


def _kind(work: Work) -> str:
    """Return the folder of a kind of work."""
    return "edits" if work == "edits" else "scores"


def digest(value: Any) -> str:
    """Return the SHA-256 of a JSON-able value, independent of the order of its fields."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def write_text_atomically(path: Path, text: str) -> None:
    """Write a text file that other processes see complete or not at all."""
    with atomic_path(path) as partial:
        partial.write_text(text)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a hidden path beside `path`, renamed to `path` when the block succeeds.

    Raises:
      StorageError: the disk is full, or may not be written to.
    """
    partial = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield partial
            os.replace(partial, path)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Raise StorageError for what the disk refuses inside the block.

    Args:
      path: what is written there, for the message.
    """
    try:
        yield
    except Exception as error:
        reason = _storage_reason(error)
        if reason is None:
            raise
        raise StorageError(
            f"{path}: can't be written ({reason}); what is finished is kept: make room and run the same command again"
        ) from None


def _storage_reason(error: BaseException | None) -> str | None:
    """Return why a file can't be stored, where an error, or the one that it was raised for, is the disk's; None for others."""
    while error is not None:
        number = error.errno if isinstance(error, OSError) else None
        if number in STORAGE_ERRORS:
            return os.strerror(number).lower()
        error = error.__cause__ or error.__context__
    return None


def _hash(files: list[Path], root: Path) -> str:
    """Return the SHA-256 of the content of files, and of their names below `root` unless that is the file."""
    total = hashlib.sha256()
    for file in files:
        if file != root:
            total.update(str(file.relative_to(root)).encode() + b"\0")
        with file.open("rb") as data:
            while piece := data.read(READ_SIZE):
                total.update(piece)
    return total.hexdigest()
