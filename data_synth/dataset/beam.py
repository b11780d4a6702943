"""Shards under Apache Beam: the same work, spread by a runner over processes or machines.

shard numbers → `distributed_jobs.run_jobs` → **make, write shard file** → build.py puts them together in order

What is in a shard is a function of its seeds, it is written once under its final name (shards.py), and the set is put together in seed
order afterwards; so the bytes don't depend on the runner, the number of workers or on what was killed, and a second run makes only what
is missing. Workers on other machines see the folder of `--out` under the same path (a network file system) or, without one, a bucket:
`--unfinished gs://...`.

How many seeds N pairs take is not known beforehand. A few shards are made first; the share of seeds that gave a pair tells how many more
are needed, which one run of Beam makes; a small last one makes up for what is then still missing.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from data_synth.dataset import shards
from data_synth.recipes.result import Rejected
from v2v.runtime import distributed_jobs

# Seeds of the first run, which tells whether the request gives pairs at all, and how often.
PROBE_SEEDS = 2048
# A worker on a full disk leaves an empty file of this name in the folder of shards.
_DISK_FULL_MARKER = "disk-full"


@dataclasses.dataclass(frozen=True)
class _ShardMaker:
    """Makes shards by number; picklable when `make` is.

    Attributes:
      folder: Folder of the shard files.
      make: Makes the records.
      first: First seed.
      n: Number of seeds per shard.
      last: No shard begins at or after this seed; None for no end.
    """

    folder: Path
    make: shards.RecordMaker
    first: int
    n: int
    last: int | None

    def job(self, number: int) -> shards.ShardJob:
        """Return the job of a shard."""
        return shards.build_job(self.folder, self.make, self.first, self.n, self.last, number)

    def __call__(self, number: int) -> None:
        """Make a shard, and leave word where the disk is full: of an exception, runners pass on only the text."""
        try:
            shards.ensure_shard(self.job(number))
        except shards.DiskFullError:
            with contextlib.suppress(OSError):
                (self.folder / _DISK_FULL_MARKER).touch()
            raise


def iterate_shards(
    folder: Path,
    make: shards.RecordMaker,
    first: int,
    n: int,
    workers: int,
    target_count: int,
    last: int | None = None,
    options: Sequence[str] = (),
) -> Iterator[list[shards.SeedResult]]:
    """Yield the results of shards 0, 1, 2, ... in order, made by Beam or found in `folder`.

    Args:
      folder: Folder of the shard files.
      make: Makes the records; picklable.
      first: First seed.
      n: Number of seeds per shard.
      workers: Number of local processes.
      target_count: Number of records that the caller is going to take.
      last: No shard begins at or after this seed; None for no end.
      options: Options of Beam, as on its command line.

    Raises:
      InputError: Beam is not installed, or does not know an option's value.
      BuildStoppedError: The runner failed, or the shards are not where they should be.
    """
    folder.mkdir(parents=True, exist_ok=True)
    maker = _ShardMaker(folder, make, first, n, last)
    shard_count = None if last is None else -(-(last - first) // n)
    record_count = seed_count = made = 0
    while record_count < target_count and (shard_count is None or made < shard_count):
        missing = target_count - record_count
        if seed_count:
            count = -int(-missing // (max(record_count / seed_count, 0.02) * n)) + 1
        else:
            count = -(-min(missing, PROBE_SEEDS) // n)
        numbers = range(made, made + count if shard_count is None else min(made + count, shard_count))
        _run(maker, numbers, workers, options)
        made = numbers.stop
        for number in numbers:
            results = shards.read_shard(maker.job(number).path)
            record_count += sum(not isinstance(result.outcome, Rejected) for result in results)
            seed_count += len(results)
            yield results


def _run(maker: _ShardMaker, numbers: range, workers: int, options: Sequence[str]) -> None:
    """Make the shards of these numbers that are not there yet."""
    missing = [number for number in numbers if not shards.is_final(maker.job(number).path)]
    _clear_disk_full(maker.folder)  # of an earlier run
    failure = None
    try:
        distributed_jobs.run_jobs(maker, _join_numbers(missing), workers, options)
    except distributed_jobs.RunnerFailedError as error:
        failure = error
    missing = [number for number in missing if not shards.is_sound(maker.job(number).path)]
    if not missing:
        return
    if _clear_disk_full(maker.folder):
        raise shards.DiskFullError(
            f"{maker.folder}: the disk is full; free some space and run the same command again"
        )
    if failure is None:
        raise shards.BuildStoppedError(
            f"--beam: the runner finished, but {len(missing)} of {len(numbers)} shards are not in {maker.folder}; "
            "expected a folder that its workers share with this machine"
        )
    raise shards.BuildStoppedError(str(failure)) from failure


def _join_numbers(numbers: Sequence[int]) -> list[range]:
    """Return rising numbers as ranges."""
    ranges: list[range] = []
    for number in numbers:
        if ranges and ranges[-1].stop == number:
            ranges[-1] = range(ranges[-1].start, number + 1)
        else:
            ranges.append(range(number, number + 1))
    return ranges


def _clear_disk_full(folder: Path) -> bool:
    """Return whether a worker found the disk of this folder full, and forget it."""
    marker = folder / _DISK_FULL_MARKER
    if not marker.exists():
        return False
    marker.unlink(missing_ok=True)
    return True
