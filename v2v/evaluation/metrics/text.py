"""Whether text outside the mask is unharmed: signs, captions and logos that an edit was not asked to touch.

In `FRAMES` frames spread over the clip, RapidOCR (extra `[text]`) reads the source and the output. Every line of the source of which at most
`MAX_INSIDE` lies inside the mask of that frame is looked for in the output among the lines that overlap its place; the share of its letters that
are still read there in order counts, and "text kept" is the mean over letters. 1 is unharmed; it reads "n/a" where the source shows no such text.
Reading takes about half a second a frame.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from v2v.errors import InputError
from v2v.evaluation.metrics.base import Case, Column, Metric, Score
from v2v.video.segmentation.text_reading import RapidReader, TextLine, TextReader

FRAMES = 3
# Share of a line inside the mask up to which it counts as outside, and share of a line's place that one of the output must cover.
MAX_INSIDE, MIN_OVERLAP = 0.1, 0.3


@dataclass(frozen=True)
class TextKept(Metric):
    """The share of letters outside the mask that can still be read where they were.

    Attributes:
      name: unique in a sweep.
      build_reader: returns the reader of a frame's text; called once.
    """

    name: str = "text kept"
    build_reader: Callable[[], TextReader] = field(default=RapidReader, repr=False)
    required_fields: Sequence[str] = ("mask",)

    @property
    def columns(self) -> tuple[Column, ...]:
        """Return the one column."""
        return (Column(self.name, worst=0.0, about=f"share of the letters of the source outside the mask that RapidOCR still reads at their place, {FRAMES} frames"),)  # fmt: skip

    @property
    def identity(self) -> dict:
        """Return name and version."""
        return {"metric": self.name, "version": 1}

    def missing(self) -> str | None:
        """Return that the extra is missing, or None."""
        try:
            _load(self.build_reader)
        except InputError as error:
            return str(error)
        return None

    def score(self, case: Case) -> Score:
        """Read both clips and compare; no value where the source shows no text outside the mask."""
        reader = _load(self.build_reader)
        output, source = case.against_source
        n = len(source)
        numbers = {(2 * k + 1) * n // (2 * FRAMES) for k in range(FRAMES)}
        readable, letters, lost = 0.0, 0, []
        for k, (x, y, mask) in enumerate(zip(output, source, case.mask(source), strict=True)):
            if k not in numbers:
                continue
            lines = [line for line in reader(y) if _share_inside(line, mask) <= MAX_INSIDE]
            output_lines = reader(x) if lines else []
            for line in lines:
                share = _find(line, output_lines, mask.shape)
                readable, letters = readable + share * len(line.text), letters + len(line.text)
                if share < 1:
                    lost.append({"frame": k, "text": line.text, "kept": round(share, 3)})
        return Score({self.name: readable / letters} if letters else {}, {"harmed": lost})


@functools.cache
def _load(build: Callable[[], TextReader]) -> TextReader:
    return build()


def _draw(line: TextLine, size: tuple[int, ...]) -> np.ndarray:
    """Return the place of a line, uint8 [H, W] of 0 and 1."""
    place = np.zeros(size[:2], np.uint8)
    cv2.fillConvexPoly(place, np.rint(line.quad).astype(np.int32), 1)
    return place


def _share_inside(line: TextLine, mask: np.ndarray) -> float:
    place = _draw(line, mask.shape)
    return float((place & mask).sum() / max(1, int(place.sum())))


def _find(line: TextLine, output_lines: Sequence[TextLine], size: tuple[int, ...]) -> float:
    """Return the share of a line's letters that the lines at its place have in the same order."""
    place = _draw(line, size)
    near = [x for x in output_lines if (place & _draw(x, size)).sum() >= MIN_OVERLAP * min(place.sum(), _draw(x, size).sum())]  # fmt: skip
    # A line may be read as several parts.
    near.sort(key=lambda x: float(x.quad[:, 0].min()))
    text = "".join(x.text for x in near)
    blocks = difflib.SequenceMatcher(None, line.text.lower(), text.lower(), autojunk=False).get_matching_blocks()  # fmt: skip
    return sum(block.size for block in blocks) / len(line.text)
