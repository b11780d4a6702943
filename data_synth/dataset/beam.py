"""Shards under Apache Beam: the same work, spread by a runner over processes or machines.

seeds → Create(shards) → Reshuffle → **make, write shard file** → build.py puts them together in order

Beam decides only where and when a shard is made. What is in it is a function of its seeds, it is written once under its
final name (shards.py), and the set is put together in seed order afterwards; so the bytes don't depend on the runner, the
number of workers or on what was killed, and a second run makes only what is missing. Without options the runner is Beam's
local one with one process a worker; `--runner FlinkRunner --flink_master ...`, SparkRunner, DataflowRunner and their options
are passed on. Their workers need this package, and the folder of `--out` under the same path (a network file system) or,
without one, a bucket: `--unfinished gs://...`.

How many seeds N pairs take is not known beforehand. Waves of shards are made until enough pairs were kept, each wave for
what is still missing, reckoned with the share kept so far.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from data_synth.dataset import shards
from data_synth.recipes.result import Rejected
from v2v.errors import InputError

# Shards in one wave: bounds the disk that unfinished sets take.
MAX_SHARDS_PER_WAVE = 4096
# A worker on a full disk leaves an empty file of this name in the folder of shards.
_DISK_FULL_MARKER = "disk-full"


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
    jobs = shards.iterate_jobs(folder, make, first, n, last)
    record_count = seed_count = 0
    while record_count < target_count:
        share = max(record_count / seed_count, 0.02) if seed_count else 1.0
        count = min(
            MAX_SHARDS_PER_WAVE,
            max(1, -int(-(target_count - record_count) // (share * n)) + (seed_count > 0)),
        )
        wave = [job for _, job in zip(range(count), jobs, strict=False)]
        if not wave:
            return
        _run_pipeline([job for job in wave if not shards.is_final(job.path)], workers, options)
        for job in wave:
            results = shards.read_shard(job.path)
            record_count += sum(not isinstance(result.outcome, Rejected) for result in results)
            seed_count += len(results)
            yield results


def _ensure_shard(job: shards.ShardJob) -> Path:
    """Make a shard in a worker, and leave word where the disk is full: of an exception, runners pass on only the text."""
    try:
        return shards.ensure_shard(job)
    except shards.DiskFullError:
        with contextlib.suppress(OSError):
            (job.path.parent / _DISK_FULL_MARKER).touch()
        raise


def _clear_disk_full(folder: Path) -> bool:
    """Return whether a worker found the disk of this folder full, and forget it."""
    marker = folder / _DISK_FULL_MARKER
    if not marker.exists():
        return False
    marker.unlink(missing_ok=True)
    return True


def _run_pipeline(jobs: list[shards.ShardJob], workers: int, options: Sequence[str]) -> None:
    if not jobs:
        return
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise InputError(
            f"--beam: expected the package apache-beam, got '{error}'; pip install 'v2v-edit[beam]'"
        ) from None
    is_local = not any(option.split("=")[0] == "--runner" for option in options)
    flags = list(options)
    parsed = PipelineOptions(flags)
    unknown = parsed.get_all_options(retain_unknown_options=True).keys() - parsed.get_all_options().keys()
    if is_local and unknown:  # other runners have options of their own
        raise InputError(
            f"--beam: expected options of Beam's, got {', '.join(sorted(unknown))}; see its documentation"
        )
    if is_local:
        # Named in full: Beam's own default may hand the pipeline to a helper program that it would download.
        flags += [
            "--runner=BundleBasedDirectRunner"
            if workers <= 1
            else "--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner",
            f"--direct_num_workers={max(1, workers)}",
            f"--direct_running_mode={'multi_processing' if workers > 1 else 'in_memory'}",
        ]
        flags += ["--default_sdk_harness_log_level=ERROR"]
    logging.getLogger("apache_beam").setLevel(logging.ERROR)
    folder = jobs[0].path.parent
    _clear_disk_full(folder)  # of an earlier run
    failure = None
    try:
        with (
            contextlib.redirect_stdout(sys.stderr),
            beam.Pipeline(options=PipelineOptions(flags)) as pipeline,
        ):
            distributed_jobs = pipeline | "shards" >> beam.Create(jobs) | "spread" >> beam.Reshuffle()
            _ = distributed_jobs | "make" >> beam.Map(_ensure_shard)
    except Exception as error:  # runners raise what they like
        failure = error
    missing = [job.path for job in jobs if not shards.is_sound(job.path)]
    if not missing:
        return
    if _clear_disk_full(folder):
        raise shards.DiskFullError(
            f"{folder}: the disk is full; free some space and run the same command again"
        )
    if failure is None:
        raise shards.BuildStoppedError(
            f"--beam: the runner finished, but {len(missing)} of {len(jobs)} shards are not in {folder}; "
            "expected a folder that its workers share with this machine"
        )
    text = str(failure).strip()
    line = text.splitlines()[-1][:300] if text else type(failure).__name__
    raise shards.BuildStoppedError(
        f"--beam {' '.join(options)}: expected the runner to finish, got '{line}'"
    ) from failure
