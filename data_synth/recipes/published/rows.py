"""The recipe of a published set: rows of its metadata become pairs.

metadata file → `metadata_files.py` → rows → **pair**. A row names two files and an instruction. The frames of both videos are matched in time
(`v2v/video/clip_pair.py`), scaled to cover the frame and cropped alike; pictures are lifted by one camera move (`camera_move.py`). Published sets carry
no masks: the mask says "anywhere". A row which is malformed, whose file is missing, unreadable, too short, or whose two
sides differ in shape fails alone, with that reason.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from data_synth import footage as cl
from data_synth.language.captions import describe_target
from data_synth.operators import camera_move
from data_synth.recipes import lift
from data_synth.recipes.base import FileRecipe, SingleSeedRecipe
from data_synth.recipes.published.metadata_files import abbreviate
from data_synth.rejection import Rejected
from data_synth.rng import build_rng
from v2v.data.pair import Pair
from v2v.errors import InputError
from v2v.runtime import text_files
from v2v.video import clip_pair, decoder
from v2v.video import video as codec
from v2v.video.clip_pair import UnusablePairError


class MalformedRowError(ValueError):
    """A row of the metadata lacks something, which the message names."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One example of a set.

    Attributes:
      source: File of the source clip or picture.
      target: File of the edited clip or picture.
      instruction: The edit in words.
      edit: Name of the kind of edit.
      source_caption: Caption of the source; "" where the set has none.
      target_caption: Caption of the target; "" where the set has none.
      reference: Picture file, or a function that returns its bytes; None without one.
      rejection: Why the row cannot be used; None where nothing in the metadata speaks against it.
    """

    source: Path
    target: Path
    instruction: str
    edit: str = "edit"
    source_caption: str = ""
    target_caption: str = ""
    reference: Path | Callable[[], bytes] | None = None
    rejection: Rejected | None = None


@dataclasses.dataclass(frozen=True)
class PublishedRecipe(SingleSeedRecipe, FileRecipe):
    """The recipe of one set: seed s is its row s.

    Attributes:
      name: Name of the set, for the provenance.
      license: License of the set, for the provenance.
      table: The rows, unusable ones included.
      fps: Rate at which clips are read; 0 for their own.

    Raises:
      InputError: No row can be used.
    """

    name: str
    license: str
    table: Sequence[Row]
    fps: float = 0.0

    def __post_init__(self):
        if self.rows and all(row.rejection for row in self.table):  # not a slip: the layout is another one
            rejection = self.table[0].rejection
            assert rejection is not None, "all rows are unusable"
            raise InputError(
                f"{self.name}: expected a usable row among {self.rows}, got none; {rejection.reason}"
            )

    @property
    def rows(self) -> int:
        """Return the number of rows."""
        return len(self.table)

    def source_file(self, row: int) -> Path | None:
        """Return the clip or picture before the edit, None where a row has none."""
        item = self.table[row] if row < self.rows else None
        return None if item is None or item.rejection else item.source

    def __call__(self, seed: int, T: int, H: int, W: int) -> Pair | Rejected:
        """Return the pair of a row, or why it gives none."""
        if seed >= self.rows:
            return Rejected("past the last row")
        row = self.table[seed]
        if row.rejection:
            return row.rejection
        if not row.instruction:
            return Rejected("empty instruction")
        try:
            source, target = _decode_file(row.source), _decode_file(row.target)
            reference = _read_reference(row.reference)
        except FileNotFoundError:
            return Rejected("file missing")
        except InputError as error:
            return Rejected(f"unreadable file: {cl.short_cause(error)}")  # no path: reasons are counted
        except OSError as error:
            return Rejected(f"unreadable file: {error.strerror}")
        (_, h, w, _), (_, h_after, w_after, _) = source.frames.shape, target.frames.shape
        if abs(h * w_after - w * h_after) > 0.02 * h * w_after:
            return Rejected("source and target differ in shape")
        pictures = len(source.frames) == len(target.frames) == 1
        if not pictures and 1 in (len(source.frames), len(target.frames)):
            return Rejected("a picture and a clip")
        try:
            matched = clip_pair.match_frames(
                *(
                    clip_pair.describe_clip(video, row_path)
                    for video, row_path in ((source, row.source), (target, row.target))
                )
            )
        except UnusablePairError:
            return Rejected("source and target differ in length")
        source_numbers, target_numbers, fps = matched.source_numbers, matched.target_numbers, matched.fps
        if self.fps and not pictures:
            indices = cl.resample_indices(matched.times, float(matched.times[-1]) + 1 / matched.fps, self.fps)
            source_numbers, target_numbers, fps = source_numbers[indices], target_numbers[indices], self.fps
        n = len(source_numbers)
        if n < T and not pictures:
            return Rejected("shorter than the clip")
        first = 0 if pictures else int(build_rng(seed, "footage").integers(n - T + 1))
        span = slice(first, first + (1 if pictures else T))
        height, width = camera_move.picture_size(h, w, H, W) if pictures else (H, W)
        source, target = (
            cl.select_frames(video, numbers[span].tolist(), height, width)
            for video, numbers in ((source, source_numbers), (target, target_numbers))
        )
        caption = row.source_caption or ("a picture" if pictures else "a video")
        pair = Pair(
            source=source,
            target=target,
            mask=np.full(source.shape[:3], 255, np.uint8),
            reference=reference,
            instructions=(row.instruction,),
            source_caption=caption,
            target_caption=row.target_caption or describe_target(caption, row.instruction),
            edit=row.edit,
            recipe="imported",
            seed=seed,
            active=(0, len(source)),
            provenance={
                "set": self.name,
                "source": row.source.name,
                "target": row.target.name,
                **({} if pictures else {"fps": round(fps, 6)}),
                "first_frame": int(source_numbers[first]),
                "license": self.license,
            },
        )
        return lift.lift_still(pair, build_rng(seed, "move"), T, H, W) if pictures else pair


class ParsedRows(Sequence[Row]):
    """The rows of a metadata file, each parsed when it is asked for."""

    def __init__(self, path: Path, items: Sequence[Any], parse: Callable[[Any], Row]):
        """Take the items of a file.

        Args:
          path: The file, for the reasons of rejection.
          items: Its items.
          parse: Makes the row of an item. Where it raises MalformedRowError, the row says so and where that was.
        """
        self._path, self._items, self._parse = path, items, parse

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: Any) -> Row:
        """Return a row by its number."""
        item = self._items[index]
        try:
            return self._parse(item)
        except (MalformedRowError, OSError) as error:  # OSError: of a path that can't be one
            place = f"{self._path.name}, row {index + 1}"
            reason = text_files.escape_invalid(f"malformed row: {place}: {error}")
            return Row(Path(), Path(), "", rejection=Rejected(reason))


def parse_fields(row: Any, *keys: str) -> Iterator[str]:
    """Yield string fields of a row, without the spaces around them.

    Raises:
      MalformedRowError: It lacks one, naming what it has there, or it has more fields than columns.
    """
    if not isinstance(row, dict):
        raise MalformedRowError(f"expected an object, got {abbreviate(row)}")
    # csv.DictReader puts here what no column is for: an unquoted comma, most often.
    if any(row.get(None) or ()):
        raise MalformedRowError(
            f"expected a field for each column, got more: {abbreviate(row[None])}; quote text with commas"
        )
    for key in keys:
        if key not in row:
            raise MalformedRowError(
                f"expected a field {key}, got {', '.join(map(str, row)) or 'an empty row'}"
            )
        if not isinstance(row[key], str):
            raise MalformedRowError(f"{key}: expected text, got {abbreviate(row[key])}")
        if not text_files.is_unicode(row[key]):
            raise MalformedRowError(
                f"{key}: expected text, got half a character in {json.dumps(row[key])[:60]}"
            )
        yield row[key].strip()


def find_metadata(root: Path, *patterns: str) -> list[Path]:
    """Return the metadata files, in order: those of the first pattern that finds any.

    Raises:
      InputError: None does.
    """
    for pattern in patterns:
        if paths := sorted(root.glob(pattern)):
            return paths
    raise InputError(
        f"{root}: expected {' or '.join(patterns)}, found none; pass the folder that holds the set"
    )


def first_existing(candidates: Iterable[Path]) -> Path:
    """Return the first of these that is a file; where none is, the first of all, whose absence is then the row's rejection."""
    candidates = list(candidates)
    return next((path for path in candidates if path.is_file()), candidates[0])


def _decode_file(path: Path) -> codec.Video:
    if not path.is_file():
        raise FileNotFoundError(path)
    return cl.decode_clip(str(path))


def _read_reference(reference: Path | Callable[[], bytes] | None) -> np.ndarray | None:
    if reference is None:
        return None
    if isinstance(reference, Path):
        return next(iter(_decode_file(reference).frames))
    encoded = reference()
    data = decoder.decode_picture(encoded, cv2.IMREAD_COLOR, "reference")
    if data is None:
        description = "bytes that don't decode" if encoded else "none"
        raise InputError(f"reference: expected a picture, got {description}")
    return cv2.cvtColor(data, cv2.COLOR_BGR2RGB)
