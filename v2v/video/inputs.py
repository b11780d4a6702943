"""What people hand in -> clips and pictures: paths, arrays, `Video`s. First step of `editor.py`."""

import functools
import math
import os
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from v2v.errors import InputError
from v2v.video import decoder, file_checks
from v2v.video import video as files
from v2v.video.video import Video

PREREDUCTION = 8  # pixels to a small pixel
FRAME_REFERENCE = re.compile(r"(.+)@(\d+(?:\.\d+)?)s?")  # FILE@SECONDS


def open_clip(video: str | Path | np.ndarray | Video, fps: float, see: Callable[[np.ndarray], None]) -> Video:
    """A file, an array or a `Video` as a `Video` whose frames can be walked again; every frame is shown to `see` once."""
    if isinstance(video, str | Path):
        return files.open_video(video, see)
    found = video if isinstance(video, Video) else Video.from_array(video, fps)
    for frame in found.frames:
        see(frame)
    return found


def read_picture(reference: str | Path | np.ndarray) -> np.ndarray:
    """One picture, uint8 [H, W, 3]: an array, a file of one frame, or "clip.mp4@2.5", the frame shown at that second.

    Raises:
      InputError: a clip without a moment, a moment beyond its end, or what `video.read` raises.
    """
    if not isinstance(reference, str | Path):
        return _only(Video.from_array(reference), "reference")
    moment = None if os.path.exists(reference) else FRAME_REFERENCE.fullmatch(str(reference))
    with file_checks.prefix_errors("reference"):
        if moment:
            return _shown(Path(moment[1]), float(moment[2]))
        clip = files.read_video(reference)
    return _only(clip, f"reference {reference}")


def resize_frame(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    """A frame at the model's size: areas averaged where it gets smaller.

    Averages over whole numbers of pixels take OpenCV a third of the time, so a large frame is reduced by such a factor first, to
    FINE times the size at least: what a cell on the border of two areas gives to both is then beyond seeing.
    """
    if frame.shape[:2] == (height, width):
        return frame
    H, W = frame.shape[:2]
    whole = max(
        (k for k in _divisors(H, W) if H // k >= PREREDUCTION * height and W // k >= PREREDUCTION * width),
        default=1,
    )
    if whole > 1:
        frame = cv2.resize(frame, (W // whole, H // whole), interpolation=cv2.INTER_AREA)
    smaller = frame.shape[0] >= height and frame.shape[1] >= width
    return cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)


@functools.lru_cache(maxsize=64)
def _divisors(H: int, W: int) -> tuple[int, ...]:
    """What divides both sides of a frame."""
    both = math.gcd(H, W)
    return tuple(k for k in range(1, both + 1) if both % k == 0)


def _shown(path: Path, second: float) -> np.ndarray:
    """The frame of a clip that is shown then."""
    found, facts = None, decoder.StreamInfo()
    for frame in decoder.iterate_frames(path, facts, sounds=False):
        if found is not None and facts.times[-1] > second:
            return found
        found = frame
    ends = facts.times[-1] + (facts.tail or 1 / facts.fps)
    if second > ends:
        raise InputError(f"{path}@{second:g}: expected a second within the clip, 0 to {ends:.2f}")
    return found


def _only(clip: Video, name: str) -> np.ndarray:
    if len(clip.frames) != 1:
        raise InputError(
            f"{name}: expected one picture, got {len(clip.frames)} frames; name a moment, such as clip.mp4@2.5, or save it as PNG"
        )
    return clip.frames[0]
