"""Grammar of the names that people give to objects: articles, plurals, numbers.

"red apple" → "a red apple", "red apples", "two red apples".
"""

from __future__ import annotations

import re

NUMBERS = ("no", "one", "two", "three", "four", "five", "six")
_IRREGULAR = {
    "man": "men",
    "woman": "women",
    "child": "children",
    "person": "people",
    "mouse": "mice",
    "goose": "geese",
    "tooth": "teeth",
    "foot": "feet",
    "leaf": "leaves",
    "knife": "knives",
    "wolf": "wolves",
    "calf": "calves",
    "loaf": "loaves",
    "potato": "potatoes",
    "tomato": "tomatoes",
    "mango": "mangoes",
    "ox": "oxen",
    **dict.fromkeys(("sheep", "fish", "deer", "aircraft", "squid", "shrimp"), None),
}
# Nouns in the plural that end otherwise than in s.
_PLURALS = frozenset("people men women children mice geese teeth feet".split())
_MASS = frozenset(
    "bread rice bacon food clothing jewelry honey milk butter salt corn ice fire water sushi spaghetti ginger garlic furniture luggage".split()
)
# Letters whose sound at the beginning differs from their look.
_VOWEL_SOUND = re.compile(r"(?!uni|use|euro|one)[aeiou]|hour|heir|honest", re.IGNORECASE)


def is_plural(name: str) -> bool:
    """Return whether a name is that of several things, such as "cherries"."""
    last = _split_phrase(name)[0].split()[-1].lower()
    return last in _PLURALS or (last.endswith("s") and not last.endswith(("ss", "us", "is")))


def is_countable(name: str) -> bool:
    """Return whether there can be two of it."""
    return not is_plural(name) and _split_phrase(name)[0].split()[-1].lower() not in _MASS


def with_article(name: str) -> str:
    """Return a name as it is first mentioned: "an apple", "some bread", "cherries"."""
    last = name.split()[-1].lower()
    if is_plural(name):
        return name
    if last in _MASS:
        return f"some {name}"
    return f"{'an' if _VOWEL_SOUND.match(name) else 'a'} {name}"


def pluralize(name: str) -> str:
    """Return the plural of a countable name."""
    head, preposition, complement = _split_phrase(name)
    *front, last = head.split()
    lower = last.lower()
    if lower in _IRREGULAR:
        plural = _IRREGULAR[lower] or last
    elif lower.endswith(("s", "x", "z", "ch", "sh")):
        plural = f"{last}es"
    elif lower.endswith("y") and lower[-2:-1] not in "aeiou":
        plural = f"{last[:-1]}ies"
    else:
        plural = f"{last}s"
    return " ".join([*front, plural]) + preposition + complement


def _split_phrase(name: str) -> tuple[str, str, str]:
    """Return the noun of a name, and what follows it by a preposition: "teacup", " without ", "handle"."""
    match = re.search(r" (without|with|of|in|and|for|on) ", name)
    return (name[: match.start()], match[0], name[match.end() :]) if match else (name, "", "")


def count(number: int, name: str) -> str:
    """Return a number of things, such as "two apples"."""
    return f"{NUMBERS[number]} {name if number == 1 else pluralize(name)}"
