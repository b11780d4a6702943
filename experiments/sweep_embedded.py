"""The packaged model at three guidances on the exact-truth benchmark, two clips of each of its twelve kinds.

v2v eval experiments/sweep_embedded.py --out runs/sweep          about two minutes on two idle CPU cores; again: seconds

Add a value to a list or a metric, or raise `per_kind`, and run the same command: only new edits and scores are computed.
"""

from pathlib import Path

from v2v.evaluation.benchmarks.exact_truth import build_benchmark
from v2v.evaluation.metrics.builtin import BUILTIN_METRICS, COMPLETE_SUCCESS, STRICT_SUCCESS
from v2v.evaluation.sweep.methods import grid
from v2v.evaluation.sweep.sweep import Sweep


def sweep(folder: Path) -> Sweep:
    """Return the sweep; the benchmark's clips are written into `folder`."""
    return Sweep(
        title="The embedded model by guidance",
        benchmark=build_benchmark(folder, per_kind=2, physics=False),
        methods=grid(model="embedded", guidance=(1, 2, 4), seed=0),
        metrics=(*BUILTIN_METRICS, STRICT_SUCCESS, COMPLETE_SUCCESS),
        baseline="guidance 2",
    )
