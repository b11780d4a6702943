"""Pointing at things in a frame: a line that was drawn over it becomes a mask of that frame, a keyframe like one that was painted.

line → `read_gesture` → area: filled · place: **`ObjectFinder`** → mask of the frame, at the preview's size
"""

import threading
from typing import Any, Protocol

import av
import numpy as np

from v2v.app.api_error import ApiError
from v2v.app.clip_files import StoredClip
from v2v.app.clip_preview import PREVIEW
from v2v.app.gesture import read_gesture
from v2v.app.mask_tasks import pack_bits
from v2v.errors import InputError
from v2v.video.object_growth import grow_object

# Points of one line, and lines that are read at the same time.
MOST_POINTS = 4000
MOST_AT_ONCE = 4


class ObjectFinder(Protocol):
    """Finds the object at a place of a frame."""

    @property
    def name(self) -> str:
        """Return what a page calls it."""
        ...

    def find(self, frame: np.ndarray, x: float, y: float) -> np.ndarray:
        """Return the object's mask, uint8 [H, W], 255 inside.

        Args:
          frame: uint8 [H, W, 3] RGB.
          x: in pixels from the left edge.
          y: in pixels from the upper edge.

        Raises:
          InputError: it can't be found.
        """
        ...


class ColorFinder:
    """Objects by their colours (`object_growth.py`); needs no network.

    Attributes:
      name: "colors".
    """

    name = "colors"

    def find(self, frame: np.ndarray, x: float, y: float) -> np.ndarray:
        """Grow the object; see `ObjectFinder`."""
        return grow_object(frame, x, y)


class PointingService:
    """Answers what lines point at, a few at a time."""

    def __init__(self, finder: ObjectFinder):
        """Take what finds objects."""
        self.finder = finder
        self._free = threading.BoundedSemaphore(MOST_AT_ONCE)

    def point(self, clip: StoredClip, content: Any) -> dict[str, Any]:
        """Return the mask of what a line points at, as keyframes are sent (`mask_tasks.read_order`), with its kind and area.

        Args:
          clip: the clip.
          content: {"frame": number, "points": [[x, y], ...]}, shares of the frame's width and height in the order in which they were drawn.

        Raises:
          InputError: anything else, or nothing is found there.
          ApiError: too many lines at once.
        """
        number, points = _read_line(content, clip.facts["frames"])
        if not self._free.acquire(blocking=False):
            raise ApiError(429, "busy", "other things are looked for at present; point again soon", 5)
        try:
            frame = read_preview_frame(clip, number)
            height, width = frame.shape[:2]
            gesture = read_gesture(
                points * np.array([width, height], np.float32), float(np.hypot(width, height))
            )
            if gesture.kind == "area":
                mask = gesture.fill(height, width)
            else:
                x, y = gesture.place
                mask = self.finder.find(frame, min(x, width - 1.0), min(y, height - 1.0))
        finally:
            self._free.release()
        if not mask.any():
            raise InputError("points: nothing was found there; draw around it, or paint it")
        share = float(np.mean(mask >= 128))
        return {"kind": gesture.kind, "frame": number, "width": width, "height": height, "bits": pack_bits(mask >= 128), "area": round(share, 4)}  # fmt: skip


def read_preview_frame(clip: StoredClip, number: int) -> np.ndarray:
    """Read a frame of a clip's preview, which is a key frame of a file of ours, uint8 [h, w, 3]."""
    time = clip.facts["times"][number]
    with av.open(str(clip.folder / PREVIEW)) as container:
        stream = container.streams.video[0]
        assert stream.time_base is not None, "written with one"
        container.seek(max(0, int(time / stream.time_base) - 1), stream=stream)
        for frame in container.decode(stream):
            if frame.time is None or frame.time >= time - 1e-3:
                return frame.to_ndarray(format="rgb24")
    raise InputError(f"frame: the clip's preview has no frame {number}; send the clip again")


def _read_line(content: Any, frames: int) -> tuple[int, np.ndarray]:
    """Return the frame and the points of a line, float32 [N, 2].

    Raises:
      InputError: no such line.
    """
    number, points = (content.get(name) for name in ("frame", "points")) if isinstance(content, dict) else (None, None)  # fmt: skip
    if type(number) is not int or not 0 <= number < frames:
        raise InputError(f"frame: expected a number from 0 to {frames - 1}")
    expected = f"points: expected 1 to {MOST_POINTS} pairs of numbers from 0 to 1"
    if not isinstance(points, list) or not 1 <= len(points) <= MOST_POINTS:
        raise InputError(expected)
    if not all(
        isinstance(p, list) and len(p) == 2 and all(type(v) in (int, float) for v in p) for p in points
    ):
        raise InputError(expected)
    line = np.asarray(points, np.float64)
    if not (np.isfinite(line).all() and (line >= 0).all() and (line <= 1).all()):
        raise InputError(expected)
    return number, line.astype(np.float32)
