"""The object at a place of a frame, grown from that place: colours like those there, then graph cuts.

frame, place → colours near the place against those of the frame's rest → "GrabCut" (Rother et al., 2004) → what hangs together with the place

It serves where nothing was trained to find objects; a network that takes points, such as SAM 2, finds them better.
"""

import cv2
import numpy as np

from v2v.errors import InputError

# Longer side of the frame that is cut.
CUT_SIDE = 400
# Shares of the frame's shorter side: within the first radius around the place all is the object's; beyond one of the others nothing is, each tried
# in turn until what is cut fills at most so much of its disc.
SEED_RADIUS, FARTHEST_RADII, MOST_FILLED = 0.015, (0.75, 0.4, 0.22), 0.5
ROUNDS = 6


def grow_object(frame: np.ndarray, x: float, y: float) -> np.ndarray:
    """Return a mask of the object at a place.

    Args:
      frame: uint8 [H, W, 3] RGB.
      x: in pixels from the left edge.
      y: in pixels from the upper edge.

    Returns:
      uint8 [H, W], 255 inside; the place is inside.

    Raises:
      InputError: the place is outside the frame.
    """
    H, W = frame.shape[:2]
    if not (0 <= x <= W and 0 <= y <= H):
        raise InputError(f"place: expected one within {W}x{H} pixels, got {x:g}, {y:g}")
    scale = min(1.0, CUT_SIDE / max(H, W))
    size = max(1, round(W * scale)), max(1, round(H * scale))
    small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    w, h = size
    column, row = min(w - 1, int(x * w / W)), min(h - 1, int(y * h / H))
    rows, columns = np.mgrid[:h, :w]
    distance = np.hypot(columns - column, rows - row) / min(h, w)
    object_area = np.zeros((h, w), bool)
    for radius in FARTHEST_RADII:
        object_area = _cut(small, distance, radius, row, column)
        # What fills the disc is no object but what lies around it.
        if object_area.sum() <= MOST_FILLED * np.count_nonzero(distance <= radius):
            break
    smooth = cv2.resize(object_area.astype(np.float32), (W, H), interpolation=cv2.INTER_CUBIC)
    return np.where(smooth >= 0.5, np.uint8(255), np.uint8(0))


def _cut(frame: np.ndarray, distance: np.ndarray, radius: float, row: int, column: int) -> np.ndarray:
    """Return the object within a radius, bool [h, w]."""
    seed = distance <= max(SEED_RADIUS, 1.5 / min(frame.shape[:2]))
    labels = np.where(_find_like(frame, seed, distance), cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[distance > radius] = cv2.GC_BGD
    labels[seed] = cv2.GC_FGD
    if np.isin(labels, (cv2.GC_BGD, cv2.GC_PR_BGD)).any():
        cv2.setRNGSeed(0)  # of the clusters that it begins with
        models = np.zeros((1, 65)), np.zeros((1, 65))
        cv2.grabCut(frame, labels, (0, 0, 1, 1), *models, ROUNDS, cv2.GC_INIT_WITH_MASK)
    inside = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    inside = np.asarray(cv2.morphologyEx(inside, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)), np.uint8)
    inside[seed] = 1
    components = cv2.connectedComponents(inside, connectivity=4)[1]
    return _fill_holes(components == components[row, column])


def _find_like(frame: np.ndarray, seed: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Return what is coloured like the seed and hangs together with it, bool [h, w]."""
    colors = cv2.cvtColor(cv2.bilateralFilter(frame, 7, 40, 7), cv2.COLOR_RGB2LAB).astype(np.float32)
    near = distance <= 3 * SEED_RADIUS
    mean, spread = colors[near].mean(0), colors[near].std(0) + 6
    unlike = np.sqrt((((colors - mean) / spread) ** 2).sum(-1))
    levels = np.clip(unlike * 16, 0, 255).astype(np.uint8)
    limit, _ = cv2.threshold(levels, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    like = ((levels <= min(limit, 64)) | seed).astype(np.uint8)
    components = cv2.connectedComponents(like, connectivity=4)[1]
    return components == components[np.unravel_index(np.argmin(distance), distance.shape)]


def _fill_holes(mask: np.ndarray) -> np.ndarray:
    """Return a mask, bool [h, w], without the holes that it surrounds."""
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(np.zeros(mask.shape, np.uint8), outlines, -1, 1, cv2.FILLED).astype(bool)
