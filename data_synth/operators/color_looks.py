"""Color looks: formulas on the color of each pixel and on its place in the frame, beside those of `photometric.py`.

clip → **color look** → clip. Every function takes an RGB video, uint8 [T, H, W, 3], of any size, and returns one of that shape. A frame's
result depends on that frame alone, so a frozen clip stays frozen. In the formulas x is a pixel in 0..1, Y its BT.601 luma, S(z; a, b) the
smooth step from a to b, and v the height in the frame, 0 at the top.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from data_synth.operators.photometric import LUMA, apply_curves
from data_synth.operators.pixel_math import (
    corner_distance,
    grid_of,
    luma_of,
    map_frames,
    saturate,
    screen,
    smoothstep,
    to_levels,
)

# Words for a pair of colors → (color of the shadows, color of the highlights).
DUOTONES = {
    "blue and orange": ((24, 36, 110), (255, 176, 90)),
    "purple and yellow": ((72, 20, 110), (255, 226, 90)),
    "green and pink": ((10, 74, 58), (255, 176, 204)),
    "black and red": ((12, 8, 10), (236, 48, 44)),
    "brown and cyan": ((82, 40, 20), (150, 236, 240)),
}
# Luma in 0..1 → color, as thermal cameras show heat.
_HEAT = (
    (0.0, (4, 2, 36)),
    (0.2, (64, 8, 128)),
    (0.4, (176, 24, 118)),
    (0.6, (240, 84, 30)),
    (0.8, (255, 186, 24)),
    (1.0, (255, 255, 224)),
)
# The darkest corner keeps this share of its light.
_VIGNETTE_FLOOR = 0.2


def duotone(video: np.ndarray, dark: Sequence[float], light: Sequence[float]) -> np.ndarray:
    """Print in two colors: x ← (1 - w) dark + w light with w = S(Y; 0, 1), which gives the middle tones more contrast.

    Args:
      video: uint8 [T, H, W, 3].
      dark: RGB color of black, 0..255.
      light: RGB color of white, 0..255.
    """
    w = smoothstep(np.arange(256, dtype=np.float32)[:, None] / 255, 0, 1)
    levels = ((1 - w) * np.asarray(dark, np.float32) + w * np.asarray(light, np.float32)) / 255
    return map_frames(video, lambda x, k: _look_up(x, levels))


def tint(video: np.ndarray, color: Sequence[float], amount: float = 0.8) -> np.ndarray:
    """Tint towards a color c and keep the brightness order: x ← (1 - a) x + a t(Y).

    t goes from black over c at Y = 1/2 to white.

    Args:
      video: uint8 [T, H, W, 3].
      color: RGB color, 0..255.
      amount: Share a of the tint, 0..1.
    """
    levels = _ramp(((0.0, (0, 0, 0)), (0.5, color), (1.0, (255, 255, 255))))
    mix = np.float32(amount)
    return map_frames(video, lambda x, k: (1 - mix) * x + mix * _look_up(x, levels))


def teal_and_orange(video: np.ndarray) -> np.ndarray:
    """Grade as action films are: hues drawn to the axis from teal to orange, teal shadows, orange highlights.

    Color differences x - Y keep their part along the axis 1.25 times and the rest 0.45 times; then with w = S(Y; 0.1, 0.7)
    x ← x + (1 - w) (-0.14, 0.03, 0.09) + w (0.1, 0.01, -0.12).
    """
    axis = np.array((0.78, -0.12, -0.61))
    axis = (axis - axis.mean()) / np.linalg.norm(axis - axis.mean())
    along = 0.45 * np.eye(3) + 0.8 * np.outer(axis, axis)
    matrix = (along @ (np.eye(3) - np.tile(LUMA, (3, 1)))).astype(np.float32)
    shadow, light = (np.array(c, np.float32) for c in ((-0.14, 0.03, 0.09), (0.1, 0.01, -0.12)))

    def grade(x: np.ndarray, k: int) -> np.ndarray:
        y = luma_of(x)[..., None]
        w = smoothstep(y, 0.1, 0.7)
        return y + x @ matrix.T + (1 - w) * shadow + w * light

    return map_frames(video, grade)


def golden_hour(video: np.ndarray) -> np.ndarray:
    """Light by a low sun: a warm grade, and golden light from the upper right corner.

    x ← screen((1.12 R + 0.05, 0.95 G + 0.02, 0.66 B), 0.55 (1, 0.72, 0.3) S(d; 1, 0)), d the distance from that corner in diagonals.
    """
    _, H, W, _ = video.shape
    y, x = grid_of(H, W)
    falloff = smoothstep(np.hypot(y, 1 - x) / np.float32(np.sqrt(2)), 1, 0)[..., None]
    light = falloff * np.array((0.55, 0.4, 0.165), np.float32)
    gains, lift = np.array((1.12, 0.95, 0.66), np.float32), np.array((0.05, 0.02, 0), np.float32)
    return map_frames(video, lambda frame, k: screen(np.clip(frame * gains + lift, 0, 1), light))


def sunset(video: np.ndarray) -> np.ndarray:
    """Color by a setting sun: violet above, a glowing band of orange at 45 % of the height, dim red-brown below.

    x ← screen(x g(v), 0.5 (1, 0.45, 0.12) exp(-((v - 0.45) / 0.22)²)), g from (0.62, 0.4, 0.66) over (1, 0.62, 0.42) at v = 0.45 to
    (0.7, 0.4, 0.36).
    """
    v = grid_of(*video.shape[1:3])[0][:, 0]
    gains = np.stack(
        [
            np.interp(v, (0, 0.45, 1), stops)
            for stops in ((0.62, 1, 0.7), (0.4, 0.62, 0.4), (0.66, 0.42, 0.36))
        ],
        -1,
    )
    band = np.exp(-(((v - 0.45) / 0.22) ** 2))[:, None] * (0.5, 0.225, 0.06)
    gain_rows, light_rows = gains.astype(np.float32)[:, None], band.astype(np.float32)[:, None]
    return map_frames(video, lambda x, k: screen(x * gain_rows, light_rows))


def moonlight(video: np.ndarray) -> np.ndarray:
    """Light by the moon: almost no color, deep blue shadows, silver highlights.

    x ← (0.42, 0.52, 0.8) (Y + 0.2 (x - Y))^1.35 + 0.3 (0.75, 0.85, 1) Y⁴.
    """
    gains, silver = np.array((0.42, 0.52, 0.8), np.float32), np.array((0.225, 0.255, 0.3), np.float32)

    def relight(x: np.ndarray, k: int) -> np.ndarray:
        return gains * np.clip(saturate(x, 0.2), 0, 1) ** 1.35 + silver * luma_of(x)[..., None] ** 4

    return map_frames(video, relight)


def thermal(video: np.ndarray) -> np.ndarray:
    """Show brightness as heat: dark blue is cold; purple, red, orange, yellow and white are hotter and hotter."""
    levels = _ramp(_HEAT)
    return map_frames(video, lambda x, k: _look_up(x, levels))


def night_vision(video: np.ndarray) -> np.ndarray:
    """Show as a light amplifier does: x ← (0.12, 1, 0.28) Y^0.7 (1 - 0.75 S(r; 0.45, 1)), r the distance from the centre."""
    shade = (1 - 0.75 * smoothstep(corner_distance(*video.shape[1:3]), 0.45, 1))[..., None]
    green = np.array((0.12, 1, 0.28), np.float32)
    return map_frames(video, lambda x, k: green * luma_of(x)[..., None] ** 0.7 * shade)


def cyanotype(video: np.ndarray) -> np.ndarray:
    """Print as a blueprint is: a `duotone` of Prussian blue (14, 44, 96) and white (236, 244, 248)."""
    return duotone(video, (14, 44, 96), (236, 244, 248))


def faded(video: np.ndarray) -> np.ndarray:
    """Fade as old color prints do: x ← 0.62 (Y + 0.6 (x - Y)) + (0.25, 0.21, 0.17)."""
    lift = np.array((0.25, 0.21, 0.17), np.float32)
    return map_frames(video, lambda x, k: 0.62 * saturate(x, 0.6) + lift)


def solarize(video: np.ndarray) -> np.ndarray:
    """Invert what is bright: x ← 2 x below 1/2, 2 (1 - x) above."""
    return apply_curves(video, lambda x: 1 - np.abs(2 * x - 1))


def change_contrast(video: np.ndarray, factor: float) -> np.ndarray:
    """Change the contrast: x ← 1/2 + factor (x - 1/2). Where nothing was clipped the factor 1 / factor undoes it."""
    return apply_curves(video, lambda x: 0.5 + factor * (x - 0.5))


def vignette(video: np.ndarray) -> np.ndarray:
    """Darken towards the corners: x ← x (1 - 0.8 S(r; 0.3, 1)), r the distance from the centre, 1 in the corners."""
    shade = _vignette_shade(video)
    return map_frames(video, lambda x, k: x * shade)


def remove_vignette(video: np.ndarray) -> np.ndarray:
    """Undo `vignette`, up to the rounding of what it stored: x ← x / (1 - 0.8 S(r; 0.3, 1))."""
    shade = _vignette_shade(video)
    return map_frames(video, lambda x, k: x / shade)


def _vignette_shade(video: np.ndarray) -> np.ndarray:
    """Return the share of light that each pixel keeps, float32 [H, W, 1]."""
    return (
        1
        - np.float32(1 - _VIGNETTE_FLOOR) * smoothstep(corner_distance(*video.shape[1:3]), 0.3, 1)[..., None]
    )


def _ramp(stops: Sequence[tuple[float, Sequence[float]]]) -> np.ndarray:
    """Return the colors of 256 levels, float32 [256, 3] in 0..1, linear between stops (level in 0..1, RGB in 0..255)."""
    at = [level for level, _ in stops]
    channels = [np.interp(np.arange(256) / 255, at, [color[c] for _, color in stops]) for c in range(3)]
    return (np.stack(channels, -1) / 255).astype(np.float32)


def _look_up(frame: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Return the color of each pixel's luma, float32 [H, W, 3]."""
    return cv2.LUT(cv2.merge([to_levels(luma_of(frame))] * 3), levels[None])
