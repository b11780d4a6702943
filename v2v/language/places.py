"""Places that a sentence names: "in the left half", "the background", "everything but the man".

Places by position become masks here (`draw_region`). Places by what is seen there ("background", "person", "text", "face", "sky") need
something that finds them in the clip: a mask source takes a `Place` whose `kind` is "thing".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

# Region → left, top, right, bottom as shares of the frame.
REGIONS: dict[str, tuple[float, float, float, float]] = {
    "left half": (0, 0, 1 / 2, 1),
    "right half": (1 / 2, 0, 1, 1),
    "top half": (0, 0, 1, 1 / 2),
    "bottom half": (0, 1 / 2, 1, 1),
    "top left quarter": (0, 0, 1 / 2, 1 / 2),
    "top right quarter": (1 / 2, 0, 1, 1 / 2),
    "bottom left quarter": (0, 1 / 2, 1 / 2, 1),
    "bottom right quarter": (1 / 2, 1 / 2, 1, 1),
    "center": (1 / 4, 1 / 4, 3 / 4, 3 / 4),
    "left third": (0, 0, 1 / 3, 1),
    "right third": (2 / 3, 0, 1, 1),
    "top third": (0, 0, 1, 1 / 3),
    "bottom third": (0, 2 / 3, 1, 1),
}
# Things that are text.
TEXT_PLACES = ("text", "subtitles")
# Regions that are each other's rest.
COMPLEMENTS = {"left half": "right half", "right half": "left half", "top half": "bottom half", "bottom half": "top half"}  # fmt: skip


@dataclass(frozen=True)
class Place:
    """A part of the frame.

    Attributes:
      kind: "region" for one by position, "thing" for one by what is seen there.
      name: a key of `REGIONS`; or "background", "person", "subtitles", "text", "text:SALE" (a word), "face", "sky".
      text: as typed ("the man").
      is_inverted: everything else is meant ("everything but the man").
    """

    kind: Literal["region", "thing"]
    name: str
    text: str = ""
    is_inverted: bool = False

    def __str__(self) -> str:
        return f"everything but the {self.name}" if self.is_inverted else f"the {self.name}"

    def simplified(self) -> Place:
        """Return the same place without an inversion, where one has a name."""
        if self.kind == "region" and self.is_inverted and self.name in COMPLEMENTS:
            return Place("region", COMPLEMENTS[self.name], self.text)
        return self


def draw_region(place: Place, height: int, width: int) -> np.ndarray:
    """Return the mask of a region, uint8 [height, width], 255 where to edit.

    Args:
      place: of kind "region".
      height: of the frame in pixels.
      width: of the frame in pixels.
    """
    left, top, right, bottom = REGIONS[place.name]
    mask = np.zeros((height, width), np.uint8)
    mask[round(top * height) : round(bottom * height), round(left * width) : round(right * width)] = 255
    return 255 - mask if place.is_inverted else mask
