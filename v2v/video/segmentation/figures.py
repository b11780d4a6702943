"""Draw people again, one by one: the coarse mask of a subject → the figures in it.

Selfie segmentation is made for heads and shoulders: of whole people it loses limbs, and it takes what stands behind them for them too. The
pose network draws the one figure in the middle of its view, from head to foot. So it is shown a part of the mask, then what is left of the
part without that figure, and so on. Where it sees one figure, that figure replaces the part. Of several people who overlap, the network
draws each only in part: there the mask of the subject is kept and the figures are added to it.
"""

import cv2
import numpy as np

from v2v.video.segmentation.networks import SIDE, PoseNetwork

# Figures of one part that are looked for.
MOST_FIGURES = 5
# What is left of a part is looked at from this share of the part, and of the frame, on.
LEAST_REST, LEAST_AREA = 0.15, 0.004
# Pixels of the small mask: edges where two masks differ, and crumbs.
EDGE, CRUMB = 9, 7


def draw_figures(frame: np.ndarray, coarse: np.ndarray, numbers: np.ndarray, pose: PoseNetwork) -> np.ndarray:
    """Return a frame's mask with the parts in which figures are seen drawn again.

    Args:
      frame: uint8 [H, W, 3] RGB.
      coarse: mask of the subjects, float32 [256, 256], 0..1, of the frame squeezed into a square.
      numbers: which part each pixel belongs to, [256, 256]; 0 for none.
      pose: the network.

    Returns:
      float32 [256, 256].
    """
    drawn = coarse.copy()
    for number in np.unique(numbers[numbers > 0]):
        part = numbers == number
        figures = _find_figures(frame, part, pose)
        if len(figures) == 1:
            drawn[_grow(part)] = 0
        for figure in figures:
            drawn = np.maximum(drawn, figure)
    return drawn


def find_box(where: np.ndarray, frame: np.ndarray) -> tuple[int, int, int, int]:
    """Return the bounding box x, y, w, h, in the frame's pixels, of a part of its small mask, bool [256, 256]."""
    x, y, w, h = cv2.boundingRect(where.astype(np.uint8))
    across, down = frame.shape[1] / SIDE, frame.shape[0] / SIDE
    return round(x * across), round(y * down), round(w * across), round(h * down)


def _find_figures(frame: np.ndarray, part: np.ndarray, pose: PoseNetwork) -> list[np.ndarray]:
    """Return the masks of the figures in a part, float32 [256, 256] each; empty where the network sees none."""
    figures: list[np.ndarray] = []
    covered = np.zeros_like(part)
    rests = [part]
    for _ in range(MOST_FIGURES):
        if not rests:
            break
        rest = rests.pop(0)
        figure = pose.draw_figure(frame, find_box(rest, frame))
        if figure is None:
            continue
        inside = figure > 0.5
        if (inside & ~covered).sum() < LEAST_AREA * part.size and figures:
            continue  # the same one again
        figures.append(figure)
        covered |= _grow(inside)
        rests = [piece & ~covered for piece in [rest, *rests]]
        rests = [piece for rest in rests for piece in _split(rest, part)]
    return figures


def _split(rest: np.ndarray, part: np.ndarray) -> list[np.ndarray]:
    """Return the connected pieces of what is left of a part that are worth a look, without crumbs."""
    opened = cv2.morphologyEx(rest.astype(np.uint8), cv2.MORPH_OPEN, np.ones((CRUMB, CRUMB), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(opened)
    least = max(LEAST_REST * part.sum(), LEAST_AREA * part.size)
    return [labels == label for label in range(1, count) if stats[label, cv2.CC_STAT_AREA] >= least]


def _grow(where: np.ndarray) -> np.ndarray:
    return cv2.dilate(where.astype(np.uint8), np.ones((EDGE, EDGE), np.uint8)) > 0
