"""Sequences of frames that may, but need not, be in memory: what `Video.frames` can be.

An array of frames is such a sequence. `StreamedFrames` is the base of those that are decoded or computed anew each time they are
iterated: `decoder.FileFrames` and `pipeline/full_resolution.py`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np


class FrameSequence(Protocol):
    """The frames of a clip, uint8 [T, H, W, 3] RGB; `numpy.asarray` loads them into memory."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return (T, H, W, 3)."""
        ...

    @property
    def dtype(self) -> np.dtype:
        """Return uint8."""
        ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[np.ndarray]: ...

    def __array__(self, dtype: Any = None, /, *, copy: bool | None = None) -> np.ndarray: ...


class StreamedFrames(ABC):
    """Frames that exist one at a time; a subclass defines `shape` and `__iter__`.

    Attributes:
      dtype: uint8.
      ndim: 4.
    """

    dtype, ndim = np.dtype(np.uint8), 4

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Return (T, H, W, 3)."""

    @abstractmethod
    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield every frame, uint8 [H, W, 3]."""

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        out = np.empty(self.shape, np.uint8)
        for t, frame in enumerate(self):
            out[t] = frame
        return out if dtype is None else out.astype(dtype)
