"""Preprocessing of frames for published vision models.

The shorter side is resized by antialiased bicubic interpolation as in Pillow where both sides change alike (rows first, each pass rounded to
bytes); then follow a centre crop, the range [0, 1], subtraction of the mean and division by the deviation. Pillow is not needed.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def preprocess(
    frame: np.ndarray, side: int, crop: int, mean: Sequence[float], std: Sequence[float]
) -> np.ndarray:
    """Resize, crop and normalize a frame.

    Args:
      frame: uint8 [H, W, 3].
      side: pixels to which the shorter side is resized.
      crop: pixels of the centre crop.
      mean: of each channel in [0, 1].
      std: deviation of each channel.

    Returns:
      float32 [crop, crop, 3].
    """
    height, width = frame.shape[:2]
    shorter = min(height, width)
    # The longer side is cut, not rounded, as the published processors do.
    size = (side, int(side * width / shorter)) if height <= width else (int(side * height / shorter), side)
    frame = resize_bicubic(frame, *size)
    y0, x0 = (size[0] - crop) // 2, (size[1] - crop) // 2
    picture = frame[y0 : y0 + crop, x0 : x0 + crop].astype(np.float32) / 255
    return (picture - np.array(mean, np.float32)) / np.array(std, np.float32)


def resize_bicubic(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize uint8 [H, W, 3] to [height, width, 3] with antialiased bicubic interpolation."""
    if frame.shape[1] != width:
        frame = _round_to_bytes(
            np.einsum("xj,ijc->ixc", _weights(frame.shape[1], width), frame.astype(np.float32), optimize=True)
        )
    if frame.shape[0] != height:
        frame = _round_to_bytes(
            np.einsum(
                "yi,ijc->yjc", _weights(frame.shape[0], height), frame.astype(np.float32), optimize=True
            )
        )
    return frame


def _round_to_bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(np.floor(values + 0.5), 0, 255).astype(np.uint8)


@functools.lru_cache(maxsize=16)
def _weights(n: int, m: int, a: float = -0.5) -> np.ndarray:
    """Return the matrix [m, n] of a cubic kernel, widened by the factor of reduction, cut off at the edges and normalised."""
    scale = max(1.0, n / m)
    centre = (np.arange(m)[:, None] + 0.5) * n / m
    at = np.arange(n)[None]
    low, high = (
        np.maximum(0, np.floor(centre - 2 * scale + 0.5)),
        np.minimum(n, np.floor(centre + 2 * scale + 0.5)),
    )
    d = np.abs((at + 0.5 - centre) / scale)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    weight = np.where(d < 1, near, np.where(d < 2, far, 0)) * ((at >= low) & (at < high))
    return (weight / weight.sum(1, keepdims=True)).astype(np.float32)
