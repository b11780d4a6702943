"""Preprocessing of frames for published vision models.

Shorter side to a size by antialiased bicubic interpolation as Pillow does it where both sides change alike (rows first, each pass rounded
to bytes), centre crop, to [0, 1], minus mean, over deviation. Pillow isn't needed.
"""

from __future__ import annotations

import functools

import numpy as np

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def preprocess(frame: np.ndarray, side: int, crop: int, mean, std) -> np.ndarray:
    """Convert uint8 [H, W, 3] to normalized float32 [crop, crop, 3], the shorter side resized to `side` first."""
    height, width = frame.shape[:2]
    shorter = min(height, width)
    # The longer side is cut, not rounded, as the published processors do.
    size = (side, int(side * width / shorter)) if height <= width else (int(side * height / shorter), side)
    frame = resize_bicubic(frame, *size)
    y0, x0 = (size[0] - crop) // 2, (size[1] - crop) // 2
    picture = frame[y0 : y0 + crop, x0 : x0 + crop].astype(np.float32) / 255
    return (picture - np.float32(mean)) / np.float32(std)


def resize_bicubic(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize uint8 [H, W, 3] to [height, width, 3] with antialiased bicubic interpolation."""
    if frame.shape[1] != width:
        frame = _bytes(
            np.einsum("xj,ijc->ixc", _weights(frame.shape[1], width), frame.astype(np.float32), optimize=True)
        )
    if frame.shape[0] != height:
        frame = _bytes(
            np.einsum(
                "yi,ijc->yjc", _weights(frame.shape[0], height), frame.astype(np.float32), optimize=True
            )
        )
    return frame


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(np.floor(values + 0.5), 0, 255).astype(np.uint8)


@functools.lru_cache(maxsize=16)
def _weights(n: int, m: int, a: float = -0.5) -> np.ndarray:
    """Matrix [m, n]: a cubic kernel widened by the factor of shrinking, cut off at the edges and normalised."""
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
