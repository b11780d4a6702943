"""The packaged editor on version 4 of the exact-truth benchmark: scenes, rooms, and looks on the packaged sample clip, told and masked.

v2v eval experiments/sweep_film.py --out runs/film

One item of each kind, about a hundred edits. Write a copy with your own clips and cut-outs, and `per_kind=40` for the whole benchmark:

    build_film_benchmark(folder, clips="FILMS", cutouts="CUTOUTS", per_kind=40)

The packaged model on 30 November 2026 (commit df329a4), this file with per_kind=3: 57 kinds x 3 (42 scenes, 5 rooms, 124 of film, which is the
sample clip; no cut-outs), 17 frames, 342 edits and their scores in 6.7 minutes of processor time. Success in per cent (half of the way in squared
error, and 30 dB outside) with 95 % intervals; instructions are given to the model as they are, since `v2v edit` would refuse most of the looks that
it was never trained on:

    kinds                                     items    sentence alone       with the mask
    recolour, remove, insert, replace,
      background (scenes and rooms)              15    47 [24, 71]          60 [35, 81]
    looks of its training                        48    75 [62, 86]          77 [64, 87]
    other looks, weather                        108     2 [0, 6]             2 [0, 6]
    all                                         171    26 [20, 33]          28 [22, 35]

    PSNR outside the mask, dB                    98    34.4 [32.9, 35.7]    38.4 [38.0, 38.8]

Of the looks of its training it fails at posterise and at the colours of a reference, of the others only moonlight and snow come near once in three.
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
