"""Quality gates that every pair must pass before it is stored.

Pair → **gates** → None, or a `Rejected` with the reason. `generate.py` applies them, and the report of a set counts the reasons; a gate
never repairs. Gates judge a pair by itself; `fingerprint_pair` lets `dataset/build.py`, which sees all pairs, drop near-duplicates.
"""

from __future__ import annotations

import cv2
import numpy as np

from data_synth.language.visible_words import names_something
from data_synth.operators.shot_cuts import has_cut, measure_mean
from data_synth.recipes import own_pairs
from data_synth.recipes.base import DEFAULT_MIN_CHANGE
from data_synth.recipes.registry import MIN_CHANGES
from data_synth.rejection import Rejected
from v2v.data.pair import Pair
from v2v.runtime import text_files

# Least share of the active frames' pixels that the mask must cover.
MIN_AREA = 0.006
# Greatest |source - target| outside the mask, in grey levels.
MAX_LEAK = 0
# Least and greatest mean brightness of a clip in which something can be seen.
MIN_LUMA, MAX_LUMA = 16.0, 240.0
# Least standard deviation of a frame, in grey levels.
MIN_DETAIL = 2.0
# Recipes whose targets come from elsewhere.
EXTERNAL_RECIPES = ("expert", "composition", "imported", "pairs")
# Recipes whose clips are rendered, and so have no cuts.
RENDERED_RECIPES = ("local", "photometric", "physics")
# Least mean |last frame - first frame|, in grey levels.
MIN_MOTION = 0.25
# Least and greatest number of words of an instruction of the default mix (the embedded model's).
WORD_LIMITS = (2, 22)
WORD_LIMITS_OTHER = (2, 200)
# Edits before which nothing needs to move.
_MOVING_EDITS = ("insertion", "physics-camera", "physics-collapse", "physics-float", "physics-action")


def find_rejection(pair: Pair, untimed_pair: Pair | None = None) -> Rejected | None:
    """Return why the pair is not worth training on, one constant reason per gate; None where it is.

    Args:
      pair: The pair as it would be stored.
      untimed_pair: The pair before its transition; None if it has none. Cuts, motion and visibility are judged by it, as a transition
        would add to the first two.
    """
    if not all(map(text_files.is_unicode, _texts(pair))):
        return Rejected("text that UTF-8 can't hold")
    untimed_gates = (
        (gate, untimed_pair or pair)
        for gate in (_find_darkness, _find_flatness, _find_stillness, _find_cut, _find_broken_target)
    )
    stored_gates = (
        (gate, pair)
        for gate in (_find_bad_length, _find_vagueness, _find_small_mask, _find_leak, _find_small_change)
    )
    for gate, gated_pair in (*untimed_gates, *stored_gates):
        reason = gate(gated_pair)
        if reason:
            return Rejected(reason)
    return None


def fingerprint_pair(pair: Pair) -> str:
    """Return a text that is equal for near-duplicates: the same edit between middle frames that look alike.

    A frame is described by a difference hash, [Y(i, j + 1) > Y(i, j)] of the frame reduced to 8 x 9 pixels, and its mean brightness
    in steps of 16 grey levels: scaling, re-encoding and small shifts do not change it. People who list a pair twice in other words mean
    both, so that of their own pairs the words count too.
    """
    hashes = []
    for video in (pair.source, pair.target):
        luma = cv2.cvtColor(video[len(video) // 2], cv2.COLOR_RGB2GRAY)
        small = cv2.resize(luma, (9, 8), interpolation=cv2.INTER_AREA).astype(np.int16)
        hashes.append(
            np.packbits(small[:, 1:] > small[:, :-1]).tobytes().hex() + f"{int(luma.mean()) // 16:x}"
        )
    words = pair.instructions if pair.recipe == own_pairs.NAME else ()
    return " ".join([pair.edit, *hashes, *words])


def _texts(pair: Pair) -> tuple[str, ...]:
    """Return the texts that a set stores as they are; provenance is stored as ASCII."""
    return (*pair.instructions, pair.source_caption, pair.target_caption, pair.edit, pair.recipe)


def _footage_side(pair: Pair) -> np.ndarray:
    """Return the side that is no control video: an edge map is dark, an optical flow flat, and both are meant to be."""
    return pair.target if pair.provenance.get("direction") == "from" else pair.source


def _find_darkness(pair: Pair) -> str:
    luma = measure_mean(_footage_side(pair))
    return "too dark" if luma < MIN_LUMA else "too bright" if luma > MAX_LUMA else ""


def _find_flatness(pair: Pair) -> str:
    return "nothing to see" if float(_footage_side(pair)[0].std()) < MIN_DETAIL else ""


def _find_stillness(pair: Pair) -> str:
    # Nothing may move before it is inserted, or before the camera does.
    video = pair.target if pair.edit in _MOVING_EDITS else _footage_side(pair)
    return (
        "nothing moves"
        if len(video) > 1 and measure_mean(cv2.absdiff(video[0], video[-1])) < MIN_MOTION
        else ""
    )


def _find_cut(pair: Pair) -> str:
    return "cut inside" if pair.recipe not in RENDERED_RECIPES and has_cut(_footage_side(pair)) else ""


def _find_broken_target(pair: Pair) -> str:
    """Reject targets from elsewhere that show one colour in most frames, or stand still where the source moves."""
    # Pairs of a published set carry "set", whichever recipe they name.
    if pair.recipe not in EXTERNAL_RECIPES and "set" not in pair.provenance:
        return ""
    if float(np.median([cv2.meanStdDev(frame)[1].max() for frame in pair.target])) < MIN_DETAIL:
        return "target shows nothing"
    if not pair.mask.all():  # nothing moves in a static shot from which the only moving object is removed
        return ""
    source_motion, target_motion = (
        measure_mean(cv2.absdiff(v[0], v[-1])) for v in (pair.source, pair.target)
    )
    is_still = source_motion >= 4 * MIN_MOTION and target_motion < MIN_MOTION
    return "target stands still" if is_still else ""


def _find_bad_length(pair: Pair) -> str:
    lengths = [_count_words(sentence) for sentence in pair.instructions]
    low, high = WORD_LIMITS if pair.recipe in ("local", "photometric") else WORD_LIMITS_OTHER
    return "instruction too short or long" if min(lengths) < low or max(lengths) > high else ""


def is_usable_sentence(sentence: str, pair: Pair) -> bool:
    """Return whether a sentence may be one of a pair's instructions: of the length that the pair's recipe allows, naming something visible."""
    low, high = WORD_LIMITS if pair.recipe in ("local", "photometric") else WORD_LIMITS_OTHER
    return (
        low <= _count_words(sentence) <= high
        and names_something(sentence)
        and text_files.is_unicode(sentence)
    )


def _count_words(sentence: str) -> int:
    """Count words; in scripts that put no space between them two characters count as one."""
    unspaced = sum("\u3040" <= c <= "\u9fff" or "\u0e00" <= c <= "\u0eff" for c in sentence)
    return len(sentence.split()) + unspaced // 2


def _find_vagueness(pair: Pair) -> str:
    """Reject sentences that name nothing visible: "make it better" can neither be learnt nor checked."""
    return "" if all(map(names_something, pair.instructions)) else "instruction names nothing visible"


def _find_small_mask(pair: Pair) -> str:
    start, end = pair.active
    mask = pair.mask[start:end]
    return "mask too small" if np.count_nonzero(mask) < MIN_AREA * mask.size else ""


def _find_leak(pair: Pair) -> str:
    for source, target, mask in zip(pair.source, pair.target, pair.mask, strict=True):
        outside = (mask == 0).view(np.uint8)
        if outside.any() and cv2.norm(source, target, cv2.NORM_INF, outside) > MAX_LEAK:
            return "change outside the mask"
    return ""


def _find_small_change(pair: Pair) -> str:
    # The gate of leaks comes first, so all change lies inside the mask, and the sum may run over everything.
    change = sum(
        cv2.norm(source, target, cv2.NORM_L2SQR)
        for source, target in zip(pair.source, pair.target, strict=True)
    )
    mean_square = change / (3 * max(1, np.count_nonzero(pair.mask)))
    return "change too small" if mean_square < MIN_CHANGES.get(pair.recipe, DEFAULT_MIN_CHANGE) ** 2 else ""
