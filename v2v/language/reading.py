"""Read a sentence: sentence, lexicon → **`read_instruction`** → `Request`.

Every word is accounted for: it is part of a phrase, it changes nothing ("please"), or it is the obstacle that the request names. So a
sentence is followed as a whole or not at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal, cast

from v2v.language.asides import drop_repeated_comparisons, pass_over_asides
from v2v.language.clause_reading import Wishes, combine_places, read_clause
from v2v.language.clauses import split_clauses
from v2v.language.corrections import drop_taken_back
from v2v.language.descriptions import leave_out_told
from v2v.language.lexicon import Lexicon, Meaning, load_lexicon
from v2v.language.matching import Item, correct_spelling, match_phrases
from v2v.language.places import Place
from v2v.language.questions import asks_or_feels
from v2v.language.request import ObjectEdit, Obstacle, ReadingError, Request, Step
from v2v.language.tokens import base_forms, split_sentence

# Looks of one sentence, at most: each is an edit of its own.
MOST_STEPS = 4
# "20", "0.5", "1:30", "3s"; and of these the ones that can only be times.
NUMBER = re.compile(r"\d+(?:[.,:]\d+)*[^\W\d_]?")
CLOCK = re.compile(r"\d+(?:[.,]\d+)?s|\d+:\d\d(?:[.:]\d+)*")


def read_instruction(sentence: str, objects: Sequence[str] = (), attributes: Sequence[str] = ()) -> Request:
    """Read a sentence.

    Args:
      sentence: the instruction, in English.
      objects: names of things that the model can edit ("ball", "cube").
      attributes: other words in sentences about them ("small", "leaf").

    Returns:
      looks and where, an edit of a thing, or what stands in the way.
    """
    lexicon = load_lexicon().with_objects(objects, attributes)
    tokens, corrections = correct_spelling(split_sentence(sentence), lexicon)
    correction = drop_taken_back(_join_quoted_words(match_phrases(tokens, lexicon)))
    request = _read_items(_resolve_references(correction.items), lexicon, attributes)
    if correction.is_opposite and request.steps:
        request = _turn_round(request, lexicon)
    passed = (correction.taken_back, *request.passed_over) if request.steps else ()
    return replace(request, corrections=corrections, passed_over=tuple(filter(None, passed)))


def _read_items(items: Sequence[Item], lexicon: Lexicon, attributes: Sequence[str]) -> Request:
    if asks_or_feels(items):
        return Request(
            obstacle=Obstacle("nothing", "it asks or tells something and names no edit; say what to do")
        )
    try:
        _check_words(items, lexicon)
        if any(item.is_a("object") for item in items) or (attributes and _replaces_background(items)):
            words = " ".join(word for item in items if not item.is_break for word in item.words)
            return Request(thing=_read_object_edit(items, words))
        plain = leave_out_told(items, lexicon)
        shortened = drop_repeated_comparisons(plain.items, lexicon)
        return Request(
            steps=_read_looks(shortened.items, lexicon), passed_over=(*plain.passed, *shortened.passed)
        )
    except ReadingError as stop:
        obstacle = stop.obstacle
    if obstacle.kind in ("unknown", "number"):
        plain = leave_out_told(items, lexicon)
        single = drop_repeated_comparisons(plain.items, lexicon)
        shortened = pass_over_asides(single.items, lexicon)
        passed = (*plain.passed, *single.passed, *shortened.passed)
        try:
            if not any(item.is_a("object") for item in shortened.items):
                _check_words(shortened.items, lexicon)
                return Request(steps=_read_looks(shortened.items, lexicon), passed_over=passed)
        except ReadingError:
            pass  # the first obstacle tells more
    return Request(obstacle=obstacle)


def _turn_round(request: Request, lexicon: Lexicon) -> Request:
    """Return a request for the opposite ("brighten it, actually no, the opposite")."""
    opposites = [
        lexicon.looks[step.look].opposite if step.look in lexicon.looks else "" for step in request.steps
    ]
    if not all(opposites):
        return Request(
            obstacle=Obstacle("undo", "what the opposite should be is not understood; say what to do")
        )
    steps = tuple(replace(step, look=look) for step, look in zip(request.steps, opposites, strict=True))
    return replace(request, steps=steps)


def _join_quoted_words(items: Sequence[Item]) -> list[Item]:
    """Return items with "the word SALE" as one, which is a place."""
    out: list[Item] = []
    for item in items:
        if out and out[-1].words in (("word",), ("words",)) and not item.is_break and len(item.words) == 1:
            place = Meaning("thing", f"text:{item.text}")
            out[-1] = Item(f"{out[-1].text} {item.text}", (*out[-1].words, *item.words), (place,))
        else:
            out.append(item)
    return out


# "from 1991", "the 90s": when a clip seems to be from.
_YEAR = re.compile(r"(1[89]|20)\d\ds?|\d0s")
# What a person does who wishes, and is no place: "my daughter wants it darker".
_OF_WISHES = frozenset(
    {
        "want",
        "wants",
        "wanted",
        "need",
        "needs",
        "say",
        "says",
        "said",
        "hate",
        "hates",
        "like",
        "likes",
        "love",
        "loves",
        "think",
        "thinks",
        "asked",
        "asks",
        "would",
    }
)
# Words before a person who is no place: "from my uncle".
_FROM = frozenset({"from", "by", "for", "like", "to"})
# Words behind which "me" is a place: "everything except me", "around me".
_BEFORE_SPEAKER = frozenset({"except", "but", "only", "on", "around", "outside", "besides", "just"})


def _resolve_references(items: Sequence[Item]) -> list[Item]:
    """Return items in which words for people are places where they are meant so, years no numbers, and "them" the colors that are spoken of."""
    out = list(items)
    for i, item in enumerate(items):
        follows = items[i + 1] if i + 1 < len(items) else None
        if not item.meanings and _YEAR.fullmatch(item.words[0]):
            out[i] = Item(item.text, item.words, (Meaning("filler"),))
        if "person" in item.values("thing") and follows is not None and follows.words[0] in _OF_WISHES:
            out[i] = Item(item.text, item.words, (Meaning("filler"),))
        if "person" in item.values("thing") and _is_owner(items, i):
            out[i] = Item(item.text, item.words, (Meaning("filler"),))
        properties = [earlier for earlier in out[:i] if earlier.is_a("property")]
        if (
            item.words in (("them",), ("they",))
            and properties
            and not any(earlier.is_a("thing") for earlier in out[:i])
        ):
            out[i] = Item(
                item.text, item.words, properties[-1].meanings
            )  # "the colors scream, tone them down"
        if i == 0 or item.words not in (("me",), ("us",), ("myself",), ("ourselves",)):
            continue
        previous = items[i - 1]
        ends = follows is None or follows.is_break or follows.is_a("soft", "hard", "weak", "strong")
        is_changed = previous.is_a("look", "state") and not previous.is_a("verb", "filler")
        if previous.words[-1] in _BEFORE_SPEAKER or (is_changed and ends):
            out[i] = Item(item.text, item.words, (Meaning("thing", "person"),))
    return out


def _is_owner(items: Sequence[Item], i: int) -> bool:
    """Return whether the person of item i is whom something is from, for or of: "like the tape from my uncle"."""
    words = [word for item in items[max(i - 2, 0) : i] for word in item.words][-2:]
    has_edit = any(item.is_a("look") for item in items)
    return has_edit and len(words) == 2 and words[0] in _FROM and words[1] in ("my", "our", "your")


def split_place(sentence: str) -> tuple[str, Place | None]:
    """Return a sentence without the place that it names, and that place; None where it names none, or more than one.

    Args:
      sentence: such as "blur the background" or "make everything but the man darker".
    """
    request = read_instruction(sentence)
    places = {step.place for step in request.steps}
    place = next(iter(places), None)
    if place is None or len(places) > 1:
        return sentence, None
    tokens, _ = correct_spelling(split_sentence(sentence), load_lexicon())
    items = match_phrases(tokens, load_lexicon())
    remainder: list[Item] = []
    for item in items:
        if not item.is_a("region", "thing", "except"):
            remainder.append(item)
            continue
        while remainder and remainder[-1].is_a("filler") and not remainder[-1].is_a("verb"):  # "in the"
            remainder.pop()
    return " ".join(item.text for item in remainder), place


def find_related(words: Iterable[str], lexicon: Lexicon) -> tuple[str, ...]:
    """Return the looks that are nearest to the meaning of unknown words."""
    looks = (
        look
        for word in words
        for form in base_forms(word)
        for look in lexicon.related.get(form, ())
    )  # fmt: skip
    return tuple(dict.fromkeys(looks))


def _check_words(items: Sequence[Item], lexicon: Lexicon) -> None:
    """Raise ReadingError for words without a meaning."""
    is_about_thing = any(item.is_a("object") for item in items) or _replaces_background(items)
    unknown = [item for item in items if not item.is_break and not _has_meaning(item, is_about_thing)]
    if not unknown:
        return
    words = [item.text for item in unknown]
    if all(NUMBER.fullmatch(word) for word in words):
        if any(item.is_a("time") for item in items) or any(CLOCK.fullmatch(word) for word in words):
            raise ReadingError(
                "time", f'times are given by --start and --end, not in the sentence ("{words[0]}")'
            )
        raise ReadingError(
            "number",
            f'numbers are not understood ({", ".join(words)}); say "slightly" or "much", or add --amount',
        )
    foreign = [word for item in items for word in item.words if word in lexicon.foreign]
    meanings = [item for item in items if item.is_a("look", "state", "property", "region", "thing")]
    is_english = all(word.isascii() for word in words) and (len(foreign) < 2 or bool(meanings))
    names = ", ".join(f'"{word}"' for word in dict.fromkeys(words))
    if not is_english:
        raise ReadingError("unknown", f"only English is understood, not {names}")
    normal = [item.words[0] for item in unknown]
    raise ReadingError(
        "unknown",
        f"{names} {'is' if len(set(words)) == 1 else 'are'} not among the things that it knows",
        find_related(normal, lexicon),
    )


def _has_meaning(item: Item, is_about_thing: bool) -> bool:
    """Return whether an item means something; words that tell of things only do where there is one."""
    return any(is_about_thing or meaning.kind != "attribute" for meaning in item.meanings)


def _replaces_background(items: Sequence[Item]) -> bool:
    """Return whether a sentence asks for another background ("change the background to sand"), not for a look ("to night")."""
    background = next((i for i, item in enumerate(items) if "background" in item.values("thing")), None)
    if background is None:
        return False
    head, tail = items[:background], items[background + 1 :]
    is_look = any(item.is_a("look") and not item.is_a("attribute", "object") for item in tail)
    return any(item.is_a("replace") or "set" in item.words for item in head) and bool(tail) and not is_look


def _read_object_edit(items: Sequence[Item], sentence: str) -> ObjectEdit:
    if any(item.is_a("not") for item in items):
        raise ReadingError("negation", "what not to do with a thing is not understood; say what to do")
    if any(item.is_a("time") for item in items):
        raise ReadingError("time", "times are given by --start and --end, not in the sentence")
    verb = next((item for item in items if item.is_a("remove", "insert", "replace", "recolor", "verb")), None)
    has_color = any(item.is_a("color") for item in items)
    objects = [item for item in items if item.is_a("object")]
    if any(item.is_a("thing") and "background" in item.values("thing") for item in items):
        operation = "background"
    elif verb is not None and verb.is_a("remove"):
        operation = "remove"
    elif verb is not None and verb.is_a("insert"):
        operation = "insert"
    elif len(objects) > 1:
        operation = "replace"
    elif has_color:
        operation = "recolor"
    else:
        raise ReadingError(
            "unclear",
            f'what to do with "{objects[0].text}" is not understood; say remove, add, replace or a color',
        )
    return ObjectEdit(cast(Literal["remove"], operation), sentence)


def _read_looks(items: Sequence[Item], lexicon: Lexicon) -> tuple[Step, ...]:
    for i, item in enumerate(items):
        if item.is_a("keep_end") and any(earlier.is_a("keep") for earlier in items[:i]):
            continue
        for title in item.values("elsewhere"):
            raise ReadingError(
                "elsewhere",
                f'"{item.text}" ({title}) is nothing that v2v does; use {lexicon.remedies[title]}',
            )
        if item.is_a("time") and not item.is_a("filler", "look"):
            raise ReadingError(
                "time", f'times are given by --start and --end, not in the sentence ("{item.text}")'
            )
    wishes = Wishes()
    for clause in split_clauses(items):
        read_clause(clause, wishes, lexicon)
    if not wishes.looks:
        if wishes.forbidden or wishes.fixed_properties:
            raise ReadingError(
                "negation", "it only says what not to do; say what to do instead", wishes.forbidden
            )
        if wishes.is_described:
            raise ReadingError("unclear", "it only says how the clip is; say what to do")
        raise ReadingError("nothing", "it names no edit")
    _check_prohibitions(wishes, lexicon)
    _drop_descriptions(wishes, lexicon)
    steps = [Step(wish.look, wish.amount, combine_places(wish.place, wishes.place)) for wish in wishes.looks]
    steps = _merge_repeated(steps)
    _check_contradictions(steps, lexicon)
    return tuple(steps)


def _drop_descriptions(wishes: Wishes, lexicon: Lexicon) -> None:
    """Leave out looks that a clip is said to have where the opposite is asked for ("it looks clinical, I prefer it warmer")."""
    opposites = {
        lexicon.looks[wish.look].opposite
        for wish in wishes.looks
        if wish.look in lexicon.looks and not wish.is_stated
    }
    wishes.looks = [wish for wish in wishes.looks if not (wish.is_stated and wish.look in opposites)]
    people = [
        wish for wish in wishes.looks if wish.place is not None and wish.place.name in ("face", "person")
    ]
    for first, second in zip(people, people[1:], strict=False):  # "my face is in the shade, lighten me"
        look = lexicon.looks.get(first.look)
        if look is not None and look.opposite == second.look:
            wishes.looks.remove(first)


def _merge_repeated(steps: Iterable[Step]) -> list[Step]:
    """Return steps with each look of a place once, as strongly as it is asked for last ("colder, way colder")."""
    merged: dict[tuple[str, str], Step] = {}
    for step in steps:
        # "portrait mode, you know, bokeh behind her"
        general = (step.look, str(None))
        if step.place is not None and general in merged and merged[general].amount == step.amount:
            merged.pop(general)
        key = (step.look, str(step.place))
        if key not in merged or step.amount != 1:
            merged[key] = step
    return list(merged.values())


def _check_prohibitions(wishes: Wishes, lexicon: Lexicon) -> None:
    """Raise ReadingError where a look that is asked for brings what is forbidden or changes what must stay."""
    for wish in wishes.looks:
        look = lexicon.looks.get(wish.look)
        if look is None:
            continue
        for name in wishes.forbidden:
            if name == look.name or name in look.implies:
                raise ReadingError(
                    "contradiction", f'"{look.title}" brings "{lexicon.looks[name].title}" with it'
                )
        for name in wishes.fixed_properties:
            if name not in look.keeps:
                raise ReadingError("contradiction", f'"{look.title}" changes the {name}')


def _check_contradictions(steps: Sequence[Step], lexicon: Lexicon) -> None:
    if len(steps) > MOST_STEPS:
        raise ReadingError(
            "unclear",
            f"it asks for {len(steps)} looks, at most {MOST_STEPS} are done at once; edit the result again",
        )
    for step in steps:
        look = lexicon.looks.get(step.look)
        for other in steps:
            if (
                look is not None
                and look.opposite
                and other.look == look.opposite
                and other.place == step.place
            ):
                raise ReadingError(
                    "contradiction", f'"{look.title}" and "{lexicon.looks[other.look].title}" are opposites'
                )
