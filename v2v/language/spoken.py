"""Sentences that people may say to a model whose abilities are known: what a recogniser of speech listens for.

A recogniser that knows them hears "make it night" where one of English at large hears "make it tonight". They are examples, from which word
sequences are counted; what is said is read by `reading.py` as if it had been typed.
"""

import itertools
import re

from v2v.language.abilities import Abilities
from v2v.language.lexicon import load_lexicon
from v2v.language.places import REGIONS

_OBJECTS = ("it", "this", "that", "the video", "the clip", "everything", "the background", "the man", "the woman", "the person", "the people", "him", "her", "them")  # fmt: skip
_AMOUNTS = ("a bit", "a little", "slightly", "much", "very")
_PLACES = ("here", "there", "in the background", "on the left", "on the right", *(f"in the {name}" for name in REGIONS), "everywhere but the center")  # fmt: skip
_SIZES = ("small", "medium", "large")
_COLORS = ("red", "green", "blue", "yellow", "white", "black", "orange", "purple", "pink", "cyan", "gray")
_REMOVALS = ("remove", "delete", "erase", "get rid of")
_CHANGES = ("blur", "darken", "brighten", "lighten", "invert")
_WORD = re.compile(r"[a-z']+(?: [a-z']+)*")


def list_spoken_sentences(abilities: Abilities) -> list[str]:
    """Return examples of what may be said, in small letters without punctuation.

    Args:
      abilities: of the model.
    """
    looks = load_lexicon().looks
    titles = [looks[name].title if name in looks else name for name in abilities.able_looks]
    titles = [title for title in titles if _WORD.fullmatch(title)]
    sentences = [abilities.looks[name].say for name in abilities.able_looks]
    for title in titles:
        sentences += [f"make {target} {title}" for target in _OBJECTS]
        sentences += [f"make {target} {amount} {title}" for target in _OBJECTS[:4] for amount in _AMOUNTS]
        sentences += [f"make it {title} {place}" for place in _PLACES]
        sentences += [f"make {target} {title} and {other}" for target in ("it", "this") for other in titles]
        sentences += [f"make {target} look like {title}" for target in _OBJECTS]
        sentences += [f"turn {target} into {title}" for target in _OBJECTS]
        sentences += [f"{title}", f"{title} please", f"{title} in the background"]
    sentences += [f"{verb} {target}" for verb in _CHANGES for target in (*_OBJECTS, "the colors")]
    sentences += [f"{verb} it {place}" for verb in _CHANGES for place in _PLACES]
    targets = [*abilities.names, "thing", "text", "subtitles", "background", "word", "object"]
    for target, article in itertools.product(targets, ("the", "this", "that")):
        for word in ("", *_COLORS, *_SIZES):
            sentences += [f"{verb} {article} {word} {target}" for verb in (*_REMOVALS, *_CHANGES[:3])]
        sentences += [f"make {article} {target} {color}" for color in (*_COLORS, *titles)]
        sentences += [
            f"replace {article} {target} with a {c} {other}" for other in targets for c in _COLORS[:2]
        ]
    sentences += [f"add a {color} {target}" for color in _COLORS for target in abilities.names]
    return [" ".join(sentence.lower().replace(",", " ").split()) for sentence in sentences]
