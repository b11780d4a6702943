"""Remove text that was found in a clip: its strokes are hidden pixels, which `hidden_fill.py` fills.

lines of text (`segmentation/text.py`) → strokes within their boxes → filled frames. Between the letters the frame stays as it is, so
little is lost, and what a stroke hides in one frame often shows in the next.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from v2v.video.frame_sequence import StreamedFrames
from v2v.video.hidden_fill import fill_hidden
from v2v.video.segmentation.text import TextMask, find_strokes, grow
from v2v.video.segmentation.text_reading import TextLine
from v2v.video.video import Video

# How strong a stroke is at least, as a share of the strongest of its line, and in levels.
MIN_STRENGTH = 0.35
MIN_LEVELS = 12.0
# Pixels by which strokes grow, as a share of the line's height: their soft edges, and what compression spreads around them.
STROKE_GROWTH = 0.09


@dataclass
class TextFreeFrames(StreamedFrames):
    """The frames of a clip without the text that was found, computed on iteration.

    Attributes:
      clip: the source.
      text: its text; of a part of the clip, from frame `first` on.
      first: number of the first frame searched.
    """

    clip: Video
    text: TextMask
    first: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """Return (T, H, W, 3)."""
        return self.clip.frames.shape

    def __iter__(self) -> Iterator[np.ndarray]:
        letters = _LetterFinder()
        for frame, lines in self._with_lines():
            letters.add(frame, lines)
        pairs = ((frame, letters.find(frame, lines)) for frame, lines in self._with_lines())
        return (filled.frame for filled in fill_hidden(pairs))

    def _with_lines(self) -> Iterator[tuple[np.ndarray, Sequence[TextLine]]]:
        """Yield every frame with its text; frames that weren't searched have none, but show what is hidden in others."""
        empty_lists: list[Sequence[TextLine]] = [()] * self.first
        lines = itertools.chain(empty_lists, self.text.lines, itertools.repeat(()))
        return zip(self.clip.frames, lines, strict=False)


class _LetterFinder:
    """Finds the pixels of letters and their outlines.

    The strokes of a line that stands still are averaged over its frames: grass that moves behind it fades out, letters stay.
    """

    def __init__(self):
        self._sums: dict[tuple, tuple[np.ndarray, int]] = {}

    def add(self, frame: np.ndarray, lines: Sequence[TextLine]) -> None:
        """Take a frame, uint8 [H, W, 3], with its lines; all are added before the first is asked for."""
        for line in lines:
            strokes, (total, count) = _strokes(frame, line), self._sums.get(_key(line), (None, 0))
            self._sums[_key(line)] = (strokes if total is None else total + strokes, count + 1)

    def find(self, frame: np.ndarray, lines: Sequence[TextLine]) -> np.ndarray:
        """Return where a frame's letters are, bool [H, W]."""
        letters = np.zeros(frame.shape[:2], bool)
        for line in lines:
            rows, columns = _region(line, frame.shape)
            total, count = self._sums[_key(line)]
            strokes = total / count
            if not strokes.size:
                continue
            quad = np.rint(grow(line)).astype(np.int32) - (columns.start, rows.start)
            inside = cv2.fillConvexPoly(np.zeros(strokes.shape, np.uint8), quad, 1)
            least = max(MIN_LEVELS, MIN_STRENGTH * float(np.percentile(strokes[inside > 0], 98)))
            radius = max(1, round(STROKE_GROWTH * line.height))
            kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
            letters[rows, columns] |= (cv2.dilate((strokes >= least).astype(np.uint8), kernel) * inside) > 0
        return letters


def _key(line: TextLine) -> tuple:
    """Return what is the same for a line in all frames in which it stands still."""
    return line.text, *map(int, np.rint(line.quad).reshape(-1))


def _region(line: TextLine, size: tuple[int, ...]) -> tuple[slice, slice]:
    """Return rows and columns of a line's grown box within the frame."""
    x, y, w, h = cv2.boundingRect(np.rint(grow(line)).astype(np.int32))
    rows = slice(max(0, y), min(size[0], max(0, y + h)))
    return rows, slice(max(0, x), min(size[1], max(0, x + w)))


def _strokes(frame: np.ndarray, line: TextLine) -> np.ndarray:
    part = frame[_region(line, frame.shape)]
    return find_strokes(part, line.height) if part.size else np.zeros(part.shape[:2], np.float32)
