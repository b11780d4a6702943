"""How the footage looks, and a cut-out made to look like it: black and white point, tint, sharpness and grain.

clip → **FootageLook**; picture, place → **match_picture**. All estimates come from a few frames of the clip and are closed formulas:

    black, white   2nd and 98th percentile of luma
    tint           mean of the brightest fifth's color, as a multiple of its luma (what lights the scene)
    blur           sigma of the sharpest edges: with R the ratio of gradients before and after a blur of 1 pixel, 1 / sqrt(R^2 - 1)
    grain          Immerkaer's estimate: mean |frame * N| sqrt(pi / 2) / 6, N the difference of two Laplacians, over the flattest quarter
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from data_synth.operators.pixel_math import luma_of

_NOISE_KERNEL = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
# Share of the way that a cut-out's luma goes towards its surroundings', and its color towards the scene's light.
_LUMA_SHARE, _TINT_SHARE = 0.35, 0.7
# Bounds of the factor by which luma changes.
_GAIN = (0.55, 1.25)


@dataclasses.dataclass(frozen=True)
class FootageLook:
    """What a camera made of a scene.

    Attributes:
      black: Luma of the darkest pixels, 0..1.
      white: Luma of the brightest ones.
      tint: Color of the light, RGB with luma 1.
      blur: Sigma of the sharpest edges in pixels.
      grain: Standard deviation of the noise, 0..1.
    """

    black: float
    white: float
    tint: tuple[float, float, float]
    blur: float
    grain: float


def measure_look(video: np.ndarray) -> FootageLook:
    """Measure up to three frames of a clip, uint8 [T, H, W, 3]."""
    numbers = np.unique(np.linspace(0, len(video) - 1, 3).round().astype(int))
    frames = [video[k].astype(np.float32) / 255 for k in numbers]
    pixels = np.concatenate([frame[::2, ::2].reshape(-1, 3) for frame in frames])
    luma = luma_of(pixels)
    black, white = (float(v) for v in np.percentile(luma, (2, 98)))
    bright = pixels[luma >= np.percentile(luma, 80)].mean(0)
    red, green, blue = np.clip(bright / max(float(luma_of(bright)), 0.05), 0.7, 1.4)
    return FootageLook(
        black,
        max(white, black + 0.1),
        (float(red), float(green), float(blue)),
        float(np.median([_measure_blur(frame) for frame in frames])),
        float(np.median([_measure_grain(frame) for frame in frames])),
    )


def match_picture(picture: np.ndarray, look: FootageLook, surrounding_luma: float) -> np.ndarray:
    """Return a cut-out in the footage's light.

    Args:
      picture: float32 [h, w, 4], RGB in 0..1 and opacity.
      look: Of the footage.
      surrounding_luma: Mean luma around the place where it stands, 0..1.

    Returns:
      float32 [h, w, 4] with RGB in 0..1, not multiplied by opacity.
    """
    color, alpha = picture[..., :3], picture[..., 3:]
    ranged = look.black + color * (look.white - look.black)
    luma = float((luma_of(ranged) * alpha[..., 0]).sum() / max(float(alpha.sum()), 1e-6))
    goal = luma + _LUMA_SHARE * (surrounding_luma - luma)
    gain = float(np.clip(goal / max(luma, 0.02), *_GAIN))
    tint = 1 + _TINT_SHARE * (np.array(look.tint, np.float32) - 1)
    return np.concatenate([np.clip(ranged * gain * tint, 0, 1), alpha], -1).astype(np.float32)


def draw_grain(rng: np.random.Generator, shape: tuple[int, int], look: FootageLook) -> np.ndarray:
    """Return the grain of one frame, float32 [h, w, 1], as coarse as the footage is blurred."""
    noise = rng.standard_normal(shape, np.float32)
    sigma = min(0.8, 0.6 * look.blur)
    if sigma > 0.2:
        noise = cv2.GaussianBlur(noise, (0, 0), sigma)
        noise /= max(float(noise.std()), 1e-6)
    return noise[..., None] * np.float32(look.grain)


def _measure_blur(frame: np.ndarray) -> float:
    luma = luma_of(frame)
    soft = cv2.GaussianBlur(luma, (0, 0), 1.0)
    gradients, soft_gradients = (
        np.hypot(cv2.Sobel(p, cv2.CV_32F, 1, 0), cv2.Sobel(p, cv2.CV_32F, 0, 1)) for p in (luma, soft)
    )
    strong = gradients > max(float(np.percentile(gradients, 95)), 0.02)
    if not strong.any():
        return 1.0
    ratio = float(np.percentile(gradients[strong] / np.maximum(soft_gradients[strong], 1e-4), 70))
    return float(np.clip(1 / np.sqrt(max(ratio**2 - 1, 1e-3)), 0.3, 3.0))


def _measure_grain(frame: np.ndarray) -> float:
    luma = luma_of(frame)
    response = np.abs(cv2.filter2D(luma, cv2.CV_32F, _NOISE_KERNEL))
    slope = np.hypot(cv2.Sobel(luma, cv2.CV_32F, 1, 0), cv2.Sobel(luma, cv2.CV_32F, 0, 1))
    flat = response[slope <= np.percentile(slope, 25)]
    return float(np.clip(flat.mean() * np.sqrt(np.pi / 2) / 6, 0, 0.05))
