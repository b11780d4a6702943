"""Pixel metrics between two clips: squared error, PSNR, SSIM and change by region.

Each function takes clips as iterables of uint8 RGB frames [H, W, 3] (arrays [T, H, W, 3], lists or generators
alike) and holds one frame of each at a time. Masks are iterables of uint8 or bool planes [H, W], nonzero =
edited here and now. For a region R of pixels in space and time, three channels each,

    MSE(a, b; R) = mean over R and channels of (a - b)^2
    PSNR = 10 log10(255^2 / MSE), at most 100 dB
    SSIM = mean of (2 m_a m_b + C1)(2 s_ab + C2) / ((m_a^2 + m_b^2 + C1)(s_a^2 + s_b^2 + C2))

with local means m and (co)variances s of BT.601 luma under an 11x11 Gaussian of sigma 1.5, C1 = (0.01 *
255)^2, C2 = (0.03 * 255)^2, only windows that lie inside the frame, averaged over frames (Wang et al. 2004).
MS-SSIM multiplies contrast and structure over five octaves (Wang et al. 2003).

A video's MSE pools all frames before the logarithm: the mean of per-frame PSNRs would let one perfect frame
outweigh bad ones.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import overload

import cv2
import numpy as np

from v2v.errors import InputError

# dB, reported for identical clips so that means stay finite.
PSNR_CAP = 100.0
SSIM_WINDOW, SSIM_SIGMA = 11, 1.5
SSIM_C1, SSIM_C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
# The gray level that luma is measured from.
MID_GRAY = 128.0
# Finest octave first.
MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
# 176 pixels.
MS_SSIM_MIN_SIDE = SSIM_WINDOW << (len(MS_SSIM_WEIGHTS) - 1)

Frames = Iterable[np.ndarray]


def mse(a: Frames, b: Frames, mask: Frames | None = None, *, outside: bool = False) -> float:
    """Compute the mean squared error in squared levels.

    Args:
      a: a clip.
      b: another clip of the same length and size.
      mask: the region; None for all pixels.
      outside: whether to use what is outside the mask instead.

    Returns:
      nan where the region holds no pixel.
    """
    total, count = 0.0, 0
    for x, y, region in iterate_aligned(a, b, mask):
        if region is not None and outside:
            region = 1 - region
        total += cv2.norm(x, y, cv2.NORM_L2SQR, mask=region)
        count += 3 * (x.shape[0] * x.shape[1] if region is None else int(np.count_nonzero(region)))
    return total / count if count else float("nan")


def psnr(a: Frames, b: Frames, mask: Frames | None = None, *, outside: bool = False) -> float:
    """Compute the peak signal-to-noise ratio in dB over the same regions as `mse`; nan where the region is empty."""
    return psnr_from_mse(mse(a, b, mask, outside=outside))


def psnr_from_mse(error: float) -> float:
    """Convert a mean squared error in squared levels to dB, at most PSNR_CAP; nan stays nan."""
    if error == 0:
        return PSNR_CAP
    return float(np.minimum(10 * np.log10(255.0**2 / error), PSNR_CAP))


def mse_by_region(a: Frames, b: Frames, mask: Frames) -> tuple[float, float]:
    """Compute `mse` inside the mask and outside it in one pass."""
    return _regions(a, b, mask, cv2.NORM_L2SQR)


def ssim(a: Frames, b: Frames) -> float:
    """Compute structural similarity of luma in [-1, 1], mean over frames with sides of at least 11."""
    scores = [_similarity(_luma(x), _luma(y))[0] for x, y, _ in iterate_aligned(a, b)]
    return float(np.mean(scores))


def ms_ssim(a: Frames, b: Frames) -> float:
    """Compute multi-scale structural similarity in [0, 1], mean over frames with sides of at least 176."""
    return float(np.mean([_multi_scale(_luma(x), _luma(y))[1] for x, y, _ in iterate_aligned(a, b)]))


def ssim_and_ms_ssim(a: Frames, b: Frames) -> tuple[float, float]:
    """Compute `ssim` and `ms_ssim` in one pass; the latter nan where a side is under 176 pixels."""
    single, multiple = [], []
    for x, y, _ in iterate_aligned(a, b):
        large = min(x.shape[:2]) >= MS_SSIM_MIN_SIDE
        ssim_value, product = (_multi_scale if large else _single_scale)(_luma(x), _luma(y))
        single.append(ssim_value)
        multiple.append(product)
    return float(np.mean(single)), float(np.mean(multiple))


def change_by_region(output: Frames, source: Frames, mask: Frames) -> tuple[float, float]:
    """Compute `change_inside` and `leakage_outside` in one pass."""
    return _regions(output, source, mask, cv2.NORM_L1)


def change_inside(output: Frames, source: Frames, mask: Frames) -> float:
    """Compute mean |output - source| in levels inside the mask: 0 is an edit that did nothing."""
    return change_by_region(output, source, mask)[0]


def leakage_outside(output: Frames, source: Frames, mask: Frames) -> float:
    """Compute mean |output - source| in levels where nothing should change (other times included)."""
    return change_by_region(output, source, mask)[1]


@overload
def iterate_aligned(
    a: Frames, b: Frames, mask: None = None
) -> Iterator[tuple[np.ndarray, np.ndarray, None]]: ...
@overload
def iterate_aligned(
    a: Frames, b: Frames, mask: Frames
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]: ...
@overload
def iterate_aligned(
    a: Frames, b: Frames, mask: Frames | None
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray | None]]: ...
def iterate_aligned(
    a: Frames, b: Frames, mask: Frames | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
    """Iterate over frames of both clips and 0/1 uint8 mask planes (or None), checked against each other.

    Raises:
      InputError: clips of different length or size, frames that are not uint8 RGB, or none at all.
    """
    planes = None if mask is None else iter(mask)
    k = 0
    for x, y in itertools.zip_longest(a, b):
        plane = None if planes is None else next(planes, None)
        if x is None or y is None or (planes is not None and plane is None):
            raise InputError(
                f"metrics: expected clips and mask of one length, one of them ends at frame {k}; compare like with like"
            )
        for frame in (x, y):
            if frame.ndim != 3 or frame.shape[-1] != 3 or frame.dtype != np.uint8 or 0 in frame.shape:
                raise InputError(
                    f"metrics, frame {k}: expected uint8 [H, W, 3], got {frame.dtype} {list(frame.shape)}"
                )
        if x.shape != y.shape or (plane is not None and plane.shape != x.shape[:2]):
            sizes = [list(v.shape) for v in (x, y, plane) if v is not None]
            raise InputError(
                f"metrics, frame {k}: expected one size, got {sizes}; resize one clip to the other first"
            )
        k += 1
        region = None if plane is None else (plane != 0).view(np.uint8)
        yield np.ascontiguousarray(x), np.ascontiguousarray(y), region
    if not k:
        raise InputError("metrics: expected clips with at least one frame, got none")
    if planes is not None and next(planes, None) is not None:
        raise InputError(
            f"metrics: expected clips and mask of one length, the clips end at frame {k}; compare like with like"
        )


def iterate_strips(height: int, width: int) -> Iterator[slice]:
    """Iterate over slices of rows of about 130,000 pixels, which fit the processor cache."""
    step = max(16, (1 << 17) // width)
    return (slice(top, min(top + step, height)) for top in range(0, height, step))


def norm_by_region(x: np.ndarray, y: np.ndarray, region: np.ndarray, norm: int) -> tuple[float, float]:
    """Compute a norm of x - y inside and outside a region.

    The outside is the norm over all pixels minus that inside: a norm without mask is faster, and for bytes both are exact.

    Args:
      x: [H, W, c].
      y: [H, W, c].
      region: uint8 [H, W], nonzero inside.
      norm: cv2.NORM_L1 or cv2.NORM_L2SQR.
    """
    inside = cv2.norm(x, y, norm, mask=region)
    return inside, cv2.norm(x, y, norm) - inside


def _regions(a: Frames, b: Frames, mask: Frames, norm: int) -> tuple[float, float]:
    """Return the mean of a norm inside the mask and outside; nan where there is no pixel."""
    totals, counts = np.zeros(2), np.zeros(2)
    for x, y, region in iterate_aligned(a, b, mask):
        totals += norm_by_region(x, y, region, norm)
        pixels = int(np.count_nonzero(region))
        counts += 3 * pixels, 3 * (region.size - pixels)
    inside, outside = (t / n if n else float("nan") for t, n in zip(totals.tolist(), counts, strict=True))
    return float(inside), float(outside)


def _luma(frame: np.ndarray) -> np.ndarray:
    """Return luma minus mid-gray, float32 [H, W]; variances as differences of second moments then lose less in float32."""
    return cv2.transform(frame.astype(np.float32), np.array([[0.299, 0.587, 0.114, -MID_GRAY]], np.float32))


def _similarity(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Return means over all windows of two planes of `_luma`: SSIM, and its contrast-structure factor alone."""
    if min(a.shape) < SSIM_WINDOW:
        raise InputError(
            f"ssim: expected frames of at least {SSIM_WINDOW}x{SSIM_WINDOW} pixels, got {a.shape[1]}x{a.shape[0]}"
        )
    sums, border = np.zeros(2), SSIM_WINDOW - 1
    for rows in iterate_strips(a.shape[0] - border, a.shape[1]):
        around = slice(rows.start, rows.stop + border)
        sums += _similarity_sums(a[around], b[around])
    ssim_value, structure = sums / ((a.shape[0] - border) * (a.shape[1] - border))
    return float(ssim_value), float(structure)


def _similarity_sums(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    mean_a, mean_b = _window(a), _window(b)
    products = cv2.multiply(mean_a, mean_b)
    squares = cv2.add(cv2.multiply(mean_a, mean_a), cv2.multiply(mean_b, mean_b))
    # Only the sum of the variances matters, so one window serves both.
    variances = _window(cv2.add(cv2.multiply(a, a), cv2.multiply(b, b)))
    structure = cv2.divide(
        cv2.addWeighted(_window(cv2.multiply(a, b)), 2, products, -2, SSIM_C2),
        cv2.addWeighted(variances, 1, squares, -1, SSIM_C2),
    )
    # (m_a + MID)(m_b + MID) multiplied out, and likewise the sum of the squares: they share the terms that are no products.
    shift = cv2.addWeighted(mean_a, 2 * MID_GRAY, mean_b, 2 * MID_GRAY, 2 * MID_GRAY**2 + SSIM_C1)
    brightness = cv2.divide(cv2.scaleAdd(products, 2, shift), cv2.add(squares, shift))
    return cv2.sumElems(cv2.multiply(brightness, structure))[0], cv2.sumElems(structure)[0]


def _window(plane: np.ndarray) -> np.ndarray:
    r = SSIM_WINDOW // 2
    return cv2.GaussianBlur(plane, (SSIM_WINDOW, SSIM_WINDOW), SSIM_SIGMA)[r:-r, r:-r]


def _single_scale(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    return _similarity(a, b)[0], float("nan")


def _multi_scale(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Return SSIM of the finest octave, and MS-SSIM."""
    if min(a.shape) < MS_SSIM_MIN_SIDE:
        raise InputError(
            f"ms_ssim: expected frames of at least {MS_SSIM_MIN_SIDE}x{MS_SSIM_MIN_SIDE} pixels, got {a.shape[1]}x{a.shape[0]}; use ssim"
        )
    score, finest = 1.0, 0.0
    for octave, weight in enumerate(MS_SSIM_WEIGHTS):
        ssim_value, structure = _similarity(a, b)
        finest = ssim_value if octave == 0 else finest
        last = octave == len(MS_SSIM_WEIGHTS) - 1
        score *= max(0.0, ssim_value if last else structure) ** weight
        a, b = _halve(a), _halve(b)
    return finest, score


def _halve(plane: np.ndarray) -> np.ndarray:
    """Return the means of 2x2 pixels; an odd last row or column is left out."""
    height, width = (n // 2 * 2 for n in plane.shape)
    return cv2.resize(plane[:height, :width], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
