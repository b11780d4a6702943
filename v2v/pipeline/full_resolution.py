"""The full resolution pass: computes the edit at the source's resolution, and restores the source outside the mask.

Steps 6 and 7 of `editor.py`, streamed: frames come from the decoder, several are processed concurrently, and they leave in order.
`FullResolutionFrames` is this pass as a sequence of frames, used both to write files and to fill arrays.
"""

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import cv2
import numpy as np

from v2v.pipeline.windowed import progress_bar
from v2v.video import mask as masks
from v2v.video.frame_sequence import StreamedFrames
from v2v.video.frame_store import FrameStore
from v2v.video.video import Video

# Frames in progress per processor.
FRAMES_PER_WORKER = 2

# Rows and columns of a full-resolution frame.
FrameRegion = tuple[slice, slice]
# Maps (full-resolution frame, low-resolution source, low-resolution edit, region) to that region of the full-resolution edit.
Upsampler = Callable[[np.ndarray, np.ndarray, np.ndarray, FrameRegion], np.ndarray]


@dataclass
class FullResolutionFrames(StreamedFrames):
    """The edited frames of `clip`, computed on iteration, which also fills `report["leak"]`.

    Attributes:
      clip: the source.
      span: the edited frames, first and end (exclusive).
      first: frame number of the first frame in `source` and `edit`; frames outside them are passed through unchanged.
      source: low-resolution source after the autoencoder's round trip.
      edit: low-resolution edit.
      make: upsamples the edit.
      mask: opacity of the edit, uint8 [H, W] for each frame of the clip; None for full opacity.
      preserve: restore the source where the mask is 0.
      report: receives the measurements.
      progress: show a progress bar.
    """

    clip: Video
    span: tuple[int, int]
    first: int
    source: FrameStore
    edit: FrameStore
    make: Upsampler
    mask: Iterable[np.ndarray] | None
    preserve: bool = True
    report: dict = field(default_factory=dict)
    progress: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Return (T, H, W, 3)."""
        return self.clip.frames.shape

    def __iter__(self) -> Iterator[np.ndarray]:
        waiting, leaked, outside = deque(), 0.0, 0
        workers = os.cpu_count() or 1
        alphas = iter(self.mask) if self.mask else itertools.repeat(None)
        frames = zip(self.clip.frames, alphas, strict=self.mask is not None)
        with ThreadPoolExecutor(workers) as pool:
            for t, (frame, alpha) in enumerate(progress_bar(frames, "frames", self.progress, len(self))):
                row = t - self.first
                if 0 <= row < len(self.edit):
                    alpha = alpha if self.span[0] <= t < self.span[1] else np.zeros(frame.shape[:2], np.uint8)
                    waiting.append(
                        pool.submit(self._edit_frame, frame, self.source[row], self.edit[row], alpha)
                    )
                else:
                    waiting.append(_completed((frame, 0.0, frame.size)))
                while len(waiting) > FRAMES_PER_WORKER * workers or (
                    waiting and (waiting[0].done() or t == len(self) - 1)
                ):
                    out, difference, values = waiting.popleft().result()
                    leaked, outside = leaked + difference, outside + values
                    yield out
        if outside:
            self.report["leak"] = leaked / outside

    def _edit_frame(self, frame: np.ndarray, source: np.ndarray, edit: np.ndarray, alpha: np.ndarray | None):
        """Return the edited frame, the sum of differences where the mask is 0, and the number of values there."""
        full_region = slice(0, frame.shape[0]), slice(0, frame.shape[1])
        if alpha is None:
            return self.make(frame, source, edit, full_region), 0.0, 0
        outside = 3 * (alpha.size - cv2.countNonZero(alpha))
        if not self.preserve:
            out = self.make(frame, source, edit, full_region)
            return out, _difference(frame, out, alpha), outside
        out, part = frame.copy(), masks.bounding_slices(alpha)
        if not alpha[part].size:
            return out, 0.0, outside
        edited_part = self.make(frame, source, edit, part)
        out[part] = masks.composite(frame[part], edited_part, alpha[part])
        return out, _difference(frame[part], out[part], alpha[part]), outside


def _difference(frame: np.ndarray, out: np.ndarray, alpha: np.ndarray) -> float:
    """Return the sum of |out - frame| where alpha is 0."""
    outside = cv2.inRange(alpha, 0, 0)
    pixels = cv2.countNonZero(outside)
    return sum(cv2.mean(cv2.absdiff(frame, out), outside)[:3]) * pixels if pixels else 0.0


def _completed(result) -> Future:
    future = Future()
    future.set_result(result)
    return future
