"""Rows of tables in little memory: each is held as text and becomes an object when it is read.

rows of a table, pair_row.py -> **packed_rows**
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar, overload

Row = TypeVar("Row")


class PackedRows(Sequence[Row], Generic[Row]):
    """A sequence of rows that holds their text only.

    Args:
      rows: the rows, which are read once.
      pack: returns the text of a row.
      unpack: returns a row equal to the one whose text it gets.
    """

    def __init__(self, rows: Iterable[Row], pack: Callable[[Row], bytes], unpack: Callable[[bytes], Row]):
        self._unpack = unpack
        self._text = bytearray()
        self._ends = array("Q")
        for row in rows:
            self._text += pack(row)
            self._ends.append(len(self._text))

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        """Return a row, or a list of some."""
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        return self._unpack(self._read(range(len(self))[index]))

    def __iter__(self) -> Iterator[Row]:
        """Yield the rows in order."""
        return (self[k] for k in range(len(self)))

    def iterate_texts(self) -> Iterator[bytes]:
        """Yield the text of every row in order."""
        return map(self._read, range(len(self)))

    def _read(self, position: int) -> bytes:
        start = self._ends[position - 1] if position else 0
        return bytes(self._text[start : self._ends[position]])

    def __eq__(self, other: object) -> bool:
        """Return whether another sequence has equal rows."""
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # pyright: ignore[reportAssignmentType]
