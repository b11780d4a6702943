"""Edits that begin or end inside the clip: the target is spliced from source and edited clip, and the mask tells the time.

Pair → **transition** → Pair (EasyV2V §4.1, applied to half of its video pairs). For start frame s, end frame e, length L
of the change (0 = cut), and the operator's opacity a in [0, 1] of pixel p at progress w,

    w_k = clip((k - s + 1) / (L + 1), 0, 1) for k < e,  0 for k >= e
    target_k(p) ← (1 - a(w_k, p)) source_k(p) + a(w_k, p) edited_k(p),       mask_k ← mask_k · [s <= k < e]

    blend     a = w                                      linear, everywhere at once
    dissolve  a = clip((w - n(p)) / 0.1 + 1/2, 0, 1)     n a smooth noise field, its values uniform over [0, 1]
    wipe      a = clip((w - d(p)) / 0.04 + 1/2, 0, 1)    d the place along a random direction, 0 to 1 over the frame

(dissolve and wipe reach 0 and 1 by stretching w a little beyond [0, 1]; a cut is any of them with L = 0.)
The paper centres its blend at t_i and so changes frames before it while their mask is still off; here the change
*starts* at s, so that nothing changes where the mask is 0.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np

from v2v.data.pair import Pair

OPERATORS = ("cut", "blend", "dissolve", "wipe")
# The default mix's, drawn 3 : 2.
CLASSIC_OPERATORS = ("cut", "blend")
# Width of the soft front, in units of progress w.
_EDGE = {"dissolve": 0.1, "wipe": 0.04}


def add_transition(
    pair: Pair,
    rng: np.random.Generator,
    probability: float = 0.5,
    operators: Sequence[str] = CLASSIC_OPERATORS,
) -> Pair:
    """Limit the edit to frames [start, end) with a given probability; three times in four it lasts to the end.

    Args:
      pair: Pair whose edit is on in all frames. One of fewer than 3 frames, or whose edit has times already, is returned as it is.
      rng: Generator that draws everything.
      probability: Probability of a limit.
      operators: Names of OPERATORS, drawn uniformly (CLASSIC_OPERATORS 3 : 2).
    """
    T = pair.source.shape[0]
    if T < 3 or pair.active != (0, T) or rng.random() >= probability:
        return pair
    min_length = min(T - 1, max(2, T // 3))  # an edit shorter than this is not worth a sentence
    start, end = int(rng.integers(1, T - min_length + 1)), T
    if rng.random() < 0.25:
        start = int(rng.integers(0, T - min_length))
        end = int(rng.integers(start + min_length, T))
    if tuple(operators) == CLASSIC_OPERATORS:
        blend = int(rng.integers(1, max(2, T // 3))) if rng.random() < 0.4 else 0
        return splice(pair, start, end, min(blend, end - start - 1))
    operator = operators[int(rng.integers(len(operators)))]
    blend = 0 if operator == "cut" else min(int(rng.integers(1, max(2, T // 2))), end - start - 1)
    field = arrival_field(operator, rng, *pair.source.shape[1:3])
    return splice(pair, start, end, blend, operator, field)


def splice(
    pair: Pair, start: int, end: int, blend: int = 0, operator: str = "blend", field: np.ndarray | None = None
) -> Pair:
    """Return the pair with its edit on in frames [start, end) only, coming in over `blend` frames.

    Args:
      pair: Pair whose edit is on in all frames.
      start: First frame of the edit, 0 <= start < end.
      end: First frame after the edit, at most T.
      blend: Number of frames at partial strength; 0 is a cut.
      operator: One of OPERATORS.
      field: For dissolve and wipe, float32 [H, W] in [0, 1], of `arrival_field`: pixels with low values change first.
    """
    T = pair.source.shape[0]
    k = np.arange(T)
    weight = np.clip((k - start + 1) / (blend + 1), 0, 1) * (k < end)
    target = np.empty_like(pair.source)
    for i in range(T):
        if weight[i] in (0, 1):
            target[i] = (pair.target if weight[i] else pair.source)[i]
            continue
        share = weight[i] if field is None else _opacity(float(weight[i]), field, _EDGE[operator])
        mix = (1 - share) * pair.source[i].astype(np.float32) + share * pair.target[i].astype(np.float32)
        target[i] = (mix + 0.5).astype(np.uint8)
    is_off = (k < start) | (k >= end)
    mask, effect = pair.mask.copy(), None if pair.effect is None else pair.effect.copy()
    mask[is_off] = 0
    if effect is not None:
        effect[is_off] = 0
    record: dict[str, int | str] = {"start": start, "end": end, "blend": blend}
    if field is not None:
        record["operator"] = operator
    return dataclasses.replace(
        pair,
        target=target,
        mask=mask,
        effect=effect,
        active=(start, end),
        provenance={**pair.provenance, "transition": record},
    )


def arrival_field(operator: str, rng: np.random.Generator, H: int, W: int) -> np.ndarray | None:
    """Return the progress at which each pixel changes: float32 [H, W] in [0, 1] for dissolve and wipe, None for the others.

    Args:
      operator: One of OPERATORS.
      rng: Generator of the wipe's direction and the dissolve's noise.
      H: Height in pixels.
      W: Width in pixels.
    """
    if operator == "wipe":
        angle = rng.uniform(0, 2 * np.pi)
        y, x = np.mgrid[:H, :W].astype(np.float32)
        along = np.float32(np.cos(angle)) * x + np.float32(np.sin(angle)) * y
        return (along - along.min()) / max(float(np.ptp(along)), 1e-6)
    if operator == "dissolve":
        coarse = rng.standard_normal((max(3, H // 8), max(3, W // 8)), np.float32)
        noise = cv2.resize(coarse, (W, H), interpolation=cv2.INTER_CUBIC)
        rank = np.empty(H * W, np.float32)
        rank[np.argsort(noise, axis=None, kind="stable")] = np.arange(H * W, dtype=np.float32)
        return (rank / max(H * W - 1, 1)).reshape(H, W)
    return None


def _opacity(progress: float, field: np.ndarray, edge: float) -> np.ndarray:
    """Return the opacity of every pixel, float32 [H, W, 1]."""
    stretched = progress * (1 + edge) - edge / 2
    return np.clip((np.float32(stretched) - field) / np.float32(edge) + np.float32(0.5), 0, 1)[..., None]
