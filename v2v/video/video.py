"""Video files <-> frames: the first and the last arrow of `video -> latents -> tokens -> DiT -> velocity -> sampler -> video`.

Frames are upright RGB bytes; everything else a file carries is kept so that an edited clip can stand in for its source:

- timing: seconds per frame as stored (variable frame rates stay variable), shifted so that the file's first stream starts at 0;
- rotation: the display matrix is applied to the pixels, so frames are what a player shows;
- colour: a file's matrix and primaries travel with the clip and are used again on writing. Y'CbCr -> RGB -> Y'CbCr with one and
  the same matrix is the identity up to rounding, so unedited pixels look the same in any player, tagged or not. Arrays and
  stills are written as BT.709. The range written is always the limited ("tv") one;
- sound: every audio track, held as a small in-memory MP4 on the clip's own clock (`video/audio.py`).

Files are decoded by `video/decoder.py`; output is H.264 yuv420p, made by `video/encoder.py`. Alpha is ignored (colour under it is
kept), HDR keeps its matrix and loses bits beyond eight, interlaced fields stay woven.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from v2v.errors import InputError
from v2v.video.decoder import DEFAULT_FPS, FileFrames, StreamInfo, iterate_frames
from v2v.video.encoder import encode_video
from v2v.video.file_checks import CLIPS, STILLS, check_output, error_reason


@dataclass
class Video:
    """A clip.

    Attributes:
      frames: uint8 [T, H, W, 3], upright RGB: an array, or what can be walked like one (`survey`).
      times: float64 [T], seconds at which each frame appears, strictly increasing.
      fps: frames per second, the mean where the rate varies.
      audio: the sound as the bytes of an MP4 on the same clock, or None.
      path: the file it came from, or None.
      tail: seconds the last frame stays; None for 1 / fps.
      pixel_aspect: width of a pixel divided by its height (1 but for anamorphic sources).
      colour: ITU-T H.273 numbers (matrix, primaries, transfer) of the source; all 1 is BT.709.
      report: of an edited clip, what was asked and measured (`editor.py`); empty otherwise.
    """

    frames: np.ndarray
    times: np.ndarray
    fps: float
    audio: bytes | None = None
    path: Path | None = None
    tail: float | None = None
    pixel_aspect: Fraction = Fraction(1)
    colour: tuple[int, int, int] = (1, 1, 1)
    report: dict = field(default_factory=dict)

    @classmethod
    def from_array(cls, frames: np.ndarray, fps: float = float(DEFAULT_FPS)) -> "Video":
        """A silent clip of constant frame rate from uint8 [T, H, W, 3] (or one frame [H, W, 3])."""
        frames = np.ascontiguousarray(frames)  # OpenCV takes no transposed frames
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
        return write_video(self, path)


def read_video(path: str | Path) -> Video:
    """Decodes a whole file: any container and codec FFmpeg knows, stills included (a clip of one frame).

    Raises:
      InputError: missing, empty, not a video, cut short, or without a frame.
    """
    facts = StreamInfo()
    held = _Growing(Path(path), facts)
    for frame in iterate_frames(Path(path), facts):
        held.append(frame)
    return _video(Path(path), facts, held.array())


def open_video(path: str | Path, see: Callable[[np.ndarray], None]) -> Video:
    """As `read`, but no frame is held: each is shown to `see` once, and the clip's `frames` decode the file again when walked."""
    facts = StreamInfo()
    for frame in iterate_frames(Path(path), facts):
        see(frame)
    return _video(Path(path), facts, FileFrames(Path(path), (len(facts.times), *facts.size, 3)))


def write_video(video: Video, path: str | Path) -> Path:
    """Encodes to H.264 in MP4 or MOV (a clip of one frame also to PNG or JPEG), under a hidden name first, then renamed.

    Raises:
      InputError: a folder that is missing or can't be written, or an ending that names no format written here.
    """
    path = check_output(path)
    check_format(video, path)
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        if path.suffix.lower() in STILLS:
            _, data = cv2.imencode(path.suffix.lower(), next(iter(video.frames))[..., ::-1])
            partial.write_bytes(data.tobytes())
        else:
            encode_video(video, partial)
        os.replace(partial, path)
    except (OSError, av.error.FFmpegError) as error:
        raise InputError(
            f"{path}: can't be written ({error_reason(error)}); check the disk and the folder's permissions"
        ) from None
    finally:
        partial.unlink(missing_ok=True)
    return path


def check_format(video: Video, path: Path) -> None:
    """Raises InputError when the file's kind can't hold the clip."""
    if path.suffix.lower() in STILLS and len(video.frames) != 1:
        raise InputError(
            f"{path}: a still holds one frame, the clip has {len(video.frames)}; use one of {', '.join(CLIPS)}"
        )


def _video(path: Path, facts: StreamInfo, frames: np.ndarray | FileFrames) -> Video:
    return Video(
        frames=frames,
        times=np.array(facts.times),
        fps=facts.fps,
        audio=facts.audio,
        path=path,
        tail=facts.tail,
        pixel_aspect=facts.pixel_aspect,
        colour=facts.colour,
    )


class _Growing:
    """One growing uint8 array: a list and its stack would need the clip twice."""

    def __init__(self, path: Path, facts: StreamInfo):
        self.path, self.facts = path, facts
        self.count, self.data = 0, None

    def append(self, frame: np.ndarray) -> None:
        if self.data is None:
            self.data = np.empty(
                (self._capacity(frame), *frame.shape), np.uint8
            )  # memory is taken as frames arrive
        if self.count == len(self.data):
            larger = np.empty((self.count * 3 // 2 + 1, *frame.shape), np.uint8)
            larger[: self.count] = self.data
            self.data = larger
        self.data[self.count] = frame
        self.count += 1

    def array(self) -> np.ndarray:
        return self.data[: self.count]

    def _capacity(self, frame: np.ndarray) -> int:
        needed = self.facts.expected * frame.nbytes
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if 2.5 * needed > memory:  # source and edit are both held
            height, width = frame.shape[:2]
            raise InputError(
                f"{self.path}: {self.facts.expected} frames of {width}x{height} need about {2.5 * needed / 2**30:.0f} GiB, this "
                f"machine has {memory / 2**30:.0f}; edit from file to file (v2v edit, edit_file), which holds a few frames only"
            )
        return self.facts.expected
