"""Video files and clips: `read_video` and `open_video` give a `Video`, `write_video` stores one.

Frames are upright RGB bytes. Everything else that a file carries is kept, so that an edited clip can replace its source:

- timing: seconds per frame as stored (variable frame rates stay variable), shifted so that the file's first stream starts at 0;
- rotation: the display matrix is applied to the pixels, so frames are what a player shows;
- colour: a file's matrix and primaries travel with the clip and are used again on writing. Y'CbCr -> RGB -> Y'CbCr with one and
  the same matrix is the identity up to rounding, so unedited pixels look the same in any player, tagged or not. Arrays and
  stills are written as BT.709. The range written is always the limited ("tv") one;
- colour profiles of pictures (ICC): embedded again in PNG and JPEG, named in a note elsewhere;
- sound: every audio track, held as a small in-memory MP4 on the clip's own clock (`audio.py`);
- tags, timecode, chapters and text subtitles (`container_metadata.py`); what an output can't hold is named in a note.

Files are decoded by `decoder.py`; output is H.264 yuv420p, written by `encoder.py`. Alpha is ignored with a note (the colour under it
is kept), HDR keeps its matrix and loses bits beyond eight, interlaced fields stay woven.
"""

import base64
import html
import math
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Generic, TypeVar

import cv2
import numpy as np
from av.error import FFmpegError

from v2v.errors import InputError, note
from v2v.video.color_profile import ColorProfile, embed_profile, read_profile, tag_png
from v2v.video.container_metadata import ContainerMetadata, find_missing
from v2v.video.decoder import FileFrames, StreamInfo, iterate_frames
from v2v.video.encoder import encode_video
from v2v.video.file_checks import DEFAULT_FORMAT, FRAME_NAME, check_output, error_reason
from v2v.video.frame_sequence import FrameSequence
from v2v.video.output_format import CLIPS, HDR_TRANSFERS, Encoding, OutputFormat, choose_encoding
from v2v.video.partial_output import hold_partial
from v2v.video.streams import DEFAULT_FPS

# Pixels of a clip, over all frames, up to which a notebook shows a player.
PLAYER_PIXELS = 1 << 27

# H.273 numbers of primaries wider than those of BT.709.
WIDE_PRIMARIES = {9: "BT.2020", 11: "P3", 12: "P3"}
# Seconds for which GIF can show a frame, and for which players do at least.
LONGEST_GIF_FRAME, SHORTEST_GIF_FRAME = 655.35, 0.02
# OpenCV's quality of JPEG, of 100.
JPEG_QUALITIES = {"high": 95, "medium": 85, "low": 70}
# Least width and height, in pixels: x265 reads memory that nobody wrote in frames of one block, SVT-AV1 takes none smaller.
SMALLEST_FRAMES = {"hevc": 80, "av1": 16}

FramesType = TypeVar("FramesType", bound=FrameSequence)


@dataclass(repr=False)
class Video(Generic[FramesType]):
    """A clip.

    Attributes:
      frames: uint8 [T, H, W, 3], upright RGB: an array, or a sequence that is decoded or computed on iteration.
      times: float64 [T], seconds at which each frame appears, strictly increasing.
      fps: frames per second, the mean where the rate varies.
      audio: the sound as the bytes of an MP4 on the same clock, or None.
      path: the file it came from, or None.
      tail: seconds the last frame stays; None for 1 / fps.
      pixel_aspect: width of a pixel divided by its height (1 but for anamorphic sources).
      colour: ITU-T H.273 numbers (matrix, primaries, transfer) of the source; all 1 is BT.709.
      profile: ICC profile of a picture, or None.
      metadata: tags (title, date), timecode, chapters and subtitles.
      damage: what is missing of the file's picture, or "".
      report: settings and measurements of an edited clip (`pipeline/editor.py`); empty otherwise.
    """

    frames: FramesType
    times: np.ndarray
    fps: float
    audio: bytes | None = None
    path: Path | None = None
    tail: float | None = None
    pixel_aspect: Fraction = Fraction(1)
    colour: tuple[int, int, int] = (1, 1, 1)
    profile: ColorProfile | None = None
    metadata: ContainerMetadata = field(default_factory=ContainerMetadata)
    damage: str = ""
    report: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        T, H, W = self.frames.shape[:3]
        sound = "sound" if self.audio is not None else "no sound"
        return f"Video({T} frames, {W}x{H}, {self.fps:g} fps, {self.duration:.2f} s, {sound})"

    def _repr_html_(self) -> str:
        """Return a player for notebooks; of clips beyond `PLAYER_PIXELS`, or not in memory, the description alone."""
        if not isinstance(self.frames, np.ndarray) or self.frames.size > 3 * PLAYER_PIXELS:
            return html.escape(repr(self))
        with tempfile.TemporaryDirectory() as folder:
            data = base64.b64encode(write_video(self, Path(folder) / "clip.mp4").read_bytes()).decode()
        source = f'<source type="video/mp4" src="data:video/mp4;base64,{data}">'
        return f"<video controls loop muted>{source}</video><br>{html.escape(repr(self))}"

    @staticmethod
    def from_array(frames: np.ndarray, fps: float = float(DEFAULT_FPS)) -> "Video[np.ndarray]":
        """Return a silent clip of constant frame rate.

        Args:
          frames: uint8 [T, H, W, 3] RGB, or one frame [H, W, 3].
          fps: frames per second.

        Raises:
          InputError: another shape or dtype, no frame, or a frame rate that is not above 0 and below 10000.
        """
        # OpenCV takes no transposed frames.
        frames = np.ascontiguousarray(frames)
        if frames.ndim == 3:
            frames = frames[None]
        if frames.ndim == 4 and frames.shape[-1] != 3 and frames.shape[1] == 3:
            raise InputError(
                f"video array: expected uint8 [T, H, W, 3], got {frames.dtype} {list(frames.shape)}, channels first; "
                "transpose it with x.transpose(0, 2, 3, 1)"
            )
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or 0 in frames.shape:
            raise InputError(
                f"video array: expected uint8 [T, H, W, 3] with at least one frame, got {frames.dtype} {list(frames.shape)}; "
                "convert with (255 * x).round().astype(numpy.uint8) if it holds floats in [0, 1]"
            )
        if not 0 < fps < 1e4:
            raise InputError(f"fps: expected a number above 0 and below 10000, got {fps}")
        return Video(frames, np.arange(len(frames)) / fps, float(fps))

    @property
    def duration(self) -> float:
        """Return the seconds from the start of the first frame to the end of the last."""
        return float(self.times[-1] - self.times[0]) + (self.tail or 1 / self.fps)

    def save(self, path: str | Path, **settings) -> Path:
        """Write the clip to a file, by `codec`, `quality`, `crf`, `pix_fmt`; see `write_video`."""
        return write_video(self, path, **settings)


def read_video(path: str | Path) -> Video[np.ndarray]:
    """Decode a whole file into memory.

    Args:
      path: a file of any container and codec that FFmpeg knows, stills included (a clip of one frame).

    Raises:
      InputError: missing, empty, not a video, cut short, without a frame, or larger than the machine's memory.
    """
    info = StreamInfo()
    buffer = _FrameBuffer(Path(path), info)
    for frame in iterate_frames(Path(path), info, new_frame=buffer.next_frame):
        buffer.append(frame)
    return _build_video(Path(path), info, buffer.to_array())


def open_video(path: str | Path, on_frame: Callable[[np.ndarray], None]) -> Video[FileFrames]:
    """Decode a file once without holding its frames; those of the clip are decoded again on every iteration.

    Args:
      path: as in `read_video`.
      on_frame: called with every frame, uint8 [H, W, 3].

    Raises:
      InputError: missing, empty, not a video, cut short, or without a frame.
    """
    info = StreamInfo()
    for frame in iterate_frames(Path(path), info):
        on_frame(frame)
    return _build_video(Path(path), info, FileFrames(Path(path), (len(info.times), *info.size, 3)))


def write_video(video: Video, path: str | Path, **settings) -> Path:
    """Encode a clip, under a hidden name first, which is then renamed; a file of that name is replaced.

    Args:
      video: the clip.
      path: the file to write: MP4, MOV, MKV, WebM or GIF; a clip of one frame also as PNG or JPEG. With `codec="png"` a folder of
        frames.
      **settings: codec, quality, crf, pix_fmt: the fields of `OutputFormat`.

    Returns:
      The path.

    Raises:
      InputError: a folder that is missing or can't be written, an ending that names no format written here, or a codec, quality or
        pixel format that doesn't go with it.
    """
    output_format = OutputFormat(**settings)
    path = check_output(path, output_format)
    encoding = choose_encoding(path, output_format)
    check_format(video, path, output_format)
    try:
        with hold_partial(path, is_folder=encoding.is_folder) as partial:
            if encoding.is_still:
                partial.write_bytes(_encode_still(video, next(iter(video.frames)), encoding))
            elif encoding.is_folder:
                _write_frames(video, partial, encoding)
            else:
                encode_video(
                    partial,
                    video.frames,
                    times=video.times,
                    fps=video.fps,
                    tail=video.tail,
                    audio=video.audio,
                    pixel_aspect=video.pixel_aspect,
                    colour=video.colour,
                    metadata=video.metadata,
                    encoding=encoding,
                )
            _note_missing(video, path, partial, encoding)
            if encoding.is_folder:
                _replace_frames(partial, path)
            else:
                os.replace(partial, path)
    except (OSError, FFmpegError) as error:
        raise InputError(
            f"{path}: can't be written ({error_reason(error)}); check the disk and the folder's permissions"
        ) from None
    return path


def check_format(video: Video, path: Path, output_format: OutputFormat = DEFAULT_FORMAT) -> None:
    """Check that a kind of file can hold a clip.

    Raises:
      InputError: several frames for a still, frames too small for the codec, or shown for longer than GIF can say.
    """
    encoding = choose_encoding(path, output_format)
    if encoding.is_still and len(video.frames) != 1:
        raise InputError(
            f"{path}: a still holds one frame, the clip has {len(video.frames)}; use one of {', '.join(CLIPS)}, or a folder's name "
            "with codec png"
        )
    height, width = video.frames.shape[1:3]
    smallest = SMALLEST_FRAMES.get(encoding.codec, 1)
    if min(height, width) < smallest:
        raise InputError(
            f"{path}: {encoding.codec} takes frames from {smallest}x{smallest} on, got {width}x{height}; choose another codec"
        )
    longest = max([*np.diff(video.times), video.tail or 1 / video.fps])
    if encoding.codec == "gif" and longest > LONGEST_GIF_FRAME:
        raise InputError(
            f"{path}: GIF shows a frame for {LONGEST_GIF_FRAME:g} s at most, the clip one for {longest:g} s; use .mp4"
        )


def _encode_still(video: Video, frame: np.ndarray, encoding: Encoding) -> bytes:
    """Return a picture as the bytes of a PNG or JPEG file, with its profile."""
    options = [] if encoding.codec == "png" else [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITIES[encoding.quality]]
    _, data = cv2.imencode(f".{encoding.codec}", frame[..., ::-1], options)
    picture = data.tobytes()
    if encoding.codec == "png" and _has_wide_colours(video):
        picture = tag_png(picture, *video.colour[1:])
    if video.profile is None or not video.profile.is_rgb:
        return picture
    return embed_profile(picture, video.profile)


def _has_wide_colours(video: Video) -> bool:
    """Return whether a picture without a tag would look wrong: BT.2020 or P3, PQ or HLG."""
    _, primaries, transfer = video.colour
    return primaries in WIDE_PRIMARIES or transfer in HDR_TRANSFERS


def _write_frames(video: Video, folder: Path, encoding: Encoding) -> None:
    """Write frames into an empty folder, numbered from 1."""
    for number, frame in enumerate(video.frames, 1):
        (folder / f"frame_{number:06d}.png").write_bytes(_encode_still(video, frame, encoding))


def _replace_frames(source: Path, target: Path) -> None:
    """Rename a folder of frames; where one of that name exists its frames are removed."""
    if not target.exists():
        os.replace(source, target)
        return
    for path in target.iterdir():
        if FRAME_NAME.fullmatch(path.name):
            path.unlink()
    for path in source.iterdir():
        os.replace(path, target / path.name)


def _note_missing(video: Video, path: Path, partial: Path, encoding: Encoding) -> None:
    """Name in one note what the written file doesn't hold of its source."""
    is_profile_kept = (encoding.is_still or encoding.is_folder) and video.profile and video.profile.is_rgb
    if video.profile and not is_profile_kept and not video.profile.is_srgb:
        _note_lost_profile(path, video.profile)
    missing = find_missing(video.metadata, partial if encoding.holds_metadata else None)
    if encoding.codec in ("jpeg", "gif") and _has_wide_colours(video):
        _, primaries, transfer = video.colour
        names = [WIDE_PRIMARIES.get(primaries), HDR_TRANSFERS.get(transfer)]
        missing.insert(0, f"the colors of {' '.join(name for name in names if name)}")
    if (
        encoding.codec == "gif"
        and len(video.times) > 1
        and np.diff(video.times).min() < SHORTEST_GIF_FRAME - 1e-6
    ):
        note(
            f"{path}: players show frames of GIF for at least {SHORTEST_GIF_FRAME:g} s; the clip will be slower"
        )
    if video.audio is not None and not encoding.holds_metadata:
        missing.insert(0, "the sound")
    if missing:
        container = "a folder of frames" if encoding.is_folder else path.suffix
        note(f"{path}: can't keep {', '.join(missing)} in {container}")


def _note_lost_profile(path: Path, profile: ColorProfile) -> None:
    remedy = "; save as PNG or JPEG to keep it" if profile.is_rgb else ", which holds RGB"
    note(f'{path}: the colour profile "{profile.name}" can\'t be kept in {path.suffix}{remedy}')


def _build_video(path: Path, info: StreamInfo, frames: FramesType) -> Video[FramesType]:
    if info.is_transparent:
        note(
            f"{path}: its transparency isn't kept; transparent pixels show the color that is stored under them"
        )
    return Video(
        frames=frames,
        times=np.array(info.times),
        fps=info.fps,
        audio=info.audio,
        path=path,
        tail=info.tail,
        pixel_aspect=info.pixel_aspect,
        colour=info.colour,
        profile=read_profile(path),
        metadata=info.metadata,
        damage=info.damage,
    )


class _FrameBuffer:
    """One growing uint8 array: a list and its stack would need the clip's memory twice."""

    def __init__(self, path: Path, info: StreamInfo):
        self._path, self._info = path, info
        self._count, self._data = 0, np.empty(0, np.uint8)
        self._next: np.ndarray | None = None

    def next_frame(self, shape: tuple[int, ...]) -> np.ndarray:
        """Return the memory of the frame that is appended next."""
        if self._count == 0:
            # The system gives memory as frames are written, so a capacity that is never reached costs nothing. Damaged headers promise
            # any number, but no file has more frames than bytes.
            capacity = min(self._info.frame_count, self._path.stat().st_size)
            self._data = self._allocate(capacity, shape)
        elif self._count == len(self._data):
            larger = self._allocate(self._count * 3 // 2 + 1, shape)
            larger[: self._count] = self._data
            self._data = larger
        memory = self._data[self._count]
        self._next = memory
        return memory

    def append(self, frame: np.ndarray) -> None:
        if frame is not self._next:
            self.next_frame(frame.shape)[...] = frame
        self._next = None
        self._count += 1

    def to_array(self) -> np.ndarray:
        return self._data[: self._count]

    def _allocate(self, count: int, shape: tuple[int, ...]) -> np.ndarray:
        """Return room for a number of frames; raise InputError where they exceed the memory."""
        # Source and edit are both held, and some more.
        size = 2.5 * count * math.prod(shape)
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if size <= memory:
            # There may be less for this process.
            with suppress(MemoryError):
                return np.empty((count, *shape), np.uint8)
        height, width = shape[:2]
        raise InputError(
            f"{self._path}: {count} frames of {width}x{height} need about {size / 2**30:.0f} GiB, this "
            f"machine has {memory / 2**30:.0f}; edit from file to file (v2v edit, edit_file), which holds a few frames only"
        )
