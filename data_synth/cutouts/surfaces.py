"""What is seen behind an object: one surface such as grass, a road or a wall, or several things that it would cross.

frame → smooth colors → **Surfaces**. No mask says what is in front, so an object may stand only where it can't be in front of something that is: along
each row its box has one color, so that nothing reaches into it from aside (a horizon may lie behind it), and the color at its foot goes on to
the edge of the frame, as that of a ground does and that of a nearby animal does not.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

# Lines at which frames are compared, and the sigma in pixels that smooths textures there.
_LINES, _SIGMA = 90, 1.5
# Distances in CIELAB, whose color axes count half as much again: greatest root mean square along a row and at the foot, and of one surface.
_MAX_ROW, _MAX_FOOT, _MAX_SURFACE = 14.0, 14.0, 18.0
_CHROMA_WEIGHT = 1.5
# Margins in sizes of the box, at its sides and below it.
_SIDE_MARGIN, _LOWER_MARGIN = 0.12, 0.1
# Share of the box that is its foot.
_FOOT = 0.25
# Least area of the ground as a share of the frame, and least width in widths of the box.
_MIN_AREA, _MIN_WIDTH = 0.06, 1.8


@dataclasses.dataclass(frozen=True)
class Surfaces:
    """The surfaces of a frame.

    Attributes:
      colors: float32 [h, w, 3], smooth CIELAB with weighted color axes.
    """

    colors: np.ndarray

    @classmethod
    def of(cls, frame: np.ndarray) -> Surfaces:
        """Return the surfaces of a frame, uint8 [H, W, 3]."""
        H, W = frame.shape[:2]
        small = cv2.resize(frame, (max(1, round(W * _LINES / H)), _LINES), interpolation=cv2.INTER_AREA)
        lab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
        lab[..., 1:] *= _CHROMA_WEIGHT
        return cls(cv2.GaussianBlur(lab, (0, 0), _SIGMA))

    def is_one(self, left: float, top: float, right: float, bottom: float) -> bool:
        """Return whether an object in a box is in front of one surface alone; the box in shares of the frame's size."""
        h, w = self.colors.shape[:2]
        side, below = _SIDE_MARGIN * (right - left), _LOWER_MARGIN * (bottom - top)
        columns = slice(max(0, int(w * (left - side))), min(w, int(w * (right + side)) + 1))
        rows = slice(max(0, int(h * top)), min(h, int(h * (bottom + below)) + 1))
        behind = self.colors[rows, columns]
        along_rows = np.sqrt(np.square(behind - behind.mean(1, keepdims=True)).sum(-1).mean(1))
        if np.percentile(along_rows, 90) > _MAX_ROW:
            return False
        foot_rows = slice(rows.stop - max(2, round(_FOOT * len(behind))), rows.stop)
        foot = self.colors[foot_rows, columns]
        color = foot.mean((0, 1))
        if np.sqrt(np.square(foot - color).sum(-1).mean()) > _MAX_FOOT:
            return False
        return self._is_ground(color, foot_rows, columns, _MIN_WIDTH * w * (right - left))

    def _is_ground(self, color: np.ndarray, rows: slice, columns: slice, width: float) -> bool:
        """Return whether the surface of a color at some place is large, wide, and goes on to the edge of the frame."""
        h, w = self.colors.shape[:2]
        is_alike = (np.square(self.colors - color).sum(-1) < _MAX_SURFACE**2).astype(np.uint8)
        _, labels, areas, _ = cv2.connectedComponentsWithStats(is_alike, connectivity=4)
        counts = np.bincount(labels[rows, columns].ravel())
        counts[0] = 0
        if not counts.any():
            return False
        x, y, area_width, area_height, area = areas[counts.argmax()]
        reaches_edge = x == 0 or x + area_width == w or y + area_height == h
        return bool(reaches_edge and area >= _MIN_AREA * h * w and area_width >= width)
