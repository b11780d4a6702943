"""Tables of people's own pairs as training data, without a copy of their clips.

pair_table.py, video/clip_pair.py -> **table_dataset** -> datasets.py

Clips of any rate and size: they are resampled to the rate that the model was trained at, and shrunk and cropped to the size that a survey
assigned them. What a row lacks is found by the survey, which decodes every file once, before anything is encoded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np

from v2v.data import buckets
from v2v.data.buckets import Size
from v2v.data.dataset_source import ClipMeasurement
from v2v.data.latent_cache import RecordFacts
from v2v.data.pair import Pair
from v2v.data.pair_row import PairRow, UnusableRow
from v2v.data.pair_table import PairTable
from v2v.data.pair_table_check import check_row
from v2v.errors import InputError
from v2v.video import clip_pair
from v2v.video.clip_pair import ClipPair, UnusablePairError

# Name of the recipe, as that of pairs which `v2v synth --import pairs=TABLE` makes.
RECIPE = "pairs"
# Bytes at either end of a file that a fingerprint covers.
END_BYTES = 1 << 16


class TableDataset:
    """The pairs of a table, read from people's own files.

    Args:
      table: the table; its position is the index of a pair.
      fps: frames per second that clips are resampled to; 0 keeps every frame of a clip.

    Raises:
      InputError: no row can be used.
    """

    def __init__(self, table: PairTable, fps: float):
        if not table.has_pairs:
            first = next(row for row in table.rows if isinstance(row, UnusableRow))
            raise InputError(
                f"{table.path}: expected a usable row among {len(table.rows)}, got none; {first.place}: {first.reason}"
            )
        self.table, self.fps = table, fps

    def __len__(self) -> int:
        """Return the number of rows, unusable ones included."""
        return len(self.table.rows)

    def weight(self, index: int) -> float:
        """Return how often the pair is drawn, relative to others of the table."""
        row = self.table.rows[index]
        return row.weight if isinstance(row, PairRow) else 1.0

    def facts(self, index: int) -> RecordFacts | None:
        """Return the facts of a pair that a row states."""
        row = self.table.rows[index]
        assert isinstance(row, PairRow), "surveyed as usable"
        facts: RecordFacts = {
            "pair": index, "edit": row.edit, "recipe": RECIPE, "reference": row.reference is not None
        }  # fmt: skip
        if row.split == "held_out":
            facts["held_out"] = True
        return facts

    def instructions(self, index: int) -> Sequence[str]:
        """Return the instructions of a row."""
        row = self.table.rows[index]
        return row.instructions if isinstance(row, PairRow) else ()

    def measure(self, index: int) -> ClipMeasurement:
        """Decode the files of a row; return the size of its clip at the model's rate, or why it can't be used."""
        row = self.table.rows[index]
        if isinstance(row, UnusableRow):
            return ClipMeasurement(None, f"{row.place}: {row.reason}")
        check = check_row(row)
        if isinstance(check, UnusableRow):
            return ClipMeasurement(None, f"{check.place}: {check.reason}")
        try:
            pair = self._open(row)
        except UnusablePairError as error:
            return ClipMeasurement(None, f"{row.place}: {error}")
        notes = []
        if not pair.is_picture and pair.fps != check.fps:
            slow = ", so that frames are shown repeatedly" if check.fps < self.fps else ""
            notes.append(f"resampled from {check.fps:.4g} to {self.fps:.4g} frames a second{slow}")
        return ClipMeasurement((pair.count, check.height, check.width), notes=tuple(notes))

    def read_pair(self, index: int, size: Size) -> Pair:
        """Return the pair of a row at a size that it fills.

        Args:
          index: position of the row.
          size: frames, height and width.

        Raises:
          InputError: a file has changed since it was surveyed.
        """
        row = self.table.rows[index]
        assert isinstance(row, PairRow), "surveyed as usable"
        try:
            pair = self._open(row)
            reference = None if row.reference is None else clip_pair.read_reference(row.reference)
        except UnusablePairError as error:
            raise InputError(f"{self.table.path}: {row.place}: {error}") from None
        frames, height, width = size
        if pair.count < frames:
            raise InputError(
                f"{self.table.path}: {row.place}: changed since it was surveyed; remove its latents"
            )
        first = _choose_first(pair, frames)
        # Shrunk until it covers the size; `crop_pair` then cuts it where the edit is.
        scale = max(height / pair.source.height, width / pair.source.width)
        cover = max(height, round(pair.source.height * scale)), max(width, round(pair.source.width * scale))
        source, target = (np.empty((frames, *cover, 3), np.uint8) for _ in range(2))
        mask = np.empty((frames, *cover), np.uint8)
        for k, moment in enumerate(pair.iterate(first, first + frames)):
            source[k], target[k] = (_shrink(frame, *cover) for frame in (moment.source, moment.target))
            mask[k] = clip_pair.resize_mask(moment.mask, *cover)
            # Compression made the target differ a little where the edit is not.
            np.copyto(target[k], source[k], where=(mask[k] == 0)[..., None])
        start, end = pair.active
        caption = row.source_caption or ("a picture" if pair.is_picture else "a video")
        uncut = Pair(
            source=source,
            target=target,
            mask=mask,
            reference=reference,
            instructions=row.instructions,
            source_caption=caption,
            target_caption=row.target_caption or caption,
            edit=row.edit,
            recipe=RECIPE,
            seed=index,
            provenance={
                "set": self.table.path.name,
                "row": row.place,
                "source": row.source.name,
                "target": row.target.name,
                "license": row.license or "unknown",
            },
            active=(max(start - first, 0), min(end - first, frames)),
        )
        return buckets.crop_pair(uncut, size)

    def _open(self, row: PairRow) -> ClipPair:
        pair = clip_pair.open_clip_pair(row.source, row.target, row.mask, row.start, row.end)
        return pair.resample(self.fps) if self.fps else pair


def fingerprint_table(table: PairTable, fps: float) -> str:
    """Return twelve hexadecimal digits that change with the table, the files that it names, or the rate.

    Files count by their size and both ends, not by their names or dates: a copy elsewhere has the same digits.

    Args:
      table: the table.
      fps: as for `TableDataset`.
    """
    digest = hashlib.sha256(f"{fps:g}".encode())
    for row in table.rows:
        if isinstance(row, UnusableRow):
            digest.update(repr((row.place, row.kind, row.detail)).encode(errors="surrogatepass"))
            continue
        facts = (row.instructions, row.start, row.end, row.weight, row.split, row.edit)
        captions = (row.source_caption, row.target_caption)
        digest.update(repr((row.place, facts, captions)).encode(errors="surrogatepass"))
        for path in _named_files(row):
            digest.update(_digest_file(path))
    return digest.hexdigest()[:12]


def _named_files(row: PairRow) -> Iterable[Path]:
    """Yield the files of a row; of FILE@SECONDS the file."""
    for path in row.files:
        yield path if path.exists() else path.with_name(path.name.partition("@")[0])
    yield Path(str(row.reference or ""))  # with its seconds


def _digest_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            ends = file.read(END_BYTES)
            file.seek(max(0, size - END_BYTES))
            return f"{size} ".encode() + hashlib.sha256(ends + file.read(END_BYTES)).digest()
    except (OSError, ValueError):  # whoever needs it says so
        return b"unreadable"


def _choose_first(pair: ClipPair, frames: int) -> int:
    """Return the first moment of a window, which holds the beginning of an edit that does not last throughout."""
    if not pair.is_limited:
        return 0
    begin = pair.find_edit()
    return min(max(0, begin - frames // 2), pair.count - frames) if begin else 0


def _shrink(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    if frame.shape[:2] == (height, width):
        return frame
    return cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
