"""What a clip does over time that its single frames don't show. edited video -> **flicker, timing, drift**

Flicker. With F_k the DIS optical flow of the *truth* from frame k to k+1 and (W x)(p) = x(p + F_k(p))
(bilinear), a clip's warped frame difference is D_k = W x_{k+1} - x_k. It is not zero even for the truth
(occlusions, shading, errors of the flow), so besides

    output = mean |D_k(output)|   and   truth = mean |D_k(truth)|

there is what the output adds or lacks:   departure = mean |D_k(output) - D_k(truth)|. Warping is linear, so
that is the warped frame difference of the error, exactly 0 for the truth, and an output that is smoother than
the truth is no better for it.

Timing. An edit is *on* in frame k when mean |output - source| over the mask's pixels (of any time) exceeds a
quarter of its 90 % quantile over the clip, and 3 levels, which is above what H.264 does to an unedited frame.

Colour drift. Mean colour of (output - truth), last quarter of the clip minus first quarter, Euclidean norm in
levels.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import cv2
import numpy as np

from v2v.errors import InputError
from v2v.evaluation.metrics import Frames, aligned

LEAST_SIDE = 12  # pixels; DIS finds no patch in less
ON_SHARE, ON_LEVELS = 0.25, 3.0


class Flicker(NamedTuple):
    """Mean absolute levels; `departure` is the figure to compare methods by."""

    output: float
    truth: float
    departure: float


def flicker(output: Frames, truth: Frames) -> Flicker:
    """Warped frame differences of a clip and of its truth, along the truth's motion. At least two frames."""
    find_flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    sums, count, before = np.zeros(3), 0, None
    for x, y, _ in aligned(output, truth):
        if min(x.shape[:2]) < LEAST_SIDE:
            raise InputError(
                f"flicker: expected sides of at least {LEAST_SIDE} pixels, got {x.shape[1]}x{x.shape[0]}"
            )
        grey = cv2.cvtColor(y, cv2.COLOR_RGB2GRAY)
        if before is not None:
            x0, y0, grey0 = before
            to, inside = _targets(find_flow.calc(grey0, grey, None))
            differences = [_warp(b, to) - a for a, b in ((x0, x), (y0, y))]
            differences.append(differences[0] - differences[1])
            sums += [cv2.norm(d, cv2.NORM_L1, mask=inside) for d in differences]
            count += 3 * int(np.count_nonzero(inside))
        before = x, y, grey
    if not count:
        raise InputError("flicker: expected at least two frames, got one")
    return Flicker(*(sums / count).tolist())


def timing_error(output: Frames, source: Frames, mask: np.ndarray) -> tuple[float, float]:
    """Frames by which the visible change starts and ends late (positive) or early against the mask.

    Args:
      mask: [T, H, W], nonzero = edited here and now; held whole, because its union over time is needed first.

    Returns:
      (start error, end error); (nan, nan) where output or mask shows no edit at all.
    """
    times = np.flatnonzero((mask != 0).any((1, 2)))
    somewhere = (mask != 0).any(0)
    region = itertools.repeat(somewhere, len(mask))
    change = np.array([cv2.norm(x, y, cv2.NORM_L1, mask=m) for x, y, m in aligned(output, source, region)])
    change /= 3 * max(1, np.count_nonzero(somewhere))
    on = np.flatnonzero(change > max(ON_LEVELS, ON_SHARE * np.quantile(change, 0.9)))
    if not len(on) or not len(times):
        return float("nan"), float("nan")
    return float(on[0] - times[0]), float(on[-1] - times[-1])


def colour_drift(output: Frames, truth: Frames, mask: Frames | None = None) -> float:
    """How far the mean colour error moves from the clip's first quarter to its last, in levels.

    Within the mask where one is given, frames without masked pixels left out; nan with fewer than two frames.
    """
    colours = []
    for x, y, region in aligned(output, truth, mask):
        if region is None or region.any():
            colours.append(np.subtract(cv2.mean(x, region)[:3], cv2.mean(y, region)[:3]))
    if len(colours) < 2:
        return float("nan")
    quarter = max(1, len(colours) // 4)
    return float(np.linalg.norm(np.mean(colours[-quarter:], 0) - np.mean(colours[:quarter], 0)))


def _targets(flow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each pixel goes, float32 [H, W, 2] as (x, y), and whether that is inside the frame, uint8 [H, W]."""
    height, width = flow.shape[:2]
    to = flow + np.dstack(
        np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    )
    inside = ((to >= 0) & (to <= (width - 1, height - 1))).all(-1)
    return to, inside.view(np.uint8)


def _warp(frame: np.ndarray, to: np.ndarray) -> np.ndarray:
    return cv2.remap(frame.astype(np.float32), to, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
