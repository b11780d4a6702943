"""Shards under Apache Beam: the same work, spread by a runner over processes or machines.

seeds → Create(shards) → Reshuffle → **make, write shard file** → synth.py puts them together in order

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
from v2v.errors import InputError

MOST = 4096  # shards in one wave: bounds the disk that unfinished sets take


def made(
    folder: Path,
    make: shards.Maker,
    first: int,
    n: int,
    workers: int,
    wanted: int,
    last: int | None = None,
    options: Sequence[str] = (),
) -> Iterator[list]:
    """Like `shards.shards`, made by Beam.

    Args:
      folder, make, first, n, last: as there; `make` is pickled. workers: local processes.
      wanted: kept results that the caller is going to take. options: Beam's own, as on its command line.

    Raises:
      InputError: Beam is not installed, or does not know an option's value.
    """
    folder.mkdir(parents=True, exist_ok=True)
    jobs = shards.jobs(folder, make, first, n, last)
    kept = tries = 0
    while kept < wanted:
        share = max(kept / tries, 0.02) if tries else 1.0
        count = min(MOST, max(1, -int(-(wanted - kept) // (share * n)) + (tries > 0)))
        wave = [job for _, job in zip(range(count), jobs, strict=False)]
        if not wave:
            return
        _run([job for job in wave if not shards.final(job[0])], workers, options)
        for path, _, _ in wave:
            results = shards.read(path)
            kept += sum(record is not None for _, record, _ in results)
            tries += len(results)
            yield results


def _run(jobs: list, workers: int, options: Sequence[str]) -> None:
    if not jobs:
        return
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise InputError(
            f"--beam: expected the package apache-beam, got '{error}'; pip install 'v2v-edit[beam]'"
        ) from None
    local = not any(option.split("=")[0] == "--runner" for option in options)
    flags = list(options)
    parsed = PipelineOptions(flags)
    unknown = parsed.get_all_options(retain_unknown_options=True).keys() - parsed.get_all_options().keys()
    if local and unknown:  # other runners have options of their own
        raise InputError(
            f"--beam: expected options of Beam's, got {', '.join(sorted(unknown))}; see its documentation"
        )
    if local:
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
    failed = None
    try:
        with (
            contextlib.redirect_stdout(sys.stderr),
            beam.Pipeline(options=PipelineOptions(flags)) as pipeline,
        ):
            (
                pipeline
                | "shards" >> beam.Create(jobs)
                | "spread" >> beam.Reshuffle()
                | "make" >> beam.Map(shards.ensure)
            )
    except Exception as error:  # runners raise what they like
        failed = error
    missing = [path for path, _, _ in jobs if not shards.sound(path)]
    if not missing:
        return
    text = str(failed)
    if "disk is full" in text:
        raise shards.Stopped(
            f"{missing[0].parent}: the disk is full; free some space and run the same command again"
        )
    if failed is None:
        raise shards.Stopped(
            f"--beam: the runner finished, but {len(missing)} of {len(jobs)} shards are not in {missing[0].parent}; "
            "expected a folder that its workers share with this machine"
        )
    line = text.strip().splitlines()[-1][:300] if text.strip() else type(failed).__name__
    raise shards.Stopped(
        f"--beam {' '.join(options)}: expected the runner to finish, got '{line}'"
    ) from failed
