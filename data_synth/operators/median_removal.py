"""An object taken out of a static shot by the median of what its frames show.

With M the object's mask grown by a few pixels,

    plate(p) = median of frame_k(p) over the k with p not in M_k
    where every frame hides p: plate(p) by Telea's inpainting from the plate around it
    target_k(p) = plate(p) in M_k, frame_k(p) elsewhere

so nothing outside the mask changes. `object_removal.py` does the same for footage, whose camera and light change.
"""

from __future__ import annotations

import cv2
import numpy as np

# Grey levels: a static shot's background varies less than this about its median.
MAX_STATIC_DEVIATION = 6.0


def remove_object(video: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Take the masked object out of a static shot.

    Args:
      video: uint8 [T, H, W, 3].
      mask: bool [T, H, W], the object with its shadow.

    Returns:
      The video without it, and the mask that was replaced (grown by 1 % of the shorter side, at least a pixel).
    """
    margin = max(1, round(0.01 * min(video.shape[1:3])))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin + 1, 2 * margin + 1))
    grown_mask = np.stack([cv2.dilate(m.astype(np.uint8), kernel) for m in mask]).astype(bool)
    plate, hole = background_plate(video, grown_mask)
    if hole.any():
        plate = cv2.inpaint(plate, hole.astype(np.uint8), 3, cv2.INPAINT_TELEA)
    return np.where(grown_mask[..., None], plate, video), grown_mask


def background_plate(video: np.ndarray, hidden: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the median of what is visible at each pixel, and where nothing ever is.

    Args:
      video: uint8 [T, H, W, 3].
      hidden: bool [T, H, W], pixels to leave out.

    Returns:
      uint8 [H, W, 3], and bool [H, W].
    """
    T, H, W, _ = video.shape
    plate, hole = np.empty((H, W, 3), np.uint8), np.asarray(hidden.all(0))
    # A row at a time: the masked array of a whole long clip would need several times its memory.
    for y in range(H):
        row = np.ma.masked_array(video[:, y], np.repeat(hidden[:, y, :, None], 3, -1))
        plate[y] = np.ma.median(row, axis=0).filled(0).astype(np.uint8)
    return plate, hole


def is_static(video: np.ndarray, mask: np.ndarray) -> bool:
    """Return whether the camera stands still: outside the mask three quarters of the deviations from the median are small."""
    plate = np.median(video, axis=0)
    deviations = np.abs(video.astype(np.float32) - plate).mean(-1)[~mask]
    return bool(deviations.size) and float(np.percentile(deviations, 75)) < MAX_STATIC_DEVIATION
