"""Descriptions: what tells how a clip is or came to be, beside a request: segments → **`tells_only`**, **`leave_out_told`** → what is asked for.

"It was a cold winter day, make it warmer" asks for warmer alone: who says how the clip is does not ask for it. A description has a subject and a
finite verb, no wish and no imperative, and stands beside a segment that asks for something.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from v2v.language.lexicon import Kind, Lexicon, Meaning
from v2v.language.matching import Item
from v2v.language.tokens import base_forms

REQUESTS: tuple[Kind, ...] = ("look", "state", "property", "color")
# Words before a subject: "ok so this is ...", "because it was ...".
_LEADING = frozenset(
    {"ok", "okay", "so", "and", "but", "because", "since", "sorry", "hi", "hello", "hey", "basically", "well", "anyway", "please", "then", "also", "here", "though"}
)  # fmt: skip
_PRONOUNS = frozenset({"it", "there", "he", "she", "they", "we", "i", "im", "you", "everyone", "everybody", "nobody"})  # fmt: skip
_COPULAS = frozenset({"is", "are", "was", "were", "am", "have", "had", "looks", "look", "can", "do", "does", "did", "could"})  # fmt: skip
# Behind these words a subject goes on with what it follows: "as if it was".
_CLAUSE_WORDS = frozenset(
    {"if", "like", "as", "that", "so", "where", "when", "what", "who", "how", "because", "than", "way", "though", "until", "which", "make", "makes", "and", "or", "of", "think", "wish", "since", "while"}
)  # fmt: skip
_ASKING = frozenset({"can", "could", "would", "will"})
_COMMANDS = frozenset({"make", "turn", "give", "change", "put", "add", "please", "pls", "kindly", "maybe", "brighten", "darken", "lighten", "blur", "sharpen", "do", "just", "can", "could", "would", "what"})  # fmt: skip
_BEFORE_INFINITIVE = frozenset({"to", "you", "u", "i", "we", "they", "it", "not", "can", "could", "would", "will", "should", "must", "that", "lets", "let", "and", "or"})  # fmt: skip
# A request in so many words; a look that merely stands there may be part of what is told.
_EXPLICIT = frozenset(
    {"make", "turn", "give", "change", "can", "could", "should", "would", "please", "pls", "want", "need", "prefer", "rather", "let", "add", "set"}
)  # fmt: skip
_POLITE = frozenset({"please", "pls", "plz", "thanks", "thx"})
_BARE = frozenset({("it",), ("them",), ("those",), ("these",), ("they",)})


@dataclass(frozen=True)
class Remainder:
    """What is left of a sentence.

    Attributes:
      items: what asks for something.
      passed: what was left out, as typed.
    """

    items: tuple[Item, ...]
    passed: tuple[str, ...] = ()


def is_unknown(item: Item) -> bool:
    """Return whether an item is a word without a meaning."""
    return not item.is_break and not item.meanings


def is_plainly(item: Item, kinds: Sequence[Kind]) -> bool:
    """Return whether an item is of some kinds, and no word that changes nothing besides."""
    return item.is_a(*kinds) and not item.is_a("filler", "verb", "soft")


def join_text(items: Sequence[Item]) -> str:
    """Return items as typed, without punctuation."""
    return " ".join(item.text for item in items if not item.is_break)


def split_segments(items: Sequence[Item], lexicon: Lexicon) -> list[list[Item]]:
    """Divide items behind each break, before "but" and "then", and where a description and a request meet without a sign between them.

    Args:
      items: of a sentence.
      lexicon: the phrases.
    """
    segments: list[list[Item]] = [[]]
    for i, item in enumerate(items):
        current = segments[-1]
        follows = items[i + 1].words[0] if i + 1 < len(items) else ""
        if current and (
            item.is_a("hard")
            or (current[-1].words[-1] in _POLITE and len(current) > 1 and _states(items[i:], lexicon))
            or (_states(current, lexicon) and _opens_request(item, follows, current[-1]))
            or (any(is_plainly(other, REQUESTS) for other in current) and _opens_statement(items, i))
        ):
            segments.append([])
        segments[-1].append(item)
        if item.is_break:
            segments.append([])
    return [segment for segment in segments if segment]


def _opens_request(item: Item, follows: str, previous: Item) -> bool:
    """Return whether a request begins at an item: "... can you", "... so make", "... i want", "... make me"."""
    first = item.words[0]
    second = item.words[1] if len(item.words) > 1 else follows
    return (
        (first in _ASKING and second in ("you", "u", "it", "this", "we", "i"))
        or (first == "so" and second in _COMMANDS)
        or (first == "i" and second in ("want", "would", "need", "prefer", "wish"))
        or (first in ("please", "pls", "kindly") and second != "")
        or (first in ("make", "turn", "give") and previous.words[-1] not in _BEFORE_INFINITIVE)
    )


def _opens_statement(items: Sequence[Item], i: int) -> bool:
    """Return whether a description begins at item i: "brighter please it is so dark"."""
    if i == 0 or i + 1 >= len(items) or items[i - 1].words[-1] in _CLAUSE_WORDS:
        return False
    first, follows = list(items[i].words), items[i + 1]
    verb = (*first, *follows.words)[1]
    if first == ["its"]:
        return follows.is_a("too", "state", "strong")
    return first[0] in _PRONOUNS and verb in _COPULAS


def _subject_words(items: Sequence[Item]) -> list[str]:
    words = [word for item in items if not item.is_break for word in item.words]
    while words and words[0] in _LEADING:
        words.pop(0)
    return words


def _states(items: Sequence[Item], lexicon: Lexicon) -> bool:
    """Return whether items have the form of a statement: a subject first, then a finite verb, and no wish."""
    words = _subject_words(items)
    if not words or not (_is_subject(words, lexicon) or _is_noun_with_verb(words, items, lexicon)):
        return False
    # "i can not see", "i do not like it" wish for nothing.
    plain = [
        word
        for word, after in zip(words, [*words[1:], ""], strict=True)
        if not (word in ("can", "could", "do", "would") and after == "not")
    ]
    forms = {form for word in plain for form in base_forms(word)}
    has_verb = any(form in lexicon.statements for word in words[1:] for form in base_forms(word))
    return not forms & lexicon.wishes and (has_verb or words[0] in ("its", "im", "thank", "thanks", "sorry"))


def _is_subject(words: Sequence[str], lexicon: Lexicon) -> bool:
    return bool(lexicon.subjects & {words[0], *base_forms(words[0])})


def _is_noun_with_verb(words: Sequence[str], items: Sequence[Item], lexicon: Lexicon) -> bool:
    """Return whether an unknown word or a place and a finite verb come first: "buyers love this", "sky is burned"."""
    first = next(item for item in items if words[0] in item.words)
    is_noun = is_unknown(first) or first.is_a("thing", "property")
    return is_noun and len(words) > 1 and any(form in lexicon.statements for form in base_forms(words[1]))


def tells_only(segments: Sequence[list[Item]], i: int, lexicon: Lexicon) -> bool:
    """Return whether segment i tells something beside a request, so that its unknown words change nothing of what is asked for.

    What it names is put in place of "it" in a later segment ("the caption is hard to read, make it brighter").

    Args:
      segments: of the sentence.
      i: which one.
      lexicon: the phrases.
    """
    items, others = segments[i], [item for other in (*segments[:i], *segments[i + 1 :]) for item in other]
    if not _states(items, lexicon) or not any(item.is_a(*REQUESTS) for item in others):
        return False
    if any(is_plainly(item, ("object", "except", "up", "down", "lower")) for item in items):
        return False
    has_cue = any(is_plainly(item, ("look", "state", "color")) for item in items)
    is_excess = any(item.is_a("too", "strong") for item in items)
    is_after = i > 0 and any(is_plainly(item, REQUESTS) for other in segments[:i] for item in other)
    is_opposed = has_cue and _opposes(items, others, lexicon)
    if has_cue and (
        any(item.is_a("color") for item in others) or (is_after and not is_excess and not is_opposed)
    ):
        return False
    if not is_after and _refers_to_unknown(items, others):
        return False
    places = {name for item in items for name in item.values("thing", "region")}
    other_places = {name for item in others for name in item.values("thing", "region")}
    is_remark = (places == {"person"} or is_after) and not has_cue and not is_excess
    return places <= other_places or is_remark or _name_pronoun(segments[i + 1 :], items)


def _opposes(items: Sequence[Item], others: Sequence[Item], lexicon: Lexicon) -> bool:
    """Return whether all looks that items name are opposites of looks that others name ("warmer please, the food looks cold")."""
    names = {
        name for item in items if not item.is_a("verb", "filler") for name in item.values("state", "look")
    }
    wanted = {name for item in others for name in item.values("state", "look")}
    return bool(names) and any(lexicon.looks[name].opposite in wanted for name in names)


def _refers_to_unknown(items: Sequence[Item], others: Sequence[Item]) -> bool:
    """Return whether a request is about a thing that is not known: "his hat is red, make it darker"."""
    content = [item for item in items if not item.is_break and item.words[0] not in _LEADING]
    verb = next((n for n, item in enumerate(content) if set(item.words) & {"is", "are", "was", "were", "looks", "look", "has", "have"}), 0)  # fmt: skip
    return any(is_unknown(item) for item in content[1:verb]) and any(item.words in _BARE for item in others)


def _name_pronoun(segments: Sequence[list[Item]], description: Sequence[Item]) -> bool:
    """Put what a description is about in place of "it" in what follows; return whether that is there."""
    subject = next(item for item in description if item.is_a("thing", "region"))
    kind = "thing" if subject.is_a("thing") else "region"
    for segment in segments:
        for n, item in enumerate(segment):
            if item.words in _BARE or (item.is_a("thing") and item.words in (("them",), ("they",))):
                segment[n] = Item(item.text, item.words, (Meaning(kind, subject.values(kind)[0]),))
                return True
    return False


def leave_out_told(items: Sequence[Item], lexicon: Lexicon) -> Remainder:
    """Leave out segments that say how the clip is or was, with a look, where another asks for something ("it was a cold winter day, make it warmer").

    Args:
      items: of a sentence.
      lexicon: the phrases.
    """
    segments = split_segments(items, lexicon)
    content: list[Item] = []
    passed: list[str] = []
    for i, segment in enumerate(segments):
        others = segments[:i] + segments[i + 1 :]
        if _describes_clip(segment, lexicon) and any(_asks(other, lexicon) for other in others):
            passed.append(join_text(segment))
            content += [item for item in segment if item.is_break]
        else:
            content += segment
    return Remainder(tuple(content), tuple(passed))


def _describes_clip(items: Sequence[Item], lexicon: Lexicon) -> bool:
    """Return whether items say that the clip is, was or looks like a look."""
    words = _subject_words(items)
    is_about_clip = words[:1] in (["it"], ["its"], ["this"]) or words[:2] in (
        ["the", "day"],
        ["the", "weather"],
    )
    is_about_clip |= words[:1] == ["the"] and any(
        item.is_a("look") for item in items[:2]
    )  # "the fog was thick"
    copula = {"is", "was", "were", "looks", "its"} & set(words[:4])
    looks = [item for item in items if is_plainly(item, ("look",)) or is_plainly(item, ("state",))]
    if not is_about_clip or not copula or not _states(items, lexicon) or not looks:
        return False
    return not any(
        (item.is_a("state") and item.is_comparative)
        or item.is_a("too", "not", "up", "down", "lower", "thing", "region", "verb")
        and not item.is_a("look")
        for item in items
        if not set(item.words) <= _COPULAS
    )


def _asks(items: Sequence[Item], lexicon: Lexicon) -> bool:
    """Return whether items ask for a look in so many words."""
    words = {word for item in items for word in item.words}
    return (
        any(is_plainly(item, REQUESTS) for item in items)
        and bool(words & _EXPLICIT or any(item.is_a("state") and item.is_comparative for item in items))
        and not _states(items, lexicon)
    )
