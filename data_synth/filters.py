"""Quality gates: what every pair must pass before it is stored.

Pair → **gates** → (keep, reason). Reasons are counted by the pipeline and end up in the report; a gate never repairs.
"""

from __future__ import annotations

import numpy as np

from v2v.data.pairs import Pair

MIN_AREA = 0.006  # least share of the active frames' pixels that the mask must cover
MIN_CHANGE = 20.0  # least root mean square of source - target inside the mask, in grey levels
MIN_CHANGE_PHOTOMETRIC = 12.0
LEAK = 0  # greatest |source - target| outside the mask, in grey levels
MIN_LUMA, MAX_LUMA = 16.0, 240.0  # mean brightness of a clip in which something can be seen
MIN_DETAIL = 2.0  # least standard deviation of a frame, in grey levels
MIN_MOTION = 0.25  # least mean |last frame - first frame|, in grey levels
WORDS = (2, 22)  # least and greatest length of an instruction


def keep(pair: Pair) -> tuple[bool, str]:
    """Whether the pair is worth training on, and if not, why: one short constant string per gate."""
    difference = np.maximum(pair.source, pair.target) - np.minimum(pair.source, pair.target)
    for gate in (_dark, _flat, _static, _wordy, _empty, _leak, _small):
        reason = gate(pair, difference)
        if reason:
            return False, reason
    return True, ""


def _dark(pair: Pair, difference: np.ndarray) -> str:
    luma = float(pair.source.mean())
    return "too dark" if luma < MIN_LUMA else "too bright" if luma > MAX_LUMA else ""


def _flat(pair: Pair, difference: np.ndarray) -> str:
    return "nothing to see" if float(pair.source[0].std()) < MIN_DETAIL else ""


def _static(pair: Pair, difference: np.ndarray) -> str:
    first, last = pair.source[0].astype(np.int16), pair.source[-1].astype(np.int16)
    return "nothing moves" if len(pair.source) > 1 and float(np.abs(last - first).mean()) < MIN_MOTION else ""


def _wordy(pair: Pair, difference: np.ndarray) -> str:
    lengths = [len(sentence.split()) for sentence in pair.instructions]
    return "instruction too short or long" if min(lengths) < WORDS[0] or max(lengths) > WORDS[1] else ""


def _empty(pair: Pair, difference: np.ndarray) -> str:
    start, end = pair.active
    return "mask too small" if np.count_nonzero(pair.mask[start:end]) < MIN_AREA * pair.mask[start:end].size else ""


def _leak(pair: Pair, difference: np.ndarray) -> str:
    outside = pair.mask == 0
    return "change outside the mask" if outside.any() and int(difference[outside].max()) > LEAK else ""


def _small(pair: Pair, difference: np.ndarray) -> str:
    # All change lies inside the mask by now, so the sum may run over everything.
    change = difference.ravel().astype(np.float32)
    mean_square = float(change @ change) / (3 * max(1, np.count_nonzero(pair.mask)))
    floor = MIN_CHANGE_PHOTOMETRIC if pair.recipe == "photometric" else MIN_CHANGE
    return "change too small" if mean_square < floor**2 else ""
