"""Corrections in a sentence: items → **`drop_taken_back`** → what is wanted after all ("warmer, no wait, colder")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from v2v.language.descriptions import join_text
from v2v.language.matching import Item

# What takes back all that was said before it, at the beginning of a clause; the first ones anywhere.
_PLAIN = (("no", "wait"), ("wait", "no"), ("scratch", "that"), ("nah", "wait"))
_TAKES_BACK = (
    *_PLAIN,
    ("actually", "no"),
    ("no", "actually"),
    ("no", "sorry"),
    ("sorry", "no"),
    ("on", "second", "thought"),
    ("on", "second", "thoughts"),
    ("wait",),
    ("hmm", "actually"),
    ("actually",),
)
_OPPOSITE = frozenset({"opposite", "reverse", "other", "contrary"})
_AROUND = frozenset({"the", "do", "make", "it", "exact", "way", "round", "around", "please", "just", "i", "want", "mean", "meant"})  # fmt: skip


@dataclass(frozen=True)
class Correction:
    """A sentence without what it takes back.

    Attributes:
      items: what is left; where the opposite is wanted, what it is the opposite of.
      taken_back: what was taken back, as typed, "" for nothing.
      is_opposite: whether the opposite of the items is wanted.
    """

    items: tuple[Item, ...]
    taken_back: str = ""
    is_opposite: bool = False


def drop_taken_back(items: Sequence[Item]) -> Correction:
    """Return what is behind the last "no wait", where anything else follows it, and what was before.

    Args:
      items: of a sentence.
    """
    for i in range(len(items) - 1, -1, -1):
        length = _length_at(items, i)
        remainder = list(items[i + length :])
        words = [word for item in remainder if not item.is_break for word in item.words]
        if not length or not words:
            continue
        if set(words) & _OPPOSITE and set(words) <= _OPPOSITE | _AROUND:
            return Correction(tuple(items[:i]), is_opposite=True)
        while remainder and (remainder[0].is_break or remainder[0].words[0] == "rather"):
            remainder.pop(0)
        head = [item for item in items[:i] if not item.is_a("hard")]
        return Correction(tuple(remainder), join_text(head))
    return Correction(tuple(items))


def _length_at(items: Sequence[Item], i: int) -> int:
    """Return how many items take back what is before item i, 0 for none."""
    is_first = i == 0 or items[i - 1].is_break or items[i - 1].is_a("hard")
    for count in (3, 2, 1):
        words = tuple(word for item in items[i : i + count] for word in item.words)
        if words in _TAKES_BACK and (is_first or words in _PLAIN):
            return count
    return 0
