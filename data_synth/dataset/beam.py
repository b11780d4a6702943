"""Shards under Apache Beam: the same work, spread by a runner over processes or machines.

shard numbers → `distributed_jobs.run_jobs` → **make, write shard files** → build.py reads their facts in order

What is in a shard is a function of its seeds, it is written once under its final name (shards.py), and the set is put together in seed
order afterwards; so the bytes don't depend on the runner, the number of workers or on what was killed, and a second run makes only what
is missing. Workers on other machines see the folder of `--out` under the same path (a network file system) or, without one, a bucket:
`--unfinished gs://...`.

How many seeds N pairs take is not known beforehand. A few shards are made first; the share of seeds that gave a pair tells how many more
are needed, which one run of Beam makes; a small last one makes up for what is then still missing. Shards are taken over while the runner makes
further ones.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from data_synth.dataset import shards
from data_synth.file_cache import FileStamp, file_stamp
from data_synth.places import is_address
from data_synth.rejection import Rejected
from v2v.runtime import distributed_jobs

# Seeds of the first run, which tells whether the request gives pairs at all, and how often.
PROBE_SEEDS = 2048
# Empty files in the folder of shards: a worker's disk is full, and nobody takes further shards.
_DISK_FULL_MARKER, _STOP_MARKER = "disk-full", "stop"
# Seconds between two looks for the next shard, in a folder of this machine and in a bucket.
_PAUSE, _ADDRESS_PAUSE = 0.05, 1.0


@dataclasses.dataclass(frozen=True)
class _ShardMaker:
    """Makes shards by number; picklable when the plan is.

    Attributes:
      plan: The shards.
    """

    plan: shards.ShardPlan

    def __call__(self, number: int) -> None:
        """Make a shard, and leave word where the disk is full: of an exception, runners pass on only the text."""
        if (self.plan.folder / _STOP_MARKER).exists():
            return
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
        shard_count = numbers.stop
        for shard in _stream(plan, numbers, workers, options):
            pair_count += sum(not isinstance(result.outcome, Rejected) for result in shard.results)
            seed_count += len(shard.results)
            yield shard


def _stream(
    plan: shards.ShardPlan, numbers: range, workers: int, options: Sequence[str]
) -> Iterator[shards.Shard]:
    """Yield the shards of these numbers in order, each as soon as it is there, while the runner makes those that are missing.

    A caller that takes no more stops the runner: jobs that haven't begun then end at once.
    """
    for name in (_DISK_FULL_MARKER, _STOP_MARKER):  # of an earlier run
        _clear_marker(plan.folder, name)
    older = {number: stamp for number in numbers if (stamp := _stamp_unfinished(plan.path(number)))}
    failures: list[Exception] = []

    def run() -> None:
        try:
            distributed_jobs.run_jobs(_ShardMaker(plan), [numbers], workers, options)
        except Exception as error:  # told by the thread that waits
            failures.append(error)

    runner = threading.Thread(target=run)
    runner.start()
    pause = _ADDRESS_PAUSE if is_address(plan.folder) else _PAUSE
    try:
        for number in numbers:
            path = plan.path(number)
            while runner.is_alive() and not _is_ready(path, older.get(number)):
                runner.join(pause)
            if not path.exists():
                break
            yield shards.read_shard(path)
    finally:
        if runner.is_alive():
            (plan.folder / _STOP_MARKER).touch()
            runner.join()
            _clear_marker(plan.folder, _STOP_MARKER)
    missing = sum(not plan.path(number).exists() for number in numbers)
    if missing:
        _raise_missing(plan, missing, len(numbers), failures)


def _raise_missing(plan: shards.ShardPlan, missing: int, count: int, failures: Sequence[Exception]) -> None:
    """Raise what tells why shards are missing."""
    if _clear_marker(plan.folder, _DISK_FULL_MARKER):
        raise shards.DiskFullError(
            f"{plan.folder}: the disk is full; free some space and run the same command again"
        )
    for failure in failures:
        if isinstance(failure, distributed_jobs.RunnerFailedError):
            raise shards.BuildStoppedError(str(failure)) from failure
        raise failure
    raise shards.BuildStoppedError(
        f"--beam: the runner finished, but {missing} of {count} shards are not in {plan.folder}; "
        "expected a folder that its workers share with this machine"
    )


def _stamp_unfinished(path: Path) -> FileStamp:
    """Return the stamp of a shard some of whose seeds are to be tried again; None for one that is final or not there."""
    try:
        results = shards.read_shard(path).results
    except (OSError, ValueError):
        return file_stamp(path)
    is_final = not any(
        isinstance(result.outcome, Rejected) and result.outcome.transient for result in results
    )
    return None if is_final else file_stamp(path)


def _is_ready(path: Path, older: FileStamp) -> bool:
    """Return whether a shard is there, and made anew where an older one was unfinished."""
    return path.exists() and (older is None or file_stamp(path) != older)


def _clear_marker(folder: Path, name: str) -> bool:
    """Return whether a marker lies in a folder, and remove it."""
    marker = folder / name
    if not marker.exists():
        return False
    marker.unlink(missing_ok=True)
    return True
