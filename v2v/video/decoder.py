"""Decoding of video files, one upright RGB frame at a time. `video.py` is what others read files with.

`iterate_frames` is one pass over a file. While it yields frames it fills a `StreamInfo` with everything else that the file carries.
`FileFrames` is that pass as a sequence which can be iterated again and again, so that a clip of any length is edited without ever
being held in memory.

Each pass decodes in a child process, which a broken file may crash (`decoding_process.py`), a few frames ahead of their use.
Where no child can be started it decodes on a thread of its own (`prefetch`).
"""

import math
import re
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from contextvars import copy_context
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar, cast

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError, InvalidDataError

from v2v.errors import InputError, note
from v2v.video.audio import AudioTracks
from v2v.video.clock import ClockCorrection
from v2v.video.container_metadata import SIZE_NOTE, ContainerMetadata, MetadataReader, find_tag
from v2v.video.decoding_process import FrameNews, NoChildError, call_in_child, stream_frames
from v2v.video.file_checks import check_readable, error_reason
from v2v.video.frame_conversion import FrameConverter, colour_numbers, find_losses
from v2v.video.frame_sequence import StreamedFrames
from v2v.video.picture_items import PictureItem, read_picture_item
from v2v.video.streams import (
    DEFAULT_FPS,
    check_length,
    estimate_frame_count,
    estimate_room,
    find_rate,
    is_still_item,
    is_tile,
    open_container,
    select_stream,
)
from v2v.video.tiles import join_tiles

Item = TypeVar("Item")

# The function that children run, by name.
DECODE_FRAMES = "v2v.video.decoder:decode_frames"
# Items that are computed before they are asked for.
PREFETCH_DEPTH = 2
# H.273 number of a matrix that isn't told.
UNKNOWN_MATRIX = 2


@dataclass
class StreamInfo:
    """Facts that a pass over a file collects beside the frames; complete when the pass ends.

    Attributes:
      frame_count: frames that the file should have, and one more; known from the first frame on, wrong where the file is.
      size: height and width in pixels.
      times: seconds at which each frame appears.
      fps: frames per second, the mean where the rate varies.
      audio: the sound as the bytes of an MP4 on the same clock, or None.
      tail: seconds the last frame stays; None for 1 / fps.
      pixel_aspect: width of a pixel divided by its height.
      colour: ITU-T H.273 numbers (matrix, primaries, transfer).
      metadata: tags, timecode, chapters and subtitles.
      is_transparent: whether the first frame has pixels that aren't opaque.
      damage_count: frames that the decoder calls corrupt, and pieces that it could not decode.
    """

    frame_count: int = 1
    size: tuple[int, int] = (0, 0)
    times: list[float] = field(default_factory=list)
    fps: float = float(DEFAULT_FPS)
    audio: bytes | None = None
    tail: float | None = None
    pixel_aspect: Fraction = Fraction(1)
    colour: tuple[int, int, int] = (1, 1, 1)
    metadata: ContainerMetadata = field(default_factory=ContainerMetadata)
    is_transparent: bool = False
    damage: str = ""
    damage_count: int = 0


class FileFrames(StreamedFrames):
    """The frames of a file, decoded anew on every iteration.

    Attributes:
      path: the file.
      shape: (T, H, W, 3).
    """

    def __init__(self, path: Path, shape: tuple[int, int, int, int]):
        self.path, self._shape = path, shape

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Return (T, H, W, 3)."""
        return self._shape

    def __iter__(self) -> Iterator[np.ndarray]:
        count = 0
        for frame in iterate_frames(self.path, StreamInfo(), with_audio=False, is_first_pass=False):
            if count == len(self) or frame.shape != self.shape[1:]:
                break
            count += 1
            yield frame
        if count != len(self):
            raise InputError(f"{self.path}: changed while it was being edited; start again")


def _new_frame(shape: tuple[int, ...]) -> np.ndarray:
    return np.empty(shape, np.uint8)


def iterate_frames(
    path: Path,
    info: StreamInfo,
    *,
    with_audio: bool = True,
    is_first_pass: bool = True,
    skip: int = 0,
    start: float = 0.0,
    new_frame: Callable[[tuple[int, ...]], np.ndarray] = _new_frame,
) -> Generator[np.ndarray, None, None]:
    """Yield the frames of a file, uint8 [H, W, 3] upright RGB.

    Args:
      path: a file of any container and codec that FFmpeg knows, stills included (one frame).
      info: filled during the pass.
      with_audio: collect the sound and the subtitles.
      is_first_pass: note damage; False where an earlier pass noted it.
      skip: number of frames at the beginning that are decoded, but neither converted nor yielded.
      start: seconds; frames before are left out, and decoding begins at the key frame before it. In a file whose times or index are
        wrong that gives other frames, or none: the caller compares `info` with that of a complete pass.
      new_frame: called with the shape of each frame when `info` has what is told with it, for the memory to write the frame to. Where no child
        can be started frames lie elsewhere.

    Raises:
      InputError: missing, empty, not a video, cut short, or without a frame.
    """
    check_readable(path)
    arguments: dict[str, Any] = {
        "with_audio": with_audio, "is_first_pass": is_first_pass, "skip": skip, "start": start,
    }  # fmt: skip
    try:
        yield from _take_frames(path, info, new_frame, arguments)
    except NoChildError:
        yield from prefetch(decode_frames(info, path, **arguments))


def decode_frames(
    info: StreamInfo,
    path: Path,
    *,
    with_audio: bool,
    is_first_pass: bool,
    skip: int,
    start: float,
    new_frame: Callable[[tuple[int, ...]], np.ndarray] = _new_frame,
    on_progress: Callable[[], None] = lambda: None,
) -> Generator[np.ndarray, None, None]:
    """Yield the frames of a file, decoded in this process; `iterate_frames` has it done in another.

    Args:
      info: filled during the pass.
      path: as in `iterate_frames`.
      with_audio: as in `iterate_frames`.
      is_first_pass: as in `iterate_frames`.
      skip: as in `iterate_frames`.
      start: as in `iterate_frames`.
      new_frame: called with a shape before each frame is converted, for the memory to write it to.
      on_progress: called with every packet.

    Raises:
      InputError: as in `iterate_frames`.
    """
    try:
        with open_container(path) as container:
            yield from _decode(
                container, path, info, with_audio, is_first_pass, skip, start, new_frame, on_progress
            )
    except (FFmpegError, UnicodeDecodeError) as error:
        raise _undecodable(path, error) from None


def _take_frames(
    path: Path,
    info: StreamInfo,
    new_frame: Callable[[tuple[int, ...]], np.ndarray],
    arguments: dict[str, Any],
) -> Generator[np.ndarray, None, None]:
    """Yield the frames that a child sends, and let `info` follow."""

    def follow(news: StreamInfo | FrameNews) -> None:
        times = info.times
        times.extend(news.times)
        vars(info).update(vars(news), times=times)

    def place(shape: tuple[int, ...], news: StreamInfo | FrameNews) -> np.ndarray:
        follow(news)
        return new_frame(shape)

    with closing(stream_frames(DECODE_FRAMES, path, place, **arguments)) as messages:
        for frame, news in messages:
            if frame is not None:
                yield frame
            else:
                follow(news)


def estimate_size(path: Path) -> tuple[int, int, int]:
    """Return the frames, height and width that a file's header promises, without decoding it.

    Args:
      path: as in `iterate_frames`.

    Raises:
      InputError: as `iterate_frames` for the file's beginning.
    """
    check_readable(path)
    try:
        return call_in_child("v2v.video.decoder:read_header", str(path), path=path)
    except NoChildError:
        return read_header(path)


def read_header(path: Path) -> tuple[int, int, int]:
    """Do in this process what `estimate_size` has done in another."""
    try:
        with open_container(path) as container:
            stream = select_stream(container, path)
            if is_tile(stream):
                return 1, *_joined_size(_read_tiled_picture(path))
            seconds = (container.duration or 0) / av.time_base
            count = estimate_frame_count(stream) or round(seconds * float(find_rate(stream)))
            return count or 1, stream.height, stream.width
    except (FFmpegError, UnicodeDecodeError) as error:
        raise _undecodable(path, error) from None


def read_stored_picture(path: Path, flags: int) -> np.ndarray | None:
    """Return what OpenCV's imread gives for a file, read in a child process; None where it can't be read.

    Args:
      path: the file.
      flags: of imread.
    """
    try:
        return call_in_child("v2v.video.decoder:read_with_opencv", str(path), path=path, flags=flags)
    except NoChildError:
        return read_with_opencv(path, flags)


def read_with_opencv(path: Path, flags: int) -> np.ndarray | None:
    """Do in this process what `read_stored_picture` has done in another."""
    return cv2.imread(str(path), flags)


def decode_picture(data: bytes, flags: int, name: str) -> np.ndarray | None:
    """Return what OpenCV's imdecode gives for the bytes of a picture file, decoded in a child process; None where it can't.

    Args:
      data: the bytes.
      flags: of imdecode.
      name: for messages.
    """
    try:
        return call_in_child("v2v.video.decoder:decode_with_opencv", name, data=data, flags=flags)
    except NoChildError:
        return decode_with_opencv(data, flags)


def decode_with_opencv(data: bytes, flags: int) -> np.ndarray | None:
    """Do in this process what `decode_picture` has done in another."""
    return cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None


class _End:
    """The end of a generator."""


def prefetch(items: Generator[Item, None, None], depth: int = PREFETCH_DEPTH) -> Iterator[Item]:
    """Run a generator on a thread of its own, ahead of the use of its items.

    Args:
      items: the generator; it is closed when the iteration ends or is given up.
      depth: number of items computed in advance.

    Yields:
      The same items in the same order; what the generator raises is raised where it would have been.
    """
    # The context decides which job a note belongs to.
    context = copy_context()

    def advance() -> Item | _End:
        return next(items, _End())

    with closing(items), ThreadPoolExecutor(1) as thread:
        futures = deque(thread.submit(context.run, advance) for _ in range(depth))
        try:
            while not isinstance(item := futures.popleft().result(), _End):
                futures.append(thread.submit(context.run, advance))
                yield item
        finally:
            for future in futures:
                future.cancel()


def _undecodable(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path}: expected a video file, got data that can't be decoded ({error_reason(error)}); is it complete?"
    )


def _decode(
    container: InputContainer,
    path: Path,
    info: StreamInfo,
    with_audio: bool,
    is_first_pass: bool,
    skip: int,
    start: float,
    new_frame: Callable[[tuple[int, ...]], np.ndarray],
    on_progress: Callable[[], None],
) -> Generator[np.ndarray, None, None]:
    stream = select_stream(container, path)
    if is_tile(stream):
        frame = _decode_tiles(container, stream, path, info, on_progress)
        if not skip:
            yield frame
        return
    tracks = AudioTracks(container.streams.audio if with_audio else (), _clock_origin(container, stream))
    metadata = MetadataReader(container, stream, tracks.origin)
    extra_streams = (*tracks.streams, *metadata.streams) if with_audio else ()
    rate = find_rate(stream)
    info.frame_count = estimate_room(stream) + 1
    info.pixel_aspect = stream.sample_aspect_ratio or Fraction(1)
    size_comment = re.search(
        SIZE_NOTE.format(r"(\d{1,9})", r"(\d{1,9})"), find_tag(container.metadata, "comment")
    )
    times: list[Fraction] = []
    item = _find_item(container, stream, path)
    converter: FrameConverter | None = None
    is_resized, extra_end = False, 0.0 if with_audio else math.inf
    if start:
        assert stream.time_base is not None
        container.seek(int((Fraction(start) + tracks.origin) / stream.time_base), stream=stream)
    clock = ClockCorrection(container, tracks.origin)
    for packet in container.demux((stream, *extra_streams)):
        on_progress()
        clock.apply(packet)
        if packet.stream is not stream:
            if packet.pts is not None:
                extra_end = max(extra_end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            (metadata if packet.stream in metadata.streams else tracks).add(packet)
            continue
        try:
            # Packets of a video stream hold nothing else.
            decoded = cast(list[av.VideoFrame], packet.decode())
        except InvalidDataError:
            info.damage_count += 1
            damage = f"{path}: a damaged piece near {float(times[-1]) if times else 0.0:.2f} s was skipped"
            info.damage = info.damage or damage
            if is_first_pass:
                note(damage)
            continue
        for frame in decoded:
            unit, time = frame.time_base, None
            if frame.pts is not None and unit is not None:
                time = frame.pts * unit - tracks.origin
            if time is None or (times and time <= times[-1]):
                time = times[-1] + 1 / rate if times else Fraction(0)
            if float(time) < start:
                continue
            times.append(time)
            info.damage_count += frame.is_corrupt
            info.times.append(float(time))
            info.tail = float(frame.duration * unit) if frame.duration and unit is not None else None
            if converter is not None and len(times) <= skip:
                continue
            is_first = converter is None
            if item is not None:
                _set_colour(frame, item)
            converter = converter or FrameConverter(frame, stream.codec.canonical_name, path, item)
            if (frame.width, frame.height) != converter.size and not is_resized and is_first_pass:
                is_resized = True
                width, height = converter.size
                note(
                    f"{path}: the size of its frames changes from {width}x{height} to {frame.width}x{frame.height} near "
                    f"{float(time):.2f} s; all are scaled to the first one's"
                )
            if is_first:
                info.is_transparent = converter.is_transparent or (item is not None and item.has_alpha)
                metadata.picture_losses = find_losses(frame, stream.codec.canonical_name)
                info.colour, info.size = colour_numbers(frame), _true_size(converter.shape[:2], size_comment)
                if converter.is_quarter_turn:
                    info.pixel_aspect = 1 / info.pixel_aspect
            if len(times) > skip:
                is_direct = converter.is_upright and converter.shape[:2] == info.size
                upright = converter(frame, new_frame(converter.shape) if is_direct else None)
                yield upright if is_direct else upright[: info.size[0], : info.size[1]]
    if not times:
        raise InputError(
            f"{path}: expected at least one frame, got a video stream without any; is the file complete?"
        )
    if clock.jumps and is_first_pass:
        note(
            f"{path}: {clock.describe()}; what follows was joined to what is before, picture and sound alike"
        )
    if is_first_pass:
        gaps = [float(later - earlier) for earlier, later in pairwise(times)]
        picture_end = float(times[-1] + tracks.origin) + (info.tail or 0.0)
        if problem := check_length(
            container, stream, picture_end, extra_end, max(gaps, default=1 / float(rate))
        ):
            info.damage = info.damage or f"{path}: {problem}"
            note(f"{path}: {problem}")
    info.fps = float((len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else rate)
    info.audio = tracks.to_mp4()
    info.metadata = metadata.to_metadata()


def _decode_tiles(
    container: InputContainer,
    stream: av.VideoStream,
    path: Path,
    info: StreamInfo,
    on_progress: Callable[[], None],
) -> np.ndarray:
    """Return the picture that tiles make up, uint8 [H, W, 3] upright RGB, and fill `info`.

    Args:
      container: the open file.
      stream: one of the tiles.
      path: the file.
      info: filled.
      on_progress: called with every tile.

    Raises:
      InputError: a tile can't be decoded, or where they lie isn't told.
    """
    item = _read_tiled_picture(path)
    assert item.grid is not None
    frame = join_tiles(container, item.grid, path, on_progress)
    _set_colour(frame, item)
    codec = stream.codec.canonical_name
    converter = FrameConverter(frame, codec, path, item)
    info.times, info.size, info.colour = [0.0], converter.shape[:2], colour_numbers(frame)
    info.is_transparent = item.has_alpha
    info.metadata = ContainerMetadata(picture_losses=find_losses(frame, codec))
    return converter(frame)


def _set_colour(frame: av.VideoFrame, item: PictureItem) -> None:
    """Tag a frame with the colours that its file tells, where the coded picture doesn't."""
    if item.colour is not None and int(frame.colorspace) == UNKNOWN_MATRIX:
        frame.colorspace, frame.color_primaries, frame.color_trc = item.colour


def _find_item(container: InputContainer, stream: av.VideoStream, path: Path) -> PictureItem | None:
    """Return what a HEIC or AVIF file says of the picture that a stream is; None for a film, or another file."""
    if "mp4" not in container.format.name or not is_still_item(stream):
        return None
    item = read_picture_item(path)
    return item if item is not None and item.id == stream.id else None


def _read_tiled_picture(path: Path) -> PictureItem:
    """Return how the tiles of a file make up its picture; raise InputError where it doesn't tell."""
    item = read_picture_item(path)
    if item is None or item.grid is None:
        raise InputError(
            f"{path}: a picture of tiles that doesn't tell where they lie; save it as PNG or JPEG"
        )
    return item


def _joined_size(item: PictureItem) -> tuple[int, int]:
    """Return the height and width of a joined picture as it is shown."""
    assert item.grid is not None
    width, height = (item.grid.width, item.grid.height) if item.crop is None else item.crop[2:]
    return (width, height) if item.matrix[0, 0] == 0 else (height, width)


def _clock_origin(container: InputContainer, stream: av.VideoStream) -> Fraction:
    """Return the second at which the first stream starts; subtracted everywhere, so that picture and sound keep their distance."""
    starts = [
        s.start_time * s.time_base
        for s in (stream, *container.streams.audio)
        if s.start_time is not None and s.time_base is not None
    ]
    return min(starts, default=Fraction(0))


def _true_size(shape: tuple[int, ...], size_comment: re.Match | None) -> tuple[int, int]:
    """Return height and width without the line that odd sizes were stored with, unless the file was scaled since."""
    height, width = shape
    if size_comment:
        true_width, true_height = int(size_comment[1]), int(size_comment[2])
        if (width - true_width, height - true_height) in ((0, 1), (1, 0), (1, 1)):
            return true_height, true_width
    return height, width
