"""The words that a sentence may be made of, looks and the grammar around them: `tables/` → **`Lexicon`** → matching.py.

The tables are looks.toml (what looks are called), grammar.toml (fillers, directions, amounts, negations, places, ...), neighbors.txt (real
words that are no typing errors) and related.tsv (words near a look's, for suggestions). To add a look, add an entry to looks.toml.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import itertools
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from v2v.language.spelling import SHORTEST_KNOWN
from v2v.language.tokens import normalize_word

TABLES = Path(__file__).parent / "tables"

# What a phrase is. "look" and "state" name a look; "state" describes a clip that has it as well.
Kind = Literal[
    "look", "state", "property", "color", "tint", "up", "down", "lower", "up_particle", "down_particle", "weak", "strong", "full", "not", "harmless",
    "touch", "too", "keep", "keep_end", "only", "except", "region", "thing", "time", "remove", "insert", "replace", "recolor", "elsewhere",
    "hard", "soft", "verb", "filler", "object", "attribute",
]  # fmt: skip


@dataclass(frozen=True)
class Look:
    """A look as people ask for it; the fields are explained in tables/looks.toml."""

    name: str
    title: str
    opposite: str = ""
    degrees: bool = False
    keeps: tuple[str, ...] = ()
    implies: tuple[str, ...] = ()
    near: tuple[str, ...] = ()


@dataclass(frozen=True)
class Property:
    """A property of a clip that can be raised and lowered.

    Attributes:
      up: look of more of it.
      down: look of less of it, "" for none.
      is_weak: whether its word means nothing without a direction ("the colors").
    """

    up: str
    down: str
    is_weak: bool = False


@dataclass(frozen=True)
class Meaning:
    """What a phrase means.

    Attributes:
      kind: what it is.
      value: which one: a look, a property, a color, a place.
    """

    kind: Kind
    value: str = ""


@dataclass
class PhraseNode:
    """A node of the tree of phrases: the words that may follow, and what a phrase that ends here may mean."""

    following: dict[str, PhraseNode] = field(default_factory=dict)
    meanings: list[Meaning] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Lexicon:
    """All phrases.

    Attributes:
      looks: looks by name.
      properties: properties by name.
      remedies: what does the things that v2v doesn't, by their titles.
      root: tree of phrases.
      words: every word in it.
      spellings: these, but for those of idioms, and inflected forms of the looks' words; some are no words.
      neighbors: real words that are spelled like those.
      related: looks near a word's meaning, by word.
      foreign: function words of other languages.
      between: words that may stand between those of a phrase.
      comparisons: what begins a comparison ("as if").
      reasons: what begins a reason ("because").
      subjects: first words of a sentence that tells something ("it").
      statements: its verbs ("is"), in their base form.
      wishes: words that turn it into a request ("should").
    """

    looks: Mapping[str, Look]
    properties: Mapping[str, Property]
    remedies: Mapping[str, str]
    root: PhraseNode
    words: frozenset[str]
    spellings: frozenset[str]
    neighbors: frozenset[str]
    related: Mapping[str, tuple[str, ...]]
    foreign: frozenset[str]
    between: frozenset[str]
    comparisons: frozenset[tuple[str, ...]]
    reasons: frozenset[tuple[str, ...]]
    subjects: frozenset[str]
    statements: frozenset[str]
    wishes: frozenset[str]

    def with_objects(self, names: Iterable[str], attributes: Iterable[str] = ()) -> Lexicon:
        """Return this lexicon with the words for things that a model can edit.

        Args:
          names: of things.
          attributes: other words in sentences about them.
        """
        names, attributes = tuple(names), tuple(attributes)
        return _with_objects(self, names, attributes) if names or attributes else self


def expand_phrase(pattern: str) -> list[tuple[str, ...]]:
    """Return the phrases of a pattern such as "take all? color out|away"."""
    slots: list[tuple[tuple[str, ...], ...]] = []
    for slot in pattern.split():
        options: list[tuple[str, ...]] = [(normalize_word(word),) for word in slot.rstrip("?").split("|")]
        slots.append((*options, *([()] if slot.endswith("?") else [])))
    phrases = [tuple(itertools.chain.from_iterable(choice)) for choice in itertools.product(*slots)]
    return [phrase for phrase in dict.fromkeys(phrases) if phrase]


def _expand_phrases(patterns: Iterable[str]) -> frozenset[tuple[str, ...]]:
    return frozenset(phrase for pattern in patterns for phrase in expand_phrase(pattern))


@functools.cache
def load_lexicon() -> Lexicon:
    """Read the tables."""
    grammar = _read_table("grammar.toml")
    looks = {
        name: Look(
            name,
            row["title"],
            row.get("opposite", ""),
            row.get("degrees", False),
            *(tuple(row.get(key, ())) for key in ("keeps", "implies", "near")),
        )
        for name, row in _read_table("looks.toml").items()
    }
    phrases = [*_look_phrases("phrases"), *_grammar_phrases(grammar)]
    for color in grammar["colors"]:
        looks[f"tint-{color}"] = Look(f"tint-{color}", f"{color} tint", near=_TINTS_NEAR.get(color, ()))
    root, words, inflected = PhraseNode(), set(), set()
    for pattern, meaning in phrases:
        for phrase in expand_phrase(pattern):
            _add_phrase(root, phrase, meaning)
            words.update(phrase)
            if meaning.kind in ("look", "state", "property"):
                inflected.update(form for word in phrase for form in _inflect(word))
    targets = words | inflected
    for pattern, meaning in _look_phrases("idioms"):
        for phrase in expand_phrase(pattern):
            if len(phrase) == 1 and " " in pattern:  # a part of an idiom says less
                continue
            _add_phrase(root, phrase, meaning)
            words.update(phrase)
    properties = {
        name: Property(row["up"], row["down"], row.get("weak", False))
        for name, row in grammar["properties"].items()
    }
    remedies = {name: row["remedy"] for name, row in grammar["elsewhere"].items()}
    related: dict[str, tuple[str, ...]] = {}
    for line in (TABLES / "related.tsv").read_text().splitlines():
        if line and not line.startswith("#"):
            word, names = line.split("\t")
            related[word] = tuple(names.split(","))
    neighbors = frozenset(
        word
        for line in (TABLES / "neighbors.txt").read_text().splitlines()
        if not line.startswith("#")
        for word in line.split()
    ) | frozenset(grammar["vague"]["words"])
    asides = grammar["asides"]
    return Lexicon(
        looks, properties, remedies, root, frozenset(words), frozenset(targets), neighbors, related,
        frozenset(grammar["languages"]["words"]), frozenset(grammar["fillers"]["between"]),
        _expand_phrases(asides["comparisons"]), _expand_phrases(asides["reasons"]),
        frozenset(asides["subjects"]), frozenset(asides["statements"]), frozenset(asides["wishes"]),
    )  # fmt: skip


# Looks to offer where a clip can't be tinted.
_TINTS_NEAR = {
    "red": ("warmer",), "orange": ("warmer", "autumn"), "yellow": ("warmer", "sepia"), "green": ("spring",), "cyan": ("colder",),
    "blue": ("colder", "night"), "purple": ("colder",), "pink": ("warmer",), "brown": ("sepia", "autumn"), "white": ("brighter", "winter"),
    "black": ("darker",), "gray": ("greyscale",), "silver": ("greyscale", "less saturated"),
}  # fmt: skip


def _read_table(name: str) -> dict[str, Any]:
    return tomllib.loads((TABLES / name).read_text())


def _look_phrases(key: Literal["phrases", "idioms"]) -> list[tuple[str, Meaning]]:
    out = []
    for name, row in _read_table("looks.toml").items():
        out += [(pattern, Meaning("look", name)) for pattern in row.get(key, ())]
        if key == "phrases":
            out += [(word, Meaning("state", name)) for word in row.get("states", ())]
    return out


def _grammar_phrases(grammar: Mapping[str, Any]) -> list[tuple[str, Meaning]]:
    rows: list[tuple[Kind, Iterable[str], str]] = [
        ("filler", grammar["fillers"]["words"], ""),
        ("verb", grammar["fillers"]["verbs"], ""),
        ("hard", grammar["separators"]["hard"], ""),
        ("soft", grammar["separators"]["soft"], ""),
        ("up", grammar["directions"]["up"], ""),
        ("down", grammar["directions"]["down"], ""),
        ("lower", grammar["directions"]["lower"], ""),
        ("up_particle", grammar["directions"]["up_particles"], ""),
        ("down_particle", grammar["directions"]["down_particles"], ""),
        ("weak", grammar["amounts"]["weak"], ""),
        ("strong", grammar["amounts"]["strong"], ""),
        ("full", grammar["amounts"]["full"], ""),
        ("not", grammar["negations"]["words"], ""),
        ("harmless", grammar["negations"]["harmless"], ""),
        ("touch", grammar["negations"]["touch"], ""),
        ("too", grammar["excess"]["words"], ""),
        ("keep", grammar["keep"]["words"], ""),
        ("keep_end", grammar["keep"]["endings"], ""),
        ("only", grammar["exceptions"]["only"], ""),
        ("except", grammar["exceptions"]["words"], ""),
        ("tint", grammar["tint"]["words"], ""),
        ("time", grammar["times"]["words"], ""),
        ("remove", grammar["operations"]["remove"], ""),
        ("insert", grammar["operations"]["insert"], ""),
        ("replace", grammar["operations"]["replace"], ""),
        ("recolor", grammar["operations"]["recolor"], ""),
    ]
    sections: list[tuple[Kind, Mapping[str, Iterable[str]]]] = [
        ("property", {name: row["phrases"] for name, row in grammar["properties"].items()}),
        ("color", grammar["colors"]),
        ("region", grammar["regions"]),
        ("thing", grammar["things"]),
        ("elsewhere", {name: row["phrases"] for name, row in grammar["elsewhere"].items()}),
    ]
    for kind, section in sections:
        rows.extend((kind, patterns, name) for name, patterns in section.items())
    return [(pattern, Meaning(kind, value)) for kind, patterns, value in rows for pattern in patterns]


def _inflect(word: str) -> set[str]:
    """Return what may be inflected forms of a word."""
    if len(word) < SHORTEST_KNOWN or not word.isalpha():
        return set()
    return {f"{word}s", *(word.removesuffix("e") + ending for ending in ("er", "est", "ed", "ing"))}


def _add_phrase(root: PhraseNode, phrase: tuple[str, ...], meaning: Meaning) -> None:
    node = root
    for word in phrase:
        node = node.following.setdefault(word, PhraseNode())
    if meaning not in node.meanings:
        node.meanings.append(meaning)


@functools.lru_cache(maxsize=8)
def _with_objects(lexicon: Lexicon, names: tuple[str, ...], attributes: tuple[str, ...]) -> Lexicon:
    root, words = copy.deepcopy(lexicon.root), set(lexicon.words)
    kinds: tuple[tuple[Kind, tuple[str, ...]], ...] = (("object", names), ("attribute", attributes))
    for kind, phrases in kinds:
        for text in phrases:
            phrase = tuple(map(normalize_word, text.split()))
            _add_phrase(root, phrase, Meaning(kind, text))
            words.update(phrase)
    return dataclasses.replace(
        lexicon, root=root, words=frozenset(words), spellings=lexicon.spellings | (words - lexicon.words)
    )
