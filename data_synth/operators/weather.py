"""Weather: rain, snow and fog over a clip, with or without its depth.

clip (, depth) → **weather** → clip. Every function takes an RGB video, uint8 [T, H, W, 3], of any size, the generator of drops, flakes and
drifts, and the depth where it is known: float32 [T, H, W], 0 at the camera to 1 at the horizon. With depth, things in front hide the
weather behind them and the air's veil grows with distance; without it the veil grows towards the top of the frame, as over level
ground, and nothing hides drops. Speeds and sizes scale with the frame. Frames are drawn in order: the first frames of a longer clip
look the same.

The veil is that of Koschmieder: x ← t x + (1 - t) A with transmission t = exp(-β d), A the color of the air.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import cv2
import numpy as np

from data_synth.operators.pixel_math import (
    gaussian,
    grid_of,
    map_frames,
    noise_field,
    saturate,
)

# (video, generator, depth) → video with weather.
WeatherFunction = Callable[[np.ndarray, np.random.Generator, np.ndarray | None], np.ndarray]

# Attenuation β and color of fog.
_FOG_DENSITY, _FOG_COLOR = 1.6, (0.80, 0.82, 0.85)
# Fractional bits of the positions that OpenCV draws at.
_SHIFT = 4


@dataclasses.dataclass(frozen=True)
class _Layer:
    """Drops or flakes at one distance.

    Attributes:
      distance: Depth at which they are, 0..1.
      count: Number of them in a square frame; more in wider or taller ones.
      size: Thickness of streaks or diameter of flakes, in shorter sides of the frame.
      speed: Fall in one frame, in shorter sides of the frame.
      opacity: Opacity of one of them.
      blur: Sigma of their blur, in shorter sides.
    """

    distance: float
    count: int
    size: float
    speed: float
    opacity: float
    blur: float = 0.0


_RAIN_LAYERS = (
    _Layer(0.75, 420, 0.0016, 0.045, 0.3, 0.0008),
    _Layer(0.45, 240, 0.0026, 0.075, 0.4, 0.0008),
    _Layer(0.15, 90, 0.0042, 0.13, 0.42, 0.0022),
)
_SNOW_LAYERS = (
    _Layer(0.85, 600, 0.005, 0.006, 0.65, 0.0006),
    _Layer(0.6, 320, 0.008, 0.010, 0.8, 0.001),
    _Layer(0.35, 130, 0.014, 0.016, 0.85, 0.0018),
    _Layer(0.1, 28, 0.028, 0.028, 0.75, 0.006),
)


def rain(video: np.ndarray, rng: np.random.Generator, depth: np.ndarray | None = None) -> np.ndarray:
    """Let it rain: streaks at three distances that slant alike, a grey veil, duller and darker colors."""
    _, H, W, _ = video.shape
    slant = rng.uniform(-0.3, 0.3)
    drops = [_scatter(rng, layer.count, H, W) for layer in _RAIN_LAYERS]

    def fall(x: np.ndarray, k: int) -> np.ndarray:
        distance = _distance(depth, k, H, W)
        veil = np.exp(-0.7 * distance)
        x = veil * saturate(x, 0.6) * np.float32(0.8) + (1 - veil) * np.array((0.56, 0.59, 0.63), np.float32)
        for layer, places in zip(_RAIN_LAYERS, drops, strict=True):
            streaks = _draw_streaks(layer, places, slant, k, H, W)
            x = x + _visible(streaks, layer, depth, k) * (np.array((0.88, 0.92, 0.97), np.float32) - x)
        return x

    return map_frames(video, fall)


def snow(video: np.ndarray, rng: np.random.Generator, depth: np.ndarray | None = None) -> np.ndarray:
    """Let it snow: flakes at four distances that sway as they fall, a white veil, colder and paler colors."""
    _, H, W, _ = video.shape
    wind = rng.uniform(-0.35, 0.35)
    flakes = [_scatter(rng, layer.count, H, W) for layer in _SNOW_LAYERS]
    gains = np.array((0.9, 0.96, 1.04), np.float32)

    def fall(x: np.ndarray, k: int) -> np.ndarray:
        distance = _distance(depth, k, H, W)
        veil = np.exp(-0.75 * distance)
        x = veil * saturate(x, 0.65) * gains + (1 - veil) * np.array((0.84, 0.87, 0.91), np.float32)
        for layer, places in zip(_SNOW_LAYERS, flakes, strict=True):
            x = x + _visible(_draw_flakes(layer, places, wind, k, H, W), layer, depth, k) * (1 - x)
        return x

    return map_frames(video, fall)


def fog(video: np.ndarray, rng: np.random.Generator, depth: np.ndarray | None = None) -> np.ndarray:
    """Fill the scene with drifting fog, β = 1.6: x ← t x + (1 - t) A, with t of `fog_transmission`."""
    transmissions = fog_transmission(video.shape[:3], rng, depth)
    color = np.array(_FOG_COLOR, np.float32)

    def veil(x: np.ndarray, k: int) -> np.ndarray:
        t = next(transmissions)[..., None]
        return t * x + (1 - t) * color

    return map_frames(video, veil)


def remove_fog(video: np.ndarray, rng: np.random.Generator, depth: np.ndarray | None = None) -> np.ndarray:
    """Undo `fog` of a generator in the same state, up to rounding, which 1 / t enlarges: x ← (x - (1 - t) A) / t."""
    transmissions = fog_transmission(video.shape[:3], rng, depth)
    color = np.array(_FOG_COLOR, np.float32)

    def clear(x: np.ndarray, k: int) -> np.ndarray:
        t = next(transmissions)[..., None]
        return (x - (1 - t) * color) / t

    return map_frames(video, clear)


def fog_transmission(
    size: tuple[int, ...], rng: np.random.Generator, depth: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """Yield the share of light that reaches the camera in each frame, float32 [H, W]: t = exp(-1.6 d (1 + 0.45 n)).

    n is smooth noise within -1..1 that drifts sideways by half a percent of the shorter side in each frame.

    Args:
      size: T, H and W.
      rng: Generator of the noise.
      depth: float32 [T, H, W], or None.
    """
    T, H, W = size
    side = min(H, W)
    swaths = np.clip(noise_field(rng, H, 2 * W, 2.0) / 2, -1, 1)
    # Continued by its mirror image, the field has no seam.
    endless = np.concatenate([swaths, swaths[:, ::-1]], 1)
    speed = rng.choice((-1, 1)) * 0.005 * side
    columns = np.arange(W, dtype=np.float32)
    for k in range(T):
        x = (columns + k * speed) % endless.shape[1]
        first_column = np.floor(x).astype(int) % endless.shape[1]
        share = (x - np.floor(x)).astype(np.float32)
        drift = (
            endless[:, first_column] * (1 - share) + endless[:, (first_column + 1) % endless.shape[1]] * share
        )
        yield np.exp(-np.float32(_FOG_DENSITY) * _distance(depth, k, H, W)[..., 0] * (1 + 0.45 * drift))


WEATHER: dict[str, WeatherFunction] = {"rain": rain, "snow": snow, "fog": fog}


def _distance(depth: np.ndarray | None, k: int, H: int, W: int) -> np.ndarray:
    """Return the distance of each pixel of a frame, float32 [H, W, 1] in 0..1: its depth, else rising from 0.25 below to 1 above."""
    if depth is not None:
        return np.clip(depth[k], 0, 1).astype(np.float32)[..., None]
    y, _ = grid_of(H, W)
    return np.repeat(0.25 + 0.75 * (1 - y) ** 0.8, W, 1)[..., None]


def _scatter(rng: np.random.Generator, count: int, H: int, W: int) -> np.ndarray:
    """Return random places and variations, float64 [n, 4] in 0..1, for so many in a square frame."""
    return rng.uniform(0, 1, (max(1, round(count * max(H, W) / min(H, W))), 4))


def _visible(cover: np.ndarray, layer: _Layer, depth: np.ndarray | None, k: int) -> np.ndarray:
    """Return the opacity of a layer, float32 [H, W, 1], without what lies behind the scene, softly over 0.1 of depth."""
    opacity = np.float32(layer.opacity) * cover
    if depth is not None:
        opacity = opacity * np.clip((depth[k] - np.float32(layer.distance)) / 0.1 + 0.5, 0, 1).astype(
            np.float32
        )
    return opacity[..., None]


def _draw_streaks(layer: _Layer, places: np.ndarray, slant: float, k: int, H: int, W: int) -> np.ndarray:
    """Return the cover of rain streaks in frame k, float32 [H, W] in 0..1."""
    side, margin = min(H, W), 0.15
    canvas = np.zeros((H, W), np.uint8)
    speed = layer.speed * (0.8 + 0.4 * places[:, 2])
    height, width = H / side + 2 * margin, W / side + 2 * margin
    y = (places[:, 1] * height + k * speed) % height - margin
    x = (places[:, 0] * width + k * speed * slant) % width - margin
    length = 0.75 * speed
    level = (120 + 135 * places[:, 3]).round()
    thickness = layer.size * side
    starts = np.stack([x - slant * length, y - length], -1) * side
    ends = np.stack([x, y], -1) * side
    one = 1 << _SHIFT
    for start, end, grey in zip(
        (starts * one).round().astype(int), (ends * one).round().astype(int), level, strict=True
    ):
        cv2.line(
            canvas,
            tuple(start.tolist()),
            tuple(end.tolist()),
            grey,
            max(1, round(thickness)),
            cv2.LINE_AA,
            _SHIFT,
        )
    # Thinner than a pixel: a line of one pixel, but fainter.
    return _soften(canvas, layer, side) * np.float32(min(1.0, max(thickness, 0.4)))


def _draw_flakes(layer: _Layer, places: np.ndarray, wind: float, k: int, H: int, W: int) -> np.ndarray:
    """Return the cover of snowflakes in frame k, float32 [H, W] in 0..1."""
    side, margin = min(H, W), 0.05
    fine = 4 if side < 600 else 2  # drawn so many times larger: OpenCV's small smooth discs are crosses
    canvas = np.zeros((fine * H, fine * W), np.uint8)
    speed = layer.speed * (0.75 + 0.5 * places[:, 2])
    height, width = H / side + 2 * margin, W / side + 2 * margin
    phase = 2 * np.pi * places[:, 3]
    y = (places[:, 1] * height + k * speed) % height - margin
    x = (
        places[:, 0] * width + k * speed * wind + 0.6 * layer.speed * np.sin(phase + 0.35 * k)
    ) % width - margin
    radius = np.maximum(0.5 * layer.size * (0.6 + 0.7 * places[:, 2]) * side, 0.3)
    unit = fine << _SHIFT
    centers = ((np.stack([x, y], -1) * side + 0.5) * unit).round().astype(int) - (1 << _SHIFT) // 2
    for center, r in zip(centers, radius, strict=True):
        cv2.circle(canvas, tuple(center.tolist()), round(float(r) * unit), 255, -1, cv2.LINE_8, _SHIFT)
    return _soften(cv2.resize(canvas, (W, H), interpolation=cv2.INTER_AREA), layer, side)


def _soften(canvas: np.ndarray, layer: _Layer, side: int) -> np.ndarray:
    """Return a drawn layer as float32 in 0..1, out of focus."""
    cover = canvas.astype(np.float32) / 255
    sigma = layer.blur * side
    return gaussian(cover, sigma) if sigma >= 0.3 else cover
