"""Small frames on disk, so that memory doesn't grow with the length of a clip. The pipeline keeps them between its passes.

A store is an unnamed temporary file (nothing is left behind, even by kill -9) of equally shaped frames: appended in order, read
back by number. The system keeps what is in use in its cache and gives that up under pressure. TMPDIR chooses the disk.
"""

import tempfile

import numpy as np

from v2v.errors import InputError
from v2v.video.file_checks import error_reason


class FrameStore:
    """Frames on disk: `append` them, then read `store[rows]`; float frames are kept as float16 (levels to an eighth at worst)."""

    def __init__(self):
        self._file = tempfile.TemporaryFile(prefix="v2v-")
        self._count = 0
        self._shape: tuple[int, ...] | None = None
        self._dtype = np.dtype(np.uint8)

    def __len__(self) -> int:
        return self._count

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the number of frames, and the shape of one."""
        return self._count, *(self._shape or ())

    def append(self, frame: np.ndarray) -> None:
        """Add one frame; the first decides shape and dtype.

        Raises:
          InputError: the disk is full, or can't be written.
        """
        if self._shape is None:
            self._shape = frame.shape
            self._dtype = np.dtype(np.float16) if frame.dtype.kind == "f" else frame.dtype
        try:
            self._file.seek(0, 2)
            self._file.write(np.ascontiguousarray(frame, self._dtype).tobytes())
        except OSError as error:
            raise InputError(
                f"{tempfile.gettempdir()}: frames can't be kept there ({error_reason(error)}); set TMPDIR to a disk with room"
            ) from None
        self._count += 1

    def __getitem__(self, rows: int | np.ndarray) -> np.ndarray:
        """Return frames by number.

        Args:
          rows: frame numbers, an array of any shape.

        Returns:
          [*rows.shape, *shape of one frame]; float32 for float frames.

        Raises:
          IndexError: a number that is negative or beyond the last.
        """
        rows = np.asarray(rows)
        shape = self._shape or ()
        size = int(np.prod(shape)) * self._dtype.itemsize
        out = np.empty((rows.size, *shape), self._dtype)
        for i, row in enumerate(rows.reshape(-1)):
            if not 0 <= row < self._count:
                raise IndexError(f"frame {row} of {self._count}")
            self._file.seek(int(row) * size)
            out[i] = np.frombuffer(self._file.read(size), self._dtype).reshape(shape)
        out = out.reshape(*rows.shape, *shape)
        return out.astype(np.float32) if self._dtype == np.float16 else out
