"""Clips before and after an edit, as files: their frames are matched in time and read together, a few at a time.

files -> `open_clip_pair` -> **ClipPair** -> moments (source, target, mask)

Clips of equally many frames belong together frame by frame, whatever rates their files state. Others are matched by time: for every
frame of the one with fewer frames the nearest of the other, so that no frame is shown twice. Clips that last differently long don't
belong together.

Opening a pair decodes each file once without keeping a frame, as only that finds damage and counts frames reliably; iterating decodes
them again. Memory does not grow with their length.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import sys
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from v2v.errors import InputError, collect_notes
from v2v.video.decoder import StreamInfo, iterate_frames
from v2v.video.inputs import read_picture
from v2v.video.video import Video

# Share by which durations may differ, for clips cut to a number of frames that a model takes.
MAX_DURATION_DIFFERENCE = 0.05
# Share by which width / height may differ.
MAX_SHAPE_DIFFERENCE = 0.02
# Share by which rates may differ that count as the same, such as 23.976 and 24.
SAME_RATE = 0.01
# Level from which a mask is white.
MASK_THRESHOLD = 128
# Greatest mean difference outside the mask, in levels: twice what compression leaves of footage.
MAX_DRIFT = 6.0


class UnusablePairError(InputError):
    """Files that are no pair.

    Args:
      kind: the reason in a few words that are the same for all such pairs.
      detail: what is wrong with this one.
    """

    def __init__(self, kind: str, detail: str):
        super().__init__(f"{kind}: {detail}")
        self.kind, self.detail = kind, detail


@dataclass(frozen=True)
class ClipFacts:
    """What a pass over a file tells.

    Attributes:
      path: the file.
      times: float64 [T], seconds at which frames appear, the first at 0.
      fps: frames per second, the mean where the rate varies.
      duration: seconds.
      height: in pixels.
      width: in pixels.
    """

    path: Path
    times: np.ndarray
    fps: float
    duration: float
    height: int
    width: int

    @property
    def count(self) -> int:
        """Return the number of frames."""
        return len(self.times)


class Moment(NamedTuple):
    """A moment of a pair.

    Attributes:
      source: uint8 [H, W, 3].
      target: uint8 [h, w, 3], of the same shape up to its size.
      mask: uint8 [H', W'] in {0, 255}, of the same shape up to its size, 0 outside the time of the edit; 255 where the pair has no mask.
    """

    source: np.ndarray
    target: np.ndarray
    mask: np.ndarray


@dataclass(frozen=True)
class ClipPair:
    """Clips before and after an edit, matched in time.

    Attributes:
      source: the clip before the edit.
      target: the clip after it.
      mask: clip or picture, white = edited here; None for everywhere.
      source_numbers: int [n], numbers of the source's frames, rising.
      target_numbers: int [n], of the target's.
      mask_numbers: int [n], of the mask's; may repeat.
      times: float64 [n], seconds of the moments.
      fps: moments per second.
      active: moments [start, end) in which the edit is on.
    """

    source: ClipFacts
    target: ClipFacts
    mask: ClipFacts | None
    source_numbers: np.ndarray
    target_numbers: np.ndarray
    mask_numbers: np.ndarray
    times: np.ndarray
    fps: float
    active: tuple[int, int]

    @property
    def count(self) -> int:
        """Return the number of moments."""
        return len(self.times)

    @property
    def is_picture(self) -> bool:
        """Return whether source and target are pictures."""
        return self.source.count == self.target.count == 1

    @property
    def is_limited(self) -> bool:
        """Return whether something has to stay as it is: outside a mask, or before or after the edit."""
        return self.mask is not None or self.active != (0, self.count)

    def iterate(self, first: int = 0, end: int | None = None) -> Generator[Moment, None, None]:
        """Yield moments [first, end).

        Raises:
          InputError: a file has changed since it was opened.
        """
        end = self.count if end is None else end
        span = slice(first, end)
        sources = _iterate_numbers(self.source, self.source_numbers[span])
        targets = _iterate_numbers(self.target, self.target_numbers[span])
        with closing(sources), closing(targets), closing(self._iterate_masks(span)) as masks:
            for number, source, target, mask in zip(range(first, end), sources, targets, masks, strict=True):
                is_on = self.active[0] <= number < self.active[1]
                yield Moment(source, target, mask if is_on else np.zeros_like(mask))

    def resample(self, fps: float) -> ClipPair:
        """Return the pair at another rate: at every moment the frames that are on screen then; slower clips show frames repeatedly.

        A pair of pictures, or whose rate differs by less than 1 %, is returned as it is.

        Args:
          fps: moments per second.

        Raises:
          UnusablePairError: the edit is on between two moments.
        """
        if self.is_picture or abs(self.fps / fps - 1) < SAME_RATE:
            return self
        count = max(1, math.floor((float(self.times[-1]) + 1 / self.fps) * fps + 1e-6))
        times = np.arange(count) / fps
        index = np.clip(np.searchsorted(self.times, times + 1e-6, side="right") - 1, 0, self.count - 1)
        start, end = self.active
        active = (
            0 if start == 0 else int(np.searchsorted(times, self.times[start] - 1e-6)),
            count if end == self.count else int(np.searchsorted(times, self.times[end] - 1e-6)),
        )
        if active[0] >= active[1]:
            raise UnusablePairError(
                "outside the clip", f"the edit is on for less than a frame at {fps:g} fps"
            )
        return dataclasses.replace(
            self,
            source_numbers=self.source_numbers[index],
            target_numbers=self.target_numbers[index],
            mask_numbers=self.mask_numbers[index],
            times=times,
            fps=fps,
            active=active,
        )

    def find_edit(self) -> int:
        """Return the first moment at which the mask marks anything; that at which the edit begins where it marks nothing.

        Raises:
          InputError: a file has changed since it was opened.
        """
        if self.mask is None or self.mask.count == 1:
            return self.active[0]
        with closing(self._iterate_masks(slice(*self.active))) as masks:
            for number, mask in enumerate(masks, self.active[0]):
                if mask.any():
                    return number
        return self.active[0]

    def _iterate_masks(self, span: slice) -> Generator[np.ndarray, None, None]:
        """Yield masks, uint8 [H, W] in {0, 255}."""
        if self.mask is None:
            white = np.full((self.source.height, self.source.width), 255, np.uint8)
            for _ in self.mask_numbers[span]:
                yield white
            return
        with closing(_iterate_numbers(self.mask, self.mask_numbers[span])) as frames:
            for frame in frames:
                levels = functools.reduce(cv2.max, cv2.split(frame))
                yield np.where(levels >= MASK_THRESHOLD, 255, 0).astype(np.uint8)


def open_clip_pair(
    source: Path,
    target: Path,
    mask: Path | None = None,
    start: float | None = None,
    end: float | None = None,
) -> ClipPair:
    """Open the files of a pair, and match their frames.

    Args:
      source: clip or picture before the edit.
      target: the same after it.
      mask: clip or picture, white = edited here.
      start: seconds from which the edit is on.
      end: seconds before which it ends.

    Raises:
      UnusablePairError: a file is missing, unreadable or damaged, or they don't belong together.
    """
    source_facts, target_facts = survey_clip(source), survey_clip(target)
    if (source_facts.count == 1) != (target_facts.count == 1):
        picture = source_facts if source_facts.count == 1 else target_facts
        raise UnusablePairError("a picture and a clip", f"{picture.path.name} has one frame, the other more")
    _check_shape(source_facts, target_facts)
    times, fps, source_numbers, target_numbers = match_frames(source_facts, target_facts)
    active = _find_active(times, fps, start, end)
    mask_facts, mask_numbers = None, np.zeros(len(times), int)
    if mask is not None:
        mask_facts = survey_clip(mask)
        _check_shape(source_facts, mask_facts)
        if mask_facts.count in (source_facts.count, target_facts.count):
            is_sources = mask_facts.count == source_facts.count
            mask_numbers = source_numbers if is_sources else target_numbers
        elif mask_facts.count > 1:
            _check_duration(source_facts, mask_facts)
            mask_numbers = _nearest(mask_facts.times, times)
    return ClipPair(
        source_facts,
        target_facts,
        mask_facts,
        source_numbers,
        target_numbers,
        mask_numbers,
        times,
        fps,
        active,
    )


class MatchedFrames(NamedTuple):
    """The frames of two clips that belong together.

    Attributes:
      times: float64 [n], seconds of the moments.
      fps: moments per second.
      source_numbers: int [n], numbers of the source's frames, rising.
      target_numbers: int [n], of the target's.
    """

    times: np.ndarray
    fps: float
    source_numbers: np.ndarray
    target_numbers: np.ndarray


def match_frames(source: ClipFacts, target: ClipFacts) -> MatchedFrames:
    """Match the frames of two clips: one by one where they are equally many, in time elsewhere.

    Raises:
      UnusablePairError: they last differently long.
    """
    if source.count == target.count:
        numbers = np.arange(source.count)
        return MatchedFrames(source.times, source.fps, numbers, numbers)
    _check_duration(source, target)
    base = source if source.count < target.count else target
    times = base.times[base.times <= min(source.times[-1], target.times[-1]) + 0.5 / base.fps]
    return MatchedFrames(times, base.fps, _nearest(source.times, times), _nearest(target.times, times))


def describe_clip(video: Video, path: Path) -> ClipFacts:
    """Return the facts of a clip that was decoded already.

    Args:
      video: the clip.
      path: its file.
    """
    _, height, width, _ = video.frames.shape
    return ClipFacts(path, video.times - video.times[0], video.fps, video.duration, height, width)


def survey_clip(path: Path) -> ClipFacts:
    """Decode a file once, and return what that tells.

    Raises:
      UnusablePairError: it is missing, unreadable or damaged.
    """
    try:
        status = path.stat()
    except (OSError, ValueError):
        raise UnusablePairError("file missing", path.name) from None
    return _survey(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _survey(path: Path, size: int, modified: int) -> ClipFacts:
    """Return the facts of a file in the state that size and time of change tell."""
    info = StreamInfo()
    try:
        with collect_notes():
            for _ in iterate_frames(path, info, with_audio=False, skip=sys.maxsize):
                pass
    except InputError as error:
        reason = str(error).removeprefix(f"{path}: ").partition("; ")[0]
        raise UnusablePairError("unreadable file", f"{path.name or path}, {reason}") from None
    if info.damage_count:
        raise UnusablePairError(
            "damaged file", f"{path.name}, in {info.damage_count} of {len(info.times)} frames"
        )
    times = np.array(info.times)
    duration = float(times[-1] - times[0]) + (info.tail or 1 / info.fps)
    return ClipFacts(path, times - times[0], info.fps, duration, *info.size)


def read_reference(path: Path) -> np.ndarray:
    """Return a reference picture, uint8 [H, W, 3].

    Args:
      path: a picture, or FILE@SECONDS for a frame of a clip.

    Raises:
      UnusablePairError: it is missing, unreadable, or a clip without a time.
    """
    if path.exists() and (facts := survey_clip(path)).count > 1:
        raise UnusablePairError(
            "unreadable reference", f"{path.name} has {facts.count} frames; name one, as {path.name}@2.5"
        )
    try:
        return read_picture(path)
    except InputError as error:
        reason = str(error).removeprefix(f"reference {path}").lstrip(": ").partition("; ")[0]
        raise UnusablePairError("unreadable reference", f"{path.name}, {reason}") from None


def measure_drift(moment: Moment) -> float:
    """Return how much the target differs from the source outside the mask, a mean over its pixels and channels in levels 0..255.

    Args:
      moment: a moment whose three pictures have one size.
    """
    outside = cv2.bitwise_not(moment.mask)
    if not outside.any():
        return 0.0
    return float(np.mean(cv2.mean(cv2.absdiff(moment.source, moment.target), mask=outside)[:3]))


def resize_mask(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return a mask at another size, white where any part of a pixel was.

    Args:
      mask: uint8 [H, W] in {0, 255}.
      height: of the result.
      width: of the result.
    """
    if mask.shape == (height, width):
        return mask
    is_smaller = height <= mask.shape[0] and width <= mask.shape[1]
    method = cv2.INTER_AREA if is_smaller else cv2.INTER_LINEAR
    share = cv2.resize(mask.astype(np.float32), (width, height), interpolation=method)
    return np.where(share > 0, 255, 0).astype(np.uint8)


def _iterate_numbers(clip: ClipFacts, numbers: np.ndarray) -> Generator[np.ndarray, None, None]:
    """Yield the frames of these numbers, which rise or repeat."""
    if not len(numbers):
        return
    current, frame = int(numbers[0]) - 1, None
    frames = iterate_frames(
        clip.path, StreamInfo(), with_audio=False, is_first_pass=False, skip=int(numbers[0])
    )
    with closing(frames):
        for number in numbers:
            while current < number:
                frame, current = next(frames, None), current + 1
            if frame is None or frame.shape != (clip.height, clip.width, 3):
                raise InputError(f"{clip.path}: changed while it was being read; start again")
            yield frame


def _check_shape(source: ClipFacts, other: ClipFacts) -> None:
    ratio = source.height * other.width / (source.width * other.height)
    if abs(math.log(ratio)) > MAX_SHAPE_DIFFERENCE:
        raise UnusablePairError(
            "another shape",
            f"{source.path.name} has {source.width}x{source.height} pixels, {other.path.name} {other.width}x{other.height}",
        )


def _check_duration(source: ClipFacts, other: ClipFacts) -> None:
    """Check that two clips last equally long, up to a frame."""
    difference = abs(source.duration - other.duration)
    slack = max(1 / source.fps, 1 / other.fps, MAX_DURATION_DIFFERENCE * source.duration)
    if difference > slack + 1e-6:
        raise UnusablePairError(
            "another length",
            f"{source.path.name} lasts {source.duration:.2f} s ({source.count} frames), {other.path.name} {other.duration:.2f} s "
            f"({other.count} frames)",
        )


def _nearest(times: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """Return the numbers of the frames nearest in time, int [n]; the earlier of two."""
    upper = np.clip(np.searchsorted(times, moments), 1, max(1, len(times) - 1))
    if len(times) == 1:
        return np.zeros(len(moments), int)
    return np.where(moments - times[upper - 1] <= times[upper] - moments + 1e-9, upper - 1, upper)


def _find_active(times: np.ndarray, fps: float, start: float | None, end: float | None) -> tuple[int, int]:
    """Return the moments [first, end) that lie between two times."""
    low, high = 0.0 if start is None else start, np.inf if end is None else end
    first, last = (int(n) for n in np.searchsorted(times, [low - 1e-6, high - 1e-6]))
    if first >= last:
        raise UnusablePairError(
            "outside the clip",
            f"no frame appears from {low:g} to {high:g} s, the clip lasts {times[-1] + 1 / fps:.2f} s",
        )
    return first, last
