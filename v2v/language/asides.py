"""Asides: comparisons, reasons and descriptions, whose words need not be known: items → **`pass_over_asides`** → what is asked for.

People tell why they wish for something ("because that is when we got married"), what it should resemble ("like the poster of that film") and how the
clip is ("it was cloudy that day"). Of such parts of a sentence an unknown word can be left out, where it can in no request ("put a hat on him"). What is
left out is told, and nothing is left out of a sentence that names a thing, a color or an operation in an aside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from v2v.language.lexicon import Kind, Lexicon, Meaning
from v2v.language.matching import Item
from v2v.language.tokens import base_forms

# What can't be in an aside: it would be lost, or ask for something else there.
_NEVER: tuple[Kind, ...] = (
    "elsewhere",
    "remove",
    "insert",
    "replace",
    "recolor",
    "object",
    "time",
    "not",
    "except",
    "keep",
)
_NOT_COMPARED: tuple[Kind, ...] = ("color", "property", "up", "down", "lower", "region", "thing")
_NOT_TOLD: tuple[Kind, ...] = ("color", "region", "too", "up", "down", "lower")
_CUES: tuple[Kind, ...] = ("look", "state")
# Before a noun phrase that says what the clip should become: "a", "into a", "give me that".
_ARTICLES = frozenset(
    {"a", "an", "some", "that", "this", "those", "these", "of", "one", "sort", "kind", "type"}
)
_INTO = frozenset(
    {"into", "like", "as", "want", "need", "be", "with", "for", "more", "very", "really", "so", "such"}
)
_MANNERS = frozenset(
    {
        "feel",
        "feeling",
        "look",
        "vibe",
        "style",
        "mood",
        "effect",
        "atmosphere",
        "aesthetic",
        "treatment",
        "tone",
        "filter",
        "grade",
    }
)
_RECEIVERS = frozenset({"me", "us", "it"})


@dataclass(frozen=True)
class WithoutAsides:
    """A sentence without its asides.

    Attributes:
      items: what is left.
      passed: what was left out, as typed.
    """

    items: tuple[Item, ...]
    passed: tuple[str, ...]


def pass_over_asides(items: Sequence[Item], lexicon: Lexicon) -> WithoutAsides:
    """Leave out the unknown words of comparisons, reasons and descriptions.

    Args:
      items: of a sentence with unknown words.
      lexicon: the phrases.
    """
    content: list[Item] = []
    passed: list[str] = []
    segments = _split_segments(items)
    for i, segment in enumerate(segments):
        if not any(_is_unknown(item) for item in segment):
            content += segment
            continue
        # "Thank you, Margaret"; "... but leave the window as it is" where a place is named already.
        is_signature = not any(item.meanings and not item.is_a("filler") for item in segment) and all(
            item.text[:1].isupper() for item in segment if _is_unknown(item)
        )
        if i and (is_signature or _keeps_the_rest(segment, segments[:i])):
            passed.append(_text(segment))
            continue
        places = {place for item in segment for place in item.values("thing")}
        later_places = {
            place for other in segments[i + 1 :] for item in other for place in item.values("thing")
        }
        if _is_description(segment, segments[i + 1 :], lexicon) and (
            places <= later_places or _name_pronoun(segments[i + 1 :], segment)
        ):
            passed.append(_text(segment))
            content += [item for item in segment if item.is_break]
            continue
        segment, words = _without_modifiers(segment)
        passed += words
        start = 0
        while start < len(segment):
            length = _marker_length(segment, start, lexicon)
            if not length:
                content.append(segment[start])
                start += 1
                continue
            end = _end_of_aside(segment, start + length)
            aside = segment[start:end]
            reason = _starts_with(segment, start, lexicon.reasons)
            forbidden = (*_NEVER, "region") if reason else (*_NEVER, *_NOT_COMPARED)
            if any(_is_unknown(item) for item in aside) and not any(
                _is_plainly(item, forbidden) and "person" not in item.values("thing") for item in aside
            ):
                cues = (
                    []
                    if reason
                    else [item for item in aside if item.is_a(*_CUES) and not item.is_a("filler", "verb")]
                )
                passed.append(_text([item for item in aside if item not in cues]))
                content += cues
            else:
                content += aside
            start = end
    return WithoutAsides(tuple(content), tuple(text for text in passed if text))


def _keeps_the_rest(segment: Sequence[Item], earlier: Sequence[Sequence[Item]]) -> bool:
    """Return whether a segment wants something kept that is not in the place where the edit is ("make me darker but leave the window")."""
    has_place = any(item.is_a("thing") for other in earlier for item in other)
    is_kept = any(item.is_a("keep") for item in segment)
    return (
        has_place
        and is_kept
        and not any(
            _is_plainly(item, ("look", "state", "color", "thing", "region", "property")) for item in segment
        )
    )


def _name_pronoun(segments: Sequence[list[Item]], description: Sequence[Item]) -> bool:
    """Put what a description is about in place of "it" in what follows ("the caption is hard to read, make it brighter"); return whether that is there."""
    subject = next(item for item in description if item.is_a("thing"))
    for segment in segments:
        for i, item in enumerate(segment):
            if item.words in (("it",), ("they",), ("those",)):
                segment[i] = Item(item.text, item.words, (Meaning("thing", subject.values("thing")[0]),))
                return True
    return False


def _without_modifiers(items: list[Item]) -> tuple[list[Item], list[str]]:
    """Return items without unknown words beside a look of one noun phrase ("a saturday morning cartoon", "that neon city feel"), and these words.

    A noun phrase stands alone, or behind what begins none of the things in a clip: "into a ..." and "like ...", not "make the ...".
    """
    content, passed, start = list(items), [], 0
    while start < len(content):
        end = start
        while end < len(content) and (_is_unknown(content[end]) or _is_look_noun(content[end])):
            end += 1
        run = content[start:end]
        looks = [item for item in run if _is_look_noun(item)]
        # A look that other words follow says how something else is ("a warm smile"), unless it is a feeling, and a name that precedes it whose it is.
        is_last = (
            bool(looks) and run[-1] is looks[0] or (end < len(content) and content[end].words[-1] in _MANNERS)
        )
        has_name = any(item.text.istitle() for item in run[:-1] if _is_unknown(item))
        if len(looks) == 1 and len(run) > 1 and is_last and not has_name and _begins_phrase(content, start):
            passed.append(_text([item for item in run if item not in looks]))
            content[start:end] = looks
            end = start + 1
        start = max(end, start + 1)
    return content, passed


def _is_look_noun(item: Item) -> bool:
    return item.is_a("look") and not item.is_a("filler", "verb", "property", "color")


def _begins_phrase(items: Sequence[Item], start: int) -> bool:
    """Return whether the noun phrase at `start` is what the clip should be, by the words before it."""
    words_before = [item for item in items[:start] if not item.is_break]
    while words_before and words_before[-1].words[-1] in _ARTICLES:
        words_before.pop()
    if not words_before:
        return not any(item.is_a("verb", "up", "down", "lower") for item in items[start:])
    last = words_before[-1].words[-1]
    return last in _INTO or (last in _RECEIVERS and len(words_before) > 1)


def _split_segments(items: Sequence[Item]) -> list[list[Item]]:
    """Divide items behind each break, and before "but" and "then"."""
    segments: list[list[Item]] = [[]]
    for item in items:
        if item.is_a("hard") and segments[-1]:
            segments.append([])
        segments[-1].append(item)
        if item.is_break:
            segments.append([])
    return [segment for segment in segments if segment]


def _is_unknown(item: Item) -> bool:
    return not item.is_break and not item.meanings


def _is_plainly(item: Item, kinds: Sequence[Kind]) -> bool:
    """Return whether an item is of some kinds, and no word that changes nothing besides."""
    return item.is_a(*kinds) and not item.is_a("filler", "verb", "soft")


def _text(items: Sequence[Item]) -> str:
    return " ".join(item.text for item in items if not item.is_break)


def _starts_with(items: Sequence[Item], start: int, phrases: frozenset[tuple[str, ...]]) -> int:
    """Return how many items make up one of some phrases at `start`, 0 for none."""
    for count in (3, 2, 1):
        words = tuple(word for item in items[start : start + count] for word in item.words)
        if words in phrases and start + count <= len(items):
            return count
    return 0


def _marker_length(items: Sequence[Item], start: int, lexicon: Lexicon) -> int:
    """Return how many items begin an aside at `start`, 0 where none begins."""
    length = _starts_with(items, start, lexicon.comparisons) or _starts_with(items, start, lexicon.reasons)
    if length or start + 1 >= len(items):
        return length
    # "very Terrence Malick"
    follows = items[start + 1]
    is_name = _is_unknown(follows) and follows.text[:1].isupper()
    return 1 if is_name and items[start].words[-1] in ("very", "so", "total", "pure", "proper") else 0


def _end_of_aside(items: Sequence[Item], start: int) -> int:
    """Return where an aside ends: at a break, or at "and" before a request."""
    for i in range(start, len(items)):
        if items[i].is_break:
            return i
        follows = items[i + 1] if i + 1 < len(items) else None
        if (
            items[i].is_a("soft")
            and follows is not None
            and follows.is_a("verb", "up", "down", "lower", *_CUES)
        ):
            return i
    return len(items)


def _is_description(items: Sequence[Item], following: Sequence[Sequence[Item]], lexicon: Lexicon) -> bool:
    """Return whether a segment with unknown words tells how something is: who or what, then "is" or the like, and no wish.

    Args:
      items: the segment.
      following: the segments after it; where it names a color or a look, one of them has to name the edit, and no color ("his hat is red, make it
        green" is about the hat).
      lexicon: the phrases.
    """
    words = [word for item in items for word in item.words]
    if not lexicon.subjects & set(words[:3]) or _starts_with(items, 0, lexicon.comparisons):
        return False
    has_cue = any(_is_plainly(item, ("look", "state", "color")) for item in items)
    others = [item for segment in following for item in segment]
    if has_cue and (
        any(item.is_a("color") for item in others)
        or not any(_is_plainly(item, ("look", "state", "property")) for item in others)
    ):
        return False
    forbidden: list[Kind] = [
        kind for kind in (*_NEVER, *_NOT_TOLD) if kind != "color" and (kind != "not" or has_cue)
    ]
    if any(_is_plainly(item, forbidden) for item in items):
        return False
    forms = {form for word in words for form in base_forms(word)}
    return not forms & lexicon.wishes and bool(forms & lexicon.statements)
