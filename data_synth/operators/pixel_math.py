"""Pixel arithmetic that the looks, overlays and weather share: float frames, smooth steps, blurs and noise fields.

Frames are RGB, float32 [H, W, 3] in 0..1, unless stated otherwise. Nothing here has a state: what is random comes from a generator
that the caller passes.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from data_synth.operators.photometric import LUMA

# (frame, frame number) → frame.
FrameFunction = Callable[[np.ndarray, int], np.ndarray]


def map_frames(video: np.ndarray, function: FrameFunction) -> np.ndarray:
    """Apply a function to each frame in floating point, one frame at a time so that a long clip needs little memory.

    Args:
      video: uint8 [T, H, W, 3].
      function: Takes a frame, float32 [H, W, 3] in 0..1, and its number, and returns the new frame of that shape; values outside
        0..1 are clipped.

    Returns:
      uint8 [T, H, W, 3], rounded to nearest.
    """
    out = np.empty(video.shape, np.uint8)
    for k, frame in enumerate(video):
        out[k] = to_levels(function(frame.astype(np.float32) / 255, k))
    return out


def to_levels(frame: np.ndarray) -> np.ndarray:
    """Return values 0..1 as uint8, clipped and rounded to nearest."""
    return np.clip(frame * 255 + 0.5, 0, 255).astype(np.uint8)


def luma_of(frame: np.ndarray) -> np.ndarray:
    """Return the BT.601 luma, float32 [H, W]."""
    return frame @ LUMA.astype(np.float32)


def grey_frame(plane: np.ndarray) -> np.ndarray:
    """Return a plane [H, W] as a grey frame [H, W, 3]."""
    return np.repeat(plane[..., None], 3, -1)


def saturate(frame: np.ndarray, s: float) -> np.ndarray:
    """Scale the saturation: x ← Y + s (x - Y)."""
    grey = luma_of(frame)[..., None]
    return grey + np.float32(s) * (frame - grey)


def smoothstep(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return z² (3 - 2 z) of z = clip((x - low) / (high - low), 0, 1); `low` may lie above `high`."""
    z = np.clip((x - np.float32(low)) / np.float32(high - low), 0, 1)
    return z * z * (3 - 2 * z)


def screen(frame: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Add light as a second projector does: x ← 1 - (1 - x) (1 - light), with light clipped to 0..1."""
    return 1 - (1 - frame) * (1 - np.clip(light, 0, 1))


def gaussian(frame: np.ndarray, sigma: float) -> np.ndarray:
    """Blur by a Gaussian of sigma pixels, borders mirrored; a large sigma works on a reduced frame, which costs no visible accuracy."""
    H, W = frame.shape[:2]
    factor = int(max(1, min(sigma // 3, min(H, W) // 8)))
    if factor == 1:
        return cv2.GaussianBlur(frame, (0, 0), max(sigma, 0.1), borderType=cv2.BORDER_REFLECT_101)
    size = max(1, round(W / factor)), max(1, round(H / factor))
    small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma * size[1] / H, borderType=cv2.BORDER_REFLECT_101)
    return cv2.resize(small, (W, H), interpolation=cv2.INTER_LINEAR)


def soft_tones(x: np.ndarray, count: int, softness: float = 0.35) -> np.ndarray:
    """Reduce values 0..1 to `count` tones with soft steps, so that noise at a threshold does not flicker.

    Args:
      x: Values in 0..1.
      count: Number of tones, at least 2.
      softness: Width of a step as a share of the distance between two tones.
    """
    scaled = (count - 1) * np.clip(x, 0, 1)
    n = np.floor(scaled)
    return (n + smoothstep(scaled - n, 0.5 - softness / 2, 0.5 + softness / 2)) / np.float32(count - 1)


def grid_of(H: int, W: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the coordinates y [H, 1] and x [1, W] of pixel centres, float32 in 0..1 over the frame."""
    y = (np.arange(H, dtype=np.float32)[:, None] + 0.5) / H
    return y, (np.arange(W, dtype=np.float32)[None] + 0.5) / W


def corner_distance(H: int, W: int) -> np.ndarray:
    """Return the distance from the centre of the frame, float32 [H, W], 1 in the corners."""
    y, x = grid_of(H, W)
    return np.hypot(2 * y - 1, 2 * x - 1) / np.float32(np.sqrt(2))


def noise_field(rng: np.random.Generator, H: int, W: int, cells: float, octaves: int = 3) -> np.ndarray:
    """Return smooth noise, float32 [H, W], of about 0 mean and unit deviation.

    Args:
      rng: Generator of the noise.
      H: Height in pixels.
      W: Width in pixels.
      cells: Number of cells of the coarsest octave along the shorter side; each octave has twice as many at half the amplitude.
      octaves: Number of octaves.
    """
    total, energy = np.zeros((H, W), np.float32), 0.0
    side = min(H, W)
    for octave in range(octaves):
        n = cells * 2**octave
        shape = max(2, round(n * H / side)), max(2, round(n * W / side))
        coarse = rng.standard_normal(shape, np.float32)
        amplitude = 0.5**octave
        total += np.float32(amplitude) * cv2.resize(coarse, (W, H), interpolation=cv2.INTER_CUBIC)
        energy += (0.7 * amplitude) ** 2  # interpolation averages a part of the variance away
    return total / np.float32(np.sqrt(energy))
