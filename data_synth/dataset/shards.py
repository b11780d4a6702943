"""Shards: the unit of work that is done once, whatever happens to the process that does it.

seeds → **shard files** → synth.py → array_record. Shard i holds what seeds [first + i n, first + (i + 1) n) gave: records
and drop reasons, in seed order. It is written beside its name and renamed, so a file under that name is whole; its last
32 bytes are the SHA-256 of the rest, which also catches a disk that lied. In a bucket (gs://) it is written under its name at
once: there an object is seen when it is whole. A run that was killed is run again with the
same request: finished shards are read, only the missing ones are made, and since a pair is a function of its seed the
result has the same bytes. Layout of a shard: for each seed a line of JSON, {"seed", "reason"} or {"seed", "fields",
"sizes"}, followed for a record by its fields' bytes.
"""

from __future__ import annotations

import atexit
import errno
import hashlib
import json
import multiprocessing
import os
import re
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from v2v.errors import InputError

PIXELS_PER_SHARD = 1 << 21  # of clips in one shard: bounds a worker's memory, and what a kill can cost
MAX_SEEDS = 32

# An expert's failures that may be over by now: what it could not do then it is asked again.
TRANSIENT_REASON = re.compile(r": expert (\S+ )?(cannot be|took more than|crashed|answered HTTP 5)")

RecordMaker = Callable[[Sequence[int]], "list[tuple[dict, None] | tuple[None, str]]"]


class BuildStopped(InputError):
    """The build could not go on, through no fault of the request: its finished shards are kept."""


def seeds_per_shard(T: int, H: int, W: int) -> int:
    """How many seeds one shard covers, for clips of this size."""
    return max(1, min(MAX_SEEDS, PIXELS_PER_SHARD // (T * H * W)))


def iterate_shards(
    folder: Path,
    make: RecordMaker,
    first: int,
    n: int,
    workers: int,
    last: int | None = None,
    prepare: Callable[[], None] | None = None,
) -> Iterator[list]:
    """The results of shards 0, 1, 2, ... in order, made now or found in `folder`.

    Args:
      folder: where shard files live, a Path or an epath one. make: seeds → (record, None) or (None, reason) for each; picklable.
      first: first seed. n: seeds per shard. workers: processes. last: no shard begins at or after this seed.
      prepare: called first in every worker process; picklable.

    Yields:
      For each shard a list of (seed, record or None, reason or None).
    """
    folder.mkdir(parents=True, exist_ok=True)
    todo = iterate_jobs(folder, make, first, n, last)
    if workers <= 1:
        for job in todo:
            yield read_shard(ensure_shard(job))
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy JAX's threads
    with context.Pool(workers, _start_worker, (prepare,)) as pool:
        ahead = []
        while True:
            while len(ahead) < workers + 2 and (job := next(todo, None)):
                ahead.append(pool.apply_async(ensure_shard, (job,)))
            if not ahead:
                pool.close()  # the workers end by themselves; only those of a build that is given up are terminated
                pool.join()
                return
            yield read_shard(ahead.pop(0).get())


def _start_worker(prepare: Callable[[], None] | None) -> None:
    """In a new worker. A pool ends its workers by SIGTERM: then what they started must be ended, too."""
    signal.signal(signal.SIGTERM, _end_worker)
    if prepare:
        prepare()


def _end_worker(*_) -> None:
    """End at once, after what was registered to be cleaned up: an exception could be lost in code that ignores it."""
    try:
        atexit._run_exitfuncs()
    finally:
        os._exit(1)


def write_shard(path: Path, results: Sequence[tuple[int, dict | None, str | None]]) -> None:
    """Writes a shard under a name of its own, then renames it.

    Raises:
      Stopped: the disk is full; the shards that were finished stay.
    """
    if "://" in str(path):
        path.write_bytes(b"".join(_encode_parts(results)))
        return
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            file.writelines(_encode_parts(results))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        if not is_disk_full(error):
            raise
        raise BuildStopped(
            f"{path.parent}: the disk is full; finished shards are kept there, "
            "free some space and run the same command again"
        ) from None


def _encode_parts(results: Sequence[tuple[int, dict | None, str | None]]) -> Iterator[bytes]:
    digest = hashlib.sha256()
    for seed, record, reason in results:
        blobs = []
        if record is None:
            line = {"seed": seed, "reason": reason}
        else:
            fields = {k: v for k, v in record.items() if not isinstance(v, bytes)}
            blobs = [(k, v) for k, v in record.items() if isinstance(v, bytes)]
            line = {"seed": seed, "fields": fields, "sizes": [(k, len(v)) for k, v in blobs]}
        for part in (json.dumps(line).encode() + b"\n", *(v for _, v in blobs)):
            digest.update(part)
            yield part
    yield digest.digest()


def is_disk_full(error: OSError) -> bool:
    """Whether this is a full disk, or a quota."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def read_shard(path: Path) -> list[tuple[int, dict | None, str | None]]:
    """The results in a shard file.

    Raises:
      ValueError: it is damaged.
    """
    data = path.read_bytes()
    if len(data) < 32 or hashlib.sha256(data[:-32]).digest() != data[-32:]:
        raise ValueError(f"{path}: damaged")
    results, at, end = [], 0, len(data) - 32
    while at < end:
        stop = data.index(b"\n", at)
        line = json.loads(data[at:stop])
        at = stop + 1
        if "reason" in line:
            results.append((line["seed"], None, line["reason"]))
            continue
        record = dict(line["fields"])
        for name, size in line["sizes"]:
            record[name] = data[at : at + size]
            at += size
        results.append((line["seed"], record, None))
    return results


def iterate_jobs(folder: Path, make: RecordMaker, first: int, n: int, last: int | None) -> Iterator[tuple]:
    """(path, make, seeds) of shard 0, 1, 2, ...: what `ensure` takes."""
    start = first
    while last is None or start < last:
        stop = start + n if last is None else min(start + n, last)
        yield folder / f"{start:012d}-{stop:012d}.shard", make, range(start, stop)
        start = stop


def ensure_shard(job: tuple) -> Path:
    """Makes the shard unless it is there and final."""
    path, make, seeds = job
    if not is_final(path):
        write_shard(path, [(seed, *result) for seed, result in zip(seeds, make(seeds), strict=True)])
    return path


def is_final(path: Path) -> bool:
    """Whether the shard is sound, and what it lacks would be lacking again."""
    results = _read_or_none(path)
    return results is not None and not any(
        reason and TRANSIENT_REASON.search(reason) for _, _, reason in results
    )


def is_sound(path: Path) -> bool:
    """Whether the shard is there and undamaged."""
    return _read_or_none(path) is not None


def _read_or_none(path: Path) -> list | None:
    try:
        return read_shard(path)
    except (OSError, ValueError):
        return None
