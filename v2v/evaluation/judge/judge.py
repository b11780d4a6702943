"""A vision-language model as judge: a metric that sends frames to a chat server.

The frame rule, written into every result. Of a clip of L frames and a rubric of n:

    frame k = floor((2 k + 1) L / (2 n)),  k = 0 .. n - 1,   L that of the shorter of source and output;

always n frames, none at the very ends, whatever the length. Source and output are shown at one size, the longer side at most `side` pixels.

`compat="editverse"` repeats what EditVerseBench's own script does instead, for scores to be set beside published ones, and says so in the
results: frames range(0, L, L // 3) of the output (four where 3 doesn't divide L), the source read at the same numbers, each clip at its
own size, the prompt with its "<video1>" tags, and red and blue exchanged in both pictures, as its JPEG writer does. Its wording is not repeated; rubrics.py is ours.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from v2v.evaluation.items import Item
from v2v.evaluation.judge.endpoint import Endpoint
from v2v.evaluation.judge.rubrics import RUBRIC_VERSION, Rubric
from v2v.evaluation.metrics.base import Case, Column, Score, ScoringError
from v2v.evaluation.metrics.clips import Clip, resize_frame

COMPATIBILITY_MODES = ("", "editverse")
TRANSITION_SHARE = (
    0.06  # of a clip's length to either side of an edit's begin and end, in which it counts as switching
)


@dataclass(frozen=True)
class Judge:
    """A metric that asks a vision-language model.

    Attributes:
      model: name the server knows it by.
      rubric: what is asked.
      endpoint: who is asked.
      dollars_per_call: for the plan's estimate; None is "unknown".
      parallel: questions at a time.
      retries: how often an answer that can't be read is asked for anew.
      side: longest side of the pictures sent.
      compat: "" or "editverse".
      label: tells several judges in a sweep apart.
    """

    model: str
    rubric: Rubric
    endpoint: Endpoint = field(default_factory=Endpoint)
    dollars_per_call: float | None = None
    parallel: int = 8
    retries: int = 1
    side: int = 1024
    compat: str = ""
    label: str = "judge"
    max_tokens: int = 512

    def __post_init__(self):
        if self.compat not in COMPATIBILITY_MODES or (self.compat and not self.rubric.each_frame):
            raise ValueError(
                f'judge: compat expected "" or, for a rubric of single frames, "editverse", got {self.compat!r}'
            )

    @property
    def name(self) -> str:
        """Return the label."""
        return self.label

    @property
    def columns(self) -> Sequence[Column]:
        """Return the total and one column per criterion."""
        r, (low, high) = self.rubric, self.rubric.ends
        rule = (
            "EditVerseBench's own frames and exchanged channels"
            if self.compat
            else f"{r.frames} frames at fixed places"
        )
        about = f"{self.model}, {r.name} scale {low:g} to {high:g}, {rule}"
        return (
            Column(f"{self.label} total", worst=low, about=about),
            *(
                Column(f"{self.label}: {c}", worst=float(r.low), about=f"{r.low} to {r.high}")
                for c in r.criteria
            ),
        )

    @property
    def required_fields(self) -> Sequence[str]:
        """Return "start" for the temporal rubric."""
        return ("start",) if self.rubric.name == "temporal" else ()

    @property
    def identity(self) -> dict:
        """Return model, server, rubric and rules."""
        return {
            "metric": "judge", "model": self.model, "server": self.endpoint.url, "rubric": self.rubric.name,
            "version": RUBRIC_VERSION, "compat": self.compat, "side": self.side,
        }  # fmt: skip

    @property
    def calls(self) -> int:
        """Return the number of questions per item (EditVerse's rule asks a fourth where 3 does not divide the length)."""
        return self.rubric.frames if self.rubric.each_frame else 1

    @property
    def dollars(self) -> float | None:
        """Return the estimated cost per item."""
        return None if self.dollars_per_call is None else self.calls * self.dollars_per_call

    def missing(self) -> str | None:
        """Return None: nothing is needed here."""
        return None

    def score(self, case: Case) -> Score:
        """Send the questions and parse the grades.

        Raises:
          ScoringError: no answer (tried again by the next run), or answers that can't be read (remembered).
        """
        item = case.item
        if self.compat:
            item = replace(item, instruction=item.extra.get("text", item.instruction))
        numbers = self.frames(len(case.output), len(case.source))
        source_frames, output_frames = _frames_at(case.source, numbers), _frames_at(case.output, numbers)
        if self.rubric.each_frame:
            questions = [
                (k, self._question(item, _edit_phase(item, k, case.source), [a], [b]))
                for k, a, b in zip(numbers, source_frames, output_frames, strict=True)
            ]
        else:
            questions = [(numbers, self._question(item, "during", source_frames, output_frames))]
        answer_notes, grade_rows = [], []
        for where, question in questions:
            answer, grades = self._ask(question)
            answer_notes.append({"frames": where, "text": answer, "scores": grades})
            grade_rows.append(grades)
        unread = sum(s is None for s in grade_rows)
        notes = {"rule": self.rule, "answers": answer_notes, "unparsable": unread, "compat": self.compat}
        if unread:
            raise ScoringError(f"{unread} of {len(grade_rows)} answers can't be read", notes, final=True)
        criteria = np.mean(grade_rows, 0)
        notes["criteria"] = grade_rows[0] if len(grade_rows) == 1 else [float(c) for c in criteria]
        names = [c.name for c in self.columns]
        totals = [self.rubric.combine(s) for s in grade_rows]
        return Score(dict(zip(names, [float(np.mean(totals)), *map(float, criteria)], strict=True)), notes)

    def frames(self, output: int, source: int) -> list[int]:
        """Return the frame numbers shown.

        Raises:
          ScoringError: EditVerse's rule asks for a frame that the source lacks.
        """
        if self.compat:
            numbers = list(range(0, output, max(1, output // 3)))
            if numbers[-1] >= source:
                raise ScoringError(
                    f"EditVerse's rule asks for frame {numbers[-1]} of a source of {source}", final=True
                )
            return numbers
        n, length = self.rubric.frames, min(output, source)
        return [(2 * k + 1) * length // (2 * n) for k in range(n)]

    @property
    def rule(self) -> str:
        """Describe the frame rule."""
        if self.compat:
            return "EditVerseBench's: frames range(0, L, L // 3), red and blue exchanged, prompt with tags"
        return f"frames floor((2 k + 1) L / {2 * self.rubric.frames}), k = 0 .. {self.rubric.frames - 1}"

    def _ask(self, question: dict) -> tuple[str, list[int] | None]:
        text, grades = "", None
        for _ in range(1 + self.retries):
            answer = self.endpoint.ask(question)
            try:
                text = answer["choices"][0]["message"]["content"] or ""
            except (KeyError, IndexError, TypeError):
                text = str(answer)
            if not isinstance(text, str):  # some servers answer with a list of parts
                text = "\n".join(str(part.get("text", "")) for part in text if isinstance(part, dict))
            grades = self.rubric.read(text)
            if grades is not None:
                break
        return text, grades

    def _question(
        self, item: Item, phase: str, source_frames: list[np.ndarray], output_frames: list[np.ndarray]
    ) -> dict:
        height, width = source_frames[0].shape[:2]
        if not self.compat:
            scale = min(1.0, self.side / max(height, width))
            size = max(1, round(height * scale)), max(1, round(width * scale))
            source_frames, output_frames = (
                [resize_frame(f, *size) for f in side] for side in (source_frames, output_frames)
            )
        pictures = [
            {"type": "image_url", "image_url": {"url": self._jpeg(f)}}
            for f in (*source_frames, *output_frames)
        ]
        text = {"type": "text", "text": self.rubric.text(item, phase)}
        return {
            "model": self.model,
            "temperature": 0,
            "max_tokens": self.max_tokens,
            "messages": [{"role": "user", "content": [text, *pictures]}],
        }

    def _jpeg(self, frame: np.ndarray) -> str:
        _, data = cv2.imencode(".jpg", frame if self.compat else frame[..., ::-1])  # OpenCV expects BGR
        return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"


def _frames_at(clip: Clip, numbers: Sequence[int]) -> list[np.ndarray]:
    indices, frames = set(numbers), {}
    for k, frame in enumerate(clip):
        if k in indices:
            frames[k] = frame
        if k >= max(indices):
            break
    return [frames[k] for k in numbers]


def _edit_phase(item: Item, k: int, source: Clip) -> str:
    """Where frame k lies in the edit."""
    start = 0.0 if item.start is None else item.start
    end = len(source) / source.fps if item.end is None else item.end
    time, near = (k + 0.5) / source.fps, TRANSITION_SHARE * len(source) / source.fps
    if item.start and abs(time - start) <= near:
        return "start"
    if end < (len(source) - 0.5) / source.fps and abs(time - end) <= near:
        return "end"
    return "before" if time < start else "after" if time > end else "during"
