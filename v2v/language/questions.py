"""Questions and feelings: items → **`asks_or_feels`** → whether a sentence asks for no edit ("what does sepia mean?", "I feel blue today").

Questions that are wishes stay wishes: "what would it look like at night?", "is there a way to make it darker?", "why is it so dark? brighten it".
"""

from __future__ import annotations

from collections.abc import Sequence

from v2v.language.matching import Item

_ASKING = frozenset({"what", "why", "how", "when", "who", "where", "which"})
_BE = frozenset({"is", "are", "was", "were", "does", "do", "did", "has", "have"})
# Of one word: "what's", "whats".
_SHORT = frozenset(
    {"what's", "whats", "why's", "whys", "who's", "whos", "where's", "wheres", "when's", "how's"}
)
_QUANTITIES = frozenset({"long", "many", "much", "come"})
_FACTS = (
    ("did", "you", "know"),
    ("do", "you", "know"),
    ("do", "you", "have"),
    ("is", "there"),
    ("are", "there"),
)
# What makes a wish of a question.
_WISHES = frozenset({"make", "turn", "give", "change", "put", "apply", "way", "chance", "possible", "should", "would", "could", "can", "please", "pls", "plz"})  # fmt: skip


def asks_or_feels(items: Sequence[Item]) -> bool:
    """Return whether a sentence of one clause asks for a fact or tells how its writer feels.

    Args:
      items: of a sentence.
    """
    words = [word for item in items if not item.is_break for word in item.words]
    if any(item.is_break or item.is_a("hard") for item in items[:-1]) or _WISHES.intersection(words):
        return False
    if words[:2] == ["i", "feel"] or words[:3] == ["i", "am", "feeling"]:
        return "like" not in words and any(item.is_a("look", "state", "color") for item in items[2:4])
    is_question = len(words) > 1 and words[0] in _ASKING and words[1] in _BE | _QUANTITIES
    return (
        is_question
        or (bool(words) and words[0] in _SHORT)
        or any(tuple(words[: len(w)]) == w for w in _FACTS)
    )
