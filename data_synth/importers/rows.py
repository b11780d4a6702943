"""Rows of a published set → pairs.

metadata file → rows → **pair**. A row names two files and an instruction. Both videos are read at the same frames,
scaled to cover the frame and cropped alike; pictures are lifted by one camera move (`lifting.py`). Published sets carry
no masks: the mask says "anywhere". A row whose file is missing, unreadable, too short, or whose two sides differ in
shape fails alone, with that reason.
"""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from data_synth import clips as cl
from data_synth import lifted
from data_synth.streams import stream
from v2v.data.pairs import Pair
from v2v.errors import InputError

csv.field_size_limit(1 << 24)  # instructions and captions of some sets are long


@dataclasses.dataclass(frozen=True)
class Row:
    """One example. `reference` is a picture file, or a function that fetches its bytes; None without one. `fault`: why it is none."""

    source: Path
    target: Path
    instruction: str
    edit: str = "edit"
    source_caption: str = ""
    target_caption: str = ""
    reference: Path | Callable[[], bytes] | None = None
    fault: str = ""


@dataclasses.dataclass(frozen=True)
class Imported:
    """The recipe: row `seed` of a set → Pair or reason. `license` is the set's own, for the provenance."""

    name: str
    license: str
    table: tuple[Row, ...]

    @property
    def rows(self) -> int:
        return len(self.table)

    def __call__(self, seed: int, T: int, H: int, W: int) -> Pair | str:
        if seed >= self.rows:
            return "past the last row"
        row = self.table[seed]
        if row.fault:
            return row.fault
        if not row.instruction:
            return "empty instruction"
        try:
            source, target = _frames(row.source), _frames(row.target)
            reference = _picture(row.reference)
        except FileNotFoundError:
            return "file missing"
        except (InputError, OSError):
            return "unreadable file"
        if (
            abs(source.shape[1] * target.shape[2] - source.shape[2] * target.shape[1])
            > 0.02 * source.shape[1] * target.shape[2]
        ):
            return "source and target differ in shape"
        pictures = len(source) == len(target) == 1
        n = min(len(source), len(target))
        if n < T and not pictures:
            return "shorter than the clip"
        first = 0 if pictures else int(stream(seed, "footage").integers(n - T + 1))
        span = slice(first, first + (1 if pictures else T))
        height, width = _size(source, H, W) if pictures else (H, W)
        source, target = cl.fit(source[span], height, width), cl.fit(target[span], height, width)
        before = row.source_caption or ("a picture" if pictures else "a video")
        made = Pair(
            source=source,
            target=target,
            mask=np.full(source.shape[:3], 255, np.uint8),
            reference=reference,
            instructions=(row.instruction,),
            source_caption=before,
            target_caption=row.target_caption or f"{before}, after: {row.instruction}",
            edit=row.edit,
            recipe="imported",
            seed=seed,
            active=(0, len(source)),
            provenance={
                "set": self.name,
                "source": row.source.name,
                "target": row.target.name,
                "first_frame": first,
                "license": self.license,
            },
        )
        return lifted.lifted(made, stream(seed, "move"), T, H, W) if pictures else made


def rows_of(path: Path, items: Iterable, make: Callable[..., Row]) -> list[Row]:
    """`make` of every item of a metadata file; one that it can't read is a row with a fault, and costs itself alone.

    Raises:
      InputError: it can read none: the layout is another.
    """
    out, first = [], None
    for number, item in enumerate(items, 1):
        try:
            out.append(make(item))
        except (InputError, KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
            first = first or error
            out.append(Row(Path(), Path(), "", fault=f"malformed row {number} of {path.name}"))
    if isinstance(first, InputError) and all(row.fault for row in out):
        raise first
    if first and all(row.fault for row in out):
        raise InputError(
            f"{path}: expected rows as its set publishes them, could read none of {len(out)} ({first!r})"
        )
    return out


def read_json(path: Path) -> list[dict]:
    """The list of objects in a JSON file.

    Raises:
      InputError: it is something else.
    """
    try:
        rows = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected a JSON list, got {error}") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{path}: expected a JSON list of objects, got {type(rows).__name__}")
    return rows


def read_csv(path: Path, columns: Sequence[str]) -> Iterator[dict[str, str]]:
    """The rows of a CSV file with at least these columns, separated by commas, semicolons or tabs as its header is.

    Raises:
      InputError: it has other columns.
    """
    try:
        with path.open(newline="") as file:
            header = file.readline().lstrip("\ufeff")
            delimiter = max(",;\t", key=header.count)
            names = next(csv.reader([header], delimiter=delimiter), [])
            if not set(columns) <= set(names):
                raise InputError(
                    f"{path}: expected columns {', '.join(columns)}, got {', '.join(names) or 'none'}"
                )
            yield from csv.DictReader(file, names, delimiter=delimiter)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: expected a CSV file, got {error}") from None


def need(row: dict, key: str, path: Path) -> str:
    """A row's string field.

    Raises:
      InputError: it has none, naming those it has.
    """
    value = row.get(key)
    if not isinstance(value, str):
        raise InputError(f"{path}: expected a field {key}, got {', '.join(map(str, row)) or 'an empty row'}")
    return value


def files(root: Path, *patterns: str) -> list[Path]:
    """The metadata files, in order: those of the first pattern that finds any.

    Raises:
      InputError: none does.
    """
    for pattern in patterns:
        if found := sorted(root.glob(pattern)):
            return found
    raise InputError(
        f"{root}: expected {' or '.join(patterns)}, found none; pass the folder that holds the set"
    )


def first_existing(candidates: Iterable[Path]) -> Path:
    """The first of these that is a file; the first of all when none is, whose absence is then the row's failure."""
    candidates = list(candidates)
    return next((path for path in candidates if path.is_file()), candidates[0])


def _frames(path: Path) -> np.ndarray:
    if not path.is_file():
        raise FileNotFoundError(path)
    return np.asarray(cl.decode(str(path)).frames)


def _picture(reference: Path | Callable[[], bytes] | None) -> np.ndarray | None:
    if reference is None:
        return None
    if isinstance(reference, Path):
        return _frames(reference)[0]
    stored = np.frombuffer(reference(), np.uint8)
    data = cv2.imdecode(stored, cv2.IMREAD_COLOR) if stored.size else None
    if data is None:
        raise InputError("reference: expected a picture, got bytes that don't decode")
    return cv2.cvtColor(data, cv2.COLOR_BGR2RGB)


def _size(picture: np.ndarray, H: int, W: int) -> tuple[int, int]:
    """Size at which pictures are lifted: of the clip's aspect, at most `lifted.FINER` times as large."""
    scale = min(lifted.FINER, max(1.0, min(picture.shape[1] / H, picture.shape[2] / W)))
    return round(H * scale), round(W * scale)
