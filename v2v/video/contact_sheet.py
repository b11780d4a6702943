"""Contact sheets: clips one above another in a PNG, for looking at results.

A sheet holds bands (one for each edit). A band is a title and rows; a row is a label and evenly spaced frames of one clip, in
time from left to right. The same column is the same moment in every row.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

# Frames of a clip on a sheet, and pixels of a frame's height.
COLUMNS, HEIGHT = 6, 96
# Pixels: of the column of labels, of a title, and between frames.
LABEL_WIDTH, TITLE_HEIGHT, GAP = 84, 20, 3


class Band(NamedTuple):
    """One edit on a sheet.

    Attributes:
      title: the line above the rows.
      rows: labels with a uint8 clip [T, H, W, 3] or picture [H, W, 3] each.
    """

    title: str
    rows: Sequence[tuple[str, np.ndarray]]


def write_contact_sheet(path: Path, bands: Sequence[Band]) -> Path:
    """Write a sheet as a PNG.

    Args:
      path: the file; its folder is made.
      bands: from top to bottom.

    Returns:
      The file.

    Raises:
      OSError: the file can't be written.
    """
    pictures = [_draw_band(band) for band in bands]
    width = max(p.shape[1] for p in pictures)
    sheet = np.concatenate([_pad(p, width) for p in pictures])
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), sheet[..., ::-1]):
        raise OSError(f"{path}: could not be written; is the disk full?")
    return path


def select_columns(clip: np.ndarray) -> np.ndarray:
    """Return a copy of at most `COLUMNS` evenly spaced frames of a clip [T, ...], the first and the last among them."""
    return clip[np.unique(np.linspace(0, len(clip) - 1, min(COLUMNS, len(clip))).round().astype(int))]


def make_thumbnails(clip: np.ndarray) -> np.ndarray:
    """Return what a sheet shows of a clip uint8 [T, H, W, 3]: selected frames, uint8 [<= COLUMNS, HEIGHT, w, 3]."""
    width = max(1, round(clip.shape[2] * HEIGHT / clip.shape[1]))
    method = cv2.INTER_NEAREST if clip.shape[1] < HEIGHT else cv2.INTER_AREA
    return np.stack(
        [cv2.resize(frame, (width, HEIGHT), interpolation=method) for frame in select_columns(clip)]
    )


def _draw_band(band: Band) -> np.ndarray:
    rows = [_draw_row(label, clip if clip.ndim == 4 else clip[None]) for label, clip in band.rows]
    width = max(LABEL_WIDTH + 7 * len(band.title), *(row.shape[1] for row in rows))
    return np.concatenate([_draw_text(band.title, width, TITLE_HEIGHT), *(_pad(row, width) for row in rows)])


def _draw_row(label: str, clip: np.ndarray) -> np.ndarray:
    frames = make_thumbnails(clip)
    return np.concatenate(
        [_draw_text(label, LABEL_WIDTH, HEIGHT + GAP), *(_pad(f, f.shape[1] + GAP) for f in frames)], axis=1
    )


def _draw_text(text: str, width: int, height: int) -> np.ndarray:
    panel = np.full((height, width, 3), 255, np.uint8)
    cv2.putText(panel, text, (4, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    return panel


def _pad(picture: np.ndarray, width: int) -> np.ndarray:
    return np.pad(picture, ((0, GAP), (0, width - picture.shape[1]), (0, 0)), constant_values=255)
