"""Numbers of things in words: "1 item", "2 items"."""

from __future__ import annotations


def format_count(number: int, noun: str, plural: str = "") -> str:
    """Return a number and its noun.

    Args:
      number: how many.
      noun: in the singular; the number may be followed by several words, such as "item lacks files".
      plural: the words for any other number than 1; "" where an s is added.
    """
    return f"{number} {noun if number == 1 else plural or noun + 's'}"
