"""Looks of lenses: what optics add or take away, and the frame seen the other way round.

clip → **lens look** → clip. Every function takes an RGB video, uint8 [T, H, W, 3], of any size, and returns one of that shape. A frame's
result depends on that frame alone. s is the shorter side of the frame, G_σ a Gaussian, S(z; a, b) the smooth step from a to b.
"""

from __future__ import annotations

import cv2
import numpy as np

from data_synth.operators.pixel_math import (
    gaussian,
    grid_of,
    luma_of,
    map_frames,
    saturate,
    screen,
    smoothstep,
)


def glow(video: np.ndarray) -> np.ndarray:
    """Let highlights bloom: x ← screen(x, G_σ (x (0.7 S(Y; 0.4, 0.9) + 0.1))), σ = s / 24."""
    sigma = min(video.shape[1:3]) / 24

    def bloom(x: np.ndarray, k: int) -> np.ndarray:
        bright = x * (0.7 * smoothstep(luma_of(x), 0.4, 0.9) + 0.1)[..., None]
        return screen(x, gaussian(bright, sigma))

    return map_frames(video, bloom)


def tilt_shift(video: np.ndarray) -> np.ndarray:
    """Make a miniature: sharp in a horizontal band around 55 % of the height, more and more blurred away from it, strong colors.

    The blur grows over two levels, σ = s / 90 and s / 30, mixed by S(|v - 0.55|; 0.1, 0.25) and S(|v - 0.55|; 0.2, 0.45); saturation
    times 1.45, contrast times 1.1.
    """
    _, H, W, _ = video.shape
    distance = np.abs(grid_of(H, W)[0] - np.float32(0.55))[..., None]
    near, far = smoothstep(distance, 0.1, 0.25), smoothstep(distance, 0.2, 0.45)

    def focus(x: np.ndarray, k: int) -> np.ndarray:
        x = x + near * (gaussian(x, min(H, W) / 90) - x)
        x = x + far * (gaussian(x, min(H, W) / 30) - x)
        return 0.5 + np.float32(1.1) * (saturate(x, 1.45) - 0.5)

    return map_frames(video, focus)


def sharpen(video: np.ndarray) -> np.ndarray:
    """Sharpen by an unsharp mask: x ← x + 1.8 (x - G_σ x), σ = max(0.8, s / 300)."""
    sigma = max(0.8, min(video.shape[1:3]) / 300)
    return map_frames(video, lambda x, k: x + np.float32(1.8) * (x - gaussian(x, sigma)))


def color_fringes(video: np.ndarray) -> np.ndarray:
    """Split the colors as a cheap lens does: red is magnified by 2.5 %, blue reduced by as much, about the centre."""
    _, H, W, _ = video.shape
    y, x = np.mgrid[:H, :W].astype(np.float32)
    center_y, center_x = np.float32((H - 1) / 2), np.float32((W - 1) / 2)

    def split(frame: np.ndarray, k: int) -> np.ndarray:
        channels = [
            _sample(frame[..., c], center_x + (x - center_x) / zoom, center_y + (y - center_y) / zoom)
            for c, zoom in enumerate((1.025, 1.0, 0.975))
        ]
        return np.stack(channels, -1)

    return map_frames(video, split)


def mirror(video: np.ndarray) -> np.ndarray:
    """Exchange left and right; its own inverse."""
    return np.stack([cv2.flip(frame, 1) for frame in video])


def flip_upside_down(video: np.ndarray) -> np.ndarray:
    """Exchange top and bottom; its own inverse."""
    return np.stack([cv2.flip(frame, 0) for frame in video])


def _sample(plane: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the values at positions, bilinear, with the border continued."""
    return cv2.remap(plane, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
