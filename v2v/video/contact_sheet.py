"""Contact sheets: clips one above another, so that a person sees what a number means. clips -> **PNG**

A sheet holds bands (one an edit); a band is a title and rows; a row is a label and evenly spaced frames of
one clip, in time from left to right. The same column is the same moment in every row.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

COLUMNS, HEIGHT = 6, 96  # frames of a clip, and pixels of a frame's height, on a sheet
LABEL_WIDTH, TITLE_HEIGHT, GAP = 84, 20, 3


class Band(NamedTuple):
    """title, and rows of (label, uint8 clip [T, H, W, 3] or picture [H, W, 3])."""

    title: str
    rows: Sequence[tuple[str, np.ndarray]]


def write_contact_sheet(path: Path, bands: Sequence[Band]) -> Path:
    """Writes the sheet as a PNG and makes its folder."""
    pictures = [_band(band) for band in bands]
    width = max(p.shape[1] for p in pictures)
    sheet = np.concatenate([_pad(p, width) for p in pictures])
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), sheet[..., ::-1]):
        raise OSError(f"{path}: could not be written; is the disk full?")
    return path


def pick(clip: np.ndarray) -> np.ndarray:
    """A copy of at most COLUMNS evenly spaced frames."""
    return clip[np.unique(np.linspace(0, len(clip) - 1, min(COLUMNS, len(clip))).round().astype(int))]


def thumbnails(clip: np.ndarray) -> np.ndarray:
    """All that a sheet shows of a clip: picked frames, uint8 [<= COLUMNS, HEIGHT, w, 3]."""
    width = max(1, round(clip.shape[2] * HEIGHT / clip.shape[1]))
    how = cv2.INTER_NEAREST if clip.shape[1] < HEIGHT else cv2.INTER_AREA
    return np.stack([cv2.resize(frame, (width, HEIGHT), interpolation=how) for frame in pick(clip)])


def _band(band: Band) -> np.ndarray:
    rows = [_row(label, clip if clip.ndim == 4 else clip[None]) for label, clip in band.rows]
    width = max(LABEL_WIDTH + 7 * len(band.title), *(row.shape[1] for row in rows))
    return np.concatenate([_text(band.title, width, TITLE_HEIGHT), *(_pad(row, width) for row in rows)])


def _row(label: str, clip: np.ndarray) -> np.ndarray:
    frames = thumbnails(clip)
    return np.concatenate(
        [_text(label, LABEL_WIDTH, HEIGHT + GAP), *(_pad(f, f.shape[1] + GAP) for f in frames)], axis=1
    )


def _text(words: str, width: int, height: int) -> np.ndarray:
    panel = np.full((height, width, 3), 255, np.uint8)
    cv2.putText(panel, words, (4, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    return panel


def _pad(picture: np.ndarray, width: int) -> np.ndarray:
    return np.pad(picture, ((0, GAP), (0, width - picture.shape[1]), (0, 0)), constant_values=255)
