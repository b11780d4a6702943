"""A softer clip: how much an edit has blurred its source, and the same blur at any size. Used by `detail_transfer/transfer.py`.

An edit that puts a clip out of focus is G then a colour map, G a Gaussian with standard deviations (down, across) in pixels of the
small frames, which need not be square. `fit` searches for the pair under which an affine colour map explains most of the edit:

    R2 = 1 - |e - (P G s + p)|² / |e - mean e|²

first with one sigma for both, then each by itself. Thousands of pixels vote on two numbers, so what the VAE makes of each of them
hardly counts. An edit counts as softer only where the blur leaves clearly less unexplained than no blur does; where even the best R2
is low, something new stands there (another background).
"""

import cv2
import numpy as np

Sigma = tuple[float, float]  # down, across

NO_BLUR: Sigma = (0.0, 0.0)
ISOTROPIC_SIGMAS = tuple(
    0.75 * 2 ** (k / 2) for k in range(8)
)  # tried for both sides: 0.75 to 8.5 small pixels
SEARCH_OCTAVES = (0.25, 0.125)  # octaves: steps in which each side is then searched, two either way
MIN_EXPLAINED = 0.8  # R2 below which an edit is no softer source
MAX_RESIDUAL_RATIO = 0.8  # of what is unexplained without a blur, more than which must not be left with it
MAX_FRAMES = 16  # looked at, evenly spread
FIT_SIDE = 64  # pixels of their shorter side, from twice which frames are reduced before they are looked at
OVERSAMPLING = (
    2  # pixels to a small pixel, at which large frames are blurred: a softened frame has no more detail
)


def fit_blur(source: np.ndarray, edit: np.ndarray, where: np.ndarray) -> Sigma:
    """The blur that best explains the edit, or SHARP.

    Args:
      source, edit: float32 [T, h, w, 3] in levels, small.
      where: bool [T, h, w], the pixels that count.
    """
    some = np.unique(np.linspace(0, len(source) - 1, min(MAX_FRAMES, len(source))).astype(int))
    source, edit, where = source[some], edit[some], where[some]
    reduced = max(1, min(source.shape[1:3]) // FIT_SIDE)
    if reduced > 1:
        size = source.shape[2] // reduced, source.shape[1] // reduced
        source, edit, where = (
            np.stack([cv2.resize(np.float32(frame), size, interpolation=cv2.INTER_AREA) for frame in clip])
            for clip in (source, edit, where)
        )
        where = where > 0.5
    if where.sum() < 8:
        return NO_BLUR

    def explained(sigma: Sigma) -> float:
        return _explained(blur_frames(source, sigma)[where], edit[where])

    both = max(ISOTROPIC_SIGMAS, key=lambda s: explained((s, s)))
    down = across = both
    for octaves in SEARCH_OCTAVES:
        steps = [2 ** (octaves * k) for k in (-2, -1, 0, 1, 2)]
        down = max((down * step for step in steps), key=lambda s, across=across: explained((s, across)))
        across = max((across * step for step in steps), key=lambda s, down=down: explained((down, s)))
    left, without = 1 - explained((down, across)), 1 - explained(NO_BLUR)
    return (
        (reduced * down, reduced * across)
        if left <= min(1 - MIN_EXPLAINED, MAX_RESIDUAL_RATIO * without)
        else NO_BLUR
    )


def blur_frames(frames: np.ndarray, sigma: Sigma) -> np.ndarray:
    """G on float32 [T, h, w, 3], borders mirrored; SHARP gives the very frames."""
    if sigma == NO_BLUR:
        return frames
    return np.stack([_gaussian(frame, *sigma) for frame in frames])


def blur_large_frame(frame: np.ndarray, small: tuple[int, int], sigma: Sigma) -> np.ndarray:
    """The same blur of a large frame, uint8 [H, W, 3] -> uint8 [H, W, 3]; SHARP gives the very frame.

    Args:
      small: (h, w), the frames that `sigma` is meant for.
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
    large = cv2.resize(_gaussian(fine, down, across), (W, H), interpolation=cv2.INTER_CUBIC)
    return cv2.add(large, 0.0, dtype=cv2.CV_8U)  # rounds and saturates


def _gaussian(frame: np.ndarray, down: float, across: float) -> np.ndarray:
    size = [2 * int(np.ceil(4 * s)) + 1 for s in (across, down)]
    return cv2.GaussianBlur(
        frame, size, max(across, 1e-3), sigmaY=max(down, 1e-3), borderType=cv2.BORDER_REFLECT_101
    )


def _explained(x: np.ndarray, y: np.ndarray) -> float:
    """R2 of the best affine map from colours x to y, both [n, 3]."""
    x, y = (a.astype(np.float64) - a.mean(0) for a in (x, y))
    total = (y * y).sum()
    left = y - x @ np.linalg.solve(x.T @ x + 1e-6 * len(x) * np.eye(3), x.T @ y)
    return 1 - float((left * left).sum() / total) if total > 1e-9 else 0.0
