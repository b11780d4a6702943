"""Softening edits: how much an edit has blurred its source, and the same blur at any size. `transfer.py` applies it.

An edit that puts a clip out of focus is G then a colour map, G a Gaussian with standard deviations (vertical, horizontal) in
pixels of the small frames, which need not be square. `fit_blur` searches for the pair under which an affine colour map explains
most of the edit:

    R2 = 1 - |e - (P G s + p)|² / |e - mean e|²

first with one sigma for both, then each by itself. Thousands of pixels determine two numbers, so what the autoencoder makes of
each of them hardly counts. An edit counts as softer only where the blur leaves clearly less unexplained than no blur does; where
even the best R2 is low, something new is there (another background).
"""

import cv2
import numpy as np

from v2v.video.pixels import round_to_uint8

# Standard deviations, vertical and horizontal, in pixels.
Sigma = tuple[float, float]

NO_BLUR: Sigma = (0.0, 0.0)
# Tried for both directions: 0.75 to 8.5 small pixels.
ISOTROPIC_SIGMAS = tuple(0.75 * 2 ** (k / 2) for k in range(8))
# Steps, in octaves, in which each direction is then searched, two either way.
SEARCH_OCTAVES = (0.25, 0.125)
# R2 below which an edit is no softer source.
MIN_EXPLAINED = 0.8
# Share of what is unexplained without a blur; more than that must not be unexplained with it.
MAX_RESIDUAL_RATIO = 0.8
# Frames that are fitted, evenly spread.
MAX_FRAMES = 16
# Pixels of the shorter side; frames of twice as many are reduced before they are fitted.
FIT_SIDE = 64
# Pixels to a small pixel at which large frames are blurred: a softened frame has no more detail.
OVERSAMPLING = 2


def fit_blur(source: np.ndarray, edit: np.ndarray, where: np.ndarray) -> Sigma:
    """Return the blur that best explains an edit, or `NO_BLUR`.

    Args:
      source: small frames, float32 [T, h, w, 3] in levels.
      edit: the same frames of the edit.
      where: bool [T, h, w], the pixels that count.
    """
    rows = np.unique(np.linspace(0, len(source) - 1, min(MAX_FRAMES, len(source))).astype(int))
    source, edit, where = source[rows], edit[rows], where[rows]
    reduction = max(1, min(source.shape[1:3]) // FIT_SIDE)
    if reduction > 1:
        size = source.shape[2] // reduction, source.shape[1] // reduction
        source, edit, where = (
            np.stack(
                [cv2.resize(frame.astype(np.float32), size, interpolation=cv2.INTER_AREA) for frame in clip]
            )
            for clip in (source, edit, where)
        )
        where = where > 0.5
    if where.sum() < 8:
        return NO_BLUR

    def explained(sigma: Sigma) -> float:
        return _explained_share(blur_frames(source, sigma)[where], edit[where])

    isotropic = max(ISOTROPIC_SIGMAS, key=lambda s: explained((s, s)))
    down = across = isotropic
    for octaves in SEARCH_OCTAVES:
        steps = [2 ** (octaves * k) for k in (-2, -1, 0, 1, 2)]
        down = max((down * step for step in steps), key=lambda s, across=across: explained((s, across)))
        across = max((across * step for step in steps), key=lambda s, down=down: explained((down, s)))
    residual, residual_without = 1 - explained((down, across)), 1 - explained(NO_BLUR)
    if residual <= min(1 - MIN_EXPLAINED, MAX_RESIDUAL_RATIO * residual_without):
        return reduction * down, reduction * across
    return NO_BLUR


def blur_frames(frames: np.ndarray, sigma: Sigma) -> np.ndarray:
    """Blur small frames, float32 [T, h, w, 3], with mirrored borders; `NO_BLUR` returns the frames themselves."""
    if sigma == NO_BLUR:
        return frames
    return np.stack([_gaussian(frame, *sigma) for frame in frames])


def blur_large_frame(frame: np.ndarray, small: tuple[int, int], sigma: Sigma) -> np.ndarray:
    """Apply the blur of small frames to a large one; `NO_BLUR` returns the frame itself.

    Args:
      frame: uint8 [H, W, 3].
      small: (h, w), the size of the frames whose pixels `sigma` counts.
      sigma: the blur.

    Returns:
      uint8 [H, W, 3].
    """
    if sigma == NO_BLUR:
        return frame
    (H, W), (h, w) = frame.shape[:2], small
    y, x = min(H, OVERSAMPLING * h), min(W, OVERSAMPLING * w)
    fine = cv2.resize(frame, (x, y), interpolation=cv2.INTER_AREA).astype(np.float32)
    # What INTER_AREA's boxes have blurred already, a twelfth of a square pixel, need not be done again.
    down, across = (
        max(0.0, (s * n / m) ** 2 - 1 / 12) ** 0.5 for s, n, m in zip(sigma, (y, x), small, strict=True)
    )
    return round_to_uint8(cv2.resize(_gaussian(fine, down, across), (W, H), interpolation=cv2.INTER_CUBIC))


def _gaussian(frame: np.ndarray, down: float, across: float) -> np.ndarray:
    size = [2 * int(np.ceil(4 * s)) + 1 for s in (across, down)]
    return cv2.GaussianBlur(
        frame, size, max(across, 1e-3), sigmaY=max(down, 1e-3), borderType=cv2.BORDER_REFLECT_101
    )


def _explained_share(x: np.ndarray, y: np.ndarray) -> float:
    """Return R2 of the best affine map from colours x to y, both [n, 3]."""
    x, y = (a.astype(np.float64) - a.mean(0) for a in (x, y))
    total = (y * y).sum()
    residual = y - x @ np.linalg.solve(x.T @ x + 1e-6 * len(x) * np.eye(3), x.T @ y)
    return 1 - float((residual * residual).sum() / total) if total > 1e-9 else 0.0
