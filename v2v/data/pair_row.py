"""A row of a table of people's own pairs, and rows as text, in which a large table takes little memory.

table -> pair_table.py -> **pair_row** -> data_synth/recipes/own_pairs.py, pair_table_check.py, table_dataset.py
"""

from __future__ import annotations

import hashlib
import json
import os
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import numpy as np

from v2v.data.packed_rows import PackedRows

Split = Literal["train", "held_out"]

# Fields of `PairRow` that are paths.
_PATHS = ("source", "target", "mask", "reference")


@dataclass(frozen=True)
class PairRow:
    """A pair that a table names.

    Attributes:
      place: where it stands, for messages: "line 3", or the name in a folder.
      line: number of the line, or of the name in a folder, from 1.
      source: clip or picture before the edit.
      target: clip or picture after it.
      instructions: the edit in words, one or more.
      mask: clip or picture, white = edited here; None for everywhere.
      reference: picture of how the edit should look, or FILE@SECONDS; None without one.
      start: seconds of the clip from which the edit is on; None for its start.
      end: seconds of the clip before which the edit ends; None for its end.
      weight: relative frequency, above 0.
      split: what the pair is for.
      license: "" where the table states none.
      source_caption: description of the source, "" where unknown.
      target_caption: description of the target, "" where unknown.
      edit: name of the kind of edit.
    """

    place: str
    line: int
    source: Path
    target: Path
    instructions: tuple[str, ...]
    mask: Path | None = None
    reference: Path | None = None
    start: float | None = None
    end: float | None = None
    weight: float = 1.0
    split: Split = "train"
    license: str = ""
    source_caption: str = ""
    target_caption: str = ""
    edit: str = "edit"

    @property
    def files(self) -> tuple[Path, ...]:
        """Return the files that the row names."""
        return tuple(path for path in (self.source, self.target, self.mask, self.reference) if path)


@dataclass(frozen=True)
class UnusableRow:
    """A row that gives no pair.

    Attributes:
      place: where it stands, as in `PairRow`.
      line: as in `PairRow`.
      kind: the reason in a few words that are the same for all such rows.
      detail: what is wrong with this one, "" where `kind` says all.
    """

    place: str
    line: int
    kind: str
    detail: str = ""

    @property
    def reason(self) -> str:
        """Return kind and detail."""
        return f"{self.kind}: {self.detail}" if self.detail else self.kind


PackedPairRows = PackedRows[PairRow | UnusableRow]
_PAIR_DEFAULTS, _UNUSABLE_DEFAULTS = (
    {field.name: field.default for field in fields(kind)} for kind in (PairRow, UnusableRow)
)


def pack_rows(rows: Iterable[PairRow | UnusableRow]) -> PackedPairRows:
    """Return rows held as text; they are read once."""
    return PackedRows(rows, _pack_row, _unpack_row)


def _pack_row(row: PairRow | UnusableRow) -> bytes:
    """Return a row as JSON: its values by field, without those that are the field's default."""
    defaults = _PAIR_DEFAULTS if isinstance(row, PairRow) else _UNUSABLE_DEFAULTS
    values = {
        name: str(value) if isinstance(value, Path) else value
        for name, value in vars(row).items()
        if value != defaults[name]
    }
    return json.dumps(values, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _unpack_row(data: bytes) -> PairRow | UnusableRow:
    """Return the row that `_pack_row` packed."""
    values = json.loads(data.decode("utf-8", "surrogatepass"))
    if "kind" in values:
        return UnusableRow(**values)
    paths = {name: Path(values[name]) for name in _PATHS if name in values}
    return PairRow(**{**values, **paths, "instructions": tuple(values["instructions"])})


def reject_repetitions(rows: PackedPairRows) -> PackedPairRows:
    """Return the rows; one that says what an earlier one said as unusable."""
    hashes = array("Q", map(_hash_content, rows.iterate_texts()))
    order = np.argsort(np.frombuffer(hashes, np.uint64), kind="stable")
    ordered = np.frombuffer(hashes, np.uint64)[order]
    is_repeated = np.zeros(len(rows), bool)
    is_repeated[order[1:][ordered[1:] == ordered[:-1]]] = True
    is_repeated[order[:-1][ordered[1:] == ordered[:-1]]] = True
    if not is_repeated.any():
        return rows

    def iterate_rows() -> Iterator[PairRow | UnusableRow]:
        places: dict[tuple, str] = {}
        for row, may_repeat in zip(rows, is_repeated, strict=True):
            if not may_repeat or isinstance(row, UnusableRow):
                yield row
                continue
            key = _find_content(row)
            if key in places:
                yield UnusableRow(row.place, row.line, "repeated row", f"the same as {places[key]}")
            else:
                places[key] = row.place
                yield row

    return pack_rows(iterate_rows())


def _find_content(row: PairRow) -> tuple:
    """Return what two rows that say the same share."""
    files = tuple(
        path and os.path.normpath(path) for path in (row.source, row.target, row.mask, row.reference)
    )
    return (*files, row.instructions, row.start, row.end)


def _hash_content(text: bytes) -> int:
    """Return a number of 64 bits that rows with the same content share, from the text of a row."""
    values = json.loads(text.decode("utf-8", "surrogatepass"))
    files = (os.path.normpath(values.get(name, "")) for name in _PATHS)
    others = (values.get(name) for name in ("instructions", "start", "end"))
    content = repr((*files, *others)) if "source" in values else values["place"]
    return int.from_bytes(hashlib.blake2s(content.encode("utf-8", "surrogatepass"), digest_size=8).digest())
