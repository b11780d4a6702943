"""The mask sources `left`, `right`, `top` and `bottom`: halves of the frame, and `center`, its middle."""

from collections.abc import Iterable, Iterator
from typing import Literal

import numpy as np

from v2v.errors import InputError
from v2v.video.segmentation.base import ClipMask

Side = Literal["left", "right", "top", "bottom", "center"]

# Rows and columns, in quarters of the frame.
_REGIONS: dict[Side, tuple[tuple[int, int], tuple[int, int]]] = {
    "left": ((0, 4), (0, 2)),
    "right": ((0, 4), (2, 4)),
    "top": ((0, 2), (0, 4)),
    "bottom": ((2, 4), (0, 4)),
    "center": ((1, 3), (1, 3)),
}


class RepeatedMask(ClipMask):
    """One picture that is the mask of every frame."""

    def __init__(self, picture: np.ndarray):
        """Take the picture, uint8 [H, W]."""
        self._picture = picture

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter((self._picture,))


class HalfSource:
    """A half of the frame, or its middle: half as wide and half as high as the frame."""

    def __init__(self, side: Side):
        """Take the side."""
        self._side: Side = side

    def find(self, frames: Iterable[np.ndarray]) -> RepeatedMask:
        """Draw the half; see `MaskSource.find`."""
        height, width = 0, 0
        for frame in frames:
            height, width = frame.shape[:2]
            break
        if min(height, width) < 2:
            raise InputError(
                f"mask {self._side}: expected a frame of at least 2x2 pixels, got {width}x{height}"
            )
        rows, columns = _REGIONS[self._side]
        picture = np.zeros((height, width), np.uint8)
        picture[_part(rows, height), _part(columns, width)] = 255
        return RepeatedMask(picture)


def _part(quarters: tuple[int, int], length: int) -> slice:
    first, end = (quarter * length // 4 for quarter in quarters)
    return slice(first, end)
