"""Photometric edits: exact per-pixel formulas, valid on any real clip of any size.

clip → **photometric** → edited clip. Every function takes an RGB video, uint8 [T, H, W, 3], and a reference picture, uint8
[h, w, 3], which only `palette` uses, and returns uint8 [T, H, W, 3]. In the formulas x is a pixel in 0..255 and
Y = 0.299 R + 0.587 G + 0.114 B (BT.601 luma); results are rounded to nearest and clipped to 0..255. The edits make training pairs,
are the truth against which a model's output is scored, and can be used directly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np

LUMA = np.array([0.299, 0.587, 0.114])
# Number of pixels held as float32 at once.
_CHUNK = 1 << 21

# (video, reference picture) → edited video.
PhotometricEdit = Callable[[np.ndarray, np.ndarray | None], np.ndarray]


def grayscale(video: np.ndarray, reference: np.ndarray | None = None) -> np.ndarray:
    """Remove the colour: R, G, B ← Y."""
    return apply_affine(video, np.tile(LUMA, (3, 1)))


def sepia(video: np.ndarray, reference: np.ndarray | None = None) -> np.ndarray:
    """Imitate a brown-toned monochrome print: (R, G, B) ← (1.12, 0.92, 0.68) · Y + (12, 6, 0)."""
    return apply_affine(video, np.outer((1.12, 0.92, 0.68), LUMA), (12, 6, 0))


def night(video: np.ndarray, reference: np.ndarray | None = None) -> np.ndarray:
    """Imitate painted moonlight, dim and blue: x ← 255 g_c (x/255)^1.25 with g = (0.32, 0.40, 0.66)."""
    return apply_curves(video, lambda x: x**1.25, (0.32, 0.40, 0.66))


def warmer(video: np.ndarray, reference: np.ndarray | None = None) -> np.ndarray:
    """Shift colours to red: (R, G, B) ← (1.22 R + 8, 1.02 G, 0.62 B)."""
    return apply_affine(video, np.diag((1.22, 1.02, 0.62)), (8, 0, 0))


def colder(video: np.ndarray, reference: np.ndarray | None = None) -> np.ndarray:
    """Shift colours to blue: (R, G, B) ← (0.62 R, 0.98 G, 1.2 B + 14)."""
    return apply_affine(video, np.diag((0.62, 0.98, 1.2)), (0, 0, 14))


def negative(video: np.ndarray, reference: np.ndarray | None = None) -> np.ndarray:
    """Invert the colours: x ← 255 - x."""
    return 255 - video


def brighter(video: np.ndarray, reference: np.ndarray | None = None) -> np.ndarray:
    """Brighten: x ← 255 (x/255)^0.55."""
    return apply_curves(video, lambda x: x**0.55)


def darker(video: np.ndarray, reference: np.ndarray | None = None) -> np.ndarray:
    """Darken: x ← 0.5 x."""
    return apply_curves(video, lambda x: 0.5 * x)


def more_saturated(video: np.ndarray, reference: np.ndarray | None = None) -> np.ndarray:
    """Double the saturation: x ← Y + 2 (x - Y)."""
    return apply_affine(video, saturation_matrix(2.0))


def less_saturated(video: np.ndarray, reference: np.ndarray | None = None) -> np.ndarray:
    """Reduce the saturation to a quarter: x ← Y + 0.25 (x - Y)."""
    return apply_affine(video, saturation_matrix(0.25))


def posterize(video: np.ndarray, reference: np.ndarray | None = None) -> np.ndarray:
    """Reduce each channel to three tones with soft steps.

    With s = 2 x / 255, n = floor(s), f = s - n:   x ← 127.5 (n + S(clip((f - 1/2) / 0.4 + 1/2, 0, 1))),   S(z) = z² (3 - 2 z).
    Soft, so that one grey level of noise at a threshold does not become a hundred.
    """

    def steps(x: np.ndarray) -> np.ndarray:
        n = np.floor(2 * x)
        z = np.clip((2 * x - n - 0.5) / 0.4 + 0.5, 0, 1)
        return (n + z * z * (3 - 2 * z)) / 2

    return apply_curves(video, steps)


def blur(video: np.ndarray, reference: np.ndarray | None = None) -> np.ndarray:
    """Blur each frame by a Gaussian, sigma = 0.05 min(H, W) pixels, borders mirrored (edge pixel not repeated)."""
    sigma = 0.05 * min(video.shape[1:3])
    return np.stack(
        [cv2.GaussianBlur(frame, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101) for frame in video]
    )


def autumn(video: np.ndarray, reference: np.ndarray | None = None) -> np.ndarray:
    """Turn greens to orange: R ← 0.75 R + 0.5 G, G ← 0.25 R + 0.55 G, B ← 0.1 G + 0.5 B."""
    return apply_affine(video, ((0.75, 0.5, 0.0), (0.25, 0.55, 0.0), (0.0, 0.1, 0.5)))


def winter(video: np.ndarray, reference: np.ndarray | None = None) -> np.ndarray:
    """Make the colours pale and bluish: x ← 0.6 (Y + 0.35 (x - Y)) + (78, 92, 112)."""
    return apply_affine(video, 0.6 * saturation_matrix(0.35), (78, 92, 112))


def spring(video: np.ndarray, reference: np.ndarray | None = None) -> np.ndarray:
    """Freshen the greens: R ← 0.75 R + 0.15 G, G ← 0.3 R + 0.8 G + 0.1 B + 16, B ← 0.7 B + 6."""
    return apply_affine(video, ((0.75, 0.15, 0.0), (0.3, 0.8, 0.1), (0.0, 0.0, 0.7)), (0, 16, 6))


def palette(video: np.ndarray, reference: np.ndarray | None = None) -> np.ndarray:
    """Take mean and spread of colour from the reference picture (Reinhard et al. 2001, in a linear opponent space).

    With O the orthonormal rows (1,1,1)/√3, (1,1,-2)/√6, (1,-1,0)/√2 (brightness, yellow-blue, red-green),
    mu, sigma the per-row mean and standard deviation over the whole clip (v) or the reference (r):
    x ← Oᵀ ( clip(sigma_r / sigma_v, 1/3, 3) (O x - mu_v) + mu_r ).   One affine map for the clip, so no flicker.

    Raises:
      ValueError: There is no reference picture.
    """
    if reference is None:
        raise ValueError("palette: expected a reference picture to take the colours from, got None")
    opponent = np.array([[1, 1, 1], [1, 1, -2], [1, -1, 0]]) / np.sqrt([[3.0], [6.0], [2.0]])
    mean_v, cov_v = _moments(video)
    mean_r, cov_r = _moments(reference[None])
    sigma_v, sigma_r = (np.sqrt(np.maximum(np.diag(opponent @ c @ opponent.T), 1e-6)) for c in (cov_v, cov_r))
    matrix = opponent.T @ np.diag(np.clip(sigma_r / sigma_v, 1 / 3, 3)) @ opponent
    return apply_affine(video, matrix, mean_r - matrix @ mean_v)


PHOTOMETRIC: dict[str, PhotometricEdit] = {
    "greyscale": grayscale,
    "sepia": sepia,
    "night": night,
    "warmer": warmer,
    "colder": colder,
    "negative": negative,
    "brighter": brighter,
    "darker": darker,
    "more saturated": more_saturated,
    "less saturated": less_saturated,
    "posterise": posterize,
    "blur": blur,
    "autumn": autumn,
    "winter": winter,
    "spring": spring,
    "palette": palette,
}


def saturation_matrix(s: float) -> np.ndarray:
    """Return the matrix of x ← Y + s (x - Y)."""
    return s * np.eye(3) + (1 - s) * np.tile(LUMA, (3, 1))


def apply_affine(
    video: np.ndarray,
    matrix: np.ndarray | Sequence[Sequence[float]],
    offset: np.ndarray | Sequence[float] = (0, 0, 0),
) -> np.ndarray:
    """Apply x ← matrix · x + offset to RGB columns in float32, in chunks of rows so that a long clip needs little memory."""
    rows = np.ascontiguousarray(video).reshape(-1, video.shape[2], 3)
    # + 0.5 and truncation rounds to nearest, as the result is clipped to >= 0 first.
    affine = np.column_stack([np.asarray(matrix, np.float64), np.asarray(offset, np.float64) + 0.5]).astype(
        np.float32
    )
    out = np.empty_like(rows)
    step = max(1, _CHUNK // rows.shape[1])
    for i in range(0, len(rows), step):
        chunk = cv2.transform(rows[i : i + step].astype(np.float32), affine)
        out[i : i + step] = np.clip(chunk, 0, 255, out=chunk)
    return out.reshape(video.shape)


def apply_curves(
    video: np.ndarray,
    curve: Callable[[np.ndarray], np.ndarray],
    gains: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> np.ndarray:
    """Apply x ← 255 gain_c curve(x / 255) by table."""
    x = np.arange(256) / 255
    tables = np.clip(255 * np.outer(curve(x), gains) + 0.5, 0, 255).astype(np.uint8)
    rows = np.ascontiguousarray(video).reshape(-1, video.shape[2], 3)
    return cv2.LUT(rows, tables[None]).reshape(video.shape)


def _moments(video: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean [3] and covariance [3, 3] of RGB over all pixels, accumulated frame by frame."""
    n, total, square = 0, np.zeros(3), np.zeros((3, 3))
    for frame in video:
        x = frame.reshape(-1, 3).astype(np.float32)
        n += len(x)
        total += x.sum(0, dtype=np.float64)
        square += (x.T @ x).astype(np.float64)
    mean = total / n
    return mean, square / n - np.outer(mean, mean)
