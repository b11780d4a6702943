"""Shards: the unit of work that is done once, whatever happens to the process that does it.

seeds → **shard files** → build.py → array_record. Shard i holds what seeds [first + i n, first + (i + 1) n) gave: records
and drop reasons, in seed order. It is written beside its name and renamed, so a file under that name is whole; its last
32 bytes are the SHA-256 of the rest, which also reveals faults of the disk. In a bucket (gs://) it is written under its name at
once: there an object is seen when it is whole. A run that was killed is run again with the
same request: finished shards are read, only the missing ones are made, and since a pair is a function of its seed the
result has the same bytes.

Layout of a shard: for each seed a line of JSON. For a rejection it is {"seed", "reason", "transient", "error", "outage", "recipe"}; for a record {"seed",
"fields", "sizes"}, followed by the bytes of its fields. Shards of older builds have only the text of a rejection, {"seed", "reason"}.
"""

from __future__ import annotations

import atexit
import dataclasses
import errno
import hashlib
import itertools
import json
import multiprocessing
import os
import re
import signal
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import pool as pool_lib
from pathlib import Path

from data_synth.recipes.result import Rejected
from v2v.errors import InputError

# Pixels of the clips in one shard: bounds a worker's memory, and what a kill can cost.
PIXELS_PER_SHARD = 1 << 21
MAX_SEEDS = 32

# How older builds stored rejections: the kind was part of the text.
_OLD_TRANSIENT_REASON = re.compile(r": expert (\S+ )?(cannot be|took more than|crashed|answered HTTP 5)")
_OLD_ERROR_PREFIX = "failed: "

# Seeds to one record (as `v2v.data.pair.encode_pair` makes it) or rejection each, in order.
RecordMaker = Callable[[Sequence[int]], list[dict | Rejected]]


class BuildStoppedError(InputError):
    """The build could not go on, through no fault of the request: its finished shards are kept."""


class DiskFullError(BuildStoppedError):
    """There is no space left for a shard."""


@dataclasses.dataclass(frozen=True)
class SeedResult:
    """What one seed gave.

    Attributes:
      seed: The seed.
      outcome: A record, or why there is none.
    """

    seed: int
    outcome: dict | Rejected


@dataclasses.dataclass(frozen=True)
class ShardJob:
    """One shard to be made; picklable when `make` is.

    Attributes:
      path: File of the shard, a Path or an epath one.
      make: Makes the records.
      seeds: Seeds that the shard covers.
    """

    path: Path
    make: RecordMaker
    seeds: Sequence[int]


def seeds_per_shard(T: int, H: int, W: int) -> int:
    """Return the number of seeds in one shard, for clips of this size."""
    return max(1, min(MAX_SEEDS, PIXELS_PER_SHARD // (T * H * W)))


def iterate_shards(
    folder: Path,
    make: RecordMaker,
    first: int,
    n: int,
    workers: int,
    last: int | None = None,
    prepare: Callable[[], None] | None = None,
) -> Iterator[list[SeedResult]]:
    """Yield the results of shards 0, 1, 2, ... in order, made now or found in `folder`.

    Args:
      folder: Folder of the shard files, a Path or an epath one.
      make: Makes the records; picklable where there are several processes.
      first: First seed.
      n: Number of seeds per shard.
      workers: Number of processes.
      last: No shard begins at or after this seed; None for no end.
      prepare: Called first in every worker process; picklable.
    """
    folder.mkdir(parents=True, exist_ok=True)
    todo = iterate_jobs(folder, make, first, n, last)
    if workers <= 1:
        for job in todo:
            yield read_shard(ensure_shard(job))
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy JAX's threads
    with context.Pool(workers, _start_worker, (prepare,)) as pool:
        ahead: list[pool_lib.AsyncResult[Path]] = []
        while True:
            while len(ahead) < workers + 2 and (job := next(todo, None)):
                ahead.append(pool.apply_async(ensure_shard, (job,)))
            if not ahead:
                pool.close()  # the workers end by themselves; only those of a build that is given up are terminated
                pool.join()
                return
            yield read_shard(ahead.pop(0).get())


def _start_worker(prepare: Callable[[], None] | None) -> None:
    """Set up a new worker. A pool ends its workers by SIGTERM: then what they started must be ended, too."""
    signal.signal(signal.SIGTERM, _end_worker)
    if prepare:
        prepare()


def _end_worker(*_) -> None:
    """End at once, after what was registered to be cleaned up: an exception could be lost in code that ignores it."""
    try:
        atexit._run_exitfuncs()  # noqa: SLF001
    finally:
        os._exit(1)


def write_shard(path: Path, results: Sequence[SeedResult]) -> None:
    """Write a shard under a temporary name, then rename it.

    Raises:
      DiskFullError: The disk is full; the shards that were finished stay.
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
        raise DiskFullError(
            f"{path.parent}: the disk is full; finished shards are kept there, "
            "free some space and run the same command again"
        ) from None


def _encode_parts(results: Sequence[SeedResult]) -> Iterator[bytes]:
    digest = hashlib.sha256()
    for result in results:
        blobs = []
        if isinstance(result.outcome, Rejected):
            line = {"seed": result.seed, **dataclasses.asdict(result.outcome)}
        else:
            fields = {k: v for k, v in result.outcome.items() if not isinstance(v, bytes)}
            blobs = [(k, v) for k, v in result.outcome.items() if isinstance(v, bytes)]
            line = {"seed": result.seed, "fields": fields, "sizes": [(k, len(v)) for k, v in blobs]}
        for part in (json.dumps(line).encode() + b"\n", *(v for _, v in blobs)):
            digest.update(part)
            yield part
    yield digest.digest()


def is_disk_full(error: OSError) -> bool:
    """Return whether the cause is a full disk or an exhausted quota."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def read_shard(path: Path) -> list[SeedResult]:
    """Read the results in a shard file.

    Raises:
      ValueError: The file is damaged.
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
            results.append(SeedResult(line["seed"], _parse_rejection(line)))
            continue
        record = dict(line["fields"])
        for name, size in line["sizes"]:
            record[name] = data[at : at + size]
            at += size
        results.append(SeedResult(line["seed"], record))
    return results


def _parse_rejection(line: dict) -> Rejected:
    """Return the rejection in a line of a shard; that of an older build holds only a text."""
    if "transient" in line:
        return Rejected(
            line["reason"],
            line["transient"],
            line["error"],
            line.get("outage", False),
            line.get("recipe", ""),
        )
    reason = line["reason"]
    if reason.startswith(_OLD_ERROR_PREFIX):
        return Rejected(reason.removeprefix(_OLD_ERROR_PREFIX), error=True)
    return Rejected(reason, transient=bool(_OLD_TRANSIENT_REASON.search(reason)))


def iterate_jobs(folder: Path, make: RecordMaker, first: int, n: int, last: int | None) -> Iterator[ShardJob]:
    """Yield the jobs of shards 0, 1, 2, ..., with the arguments of `iterate_shards`."""
    count = None if last is None else -(-(last - first) // n)
    for number in itertools.count() if count is None else range(count):
        yield build_job(folder, make, first, n, last, number)


def build_job(folder: Path, make: RecordMaker, first: int, n: int, last: int | None, number: int) -> ShardJob:
    """Return the job of a shard by its number, with the arguments of `iterate_shards`."""
    start = first + number * n
    stop = start + n if last is None else min(start + n, last)
    return ShardJob(folder / f"{start:012d}-{stop:012d}.shard", make, range(start, stop))


def ensure_shard(job: ShardJob) -> Path:
    """Make the shard unless it is there and final, and return its path; of one that is there only what failed is made again."""
    results = _read_or_none(job.path)
    if results is None:
        seeds = job.seeds
    elif not (seeds := [result.seed for result in results if _is_transient(result)]):
        return job.path
    made = dict(zip(seeds, job.make(seeds), strict=True))
    if results is not None:
        made = {result.seed: made.get(result.seed, result.outcome) for result in results}
    write_shard(job.path, [SeedResult(seed, made[seed]) for seed in job.seeds])
    return job.path


def is_final(path: Path) -> bool:
    """Return whether the shard is sound, and its rejected seeds would be rejected again."""
    results = _read_or_none(path)
    return results is not None and not any(map(_is_transient, results))


def _is_transient(result: SeedResult) -> bool:
    return isinstance(result.outcome, Rejected) and result.outcome.transient


def is_sound(path: Path) -> bool:
    """Return whether the shard is there and undamaged."""
    return _read_or_none(path) is not None


def _read_or_none(path: Path) -> list[SeedResult] | None:
    try:
        return read_shard(path)
    except (OSError, ValueError):
        return None
