"""What a sentence asks for: **`Step`**s in their order, or the **`Obstacle`** to reading it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from v2v.language.places import Place

# Parts of a look that "slightly" and "much" mean.
WEAK, STRONG = 0.5, 1.5
# In place of a look: the text of a place is taken away.
REMOVE_TEXT = "remove-text"


@dataclass(frozen=True)
class Step:
    """One look.

    Attributes:
      look: its name in the lexicon.
      amount: the part of it that is applied; above 1 it is exaggerated.
      place: where; None for everywhere.
    """

    look: str
    amount: float = 1.0
    place: Place | None = None


def format_steps(steps: Iterable[Step]) -> str:
    """Format steps as "darker*0.5@left half + sepia@not person"; "-" for none."""
    parts = []
    for step in steps:
        amount = "" if step.amount == 1 else f"*{step.amount:g}"
        place = "" if step.place is None else f"@{'not ' if step.place.is_inverted else ''}{step.place.name}"
        parts.append(f"{step.look}{amount}{place}")
    return " + ".join(parts) or "-"


@dataclass(frozen=True)
class ObjectEdit:
    """An edit of a thing that the model knows by name.

    Attributes:
      operation: what is done to it.
      sentence: the sentence with its words corrected.
    """

    operation: Literal["remove", "insert", "replace", "recolor", "background"]
    sentence: str


ObstacleKind = Literal[
    "unknown", "negation", "time", "elsewhere", "nothing", "contradiction", "undo", "unclear", "number"
]


@dataclass(frozen=True)
class Obstacle:
    """Why a sentence is not followed.

    Attributes:
      kind: what stands in the way.
      text: for a message: what was found and what to say instead.
      near: names of looks that may be meant.
    """

    kind: ObstacleKind
    text: str
    near: tuple[str, ...] = ()


class ReadingError(Exception):
    """A sentence that can't be read, with its obstacle."""

    def __init__(self, kind: ObstacleKind, text: str, near: Iterable[str] = ()):
        """Take what stands in the way; see `Obstacle`."""
        super().__init__(text)
        self.obstacle = Obstacle(kind, text, tuple(dict.fromkeys(near)))


@dataclass(frozen=True)
class Request:
    """What a sentence asks for; exactly one of `steps`, `thing` and `obstacle` is set.

    Attributes:
      steps: looks, in their order.
      thing: an edit of a thing.
      obstacle: why it is not followed.
      corrections: typing errors, as typed → as read.
      passed_over: comparisons, reasons and descriptions with unknown words, which were left out.
    """

    steps: tuple[Step, ...] = ()
    thing: ObjectEdit | None = None
    obstacle: Obstacle | None = None
    corrections: dict[str, str] = field(default_factory=dict)
    passed_over: tuple[str, ...] = ()
