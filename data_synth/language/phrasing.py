"""Other ways to ask for the same edit: polite, spoken, long and descriptive ones beside a recipe's own sentences.

instructions, what the pair is → **vary_instructions** → instructions. Nothing is added that the pair doesn't show: where the mask leaves pixels
alone a sentence may ask for that, where the edit begins late it may say when, and what the clip shows comes from its caption. The lists are
in `phrases.py`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from data_synth.language import phrases
from v2v.data.pair import Pair

Option = TypeVar("Option")
# Words of sentences that hold for edits of all frames alone.
_ALWAYS = re.compile(
    r"\b(every frame|all frames|first frame to the last|from beginning to end|all along|the whole time)\b",
    re.IGNORECASE,
)

# Version of the words around recipes' own. 2: captions that name nothing describe no footage, and nothing is said to be on all the time where it isn't.
VERSION = "2"
# Number of sentences, and the share of them that are elaborated.
_COUNT, _LONG_SHARE = 5, 0.3
# Kinds of pairs by what stays the same in them.
_MOVING_KINDS = ("camera", "time")
_OBJECT_KINDS = ("cutout", "removal")


def vary_instructions(pair: Pair, rng: np.random.Generator) -> tuple[str, ...]:
    """Return different instructions for a pair, some of them the recipe's own, others longer.

    Args:
      pair: The pair with the recipe's sentences, after its transition.
      rng: Draws everything.
    """
    sentences = []
    cores = [pair.instructions[i] for i in rng.permutation(len(pair.instructions))]
    for n in range(_COUNT):
        core = cores[n % len(cores)]
        is_long = len(core.split()) > 15
        if rng.random() < (_LONG_SHARE if not is_long else 0.25) or n >= len(cores):
            sentences.append(elaborate(core, pair, rng))
        elif rng.random() < 0.4:
            sentences.append(_punctuate(_ask(core, rng)))
        else:
            sentences.append(core)
    return tuple(dict.fromkeys(sentences))


def elaborate(core: str, pair: Pair, rng: np.random.Generator) -> str:
    """Return an instruction with up to three further sentences: what the clip shows, when the edit is on, what stays, how it should look.

    Args:
      core: An instruction.
      pair: The pair.
      rng: Draws everything.
    """
    parts = [_punctuate(_ask(core, rng) if rng.random() < 0.5 else core)]
    moment = describe_times(pair)
    if moment and rng.random() < 0.6:
        parts.append(_choose(rng, phrases.WHEN).format(when=moment))
    extra = _choose(rng, _list_wishes(pair))
    parts.append(_choose(rng, extra))
    if rng.random() < 0.3:
        parts.append(_choose(rng, phrases.PURPOSES).format(use=_choose(rng, phrases.USES)))
    if pair.provenance.get("clip") != "rendered" and _has_caption(pair) and rng.random() < 0.4:
        parts.insert(0, _choose(rng, phrases.CONTEXTS).format(caption=pair.source_caption.rstrip(". ")))
    return " ".join(_punctuate(part) for part in parts)


def drop_untrue_times(pair: Pair) -> tuple[str, ...]:
    """Return the instructions of a pair without those that say the edit is on all the time where it isn't; all where none else is left."""
    start, end = pair.active
    if end - start >= len(pair.source) - 1 or "start" not in pair.provenance.get("transition", {}):
        return pair.instructions
    return tuple(text for text in pair.instructions if not _ALWAYS.search(text)) or pair.instructions


def describe_times(pair: Pair) -> str:
    """Return when an edit is on that doesn't last for the whole clip, such as "from the middle on"; "" where it does."""
    start, end = pair.active
    T = len(pair.source)
    if end - start >= T - 1 or "start" not in pair.provenance.get("transition", {}):
        return ""
    start_words, end_words = _name_share(start / T), _name_share(end / T)
    if end >= T:
        return f"from {start_words} on"
    if start == 0:
        return f"until {end_words}"
    return (
        f"from {start_words} until {end_words}"
        if start_words != end_words
        else f"for a moment around {start_words}"
    )


def _name_share(share: float) -> str:
    for limit, words in (
        (0.12, "the very beginning"),
        (0.3, "the first quarter"),
        (0.42, "the first third"),
        (0.58, "the middle"),
        (0.71, "the last third"),
        (0.88, "the last quarter"),
    ):
        if share < limit:
            return words
    return "the very end"


def _list_wishes(pair: Pair) -> tuple[tuple[str, ...], ...]:
    """Return the lists from which a further wish may come, all of them true of the pair."""
    is_partial = bool((pair.mask[pair.active[0]] == 0).any())
    if pair.recipe in _MOVING_KINDS:
        return (phrases.KEEP_LIGHT,)
    if pair.recipe in _OBJECT_KINDS:
        return phrases.KEEP_REST, phrases.BELIEVABLE
    if is_partial:
        return (phrases.KEEP_REST,)
    return (
        (phrases.STEADY,)
        if "mirror" in pair.edit or "upside" in pair.edit
        else (phrases.KEEP_MOTION, phrases.STEADY)
    )


def _has_caption(pair: Pair) -> bool:
    return (
        not re.match(r"(a (video|picture)\b.*)?$", pair.source_caption)
        and len(pair.source_caption.split()) < 30
    )


def _ask(core: str, rng: np.random.Generator) -> str:
    """Return an instruction as a request of somebody who talks; sentences that don't begin with a verb stay as they are."""
    if core.split()[0] not in phrases.VERBS or "?" in core:
        return core
    return _choose(rng, phrases.REQUESTS).format(core=core.rstrip("."))


def _punctuate(sentence: str) -> str:
    """Return a sentence with a capital letter and a full stop; what is quoted is left as it is."""
    text = sentence.strip()
    first = re.search(r"[^\W\d_]", text)
    if first and first.start() == 0:
        text = text[0].upper() + text[1:]
    return text if re.search(r'[.?!]"?$', text) else f"{text}."


def _choose(rng: np.random.Generator, options: Sequence[Option]) -> Option:
    return options[int(rng.integers(len(options)))]
