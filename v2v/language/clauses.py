"""Clauses of a sentence: items → **`Clause`**s: what is asked for in each, with the direction, negation and place that hold for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from v2v.language.lexicon import Kind
from v2v.language.matching import Item

# Kinds of items that a request is made of.
CONTENT: tuple[Kind, ...] = (
    "look",
    "state",
    "property",
    "color",
    "tint",
    "remove",
    "elsewhere",
    "time",
    "object",
)


@dataclass
class Clause:
    """Items between two breaks.

    Attributes:
      items: those items.
      join: what is before it: nothing, "and" and the like, a comma, "then" or "but", "not", or "except".
      is_alternative: whether it is joined by "or".
      negation: the word that negates it, "" for none.
    """

    items: list[Item] = field(default_factory=list)
    join: Literal["start", "soft", "comma", "hard", "not", "except"] = "start"
    is_alternative: bool = False
    negation: str = ""

    def having(self, *kinds: Kind) -> list[Item]:
        """Return its items of some kinds."""
        return [item for item in self.items if item.is_a(*kinds)]

    def has(self, *kinds: Kind) -> bool:
        """Return whether it has an item of some kinds."""
        return bool(self.having(*kinds))

    def has_word(self, *words: str) -> bool:
        """Return whether it has one of some words."""
        return any(word in item.words for item in self.items for word in words)

    @property
    def has_content(self) -> bool:
        """Return whether it asks for something."""
        return self.has(*CONTENT)

    @property
    def place_items(self) -> list[Item]:
        """Return the items that name places."""
        return self.having("region", "thing")

    @property
    def directions(self) -> tuple[bool, bool]:
        """Return whether it says more, and whether it says less; particles and "add" count beside a property alone."""
        with_property = self.has("property")
        up = self.has("up") or (with_property and (self.has("up_particle") or self.has_word("add")))
        down = self.has("down") or (with_property and self.has("lower", "down_particle"))
        return up and not down, down


def split_clauses(items: Sequence[Item]) -> list[Clause]:
    """Divide items into clauses.

    A negation begins one where something has been asked for before it ("darker without changing the colors"), and so does an exception.
    """
    clauses = [Clause()]

    def begin(join: Literal["soft", "comma", "hard", "not", "except"]) -> None:
        if clauses[-1].items or (clauses[-1].join == "not" and join == "comma"):  # "no, brighter"
            clauses.append(Clause(join=join))
        elif join in ("not", "except", "hard") or clauses[-1].join == "soft":
            clauses[-1].join = join

    for i, item in enumerate(items):
        if item.is_break:
            begin("comma")
        elif (
            item.words == ("but",)
            and _leaves_out_place(items[i + 1 :])
            and any(clause.has_content for clause in clauses)
        ):
            begin("except")
        elif (item.is_a("hard") and not item.is_a("except")) or _begins_consequence(items, i):
            begin("hard")
        elif item.is_a("soft") and not item.is_a("not"):
            if not _joins_colors(items, i):
                begin("soft")
                clauses[-1].is_alternative |= item.words == ("or",)
        elif item.is_a("except"):
            begin("except" if _names_place(items[i + 1 :]) else "not")
        elif item.is_a("not") and not item.is_a("look"):
            if clauses[-1].has_content:
                begin("not")
            else:
                clauses[-1].join = "not"
            clauses[-1].negation = item.words[0]
        else:
            clauses[-1].items.append(item)
    return [clause for clause in clauses if clause.items or clause.join in ("not", "except")]


def _joins_colors(items: Sequence[Item], i: int) -> bool:
    """Return whether item i stands between two colors ("in blue and pink")."""
    return 0 < i < len(items) - 1 and items[i - 1].is_a("color") and items[i + 1].is_a("color")


def _names_place(items: Sequence[Item]) -> bool:
    """Return whether a place follows before anything else that is asked for."""
    for item in items:
        if item.is_break or item.is_a("hard", "soft", "look", "state"):
            return False
        if item.is_a("region", "thing"):
            return True
    return False


def _leaves_out_place(items: Sequence[Item]) -> bool:
    """Return whether a place follows and nothing else ("sepia everywhere but the woman")."""
    for i, item in enumerate(items):
        if item.is_a("region", "thing"):
            return all(later.is_break or later.is_a("filler") for later in items[i + 1 : i + 2])
        if not item.is_a("filler") or item.is_break:
            return False
    return False


def _begins_consequence(items: Sequence[Item], i: int) -> bool:
    """Return whether item i is the "so" before what is asked for ("it is dull, so maybe warmer")."""
    follows = items[i + 1] if i + 1 < len(items) else None
    if items[i].words != ("so",) or follows is None:
        return False
    return (
        follows.is_comparative
        or follows.is_a("up", "down")
        or follows.words[0] in ("maybe", "please", "make")
    )
