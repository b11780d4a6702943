"""Clips as metrics see them: re-readable streams of frames, and two clips made comparable. files -> **clips** -> metrics

A `Clip` is a file or a folder of pictures, one a frame. It is gone through as often as a metric likes: small
ones are decoded once and held, large ones decoded anew on every pass, so that memory doesn't grow with the length of a video.

Outputs that don't match their source are compared by this rule, which is written into every result where it was needed:

- length: frame k with frame k, as far as the shorter clip goes;
- size: the output is scaled to the other clip's size (area mean where it gets smaller, bicubic where larger), its aspect ratio be what
  it may.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

from v2v.codec import video as codec
from v2v.codec.encoder import SIZE_NOTE
from v2v.codec.paths import STILLS, check_readable, reason
from v2v.errors import InputError

HELD = 256 << 20  # bytes of frames up to which a clip is decoded once and kept
FOLDER_FPS = 24.0  # of a folder of pictures, which says nothing of its rate


class Clip:
    """A file as uint8 RGB frames [H, W, 3]; iterate over it any number of times.

    Attributes:
      path: the file. length, height, width: after decoding, upright. fps: mean rate.
    """

    def __init__(self, path: Path, held: int = HELD):
        """Reads the file once: a file that can't be decoded to its end is refused here, not half-way through a metric.

        Raises:
          InputError: missing, not a video, cut short, damaged.
        """
        self.path = Path(path)
        if self.path.is_dir():
            self._open_folder()
            return
        if _bytes(self.path) <= held:
            with warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)  # the codec skips what is damaged, and says so
                try:
                    clip = codec.read(self.path)
                except UserWarning as damage:
                    raise InputError(str(damage)) from None
            self._frames: np.ndarray | None = clip.frames
            self.fps, (self.length, self.height, self.width) = clip.fps, clip.frames.shape[:3]
            return
        self._frames = None
        self.length = 0
        for frame in _stream(self.path):
            self.height, self.width = frame.shape[:2]
            self.length += 1
        if not self.length:
            raise InputError(f"{self.path}: expected at least one frame, got none; is the file complete?")
        with av.open(str(self.path)) as container:
            self.fps = float(container.streams.video[0].average_rate or codec.DEFAULT_FPS)

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[np.ndarray]:
        if self._frames is not None:
            return iter(self._frames)
        return _pictures(self.path) if self.path.is_dir() else _stream(self.path)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.height, self.width

    def _open_folder(self) -> None:
        self._frames, self.fps, names = None, FOLDER_FPS, _frame_files(self.path)
        if not names:
            raise InputError(f"{self.path}: expected pictures, one a frame, got a folder without any")
        first = _picture(names[0])
        self.length, (self.height, self.width) = len(names), first.shape[:2]


@dataclass(frozen=True)
class Adapted:
    """A clip cut to `length` frames and scaled to `size`; a view, nothing is stored."""

    clip: Clip
    length: int
    size: tuple[int, int]

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[np.ndarray]:
        for frame in islice(iter(self.clip), self.length):
            yield scaled(frame, *self.size)


@dataclass(frozen=True)
class Mask:
    """A mask as bool planes [H, W] of a given length and size; a picture, or a short video's last frame, stays on."""

    clip: Clip
    length: int
    size: tuple[int, int]

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[np.ndarray]:
        plane, count = None, 0
        for frame in islice(iter(self.clip), self.length):
            plane = cv2.resize(frame, self.size[::-1], interpolation=cv2.INTER_NEAREST)[..., 1] >= 128
            count += 1
            yield plane
        for _ in range(self.length - count):
            yield plane

    @cached_property
    def array(self) -> np.ndarray:
        """bool [T, H, W]."""
        return np.stack(list(self))


def for_editor(path: Path) -> Path | codec.Video:
    """What an editor takes: a file as it is, a folder of pictures as a clip."""
    if not path.is_dir():
        return path
    return codec.Video.from_array(np.stack(list(Clip(path))), FOLDER_FPS)


def scaled(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    """The frame at a size, by the rule above."""
    if frame.shape[:2] == (height, width):
        return frame
    smaller = frame.shape[0] >= height and frame.shape[1] >= width
    return cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)


def mismatch(output: Clip, other: Clip, what: str) -> str:
    """How the rule had to be used, in words; empty where the clips match."""
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
            count = stream.frames or round(seconds * float(stream.average_rate or codec.DEFAULT_FPS)) or 1
            return count * stream.width * stream.height * 3
    except (av.error.FFmpegError, UnicodeDecodeError):
        return 0


def _frame_files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in STILLS and not p.name.startswith("."))


def _pictures(folder: Path) -> Iterator[np.ndarray]:
    first = None
    for path in _frame_files(folder):
        frame = _picture(path)
        first = first or frame.shape[:2]
        yield scaled(frame, *first)


def _picture(path: Path) -> np.ndarray:
    frame = cv2.imread(str(path))
    if frame is None:
        raise InputError(f"{path}: expected a picture, got data that can't be decoded")
    return frame[..., ::-1]


def _stream(path: Path) -> Iterator[np.ndarray]:
    """The frames `codec.read` would give, one at a time."""
    convert, first = VideoReformatter(), None
    try:
        with av.open(str(path), options={"protocol_whitelist": "file"}) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            codec._check_complete(stream, path)
            width, height = _noted_size(container) or (None, None)
            for frame in container.decode(stream):
                first = first or frame
                yield codec._upright(frame, first, convert)[:height, :width]
    except av.error.FFmpegError as error:
        raise InputError(
            f"{path}: expected a whole video, got data that can't be decoded ({reason(error)})"
        ) from None


def _noted_size(container: av.container.InputContainer) -> tuple[int, int] | None:
    """(width, height) of a clip of odd size that this package wrote."""
    found = re.search(SIZE_NOTE.format(r"(\d+)", r"(\d+)"), container.metadata.get("comment", ""))
    return (int(found[1]), int(found[2])) if found else None
