"""The option --mask-expert of `v2v app` and `v2v serve`: an expert of role mask finds what is pointed at, and follows what is painted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from data_synth.experts.base import Failure
from data_synth.experts.protocol import connect_expert, run_expert
from data_synth.experts.spec import ExpertSpec
from data_synth.experts.wire import Job
from v2v.errors import InputError
from v2v.video.frame_store import FrameStore
from v2v.video.mask_tracking import check_keyframes
from v2v.video.segmentation.base import ClipMask, StoredMask

# Longer side of the frames that an expert follows masks in, and most of them in a request.
LARGEST_SIDE = 1024
MOST_FRAMES = 96
# Least overlap of an answer with a painted mask, intersection over union: below it the expert has not looked at what was painted.
LEAST_OVERLAP = 0.3


class MaskExpert:
    """An expert of role mask, as `ObjectFinder`, and as `MaskTracker` where its file says that it follows masks.

    Attributes:
      name: that of the expert.
      follows: whether it follows painted masks.
    """

    def __init__(self, spec: ExpertSpec):
        """Take an expert; what it needs starts with the first request.

        Args:
          spec: its description.

        Raises:
          InputError: it is of another role.
        """
        if spec.role != "mask":
            raise InputError(f'--mask-expert {spec.path}: expected role = "mask", got "{spec.role}"')
        self.name, self.follows = spec.name, spec.follows
        self._spec, self._expert = spec, connect_expert(spec)
        self._lock = threading.Lock()

    def find(self, frame: np.ndarray, x: float, y: float) -> np.ndarray:
        """Ask for the object at a place of one frame.

        Args:
          frame: uint8 [H, W, 3] RGB.
          x: in pixels from the left edge.
          y: in pixels from the upper edge.

        Returns:
          uint8 [H, W], 255 inside.

        Raises:
          InputError: the expert fails.
        """
        return self._ask(
            frame[None],
            {"frame": 0, "points": [[x, y]], "labels": [1]},
            "points",
            "draw around the thing instead",
        )[0]

    def track(
        self,
        frames: Iterable[np.ndarray],
        keyframes: Mapping[int, np.ndarray],
        on_progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> ClipMask:
        """Let it carry painted masks to all frames of a clip, part by part; as `mask_tracking.track_mask`.

        Args:
          frames: uint8 [H, W, 3] RGB in order; iterated once.
          keyframes: painted masks by frame number, uint8 [H, W]; 255 is inside.
          on_progress: called with the frames that are done and their number; what it raises ends the work.

        Raises:
          InputError: no painted frame, one beyond the clip's end or of another size, or the expert fails.
        """
        small, size = FrameStore(), (0, 0)
        for frame in frames:
            size = frame.shape[:2]
            small.append(_reduce(frame))
        check_keyframes(keyframes, len(small), size)
        height, width = small.shape[1:3]
        masks = {number: _resize(mask, height, width) for number, mask in keyframes.items()}
        # On disk, in the order in which they are answered.
        answers, rows = StoredMask(), dict[int, int]()
        for part in divide_clip(len(small), sorted(masks)):
            first, last = part[0], part[-1]
            given = {0: masks[first] if first in masks else answers[rows[first]]}
            if last in masks:
                given[len(part) - 1] = masks[last]
            answer = self._follow(np.stack([small[number] for number in part]), given)
            for number, mask in zip(part, answer, strict=True):
                if number not in masks and number not in rows:
                    rows[number] = len(answers)
                    answers.append(mask)
            on_progress(len(masks) + len(rows), len(small))
        result = StoredMask()
        for number in range(len(small)):
            # What was painted stays as it was painted.
            result.append(keyframes[number] if number in keyframes else _resize(answers[rows[number]], *size))
        return result

    def close(self) -> None:
        """End what the expert has started."""
        self._expert.close()

    def _follow(self, frames: np.ndarray, masks: Mapping[int, np.ndarray]) -> np.ndarray:
        """Ask for the masks of a part of a clip, uint8 [T, H, W].

        Args:
          frames: uint8 [T, H, W, 3].
          masks: known ones by number in the part; the thing is not seen where one is empty.

        Raises:
          InputError: the expert fails, or takes no notice of the masks.
        """
        seen = {number: mask for number, mask in masks.items() if mask.any()}
        if not seen:
            return np.zeros(frames.shape[:3], np.uint8)
        if 0 not in seen:  # it disappears on the way back
            return self._follow(frames[::-1], {len(frames) - 1 - n: mask for n, mask in masks.items()})[::-1]
        painted = np.zeros(frames.shape[:3], np.uint8)
        for number, mask in seen.items():
            painted[number] = mask
        remedy = "start v2v without --mask-expert, and they are followed by optical flow"
        answer = self._ask(frames, {"frame": 0, "keyframes": sorted(seen)}, "keyframes", remedy, painted)
        for number, mask in seen.items():
            overlap = np.sum(answer[number] & mask > 0) / max(1, np.sum((answer[number] | mask) > 0))
            if overlap < LEAST_OVERLAP:
                raise InputError(
                    f"keyframes: the expert {self.name} answered another mask than the painted one at that frame (overlap {overlap:.0%}); {remedy}"
                )
        return answer

    def _ask(
        self,
        frames: np.ndarray,
        about: dict[str, Any],
        place: str,
        remedy: str,
        masks: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return the masks that it answers, uint8 [T, H, W]; `place` and `remedy` are of the message where it fails.

        Raises:
          InputError: it fails.
        """
        job = Job(frames, self._spec.noun, masks, about={"role": "mask", **about})
        with self._lock:
            (answer,) = run_expert(self._expert, [job])
        if isinstance(answer, Failure):
            raise InputError(f"{place}: the expert {self.name} {answer.reason}; {remedy}")
        return np.where(answer.mean(-1) >= 128, np.uint8(255), np.uint8(0))


def divide_clip(count: int, keyframes: Sequence[int], most: int = MOST_FRAMES) -> Iterator[range]:
    """Yield the parts of a clip that are asked about together, the numbers of their frames: the mask of the first is known by then.

    Args:
      count: frames of the clip.
      keyframes: numbers of the painted ones in order, at least one.
      most: frames of a part.
    """
    borders = [*zip(keyframes[:-1], keyframes[1:], strict=True), (keyframes[0], 0), (keyframes[-1], count - 1)]  # fmt: skip
    for begin, end in borders:
        step = 1 if end >= begin else -1
        while begin != end:
            last = begin + step * min(most - 1, abs(end - begin))
            yield range(begin, last + step, step)
            begin = last


def _reduce(frame: np.ndarray) -> np.ndarray:
    """Return a frame as the expert gets it, uint8 [h, w, 3]."""
    scale = min(1.0, LARGEST_SIDE / max(frame.shape[:2]))
    height, width = (max(1, round(side * scale)) for side in frame.shape[:2])
    return cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)


def _resize(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return a mask at another size, uint8 0 or 255 [height, width]."""
    if mask.shape != (height, width):
        mask = cv2.resize(mask, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.where(mask >= 128, np.uint8(255), np.uint8(0))
