"""Inputs of an edit: clips and pictures that are given as paths, arrays or `Video`s. The first step of `pipeline/editor.py`."""

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
from v2v.video.video import Video, open_video, read_video

# Multiple of the final size to which large frames are reduced first.
PREREDUCTION = 8
# FILE@SECONDS
FRAME_REFERENCE = re.compile(r"(.+)@(\d+(?:\.\d+)?)s?")


def open_clip(
    video: str | Path | np.ndarray | Video, fps: float, on_frame: Callable[[np.ndarray], None]
) -> Video:
    """Return a clip whose frames can be iterated again, and pass every frame to a function once.

    Args:
      video: a file, an array uint8 [T, H, W, 3] RGB, or a `Video`.
      fps: frames per second, if `video` is an array.
      on_frame: called with every frame, uint8 [H, W, 3].

    Raises:
      InputError: a file that can't be read, or an array of another shape or dtype.
    """
    if isinstance(video, str | Path):
        return open_video(video, on_frame)
    clip = video if isinstance(video, Video) else Video.from_array(video, fps)
    for frame in clip.frames:
        on_frame(frame)
    return clip


def read_picture(reference: str | Path | np.ndarray, role: str = "reference") -> np.ndarray:
    """Return one picture, uint8 [H, W, 3] RGB.

    Args:
      reference: an array, a file of one frame, or "clip.mp4@2.5", the frame shown at that second.
      role: what the picture is, for messages.

    Raises:
      InputError: a clip without a time, a time beyond its end, or a file that can't be read.
    """
    if not isinstance(reference, str | Path):
        return _single_frame(Video.from_array(reference), role)
    match = None if os.path.exists(reference) else FRAME_REFERENCE.fullmatch(str(reference))
    with file_checks.prefix_errors(role):
        if match:
            return _frame_at(Path(match[1]), float(match[2]))
        clip = read_video(reference)
    return _single_frame(clip, f"{role} {reference}")


def resize_frame(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return a frame at the model's size: areas are averaged where it gets smaller.

    Averages over whole numbers of pixels take OpenCV a third of the time, so a large frame is first reduced by such a factor, to at
    least `PREREDUCTION` times the size: what a pixel on the border of two areas adds to both is then invisible.

    Args:
      frame: [H, W, 3].
      height: of the result.
      width: of the result.
    """
    if frame.shape[:2] == (height, width):
        return frame
    H, W = frame.shape[:2]
    factor = max(
        (
            k
            for k in _common_divisors(H, W)
            if H // k >= PREREDUCTION * height and W // k >= PREREDUCTION * width
        ),
        default=1,
    )
    if factor > 1:
        frame = cv2.resize(frame, (W // factor, H // factor), interpolation=cv2.INTER_AREA)
    is_smaller = frame.shape[0] >= height and frame.shape[1] >= width
    return cv2.resize(
        frame, (width, height), interpolation=cv2.INTER_AREA if is_smaller else cv2.INTER_LINEAR
    )


def pad_frame(frame: np.ndarray, height: int, width: int, level: int = 255) -> np.ndarray:
    """Return a frame at a size with its own aspect, in the middle of a border of one level.

    Args:
      frame: uint8 [H, W, 3].
      height: of the result.
      width: of the result.
      level: of the border, 0 to 255; white by default.
    """
    scale = min(height / frame.shape[0], width / frame.shape[1])
    h, w = (
        max(1, min(full, round(side * scale)))
        for full, side in zip((height, width), frame.shape[:2], strict=True)
    )
    out = np.full((height, width, 3), level, np.uint8)
    y, x = (height - h) // 2, (width - w) // 2
    out[y : y + h, x : x + w] = resize_frame(frame, h, w)
    return out


@functools.lru_cache(maxsize=64)
def _common_divisors(a: int, b: int) -> tuple[int, ...]:
    greatest = math.gcd(a, b)
    return tuple(k for k in range(1, greatest + 1) if greatest % k == 0)


def _frame_at(path: Path, second: float) -> np.ndarray:
    """Return the frame of a clip that is shown at `second`."""
    current, info = np.empty(0), decoder.StreamInfo()
    # Decoding is ahead of this loop, so the last of `info.times` need not be this frame's.
    for n, frame in enumerate(decoder.iterate_frames(path, info, with_audio=False)):
        if n > 0 and info.times[n] > second:
            return current
        current = frame
    end = info.times[-1] + (info.tail or 1 / info.fps)
    if second > end:
        raise InputError(f"{path}@{second:g}: expected a second within the clip, 0 to {end:.2f}")
    return current


def _single_frame(clip: Video[np.ndarray], name: str) -> np.ndarray:
    if len(clip.frames) != 1:
        raise InputError(
            f"{name}: expected one picture, got {len(clip.frames)} frames; name a moment, such as clip.mp4@2.5, or save it as PNG"
        )
    return clip.frames[0]
