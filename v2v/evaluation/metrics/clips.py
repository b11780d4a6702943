"""Clips for metrics: re-readable streams of frames, and two clips made comparable.

A `Clip` is a file or a folder of pictures, one a frame. It is gone through as often as a metric likes: small
ones are decoded once and held, large ones decoded anew on every pass, so that memory doesn't grow with the length of a video.

Outputs that don't match their source are compared by this rule, which is written into every result where it was needed:

- length: frame k with frame k, as far as the shorter clip goes;
- size: the output is scaled to the other clip's size (area mean where it gets smaller, bicubic where larger), its aspect ratio be what
  it may.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, repeat
from pathlib import Path

import av
import cv2
import numpy as np
from av.error import FFmpegError

from v2v.errors import InputError, collect_notes
from v2v.video import video as codec
from v2v.video.decoder import DEFAULT_FPS
from v2v.video.file_checks import STILLS, check_readable

MAX_CACHED_BYTES = 256 << 20  # bytes of frames up to which a clip is decoded once and kept
FOLDER_FPS = 24.0  # of a folder of pictures, which says nothing of its rate


class Clip:
    """A file as uint8 RGB frames [H, W, 3]; iterate over it any number of times.

    Attributes:
      path: the file.
      length, height, width: after decoding, upright.
      fps: mean rate.
    """

    def __init__(self, path: Path, max_cached_bytes: int = MAX_CACHED_BYTES):
        """Reads the file once: a file that can't be decoded to its end is refused here, not half-way through a metric.

        Raises:
          InputError: missing, not a video, cut short, damaged.
        """
        self.path = Path(path)
        if self.path.is_dir():
            self._open_folder()
            return
        with collect_notes() as damage:  # the decoder skips what is damaged, and says so
            fits = _bytes(self.path) <= max_cached_bytes
            clip = codec.read_video(self.path) if fits else codec.open_video(self.path, lambda frame: None)
        if damage:
            raise InputError(damage[0])
        # An array, or frames that are decoded anew on every walk.
        self._frames, self.fps = clip.frames, clip.fps
        self.length, self.height, self.width = clip.frames.shape[:3]

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self._frames) if self._frames is not None else _pictures(self.path)

    @property
    def size(self) -> tuple[int, int]:
        """Return (height, width)."""
        return self.height, self.width

    def _open_folder(self) -> None:
        self._frames, self.fps, names = None, FOLDER_FPS, _frame_files(self.path)
        if not names:
            raise InputError(f"{self.path}: expected pictures, one a frame, got a folder without any")
        first = _picture(names[0])
        self.length, (self.height, self.width) = len(names), first.shape[:2]


@dataclass(frozen=True)
class _View:
    """A clip seen at a length, in frames, and a size, (height, width)."""

    clip: Clip
    length: int
    size: tuple[int, int]

    def __len__(self) -> int:
        return self.length


class ResizedClip(_View):
    """A clip cut to `length` frames and resized to `size`; nothing is stored."""

    def __iter__(self) -> Iterator[np.ndarray]:
        for frame in islice(iter(self.clip), self.length):
            yield resize_frame(frame, *self.size)


class MaskClip(_View):
    """A mask as bool planes [H, W] of a given length and size; the last plane is repeated."""

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
    """Return the input of an editor: a file as its path, a folder of pictures as a video."""
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
    """Describe how the rule was applied; empty where the clips match."""
    notes = []
    if len(output) != len(other):
        notes.append(
            f"{len(output)} frames against the {what}'s {len(other)}: the first {min(len(output), len(other))} are compared"
        )
    if output.size != other.size:
        a, b = (f"{c.width}x{c.height}" for c in (output, other))
        notes.append(f"{a} against the {what}'s {b}: scaled to the latter")
    return "; ".join(notes)


def _bytes(path: Path) -> int:
    """What the frames will take, as far as the file tells."""
    check_readable(path)
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                return 0  # codec.read says what is wrong
            stream = container.streams.video[0]
            seconds = (
                float((stream.duration or 0) * (stream.time_base or 0)) or (container.duration or 0) / 1e6
            )
            count = stream.frames or round(seconds * float(stream.average_rate or DEFAULT_FPS)) or 1
            return count * stream.width * stream.height * 3
    except (FFmpegError, UnicodeDecodeError):
        return 0


def _frame_files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in STILLS and not p.name.startswith("."))


def _pictures(folder: Path) -> Iterator[np.ndarray]:
    first = None
    for path in _frame_files(folder):
        frame = _picture(path)
        first = first or frame.shape[:2]
        yield resize_frame(frame, *first)


def _picture(path: Path) -> np.ndarray:
    frame = cv2.imread(str(path))
    if frame is None:
        raise InputError(f"{path}: expected a picture, got data that can't be decoded")
    return frame[..., ::-1]
