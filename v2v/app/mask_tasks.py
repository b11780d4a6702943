"""Masks made on the server: painted frames carried through the clip, or a place found by its name; seen before the edit, and used by it.

They are made one after the other on a thread of the HTTP process. Their files lie in the clip's folder: a PNG where the mask is the same in
all frames, an MP4 that browsers play and `v2v edit --mask` takes otherwise.
"""

import base64
import binascii
import json
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal

import cv2
import numpy as np

from v2v.app.clip_files import StoredClip, new_mask_id
from v2v.errors import InputError, collect_notes
from v2v.pipeline.mask_search import network_files
from v2v.video.decoder import FileFrames
from v2v.video.frame_sequence import StreamedFrames
from v2v.video.mask_tracking import track_mask
from v2v.video.segmentation.base import ClipMask
from v2v.video.segmentation.registry import build_mask_source, is_mask_source
from v2v.video.video import Video

logger = logging.getLogger(__name__)

# Painted frames of one mask, and the longer side of their pictures.
MOST_KEYFRAMES = 64
LARGEST_SIDE = 4096
# Masks of an owner that have not ended, and masks of an owner that are remembered.
MOST_WAITING = 4
MOST_REMEMBERED = 200

# Carries painted masks to all frames of a clip: frames and keyframes to a mask, as `track_mask`.
MaskTracker = Callable[[StreamedFrames, Mapping[int, np.ndarray], Callable[[int, int], None]], ClipMask]


class MaskCanceledError(Exception):
    """The mask is no longer wanted."""


@dataclass(frozen=True)
class MaskOrder:
    """What a mask is made of.

    Attributes:
      keyframes: painted masks by frame number, bool [h, w] of the clip's aspect; empty for a place by name.
      follows: painted frames are carried through the clip; False for the same mask in every frame.
      source: name of a mask source; "" for painted frames.
    """

    keyframes: Mapping[int, np.ndarray] = field(default_factory=dict)
    follows: bool = True
    source: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return painted frames as `read_order` reads them."""
        rows = [
            {"frame": number, "width": mask.shape[1], "height": mask.shape[0], "bits": pack_bits(mask)}
            for number, mask in self.keyframes.items()
        ]
        return {"follow": self.follows, "keyframes": rows}


@dataclass
class MaskTask:
    """A mask that is being made.

    Attributes:
      id: "mask_" and 32 random hexadecimal digits.
      owner: whose.
      clip: id of the clip.
      status: where it is.
      progress: 0 to 100.
      error: why it failed.
      file: name of its file in the clip's folder.
      area: share of the frame that it covers, a mean over frames.
      notes: what was noted.
    """

    id: str
    owner: str
    clip: str
    status: Literal["queued", "in_progress", "completed", "failed", "canceled"] = "queued"
    progress: float = 0.0
    error: str = ""
    file: str = ""
    area: float = 0.0
    notes: tuple[str, ...] = ()

    def describe(self) -> dict[str, Any]:
        """Return what the HTTP interface tells."""
        return {
            "id": self.id, "object": "mask", "clip": self.clip, "status": self.status, "progress": round(self.progress),
            "error": {"code": self.status, "message": self.error} if self.error else None,
            "moves": self.file.endswith(".mp4"), "area": round(self.area, 4), "notes": list(self.notes),
        }  # fmt: skip


class MaskTasks:
    """Makes masks one after the other, and remembers how far each is."""

    def __init__(self, tracker: MaskTracker = track_mask):
        """Start nothing yet.

        Args:
          tracker: carries painted masks through a clip.
        """
        self._tracker = tracker
        self._tasks: dict[str, MaskTask] = {}
        self._lock = threading.Lock()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="v2v masks")

    def start(self, clip: StoredClip, order: MaskOrder) -> MaskTask:
        """Begin a mask."""
        task = MaskTask(new_mask_id(), clip.owner, clip.id)
        with self._lock:
            ids = [id for id, other in self._tasks.items() if other.owner == clip.owner]
            for id in ids[: max(0, len(ids) - MOST_REMEMBERED)]:
                del self._tasks[id]
            self._tasks[task.id] = task
        self._executor.submit(self._run, task, clip, order)
        return task

    def count_waiting(self, owner: str) -> int:
        """Return how many masks of an owner have not ended."""
        with self._lock:
            return sum(
                t.owner == owner and t.status in ("queued", "in_progress") for t in self._tasks.values()
            )

    def find(self, id: str, owner: str) -> MaskTask | None:
        """Return a mask; None where there is none, or it is somebody else's."""
        with self._lock:
            task = self._tasks.get(id)
        return task if task is not None and task.owner == owner else None

    def cancel(self, task: MaskTask) -> None:
        """End a mask; one that has ended stays as it is."""
        if task.status in ("queued", "in_progress"):
            task.status = "canceled"

    def close(self) -> None:
        """End all masks and the thread."""
        with self._lock:
            for task in self._tasks.values():
                self.cancel(task)
        self._executor.shutdown(cancel_futures=True)

    def _run(self, task: MaskTask, clip: StoredClip, order: MaskOrder) -> None:
        notes: list[str] = []
        if task.status != "queued":
            return
        task.status = "in_progress"

        def report(done: float, total: int) -> None:
            if task.status != "in_progress":
                raise MaskCanceledError
            task.progress = 100 * done / max(1, total)

        try:
            with collect_notes() as notes:
                mask = make_mask(clip, order, self._tracker, report)
                file, task.area = write_mask(mask, clip, task.id, report)
                if order.keyframes:
                    clip.painted_path(task.id).write_text(json.dumps(order.to_json()))
            task.file, task.notes = file, tuple(notes)
            task.progress, task.status = 100.0, "completed"
        except MaskCanceledError:
            logger.debug("%s is canceled", task.id)
        except InputError as error:
            text = str(error).replace(str(clip.folder / clip.video), "the clip")
            task.error, task.status = " ".join(text.split()), "failed"
        except Exception as error:  # the next mask must be made all the same
            logger.exception("%s failed", task.id)
            task.error = f"{type(error).__name__}: the mask failed; the server's log says where"
            task.status = "failed"


def make_mask(
    clip: StoredClip, order: MaskOrder, tracker: MaskTracker, report: Callable[[float, int], None]
) -> ClipMask | np.ndarray:
    """Make a mask of a clip.

    Args:
      clip: the clip.
      order: what of.
      tracker: carries painted masks through a clip.
      report: called with what is done and the whole; what it raises ends the work.

    Returns:
      The mask of every frame, or uint8 [H, W] where it is the same in all.

    Raises:
      InputError: nothing is painted, no such place is in the clip, or an extra isn't installed.
    """
    facts = clip.facts
    frames = _ReportedFrames(clip, report)
    if order.source:
        return build_mask_source(order.source, network_files()).find(frames)
    size = facts["width"], facts["height"]
    keyframes = {number: enlarge(mask, *size) for number, mask in order.keyframes.items()}
    if facts["frames"] == 1 or not order.follows:
        mask = np.max(np.stack(list(keyframes.values())), 0)
        if not mask.any():
            raise InputError("mask: expected a painted place, got none; paint over what is to be edited")
        return mask
    # Reading the clip counts as a tenth, the flow as the rest.
    frames.share = 0.1
    return tracker(frames, keyframes, lambda done, total: report(0.1 * total + 0.9 * done, total))


def write_mask(
    mask: ClipMask | np.ndarray, clip: StoredClip, name: str, report: Callable[[float, int], None]
) -> tuple[str, float]:
    """Write a mask into its clip's folder.

    Args:
      mask: of every frame, or uint8 [H, W].
      clip: the clip.
      name: of the file, without its ending.
      report: called now and then; what it raises ends the work.

    Returns:
      The file's name, and the share of the frame that the mask covers, a mean over frames.
    """
    if isinstance(mask, ClipMask) and len(mask) == 1:
        mask = next(iter(mask))
    path = clip.folder / f"{name}{'.png' if isinstance(mask, np.ndarray) else '.mp4'}"
    if isinstance(mask, np.ndarray):
        Video.from_array(np.repeat(mask[..., None], 3, -1)[None]).save(path)
        return path.name, float(mask.mean() / 255)
    areas: list[float] = []

    def frames() -> Iterator[np.ndarray]:
        areas.clear()
        for picture in mask:
            report(len(mask), len(mask))
            areas.append(float(picture.mean() / 255))
            yield np.repeat(picture[..., None], 3, -1)

    facts = clip.facts
    shape = len(mask), facts["height"], facts["width"], 3
    times = np.asarray(facts["times"]) + facts["begin"]
    tail = facts["duration"] - facts["times"][-1]
    Video(_MaskFrames(frames, shape), times, facts["fps"], tail=tail).save(path)
    return path.name, float(np.mean(areas))


def enlarge(mask: np.ndarray, width: int, height: int) -> np.ndarray:
    """Return a painted mask at the clip's size, with smooth outlines, uint8 [height, width]."""
    levels = mask.astype(np.uint8) * np.uint8(255)
    if (mask.shape[1], mask.shape[0]) == (width, height):
        return levels
    smooth = cv2.resize(levels, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.where(smooth >= 128, np.uint8(255), np.uint8(0))


def read_order(content: Any, clip: StoredClip) -> MaskOrder:
    """Read what a page asks for: {"source": NAME}, or {"follow": bool, "keyframes": [{"frame", "width", "height", "bits"}]}.

    Bits are those of the rows from the upper left corner, eight a byte with the first highest, in base64: there is no picture to be decoded.

    Raises:
      InputError: anything else.
    """
    if not isinstance(content, dict):
        raise InputError("mask: expected a JSON object")
    source = content.get("source")
    if source is not None:
        if not isinstance(source, str) or len(source) > 200 or not is_mask_source(source):
            raise InputError(f"source: expected the name of a mask source, got {str(source)[:100]!r}")
        return MaskOrder(source=source)
    rows = content.get("keyframes")
    if not isinstance(rows, list) or not 1 <= len(rows) <= MOST_KEYFRAMES:
        raise InputError(f"keyframes: expected a list of 1 to {MOST_KEYFRAMES} painted frames")
    keyframes = dict(_read_keyframe(row, clip.facts["frames"]) for row in rows)
    if len(keyframes) < len(rows):
        raise InputError("keyframes: expected each frame once")
    return MaskOrder(keyframes, bool(content.get("follow", True)))


def _read_keyframe(row: Any, frames: int) -> tuple[int, np.ndarray]:
    try:
        number, width, height = (row[name] for name in ("frame", "width", "height"))
        if not all(type(value) is int for value in (number, width, height)):
            raise ValueError("no whole numbers")
        if not (0 <= number < frames and 1 <= width <= LARGEST_SIDE and 1 <= height <= LARGEST_SIDE):
            raise ValueError("out of range")
        data = np.frombuffer(base64.b64decode(row["bits"], validate=True), np.uint8)
        if len(data) != -(-width * height // 8):
            raise ValueError("not as many bits as pixels")
    except (TypeError, KeyError, ValueError, binascii.Error) as error:
        raise InputError(
            f"keyframes: expected frame (below {frames}), width and height (to {LARGEST_SIDE}) and bits, got: {error}"
        ) from None
    return number, np.unpackbits(data, count=width * height).reshape(height, width).astype(bool)


def pack_bits(mask: np.ndarray) -> str:
    """Return a mask, bool [H, W], as a page sends and takes it (`read_order`)."""
    return base64.b64encode(np.packbits(mask).tobytes()).decode()


class _ReportedFrames(StreamedFrames):
    """The frames of a clip; each is reported.

    Attributes:
      share: of the work that a pass over them is.
    """

    def __init__(self, clip: StoredClip, report: Callable[[float, int], None]):
        self._frames = FileFrames(
            clip.folder / clip.video,
            (clip.facts["frames"], clip.facts["height"], clip.facts["width"], 3),
        )
        self._report, self.share = report, 1.0

    @property
    def shape(self) -> tuple[int, ...]:
        return self._frames.shape

    def __iter__(self) -> Iterator[np.ndarray]:
        for number, frame in enumerate(self._frames):
            self._report(self.share * number, len(self))
            yield frame


class _MaskFrames(StreamedFrames):
    def __init__(self, frames: Callable[[], Iterator[np.ndarray]], shape: tuple[int, ...]):
        self._frames, self._shape = frames, shape

    @property
    def shape(self) -> tuple[int, ...]:
        return self._shape

    def __iter__(self) -> Iterator[np.ndarray]:
        return self._frames()
