"""Fill what is hidden in some frames from what other frames show.

frames, masks of what is hidden → **fill_hidden** → frames. A plate is carried from frame to frame along the motion, forwards and
backwards: where a frame shows the place, the plate is the frame, elsewhere it is what was carried there. Each carried pixel has an
expected squared error: what the motion failed to explain on the way, measured beside the hidden places. The fill is the mean of both
plates and of OpenCV's inpainting (Telea 2004), which looks at one frame alone, weighted by their inverse errors.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np

# Bytes of frames that are held at a time, and frames at least and at most.
MEMORY = 256 << 20
LEAST_BLOCK, MOST_BLOCK = 16, 96
# Share of a block that is looked at in advance only.
LOOK_AHEAD = 1 / 3
# Shares of the frame's shorter side: how far around the hidden place the frame is looked at, and over which windows errors, variances and
# the motion around it are averaged.
MARGIN_SHARE, WINDOW_SHARE = 0.13, 0.13
# Squared error in levels that every frame adds, and the one of what was never seen.
STEP_ERROR = 0.5
UNSEEN = np.float32(1e6)
# Mean squared error of inpainting as a share of the variance around, and its least.
INPAINTING_SHARE, INPAINTING_ERROR = 0.5, 4.0
INPAINTING_RADIUS = 3
# Mean trust around a pixel at which motion from farther away counts as much as that from nearby.
FAR_SHARE = np.float32(0.05)
# Pixels a frame below which nothing moves.
STILL = 0.15
# Pixels by which a hidden place is grown before it is painted for the estimate of motion, and how far what is painted spoils that.
FLOW_GROWTH, FLOW_REACH = 3, 11


@dataclass(frozen=True)
class FilledFrame:
    """A frame without its hidden place.

    Attributes:
      frame: uint8 [H, W, 3]; the source's bytes where nothing was hidden.
      unseen: share of the hidden pixels that no other frame showed, so that they are inpainted.
    """

    frame: np.ndarray
    unseen: float


@dataclass(frozen=True)
class _Plate:
    """What is carried.

    Attributes:
      frame: float32 [h, w, 3].
      error: expected squared error, float32 [h, w]; 0 where the frame shows it.
    """

    frame: np.ndarray
    error: np.ndarray


@dataclass(frozen=True)
class _Average:
    """Means over windows.

    Attributes:
      window: their width and height in pixels.
    """

    window: int

    def __call__(self, values: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Return the weighted mean of values, float32 [h, w] or [h, w, c], around every pixel; weights are float32 [h, w]."""
        total = np.maximum(self._blur(weights), np.float32(1e-5))
        if values.ndim == 3:
            weights, total = weights[..., None], total[..., None]
        return self._blur(values * weights) / total

    def share(self, weights: np.ndarray) -> np.ndarray:
        """Return the mean weight around every pixel."""
        return self._blur(weights)

    def widened(self) -> "_Average":
        """Return means over windows that are three times as wide."""
        return _Average(3 * self.window)

    def _blur(self, values: np.ndarray) -> np.ndarray:
        return cv2.blur(values, (self.window, self.window), borderType=cv2.BORDER_REPLICATE)


def fill_hidden(frames: Iterable[tuple[np.ndarray, np.ndarray]]) -> Iterator[FilledFrame]:
    """Fill the hidden places of a clip.

    Args:
      frames: every frame, uint8 [H, W, 3] RGB, and what is hidden in it, bool [H, W].

    Yields:
      the frames in order; a block of them is held at a time.
    """
    source = iter(frames)
    block: list[tuple[np.ndarray, np.ndarray]] = []
    past: tuple[np.ndarray, np.ndarray] | None = None
    is_open = True
    while is_open or block:
        while is_open and len(block) < (_block_length(block[0][0]) if block else 1):
            item = next(source, None)
            is_open = item is not None
            if item is not None:
                block.append(item)
        count = len(block) - round(LOOK_AHEAD * len(block)) if is_open else len(block)
        results, past = _fill_block(block, count, past)
        yield from results
        block = block[count:]


def _block_length(frame: np.ndarray) -> int:
    return int(np.clip(MEMORY // (4 * frame.nbytes), LEAST_BLOCK, MOST_BLOCK))


def _fill_block(
    block: list[tuple[np.ndarray, np.ndarray]], count: int, past: tuple[np.ndarray, np.ndarray] | None
) -> tuple[list[FilledFrame], tuple[np.ndarray, np.ndarray] | None]:
    """Fill the first `count` frames of a block.

    Args:
      block: frames and what is hidden in them.
      count: how many are returned; the others are looked at only.
      past: the plate and its error at full size after the frame before the block; None at the clip's start.

    Returns:
      The frames, and `past` for the next block.
    """
    if not block:
        return [], past
    region = _region_of([mask for _, mask in block])
    if region is None:
        frame = block[count - 1][0]
        return [FilledFrame(frame, 0.0) for frame, _ in block[:count]], (
            frame,
            np.zeros(frame.shape[:2], np.float32),
        )
    parts = [frame[region] for frame, _ in block]
    masks = [mask[region] for _, mask in block]
    # One frame alone, for the motion and where nothing better is known.
    painted = [_inpaint(part, mask) for part, mask in zip(parts, masks, strict=True)]
    average = _Average(max(5, round(WINDOW_SHARE * min(block[0][1].shape)) | 1))
    start = None
    if past is not None:
        start = _Plate(past[0][region].astype(np.float32), past[1][region])
    forward = _propagate(parts, masks, painted, start, average)
    backward = _propagate(parts[::-1], masks[::-1], painted[::-1], None, average)[::-1]
    results = []
    for t in range(count):
        frame, mask = block[t]
        if not mask.any():
            results.append(FilledFrame(frame, 0.0))
            continue
        filled, unseen = _merge(parts[t], masks[t], painted[t], (forward[t], backward[t]), average)
        out = frame.copy()
        out[region] = filled
        results.append(FilledFrame(out, unseen))
    last = block[count - 1][0]
    plate, error = last.astype(np.float32), np.zeros(last.shape[:2], np.float32)
    plate[region], error[region] = forward[count - 1].frame, forward[count - 1].error
    return results, (plate, error)


def _region_of(masks: list[np.ndarray]) -> tuple[slice, slice] | None:
    """Return rows and columns around all that is hidden in a block; None where nothing is."""
    union = np.bitwise_or.reduce(masks)
    x, y, w, h = cv2.boundingRect(union.astype(np.uint8))
    if not w:
        return None
    margin = max(8, round(MARGIN_SHARE * min(union.shape)))
    return slice(max(0, y - margin), y + h + margin), slice(max(0, x - margin), x + w + margin)


def _inpaint(part: np.ndarray, mask: np.ndarray) -> np.ndarray:
    if not mask.any():
        return part
    grown = cv2.dilate(mask.astype(np.uint8), np.ones((FLOW_GROWTH, FLOW_GROWTH), np.uint8))
    return cv2.inpaint(np.ascontiguousarray(part), grown, INPAINTING_RADIUS, cv2.INPAINT_TELEA)


def _propagate(
    parts: list[np.ndarray],
    masks: list[np.ndarray],
    painted: list[np.ndarray],
    start: _Plate | None,
    average: "_Average",
) -> list[_Plate]:
    """Warp a plate through frames in order; `start` is the one before the first."""
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    h, w = masks[0].shape
    grid = np.meshgrid(np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32))
    plates: list[_Plate] = []
    plate, previous = start, None if start is None else np.clip(start.frame, 0, 255).astype(np.uint8)
    for part, mask, picture in zip(parts, masks, painted, strict=True):
        values, error = part.astype(np.float32), np.zeros((h, w), np.float32)
        if mask.any():
            warped = None
            if plate is not None and previous is not None:
                warped = _warp(plate, previous, picture, part, mask, grid, flow, average)
            values[mask] = picture[mask] if warped is None else warped.frame[mask]
            error[mask] = UNSEEN if warped is None else warped.error[mask]
        plate, previous = _Plate(values, error), picture
        plates.append(plate)
    return plates


def _warp(
    plate: _Plate,
    previous: np.ndarray,
    picture: np.ndarray,
    part: np.ndarray,
    mask: np.ndarray,
    grid: list[np.ndarray] | tuple[np.ndarray, ...],
    flow: cv2.DISOpticalFlow,
    average: "_Average",
) -> _Plate:
    """Return the plate of the frame before, where it lies in this one, with the error that this adds."""
    luma, old = (cv2.cvtColor(p, cv2.COLOR_RGB2GRAY) for p in (picture, previous))
    # OpenCV's stubs lack the None that asks for no initial flow.
    motion = flow.calc(luma, old, None)  # pyright: ignore[reportCallIssue, reportArgumentType]
    # What is painted moves by itself: there the motion of what is around counts.
    # The flow is a smooth one, so what is painted spoils it nearby too: those pixels count little.
    near = cv2.dilate(mask.astype(np.uint8), np.ones((FLOW_REACH, FLOW_REACH), np.uint8)) > 0
    trust = np.where(mask, 0, np.where(near, np.float32(0.02), np.float32(1))).astype(np.float32)
    near_motion, far_motion = average(motion, trust), average.widened()(motion, trust)
    share = average.share(trust)[..., None]
    motion[mask] = ((share * near_motion + FAR_SHARE * far_motion) / (share + FAR_SHARE))[mask]
    # Noise moves nothing: what stands still is not resampled again and again.
    motion[np.abs(motion).max(-1) < STILL] = 0
    x, y = grid[0] + motion[..., 0], grid[1] + motion[..., 1]
    moved = cv2.remap(plate.frame, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    error = cv2.remap(plate.error, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=float(UNSEEN))  # fmt: skip
    visible = (~mask & (error < UNSEEN / 2)).astype(np.float32)
    step_error = average(((moved - part) ** 2).mean(-1), visible)
    return _Plate(np.clip(moved, 0, 255), np.minimum(error + step_error + np.float32(STEP_ERROR), UNSEEN))


def _merge(
    part: np.ndarray,
    mask: np.ndarray,
    picture: np.ndarray,
    plates: tuple[_Plate, _Plate],
    average: "_Average",
) -> tuple[np.ndarray, float]:
    """Return a frame's part with its hidden place filled, and the share of it that no other frame showed."""
    visible = (~mask).astype(np.float32)
    values = part.astype(np.float32)
    variance = (average(values * values, visible) - average(values, visible) ** 2).mean(-1)
    errors = [np.maximum(variance, 0) * np.float32(INPAINTING_SHARE) + np.float32(INPAINTING_ERROR)]
    errors += [plate.error for plate in plates]
    pictures = [picture.astype(np.float32), *(plate.frame for plate in plates)]
    weights = [1 / np.maximum(error[mask], np.float32(0.1)) for error in errors]
    total = np.sum(weights, 0)
    filled = sum(p[mask] * (w / total)[:, None] for p, w in zip(pictures, weights, strict=True))
    out = part.copy()
    out[mask] = np.rint(np.clip(filled, 0, 255)).astype(np.uint8)
    unseen = np.minimum(plates[0].error[mask], plates[1].error[mask]) >= UNSEEN / 2
    return out, float(unseen.mean())
