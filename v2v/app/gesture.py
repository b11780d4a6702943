"""What a line that somebody drew over a frame points at: an outline is an area, an arrow or a tap is a place.

A closed line means the area that it surrounds, one to and fro that which it covers. An arrow means the place at its tip, where its head is, in one
line with the shaft; any other line the place where it ends.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

# A line shorter than this share of the frame's diagonal is a tap.
TAP = 0.015
# A line is closed where its ends are nearer than this share of its longer side, and what it surrounds is this share of a circle of its length.
GAP, ROUNDNESS = 0.3, 0.12
# Deviation that is no corner, as a share of a line's longer side, and the turn from which on a corner is sharp, in degrees.
CORNER, SHARP = 0.06, 105.0
# Strokes of an arrow's head against its shaft at most; lines to and fro have so many sharp corners at least.
HEAD, TO_AND_FRO = 0.6, 4


@dataclass(frozen=True)
class Gesture:
    """What is pointed at.

    Attributes:
      kind: an area, or a place.
      points: float32 [N, 2], x and y: the area's outline, or the one place.
    """

    kind: Literal["area", "place"]
    points: np.ndarray

    @property
    def place(self) -> tuple[float, float]:
        """Return the place, or the middle of the area."""
        x, y = self.points.mean(0)
        return float(x), float(y)

    def fill(self, height: int, width: int) -> np.ndarray:
        """Return the area as a mask, uint8 [height, width]; of a place its pixel."""
        outline = np.rint(self.points).astype(np.int32)
        mask = np.zeros((height, width), np.uint8)
        # A line that crosses itself surrounds all that is within its outer edge.
        cv2.polylines(mask, [outline], True, 255, 1)
        edges, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        return cv2.drawContours(mask, edges, -1, 255, cv2.FILLED)


def read_gesture(points: Sequence[Sequence[float]] | np.ndarray, diagonal: float) -> Gesture:
    """Return what a line points at.

    Args:
      points: at least one, x and y in the order in which they were drawn.
      diagonal: of the frame, in the same unit.
    """
    line = np.asarray(points, np.float32).reshape(-1, 2)
    length = _measure(line)
    side = float(np.ptp(line, axis=0).max())
    if length <= TAP * diagonal:
        return Gesture("place", line.mean(0, keepdims=True))
    corners = cv2.approxPolyDP(line[:, None], CORNER * side, False)[:, 0]
    steps = np.linalg.norm(np.diff(corners, axis=0), axis=1)
    sharp = [i for i in range(1, len(corners) - 1) if _turn(*corners[i - 1 : i + 2]) >= SHARP]
    if len(sharp) >= TO_AND_FRO and (steps[1:-1] > HEAD * side).all():
        return Gesture("area", cv2.convexHull(line)[:, 0])
    gap = float(np.linalg.norm(line[0] - line[-1]))
    if gap <= GAP * side and 4 * np.pi * _surrounded(line) >= ROUNDNESS * length**2:
        return Gesture("area", line)
    for i in sharp:
        # A head alone, as a "v", points with its corner.
        is_head = (steps[i:] <= HEAD * steps[:i].sum()).all() or len(corners) == 3
        if is_head:
            return Gesture("place", corners[i : i + 1])
    return Gesture("place", line[-1:])


def _measure(line: np.ndarray) -> float:
    return float(np.linalg.norm(np.diff(line, axis=0), axis=1).sum())


def _turn(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> float:
    """Return by how many degrees a line turns at b: 0 straight on, 180 back."""
    incoming, outgoing = b - a, c - b
    cosine = float(incoming @ outgoing) / max(
        1e-9, float(np.linalg.norm(incoming) * np.linalg.norm(outgoing))
    )
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def _surrounded(line: np.ndarray) -> float:
    """Return the area within a line's outer edge."""
    low, side = line.min(0), float(np.ptp(line, axis=0).max())
    scale = 200 / max(side, 1e-9)
    size = np.ceil(np.ptp(line, axis=0) * scale).astype(int) + 3
    shape = Gesture("area", (line - low) * scale + 1).fill(int(size[1]), int(size[0]))
    return float(np.count_nonzero(shape)) / scale**2
