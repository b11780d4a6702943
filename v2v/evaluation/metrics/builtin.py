"""Metrics without weights, as objects for a sweep.

The mathematics is defined in pixel.py, temporal.py and success.py; here are functions from a case to values by column, and the metrics with
their columns. To add one, write such a function and a `FunctionMetric`, and list it in `BUILTIN_METRICS` or `OPTIONAL_METRICS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import isnan

from v2v.evaluation.metrics import pixel, temporal, vbench
from v2v.evaluation.metrics.base import Case, Column, Metric, Score, check_values
from v2v.evaluation.metrics.success import (
    ERROR_RATIO,
    ERROR_RATIO_RMS,
    GAP_WINDOW,
    MAX_GAP_SHARE,
    PSNR_OUTSIDE,
    gap_share,
    score_edit,
)


@dataclass(frozen=True)
class FunctionMetric(Metric):
    """A metric defined by a function.

    Attributes:
      name: unique in a sweep.
      columns: the numbers it gives.
      required_fields: fields of `Item` without which it does not apply.
      compute: returns values by column name; a column that is absent or nan does not apply.
      version: raised when the definition changes, so that finished sweeps are scored again.
    """

    name: str
    columns: Sequence[Column]
    required_fields: Sequence[str]
    compute: Callable[[Case], dict[str, float]] = field(repr=False)
    version: int = 1

    @property
    def identity(self) -> dict:
        """Return name and version."""
        return {"metric": self.name, "version": self.version}

    def score(self, case: Case) -> Score:
        """Compute the values of one output."""
        return Score(check_values(self, self.compute(case)))


def _success(case: Case) -> dict[str, float]:
    output, truth = case.against_truth
    mask = case.mask(truth).array
    source = type(truth)(case.source, truth.length, truth.size)
    outcome = score_edit(output, source, truth, mask)
    return {"success": float(outcome.success), "error ratio": outcome.error_ratio}


def _strict_success(case: Case) -> dict[str, float]:
    output, truth = case.against_truth
    source = type(truth)(case.source, truth.length, truth.size)
    outcome = score_edit(output, source, truth, case.mask(truth).array)
    return {"strict success": float(outcome.success_rms)}


def _completeness(case: Case) -> dict[str, float]:
    output, truth = case.against_truth
    mask = case.mask(truth).array
    source = type(truth)(case.source, truth.length, truth.size)
    gaps = gap_share(output, source, truth, mask)
    is_complete = score_edit(output, source, truth, mask).success and not gaps > MAX_GAP_SHARE
    return {"complete success": float(is_complete), "frames with gaps": gaps}


def _psnr(case: Case) -> dict[str, float]:
    output, truth = case.against_truth
    return {"PSNR": pixel.psnr(output, truth)}


def _psnr_regions(case: Case) -> dict[str, float]:
    output, truth = case.against_truth
    inside, outside = pixel.mse_by_region(output, truth, case.mask(truth))
    return {"PSNR inside": pixel.psnr_from_mse(inside), "PSNR outside": pixel.psnr_from_mse(outside)}


def _similarity(case: Case) -> dict[str, float]:
    output, truth = case.against_truth
    ssim, ms_ssim = pixel.ssim_and_ms_ssim(output, truth)
    return {"SSIM": ssim, "MS-SSIM": ms_ssim}


def _change(case: Case) -> dict[str, float]:
    output, source = case.against_source
    inside, outside = pixel.change_by_region(output, source, case.mask(source))
    return {"change inside": inside, "leakage outside": outside}


def _flicker_source(case: Case) -> dict[str, float]:
    output, source = case.against_source
    if len(output) < 2:
        return {}
    of_output, of_source = temporal.flicker_of_pair(output, source)
    return {"flicker": of_output, "flicker of source": of_source}


def _flicker_truth(case: Case) -> dict[str, float]:
    output, truth = case.against_truth
    return {} if len(output) < 2 else {"flicker departure": temporal.flicker_departure(output, truth)}


def _flicker_along_truth(case: Case) -> dict[str, float]:
    output, truth = case.against_truth
    if len(output) < 2:
        return {}
    levels = temporal.flicker(output, truth)
    return {
        "warped difference": levels.output,
        "warped difference of truth": levels.truth,
        "warped difference of error": levels.departure,
    }


def _timing(case: Case) -> dict[str, float]:
    output, source = case.against_source
    mask = case.mask(source).array
    if len(mask) < 2 or all(plane.any() for plane in mask):
        return {}
    start, end = temporal.timing_error(output, source, mask)
    if isnan(start):
        # No visible edit at all: wrong by the length of the clip.
        return {"timing error": float(len(mask))}
    return {"timing error": abs(start) + abs(end)}


def _drift(case: Case) -> dict[str, float]:
    output, truth = case.against_truth
    return {"colour drift": temporal.color_drift(output, truth)}


def _temporal_flickering(case: Case) -> dict[str, float]:
    return {"temporal flickering": vbench.temporal_flickering(case.output)}


def _motion_smoothness(case: Case) -> dict[str, float]:
    return {"motion smoothness (DIS)": vbench.motion_smoothness(case.output)}


SUCCESS = FunctionMetric(
    "success",
    (
        Column("success", worst=0.0, rate=True, about=f"at least half of the way: squared error inside the mask at most {ERROR_RATIO:g} of doing nothing's, and at least {PSNR_OUTSIDE:g} dB outside; a part left undone can pass, see complete success and strict success"),
        Column("error ratio", "lower", about="squared error inside the mask against the truth, doing nothing = 1"),
    ),
    ("truth", "mask"), _success,
)  # fmt: skip
PSNR = FunctionMetric("PSNR", (Column("PSNR", unit="dB", about="against the truth, all pixels of all frames pooled"),), ("truth",), _psnr)  # fmt: skip
PSNR_REGIONS = FunctionMetric(
    "PSNR by region",
    (
        Column("PSNR inside", unit="dB", about="against the truth, inside the mask"),
        Column("PSNR outside", unit="dB", about="against the truth, outside the mask, other times included"),
    ),
    ("truth", "mask"), _psnr_regions,
)  # fmt: skip
SIMILARITY = FunctionMetric(
    "similarity",
    (
        Column("SSIM", about="luma, 11x11 Gaussian window, against the truth"),
        Column("MS-SSIM", about="five octaves, against the truth; frames with a side under 176 pixels have none"),
    ),
    ("truth",), _similarity,
)  # fmt: skip
CHANGE = FunctionMetric(
    "change",
    (
        Column("change inside", "neither", "levels", about="mean |output - source| inside the mask: 0 is an edit that did nothing"),
        Column("leakage outside", "lower", "levels", about="mean |output - source| where nothing should change"),
    ),
    ("mask",), _change,
)  # fmt: skip
FLICKER = FunctionMetric(
    "flicker",
    (
        Column("flicker", "lower", "levels", about="mean |warped frame difference| of the output along the source's motion (DIS flow)"),
        Column("flicker of source", "neither", "levels", about="the same of the source itself"),
    ),
    (), _flicker_source, version=2,
)  # fmt: skip
FLICKER_TRUTH = FunctionMetric(
    "flicker against truth",
    (Column("flicker departure", "lower", "levels", about="warped frame difference of the error, along the truth's motion: 0 for the truth"),),
    ("truth",), _flicker_truth, version=2,
)  # fmt: skip
TIMING = FunctionMetric(
    "timing",
    (Column("timing error", "lower", "frames", about="frames by which the visible change starts and ends late or early against the mask, both added; items whose edit begins or ends inside the clip"),),
    ("mask",), _timing,
)  # fmt: skip
COLOR_DRIFT = FunctionMetric(
    "colour drift",
    (Column("colour drift", "lower", "levels", about="how far the mean colour error moves from the first quarter to the last"),),
    ("truth",), _drift,
)  # fmt: skip

STRICT_SUCCESS = FunctionMetric(
    "strict success",
    (Column("strict success", worst=0.0, rate=True, about=f"success with an error inside the mask of at most {ERROR_RATIO_RMS:g} of doing nothing's"),),
    ("truth", "mask"), _strict_success,
)  # fmt: skip
COMPLETE_SUCCESS = FunctionMetric(
    "complete success",
    (
        Column("complete success", worst=0.0, rate=True, about=f"success, and in at most {MAX_GAP_SHARE:g} of the frames a place as large as {GAP_WINDOW:g} of the shorter side that was left as it was"),
        Column("frames with gaps", "lower", about="share of the frames that ask for a visible change with such a place"),
    ),
    ("truth", "mask"), _completeness,
)  # fmt: skip
FLICKER_ALONG_TRUTH = FunctionMetric(
    "flicker along truth",
    (
        Column("warped difference", "lower", "levels", about="mean |warped frame difference| of the output along the truth's motion"),
        Column("warped difference of truth", "neither", "levels", about="the same of the truth itself"),
        Column("warped difference of error", "lower", "levels", about="the same of output minus truth: 0 for the truth"),
    ),
    ("truth",), _flicker_along_truth,
)  # fmt: skip

TEMPORAL_FLICKERING = FunctionMetric(
    "temporal flickering",
    (Column("temporal flickering", unit="%", about="VBench's formula: 1 - mean difference of neighbouring frames / 255; motion counts too, so set it beside that of other methods only"),),
    (), _temporal_flickering,
)  # fmt: skip
MOTION_SMOOTHNESS = FunctionMetric(
    "motion smoothness",
    (Column("motion smoothness (DIS)", unit="%", about="1 - mean error / 255 of every second frame interpolated from its neighbours along DIS flow; VBench interpolates with AMT-S, so not comparable with its figures"),),
    (), _motion_smoothness,
)  # fmt: skip

# Metrics that repeat what others say in another form or more strictly, and those in the definitions of other benchmarks.
OPTIONAL_METRICS = (
    STRICT_SUCCESS,
    COMPLETE_SUCCESS,
    FLICKER_ALONG_TRUTH,
    TEMPORAL_FLICKERING,
    MOTION_SMOOTHNESS,
)
BUILTIN_METRICS = (
    SUCCESS,
    PSNR,
    PSNR_REGIONS,
    SIMILARITY,
    CHANGE,
    FLICKER,
    FLICKER_TRUTH,
    TIMING,
    COLOR_DRIFT,
)
