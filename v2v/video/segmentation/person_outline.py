"""Draw a person again: the coarse mask of a subject → the figure in it.

Selfie segmentation is made for heads and shoulders: of whole people it loses limbs, and it takes what stands behind them for them too. The
pose network draws the one figure in the middle of its view, from head to foot, which replaces the part of the mask. Where several people
make one part, it draws but one of them, so that part stays as it is.
"""

from typing import TypeAlias

import cv2
import numpy as np

from v2v.video.segmentation.networks import SIDE, PoseNetwork

# x, y, width and height in pixels of the frame.
Box: TypeAlias = tuple[int, int, int, int]

# What is left of a part without its first figure is looked at from this share of the part, and of the frame, on.
LEAST_REST, LEAST_AREA = 0.15, 0.004
# Presence from which that is a second figure: seen without its surroundings, a helmet in an arm reaches 0.5.
LEAST_PRESENCE = 0.7
# Pixels of the small mask: edges where two masks differ, and crumbs.
EDGE, CRUMB = 9, 7


def replace_part(
    frame: np.ndarray, mask: np.ndarray, part: np.ndarray, pose: PoseNetwork, box: Box | None = None
) -> tuple[np.ndarray, Box | None]:
    """Return a frame's mask with a part drawn again, and where the figure is; as it was, and None, where none is seen.

    Args:
      frame: uint8 [H, W, 3] RGB.
      mask: float32 [256, 256], 0..1, of the frame squeezed into a square.
      part: bool [256, 256].
      pose: the network.
      box: where the figure was in the previous frame, which is a steadier view than the part; None if it wasn't seen.
    """
    for view in (box, find_box(part, frame)):
        figure = None if view is None else pose.draw_figure(frame, view)
        if figure is not None and (figure[part] > 0.5).any():
            return np.maximum(np.where(_grow(part), 0, mask), figure), find_box(figure > 0.5, frame)
    return mask, None


def has_second_figure(frame: np.ndarray, part: np.ndarray, pose: PoseNetwork) -> bool:
    """Return whether a part of a frame's mask, bool [256, 256], shows more than one person."""
    figure = pose.draw_figure(frame, find_box(part, frame))
    if figure is None:
        return False
    remainder = (part & ~_grow(figure > 0.5)).astype(np.uint8)
    opened = cv2.morphologyEx(remainder, cv2.MORPH_OPEN, np.ones((CRUMB, CRUMB), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(opened)
    least = max(LEAST_REST * part.sum(), LEAST_AREA * part.size)
    pieces = [labels == label for label in range(1, count) if stats[label, cv2.CC_STAT_AREA] >= least]
    return any(pose.find_presence(frame, find_box(piece, frame)) >= LEAST_PRESENCE for piece in pieces)


def find_box(where: np.ndarray, frame: np.ndarray) -> Box:
    """Return the bounding box x, y, w, h, in the frame's pixels, of a part of its small mask, bool [256, 256]."""
    x, y, w, h = cv2.boundingRect(where.astype(np.uint8))
    across, down = frame.shape[1] / SIDE, frame.shape[0] / SIDE
    return round(x * across), round(y * down), round(w * across), round(h * down)


def _grow(where: np.ndarray) -> np.ndarray:
    return cv2.dilate(where.astype(np.uint8), np.ones((EDGE, EDGE), np.uint8)) > 0
