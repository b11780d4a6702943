"""A file -> its frames, one at a time, upright RGB. The reading half of `video/video.py`.

`walk` is one pass over a file. While it hands out frames it fills `Facts` with everything else that the file carries; `Frames` is
that pass as a sequence which can be walked again and again, so that a clip of any length is edited without ever being held.

Frames made while those before them are still being worked on: a generator run on a thread of its own. Used by `video/decoder.py`.

Decoding and converting to RGB let go of Python's lock, as do shrinking, carrying and encoding, so the two sides of `ahead` share a
machine's processors instead of waiting for each other.
"""

import re
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from contextvars import copy_context
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

import av
import cv2
import numpy as np
from av.sidedata.sidedata import Type as SideData
from av.video.reformatter import VideoReformatter

from v2v.errors import InputError, note
from v2v.video import audio as sound
from v2v.video.encoder import EXACT_CONVERSION, SIZE_NOTE
from v2v.video.file_checks import check_readable, error_reason

Item = TypeVar("Item")

PREFETCH_DEPTH = 2  # items made before they are asked for


def prefetch(items: Generator[Item, None, None], depth: int = PREFETCH_DEPTH) -> Iterator[Item]:
    """The same items in the same order; what `items` raises is raised where it would have been, and it is closed with the walk."""
    end, here = object(), copy_context()  # so that notes made there are those of the job that walks
    with closing(items), ThreadPoolExecutor(1) as thread:
        waiting = deque(thread.submit(here.run, next, items, end) for _ in range(depth))
        try:
            while (item := waiting.popleft().result()) is not end:
                waiting.append(thread.submit(here.run, next, items, end))
                yield item
        finally:
            for one in waiting:
                one.cancel()


NON_VIDEO_FORMATS = (
    "tty",
    "hls",
    "concat",
    "dash",
    "sdp",
    "ffmetadata",
)  # text that FFmpeg would "play", or follow to other files
DEFAULT_FPS = Fraction(25)
DISPLAY_MATRIX_UNIT = 1 << 16


@dataclass
class StreamInfo:
    """What a walk learns; complete when it ends. Fields as in `video.Video`; `expected` is the count the file itself names."""

    expected: int = 1
    size: tuple[int, int] = (0, 0)  # height, width
    times: list[float] = field(default_factory=list)
    fps: float = float(DEFAULT_FPS)
    audio: bytes | None = None
    tail: float | None = None
    pixel_aspect: Fraction = Fraction(1)
    colour: tuple[int, int, int] = (1, 1, 1)


class FileFrames:
    """The frames of a file, decoded anew each time they are walked through; `numpy.asarray` holds them all.

    Attributes:
      shape: (T, H, W, 3); dtype is uint8.
    """

    dtype, ndim = np.dtype(np.uint8), 4

    def __init__(self, path: Path, shape: tuple[int, int, int, int]):
        self.path, self.shape = path, shape

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[np.ndarray]:
        count = 0
        for frame in iterate_frames(self.path, StreamInfo(), sounds=False, again=True):
            if count == len(self) or frame.shape != self.shape[1:]:
                break
            count += 1
            yield frame
        if count != len(self):
            raise InputError(f"{self.path}: changed while it was being edited; start again")

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        out = np.empty(self.shape, np.uint8)
        for t, frame in enumerate(self):
            out[t] = frame
        return out if dtype is None else out.astype(dtype)


def iterate_frames(
    path: Path,
    facts: StreamInfo,
    sounds: bool = True,
    again: bool = False,
    skip: int = 0,
    since: float = 0.0,
) -> Iterator[np.ndarray]:
    """Frames uint8 [H, W, 3] of any container and codec FFmpeg knows, stills included (a clip of one frame).

    Args: again: damage was told on an earlier walk; skip: frames that aren't wanted, at the beginning: decoded, not converted;
      since: seconds; frames before are left out, from the key frame before it on. Of a file whose times or index are wrong that
      gives other frames, or none: the caller compares the facts with those of a whole walk.

    Raises:
      InputError: missing, empty, not a video, cut short, or without a frame.
    """
    check_readable(path)
    try:
        with av.open(str(path), options={"protocol_whitelist": "file"}) as container:
            yield from prefetch(_decode(container, path, facts, sounds, again, skip, since))
    except (av.error.FFmpegError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: expected a video file, got data that can't be decoded ({error_reason(error)}); is it complete?"
        ) from None


def _decode(
    container: av.container.InputContainer,
    path: Path,
    facts: StreamInfo,
    sounds: bool,
    again: bool,
    skip: int,
    since: float,
) -> Iterator[np.ndarray]:
    streams = [s for s in container.streams.video if not s.disposition & s.disposition.attached_pic]
    if not streams or container.format.name in NON_VIDEO_FORMATS:
        found = ", ".join(sorted({s.type for s in container.streams})) or container.format.long_name
        raise InputError(f"{path}: expected a video stream, got a file that holds none (found: {found})")
    stream = streams[0]
    if stream.codec_context is None:
        raise InputError(
            f"{path}: its video is in a format this FFmpeg can't decode; convert it to H.264 first"
        )
    stream.thread_type = "AUTO"
    _check_complete(stream, path)
    tracks = sound.AudioTracks(container.streams.audio if sounds else (), origin=_origin(container, stream))
    rate = stream.average_rate or stream.guessed_rate or DEFAULT_FPS
    seconds = float((stream.duration or 0) * (stream.time_base or 0))
    facts.expected = max(stream.frames, round(seconds * float(rate)), 0) + 1
    facts.pixel_aspect = stream.sample_aspect_ratio or Fraction(1)
    size_comment = re.search(SIZE_NOTE.format(r"(\d+)", r"(\d+)"), container.metadata.get("comment", ""))
    times, first, convert = [], None, VideoReformatter()
    if since:
        container.seek(int((Fraction(since) + tracks.origin) / stream.time_base), stream=stream)
    for packet in container.demux((stream, *tracks.streams)):
        if packet.stream is not stream:
            tracks.take(packet)
            continue
        try:
            decoded = packet.decode()
        except av.error.InvalidDataError:
            if not again:
                note(f"{path}: a damaged piece near {float(times[-1]) if times else 0.0:.2f} s was skipped")
            continue
        for frame in decoded:
            time = None if frame.pts is None else frame.pts * frame.time_base - tracks.origin
            if time is None or (times and time <= times[-1]):
                time = times[-1] + 1 / rate if times else Fraction(0)
            if float(time) < since:
                continue
            times.append(time)
            facts.times.append(float(time))
            facts.tail = float(frame.duration * frame.time_base) if frame.duration else None
            if first is not None and len(times) <= skip:
                continue
            upright = _upright(frame, first or frame, convert)
            if first is None:
                first, facts.colour, facts.size = (
                    frame,
                    _colour(frame),
                    _kept(upright.shape[:2], size_comment),
                )
                matrix = _matrix(first)
                if matrix is not None and matrix[0, 0] == 0:  # a quarter turn
                    facts.pixel_aspect = 1 / facts.pixel_aspect
            if len(times) > skip:
                yield upright[: facts.size[0], : facts.size[1]]
    if not times:
        raise InputError(
            f"{path}: expected at least one frame, got a video stream without any; is the file complete?"
        )
    facts.fps = float((len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else rate)
    facts.audio = tracks.finish()


def _kept(shown: tuple[int, int], size_comment: re.Match | None) -> tuple[int, int]:
    """Height and width without the line that odd sizes were stored with, unless the file was scaled since."""
    height, width = shown
    if size_comment and (width - int(size_comment[1]), height - int(size_comment[2])) in (
        (0, 1),
        (1, 0),
        (1, 1),
    ):
        return int(size_comment[2]), int(size_comment[1])
    return shown


def _check_complete(stream: av.VideoStream, path: Path) -> None:
    """A file whose index points past its end was cut short (a broken download or copy)."""
    size = path.stat().st_size
    missing = sum(entry.pos + entry.size > size for entry in stream.index_entries)
    if missing:
        raise InputError(
            f"{path}: truncated, {missing} of {len(stream.index_entries)} indexed frames lie past its end ({size} bytes); "
            "copy or download it again"
        )


def _origin(container: av.container.InputContainer, stream: av.VideoStream) -> Fraction:
    """Seconds at which the first stream starts; subtracted everywhere, so that picture and sound keep their distance."""
    starts = [
        s.start_time * s.time_base for s in (stream, *container.streams.audio) if s.start_time is not None
    ]
    return min(starts, default=Fraction(0))


def _matrix(frame: av.VideoFrame) -> np.ndarray | None:
    """The display matrix's 2x2 part as multiples of 1, rows (x', y') of a column (x, y), or None."""
    try:
        data = frame.side_data.get(SideData.DISPLAYMATRIX)
    except ValueError:  # PyAV meets a kind of side data it has no name for (EXIF in photographs): turns are known, mirrors not
        return np.rint(cv2.getRotationMatrix2D((0, 0), frame.rotation, 1)[:, :2]).astype(int)
    if data is None:
        return None
    entries = np.frombuffer(bytes(data), np.int32).reshape(3, 3)[:2, :2].T
    return np.rint(entries / DISPLAY_MATRIX_UNIT).astype(int)


def _upright(frame: av.VideoFrame, first: av.VideoFrame, convert: VideoReformatter) -> np.ndarray:
    """RGB [H, W, 3] as a player shows it. Later frames of another size are scaled to the first one's."""
    rgb = _rgb(frame, first.width, first.height, convert)
    matrix = _matrix(first)
    if matrix is None or abs(round(np.linalg.det(matrix))) != 1:
        return rgb
    if matrix[0, 0] == 0:  # x' depends on y: transpose, then the signs of what is now along each axis
        rgb = rgb.transpose(1, 0, 2)
    horizontal, vertical = matrix.sum(axis=1)
    return np.ascontiguousarray(rgb[:: int(vertical), :: int(horizontal)])  # as OpenCV takes frames


def _rgb(frame: av.VideoFrame, width: int, height: int, convert: VideoReformatter) -> np.ndarray:
    """RGB [height, width, 3], exactly rounded.

    FFmpeg's exact conversion to interleaved RGB is plain C; to planes it is vectorised, with the same bytes (a quarter of the time).
    """
    planar = not frame.format.is_rgb and len(frame.format.components) == 3
    made = convert.reformat(
        frame, width, height, "gbrp" if planar else "rgb24", interpolation=EXACT_CONVERSION, threads=1
    )
    if not planar:
        return made.to_ndarray()
    green, blue, red = (
        np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[:height, :width] for plane in made.planes
    )
    return cv2.merge([red, green, blue])


def _colour(frame: av.VideoFrame) -> tuple[int, int, int]:
    if frame.format.is_rgb or frame.format.name.startswith(("gray", "pal", "mono")):
        return 1, 1, 1
    return int(frame.colorspace), int(frame.color_primaries), int(frame.color_trc)
