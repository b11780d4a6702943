"""Video files <-> frames: the first and the last arrow of `video -> latents -> tokens -> DiT -> velocity -> sampler -> video`.

Frames are upright RGB bytes; everything else a file carries is kept so that an edited clip can stand in for its source:

- timing: seconds per frame as stored (variable frame rates stay variable), shifted so that the file's first stream starts at 0;
- rotation: the display matrix is applied to the pixels, so frames are what a player shows;
- colour: a file's matrix and primaries travel with the clip and are used again on writing. Y'CbCr -> RGB -> Y'CbCr with one and
  the same matrix is the identity up to rounding, so unedited pixels look the same in any player, tagged or not. Arrays and
  stills are written as BT.709. The range written is always the limited ("tv") one;
- sound: every audio track, held as a small in-memory MP4 on the clip's own clock (`codec/audio.py`).

Output is H.264 yuv420p, made by `codec/encoder.py`. Alpha is ignored (colour under it is kept), HDR keeps
its matrix and loses bits beyond eight, interlaced fields stay woven.
"""

import os
import re
import warnings
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.sidedata.sidedata import Type as SideData
from av.video.reformatter import VideoReformatter

from v2v.codec import audio as sound
from v2v.codec.encoder import EXACT, SIZE_NOTE, encode
from v2v.codec.paths import CLIPS, STILLS, check_output, check_readable, reason
from v2v.errors import InputError

NOT_CLIPS = (
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
class Video:
    """A clip in memory.

    Attributes:
      frames: uint8 [T, H, W, 3], upright RGB.
      times: float64 [T], seconds at which each frame appears, strictly increasing.
      fps: frames per second, the mean where the rate varies.
      audio: the sound as the bytes of an MP4 on the same clock, or None.
      path: the file it came from, or None.
      tail: seconds the last frame stays; None for 1 / fps.
      pixel_aspect: width of a pixel divided by its height (1 but for anamorphic sources).
      colour: ITU-T H.273 numbers (matrix, primaries, transfer) of the source; all 1 is BT.709.
    """

    frames: np.ndarray
    times: np.ndarray
    fps: float
    audio: bytes | None = None
    path: Path | None = None
    tail: float | None = None
    pixel_aspect: Fraction = Fraction(1)
    colour: tuple[int, int, int] = (1, 1, 1)

    @classmethod
    def from_array(cls, frames: np.ndarray, fps: float = float(DEFAULT_FPS)) -> "Video":
        """A silent clip of constant frame rate from uint8 [T, H, W, 3] (or one frame [H, W, 3])."""
        frames = np.asarray(frames)
        if frames.ndim == 3:
            frames = frames[None]
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or 0 in frames.shape:
            raise InputError(
                f"video array: expected uint8 [T, H, W, 3] with at least one frame, got {frames.dtype} {list(frames.shape)}; "
                "convert with (255 * x).round().astype(numpy.uint8) if it holds floats in [0, 1]"
            )
        if not 0 < fps < 1e4:
            raise InputError(f"fps: expected a number above 0 and below 10000, got {fps}")
        return cls(frames, np.arange(len(frames)) / fps, float(fps))

    @property
    def duration(self) -> float:
        """Seconds from the start of the first frame to the end of the last."""
        return float(self.times[-1] - self.times[0]) + (self.tail or 1 / self.fps)

    def save(self, path: str | Path) -> Path:
        """Writes the clip; see `write`."""
        return write(self, path)


def read(path: str | Path) -> Video:
    """Decodes a whole file: any container and codec FFmpeg knows, stills included (a clip of one frame).

    Raises:
      InputError: missing, empty, not a video, cut short, or without a frame.
    """
    path = Path(path)
    check_readable(path)
    try:
        with av.open(str(path), options={"protocol_whitelist": "file"}) as container:
            return _decode(container, path)
    except (av.error.FFmpegError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: expected a video file, got data that can't be decoded ({reason(error)}); is it complete?"
        ) from None


def write(video: Video, path: str | Path) -> Path:
    """Encodes to H.264 in MP4 or MOV (a clip of one frame also to PNG or JPEG), under a hidden name first, then renamed.

    Raises:
      InputError: a folder that is missing or can't be written, or an ending that names no format written here.
    """
    path = check_output(path)
    if path.suffix.lower() in STILLS and len(video.frames) != 1:
        raise InputError(
            f"{path}: a still holds one frame, the clip has {len(video.frames)}; use one of {', '.join(CLIPS)}"
        )
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        if path.suffix.lower() in STILLS:
            _, data = cv2.imencode(path.suffix.lower(), video.frames[0][..., ::-1])
            partial.write_bytes(data.tobytes())
        else:
            encode(video, partial)
        os.replace(partial, path)
    except (OSError, av.error.FFmpegError) as error:
        raise InputError(
            f"{path}: can't be written ({reason(error)}); check the disk and the folder's permissions"
        ) from None
    finally:
        partial.unlink(missing_ok=True)
    return path


def _decode(container: av.container.InputContainer, path: Path) -> Video:
    streams = [s for s in container.streams.video if not s.disposition & s.disposition.attached_pic]
    if not streams or container.format.name in NOT_CLIPS:
        found = ", ".join(sorted({s.type for s in container.streams})) or container.format.long_name
        raise InputError(f"{path}: expected a video stream, got a file that holds none (found: {found})")
    stream = streams[0]
    if stream.codec_context is None:
        raise InputError(
            f"{path}: its video is in a format this FFmpeg can't decode; convert it to H.264 first"
        )
    stream.thread_type = "AUTO"
    _check_complete(stream, path)
    tracks = sound.Tracks(container.streams.audio, origin=_origin(container, stream))
    rate = stream.average_rate or stream.guessed_rate or DEFAULT_FPS
    frames, times, tail, first, convert = _Frames(stream, path), [], None, None, VideoReformatter()
    for packet in container.demux((stream, *tracks.streams)):
        if packet.stream is not stream:
            tracks.take(packet)
            continue
        try:
            decoded = packet.decode()
        except av.error.InvalidDataError:
            warnings.warn(
                f"{path}: a damaged piece near {float(times[-1]) if times else 0.0:.2f} s was skipped",
                stacklevel=2,
            )
            continue
        for frame in decoded:
            first = first or frame
            time = None if frame.pts is None else frame.pts * frame.time_base - tracks.origin
            if time is None or (times and time <= times[-1]):
                time = times[-1] + 1 / rate if times else Fraction(0)
            times.append(time)
            tail = frame.duration * frame.time_base if frame.duration else None
            frames.append(_upright(frame, first, convert))
    if not times:
        raise InputError(
            f"{path}: expected at least one frame, got a video stream without any; is the file complete?"
        )
    if len(times) > 1:
        rate = (len(times) - 1) / (times[-1] - times[0])
    aspect = stream.sample_aspect_ratio or Fraction(1)
    if _matrix(first) is not None and _matrix(first)[0, 0] == 0:  # a quarter turn
        aspect = 1 / aspect
    kept = re.search(SIZE_NOTE.format(r"(\d+)", r"(\d+)"), container.metadata.get("comment", ""))
    height, width = frames.shape
    if kept and (width - int(kept[1]), height - int(kept[2])) in ((0, 1), (1, 0), (1, 1)):  # not since scaled
        width, height = int(kept[1]), int(kept[2])
    return Video(
        frames=frames.array()[:, :height, :width],
        times=np.array([float(t) for t in times]),
        fps=float(rate),
        audio=tracks.finish(),
        path=path,
        tail=float(tail) if tail else None,
        pixel_aspect=aspect,
        colour=_colour(first),
    )


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
    rgb = convert.reformat(
        frame, first.width, first.height, "rgb24", interpolation=EXACT, threads=1
    ).to_ndarray()
    matrix = _matrix(first)
    if matrix is None or abs(round(np.linalg.det(matrix))) != 1:
        return rgb
    if matrix[0, 0] == 0:  # x' depends on y: transpose, then the signs of what is now along each axis
        rgb = rgb.transpose(1, 0, 2)
    horizontal, vertical = matrix.sum(axis=1)
    return rgb[:: int(vertical), :: int(horizontal)]


def _colour(frame: av.VideoFrame) -> tuple[int, int, int]:
    if frame.format.is_rgb or frame.format.name.startswith(("gray", "pal", "mono")):
        return 1, 1, 1
    return int(frame.colorspace), int(frame.color_primaries), int(frame.color_trc)


class _Frames:
    """One growing uint8 array: a list and its stack would need the clip twice."""

    def __init__(self, stream: av.VideoStream, path: Path):
        seconds = float((stream.duration or 0) * (stream.time_base or 0))
        self.capacity = max(stream.frames, round(seconds * float(stream.average_rate or DEFAULT_FPS)), 0) + 1
        needed = self.capacity * stream.codec_context.width * stream.codec_context.height * 3
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if 2.5 * needed > memory:  # source and edit are both held
            raise InputError(
                f"{path}: {self.capacity} frames of {stream.codec_context.width}x{stream.codec_context.height} need about "
                f"{2.5 * needed / 2**30:.0f} GiB, this machine has {memory / 2**30:.0f}; cut the clip or scale it down first"
            )
        self.count, self.data = 0, None

    @property
    def shape(self) -> tuple[int, int]:
        return self.data.shape[1:3]

    def append(self, frame: np.ndarray) -> None:
        if self.data is None:
            self.data = np.empty((self.capacity, *frame.shape), np.uint8)  # memory is taken as frames arrive
        if self.count == len(self.data):
            larger = np.empty((self.count * 3 // 2 + 1, *frame.shape), np.uint8)
            larger[: self.count] = self.data
            self.data = larger
        self.data[self.count] = frame
        self.count += 1

    def array(self) -> np.ndarray:
        return self.data[: self.count]
