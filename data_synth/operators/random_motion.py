"""Random motion: a window that pans, zooms and turns over a picture, and a cut-out that moves across a clip.

The window takes a part of the picture, from all of it down to little more than the clip's own pixels, since an editor sees film at every
scale. `camera_move.py` draws the moves of pairs, which stay close to the whole picture.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

# Largest turn of a window within a clip, in radians, and largest change of its size, as a factor.
MAX_TURN, MAX_ZOOM = np.deg2rad(12.0), 1.35
# Share of windows that stand still.
STILL = 0.15


def move_window(levels: Sequence[np.ndarray], rng: np.random.Generator, T: int, H: int, W: int) -> np.ndarray:
    """Return what a window sees that moves evenly from one drawn pose to another.

    Args:
      levels: A picture, uint8 [h, w, 3], and the same picture at a half, a quarter and so on of its size.
      rng: Generator of both poses.
      T: Number of frames.
      H: Height of the window in pixels of the clip.
      W: Width of it.

    Returns:
      uint8 [T, H, W, 3].
    """
    h, w = levels[0].shape[:2]
    widest = min(h / H, w / W)  # picture's pixels for one of the clip, when the window is as large as can be
    scale = widest * min(1.0, 1 / widest) ** rng.uniform(0, 0.9)
    speed = 0.0 if rng.random() < STILL else rng.uniform(0, 1) ** 2
    zoom = MAX_ZOOM ** (speed * rng.uniform(-1, 1))
    turn = speed * rng.uniform(-MAX_TURN, MAX_TURN)
    # Prefiltering the picture, not every frame, keeps the motion exact between pixels.
    factor = 1 / (scale * max(1.0, zoom))
    picture = levels[int(np.clip(np.floor(-np.log2(min(factor, 1.0))), 0, len(levels) - 1))]
    if factor < 1:
        size = max(W, round(w * factor)), max(H, round(h * factor))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    h, w = picture.shape[:2]
    turns, zooms = np.linspace(0, turn, T), np.linspace(1, zoom, T)
    cos, sin = np.abs(np.cos(turns)), np.abs(np.sin(turns))
    half_width, half_height = zooms * (W * cos + H * sin) / 2, zooms * (H * cos + W * sin) / 2
    size = min(1.0, (w - 1) / (2 * half_width.max()), (h - 1) / (2 * half_height.max()))
    zooms, half_width, half_height = size * zooms, size * half_width, size * half_height
    centre = np.empty((T, 2))
    for axis, (half, extent) in enumerate(((half_width, w), (half_height, h))):
        low, high = np.minimum(half, extent / 2), np.maximum(extent - half, extent / 2)
        start = rng.uniform(low[0], high[0])
        end = start + speed * rng.uniform(-0.5, 0.5) * (W, H)[axis]
        centre[:, axis] = np.clip(np.linspace(start, end, T), low, high)
    matrices = _poses(centre, turns, zooms, H, W)
    if rng.random() < 0.5:
        matrices = matrices[::-1]
    return np.stack([_sample(picture, matrix, H, W) for matrix in matrices])


def move_cutout(video: np.ndarray, cutout: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a clip with a cut-out moving across it, evenly and partly outside at times.

    Args:
      video: uint8 [T, H, W, 3].
      cutout: uint8 [h, w, 4].
      rng: Generator of size and motion.
    """
    T, H, W = video.shape[:3]
    h, w = cutout.shape[:2]
    size = rng.uniform(0.2, 0.8) * min(H, W) / max(h, w)
    if size < 1:
        cutout = cv2.resize(
            cutout, (max(2, round(w * size)), max(2, round(h * size))), interpolation=cv2.INTER_AREA
        )
        h, w, size = *cutout.shape[:2], 1.0
    start = rng.uniform((0.0, 0.0), (W, H))
    end = start + rng.uniform(0, 1) ** 2 * rng.uniform(-0.6, 0.6, 2) * (W, H)
    turns = np.linspace(0, rng.uniform(-0.5, 0.5) * rng.random(), T) + rng.uniform(-0.2, 0.2)
    layer = np.dstack([cutout[..., :3] * (cutout[..., 3:] / 255.0), cutout[..., 3] / 255.0]).astype(
        np.float32
    )
    out = np.empty_like(video)
    for k, (centre, turn) in enumerate(zip(np.linspace(start, end, T), turns, strict=True)):
        matrix = cv2.getRotationMatrix2D(((w - 1) / 2, (h - 1) / 2), float(np.rad2deg(turn)), size)
        matrix[:, 2] += centre - ((w - 1) / 2, (h - 1) / 2)
        pixels = cv2.warpAffine(layer, matrix, (W, H), flags=cv2.INTER_LINEAR)
        out[k] = np.clip(pixels[..., :3] + video[k] * (1 - pixels[..., 3:]) + 0.5, 0, 255)
    return out


def _poses(centre: np.ndarray, turns: np.ndarray, zooms: np.ndarray, H: int, W: int) -> np.ndarray:
    """Return maps [T, 2, 3] from a frame's pixel index (x, y, 1) to the picture's."""
    cos, sin = zooms * np.cos(turns), zooms * np.sin(turns)
    linear = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], 1)
    offset = centre - 0.5 - np.einsum("tij,j->ti", linear, [(W - 1) / 2, (H - 1) / 2])
    return np.concatenate([linear, offset[..., None]], -1)


def _sample(picture: np.ndarray, matrix: np.ndarray, H: int, W: int) -> np.ndarray:
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    frame = cv2.warpAffine(picture, matrix, (W, H), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(frame)
