"""The recipe "pairs": people's own pairs from a table or folder, `v2v synth --import pairs=TABLE`.

pair_table.py → row → clips matched in time → scaled and cut alike → **Pair**

Source, target and mask are scaled to cover the frame and cropped alike. Outside its mask, and before and after its edit, the target's
pixels are replaced by the source's, from which compression made them differ a little; a row whose target differs there by more is no
pair. Pictures are lifted by one camera move (`camera_move.py`). A row that can't be used fails alone; `v2v pairs check` tells which and
why.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from data_synth import footage
from data_synth.language.captions import describe_target
from data_synth.operators import camera_move
from data_synth.recipes import lift
from data_synth.recipes.base import FileRecipe, RecipeFamily, RecipeInfo, SingleSeedRecipe
from data_synth.recipes.sources import Sources
from data_synth.rejection import Rejected
from data_synth.rng import build_rng
from v2v.data.pair import Pair
from v2v.data.pair_row import PairRow, UnusableRow
from v2v.data.pair_table import PairTable, read_table
from v2v.errors import InputError
from v2v.video import clip_pair
from v2v.video.clip_pair import ClipPair, Moment, UnusablePairError

NAME = "pairs"
# 2: captions of targets say what is there after the edit.
VERSION = "2"


@dataclasses.dataclass(frozen=True)
class OwnPairsRecipe(SingleSeedRecipe, FileRecipe):
    """The recipe of one table: seed s is its row s.

    Attributes:
      table: The rows, unusable ones included.
      license: License of rows that state none.
      fps: Rate at which clips are read; 0 for their own.

    Raises:
      InputError: No row can be used.
    """

    table: PairTable
    license: str = "unknown"
    fps: float = 0.0

    def __post_init__(self):
        if not self.table.has_pairs:
            first = next(row for row in self.table.rows if isinstance(row, UnusableRow))
            raise InputError(
                f"{self.table.path}: expected a usable row among {self.rows}, got none; {first.place}: {first.reason}"
            )

    @property
    def rows(self) -> int:
        """Return the number of rows."""
        return len(self.table.rows)

    def __call__(self, seed: int, T: int, H: int, W: int) -> Pair | Rejected:
        """Return the pair of a row, or why it gives none."""
        if seed >= self.rows:
            return Rejected("past the last row")
        return self.read_row(seed, seed, T, H, W)

    def source_file(self, row: int) -> Path | None:
        """Return the clip or picture before the edit, None where a row has none."""
        item = self.table.rows[row] if row < self.rows else None
        return item.source if isinstance(item, PairRow) else None

    def read_row(self, number: int, seed: int, T: int, H: int, W: int) -> Pair | Rejected:
        """Return the pair of a row, or why it gives none.

        Args:
          number: Of the row, from 0.
          seed: Draws the window of a clip, or the camera move over a picture.
          T: Number of frames.
          H: Frame height in pixels.
          W: Frame width in pixels.
        """
        row = self.table.rows[number]
        if isinstance(row, UnusableRow):
            return Rejected(row.kind)
        if row.split == "held_out":
            return Rejected("held out")
        try:
            return self._read_pair(row, seed, T, H, W)
        except UnusablePairError as error:
            return Rejected(error.kind)
        except InputError as error:
            return Rejected(f"unreadable file: {footage.short_cause(error)}")

    def _read_pair(self, row: PairRow, seed: int, T: int, H: int, W: int) -> Pair:
        """Return the pair of a row.

        Raises:
          InputError: The files are no pair.
        """
        clips = clip_pair.open_clip_pair(row.source, row.target, row.mask, row.start, row.end)
        if clips.is_picture:
            height, width = camera_move.picture_size(clips.source.height, clips.source.width, H, W)
            still = self._cut_pair(row, clips, seed, 1, height, width)
            lifted = lift.lift_still(still, build_rng(seed, "move"), T, H, W)
            return dataclasses.replace(lifted, recipe=NAME)
        if self.fps:
            clips = clips.resample(self.fps)
        if clips.count < T:
            raise UnusablePairError("shorter than the clip", f"{clips.count} frames of {T}")
        return self._cut_pair(row, clips, seed, T, H, W)

    def _cut_pair(self, row: PairRow, clips: ClipPair, seed: int, T: int, H: int, W: int) -> Pair:
        """Return a window of the clips at one size.

        Raises:
          InputError: The files are no pair.
        """
        reference = None if row.reference is None else clip_pair.read_reference(row.reference)
        first = _choose_first(clips, seed, T)
        source, target, mask = _read_frames(clips, first, T, H, W)
        start, end = clips.active
        caption = row.source_caption or ("a picture" if clips.is_picture else "a video")
        return Pair(
            source=source,
            target=target,
            mask=mask,
            reference=reference,
            instructions=row.instructions,
            source_caption=caption,
            target_caption=row.target_caption or describe_target(caption, row.instructions[0]),
            edit=row.edit,
            recipe=NAME,
            seed=seed,
            active=(max(start - first, 0), min(end - first, T)),
            provenance={
                "set": self.table.path.name,
                "row": row.place,
                "source": row.source.name,
                "target": row.target.name,
                **({"mask": row.mask.name} if row.mask else {}),
                **({"reference": row.reference.name} if row.reference else {}),
                **({} if clips.is_picture else {"fps": round(clips.fps, 6)}),
                **({"weight": row.weight} if row.weight != 1 else {}),
                "first_frame": int(clips.source_numbers[first]),
                "license": row.license or self.license,
            },
        )


def list_files(path: str | Path) -> list[Path]:
    """Return the files that a table names, in its order.

    Raises:
      InputError: As `pair_table.read_table`.
    """
    return [file for row in read_table(path).iterate_pairs() for file in row.files]


def _choose_first(clips: ClipPair, seed: int, T: int) -> int:
    """Draw the first moment of a window of T; one that holds the beginning of an edit that begins inside the clip."""
    last = clips.count - T
    low, high = 0, last
    if clips.active != (0, clips.count):
        start = clips.active[0]
        low = min(max(0, start - T // 2), last)
        high = max(low, min(start - 1, last))
    return int(build_rng(seed, "footage").integers(low, high + 1))


def _read_frames(
    clips: ClipPair, first: int, T: int, H: int, W: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return source and target, uint8 [T, H, W, 3], equal where the mask, uint8 [T, H, W], is 0.

    Raises:
      UnusablePairError: They differ there by more than compression explains, or the mask is black.
      InputError: A file has changed.
    """
    source, target = np.empty((T, H, W, 3), np.uint8), np.empty((T, H, W, 3), np.uint8)
    mask, drift = np.empty((T, H, W), np.uint8), 0.0
    for k, moment in enumerate(clips.iterate(first, first + T)):
        source[k] = footage.fit_frames(moment.source[None], H, W)[0]
        target[k] = footage.fit_frames(moment.target[None], H, W)[0]
        mask[k] = _fit_mask(moment.mask, H, W)
        drift += clip_pair.measure_drift(Moment(source[k], target[k], mask[k])) / T
        np.copyto(target[k], source[k], where=(mask[k] == 0)[..., None])
    if not mask.any():
        raise UnusablePairError("black mask", "it marks nothing in the frames that are used")
    if drift > clip_pair.MAX_DRIFT:
        raise UnusablePairError("drift outside the mask", f"{drift:.1f} levels")
    return source, target, mask


def _fit_mask(mask: np.ndarray, H: int, W: int) -> np.ndarray:
    """Scale a mask [h, w] so that it covers H x W, as `footage.fit_frames` scales pictures, and crop it at the centre."""
    h, w = mask.shape
    scale = max(H / h, W / w)
    rows, columns = max(H, round(h * scale)), max(W, round(w * scale))
    row, column = (rows - H) // 2, (columns - W) // 2
    return clip_pair.resize_mask(mask, rows, columns)[row : row + H, column : column + W]


def _build_own_pairs(sources: Sources) -> OwnPairsRecipe:
    return OwnPairsRecipe(read_table(sources.set_path(NAME)), sources.license, sources.fps)


FAMILY = RecipeFamily(
    NAME,
    "pairs of your own; needs --import pairs=TABLE (CSV, JSON Lines, JSON) or a folder; v2v pairs check tells what is read",
    (RecipeInfo(NAME, _build_own_pairs, kind=NAME, reads=("set", "license")),),
    renderer=NAME,
    version=VERSION,
    phrasing="fixed",
)
