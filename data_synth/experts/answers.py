"""What experts that write answer: captions of clips, instructions, and verdicts on pairs.

JSON of an expert → **`parse_answer`** → `ClipCaption`, instructions or `Verdict`. The forms, for one job each:

    caption    "a dog on a beach", or {"caption": "a dog on a beach", "nouns": ["dog", "ball"]}
    instruct   ["make the dog blue", ...], or {"instructions": [...]}
    filter     true, or {"keep": false, "reason": "the dog has five legs"}
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from v2v.runtime import text_files

# Longest text that is taken over, in characters, and largest number of entries of a list.
MAX_CHARACTERS, MAX_ENTRIES = 2000, 32


@dataclasses.dataclass(frozen=True)
class ClipCaption:
    """What is seen in a clip.

    Attributes:
      caption: Description, "" where there is none.
      nouns: Names of things that an edit may be about, such as "dog".
    """

    caption: str
    nouns: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Verdict:
    """A judgement on a pair.

    Attributes:
      keep: Whether the pair is good enough to train on.
      reason: Why, in a few words.
    """

    keep: bool
    reason: str = ""


def parse_caption(answer: Any) -> ClipCaption:
    """Return the caption in an answer.

    Raises:
      ValueError: The answer has another form.
    """
    table = {"caption": answer} if isinstance(answer, str) else answer
    if not isinstance(table, dict) or not isinstance(table.get("caption"), str):
        raise ValueError('answered no caption, expected "..." or {"caption": ..., "nouns": [...]}')
    nouns = _check_texts(table.get("nouns", []), "nouns")
    return ClipCaption(_check_text(table["caption"]), tuple(noun for noun in nouns if noun))


def parse_instructions(answer: Any) -> tuple[str, ...]:
    """Return the instructions in an answer; none where it finds nothing to ask for.

    Raises:
      ValueError: The answer has another form.
    """
    texts = answer.get("instructions") if isinstance(answer, dict) else answer
    return tuple(dict.fromkeys(filter(None, _check_texts(texts, "instructions"))))


def parse_verdict(answer: Any) -> Verdict:
    """Return the judgement in an answer.

    Raises:
      ValueError: The answer has another form.
    """
    table = {"keep": answer} if isinstance(answer, bool) else answer
    if not isinstance(table, dict) or not isinstance(table.get("keep"), bool):
        raise ValueError('answered no verdict, expected true, false or {"keep": ..., "reason": ...}')
    reason = table.get("reason") or ""
    return Verdict(table["keep"], _check_text(reason) if isinstance(reason, str) else "")


def _check_texts(texts: Any, name: str) -> list[str]:
    if (
        not isinstance(texts, Sequence)
        or isinstance(texts, str)
        or not all(isinstance(text, str) for text in texts)
    ):
        raise ValueError(f"answered no list of strings as {name}")
    return [_check_text(text) for text in texts[:MAX_ENTRIES]]


def _check_text(text: str) -> str:
    """Return a text on one line."""
    if not text_files.is_unicode(text):
        raise ValueError("answered text that UTF-8 can't hold")
    return " ".join(text.split())[:MAX_CHARACTERS]
