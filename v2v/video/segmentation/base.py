"""The interface of mask sources, and masks kept on disk.

To add a source: a class with the method `find` of `MaskSource` in a file of its own; third-party packages are imported inside its
constructor, which raises `InputError` with the extra to install where one is missing. A line in `registry.MASK_SOURCES` gives it a name.
"""

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Protocol

import cv2
import numpy as np

from v2v.errors import InputError
from v2v.video.file_checks import error_reason

# zlib's fastest: masks are mostly of one level.
_PNG_SETTINGS = (cv2.IMWRITE_PNG_COMPRESSION, 1)


class MaskSource(Protocol):
    """Finds a place in clips: where the people are, where there is text."""

    def find(self, frames: Iterable[np.ndarray]) -> "ClipMask":
        """Find the place in every frame of a clip.

        Args:
          frames: uint8 [H, W, 3] RGB in order; iterated once.

        Returns:
          The mask.

        Raises:
          InputError: the place is in none of the frames ("no person found").
        """
        ...


class ClipMask(ABC):
    """The mask of a clip, which can be iterated again and again."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of frames; 1 where the mask is the same in all of them."""

    @abstractmethod
    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield how much each frame's pixels belong to the place, uint8 [H, W]; 255 is wholly."""


class StoredMask(ClipMask):
    """Masks as compressed pictures in an unnamed temporary file: an hour of film takes some gigabytes less than its frames."""

    def __init__(self):
        self._file = tempfile.TemporaryFile(prefix="v2v-")
        self._ends = [0]

    def __len__(self) -> int:
        return len(self._ends) - 1

    def append(self, mask: np.ndarray) -> None:
        """Add the mask of the next frame, uint8 or uint16 [H, W].

        Raises:
          InputError: the disk is full, or can't be written.
        """
        data = cv2.imencode(".png", mask, _PNG_SETTINGS)[1].tobytes()
        try:
            self._file.seek(0, 2)
            self._file.write(data)
        except OSError as error:
            raise InputError(
                f"{tempfile.gettempdir()}: masks can't be kept there ({error_reason(error)}); set TMPDIR to a disk with room"
            ) from None
        self._ends.append(self._ends[-1] + len(data))

    def __getitem__(self, row: int) -> np.ndarray:
        """Return the mask of one frame, as it was added."""
        if not 0 <= row < len(self):
            raise IndexError(f"frame {row} of {len(self)}")
        self._file.seek(self._ends[row])
        data = self._file.read(self._ends[row + 1] - self._ends[row])
        mask = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        assert mask is not None, "what was encoded can be decoded"
        return mask

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[row] for row in range(len(self)))


class PartialMask(ClipMask):
    """The mask of a part of a clip; black in the other frames.

    Attributes:
      mask: of the part.
      first: number of the part's first frame.
    """

    def __init__(self, mask: ClipMask, first: int, count: int):
        """Place a mask.

        Args:
          mask: of the part.
          first: number of the part's first frame.
          count: frames of the clip.
        """
        self.mask, self.first, self._count = mask, first, count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[np.ndarray]:
        masks, end = iter(self.mask), self.first + len(self.mask)
        picture = next(masks)
        black = np.zeros_like(picture)
        for t in range(self._count):
            if not self.first <= t < end:
                yield black
            else:
                yield picture if t == self.first else next(masks)
