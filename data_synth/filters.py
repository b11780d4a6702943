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
MIN_DETAIL = 2.0  # least standard deviation of a clip


def keep(pair: Pair) -> tuple[bool, str]:
    """Whether the pair is worth training on, and if not, why: one short constant string per gate."""
    for gate in (_dark, _flat, _empty, _leak, _small):
        reason = gate(pair)
        if reason:
            return False, reason
    return True, ""


def _dark(pair: Pair) -> str:
    luma = float(pair.source.mean())
    return "too dark" if luma < MIN_LUMA else "too bright" if luma > MAX_LUMA else ""


def _flat(pair: Pair) -> str:
    return "nothing to see" if float(pair.source[0].std()) < MIN_DETAIL else ""


def _empty(pair: Pair) -> str:
    start, end = pair.active
    return "mask too small" if float((pair.mask[start:end] > 0).mean()) < MIN_AREA else ""


def _leak(pair: Pair) -> str:
    gap = np.where(pair.mask[..., None] > 0, 0, _difference(pair))
    return "change outside the mask" if int(gap.max()) > LEAK else ""


def _small(pair: Pair) -> str:
    start, end = pair.active
    change = _difference(pair)[start:end][pair.mask[start:end] > 0].astype(np.float32)
    floor = MIN_CHANGE_PHOTOMETRIC if pair.recipe == "photometric" else MIN_CHANGE
    return "change too small" if float(np.sqrt(np.mean(change * change))) < floor else ""


def _difference(pair: Pair) -> np.ndarray:
    return np.maximum(pair.source, pair.target) - np.minimum(pair.source, pair.target)
