"""The packaged editor on version 4 of the exact-truth benchmark: scenes, rooms, and looks on the packaged sample clip, told and masked.

v2v eval experiments/sweep_film.py --out runs/film

One item of each kind, about a hundred edits. Write a copy with your own clips and cut-outs, and `per_kind=40` for the whole benchmark:

    build_film_benchmark(folder, clips="FILMS", cutouts="CUTOUTS", per_kind=40)
"""

from pathlib import Path

from v2v.evaluation.benchmarks.exact_truth_film import CUTOUT_KINDS, KINDS, build_film_benchmark
from v2v.evaluation.metrics.builtin import BUILTIN_METRICS
from v2v.evaluation.sweep.methods import EditingMethod
from v2v.evaluation.sweep.sweep import Sweep


def sweep(folder: Path) -> Sweep:
    """Return the sweep; cut-outs, which nothing packaged has, are left out."""
    kinds = tuple(kind for kind in KINDS if kind not in CUTOUT_KINDS)
    return Sweep(
        title="The packaged editor on scenes and film",
        benchmark=build_film_benchmark(folder, per_kind=1, kinds=kinds),
        methods=(EditingMethod("sentence"), EditingMethod("masked", use_mask=True)),
        metrics=BUILTIN_METRICS,
    )
