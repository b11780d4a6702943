"""Read clauses: clause → **`read_clause`** → the looks that it asks for or forbids, with amount and place."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from v2v.language.clauses import Clause
from v2v.language.lexicon import Lexicon
from v2v.language.matching import Item
from v2v.language.places import TEXT_PLACES, Place
from v2v.language.request import REMOVE_TEXT, STRONG, WEAK, ReadingError
from v2v.language.tokens import base_forms, is_comparative

# What a clip is called, as in "this dark clip", and verbs that turn one look into another.
_CLIP_NOUNS = frozenset(
    {"video", "clip", "footage", "film", "movie", "scene", "picture", "image", "shot", "frame", "photo"}
)
# Colors that belong to a look: "leaves all golden and red like in October".
COLORS_OF = {
    "autumn": ("red", "orange", "yellow", "brown"), "sepia": ("brown", "yellow"), "sunset": ("red", "orange", "pink", "purple", "yellow"),
    "golden-hour": ("yellow", "orange"), "moonlight": ("blue", "silver", "white"), "winter": ("white", "blue"), "spring": ("green",), "night": ("blue", "black"), "teal-and-orange": ("orange", "cyan", "blue"), "night-vision": ("green",),
}  # fmt: skip
_STATING = frozenset(
    {"is", "are", "was", "were", "looks", "look", "feels", "feel", "seems", "seem", "giving"}
)
# What helps where a clip is too blue.
_AGAINST_CAST = {"blue": "warmer", "cyan": "warmer", "orange": "colder", "yellow": "colder"}
_POINTERS = frozenset({"this", "the", "that", "my", "our", "these", "those"})
_ARTICLES = frozenset({"the", "my", "our", "his", "her", "their", "this", "that"})
_PEOPLE = frozenset({"him", "her", "them", "me", "us"})
# Words by which weather is little, where it can't be half of itself by another word.
_LIGHTLY = frozenset(
    {"light", "lightly", "thin", "drizzle", "drizzly", "drizzling", "spit", "spitting", "spots"}
)
_WEATHER = ("rain", "snow", "fog")
_TURNING = ("turn", "change", "convert", "transform", "switch", "go", "make", "from")


@dataclass(frozen=True)
class Wish:
    """A look that a clause asks for, or one that it forbids.

    Attributes:
      look: its name.
      amount: how much of it.
      place: where; None for everywhere.
      is_stated: whether the clause says that something "is" or "looks" so.
    """

    look: str
    amount: float
    place: Place | None
    is_stated: bool = False


@dataclass
class Wishes:
    """What has been read so far.

    Attributes:
      looks: looks that are asked for.
      forbidden: looks that must not be.
      fixed_properties: properties that must stay.
      place: place of everything.
      previous: the clause before, whose direction and negation a short clause takes over.
      is_described: whether a clause says how the clip is.
    """

    looks: list[Wish] = field(default_factory=list)
    forbidden: list[str] = field(default_factory=list)
    fixed_properties: list[str] = field(default_factory=list)
    place: Place | None = None
    previous: Mode | None = None
    is_described: bool = False


@dataclass(frozen=True)
class Mode:
    """What turns the words of a clause round: more, less, not; how much; and whether that may hold for the next clause ("a bit of fog" alone)."""

    up: bool
    down: bool
    is_negated: bool
    amount: float | None
    is_shared: bool = True


def read_clause(clause: Clause, wishes: Wishes, lexicon: Lexicon) -> None:
    """Add what a clause asks for, or forbids, to what has been read."""
    if clause.has("harmless") and not clause.has("look", "state", "color"):
        if clause.place_items:
            raise ReadingError(
                "unclear", "what it wants left alone is not understood; give a mask with --mask"
            )
        return
    mode = _mode(clause, wishes.previous)
    wishes.previous = mode
    place = _read_place(clause)
    is_kept = clause.has("keep", "keep_end" if clause.place_items else "keep") and not clause.having(
        "look", "state"
    )
    touches = mode.is_negated and clause.has("touch")
    if place is not None and clause.join == "except":
        place = replace(place, is_inverted=True)
    if place is not None and (is_kept or (touches and not clause.has("look", "state"))):
        wishes.place = combine_places(wishes.place, replace(place, is_inverted=True))
        return
    if is_kept or touches:
        _keep(clause, wishes)
        return
    if clause.has("keep"):
        raise ReadingError("unclear", "what it wants kept is not understood; say what to change")
    if clause.has("remove") and mode.is_negated:
        raise ReadingError("negation", "what it says not to remove is not understood; say what to do")
    if clause.has("remove"):
        _read_removal(clause, place, wishes, lexicon)
        return
    if _is_description(clause):
        wishes.is_described = True
        return
    _skip_descriptions(clause)
    if _tells_amount_alone(clause) and wishes.looks:
        wishes.looks[-1] = replace(wishes.looks[-1], amount=_amount(wishes.looks[-1].look, mode, lexicon))
        return
    is_duotone = bool(wishes.looks) and wishes.looks[-1].look == "duotone"
    looks = _find_looks(clause, mode, lexicon, is_duotone)
    if is_duotone and looks and looks[0].startswith("duotone-"):
        wishes.looks.pop()
    if looks and clause.is_alternative and not mode.is_negated:
        raise ReadingError("unclear", "one or the other can't be done; name one")
    if looks and wishes.looks and any(item.words[:2] == ("not", "too") for item in clause.having("weak")):
        raise ReadingError("unclear", 'how much "not too" is can\'t be told; say "slightly"')
    if not looks:
        if place is not None:
            if place.kind == "thing" and clause.join != "except" and clause.has("verb", "insert", "replace"):
                raise ReadingError("unclear", f'what to do with "{place.text}" is not understood')
            if mode.is_negated and clause.negation != "not":
                raise ReadingError("unclear", f'"{clause.negation} {place.text}" is not understood')
            place = replace(place, is_inverted=place.is_inverted or mode.is_negated)
            wishes.place = combine_places(wishes.place, place)
        elif mode.is_negated and clause.has("property"):
            _keep(clause, wishes)
        elif clause.has("property") and not all(
            item.is_a("verb", "filler") for item in clause.having("property")
        ):
            name = clause.having("property")[0].text
            raise ReadingError("unclear", f'"{name}" needs a direction; say more or less')
        elif mode.is_negated:
            raise ReadingError("negation", "what it says not to do is not understood; say what to do")
        return
    if mode.is_negated:
        wishes.forbidden += looks
        return
    if place is None and wishes.looks and not clause.has("verb"):
        place = wishes.looks[-1].place
        if place is not None and clause.join == "comma":
            raise ReadingError(
                "unclear",
                f'whether "{lexicon.looks[looks[0]].title if looks[0] in lexicon.looks else looks[0]}" is for {place} or for all is not understood; say "and"',
            )
        place = place if clause.join == "soft" else None
    # "in the left half" at the end holds for all looks that are joined to the last one by "and" alone.
    shares_place = clause.join == "soft" and not clause.has("verb") and not _is_command(clause)
    if place is not None and shares_place and all(wish.place is None for wish in wishes.looks):
        wishes.looks = [replace(wish, place=place) for wish in wishes.looks]
    if place is not None and clause.join == "except":
        wishes.place, place = combine_places(wishes.place, place), None
    is_aside = not clause.has("verb")
    for look in looks:
        color = look.removeprefix("tint-")
        if look != color and is_aside and any(color in COLORS_OF.get(wish.look, ()) for wish in wishes.looks):
            continue  # "autumn, everything orange"
        amount = _amount(look, _emphasize(look, clause, mode), lexicon)
        wishes.looks.append(Wish(look, amount, place, _states_something(clause)))


def _mode(clause: Clause, previous: Mode | None) -> Mode:
    """Return what turns the words of a clause round; a short clause after "and" takes over what holds for the one before."""
    up, down = clause.directions
    # "it is not bright enough" asks for what it names.
    is_negated = clause.join == "not" and not clause.has_word("enough")
    amount = WEAK if clause.has("weak") else STRONG if clause.has("strong") else None
    takes_over = not clause.has("verb", "up", "down", "lower") and not _is_command(clause)
    if clause.join == "soft" and previous is not None and takes_over:
        is_negated = is_negated or previous.is_negated
        # "less bright and colorful", but "less bright and colder".
        words = [word for item in clause.having("state", "look") for word in item.words]
        if not any(is_comparative(word) for word in words):
            up, down = up or previous.up, down or previous.down
            # "a bit of fog and a cold cast"
            is_shared = previous.is_shared and not clause.has_word("a", "an", "some")
            amount = previous.amount if amount is None and is_shared else amount
    pairs = zip(clause.items, clause.items[1:], strict=False)
    is_shared = not any(
        item.is_a("weak", "strong") and "of" in (item.words[-1], after.words[0]) for item, after in pairs
    )
    return Mode(up, down, is_negated, amount, is_shared)


def _emphasize(look: str, clause: Clause, mode: Mode) -> Mode:
    """Return a mode with the amount that the words for a look tell: "a light mist" or "darker darker darker"."""
    words = [word for item in clause.having("look", "state") for word in item.words]
    if mode.amount is not None:
        return mode
    if look in _WEATHER and _LIGHTLY & set(words):
        return replace(mode, amount=WEAK)
    is_strong = len(words) > 2 and len(set(words)) == 1
    return replace(mode, amount=STRONG) if is_strong else mode


def _is_command(clause: Clause) -> bool:
    """Return whether a clause begins with a verb for a look and names what it is done to: "blur the background"."""
    items = clause.items
    end = 1
    while end < len(items) and items[end].words[-1] in _ARTICLES:
        end += 1
    is_object = (
        end < len(items)
        and items[end].is_a("thing", "region")
        and (end > 1 or items[end].words[0] in _PEOPLE)
    )
    return bool(items) and items[0].is_a("look") and is_object


def _read_place(clause: Clause) -> Place | None:
    """Return the place of a clause; raise ReadingError for more than one."""
    places = []
    for item in clause.place_items:
        kind = "region" if item.is_a("region") else "thing"
        places.append(Place(kind, item.values(kind)[0], item.text))
    names = dict.fromkeys(place.name for place in places)
    if len(names) > 1:
        raise ReadingError(
            "unclear",
            f"two places in one clause are not understood ({', '.join(names)}); edit one after the other",
        )
    return places[0] if places else None


def combine_places(inner: Place | None, outer: Place | None) -> Place | None:
    """Return the place of a look that has one of its own and one that holds for all; raise ReadingError where they differ."""
    if inner is None or outer is None:
        return (inner or outer) and (inner or outer).simplified()  # pyright: ignore[reportOptionalMemberAccess]
    one, other = inner.simplified(), outer.simplified()
    if _where(one) != _where(other):
        raise ReadingError(
            "unclear", f"two places are not understood ({one}, {other}); edit one after the other"
        )
    return one


def _where(place: Place) -> tuple[str, bool]:
    """Return what tells whether two places are the same; the background is where no person is."""
    return (
        ("person", not place.is_inverted) if place.name == "background" else (place.name, place.is_inverted)
    )


def _keep(clause: Clause, wishes: Wishes) -> None:
    """Add the properties that a clause wants kept."""
    properties = {name for item in clause.having("property") for name in item.values("property")}
    names = {"color" if name in ("color", "saturation", "warmth") else "brightness" for name in properties}
    if not names and not clause.has("keep_end", "filler"):
        raise ReadingError("negation", "what it wants kept is not understood; give a mask with --mask")
    wishes.fixed_properties += sorted(names)


def _read_removal(clause: Clause, place: Place | None, wishes: Wishes, lexicon: Lexicon) -> None:
    """Read "remove the blur": less of a property; whatever else can't be taken away."""
    items = clause.having("property", "look", "state", "thing", "color", "region")
    properties = [name for item in items for name in item.values("property")]
    down = [lexicon.properties[name].down for name in properties if not lexicon.properties[name].is_weak]
    others = [item for item in items if item.is_a("look", "state", "color") and not item.is_a("property")]
    if down and down[0] and not others:
        wishes.looks.append(Wish(down[0], 1.0, place))
        return
    is_text = place is not None and place.name.partition(":")[0] in TEXT_PLACES and not place.is_inverted
    if is_text and all(item.is_a("thing") for item in items):
        wishes.looks.append(Wish(REMOVE_TEXT, 1.0, place))
        return
    if not items:
        raise ReadingError("nothing", "it doesn't say what to remove")
    looks = [name for item in items for name in item.values("look", "state")]
    text = items[0].text
    if looks:
        raise ReadingError("undo", f'"{text}" can be added, not taken away')
    raise ReadingError("undo", f'"{text}" is nothing that it can remove')


def _states_something(clause: Clause) -> bool:
    """Return whether a clause has the form of a statement: a subject and "is", "looks" or "feels", no "should"."""
    words = [word for item in clause.items for word in item.words]
    is_wish = clause.has_word(
        "should", "would", "must", "be", "want", "please", "can", "could", "make"
    ) or _says_too(clause)
    is_statement = any(word in _STATING for word in words[1:4]) or words[0] == "its"
    return is_statement and not is_wish


def _is_description(clause: Clause) -> bool:
    """Return whether a clause says how a clip is ("it is blurry"), not how it should be."""
    if (
        clause.join == "not"
        or clause.has("too", "verb", "up", "down", "property", "color")
        and not clause.has("state")
    ):
        return False
    states = clause.having("state")
    if not states or clause.has("verb", "up", "down", "lower") or any(item.is_comparative for item in states):
        return False
    is_stated = clause.has_word("is", "are", "was", "were", "looks") or clause.items[0].words[0] == "its"
    is_wish = clause.has_word("should", "would", "so", "must", "be") or _says_too(clause)
    return is_stated and not is_wish


def _skip_descriptions(clause: Clause) -> None:
    """Leave out of a clause how the clip is: "sharpen this blurry video", "turn winter into summer".

    Raises:
      ReadingError: a look is turned into what is no look ("turn this cartoon into a photo").
    """
    items = clause.items
    descriptions = {
        i
        for i, item in enumerate(items)
        if 0 < i < len(items) - 1
        and item.is_a("state")
        and not item.is_comparative
        and items[i - 1].words[-1] in _POINTERS
        and any(form in _CLIP_NOUNS for form in base_forms(items[i + 1].words[0]))
    }
    into = next((i for i, item in enumerate(items) if item.words in (("into",), ("to",))), None)
    if into is not None and any(word in _TURNING for item in items for word in item.words):
        look_indices = {
            i
            for i in range(into)
            if items[i].is_a("look", "state", "color") and not items[i].is_a("verb", "filler")
        }
        has_target = any(item.is_a("look", "state", "color") for item in items[into:])
        if look_indices and not has_target and any(item.is_a("filler") for item in items[into + 1 :]):
            raise ReadingError(
                "unclear", f'into what "{items[min(look_indices)].text}" should turn is not understood'
            )
        descriptions |= look_indices if has_target else set()
    clause.items = [item for i, item in enumerate(items) if i not in descriptions]


def _says_too(clause: Clause) -> bool:
    return any(item.is_a("too") and item.words != ("so",) for item in clause.items)


def _tells_amount_alone(clause: Clause) -> bool:
    """Return whether a clause says how much and nothing else: "only slightly", "bring it down a bit"."""
    others = (
        "look",
        "state",
        "property",
        "color",
        "region",
        "thing",
        "remove",
        "insert",
        "tint",
        "touch",
        "not",
    )
    return clause.has("weak", "strong") and clause.join != "not" and not clause.has(*others)


def _find_looks(clause: Clause, mode: Mode, lexicon: Lexicon, is_duotone: bool = False) -> list[str]:
    """Return the looks that a clause names, turned round where it says less; its colors may be those of a duotone named before."""
    says_too = _says_too(clause) and not mode.is_negated
    down = mode.down or says_too
    looks: list[str] = []
    colors: list[str] = []
    has_strong_look = any(_strong_look(item) for item in clause.items)
    for i, item in enumerate(clause.items):
        if item.is_a("filler") and any(earlier.is_a("color") for earlier in clause.items[:i]):
            continue  # "in green light"
        properties = [lexicon.properties[name] for name in item.values("property")]
        names = item.values("state", "look")
        if properties and (down or mode.up) and not (properties[0].is_weak and has_strong_look):
            name = properties[0].down if down else properties[0].up
            if not name:
                raise ReadingError("undo", f'less "{item.text}" is nothing that it can do')
            looks.append(name)
        elif properties and properties[0].is_weak and (has_strong_look or not item.is_a("state")):
            continue
        elif names and not (item.is_a("verb", "filler") and has_strong_look):
            if down and (says_too or not item.is_comparative):
                opposite = next(filter(None, (lexicon.looks[name].opposite for name in names)), "")
                if not opposite:
                    raise ReadingError("undo", f'less "{item.text}" is nothing that it can do')
                looks.append(opposite)
            elif clause.has("lower") and not clause.has_word("to", "into"):
                raise ReadingError(
                    "unclear", f'less "{item.text}" is not understood; say what it should look like'
                )
            else:
                looks.append(names[0])
        elif item.is_a("color"):
            colors.append(item.values("color")[0])
    is_cool = [item.words for item in clause.items if not item.is_a("filler", "verb")] == [("cool",)]
    if (
        is_cool
        and not clause.has_word("color", "colors", "tone", "tones", "light", "filter", "grade")
        and not (mode.up or says_too or mode.down)
    ):
        raise ReadingError("unclear", '"cool" may mean colder, or good; say "colder"')
    is_pair = len(colors) == 2 and not looks and clause.has("only")
    if colors and ("duotone" in looks or is_pair or (is_duotone and len(colors) == 2)):
        return [f"duotone-{'-and-'.join(colors)}"]
    is_excess = says_too or (clause.has("too") and clause.has_word("is", "are", "was", "look", "looks"))
    if is_excess and len(colors) == 1 and colors[0] in _AGAINST_CAST:
        return [*looks, _AGAINST_CAST[colors[0]]]
    if colors and down:
        raise ReadingError("undo", f'less "{colors[0]}" is nothing that it can do')
    colors = [color for color in colors if not any(color in COLORS_OF.get(look, ()) for look in looks)]
    if len(colors) > 1:
        raise ReadingError("unclear", f"several colors are not understood ({', '.join(colors)}); name one")
    implied = {name for look in looks if look in lexicon.looks for name in lexicon.looks[look].implies}
    return list(
        dict.fromkeys([look for look in looks if look not in implied] + [f"tint-{color}" for color in colors])
    )


def _strong_look(item: Item) -> bool:
    """Return whether an item names a look or a property and is no word of general use besides."""
    return item.is_a("look", "state") and not item.is_a("verb", "filler")


def _amount(look: str, mode: Mode, lexicon: Lexicon) -> float:
    """Return how much of a look a clause asks for."""
    amount = 1.0 if mode.amount is None else mode.amount
    entry = lexicon.looks.get(look)
    return amount if amount <= 1 or (entry is not None and entry.degrees) else 1.0
