"""When the edit begins: the target is spliced from source and edited clip, and the mask carries the time.

Pair → **transition** → Pair (EasyV2V §4.1, applied to half of its video pairs). For start frame s, end frame e and
blend length L (0 = cut), with weights

    w_k = clip((k - s + 1) / (L + 1), 0, 1) for k < e,  0 for k >= e
    target_k ← (1 - w_k) source_k + w_k edited_k,       mask_k ← mask_k · [s <= k < e]

The paper centres its blend at t_i and so changes frames before it while their mask is still off; here the blend
*starts* at s, which keeps the promise that nothing changes where the mask is 0.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from v2v.data.pairs import Pair


def add_transition(pair: Pair, rng: np.random.Generator, probability: float = 0.5) -> Pair:
    """With this probability, limits the edit to frames [start, end); three times in four it lasts to the end."""
    T = pair.source.shape[0]
    if T < 3 or rng.random() >= probability:
        return pair
    least = min(T - 1, max(2, T // 3))  # an edit shorter than this is not worth a sentence
    start, end = int(rng.integers(1, T - least + 1)), T
    if rng.random() < 0.25:
        start = int(rng.integers(0, T - least))
        end = int(rng.integers(start + least, T))
    blend = int(rng.integers(1, max(2, T // 3))) if rng.random() < 0.4 else 0
    return splice(pair, start, end, min(blend, end - start - 1))


def splice(pair: Pair, start: int, end: int, blend: int = 0) -> Pair:
    """The pair with its edit on in frames [start, end) only, fading in over `blend` frames.

    Args:
      pair: a pair whose edit is on throughout.
      start, end: frames, 0 <= start < end <= T.
      blend: number of frames at partial strength; 0 is a cut.
    """
    T = pair.source.shape[0]
    k = np.arange(T)
    weight = np.clip((k - start + 1) / (blend + 1), 0, 1) * (k < end)
    target = pair.source.copy()
    target[weight == 1] = pair.target[weight == 1]
    for i in np.flatnonzero((weight > 0) & (weight < 1)):
        mix = (1 - weight[i]) * pair.source[i].astype(np.float32) + weight[i] * pair.target[i].astype(
            np.float32
        )
        target[i] = (mix + 0.5).astype(np.uint8)
    off = (k < start) | (k >= end)
    mask, effect = pair.mask.copy(), None if pair.effect is None else pair.effect.copy()
    mask[off] = 0
    if effect is not None:
        effect[off] = 0
    provenance = {**pair.provenance, "transition": {"start": start, "end": end, "blend": blend}}
    return dataclasses.replace(
        pair, target=target, mask=mask, effect=effect, active=(start, end), provenance=provenance
    )
