"""Words of a sentence in a normal form: lower case, American spelling, and the base forms that each may be an inflection of."""

from __future__ import annotations

import functools
import re
import unicodedata
from dataclasses import dataclass

# Of shorter stems words are no inflections: "forest" is none of "for".
SHORTEST_BASE = 4
# Ends of clauses; punctuation that separates nothing, such as quotes, is left out.
BREAKS = frozenset(",;.:!?()")
# Written forms → words, before a sentence is split.
_REWRITES = (
    (r"\bb\s*(?:&|/|\+|n|'n'|and)\s*w\b", "black and white"),
    (r"\bbnw\b", "black and white"),
    (r"[&+]", " and "),
    (r"\bca?n['’]?t\b", "can not"),
    (r"\bwon['’]t\b", "will not"),
    (r"\b(do|does|did|is|are|was|were|would|should|could|must|has|have)n['’]?t\b", r"\1 not"),
    (r"\b(it|that|there|he|she|what|here|let)['’]s\b", r"\1 is"),
    (r"\bi['’]m\b", "i am"),
    (r"\b(you|we|they)['’]re\b", r"\1 are"),
    (r"\b(i|you|we|they)['’](?:ve|d|ll)\b", r"\1"),
    (r"(?<=\w)['’]s?\b", ""),
    (r"(?<=\d)\s*%", " percent "),
    (r"(?<=\w)[-–/_](?=\w)", " "),
)
# British → American. The endings -ise and -isation are turned where the rest stays a word of three letters or more.
_SPELLINGS = (
    (r"^(.*)colour(.*)$", r"\1color\2"),
    (r"^(.*)grey(.*)$", r"\1gray\2"),
    (r"^(.*)cent(?:re)(d|s)?$", r"\1center\2"),
    (r"^(.*)theatre(.*)$", r"\1theater\2"),
    (r"^(.{3,})is(e|es|ed|er|ing|ation)$", r"\1iz\2"),
    (r"^(.{3,})yse(d|s)?$", r"\1yze\2"),
    (r"^(vap|fav|hum|vig|neighb|harb|flav)our(.*)$", r"\1or\2"),
    (r"^(dark|light|bright|sharp|soft)end$", r"\1ened"),
)
_UNCHANGED = frozenset({"noise", "raise", "praise", "rise", "wise", "likewise", "otherwise", "precise", "disguise", "sunrise", "exercise", "promise", "surprise", "advise", "turquoise"})  # fmt: skip
_IRREGULAR = {
    "drawn": "draw", "drew": "draw", "shot": "shoot", "shone": "shine", "lit": "light", "frozen": "freeze", "men": "man", "women": "woman",
    "people": "person", "children": "child", "leaves": "leaf", "worse": "bad", "taken": "take", "took": "take", "made": "make", "gave": "give",
    "given": "give", "got": "get", "gotten": "get", "went": "go", "gone": "go", "kept": "keep", "left": "left", "lost": "lose", "fell": "fall",
    "fallen": "fall", "felt": "feel", "worn": "worn", "became": "become", "put": "put", "hid": "hide", "hidden": "hide",
}  # fmt: skip


@dataclass(frozen=True)
class Token:
    """A word or a break of a sentence.

    Attributes:
      text: as typed.
      word: in lower case and American spelling; "," for any break.
    """

    text: str
    word: str

    @property
    def is_break(self) -> bool:
        """Return whether it ends a clause and is no word."""
        return self.word == ","


def split_sentence(sentence: str) -> list[Token]:
    """Split a sentence into words and breaks; symbols that are neither, such as emoji, are left out."""
    text = unicodedata.normalize("NFKC", sentence).replace("\u2019", "'").replace("`", "'")
    for pattern, replacement in _REWRITES:
        text = re.sub(pattern, replacement, text, flags=re.IGNORECASE)
    tokens = []
    for match in re.finditer(r"\d+(?:[.,:]\d+)+[^\W_]*|[^\W_]+|[,;.:!?()]", text):
        piece = match.group()
        tokens.append(Token(piece, "," if piece in BREAKS else normalize_word(piece)))
    return tokens


def normalize_word(word: str) -> str:
    """Return a word in lower case and American spelling."""
    word = word.lower()
    if word in _UNCHANGED:
        return word
    for pattern, replacement in _SPELLINGS:
        word = re.sub(pattern, replacement, word)
    return word


@functools.lru_cache(maxsize=4096)
def base_forms(word: str) -> tuple[str, ...]:
    """Return the word and the base forms that it may be inflected from, likeliest first; some are no words.

    Args:
      word: in its normal form.
    """
    forms = [word]
    if word in _IRREGULAR:
        forms.append(_IRREGULAR[word])
    for ending, replacements in (
        ("iest", ("y",)), ("ier", ("y",)), ("ies", ("y",)), ("ied", ("y",)), ("ily", ("y",)), ("iness", ("y",)), ("ness", ("",)),
        ("ingly", ("", "e")), ("ing", ("", "e")), ("est", ("", "e")), ("ed", ("", "e")), ("er", ("", "e")), ("es", ("", "e")), ("s", ("",)),
        ("ly", ("",)), ("ish", ("", "e")),
    ):  # fmt: skip
        if not word.endswith(ending) or len(word) - len(ending) < 3:
            continue
        stem = word[: -len(ending)]
        for replacement in replacements:
            forms.append(stem + replacement)
        # blurred → blur
        if len(stem) > 3 and stem[-1] == stem[-2] and ending in ("ing", "est", "ed", "er", "ish"):
            forms.append(stem[:-1])
    return tuple(
        dict.fromkeys(
            form
            for form in forms
            if form == word or len(form) >= SHORTEST_BASE or word == f"{form}s" or form in _IRREGULAR.values()
        )
    )


def is_comparative(word: str) -> bool:
    """Return whether a word looks like "brighter" or "brightest"."""
    return len(word) > 4 and word.endswith(("er", "est"))
