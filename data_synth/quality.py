"""Quality gates: what every pair must pass before it is stored.

Pair → **gates** → (keep, reason). Reasons are counted by the pipeline and end up in the report; a gate never repairs.
Gates judge a pair by itself; `fingerprint` lets whoever holds them all (synth.py) drop near-duplicates.
"""

from __future__ import annotations

import re

import cv2
import numpy as np

from data_synth.recipes.result import Rejected
from v2v.data.pair import Pair

MIN_AREA = 0.006  # least share of the active frames' pixels that the mask must cover
# Least root mean square of source - target inside the mask, in grey levels, by recipe.
MIN_CHANGE = {"local": 20.0, "lift": 14.0, "photometric": 12.0, "removal": 10.0, "physics": 8.0}
MIN_CHANGE_OTHER = 4.0  # for what is not ours to choose: controls, experts, mined and published pairs
MAX_LEAK = 0  # greatest |source - target| outside the mask, in grey levels
MIN_LUMA, MAX_LUMA = 16.0, 240.0  # mean brightness of a clip in which something can be seen
MIN_DETAIL = 2.0  # least standard deviation of a frame, in grey levels
EXTERNAL_RECIPES = ("expert", "composition", "imported")  # recipes whose targets we didn't make
MIN_MOTION = 0.25  # least mean |last frame - first frame|, in grey levels
WORD_LIMITS = (2, 22)  # least and greatest length of an instruction of the default mix (the embedded model's)
WORD_LIMITS_OTHER = (2, 200)
# Words that by themselves name neither a thing nor a look: articles and the like, verbs of doing, praise, the clip as such.
INVISIBLE_WORDS = frozenset(
    "a an the this that these those it its them they he she i me my you your we us our some any all every each and or but so if "
    "as at by for from in into of on onto off out over to up with without again also too just only very more less much many "
    "please now then here there is are be was were do does did done have has can could should would will must let lets want "
    "need needs like make makes made turn change changes alter edit edits modify adjust apply use give get go put set try work "
    "fix improve enhance update process perform create generate render produce transform convert different other another new "
    "same better best good nice nicer great cool perfect amazing beautiful interesting way something anything everything "
    "nothing thing things stuff part bit one what which how video clip footage movie film image picture frame frames scene shot "
    "content output result version instruction source target not no yes".split()
)
_MOVED_BY_EDIT = ("insertion", "physics-camera", "physics-collapse", "physics-float", "physics-action")
CUT_THRESHOLDS = (
    40.0,
    4.0,
)  # a cut: mean |frame - next| above this many grey levels and this many times the clip's median


def find_rejection(pair: Pair, whole: Pair | None = None) -> Rejected | None:
    """Return why the pair is not worth training on, one constant reason per gate; None where it is.

    Args:
      pair: as it would be stored. whole: the same before its transition, by which it would have a cut, move and show something;
        None if it has none.
    """
    untimed_gates = (
        (gate, whole or pair)
        for gate in (_find_darkness, _find_flatness, _find_stillness, _find_cut, _find_broken_target)
    )
    stored_gates = (
        (gate, pair)
        for gate in (_find_bad_length, _find_vagueness, _find_small_mask, _find_leak, _find_small_change)
    )
    for gate, judged in (*untimed_gates, *stored_gates):
        reason = gate(judged)
        if reason:
            return Rejected(reason)
    return None


def fingerprint_pair(pair: Pair) -> str:
    """Equal for near-duplicates: the same edit between middle frames that look alike.

    A look is a difference hash, [Y(i, j + 1) > Y(i, j)] of the frame reduced to 8 x 9 pixels, with the mean brightness
    in steps of 16 grey levels: scaling, re-encoding and small shifts leave it as it is.
    """
    looks = []
    for video in (pair.source, pair.target):
        luma = cv2.cvtColor(video[len(video) // 2], cv2.COLOR_RGB2GRAY)
        small = cv2.resize(luma, (9, 8), interpolation=cv2.INTER_AREA).astype(np.int16)
        looks.append(
            np.packbits(small[:, 1:] > small[:, :-1]).tobytes().hex() + f"{int(luma.mean()) // 16:x}"
        )
    return " ".join([pair.edit, *looks])


def _footage_side(pair: Pair) -> np.ndarray:
    """The side that shows something: an edge map is dark, an optical flow flat, and both are meant to be."""
    return pair.target if pair.provenance.get("direction") == "from" else pair.source


def _mean(levels: np.ndarray) -> float:
    """Mean of uint8, by a sum that is exact."""
    return sum(cv2.sumElems(levels.reshape(-1, levels.shape[-2] * levels.shape[-1], 1))) / levels.size


def _find_darkness(pair: Pair) -> str:
    luma = _mean(_footage_side(pair))
    return "too dark" if luma < MIN_LUMA else "too bright" if luma > MAX_LUMA else ""


def _find_flatness(pair: Pair) -> str:
    return "nothing to see" if float(_footage_side(pair)[0].std()) < MIN_DETAIL else ""


def _find_stillness(pair: Pair) -> str:
    # Nothing may move before it is inserted, or before the camera does.
    video = pair.target if pair.edit in _MOVED_BY_EDIT else _footage_side(pair)
    return "nothing moves" if len(video) > 1 and _mean(cv2.absdiff(video[0], video[-1])) < MIN_MOTION else ""


def _find_cut(pair: Pair) -> str:
    video = _footage_side(pair)
    if len(video) < 4 or pair.recipe in ("local", "photometric", "physics"):  # rendered: there is none
        return ""
    steps = np.array([_mean(cv2.absdiff(a, b)) for a, b in zip(video[:-1], video[1:], strict=True)])
    return (
        "cut inside"
        if steps.max() > max(CUT_THRESHOLDS[0], CUT_THRESHOLDS[1] * float(np.median(steps)))
        else ""
    )


def _find_broken_target(pair: Pair) -> str:
    """What others made may be nothing: one colour in most frames, or one frame of a clip that moves."""
    if (
        pair.recipe not in EXTERNAL_RECIPES and "set" not in pair.provenance
    ):  # the pictures of a set are lifted
        return ""
    if float(np.median([cv2.meanStdDev(frame)[1].max() for frame in pair.target])) < MIN_DETAIL:
        return "target shows nothing"
    if not pair.mask.all():  # of a static shot without what moved in it, nothing moves
        return ""
    moved = [_mean(cv2.absdiff(video[0], video[-1])) for video in (pair.source, pair.target)]
    return "target stands still" if moved[0] >= 4 * MIN_MOTION and moved[1] < MIN_MOTION else ""


def _find_bad_length(pair: Pair) -> str:
    lengths = [_count_words(sentence) for sentence in pair.instructions]
    low, high = WORD_LIMITS if pair.recipe in ("local", "photometric") else WORD_LIMITS_OTHER
    return "instruction too short or long" if min(lengths) < low or max(lengths) > high else ""


def _count_words(sentence: str) -> int:
    """Words, or what comes near them in scripts that put no space between them: a word has two characters or so."""
    unspaced = sum("\u3040" <= c <= "\u9fff" or "\u0e00" <= c <= "\u0eff" for c in sentence)
    return len(sentence.split()) + unspaced // 2


def _find_vagueness(pair: Pair) -> str:
    """Every sentence must say something that can be seen: "make it better" can't be learnt, nor checked."""
    word_sets = [set(re.findall(r"[^\W\d_]+", sentence.lower())) for sentence in pair.instructions]
    return "" if all(words - INVISIBLE_WORDS for words in word_sets) else "instruction names nothing visible"


def _find_small_mask(pair: Pair) -> str:
    start, end = pair.active
    return (
        "mask too small"
        if np.count_nonzero(pair.mask[start:end]) < MIN_AREA * pair.mask[start:end].size
        else ""
    )


def _find_leak(pair: Pair) -> str:
    for source, target, mask in zip(pair.source, pair.target, pair.mask, strict=True):
        outside = (mask == 0).view(np.uint8)
        if outside.any() and cv2.norm(source, target, cv2.NORM_INF, outside) > MAX_LEAK:
            return "change outside the mask"
    return ""


def _find_small_change(pair: Pair) -> str:
    # All change lies inside the mask by now, so the sum may run over everything.
    change = sum(
        cv2.norm(source, target, cv2.NORM_L2SQR)
        for source, target in zip(pair.source, pair.target, strict=True)
    )
    mean_square = change / (3 * max(1, np.count_nonzero(pair.mask)))
    return "change too small" if mean_square < MIN_CHANGE.get(pair.recipe, MIN_CHANGE_OTHER) ** 2 else ""
