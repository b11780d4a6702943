"""Looks of media that wear: film grain, old film, video tape. They change from frame to frame, as their models do.

clip → **film look** → clip. Every function takes an RGB video, uint8 [T, H, W, 3], of any size, and the generator of grain, dust, scratches
and wobble, and returns one of that shape. Frames are drawn in order: the first frames of a longer clip look the same.
"""

from __future__ import annotations

import cv2
import numpy as np

from data_synth.operators.pixel_math import (
    corner_distance,
    gaussian,
    luma_of,
    map_frames,
    smoothstep,
)


def film_grain(video: np.ndarray, rng: np.random.Generator, amount: float = 0.085) -> np.ndarray:
    """Add the grain of film, new in every frame and strongest in the middle tones.

    x ← x + amount n (0.35 + 2.6 Y (1 - Y)), n noise of deviation 1 with grains of max(1, s / 480) pixels.

    Args:
      video: uint8 [T, H, W, 3].
      rng: Generator of the grain.
      amount: Deviation of middle tones, in 0..1.
    """
    _, H, W, _ = video.shape

    def add_grain(x: np.ndarray, k: int) -> np.ndarray:
        y = luma_of(x)
        return x + (np.float32(amount) * _grain(rng, H, W) * (0.35 + 2.6 * y * (1 - y)))[..., None]

    return map_frames(video, add_grain)


def old_film(video: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Show as a silent film of the 1920s: grey with a brown tone, flickering, unsteady, grainy, with scratches, dust and dark corners."""
    T, H, W, _ = video.shape
    side = min(H, W)
    shade = 1 - 0.65 * smoothstep(corner_distance(H, W), 0.35, 1.05)
    tone, lift = np.array((1.0, 0.93, 0.78), np.float32), np.array((0.03, 0.02, 0.0), np.float32)
    scratches = rng.uniform(0, 1, (3, 2))  # place, and the part of the clip in which it is seen
    columns = np.arange(W, dtype=np.float32)[None]

    def age(x: np.ndarray, k: int) -> np.ndarray:
        exposure, (dy, dx) = rng.uniform(0.88, 1.06), rng.normal(0, 0.004, 2) * side
        x = _shift(x, dx, dy)
        y = np.clip(0.5 + 1.25 * (gaussian(luma_of(x), max(0.4, side / 600)) - 0.47), 0, 1) * np.float32(
            exposure
        )
        y = y + np.float32(0.055) * _grain(rng, H, W)
        jitter = rng.normal(0, 0.003, len(scratches))
        for (place, phase), shift in zip(scratches, jitter, strict=True):
            if (k / max(T, 1) + phase) % 1 < 0.6:
                line = np.exp(-(((columns - (place + shift) * W) / max(0.6, side / 700)) ** 2))
                y = y + np.float32(0.3 if phase < 0.6 else -0.3) * line
        dust = _dust(rng, H, W)
        y = np.clip(y, 0, 1) * shade * (1 - np.maximum(dust, 0)) + np.maximum(-dust, 0)
        return y[..., None] * tone + lift

    return map_frames(video, age)


def vhs(video: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Play from a worn video tape: smeared, shifted colors, soft luma, dark scan lines, noise, wobbling rows, a torn lower edge."""
    T, H, W, _ = video.shape
    side = min(H, W)
    rows = np.arange(H, dtype=np.float32)
    scan = 1 - 0.14 * (np.floor(rows / max(1.0, side / 240)) % 2)[:, None, None]
    phase, tear_at = rng.uniform(0, 2 * np.pi), rng.uniform(0, 1)

    def play(x: np.ndarray, k: int) -> np.ndarray:
        wobble = np.float32(0.0022 * W) * np.sin(rows / H * 19 + phase + 1.7 * k)
        wobble += rng.normal(0, 0.0012 * W, H).astype(np.float32)
        torn = smoothstep(rows / H, 0.94, 1.0)
        wobble += np.float32(0.06 * W) * torn * (1 + 0.3 * np.sin(rows * 0.9 + k))
        # A band of stronger noise drifts upwards through the picture.
        band = np.exp(-((((rows / H - tear_at + 0.02 * k + 0.5) % 1 - 0.5) / 0.03) ** 2))
        wobble += np.float32(0.015 * W) * band.astype(np.float32)
        x = _shift_rows(x, wobble)
        y = cv2.GaussianBlur(luma_of(x), (0, 0), sigmaX=max(0.6, W / 500), sigmaY=0.3)
        y = y + 0.35 * (y - cv2.GaussianBlur(y, (0, 0), sigmaX=max(1.0, W / 200), sigmaY=0.3))
        chroma = cv2.GaussianBlur(
            x - luma_of(x)[..., None], (0, 0), sigmaX=max(1.0, W / 110), sigmaY=max(0.5, H / 300)
        )
        chroma = _shift(chroma, W / 110, 0) * np.float32(1.3)
        noise = cv2.GaussianBlur(
            rng.standard_normal((H, W), np.float32), (0, 0), sigmaX=max(0.5, W / 500), sigmaY=0.3
        )
        strength = 0.05 + 0.3 * band[:, None] + 0.25 * torn[:, None]
        hue_noise = _enlarge(
            rng.normal(0, 0.03, (max(2, H // 6), max(2, W // 24), 3)).astype(np.float32), H, W
        )
        out = (0.06 + 0.88 * y + strength * noise)[..., None] + chroma + hue_noise
        return out * scan

    return map_frames(video, play)


def _grain(rng: np.random.Generator, H: int, W: int) -> np.ndarray:
    """Return noise of deviation 1, float32 [H, W], whose grains grow with the frame."""
    scale = max(1.0, min(H, W) / 480)
    shape = max(1, round(H / scale)), max(1, round(W / scale))
    noise = cv2.GaussianBlur(rng.standard_normal(shape, np.float32), (0, 0), 0.6) * np.float32(1.9)
    return _enlarge(noise, H, W)


def _dust(rng: np.random.Generator, H: int, W: int) -> np.ndarray:
    """Return specks and hairs of one frame, float32 [H, W]: opacity of dark ones above 0, of bright ones below."""
    side = min(H, W)
    canvas = np.zeros((2, H, W), np.uint8)
    for _ in range(int(rng.poisson(5))):
        plane = canvas[int(rng.random() < 0.35)]
        y, x, size = rng.uniform(0, H), rng.uniform(0, W), side * rng.uniform(0.002, 0.009)
        axes = max(1, round(16 * size)), max(1, round(16 * size * rng.uniform(0.5, 1)))
        cv2.ellipse(
            plane, (round(16 * x), round(16 * y)), axes, rng.uniform(0, 180), 0, 360, 190, -1, cv2.LINE_AA, 4
        )
    if rng.random() < 0.25:
        start, bend = rng.uniform(0, 1, 2) * (W, H), rng.normal(0, 0.05 * side, (4, 2))
        points = ((start + np.cumsum(bend, 0)) * 16).round().astype(np.int32)
        cv2.polylines(canvas[0], [points[:, None]], False, 150, max(1, round(side / 400)), cv2.LINE_AA, 4)
    return (canvas[0].astype(np.float32) - canvas[1]) / 255


def _enlarge(field: np.ndarray, H: int, W: int) -> np.ndarray:
    """Return a field [h, w, ...] at size [H, W, ...], bilinear."""
    return field if field.shape[:2] == (H, W) else cv2.resize(field, (W, H), interpolation=cv2.INTER_LINEAR)


def _shift(frame: np.ndarray, dx: float, dy: float) -> np.ndarray:
    """Move a frame by (dx, dy) pixels to the lower right, the border mirrored."""
    move = np.array(((1, 0, dx), (0, 1, dy)), np.float32)
    size = frame.shape[1], frame.shape[0]
    return cv2.warpAffine(frame, move, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


def _shift_rows(frame: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Move each row to the right by its own number of pixels, float32 [H], the border mirrored."""
    H, W = frame.shape[:2]
    x = np.arange(W, dtype=np.float32)[None] - offsets[:, None]
    y = np.repeat(np.arange(H, dtype=np.float32)[:, None], W, 1)
    return cv2.remap(frame, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
