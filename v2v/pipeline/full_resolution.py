"""The full resolution pass: computes the edit at the source's resolution, and restores the source outside the mask.

Steps 6 and 7 of `editor.py`, streamed: frames come from the decoder, several are processed concurrently, and they leave in order.
`FullResolutionFrames` is this pass as a sequence of frames, used both to write files and to fill arrays.
"""

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from v2v.pipeline.progress import Progress, track
from v2v.pipeline.settings import EditReport
from v2v.video import mask as masks
from v2v.video.frame_sequence import StreamedFrames
from v2v.video.video import Video

# Frames in progress per processor.
FRAMES_PER_WORKER = 2

# Rows and columns of a full-resolution frame.
FrameRegion = tuple[slice, slice]
# Maps (full-resolution frame, low-resolution source, low-resolution edit, region) to that region of the full-resolution edit.
Upsampler = Callable[[np.ndarray, np.ndarray, np.ndarray, FrameRegion], np.ndarray]


class FrameRows(Protocol):
    """Frames by number: a `FrameStore`, or frames that are computed when asked for."""

    def __len__(self) -> int:
        """Return the number of frames."""
        ...

    def __getitem__(self, row: int, /) -> np.ndarray:
        """Return one frame."""
        ...


@dataclass(frozen=True)
class _FrameResult:
    """A finished frame.

    Attributes:
      frame: uint8 [H, W, 3].
      difference: sum of differences from the source where the mask is 0.
      values: number of values there.
    """

    frame: np.ndarray
    difference: float
    values: int


@dataclass
class FullResolutionFrames(StreamedFrames):
    """The edited frames of `clip`, computed on iteration, which also fills `report["leak"]`.

    Attributes:
      clip: the source.
      span: the edited frames, first and end (exclusive).
      first: frame number of the first frame in `source` and `edit`; frames outside them are passed through unchanged.
      source: low-resolution source after the autoencoder's round trip.
      edit: low-resolution edit.
      upsample: upsamples the edit.
      mask: opacity of the edit, uint8 [H, W] for each frame of the clip; None for full opacity.
      report: receives the measurements.
      preserve: restore the source where the mask is 0.
      progress: as in progress.py.
    """

    clip: Video
    span: tuple[int, int]
    first: int
    source: FrameRows
    edit: FrameRows
    upsample: Upsampler
    mask: Iterable[np.ndarray] | None
    report: EditReport
    preserve: bool = True
    progress: Progress = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Return (T, H, W, 3)."""
        return self.clip.frames.shape

    def __iter__(self) -> Iterator[np.ndarray]:
        waiting: deque[Future[_FrameResult]] = deque()
        difference, outside = 0.0, 0
        workers = os.cpu_count() or 1
        alphas = iter(self.mask) if self.mask else itertools.repeat(None)
        frames = zip(self.clip.frames, alphas, strict=self.mask is not None)
        with ThreadPoolExecutor(workers) as pool:
            for t, (frame, alpha) in enumerate(track(frames, "frames", self.progress, len(self))):
                row = t - self.first
                if 0 <= row < len(self.edit):
                    alpha = alpha if self.span[0] <= t < self.span[1] else np.zeros(frame.shape[:2], np.uint8)
                    waiting.append(
                        pool.submit(self._edit_frame, frame, self.source[row], self.edit[row], alpha)
                    )
                else:
                    waiting.append(_completed(_FrameResult(frame, 0.0, frame.size)))
                while len(waiting) > FRAMES_PER_WORKER * workers or (
                    waiting and (waiting[0].done() or t == len(self) - 1)
                ):
                    result = waiting.popleft().result()
                    difference, outside = difference + result.difference, outside + result.values
                    yield result.frame
        if outside:
            self.report["leak"] = difference / outside

    def _edit_frame(
        self, frame: np.ndarray, source: np.ndarray, edit: np.ndarray, alpha: np.ndarray | None
    ) -> _FrameResult:
        full_region = slice(0, frame.shape[0]), slice(0, frame.shape[1])
        if alpha is None:
            return _FrameResult(self.upsample(frame, source, edit, full_region), 0.0, 0)
        outside = 3 * (alpha.size - cv2.countNonZero(alpha))
        if not self.preserve:
            out = self.upsample(frame, source, edit, full_region)
            return _FrameResult(out, _difference(frame, out, alpha), outside)
        out, part = frame.copy(), masks.bounding_slices(alpha)
        if not alpha[part].size:
            return _FrameResult(out, 0.0, outside)
        edited_part = self.upsample(frame, source, edit, part)
        out[part] = masks.composite(frame[part], edited_part, alpha[part])
        return _FrameResult(out, _difference(frame[part], out[part], alpha[part]), outside)


def _difference(frame: np.ndarray, out: np.ndarray, alpha: np.ndarray) -> float:
    """Return the sum of |out - frame| where alpha is 0."""
    outside = cv2.inRange(alpha, 0, 0)
    pixels = cv2.countNonZero(outside)
    return sum(cv2.mean(cv2.absdiff(frame, out), outside)[:3]) * pixels if pixels else 0.0


def _completed(result: _FrameResult) -> Future[_FrameResult]:
    future: Future[_FrameResult] = Future()
    future.set_result(result)
    return future
