"""Asides: comparisons, reasons and descriptions, whose words need not be known: items → **`pass_over_asides`** → what is asked for.

People tell why they wish for something ("because that is when we got married"), what it should resemble ("like the poster of that film") and how the
clip is ("it was cloudy that day"). Of such parts of a sentence an unknown word can be left out, where it can in no request ("put a hat on him"). What is
left out is told, and nothing is left out of a sentence that names a thing, a color or an operation in an aside.
"""

from __future__ import annotations

from collections.abc import Sequence

from v2v.language.clause_reading import COLORS_OF
from v2v.language.descriptions import Remainder, is_plainly, is_unknown, join_text, split_segments, tells_only
from v2v.language.lexicon import Kind, Lexicon
from v2v.language.matching import Item

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


def pass_over_asides(items: Sequence[Item], lexicon: Lexicon) -> Remainder:
    """Leave out the unknown words of comparisons, reasons and descriptions.

    Args:
      items: of a sentence with unknown words.
      lexicon: the phrases.
    """
    content: list[Item] = []
    passed: list[str] = []
    segments = split_segments(items, lexicon)
    for i, segment in enumerate(segments):
        if not any(is_unknown(item) for item in segment):
            content += segment
            continue
        # "Thank you, Margaret"; "... but leave the window as it is" where a place is named already.
        is_signature = not any(item.meanings and not item.is_a("filler") for item in segment) and all(
            item.text[:1].isupper() for item in segment if is_unknown(item)
        )
        if i and (is_signature or _keeps_the_rest(segment, segments[:i])):
            passed.append(join_text(segment))
            continue
        if tells_only(segments, i, lexicon):
            passed.append(join_text(segment))
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
            # "so the eye goes to the middle" is no place of the edit, "because the left half is burnt" is.
            is_flip = any({"mirror-image", "upside-down"} & set(item.values("look")) for item in content)
            is_purpose = bool(reason) and segment[start].words[0] == "so" and not is_flip
            forbidden = (
                (*_NEVER, "color")
                if is_purpose
                else (*_NEVER, "region")
                if reason
                else (*_NEVER, *_NOT_COMPARED)
            )
            if any(is_unknown(item) for item in aside) and not any(
                is_plainly(item, forbidden) and "person" not in item.values("thing") for item in aside
            ):
                cues = (
                    []
                    if reason
                    else [item for item in aside if item.is_a(*_CUES) and not item.is_a("filler", "verb")]
                )
                passed.append(join_text([item for item in aside if item not in cues]))
                content += cues
            else:
                content += aside
            start = end
    return Remainder(tuple(content), tuple(text for text in passed if text))


def _keeps_the_rest(segment: Sequence[Item], earlier: Sequence[Sequence[Item]]) -> bool:
    """Return whether a segment wants something kept that is not in the place where the edit is ("make me darker but leave the window")."""
    has_place = any(item.is_a("thing") for other in earlier for item in other)
    is_kept = any(item.is_a("keep") for item in segment) or [item.words for item in segment[:2]] == [
        ("but",),
        ("not",),
    ]
    return (
        has_place
        and is_kept
        and not any(
            is_plainly(item, ("look", "state", "color", "thing", "region", "property")) for item in segment
        )
    )


def _without_modifiers(items: list[Item]) -> tuple[list[Item], list[str]]:
    """Return items without unknown words beside a look of one noun phrase ("a saturday morning cartoon", "that neon city feel"), and these words.

    A noun phrase stands alone, or behind what begins none of the things in a clip: "into a ..." and "like ...", not "make the ...".
    """
    content, passed, start = list(items), [], 0
    while start < len(content):
        end = start
        while end < len(content) and (is_unknown(content[end]) or _is_look_noun(content[end])):
            end += 1
            # "spooky purple fog"
            has_color = (
                end + 1 < len(content) and content[end].is_a("color") and _is_look_noun(content[end + 1])
            )
            end += int(has_color and all(map(is_unknown, content[start:end])))
        run = content[start:end]
        looks = [item for item in run if _is_look_noun(item)]
        # A look that other words follow says how something else is ("a warm smile"), unless it is a feeling, and a name that precedes it whose it is.
        is_last = (
            bool(looks)
            and run[-1] is looks[-1]
            or (end < len(content) and content[end].words[-1] in _MANNERS)
        )
        has_name = any(item.text.istitle() for item in run[:-1] if is_unknown(item))
        # "hard contrasty black and white"
        is_one = len(looks) == 1 or all(map(is_unknown, run[: run.index(looks[0])] if looks else []))
        is_one &= any(map(is_unknown, run)) and not any(
            map(is_unknown, run[run.index(looks[0]) :] if looks and len(looks) > 1 else [])
        )
        if looks and is_one and len(run) > 1 and is_last and not has_name and _begins_phrase(content, start):
            parts = [item for item in run if not is_unknown(item)]
            passed.append(join_text([item for item in run if is_unknown(item)]))
            content[start:end] = parts
            end = start + len(parts)
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
    is_name = is_unknown(follows) and follows.text[:1].isupper() and not follows.text.isupper()
    intros = ("very", "so", "total", "pure", "proper", *(("in",) if start else ()))  # "like fall in Vermont"
    return 1 if is_name and items[start].words[-1] in intros else 0


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


# What begins a comparison that can only say the same as what it follows.
_RESEMBLES = frozenset({("like",), ("as", "if"), ("as", "though"), ("such", "as"), ("think",), ("similar", "to"), ("reminiscent", "of"), ("you", "know"), ("just", "like")})  # fmt: skip


def drop_repeated_comparisons(items: Sequence[Item], lexicon: Lexicon) -> Remainder:
    """Leave out looks that a comparison adds to what has a name before it ("brown tint, like coffee", "comic dots like on a Lichtenstein poster").

    A look that contains the one before it stays ("dark, like at night"), and so does one of its color ("orange like a sunset").

    Args:
      items: of a sentence.
      lexicon: the phrases.
    """
    content: list[Item] = []
    passed: list[str] = []
    start = 0
    while start < len(items):
        length = _starts_with(items, start, _RESEMBLES)
        end = _end_of_aside(items, start + length) if length else start + 1
        aside = items[start:end]
        cues = [
            item for item in aside if item.is_a("look", "state", "color") and not item.is_a("filler", "verb")
        ]
        if length and cues and _repeats(items[:start], aside, cues, lexicon):
            passed.append(join_text(aside))
        else:
            content += aside
        start = end
    return Remainder(tuple(content), tuple(passed))


def _repeats(before: Sequence[Item], aside: Sequence[Item], cues: Sequence[Item], lexicon: Lexicon) -> bool:
    """Return whether a comparison follows what it compares and asks for nothing of its own."""
    content = [item for item in before if is_plainly(item, ("look", "state", "color"))]
    trail = list(before)
    while (
        trail
        and not trail[-1].is_break
        and trail[-1].is_a("filler", "weak", "strong")
        and not trail[-1].is_a("verb")
    ):
        trail.pop()
    is_next = bool(trail) and (
        trail[-1].is_break or is_plainly(trail[-1], ("look", "state", "color", "property"))
    )
    is_next = is_next or (bool(trail) and trail[-1].is_a("down_particle"))
    if (
        not content
        or not is_next
        or any(item.is_a(*_NEVER, "region", "thing", "up", "down", "lower") for item in aside)
    ):
        return False
    names = {name for item in content for name in item.values("look", "state")}
    colors = {name for item in content for name in item.values("color")}
    for item in cues:
        if item.is_a("color") and not set(item.values("color")) <= colors:
            return False
        for name in item.values("look", "state"):
            entry = lexicon.looks[name]
            if names & set(entry.implies) or (colors & set(COLORS_OF.get(name, ()))):
                return False
    return True
