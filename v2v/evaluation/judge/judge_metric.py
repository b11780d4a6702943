"""The metric that asks a judge: a rubric's questions about sampled frames, and the grades of the answers.

The frame rule is written into every result. For clips of which the shorter has L frames and a rubric of n frames,

    frame k = floor((2 k + 1) L / (2 n)),  k = 0 .. n - 1

always n frames, none at the very ends, whatever the length. Source and output are shown at one size, the longer side at most `side` pixels.

`compat="editverse"` repeats the sampling of EditVerseBench's own script instead, for scores that stand beside published ones, and is named
in the results: frames range(0, L, L // 3) of the output (four where 3 does not divide L), the source read at the same numbers, each clip at
its own size, the prompt with its "<video1>" tags, and red and blue exchanged in both pictures, as that script's JPEG writer does. The
prompts are those of rubrics.py in either case.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from v2v.evaluation.code_version import JUDGING, object_code, package_code
from v2v.evaluation.counts import format_count
from v2v.evaluation.items import Item
from v2v.evaluation.judge.endpoint import EndpointJudge
from v2v.evaluation.judge.judge import Judge, Question
from v2v.evaluation.judge.rubrics import RUBRIC_VERSION, Phase, Rubric
from v2v.evaluation.metrics.base import Case, Column, Metric, RequestEstimate, Score, ScoringError
from v2v.evaluation.metrics.clips import Clip, resize_frame

Compatibility = Literal["", "editverse"]

# Characters of an unreadable answer that are shown.
QUOTE_LENGTH = 80
# Estimates of tokens: characters of English text for one, and pixels along a side of a picture for one, as the models of Qwen count.
CHARACTERS_PER_TOKEN, PIXELS_PER_TOKEN = 4, 28
# Tokens of an answer where the judge has no limit of its own.
ANSWER_TOKENS = 512
# Share of a clip's length on either side of an edit's start and end in which a frame counts as switching.
TRANSITION_SHARE = 0.06


@dataclass(frozen=True)
class JudgeMetric(Metric):
    """A metric that asks a vision-language model.

    Attributes:
      judge: the model.
      rubric: the questions.
      retries: how often a question is repeated whose answer can't be read.
      side: longest side of the pictures in pixels.
      compat: "" or "editverse", see above.
      label: distinguishes several judges in a sweep.
    """

    judge: Judge
    rubric: Rubric
    retries: int = 1
    side: int = 1024
    compat: Compatibility = ""
    label: str = "judge"

    def __post_init__(self):
        if self.compat not in get_args(Compatibility) or (self.compat and not self.rubric.each_frame):
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
            else f"{format_count(r.frames, 'frame')} at fixed places"
        )
        about = f"{self.judge.model}, {r.name} scale {low:g} to {high:g}, {rule}"
        return (
            Column(f"{self.label} total", worst=low, about=about),
            *(
                Column(f"{self.label}: {c}", worst=float(r.low), about=f"{r.low} to {r.high}")
                for c in r.criteria
            ),
        )

    @property
    def required_fields(self) -> Sequence[str]:
        """Return "start" for the temporal rubric, nothing for others."""
        return ("start",) if self.rubric.name == "temporal" else ()

    @property
    def identity(self) -> dict:
        """Return the judge, the rubric and the rules."""
        return {"metric": "judge", **self.judge.identity, **self._rules, "retries": self.retries}

    @property
    def old_identity(self) -> dict:
        """Return the identity as it was when the address of a server was part of it."""
        judge = self.judge
        identity = judge.old_identity if isinstance(judge, EndpointJudge) else judge.identity
        return {"metric": "judge", **identity, **self._rules}

    @property
    def _rules(self) -> dict:
        return {
            "rubric": self.rubric.name,
            "version": RUBRIC_VERSION,
            "compat": self.compat,
            "side": self.side,
        }

    @property
    def code(self) -> str:
        """Return the hash of the code of questions and answers, and of a judge or rubric of one's own."""
        parts = package_code(*JUDGING), object_code(self.judge), object_code(self.rubric)
        return "".join(part[:24] for part in parts)

    @property
    def calls(self) -> int:
        """Return the number of questions per item; EditVerse's rule asks a fourth where 3 does not divide the length."""
        return self.rubric.frames if self.rubric.each_frame else 1

    @property
    def most_calls(self) -> int:
        """Return the number of questions per item where every answer has to be asked for again."""
        return (self.calls + (1 if self.compat else 0)) * (1 + self.retries)

    def estimate_request(self, item: Item, size: tuple[int, int]) -> RequestEstimate:
        """Return the pictures and about the tokens of the questions about one output, each asked once."""
        height, width = size
        scale = 1.0 if self.compat else min(1.0, self.side / max(height, width))
        rows, columns = (math.ceil(n * scale / PIXELS_PER_TOKEN) for n in (height, width))
        pictures = 2 * self.rubric.frames
        text = math.ceil(len(self.rubric.prompt(item, "during")) / CHARACTERS_PER_TOKEN)
        limit = self.judge.max_tokens if isinstance(self.judge, EndpointJudge) else ANSWER_TOKENS
        return RequestEstimate(pictures, self.calls * text + pictures * rows * columns, self.calls * limit)

    @property
    def parallel(self) -> int:
        """Return how many items are scored at a time."""
        return self.judge.parallel

    @property
    def dollars(self) -> float | None:
        """Return the estimated price of one item."""
        price = self.judge.dollars_per_call
        return None if price is None else self.calls * price

    @property
    def frame_rule(self) -> str:
        """Return a description of the frame rule."""
        if self.compat:
            return "EditVerseBench's: frames range(0, L, L // 3), red and blue exchanged, prompt with tags"
        return f"frames floor((2 k + 1) L / {2 * self.rubric.frames}), k = 0 .. {self.rubric.frames - 1}"

    def with_compatibility(self, compat: Compatibility) -> JudgeMetric:
        """Return the metric with the sampling of a benchmark's script; unchanged where its rubric is not one of single frames."""
        return replace(self, compat=compat) if self.rubric.each_frame else self

    def score(self, case: Case) -> Score:
        """Send the questions and parse the grades.

        Raises:
          ScoringError: no answer, or answers that can't be read. Neither is final: the next run asks again.
        """
        item = case.item
        if self.compat:
            item = replace(item, instruction=item.extra.get("text", item.instruction))
        numbers = self.frame_numbers(len(case.output), len(case.source))
        source_frames, output_frames = frames_at(case.source, numbers), frames_at(case.output, numbers)
        questions: list[tuple[int | list[int], Question]]
        if self.rubric.each_frame:
            questions = [
                (k, self._question(item, _edit_phase(item, k, case.source), [a], [b]))
                for k, a, b in zip(numbers, source_frames, output_frames, strict=True)
            ]
        else:
            questions = [(numbers, self._question(item, "during", source_frames, output_frames))]
        answer_notes, grade_rows, unreadable, call_count = [], [], 0, 0
        for frames, question in questions:
            text, grades, tries = self._ask(question)
            call_count += tries
            answer_notes.append({"frames": frames, "text": text, "scores": grades})
            if grades is None:
                unreadable += 1
            else:
                grade_rows.append(grades)
        notes = {
            "rule": self.frame_rule,
            "answers": answer_notes,
            "unparsable": unreadable,
            "compat": self.compat,
            "asked": call_count,
        }
        if unreadable:
            text = next(answer["text"] for answer in answer_notes if answer["scores"] is None)
            raise ScoringError(
                f"{unreadable} of {format_count(len(questions), 'answer')} can't be read, such as {quote_answer(text)} "
                "(all of them are in results.json; the next run asks again)",
                notes,
            )
        criteria = np.mean(grade_rows, 0)
        notes["criteria"] = grade_rows[0] if len(grade_rows) == 1 else [float(c) for c in criteria]
        names = [column.name for column in self.columns]
        totals = [self.rubric.combine(grades) for grades in grade_rows]
        return Score(dict(zip(names, [float(np.mean(totals)), *map(float, criteria)], strict=True)), notes)

    def frame_numbers(self, output_length: int, source_length: int) -> list[int]:
        """Return the numbers of the frames that are shown.

        Args:
          output_length: frames of the output.
          source_length: frames of the source.

        Raises:
          ScoringError: EditVerse's rule asks for a frame that the source lacks.
        """
        if self.compat:
            numbers = list(range(0, output_length, max(1, output_length // 3)))
            if numbers[-1] >= source_length:
                raise ScoringError(
                    f"EditVerse's rule asks for frame {numbers[-1]} of a source of {source_length}",
                    final=True,
                )
            return numbers
        n, length = self.rubric.frames, min(output_length, source_length)
        return [(2 * k + 1) * length // (2 * n) for k in range(n)]

    def _ask(self, question: Question) -> tuple[str, list[int] | None, int]:
        """Return the last answer, its grades, and how often was asked, which is again where an answer can't be read."""
        text, grades, tries = "", None, 0
        while grades is None and tries <= self.retries:
            text, tries = self.judge.answer(question), tries + 1
            grades = self.rubric.parse(text)
        return text, grades, tries

    def _question(
        self, item: Item, phase: Phase, source_frames: list[np.ndarray], output_frames: list[np.ndarray]
    ) -> Question:
        height, width = source_frames[0].shape[:2]
        frames = [*source_frames, *output_frames]
        if self.compat:
            frames = [frame[..., ::-1] for frame in frames]
        else:
            scale = min(1.0, self.side / max(height, width))
            size = max(1, round(height * scale)), max(1, round(width * scale))
            frames = [resize_frame(frame, *size) for frame in frames]
        return Question(self.rubric.prompt(item, phase), frames)


def quote_answer(text: str) -> str:
    """Return the beginning of an answer on one line, in quotation marks."""
    line = " ".join(text.split())
    return f'"{line[:QUOTE_LENGTH]}{"..." if len(line) > QUOTE_LENGTH else ""}"' if line else "an empty one"


def frames_at(clip: Clip, numbers: Sequence[int]) -> list[np.ndarray]:
    """Return the frames of these numbers."""
    indices, frames = set(numbers), {}
    for k, frame in enumerate(clip):
        if k in indices:
            frames[k] = frame
        if k >= max(indices):
            break
    return [frames[k] for k in numbers]


def _edit_phase(item: Item, k: int, source: Clip) -> Phase:
    """Return the place of frame k in the edit."""
    start = 0.0 if item.start is None else item.start
    end = len(source) / source.fps if item.end is None else item.end
    time, near = (k + 0.5) / source.fps, TRANSITION_SHARE * len(source) / source.fps
    if item.start and abs(time - start) <= near:
        return "start"
    if end < (len(source) - 0.5) / source.fps and abs(time - end) <= near:
        return "end"
    return "before" if time < start else "after" if time > end else "during"
