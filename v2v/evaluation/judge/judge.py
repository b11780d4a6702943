"""`Judge`: the interface of a vision-language model that answers questions about pictures.

`JudgeMetric` (judge_metric.py) turns an item and its clips into questions by a rubric, sends them to a judge and parses the grades of the
answers. `EndpointJudge` (endpoint.py) is the judge behind an OpenAI-compatible server.

To add a judge, such as a model that runs in this process:

1. Write a class with the attributes and the method of `Judge` in a file beside this one; it need not inherit from it.
2. Pass it to a metric in a sweep file: `JudgeMetric(MyJudge(...), EDITVERSE)`.
3. Test it in `tests/evaluation/test_judge.py`: `answer` returns the text, and raises `ScoringError` where there is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np


@dataclass(frozen=True)
class Question:
    """One question to a judge.

    Attributes:
      prompt: the text.
      pictures: uint8 RGB [H, W, 3] each, in the order in which the text speaks of them.
    """

    prompt: str
    pictures: Sequence[np.ndarray]


class Judge(Protocol):
    """A vision-language model that answers questions about pictures; called from several threads at a time."""

    @property
    def model(self) -> str:
        """Return the model's name, as in reports and in the names of exported files."""
        ...

    @property
    def identity(self) -> dict[str, Any]:
        """Return whatever changes the answers, JSON-able: model, revision, parameters; not the address of a server. Scores are cached by it."""
        ...

    @property
    def parallel(self) -> int:
        """Return how many items may be scored at a time."""
        ...

    @property
    def dollars_per_call(self) -> float | None:
        """Return the estimated price of one question, or None where it is unknown."""
        ...

    def answer(self, question: Question) -> str:
        """Return the text of the answer.

        Raises:
          ScoringError: there is no answer. It is not final unless the judge would give none to the same question again.
        """
        ...
