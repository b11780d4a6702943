"""Contact sheets of pairs, for people to look at before they trust the data.

Pairs → **PNG**. There is one band for each pair: its instructions on the left, then source frames, target frames below them, mask
frames below those, and the reference picture at the right.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from v2v.data.pair import Pair

# Pixels; the background's grey level differs from the white of masks.
_TEXT_WIDTH, _GAP, _BACKGROUND = 420, 4, 224


def write_preview(pairs: Iterable[Pair], path: str | Path, *, frames: int = 5, height: int = 96) -> Path:
    """Write a contact sheet and return its path.

    Args:
      pairs: Pairs to show; eight or so fit one screen.
      path: PNG file to write.
      frames: Number of frames of each clip, evenly spaced.
      height: Height of one frame on the sheet, in pixels.

    Raises:
      ValueError: There are no pairs.
      OSError: The file cannot be written.
    """
    bands = [_draw_band(pair, frames, height) for pair in pairs]
    if not bands:
        raise ValueError("preview: expected at least one pair, got none")
    width = max(b.shape[1] for b in bands)
    sheet = np.concatenate(
        [np.pad(b, ((0, 6), (0, width - b.shape[1]), (0, 0)), constant_values=_BACKGROUND) for b in bands]
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.png")
    if not cv2.imwrite(str(beside), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR)):
        raise OSError(f"preview: could not write {path}")
    beside.replace(path)
    return path


def _draw_band(pair: Pair, frames: int, height: int) -> np.ndarray:
    T, H, W, _ = pair.source.shape
    index = np.unique(np.linspace(0, T - 1, min(frames, T)).round().astype(int))
    size = (max(1, round(W * height / H)), height)
    mask = np.repeat(pair.mask[..., None], 3, -1)
    rows = [
        _join_frames([_resize(video[i], size) for i in index]) for video in (pair.source, pair.target, mask)
    ]
    films = np.concatenate(rows)
    reference = np.full((films.shape[0], height + _GAP, 3), 255, np.uint8)
    if pair.reference is not None:
        h, w = pair.reference.shape[:2]
        picture = _resize(pair.reference, (max(1, min(height, round(w * height / h))), height))
        reference[:height, _GAP : _GAP + picture.shape[1]] = picture
    return np.concatenate([_draw_text(pair, films.shape[0]), films, reference], axis=1)


def _join_frames(pictures: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(
        [np.pad(p, ((0, _GAP), (0, _GAP), (0, 0)), constant_values=_BACKGROUND) for p in pictures], axis=1
    )


def _resize(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return cv2.resize(
        picture, size, interpolation=cv2.INTER_NEAREST if picture.shape[0] < size[1] else cv2.INTER_AREA
    )


def _draw_text(pair: Pair, height: int) -> np.ndarray:
    panel = np.full((height, _TEXT_WIDTH, 3), _BACKGROUND, np.uint8)
    lines = [
        f"[{pair.edit}] seed {pair.seed}, frames {pair.active[0]}..{pair.active[1]}",
        f"S: {pair.source_caption}",
        f"T: {pair.target_caption}",
        *(f"- {i}" for i in pair.instructions),
    ]
    y = 14
    for line in lines:
        for part in _wrap_line(line, 62):
            cv2.putText(panel, part, (4, y), cv2.FONT_HERSHEY_SIMPLEX, 0.38, (0, 0, 0), 1, cv2.LINE_AA)
            y += 15
    return panel


def _wrap_line(line: str, width: int) -> list[str]:
    out, words = [""], line.split()
    for word in words:
        if len(out[-1]) + len(word) + 1 > width:
            out.append("   ")
        out[-1] += (" " if out[-1].strip() else "") + word
    return out
