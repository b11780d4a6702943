"""Metrics over time: flicker, timing of the edit and color drift.

Flicker. With F_k the DIS optical flow of the *truth* from frame k to k+1 and (W x)(p) = x(p + F_k(p))
(bilinear), a clip's warped frame difference is D_k = W x_{k+1} - x_k. It is not zero even for the truth
(occlusions, shading, errors of the flow), so besides

    output = mean |D_k(output)|   and   truth = mean |D_k(truth)|

there is what the output adds or lacks:   departure = mean |D_k(output) - D_k(truth)|. Warping is linear, so
that is the warped frame difference of the error, exactly 0 for the truth, and an output that is smoother than
the truth is no better for it. Clips with a short side from 400 pixels on have their flow found at half their size (2x2
means), doubled and interpolated: a quarter of the time, and finer detail is not motion of objects.

Timing. An edit is *on* in frame k when mean |output - source| over the mask's pixels (of any time) exceeds a
quarter of its 90 % quantile over the clip, and 3 levels, which is above what H.264 does to an unedited frame.

Colour drift. Mean colour of (output - truth), last quarter of the clip minus first quarter, Euclidean norm in
levels.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

from v2v.errors import InputError
from v2v.evaluation.metrics.pixel import Frames, iterate_aligned, iterate_strips, norm_by_region

# Pixels; DIS finds no patch in less.
MIN_SIDE = 12
# Side of the patches of DIS.
PATCH = 8
# Short side in pixels from which flow is computed at half the size.
HALF_SIZE_FROM = 400
# An edit is on where the change exceeds this share of its 90 % quantile, and these levels.
ON_SHARE, ON_LEVELS = 0.25, 3.0


# A warped frame and the one before it.
FramePair = tuple[np.ndarray, np.ndarray]


class Flicker(NamedTuple):
    """Warped frame differences, mean absolute levels.

    Attributes:
      output: of the output.
      truth: of the truth.
      departure: of their difference; the figure to compare methods by.
    """

    output: float
    truth: float
    departure: float


def flicker(output: Frames, truth: Frames) -> Flicker:
    """Compute warped frame differences of a clip and its truth along the truth's motion; at least two frames."""
    return Flicker(*_warped_differences(output, truth, _both, _with_departure))


def flicker_of_pair(output: Frames, source: Frames) -> tuple[float, float]:
    """Compute the warped frame differences of output and source along the source's motion."""
    of_output, of_source = _warped_differences(output, source, _both)
    return of_output, of_source


def flicker_departure(output: Frames, truth: Frames) -> float:
    """Compute `flicker(output, truth).departure` in half the time: only the error is warped."""
    return _warped_differences(output, truth, _error)[0]


def timing_error(output: Frames, source: Frames, mask: np.ndarray) -> tuple[float, float]:
    """Compute by how many frames the visible change starts and ends late (positive) or early against the mask.

    Args:
      output: uint8 RGB frames [H, W, 3].
      source: frames of the same length and size.
      mask: [T, H, W], nonzero = edited here and now; held whole, because its union over time is needed first.

    Returns:
      (start error, end error); (nan, nan) where output or mask shows no edit at all.
    """
    times = np.flatnonzero([plane.any() for plane in mask])
    somewhere = functools.reduce(np.logical_or, mask, np.zeros(mask.shape[1:], bool))
    region = itertools.repeat(somewhere, len(mask))
    change = np.array(
        [cv2.norm(x, y, cv2.NORM_L1, mask=m) for x, y, m in iterate_aligned(output, source, region)]
    )
    change /= 3 * max(1, np.count_nonzero(somewhere))
    on = np.flatnonzero(change > max(ON_LEVELS, ON_SHARE * np.quantile(change, 0.9)))
    if not len(on) or not len(times):
        return float("nan"), float("nan")
    return float(on[0] - times[0]), float(on[-1] - times[-1])


def color_drift(output: Frames, truth: Frames, mask: Frames | None = None) -> float:
    """Compute how far the mean color error moves from the clip's first quarter to its last, in levels.

    Args:
      output: a clip.
      truth: a clip of the same length and size.
      mask: where to compare, leaving out frames without masked pixels; None for everywhere.

    Returns:
      nan with fewer than two frames.
    """
    colors = []
    for x, y, region in iterate_aligned(output, truth, mask):
        if region is None or region.any():
            colors.append(np.subtract(cv2.mean(x, region)[:3], cv2.mean(y, region)[:3]))
    if len(colors) < 2:
        return float("nan")
    quarter = max(1, len(colors) // 4)
    return float(np.linalg.norm(np.mean(colors[-quarter:], 0) - np.mean(colors[:quarter], 0)))


def check_flow_size(height: int, width: int, what: str) -> None:
    """Check that DIS finds optical flow in frames of a size; in some others OpenCV reads past its memory and ends the process.

    Args:
      height: in pixels.
      width: in pixels.
      what: the metric, for the message.

    Raises:
      InputError: a side that is too small, or a height that is too small for the width.
    """
    if min(height, width) < MIN_SIDE:
        raise InputError(f"{what}: expected sides of at least {MIN_SIDE} pixels, got {width}x{height}")
    # Frames without room for its usual scales it halves as often as their width allows, although a patch must fit the height too.
    halvings = max(0, math.floor(math.log2(2 * width / (5 * PATCH))))
    if min(height, width) < 4 * PATCH and height >> halvings < PATCH:
        raise InputError(
            f"{what}: expected at least {min(PATCH << halvings, 4 * PATCH)} rows for a width of {width} pixels, got {height}"
        )


def _both(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, ...]:
    return x, y


def _error(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, ...]:
    return (cv2.subtract(x, y, dst=x),)


def _with_departure(moved: list[FramePair]) -> list[FramePair]:
    """Return (W x_{k+1}, x_k) of two clips, and their two warped differences as a third pair."""
    output, truth = moved
    return [output, truth, (cv2.subtract(*output), cv2.subtract(*truth))]


def _warped_differences(
    output: Frames,
    truth: Frames,
    videos: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, ...]],
    compared: Callable[[list[FramePair]], list[FramePair]] = list,
) -> list[float]:
    """Compute mean |W x_{k+1} - x_k| over frames, pixels and channels along the truth's motion.

    Args:
      output: a clip.
      truth: a clip, whose motion is followed.
      videos: returns the frames to warp, from the frames of output and truth, over which it may write.
      compared: returns the pairs whose differences are measured, from the pairs (W x_{k+1}, x_k) of `videos`.

    Returns:
      one mean for each pair of `compared`.
    """
    find_flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    sums, count, previous = np.zeros(()), 0, None
    memory: _Memory | None = None
    for x, y, _ in iterate_aligned(output, truth):
        height, width = y.shape[:2]
        check_flow_size(height, width, "flicker")
        if memory is None or memory.size != (height, width):
            memory = _Memory(height, width)
        frames, gray = videos(*memory.to_warp(x, y)), _for_flow(y)
        if previous is not None:
            previous_frames, previous_gray = previous
            # OpenCV allocates the flow.
            flow = find_flow.calc(previous_gray, gray, None)  # pyright: ignore[reportCallIssue, reportArgumentType]
            flow = memory.to_full_size(flow)
            # No pixel farther from the border leaves the frame.
            reach = math.ceil(cv2.norm(flow, cv2.NORM_INF))
            for rows in iterate_strips(height, width):
                to, outside, inside_count = memory.targets(flow, rows, reach)
                moved = [
                    (memory.warp(new, to, k), old[rows])
                    for k, (old, new) in enumerate(zip(previous_frames, frames, strict=True))
                ]
                sums = sums + [_inside_norm(*pair, outside) for pair in compared(moved)]
                count += 3 * inside_count
        previous = frames, gray
    if not count:
        raise InputError("flicker: expected at least two frames, got one")
    return (sums / count).tolist()


def _for_flow(frame: np.ndarray) -> np.ndarray:
    """Return luma, uint8 [H, W], or [H/2, W/2] of a large frame."""
    gray = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    if min(gray.shape) < HALF_SIZE_FROM:
        return gray
    return cv2.resize(gray, (gray.shape[1] // 2, gray.shape[0] // 2), interpolation=cv2.INTER_AREA)


class _Memory:
    """Arrays of one frame size that are written again for every frame: memory that is new each time takes longer than what is done with it.

    Attributes:
      size: (height, width).
    """

    def __init__(self, height: int, width: int):
        self.size = height, width
        strip = next(iterate_strips(height, width))
        rows = strip.stop - strip.start
        # Frames of output and truth, of this time and the one before.
        self._frames = np.empty((2, 2, height, width, 4), np.float32)
        self._colors = np.empty((height, width, 4), np.uint8)
        self._flow = np.empty((height, width, 2), np.float32)
        self._targets = np.empty((rows, width, 2), np.float32)
        self._outside = np.empty((rows, width), np.uint8)
        self._moved = np.empty((2, rows, width, 4), np.float32)
        self._count = 0

    def to_warp(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Convert two uint8 RGB frames to float32 [H, W, 4] with a constant last channel: four channels warp in half the time of three.

        They are valid until the second call after this one.
        """
        self._count += 1
        places = self._frames[self._count % 2]
        for frame, place in zip((x, y), places, strict=True):
            place[...] = cv2.cvtColor(frame, cv2.COLOR_RGB2RGBA, dst=self._colors)
        return places[0], places[1]

    def to_full_size(self, flow: np.ndarray) -> np.ndarray:
        """Return a flow at the frames' size, in pixels of that size, float32 [H, W, 2]."""
        height, width = self.size
        if flow.shape[:2] == self.size:
            return flow
        scale = np.array((width / flow.shape[1], height / flow.shape[0], 0, 0))
        return cv2.resize(cv2.multiply(flow, scale, dst=flow), (width, height), dst=self._flow)

    def targets(self, flow: np.ndarray, rows: slice, reach: int) -> tuple[np.ndarray, np.ndarray | None, int]:
        """Return where pixels of some rows come from.

        Args:
          flow: float32 [H, W, 2].
          rows: the rows, few enough for the processor's cache.
          reach: pixels that no part of the flow exceeds.

        Returns:
          the targets as (x, y), float32 [rows, W, 2]; which of them are outside the frame, uint8 [rows, W] in {0, 255}, None for none; the
          number of the others.
        """
        height, width = self.size
        to = cv2.add(flow[rows], _grid(height, width)[rows], dst=self._targets[: rows.stop - rows.start])
        outside = self._outside[: len(to)]
        outside[...] = 0
        for band in _border_bands(rows, height, width, reach):
            # A view whose rows are apart is read as it is, but not written.
            outside[band] = cv2.bitwise_not(cv2.inRange(to[band], (0, 0), (width - 1, height - 1)))
        count = cv2.countNonZero(outside)
        return to, outside if count else None, outside.size - count

    def warp(self, frame: np.ndarray, to: np.ndarray, place: int) -> np.ndarray:
        """Return rows of W frame, float32, in one of two places."""
        # The stubs do not know that a map of two channels has no second map.
        return cv2.remap(  # pyright: ignore[reportCallIssue]
            frame, to, None, cv2.INTER_LINEAR, dst=self._moved[place, : len(to)], borderMode=cv2.BORDER_REPLICATE  # pyright: ignore[reportArgumentType]
        )  # fmt: skip


def _border_bands(rows: slice, height: int, width: int, reach: int) -> list[tuple[slice, slice]]:
    """Return the parts of a strip that lie within a distance of the frame's border; they may overlap.

    Args:
      rows: of the strip.
      height: of the frame.
      width: of the frame.
      reach: the distance in pixels.
    """
    top, bottom = min(reach, rows.stop) - rows.start, max(height - reach, rows.start) - rows.start
    left, right = min(reach, width), max(width - reach, 0)
    every = slice(None)
    bands = (
        (slice(0, max(0, top)), every), (slice(bottom, None), every),
        (every, slice(0, left)), (every, slice(right, None)),
    )  # fmt: skip
    count = rows.stop - rows.start
    return [
        (r, c) for r, c in bands if range(*r.indices(count)) and range(*c.indices(width))
    ]  # fmt: skip


def _inside_norm(moved: np.ndarray, frame: np.ndarray, outside: np.ndarray | None) -> float:
    """Return the sum of absolute differences over the pixels that have a target; a norm without mask is faster."""
    if outside is None:
        return cv2.norm(moved, frame, cv2.NORM_L1)
    return norm_by_region(moved, frame, outside, cv2.NORM_L1)[1]


@functools.lru_cache(maxsize=2)
def _grid(height: int, width: int) -> np.ndarray:
    """Return the place (x, y) of every pixel, float32 [H, W, 2]."""
    return np.dstack(np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)))
