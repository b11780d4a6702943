"""Jobs by number, run by Apache Beam on processes or machines.

numbers -> Create(ranges) -> expand -> Reshuffle -> **call the function**

Used for shards of training pairs, lines of manifests and edits of sweeps alike. Beam decides only where and when a job runs. A job leaves
its result where its caller looks for it (a file, an object in a bucket) and returns at once where that is there already, so neither the
runner, the number of workers nor what was killed changes the result, and a second run does only what is missing.

Without options the runner is Beam's local one, with one process a worker. `--runner FlinkRunner --flink_master ...`, SparkRunner,
DataflowRunner and their options are passed on; their workers need this package, and see what the jobs read and write.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterable, Sequence

from v2v.errors import InputError

# Numbers that the driver names at once; the workers expand them, so that the plan of a million jobs stays small.
RANGE_LENGTH = 1024


class RunnerFailedError(InputError):
    """The runner ended with an error; what its jobs finished is where they put it."""


def run_jobs(
    function: Callable[[int], object],
    numbers: Iterable[range],
    workers: int = 1,
    options: Sequence[str] = (),
    option_name: str = "--beam",
) -> None:
    """Call a function for each number, wherever Beam decides.

    Args:
      function: does one job; picklable. A runner may call it again, also while an earlier call still runs.
      numbers: numbers of the jobs.
      workers: number of local processes.
      options: options of Beam, as on its command line.
      option_name: the option that brought `options`, for messages.

    Raises:
      InputError: Beam is not installed, or does not know an option.
      RunnerFailedError: the runner failed.
    """
    ranges = [piece for span in numbers for piece in _split(span)]
    if not ranges:
        return
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise InputError(
            f"{option_name}: expected the package apache-beam, got '{error}'; pip install 'v2v-edit[beam]'"
        ) from None
    is_local = not any(option.split("=")[0] == "--runner" for option in options)
    flags = list(options)
    parsed = PipelineOptions(flags)
    unknown = parsed.get_all_options(retain_unknown_options=True).keys() - parsed.get_all_options().keys()
    if is_local and unknown:  # other runners have options of their own
        raise InputError(
            f"{option_name}: expected options of Beam's, got {', '.join(sorted(unknown))}; see its documentation"
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
    try:
        with (
            contextlib.redirect_stdout(sys.stderr),
            beam.Pipeline(options=PipelineOptions(flags)) as pipeline,
        ):
            jobs = pipeline | "ranges" >> beam.Create(ranges) | "jobs" >> beam.FlatMap(_expand)
            _ = jobs | "spread" >> beam.Reshuffle() | "run" >> beam.Map(function)
    except Exception as error:  # runners raise what they like
        text = str(error).strip()
        line = text.splitlines()[-1][:300] if text else type(error).__name__
        raise RunnerFailedError(
            f"{' '.join((option_name, *options))}: expected the runner to finish, got '{line}'"
        ) from error


def _split(span: range) -> list[tuple[int, int]]:
    """Return the beginnings and ends of pieces of a range, each short."""
    return [
        (start, min(start + RANGE_LENGTH, span.stop)) for start in range(span.start, span.stop, RANGE_LENGTH)
    ]


def _expand(piece: tuple[int, int]) -> range:
    return range(*piece)
