"""A network's coarse mask, brought to full size along the frame's own edges: a guided filter.

In every window the mask is fitted by an affine function of the colours, q = a·I + b (He et al., "Guided Image Filtering", 2013), on
a frame of moderate size. a and b vary slowly, so they are enlarged and applied to the full frame (He and Sun, "Fast Guided Filter",
2015). Where an edge of the mask and one of the picture lie close to each other, the mask's moves onto the picture's.
"""

import cv2
import numpy as np

# Longer side of the frame that is fitted.
FIT_SIDE = 512
# Windows of the filter, pixels of the fitted frame on either side of the middle, one after the other: the first moves edges, the
# second sharpens them.
RADII = (8, 4)
# Variance of colours (of 0..1) below which a window counts as flat.
RIDGE = 4e-4
# Slope by which grey is stretched about the middle: the filter leaves a halo of faint grey.
CONTRAST = 1.6


def refine(frame: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return a coarse mask at the frame's size, its edges on the frame's.

    Args:
      frame: uint8 [H, W, 3].
      mask: float32 [h, w], 0..1.

    Returns:
      uint8 [H, W].
    """
    H, W = frame.shape[:2]
    scale = min(1.0, FIT_SIDE / max(H, W))
    size = max(1, round(W * scale)), max(1, round(H * scale))
    small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    values = cv2.resize(mask, size, interpolation=cv2.INTER_LINEAR)
    slope = np.empty(0)
    offset = np.empty(0)
    for radius in RADII:
        slope, offset = _fit(small, values, 2 * radius + 1)
        values = np.clip(np.einsum("hwc,hwc->hw", slope, small) + offset, 0, 1)
    large = np.einsum("hwc,hwc->hw", cv2.resize(slope, (W, H)), frame) / np.float32(255) + cv2.resize(
        offset, (W, H)
    )
    large = (large - 0.5) * CONTRAST + 0.5
    return np.rint(255 * np.clip(large, 0, 1)).astype(np.uint8)


def _fit(guide: np.ndarray, values: np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a, float32 [h, w, 3], and b, float32 [h, w], of the guided filter."""

    def mean(x: np.ndarray) -> np.ndarray:
        return cv2.blur(x, (window, window), borderType=cv2.BORDER_REFLECT)

    mean_guide, mean_values = mean(guide), mean(values)
    r, g, b = cv2.split(guide)
    products = mean(cv2.merge([r * values, g * values, b * values]))
    covariance = products - mean_guide * mean_values[..., None]
    rr, gg, bb = cv2.split(mean(guide * guide) - mean_guide * mean_guide + np.float32(RIDGE))
    mr, mg, mb = cv2.split(mean_guide)
    rg, rb, gb = cv2.split(mean(cv2.merge([r * g, r * b, g * b])) - cv2.merge([mr * mg, mr * mb, mg * mb]))
    # The inverse of a symmetric 3 x 3 matrix by its cofactors.
    c00, c01, c02 = gg * bb - gb * gb, gb * rb - rg * bb, rg * gb - gg * rb
    c11, c12, c22 = rr * bb - rb * rb, rg * rb - rr * gb, rr * gg - rg * rg
    determinant = np.maximum(rr * c00 + rg * c01 + rb * c02, np.float32(1e-12))
    x, y, z = cv2.split(covariance)
    slope = cv2.merge([c00 * x + c01 * y + c02 * z, c01 * x + c11 * y + c12 * z, c02 * x + c12 * y + c22 * z])
    slope /= determinant[..., None]
    offset = mean_values - np.einsum("hwc,hwc->hw", slope, mean_guide)
    return mean(slope), mean(offset)
