"""Captions to instructions by rule: "A man jumps over the fence." becomes "make a man jump over the fence"; what isn't sure becomes nothing.

caption → lead-in, subject, verb, predicate → **rewrite_as_imperative** → instruction. Nothing is guessed: a sentence whose verb isn't in the list, or that
says what a second subject does, is in another tense or voice, or tells of the film as such gives "".
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from data_synth.language.verbs import NOUN_LIKE, VERBS, find_infinitive, find_infinitive_of_participle

_OBJECTS = {"he": "him", "she": "her", "they": "them", "we": "us", "i": "me", "it": "it"}
_INDEFINITE = frozenset("someone somebody everyone everybody both".split())
_PLURALS = frozenset("people men women children kids both all many some several others".split())
_SINGULAR_DETERMINERS = frozenset("a an one another this each every".split())
_DETERMINERS = _SINGULAR_DETERMINERS | frozenset(
    "the his her their its that these those my our your two three four five six seven eight nine ten several many some more other few both all".split()
)
_PREPOSITIONS = frozenset(
    "of in on at with by from to for into onto over under behind beside near inside outside around through across along between without".split()
)
# Words after which a form in -s is a noun.
_BEFORE_NOUNS = (_DETERMINERS | _PREPOSITIONS) - {"both", "all"}
_CONJUNCTIONS = frozenset("and or but then".split())
_SUBORDINATORS = frozenset(
    "while as when because if where how what why until till so who which that whose whom".split()
)
_RELATIVE = frozenset("who which that".split())
_ADVERBS = frozenset("then now also still again just slowly quickly both all suddenly".split())
# Subjects that are the film itself.
_FILM = frozenset(
    "video clip credits scene screen logo title intro introduction text words image picture".split()
)
# Other tenses and voices.
_OTHER_TENSES = frozenset("was were will would could should did had been can may might must".split())
# Who or what does things in videos; nouns of persons in -er, -or and -ist come beside these.
_ACTORS = frozenset(
    """man woman boy girl lady guy gentleman child kid baby toddler person adult teen teenager couple crowd group team band family mother father mom dad
brother sister friend coach chef cook athlete gymnast boxer referee judge host barber artist clown dog cat horse bird puppy kitten rabbit cow bull bear monkey
elephant lion tiger fox sheep goat duck fish camera car boat train bike bicycle motorcycle bus truck plane ball balloon kite ship door flame
hand arm leg head tail drone robot snowboarder""".split()
)
# Subjects without an article that are no names.
_BARE_NOUNS = frozenset(
    """water smoke steam rain snow fire lava sand dust oil milk paint light fog mist wind sunlight music traffic confetti blood people men women children kids
men boys girls dogs cats players dancers leaves waves clouds cars birds fireworks sparks bubbles""".split()
)
_LEAD_IN = re.compile(
    r"^(then|next|after that|finally|afterwards|later|meanwhile|suddenly|eventually|first|now|soon|and|lastly)\b,?\s*",
    re.IGNORECASE,
)
_PLACE = re.compile(
    r"^((?:in|on|at|near|behind|inside|outside|next to|beside|after|before|during)\s[^,]{2,60}),\s+(.+)$",
    re.IGNORECASE,
)


def rewrite_as_imperative(caption: str) -> str:
    """Rewrite one caption; "" where no rule is sure.

    "is doing" becomes "start doing", "is seen doing" the verb itself; pronouns change case; verbs joined by and, then or a comma change with the first.
    """
    sentence = re.split(r"(?<=[a-z])[.!?](?:\s|$)", caption.strip())[0].strip().rstrip(".!?")
    sentence = _LEAD_IN.sub("", sentence)
    place = _PLACE.match(sentence)
    if not place:
        return _rewrite(sentence.split())
    lead_in, main_clause = place.groups()
    if _has_verb(lead_in.lower().split()):
        return ""
    imperative = _rewrite(main_clause.split())
    return f"{lead_in[0].lower()}{lead_in[1:]}, {imperative}" if imperative else ""


def is_clause(caption: str) -> bool:
    """Return whether a caption tells what happens, "a dog runs", rather than naming what is there, "a dog on a meadow"; both where in doubt are no clause."""
    words = caption.split()
    if any(word.lower() in ("is", "are") for word in words[1:]):
        return True
    return find_verb(words) > 0


def _rewrite(words: list[str]) -> str:
    lower = [word.lower().strip(",") for word in words]
    if (
        len(words) < 2
        or lower[0] == "there"
        or _FILM & set(lower[:4])
        or {"close", "shot", "view"} & set(lower[:3])
    ):
        return ""
    i = find_verb(words)
    if i < 1:
        return ""
    subject, is_plural = _format_subject(words[:i]), _is_plural(lower[:i])
    if lower[i] in ("is", "are"):
        return _rewrite_progressive(subject, words[i + 1 :])
    if lower[i] == "has" and i + 1 < len(lower) and re.search(r"(ed|en)$", lower[i + 1]):
        return ""
    infinitive = lower[i] if is_plural and lower[i] in VERBS else find_infinitive(lower[i])
    predicate = _rewrite_rest(words[i:], is_plural)
    if predicate is None:
        return ""
    comma = "," if words[i].endswith(",") else ""
    return " ".join(["make", *subject, infinitive + comma, *predicate])


def find_verb(words: Sequence[str]) -> int:
    """Return the position of the verb that says what the subject of a sentence does; 0 where none is certain."""
    lower = [word.lower().strip(",") for word in words]
    i = _find_finite(words, lower)
    if (
        "and" in lower[:i]
        and lower[i] not in VERBS
        and any(map(_is_plural_word, lower[: lower.index("and")]))
    ):
        return 0  # what looks like a plural before "and" may be a verb that isn't listed
    return i


def _find_finite(words: Sequence[str], lower: Sequence[str]) -> int:
    """Return the position of the first word that is a verb of the main clause; 0 where none is certain."""
    is_relative = False
    for i in range(1, len(words)):
        word, previous = lower[i], lower[i - 1]
        if word in _OTHER_TENSES:
            return 0
        if word in _RELATIVE:
            is_relative = True
            continue
        if word in _SUBORDINATORS:
            return 0
        if word in ("is", "are"):
            if not is_relative:
                return i
            is_relative = False
            continue
        if previous.endswith("'s") or previous in _BEFORE_NOUNS:
            continue
        is_joined = previous in ("and", "or", "but") or words[i - 1].endswith(",")
        infinitive = find_infinitive(word)
        if infinitive and not is_joined:
            if infinitive in NOUN_LIKE and not _must_be_verb(lower, i):
                return 0
            if not is_relative:
                return i
            if previous in _RELATIVE:
                continue
            return i if infinitive not in NOUN_LIKE else 0
        if word in VERBS and not is_joined and _is_plural_word(previous) and _is_plural(lower[:i]):
            return i
    return 0


def _must_be_verb(lower: Sequence[str], i: int) -> bool:
    """Return whether a form in -s that could be a plural is a verb, by what stands before it."""
    previous = lower[i - 1]
    if previous in _OBJECTS or previous in _INDEFINITE | _RELATIVE | _ADVERBS or _is_actor(previous):
        return True
    if previous.endswith("ly") or (_is_plural_word(previous) and i > 1):
        return True
    if i == 1:
        return previous not in VERBS or previous in _BARE_NOUNS
    for word in reversed(lower[:i]):
        if word in _PREPOSITIONS:
            return False
        if word in _DETERMINERS:
            return word in _SINGULAR_DETERMINERS
    return False


def _is_actor(word: str) -> bool:
    return word in _ACTORS or bool(re.search(r"(er|or|ist|man|woman)$", word))


def _is_plural_word(word: str) -> bool:
    if word in _PLURALS or word in ("they", "we", "i"):
        return True
    return word.endswith("s") and not word.endswith(("ss", "'s", "us", "is"))


def _is_plural(subject: Sequence[str]) -> bool:
    """Return whether a subject takes verbs in their bare form."""
    head = []
    for word in subject:
        if word in _PREPOSITIONS:
            break
        head.append(word)
    if head and head[0] in _SINGULAR_DETERMINERS:
        return False
    return any(map(_is_plural_word, head))


def _rewrite_progressive(subject: list[str], words: list[str]) -> str:
    """Return the imperative of what somebody is doing, or is seen doing; "" for anything else."""
    words = list(words)
    while words and words[0].lower() in _ADVERBS:
        words = words[1:]
    is_seen = bool(words) and words[0].lower() in ("seen", "shown")
    words = words[1:] if is_seen else words
    if not words or not find_infinitive_of_participle(words[0].lower().strip(",")):
        return ""
    if _has_second_subject(words[1:]):
        return ""
    if not is_seen:
        return " ".join(["make", *subject, "start", *words])
    predicate: list[str] = []
    for i, word in enumerate(words):
        infinitive = find_infinitive_of_participle(word.lower().strip(","))
        is_joined = not i or words[i - 1].lower() in _CONJUNCTIONS or words[i - 1].endswith(",")
        predicate.append(
            infinitive + ("," if word.endswith(",") else "") if infinitive and is_joined else word
        )
    return " ".join(["make", *subject, *predicate])


def _rewrite_rest(words: Sequence[str], is_plural: bool) -> list[str] | None:
    """Return what follows the verb, the first word, with joined verbs in their infinitive; None where a second subject does something."""
    if _has_second_subject(words[1:]):
        return None
    predicate: list[str] = []
    is_main = True
    for i, word in enumerate(words[1:], 1):
        lower, previous = word.lower().strip(","), words[i - 1].lower()
        is_main = is_main and lower not in _SUBORDINATORS
        is_joined = previous in _CONJUNCTIONS or previous.endswith(",") or (i > 2 and previous in _ADVERBS)
        infinitive = find_infinitive(lower) if is_main and is_joined and not is_plural else ""
        if is_main and is_joined and not is_plural and not infinitive and _is_plural_word(lower):
            return None  # a verb that isn't listed, or a noun
        predicate.append(infinitive + ("," if word.endswith(",") else "") if infinitive else word)
    return predicate


def _has_second_subject(words: Sequence[str]) -> bool:
    """Return whether something else than the first subject does something, apart from clauses such as "while ..."."""
    lower = [word.lower().strip(",") for word in words]
    in_new_phrase = False
    for i, word in enumerate(lower):
        if word in _SUBORDINATORS:
            return False
        if word in ("is", "are") or word in _OTHER_TENSES:
            return True
        previous = lower[i - 1] if i else ""
        is_joined = (
            previous in _CONJUNCTIONS or previous in _ADVERBS or (i > 0 and words[i - 1].endswith(","))
        )
        if is_joined:
            in_new_phrase = word in _DETERMINERS or word in _INDEFINITE or word in _OBJECTS
        infinitive = find_infinitive(word)
        if not infinitive or is_joined or previous in _BEFORE_NOUNS:
            continue
        if infinitive not in NOUN_LIKE or in_new_phrase:
            return True
    return False


def _has_verb(words: Sequence[str]) -> bool:
    return any(
        word in ("is", "are") or word in _OTHER_TENSES or find_infinitive(word) not in NOUN_LIKE | {""}
        for word in words
    )


def _format_subject(words: Sequence[str]) -> list[str]:
    """Return a subject as the object of "make": pronouns in the other case, no capital but that of a name."""
    subject = [word for word in words if word.lower() not in ("then", "now", "also", "still", "just")]
    if not subject:
        return list(words)
    first = subject[0].lower()
    if first in _OBJECTS:
        return [_OBJECTS[first], *subject[1:]]
    is_name = (
        subject[0][:1].isupper()
        and first not in _DETERMINERS | _BARE_NOUNS | _INDEFINITE | _PLURALS
        and len(subject) == 1
    )
    return (
        list(subject)
        if is_name
        else [first if subject[0][1:].islower() or len(first) == 1 else subject[0], *subject[1:]]
    )
