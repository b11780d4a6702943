"""Where and when to edit: masks and time ranges, read and checked; and what is left alone, put back exactly.

Polarity: white = edit here, now. A mask is a picture (the same for every frame) or a video (one for each), of the clip's own size.
`composite` is the last step before a clip is written: outside the mask the source's bytes are kept as they are, and inside, the
edit fades in over a few pixels so that no seam shows.
"""

import warnings
from pathlib import Path

import cv2
import numpy as np

from v2v.codec import video
from v2v.codec.video import Video
from v2v.errors import InputError

GREY = (32, 224)  # a value between these is neither black nor white
GREY_SHARE = 0.02  # of the pixels; more of them is worth a word (compression alone leaves some along edges)
FADE = 1 / 240  # width of the fade, as a share of the frame's shorter side


def load(mask: str | Path | np.ndarray | Video, clip: Video) -> np.ndarray:
    """A mask as bool [T, H, W], the clip's own shape; True = edit.

    Args:
      mask: picture or video file, or an array [H, W] or [T, H, W] (or with a last axis of colours): bool, 0..255 or floats 0..1.
      clip: the clip it belongs to.

    Raises:
      InputError: another size or length than the clip's, or a mask that selects nothing.
    """
    name = f"{mask}" if isinstance(mask, str | Path) else "mask"
    grey = _grey(mask, name)
    T, H, W = clip.frames.shape[:3]
    if grey.shape[1:] != (H, W):
        raise InputError(
            f"{name}: mask expected to have the clip's size {W}x{H}, got {grey.shape[2]}x{grey.shape[1]}; scale it to the clip"
        )
    if len(grey) not in (1, T):
        raise InputError(
            f"{name}: mask expected to have 1 frame or the clip's {T}, got {len(grey)}; cut it to the clip's length"
        )
    between = np.mean((grey > GREY[0]) & (grey < GREY[1]))
    if between > GREY_SHARE:
        warnings.warn(
            f"{name}: {between:.0%} of the mask is neither black nor white; from 128 on it counts as white",
            stacklevel=3,
        )
    chosen = grey >= 128
    if not chosen.any():
        raise InputError(
            f"{name}: mask is black everywhere, so nothing would be edited; paint what to edit white"
        )
    return np.broadcast_to(chosen, (T, H, W))


def span(clip: Video, start: float | None, end: float | None) -> tuple[int, int]:
    """Frames [first, last) that appear from `start` up to, not including, `end` (seconds; None for the clip's ends)."""
    begins, ends = float(clip.times[0]), float(clip.times[0]) + clip.duration
    slack = 1 / clip.fps
    for label, value in (("start", start), ("end", end)):
        if value is not None and not 0 <= value <= ends + slack:
            raise InputError(f"--{label} {value:g}: expected seconds within the clip, 0 to {ends:.2f}")
    if start is not None and end is not None and start >= end:
        raise InputError(f"--start {start:g} --end {end:g}: expected start before end")
    low = begins if start is None else start
    high = np.inf if end is None else end
    first, last = np.searchsorted(clip.times, [low - 1e-6, high - 1e-6])
    if first == last:
        raise InputError(
            f"--start {low:g} --end {min(high, ends):g}: expected to cover a frame, but none appears then; "
            f"frames are {slack:.3f} s apart and the last is at {clip.times[-1]:.2f} s"
        )
    return int(first), int(last)


def small(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """bool [T, H, W] -> bool [T, height, width] as the model sees it: True where a quarter of the area is."""
    return np.stack(
        [cv2.resize(m.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA) > 0.25 for m in mask]
    )


def composite(source: np.ndarray, edit: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """One frame uint8 [H, W, 3]: the edit where mask [H, W] is True, fading in from its rim inwards, else the source's bytes."""
    width = round(FADE * min(mask.shape))
    depth = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 3) if width else mask.astype(np.float32)
    alpha = np.minimum(depth / (width + 1), 1)[..., None] if width else depth[..., None]
    blend = np.rint(source + alpha * (edit.astype(np.float32) - source)).astype(np.uint8)
    return np.where(mask[..., None], blend, source)


def _grey(mask: str | Path | np.ndarray | Video, name: str) -> np.ndarray:
    """uint8 [T, H, W], T = 1 for a picture."""
    if isinstance(mask, str | Path):
        mask = video.read(mask)
    if isinstance(mask, Video):
        return np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in mask.frames])
    array = np.asarray(mask)
    if array.ndim in (3, 4) and array.shape[-1] in (1, 3):
        array = array.max(-1)
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or array.dtype.kind not in "biuf":
        raise InputError(
            f"{name}: mask expected as [H, W] or [T, H, W] numbers, got {array.dtype} {list(np.shape(mask))}"
        )
    unit = array.dtype.kind in "bf" or array.max(initial=0) <= 1
    return np.clip(array * (255.0 if unit else 1.0), 0, 255).astype(np.uint8)
