"""Rubrics of judges: prompts in our own words, and the parsing of answers.

There are four scales of three criteria each:

    editverse   every sampled frame: following, quality, background, 0 to 3 each; the sum 0 to 9, mean over frames (EditVerse)
    temporal    the same for an edit that is on for part of the clip: the first criterion depends on the frame's place in time
                (EasyV2V, appendix G)
    openve      both clips at once: following, consistency, stability, 1 to 5 each; the latter two not above the first (OpenVE-Bench)
    imgedit     one pair of pictures: following, quality, preservation, 1 to 5 each, mean (ImgEdit-Bench)

Scores on these scales are comparable with published ones only as far as another wording and another judge allow; the report says so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from v2v.evaluation.items import Item

RUBRIC_VERSION = 1
# Characters that are no letters or digits between the parts of a line of an answer.
LARGEST_GAP = 40

# The place of a frame in an edit that is on for part of the clip.
Phase = Literal["before", "start", "during", "end", "after"]


@dataclass(frozen=True)
class Rubric:
    """A scale of three criteria with its prompt.

    Attributes:
      name: as above.
      criteria: names of the three grades, in the order of the answer.
      low: least grade.
      high: greatest grade.
      prompt: returns the prompt for an item and a frame's place in the edit.
      each_frame: whether there is one question per sampled frame; else one per item.
      frames: number of sampled frames.
      total: how the grades are combined.
      capped: whether the second and third grade may not exceed the first.
    """

    name: str
    criteria: tuple[str, str, str]
    low: int
    high: int
    prompt: Callable[[Item, Phase], str]
    each_frame: bool
    frames: int
    total: Literal["sum", "mean"]
    capped: bool = False

    def parse(self, answer: str) -> list[int] | None:
        """Parse the three grades of an answer: lines of name and number, numbered or not, or JSON; None where one is missing or off the scale."""
        grades = self._json_grades(answer) or [self._line_grade(answer, name) for name in self.criteria]
        scores = [grade for grade in grades if grade is not None and self.low <= grade <= self.high]
        if len(scores) < len(self.criteria):
            return None
        return [scores[0], *(min(s, scores[0]) for s in scores[1:])] if self.capped else scores

    @staticmethod
    def _line_grade(answer: str, criterion: str) -> int | None:
        """Return the grade of the last line that begins with a criterion, after a number such as "1." or not."""
        # Every repetition has an end: a model that repeats one character for ever must not keep us busy as long.
        gap = rf"\W{{0,{LARGEST_GAP}}}"
        number = rf"(?:\d{{1,3}}\s{{0,9}}[.):]{gap})?"
        pattern = rf"^{gap}{number}{re.escape(criterion)}{gap}?:?{gap}?(\d{{1,4}})(?:\.0)?(?![.\d])"
        grades = re.findall(pattern, answer, re.M | re.I)
        return int(grades[-1]) if grades else None

    def _json_grades(self, answer: str) -> list[int | None] | None:
        """Return the grades of the JSON object in an answer, None for missing ones; None where there is no object."""
        start, end = answer.find("{"), answer.rfind("}")
        try:
            document = json.loads(answer[start : end + 1]) if 0 <= start < end else None
            values = _flatten(document) if isinstance(document, dict) else {}
        except (ValueError, RecursionError):
            return None
        grades = [_json_grade(values.get(_letters(name))) for name in self.criteria]
        return None if grades == [None] * len(grades) else grades

    def combine(self, scores: list[int]) -> float:
        """Return the total of three grades: their sum or their mean."""
        return sum(scores) / (len(scores) if self.total == "mean" else 1)

    @property
    def ends(self) -> tuple[float, float]:
        """Return the least and greatest total."""
        n = len(self.criteria) if self.total == "sum" else 1
        return float(n * self.low), float(n * self.high)


def _letters(name: str) -> str:
    """Return the letters of a name, so that "prompt_following" is "Prompt Following"."""
    return re.sub(r"[^a-z]", "", name.lower())


def _flatten(document: dict) -> dict[str, Any]:
    """Return the fields of nested objects by their letters."""
    fields: dict[str, Any] = {}
    for name, value in document.items():
        fields[_letters(str(name))] = value
        if isinstance(value, dict):
            fields = _flatten(value) | fields
    return fields


def _json_grade(value: Any) -> int | None:
    """Return the whole number that a field holds: itself, as text such as "3 - fine", or as the field "score" of an object."""
    if isinstance(value, dict):
        fields = _flatten(value)
        value = fields.get("score", fields.get("grade"))
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    match = re.match(r"\s*(\d{1,4})(?:\.0)?(?![.\d])", str(value))
    return int(match[1]) if match else None


def _answer_form(criteria: tuple[str, ...], low: int, high: int) -> str:
    lines = "\n".join(f"{c}: <whole number from {low} to {high}> - <reason, one sentence>" for c in criteria)
    return f"Answer with exactly these lines and nothing else:\n{lines}"


_FRAMES = ("Prompt Following", "Edit Quality", "Background Consistency")
_QUALITY = """2. Edit Quality. Look only at what was edited: does it belong in the picture?
   3 = convincing, no visible flaw; 2 = small flaws on a close look; 1 = flaws that catch the eye; 0 = broken or unrecognisable.
3. Background Consistency. Compare everything the instruction did not ask to change.
   3 = all of it is as before; 2 = slight differences; 1 = clear, disturbing differences; 0 = it has become another scene."""
_FOLLOWING = """1. Prompt Following. Is what the instruction asks for there, all of it and nothing else in its place?
   3 = completely; 2 = mostly, a detail is missing or wrong; 1 = only a little of it; 0 = not at all, or the contrary."""
_UNTOUCHED = """1. Prompt Following. The edit is not on at this moment, so this frame must be left alone.
   3 = nothing was changed; 2 = a trace of the edit shows; 1 = much of the edit shows; 0 = the frame is fully edited."""
_CHANGING = """1. Prompt Following. The edit is just switching here, so it should be visible in part, as far as this moment suggests.
   3 = a natural transition at the right moment; 2 = visible but too weak or too strong; 1 = barely in step; 0 = none, or at the wrong time."""


def _frame_prompt(criterion: str, item: Item, context: str = "") -> str:
    return f"""You compare one frame of a video before and after an edit and grade the edit strictly and fairly.
Instruction given to the editor: {item.instruction}
{context}The first picture is the frame before the edit, the second the same frame after it. Give three grades from 0 (worst) to 3 (best):
{criterion}
{_QUALITY}
{_answer_form(_FRAMES, 0, 3)}"""


def _editverse(item: Item, phase: Phase) -> str:
    return _frame_prompt(_FOLLOWING, item)


def _temporal(item: Item, phase: Phase) -> str:
    criterion = {"before": _UNTOUCHED, "after": _UNTOUCHED, "start": _CHANGING, "end": _CHANGING}.get(
        phase, _FOLLOWING
    )
    position = {
        "before": "lies before the edit begins",
        "after": "lies after the edit has ended",
        "start": "lies where the edit begins",
        "end": "lies where the edit ends",
    }.get(phase, "lies inside the edited stretch")
    return _frame_prompt(
        criterion,
        item,
        f"The edit was asked for in one stretch of the video only. This frame {position}.\n",
    )


_CLIP = ("Instruction Compliance", "Consistency & Detail Fidelity", "Visual Quality & Stability")
_KINDS = {
    "style": "the whole look should change while objects, layout and motion stay",
    "background": "only the surroundings should change, the subject staying as it is",
    "add": "something should appear, fitting the scene in size, light and motion, with nothing else touched",
    "remove": "something should vanish together with its shadow and reflection, what was behind it filled in plausibly",
    "subtitle": "text should be added, changed or removed, legibly and in the right place and time",
    "camera": "the view should change as asked, the scene and its events staying the same",
    "creative": "the scene should change as imagined in the instruction, people and things keeping their identity",
    "change": "one thing should change as asked, with nothing else touched",
}


def _aim(kind: str) -> str:
    """Return the aim of a kind of edit, by the words in its name."""
    name = kind.lower()
    return next((text for word, text in _KINDS.items() if word in name), _KINDS["change"])


def _openve(item: Item, phase: Phase) -> str:
    return f"""You compare a video before and after an edit and grade the edit strictly and fairly.
Kind of edit: {item.kind.replace("_", " ")}; {_aim(item.kind)}.
Instruction given to the editor: {item.instruction}
You get frames of the original video in order of time, then the same number of frames of the edited one. Give three grades from 1 (worst) to 5 (best):
1. Instruction Compliance. 5 = all that was asked, throughout; 4 = all but a detail; 3 = most of it, or not throughout; 2 = little of it; 1 = nothing, or something else.
2. Consistency & Detail Fidelity. 5 = everything else kept to the last detail, edges clean; 4 = nearly; 3 = some distortion or loss; 2 = much; 1 = the original is hardly recognisable.
3. Visual Quality & Stability. 5 = steady over time and natural in light, scale and motion; 4 = small unsteadiness; 3 = noticeable; 2 = disturbing; 1 = flickering or broken.
The second and third grade must not exceed the first.
{_answer_form(_CLIP, 1, 5)}"""


_PICTURE = ("Instruction Adherence", "Editing Quality", "Detail Preservation")


def _imgedit(item: Item, phase: Phase) -> str:
    return f"""You compare a picture before and after an edit and grade the edit strictly and fairly.
Kind of edit: {item.kind}. Instruction given to the editor: {item.instruction}
The first picture is the original, the second the result. Give three grades from 1 (worst) to 5 (best):
1. Instruction Adherence. 5 = exactly what was asked; 4 = but for a minor attribute; 3 = largely, with something wrong; 2 = only in part; 1 = not at all.
2. Editing Quality. 5 = no sign of editing; 4 = signs on a close look only; 3 = visible edges, light or texture that don't match; 2 = obvious flaws; 1 = broken.
3. Detail Preservation. 5 = what should stay is untouched and light, contact and perspective are right; 4 = tiny shifts; 3 = tolerable ones; 2 = large ones; 1 = key parts ruined.
{_answer_form(_PICTURE, 1, 5)}"""


EDITVERSE = Rubric("editverse", _FRAMES, 0, 3, _editverse, True, 3, "sum")
TEMPORAL = Rubric("temporal", _FRAMES, 0, 3, _temporal, True, 5, "sum")
OPENVE = Rubric("openve", _CLIP, 1, 5, _openve, False, 8, "mean", capped=True)
IMGEDIT = Rubric("imgedit", _PICTURE, 1, 5, _imgedit, False, 1, "mean")

RUBRICS = {rubric.name: rubric for rubric in (EDITVERSE, TEMPORAL, OPENVE, IMGEDIT)}
