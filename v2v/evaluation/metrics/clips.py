"""Clips for metrics: frames that can be read repeatedly, and two clips made comparable.

A `Clip` is a file or a folder of pictures, one per frame. Small clips are decoded once and held, large ones are decoded again on every
iteration, so that memory does not grow with the length of a video.

Outputs that do not match their source are compared by this rule, which is written into every result where it was applied:

- length: frame k with frame k, up to the end of the shorter clip;
- size: the output is scaled to the other clip's size (area mean where it gets smaller, bicubic where larger), whatever its aspect ratio.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, repeat
from pathlib import Path

import cv2
import numpy as np

from v2v.errors import InputError, collect_notes
from v2v.evaluation.counts import format_count
from v2v.video import video as codec
from v2v.video.decoder import estimate_size, read_stored_picture
from v2v.video.output_format import STILLS

# Bytes of frames up to which a clip is decoded once and held.
MAX_CACHED_BYTES = 256 << 20
# The rate of a folder of pictures, which has none of its own.
FOLDER_FPS = 24.0


class Clip:
    """A file as uint8 RGB frames [H, W, 3], over which one can iterate any number of times.

    Attributes:
      path: the file or folder.
      length: number of frames.
      height: of upright frames, in pixels.
      width: likewise.
      fps: mean frames per second.
    """

    def __init__(self, path: Path, max_cached_bytes: int = MAX_CACHED_BYTES):
        """Read the file once, so that one which can't be decoded to its end fails here and not in the middle of a metric.

        Args:
          path: a video, a picture, or a folder of pictures.
          max_cached_bytes: bytes of frames up to which they are held.

        Raises:
          InputError: a file that is missing, no video, cut short or damaged.
        """
        self.path = Path(path)
        if self.path.is_dir():
            self._open_folder()
            return
        # The decoder skips damaged frames with a note; other notes are for editors.
        with collect_notes():
            fits = _estimate_bytes(self.path) <= max_cached_bytes
            clip = codec.read_video(self.path) if fits else codec.open_video(self.path, lambda frame: None)
        if clip.damage:
            raise InputError(clip.damage)
        # An array, or frames that are decoded again on every iteration.
        self._frames, self.fps = clip.frames, clip.fps
        self.length, self.height, self.width = clip.frames.shape[:3]

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self._frames) if self._frames is not None else _read_pictures(self.path)

    @property
    def size(self) -> tuple[int, int]:
        """Return (height, width)."""
        return self.height, self.width

    def _open_folder(self) -> None:
        self._frames, self.fps, names = None, FOLDER_FPS, _frame_files(self.path)
        if not names:
            raise InputError(f"{self.path}: expected pictures, one a frame, got a folder without any")
        first = _read_picture(names[0])
        self.length, (self.height, self.width) = len(names), first.shape[:2]


@dataclass(frozen=True)
class _View:
    """A clip at another length and size.

    Attributes:
      clip: the clip.
      length: number of frames.
      size: (height, width).
    """

    clip: Clip
    length: int
    size: tuple[int, int]

    def __len__(self) -> int:
        return self.length


class ResizedClip(_View):
    """A clip whose frames are cut to a length and resized while iterating; nothing is stored."""

    def __iter__(self) -> Iterator[np.ndarray]:
        for frame in islice(iter(self.clip), self.length):
            yield resize_frame(frame, *self.size)


class MaskClip(_View):
    """A mask as bool planes [H, W] of a given length and size; a shorter mask's last plane is repeated."""

    def __iter__(self) -> Iterator[np.ndarray]:
        fits_in_cache = self.length * self.size[0] * self.size[1] <= MAX_CACHED_BYTES
        return iter(self.array) if fits_in_cache else self._planes()

    def _planes(self) -> Iterator[np.ndarray]:
        plane: np.ndarray | None = None
        count = 0
        for frame in islice(iter(self.clip), self.length):
            gray = np.ascontiguousarray(frame[..., 1])
            if gray.shape != self.size:
                gray = cv2.resize(gray, self.size[::-1], interpolation=cv2.INTER_NEAREST)
            plane = gray >= 128
            count += 1
            yield plane
        if plane is not None:
            yield from repeat(plane, self.length - count)

    @cached_property
    def array(self) -> np.ndarray:
        """Return the mask as bool [T, H, W]."""
        return np.stack(list(self._planes()))


def editor_input(path: Path) -> Path | codec.Video:
    """Return what an editor gets as a source: the path of a file, the frames of a folder of pictures."""
    if not path.is_dir():
        return path
    return codec.Video.from_array(np.stack(list(Clip(path))), FOLDER_FPS)


def resize_frame(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize a frame by the rule above."""
    if frame.shape[:2] == (height, width):
        return frame
    smaller = frame.shape[0] >= height and frame.shape[1] >= width
    return cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)


def describe_mismatch(output: Clip, other: Clip, what: str) -> str:
    """Describe how the rule was applied; empty where the clips match.

    Args:
      output: the clip that is cut and scaled.
      other: the clip that it is compared with.
      what: name of the other clip.
    """
    notes = []
    if len(output) != len(other):
        length = min(len(output), len(other))
        notes.append(
            f"{format_count(len(output), 'frame')} against the {what}'s {len(other)}: the first {'is' if length == 1 else f'{length} are'} compared"
        )
    if output.size != other.size:
        a, b = (f"{c.width}x{c.height}" for c in (output, other))
        notes.append(f"{a} against the {what}'s {b}: scaled to the latter")
    return "; ".join(notes)


def _estimate_bytes(path: Path) -> int:
    """Estimate the bytes of the decoded frames from the file's header; 0 where it can't be read."""
    try:
        count, height, width = estimate_size(path)
    except InputError:
        return 0
    return count * height * width * 3


def _frame_files(folder: Path) -> list[Path]:
    files = (p for p in folder.iterdir() if p.suffix.lower() in STILLS and not p.name.startswith("."))
    return sorted(files, key=_frame_order)


def _frame_order(path: Path) -> tuple[list[str | int], str]:
    """Return the key by which frames are sorted: numbers in their names count as numbers, so that 10 comes after 9."""
    parts = re.split(r"([0-9]+)", path.name)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], path.name


def _read_pictures(folder: Path) -> Iterator[np.ndarray]:
    first = None
    for path in _frame_files(folder):
        frame = _read_picture(path)
        first = first or frame.shape[:2]
        yield resize_frame(frame, *first)


def _read_picture(path: Path) -> np.ndarray:
    frame = read_stored_picture(path, cv2.IMREAD_COLOR)
    if frame is None:
        raise InputError(f"{path}: expected a picture, got data that can't be decoded")
    return frame[..., ::-1]
