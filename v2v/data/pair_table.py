"""Tables of people's own pairs: CSV, JSON Lines, a JSON list, or a folder of files named alike.

table -> table_file.py -> **pair_table** -> rows of pair_row.py -> data_synth/recipes/own_pairs.py, pair_table_check.py

Columns, each with other names that people's tables have for it (`COLUMNS`); only source, target and an instruction are needed:

    source, target   clip or picture before and after the edit
    instruction      the edit in words; several as a list in JSON, or as a JSON list in the cell of a CSV file
    mask             clip or picture, white = edited here
    reference        picture of how the edit should look; FILE@SECONDS is a frame of a clip
    start, end       seconds of the clip between which the edit is on
    weight           relative frequency, 1 by default; goes into the pair's provenance, and 0 leaves the row out
    split            "train" (the default) or "held_out"
    license          of the pair
    source_caption, target_caption   descriptions of the two clips
    edit             name of the kind of edit

`caption` is the instruction where a row has no other, and the source's caption elsewhere; `image_path` is the target where a row has no
other, and the reference elsewhere. Paths are relative to the table. Columns of other names are not read.

In a folder, NAME.mp4 is the target, NAME_source.* or NAME_control.* the source, NAME_mask.* and NAME_reference.* are what they say, and
every line of NAME.txt is an instruction. A folder with a table metadata.jsonl or metadata.csv is read by that, as folders of Hugging Face datasets
are, and one whose folders train, validation and so on have such tables by those. Tar files of WebDataset are unpacked first (`webdataset.py`).

Reading a table opens none of the files that it names.
"""

from __future__ import annotations

import functools
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from v2v.data.pair_row import PackedPairRows, PairRow, Split, UnusableRow, pack_rows, reject_repetitions
from v2v.data.table_file import TableItem, format_value, iterate_items
from v2v.data.webdataset import find_tars, unpack_tars
from v2v.errors import InputError
from v2v.runtime.text_files import is_unicode, parse_json, read_text

# Names of each column, the first that a row fills counts.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "source": (
        "source",
        "source_path",
        "control_path",
        "control_file_path",
        "vace_video",
        "source_video",
        "source_file_name",
    ),
    "target": (
        "target",
        "target_path",
        "video",
        "video_path",
        "file_path",
        "path",
        "image_path",
        "target_file_name",
        "file_name",
    ),
    "instruction": ("instruction", "instructions", "prompt", "text", "caption", "cap"),
    "mask": ("mask", "mask_path", "vace_video_mask", "mask_file_name"),
    "reference": ("reference", "reference_path", "vace_reference_image", "reference_file_name", "image_path"),
    "start": ("start",),
    "end": ("end",),
    "weight": ("weight",),
    "split": ("split",),
    "license": ("license", "licence"),
    "source_caption": ("source_caption", "caption"),
    "target_caption": ("target_caption",),
    "edit": ("edit",),
}
SPLITS: Mapping[str, Split] = {
    "": "train",
    "train": "train",
    "training": "train",
    **dict.fromkeys(("held_out", "held-out", "heldout", "val", "valid", "validation", "test"), "held_out"),
}
CLIP_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".gif")
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
# A table of one of these names in a folder goes before the names of its other files, as in folders of Hugging Face datasets.
TABLE_NAMES = ("metadata.jsonl", "metadata.csv")
# End of a file's name in a folder: what the file is.
ROLES = {
    "_source": "source",
    "_control": "source",
    "_mask": "mask",
    "_reference": "reference",
    "_ref": "reference",
}


@dataclass(frozen=True)
class PairTable:
    """The rows of a table, unusable ones included.

    Attributes:
      path: the file or folder.
      rows: in the table's order; each is built when it is read, as those of a large table take much memory.
      ignored: columns, or files of a folder, that are not read.
    """

    path: Path
    rows: Sequence[PairRow | UnusableRow]
    ignored: tuple[str, ...] = ()

    @property
    def pairs(self) -> list[PairRow]:
        """Return the usable rows."""
        return list(self.iterate_pairs())

    def iterate_pairs(self) -> Iterator[PairRow]:
        """Yield the usable rows."""
        return (row for row in self.rows if isinstance(row, PairRow))

    def select(self, predicate: Callable[[PairRow], bool]) -> PairTable:
        """Return a table of those usable rows for which the predicate holds."""
        return replace(self, rows=pack_rows(filter(predicate, self.iterate_pairs())))

    @property
    def has_pairs(self) -> bool:
        """Return whether any row is usable."""
        return next(self.iterate_pairs(), None) is not None


class _RowError(ValueError):
    """A row can't be used.

    Args:
      kind: as in `UnusableRow`.
      detail: as in `UnusableRow`.
    """

    def __init__(self, kind: str, detail: str = ""):
        super().__init__(kind)
        self.kind, self.detail = kind, detail


def read_table(path: str | Path) -> PairTable:
    """Read a table of pairs.

    Args:
      path: a file as in `table_file.iterate_items`, a folder, or tar files as in `webdataset.find_tars`.

    Raises:
      InputError: it can't be read, has no row, or has no column of a source or target.
    """
    path = Path(path)
    if table := _find_table(path):
        rows, ignored = _read_file(table)
    elif parts := {name: table for name in SPLITS if name and (table := _find_table(path / name))}:
        rows, ignored = _read_splits(parts)
    elif tars := find_tars(path):
        rows, ignored = _read_file(unpack_tars(tars))
    else:
        rows, ignored = _read_folder(path) if path.is_dir() else _read_file(path)
    if not rows:
        raise InputError(f"{path}: expected at least one pair, found none")
    return PairTable(path, reject_repetitions(rows), tuple(ignored))


def _find_table(folder: Path) -> Path | None:
    """Return the table by which a folder is read, None without one."""
    return next((folder / name for name in TABLE_NAMES if (folder / name).is_file()), None)


def _read_splits(tables: Mapping[str, Path]) -> tuple[PackedPairRows, list[str]]:
    """Return the rows of a table for each split, and the columns that are not read."""
    parts = {name: _read_file(table) for name, table in tables.items()}

    def iterate_rows() -> Iterator[PairRow | UnusableRow]:
        for name, (part, _) in parts.items():
            for row in part:
                place = f"{name}, {row.place}"
                held_out = isinstance(row, PairRow) and SPLITS[name] == "held_out"
                yield replace(row, place=place, split="held_out") if held_out else replace(row, place=place)

    ignored = dict.fromkeys(column for _, columns in parts.values() for column in columns)
    return pack_rows(iterate_rows()), list(ignored)


def _read_file(path: Path) -> tuple[PackedPairRows, list[str]]:
    names: dict[str, None] = {}

    def iterate_rows() -> Iterator[PairRow | UnusableRow]:
        for item in iterate_items(path):
            names.update(dict.fromkeys(item.fields))
            place = f"line {item.line}"
            build = functools.partial(_parse_item, path.parent, place, item)
            yield _build_row(place, item.line, build)

    rows = pack_rows(iterate_rows())
    column_names = {name for aliases in COLUMNS.values() for name in aliases}
    for column in ("source", "target"):
        if rows and names and not names.keys() & set(COLUMNS[column]):
            raise InputError(
                f"{path}: expected a column {column} (or {', '.join(COLUMNS[column][1:])}), got {', '.join(names)}"
            )
    return rows, [name for name in names if name not in column_names]


def _build_row(place: str, line: int, build: Callable[[], PairRow]) -> PairRow | UnusableRow:
    try:
        return build()
    except _RowError as error:
        return UnusableRow(place, line, error.kind, error.detail)


def _parse_item(folder: Path, place: str, item: TableItem) -> PairRow:
    if item.problem:
        raise _RowError("malformed row", item.problem)
    taken_names: set[str] = set()

    def take(column: str) -> Any:
        """Return the value of a column, None where the row has none; a name is taken once."""
        for name in COLUMNS[column]:
            value = item.fields.get(name)
            if name not in taken_names and value is not None and value != [] and str(value).strip():
                taken_names.add(name)
                return value
        return None

    source, target = (_parse_path(folder, column, take(column)) for column in ("source", "target"))
    if source is None or target is None:
        raise _RowError("no source" if source is None else "no target")
    start, end = _parse_number("start", take("start")), _parse_number("end", take("end"))
    weight = _parse_number("weight", take("weight"))
    if weight == 0:
        raise _RowError("weight 0")
    return _check_row(
        PairRow(
            place=place,
            line=item.line,
            source=source,
            target=target,
            instructions=_parse_instructions(take("instruction")),
            mask=_parse_path(folder, "mask", take("mask")),
            reference=_parse_path(folder, "reference", take("reference")),
            start=start,
            end=end,
            weight=1.0 if weight is None else weight,
            split=_parse_split(take("split")),
            license=_parse_text("license", take("license")),
            source_caption=_parse_text("source_caption", take("source_caption")),
            target_caption=_parse_text("target_caption", take("target_caption")),
            edit=_parse_text("edit", take("edit")) or "edit",
        )
    )


def _check_row(row: PairRow) -> PairRow:
    if os.path.normpath(row.source) == os.path.normpath(row.target):
        raise _RowError("source and target are the same file", row.source.name)
    if row.start is not None and row.end is not None and row.start >= row.end:
        raise _RowError("start is not before end", f"{row.start:g} and {row.end:g}")
    return row


def _parse_text(column: str, value: Any) -> str:
    if value is not None and not (isinstance(value, str) and is_unicode(value)):
        raise _RowError("malformed row", f"{column}: expected text, got {format_value(value)}")
    return (value or "").strip()


def _parse_path(folder: Path, column: str, value: Any) -> Path | None:
    text = _parse_text(column, value)
    if "://" in text or "\0" in text:
        raise _RowError(
            "not a file of this machine", f"{column} {format_value(text)}; download it and name the copy"
        )
    return folder / text if text else None


def _parse_instructions(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = parse_json(value)
        except ValueError:
            value = [value]
    sentences = value if isinstance(value, list) else [value]
    texts = [" ".join(_parse_text("instruction", sentence).split()) for sentence in sentences]
    if not any(texts):
        raise _RowError("no instruction")
    return tuple(dict.fromkeys(filter(None, texts)))


def _parse_number(column: str, value: Any) -> float | None:
    """Return a number from 0 on, None where there is none."""
    if value is None:
        return None
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not 0 <= number < math.inf:
        raise _RowError("malformed row", f"{column}: expected a number from 0 on, got {format_value(value)}")
    return number


def _parse_split(value: Any) -> Split:
    text = _parse_text("split", value).lower()
    if text not in SPLITS:
        raise _RowError("malformed row", f"split: expected train or held_out, got {format_value(value)}")
    return SPLITS[text]


def _read_folder(folder: Path) -> tuple[PackedPairRows, list[str]]:
    """Return the pairs of a folder and of those in it, and the names of other files."""
    groups: dict[str, list[tuple[str, Path]]] = {}
    ignored = []
    for path in _iterate_files(folder):
        suffix = path.suffix.lower()
        stem = path.relative_to(folder).with_suffix("").as_posix()
        ending = next((ending for ending in ROLES if stem.endswith(ending)), "")
        if suffix in CLIP_SUFFIXES + PICTURE_SUFFIXES:
            role = ROLES.get(ending, "target")
        elif suffix == ".txt" and not ending:
            role = "text"
        else:
            ignored.append(path.relative_to(folder).as_posix())
            continue
        groups.setdefault(stem.removesuffix(ending), []).append((role, path))
    rows = (
        _build_row(name, number, functools.partial(_parse_files, name, number, files))
        for number, (name, files) in enumerate(sorted(groups.items()), 1)
    )
    return pack_rows(rows), ignored


def _parse_files(name: str, number: int, files: list[tuple[str, Path]]) -> PairRow:
    paths = dict(files)
    twice = [role for role, n in Counter(role for role, _ in files).items() if n > 1]
    if twice:
        names = ", ".join(path.name for role, path in files if role == twice[0])
        raise _RowError(f"more than one {twice[0]}", names)
    for role in ("source", "target"):
        if role not in paths:
            raise _RowError(f"no {role}")
    if "text" not in paths:
        raise _RowError("no instruction", f"expected {Path(name).name}.txt")
    try:
        lines: Any = read_text(paths["text"]).splitlines()
    except InputError as error:
        raise _RowError("unreadable text", str(error)) from None
    return PairRow(
        place=name,
        line=number,
        source=paths["source"],
        target=paths["target"],
        instructions=_parse_instructions(lines),
        mask=paths.get("mask"),
        reference=paths.get("reference"),
    )


def _iterate_files(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder by name, without hidden ones.

    Raises:
      InputError: a folder can't be read.
    """
    try:
        for path in sorted(folder.iterdir()):
            if path.name.startswith("."):
                continue
            if path.is_dir():
                yield from _iterate_files(path)
            else:
                yield path
    except OSError as error:
        raise InputError(f"{folder}: can't be read ({(error.strerror or str(error)).lower()})") from None
