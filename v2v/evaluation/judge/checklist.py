"""The metric that has a judge answer the checklist of an item, as CoVEBench scores compositional edits (arXiv 2606.08415).

    ChecklistMetric(EndpointJudge("Qwen/Qwen3.5-122B-A10B", Endpoint(URL), max_tokens=4096))      with items of `read_covebench`

Every item has questions of four types, of which those of one type are asked together: two statements about the edited clip (AB-MCQ), yes or no
about it (Single-TF), yes or no about both clips (Dual-TF), and how well something is preserved, 1 to 10 (Score-MCQ). An answer counts 1 where it is the
expected one and else 0, a grade as it is. By the dimensions of the questions the scores of an item are

    IFS   mean of "Execution Accuracy": is what was asked for there
    VRS   mean of "Physical Logic": does it look real
    UAS   1 where all answers of these two are right; items that lack one of them have none
    SEM   mean of "Semantic Preservation": is the rest as it was, 1 to 10

which is how the benchmark's own script adds them up (github.com/NJU-LINK/CoVEBench, metrics/subjective/mllm_checklist/aggregate_subjective.py, commit
31673ca). A question that names no such dimension counts to SEM where it asks for a grade and else to IFS.

The wording is ours, and the judge sees pictures, frames floor((2 k + 1) L / (2 n)) of each clip, where the benchmark's script shows its model the
videos: figures belong beside one another, beside published ones only as far as that allows.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from v2v.evaluation.code_version import JUDGING, object_code, package_code
from v2v.evaluation.counts import format_count
from v2v.evaluation.items import Item
from v2v.evaluation.judge.endpoint import EndpointJudge
from v2v.evaluation.judge.judge import Judge, Question
from v2v.evaluation.judge.judge_metric import (
    ANSWER_TOKENS,
    CHARACTERS_PER_TOKEN,
    PIXELS_PER_TOKEN,
    frames_at,
    quote_answer,
)
from v2v.evaluation.metrics.base import Case, Column, Metric, RequestEstimate, Score, ScoringError
from v2v.evaluation.metrics.clips import resize_frame

# Goes up when the questions' wording or the reading of answers changes what scores mean.
VERSION = 1
# Types of questions, and whether they are about both clips.
TYPES = {"AB-MCQ": False, "Single-TF": False, "Dual-TF": True, "Score-MCQ": True}
DIMENSIONS = {"execution accuracy": "IFS", "physical logic": "VRS", "semantic preservation": "SEM"}
LOWEST_GRADE, HIGHEST_GRADE = 1, 10
# Fields in which answers give what they say, and in which checklists say what is expected.
ANSWER_FIELDS = ("answer", "final_answer", "final_score", "score")
EXPECTED_FIELDS = ("expected_answer", "answer", "label", "ground_truth", "target_answer", "correct_answer")
YES, NO = {"yes", "true", "1", "correct"}, {"no", "false", "0", "incorrect"}
RULES = {
    "AB-MCQ": 'Each question comes with two statements, A and B. Check each of them by itself: what shows faintly or in part counts as shown. Answer "A", "B" or "A and B".',
    "Single-TF": 'Answer each question with "Yes" or "No".',
    "Dual-TF": 'Compare the two videos, and answer each question with "Yes" or "No".',
    "Score-MCQ": "Each question is about something that the edit should leave alone. Say how well it is preserved, with a whole number: 1 it is gone or "
    "something else, 2 only traces are left; 3 to 6 it looks different, from hardly recognizable (3) to seen on a close look only (6); 7 it is plainly "
    "out of shape, 8 slightly; 9 there is next to no difference, 10 none. Light, shadows and reflections that follow from the edit are no difference.",
}


@dataclass(frozen=True)
class ChecklistQuestion:
    """A question of a checklist.

    Attributes:
      id: unique in its item.
      type: one of `TYPES`.
      score: the score that it counts to: "IFS", "VRS" or "SEM".
      text: the question.
      options: the statements by "A" and "B"; empty where there are none.
      expected: the right answer; "" for grades.
    """

    id: str
    type: str
    score: str
    text: str
    options: dict[str, str]
    expected: str

    def read_answer(self, value: Any) -> str | float | None:
        """Return an answer in its usual form: "a", "b", "a and b", "yes", "no", or a grade; None for anything else."""
        text = " ".join(str(value).lower().strip().strip(".\"'").split())
        if self.type == "Score-MCQ":
            grade = re.fullmatch(r"(\d{1,2})(?:\.0)?(?: ?/ ?10)?", text)
            is_grade = grade is not None and LOWEST_GRADE <= int(grade[1]) <= HIGHEST_GRADE
            return float(grade[1]) if grade is not None and is_grade else None
        if self.type == "AB-MCQ":
            letters = re.fullmatch(r"([ab])(?:\s*(?:and|&|,|\+)\s*([ab]))?", text)
            return " and ".join(sorted({*filter(None, letters.groups())})) if letters else None
        return "yes" if text in YES else "no" if text in NO else None

    def grade(self, answer: str | float) -> float:
        """Return the score of an answer of `read_answer`."""
        return answer if isinstance(answer, float) else float(answer == self.read_answer(self.expected))


@dataclass(frozen=True)
class ChecklistMetric(Metric):
    """A metric that asks a vision-language model the questions of an item's checklist.

    Attributes:
      judge: the model; give it room for a sentence a question (`max_tokens`).
      frames: number of frames shown of each clip.
      side: longest side of the pictures in pixels.
      retries: how often questions are repeated whose answers can't be read.
      name: unique in a sweep.
    """

    judge: Judge
    frames: int = 10
    side: int = 768
    retries: int = 1
    name: str = "checklist"

    @property
    def columns(self) -> Sequence[Column]:
        """Return the four scores."""
        about = f"{self.judge.model}, {format_count(self.frames, 'frame')} of each clip"
        return (
            Column(f"{self.name} UAS", worst=0.0, rate=True, about=f"all questions about the edit and its realism answered rightly; {about}"),
            Column(f"{self.name} IFS", unit="%", worst=0.0, about=f"right answers about what was asked for; {about}"),
            Column(f"{self.name} VRS", unit="%", worst=0.0, about=f"right answers about realism; {about}"),
            Column(f"{self.name} SEM", worst=1.0, about=f"preservation of the rest, 1 to 10; {about}"),
        )  # fmt: skip

    @property
    def required_fields(self) -> Sequence[str]:
        """Return nothing; items without a checklist have no scores."""
        return ()

    @property
    def identity(self) -> dict:
        """Return the judge and the rules."""
        return {
            "metric": "checklist", "version": VERSION, **self.judge.identity, "frames": self.frames, "side": self.side,
            "retries": self.retries,
        }  # fmt: skip

    def item_identity(self, item: Item) -> dict:
        """Return the questions, which are asked again when they change."""
        return {"checklist": item.extra.get("row", {}).get("evaluation_groups")}

    @property
    def code(self) -> str:
        """Return the hash of the code of questions and answers, and of a judge of one's own."""
        return f"{package_code(*JUDGING)[:32]}{object_code(self.judge)[:32]}"

    @property
    def calls(self) -> int:
        """Return the greatest number of requests per item, one for each type of question."""
        return len(TYPES)

    @property
    def most_calls(self) -> int:
        """Return the number of requests per item where every answer has to be asked for again."""
        return self.calls * (1 + self.retries)

    def count_calls(self, item: Item) -> int:
        """Return the number of requests for an item."""
        try:
            return len(_by_type(read_checklist(item)[0]))
        except ScoringError:
            return 0

    @property
    def parallel(self) -> int:
        """Return how many items are scored at a time."""
        return self.judge.parallel

    @property
    def dollars(self) -> float | None:
        """Return the estimated price of one item with questions of every type."""
        price = self.judge.dollars_per_call
        return None if price is None else self.calls * price

    def estimate_request(self, item: Item, size: tuple[int, int]) -> RequestEstimate | None:
        """Return the pictures and about the tokens of the questions about one output, each asked once."""
        try:
            questions = _by_type(read_checklist(item)[0])
        except ScoringError:
            return None
        scale = min(1.0, self.side / max(size))
        rows, columns = (math.ceil(n * scale / PIXELS_PER_TOKEN) for n in size)
        pictures = sum(self.frames * (2 if TYPES[name] else 1) for name in questions)
        text = sum(
            math.ceil(len(self._prompt(item, name, batch)) / CHARACTERS_PER_TOKEN)
            for name, batch in questions.items()
        )
        limit = self.judge.max_tokens if isinstance(self.judge, EndpointJudge) else ANSWER_TOKENS
        return RequestEstimate(pictures, text + pictures * rows * columns, len(questions) * limit)

    def score(self, case: Case) -> Score:
        """Ask the questions of each type at once.

        Raises:
          ScoringError: a checklist that can't be read, no answer, or answers that can't be read. The latter two are not final: the next run
            asks again.
        """
        questions, left_out = read_checklist(case.item)
        grades: dict[str, list[float]] = {"IFS": [], "VRS": [], "SEM": []}
        notes: dict[str, Any] = {"answers": [], "asked": 0, "left_out": left_out}
        unreadable = []
        for name, batch in _by_type(questions).items():
            question = Question(self._prompt(case.item, name, batch), self._pictures(case, TYPES[name]))
            values_by_id: dict[str, str | float] | None = None
            tries, text = 0, ""
            while values_by_id is None and tries <= self.retries:
                text, tries = self.judge.answer(question), tries + 1
                values_by_id = read_answers(text, batch)
            notes["asked"] += tries
            notes["answers"].append({"type": name, "text": text, "scores": values_by_id})
            if values_by_id is None:
                unreadable.append(text)
                continue
            for one in batch:
                grades[one.score].append(one.grade(values_by_id[one.id]))
        if unreadable:
            raise ScoringError(
                f"{len(unreadable)} of {format_count(len(notes['answers']), 'answer')} to checklists can't be read, such as {quote_answer(unreadable[0])} "
                "(all of them are in results.json; the next run asks again)",
                notes,
            )
        values = {name: float(np.mean(of_score)) for name, of_score in grades.items() if of_score}
        if grades["IFS"] and grades["VRS"]:
            values["UAS"] = float(all(grade == 1 for grade in (*grades["IFS"], *grades["VRS"])))
        scales = {"IFS": 100.0, "VRS": 100.0}
        return Score(
            {f"{self.name} {name}": value * scales.get(name, 1.0) for name, value in values.items()}, notes
        )

    def _pictures(self, case: Case, with_source: bool) -> list[np.ndarray]:
        pictures = []
        for clip in (case.source, case.output) if with_source else (case.output,):
            numbers = [(2 * k + 1) * len(clip) // (2 * self.frames) for k in range(self.frames)]
            scale = min(1.0, self.side / max(clip.size))
            height, width = (max(1, round(n * scale)) for n in clip.size)
            pictures += [resize_frame(frame, height, width) for frame in frames_at(clip, numbers)]
        return pictures

    def _prompt(self, item: Item, name: str, questions: Sequence[ChecklistQuestion]) -> str:
        n = self.frames
        pictures = (
            f"The first {n} pictures are frames of Video A, the original, the other {n} are frames of Video B, which was edited; both in order."
            if TYPES[name]
            else f"The {n} pictures are frames of Video B, which was edited, in order."
        )
        rows = [
            {"id": q.id, "question": q.text, **({"options": q.options} if q.options else {})}
            for q in questions
        ]
        return "\n".join(
            (
                "You check an edited video by a list of questions.",
                pictures,
                f"The edit that was asked for: {item.instruction}",
                RULES[name],
                "Judge by what can be seen, and answer every question, also where you are not sure.",
                'Answer with a JSON list and nothing else, one object a question: {"id": its id, "reasoning": one sentence, "answer": your answer}.',
                f"The questions: {json.dumps(rows, ensure_ascii=False)}",
            )
        )


def read_checklist(item: Item) -> tuple[list[ChecklistQuestion], list[str]]:
    """Return the questions of an item, and the ids of those that can't be scored: of another type, or without an expected answer.

    Args:
      item: of `read_covebench`; one without "evaluation_groups" has no questions.

    Raises:
      ScoringError: the checklist isn't built as the benchmark's; final.
    """
    row = item.extra.get("row")
    groups = row.get("evaluation_groups", []) if isinstance(row, dict) else []
    questions: list[ChecklistQuestion] = []
    left_out: list[str] = []
    try:
        for group in groups:
            for fields in group["questions"]:
                name, text = str(fields["id"]), str(fields["question"])
                candidates = (fields.get(field) for field in EXPECTED_FIELDS)
                expected = next((str(value) for value in candidates if value not in (None, "")), "")
                kind = fields.get("type")
                options = fields.get("options")
                question = ChecklistQuestion(
                    name,
                    str(kind),
                    DIMENSIONS.get(
                        str(fields.get("dimension", "")).strip().lower(),
                        "SEM" if kind == "Score-MCQ" else "IFS",
                    ),
                    text,
                    {str(k): str(v) for k, v in options.items()} if isinstance(options, dict) else {},
                    expected,
                )
                is_known = kind in TYPES and (
                    kind == "Score-MCQ" or question.read_answer(expected) is not None
                )
                if is_known:
                    questions.append(question)
                else:
                    left_out.append(name)
    except (KeyError, TypeError, AttributeError) as error:
        raise ScoringError(
            f'item {item.id}: expected "evaluation_groups" with "questions" of "id", "type" and "question", got another form '
            f"({type(error).__name__} {error}); correct the checklist",
            final=True,
        ) from None
    return questions, left_out


def read_answers(text: str, questions: Sequence[ChecklistQuestion]) -> dict[str, str | float] | None:
    """Return the answers to all questions by their ids; None where one is missing or no answer to its question.

    Args:
      text: what the judge said: a JSON list of objects, or an object of them, perhaps after thoughts and in a fence.
      questions: what it was asked.
    """
    text = text.rpartition("</think>")[2]
    rows = None
    for opening, closing in ("[]", "{}"):
        start, end = text.find(opening), text.rfind(closing)
        try:
            rows = json.loads(text[start : end + 1]) if 0 <= start < end else None
        except (ValueError, RecursionError):
            continue
        if rows is not None:
            break
    rows = [rows] if isinstance(rows, dict) else rows
    if not isinstance(rows, list):
        return None
    values: dict[str, Any] = {}
    for row in rows:
        if isinstance(row, dict):
            value = next((row[field] for field in ANSWER_FIELDS if row.get(field) is not None), None)
            values[str(row.get("id"))] = value
    readings = {question.id: question.read_answer(values.get(question.id)) for question in questions}
    complete = {name: answer for name, answer in readings.items() if answer is not None}
    return complete if len(complete) == len(readings) else None


def _by_type(questions: Sequence[ChecklistQuestion]) -> dict[str, list[ChecklistQuestion]]:
    """Return the questions by type, in the order of `TYPES`."""
    return {
        name: batch
        for name in TYPES
        if (batch := [question for question in questions if question.type == name])
    }
