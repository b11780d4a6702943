"""Shards under Apache Beam: the same work, spread by a runner over processes or machines.

shard numbers → `distributed_jobs.run_jobs` → **make, write shard files** → build.py reads their facts in order

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
from data_synth.rejection import Rejected
from v2v.runtime import distributed_jobs

# Seeds of the first run, which tells whether the request gives pairs at all, and how often.
PROBE_SEEDS = 2048
# A worker on a full disk leaves an empty file of this name in the folder of shards.
_DISK_FULL_MARKER = "disk-full"


@dataclasses.dataclass(frozen=True)
class _ShardMaker:
    """Makes shards by number; picklable when the plan is.

    Attributes:
      plan: The shards.
    """

    plan: shards.ShardPlan

    def __call__(self, number: int) -> None:
        """Make a shard, and leave word where the disk is full: of an exception, runners pass on only the text."""
        try:
            self.plan.ensure(number)
        except shards.DiskFullError:
            with contextlib.suppress(OSError):
                (self.plan.folder / _DISK_FULL_MARKER).touch()
            raise


def iterate_shards(
    plan: shards.ShardPlan, workers: int, target_count: int, options: Sequence[str] = ()
) -> Iterator[shards.Shard]:
    """Yield shards 0, 1, 2, ... in order, made by Beam or found.

    Args:
      plan: The shards.
      workers: Number of local processes.
      target_count: Number of pairs that the caller is going to take.
      options: Options of Beam, as on its command line.

    Raises:
      InputError: Beam is not installed, or does not know an option's value.
      BuildStoppedError: The runner failed, or the shards are not where they should be.
    """
    plan.folder.mkdir(parents=True, exist_ok=True)
    pair_count = seed_count = shard_count = 0
    while pair_count < target_count and (plan.count is None or shard_count < plan.count):
        missing = target_count - pair_count
        if seed_count:
            count = -int(-missing // (max(pair_count / seed_count, 0.02) * plan.length)) + 1
        else:
            count = -(-min(missing, PROBE_SEEDS) // plan.length)
        numbers = range(
            shard_count, shard_count + count if plan.count is None else min(shard_count + count, plan.count)
        )
        _run(plan, numbers, workers, options)
        shard_count = numbers.stop
        for number in numbers:
            shard = shards.read_shard(plan.path(number))
            pair_count += sum(not isinstance(result.outcome, Rejected) for result in shard.results)
            seed_count += len(shard.results)
            yield shard


def _run(plan: shards.ShardPlan, numbers: range, workers: int, options: Sequence[str]) -> None:
    """Make the shards of these numbers that are not there yet."""
    _clear_disk_full(plan.folder)  # of an earlier run
    failure = None
    try:
        distributed_jobs.run_jobs(_ShardMaker(plan), [numbers], workers, options)
    except distributed_jobs.RunnerFailedError as error:
        failure = error
    missing = sum(not plan.path(number).exists() for number in numbers)
    if not missing:
        return
    if _clear_disk_full(plan.folder):
        raise shards.DiskFullError(
            f"{plan.folder}: the disk is full; free some space and run the same command again"
        )
    if failure is None:
        raise shards.BuildStoppedError(
            f"--beam: the runner finished, but {missing} of {len(numbers)} shards are not in {plan.folder}; "
            "expected a folder that its workers share with this machine"
        )
    raise shards.BuildStoppedError(str(failure)) from failure


def _clear_disk_full(folder: Path) -> bool:
    """Return whether a worker found the disk of this folder full, and forget it."""
    marker = folder / _DISK_FULL_MARKER
    if not marker.exists():
        return False
    marker.unlink(missing_ok=True)
    return True
