"""Pairs that can be read both ways: a clip, the clip with an edit, and the sentences that lead from one to the other.

Putting a look, a text or an object into a clip is the edit backwards that takes it out: the same clips, exchanged, with other sentences.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from v2v.data.pair import Pair


@dataclasses.dataclass(frozen=True)
class Side:
    """What becomes the source or the target of a pair.

    Attributes:
      video: uint8 [T, H, W, 3].
      caption: What it shows; "" for "a video".
    """

    video: np.ndarray
    caption: str


def build_two_way_pair(
    plain: Side,
    edited: Side,
    forward: bool,
    sample_sentences: Callable[[bool], tuple[str, ...]],
    *,
    edit: str,
    kind: str,
    seed: int,
    mask: np.ndarray,
    provenance: dict[str, Any],
    is_reversible: bool = True,
    reference: np.ndarray | None = None,
    effect: np.ndarray | None = None,
) -> Pair:
    """Return the pair of two clips that are what the other becomes.

    Args:
      plain: The clip.
      edited: The clip with the edit.
      forward: Whether the clip is the source; otherwise the clip with the edit is.
      sample_sentences: Returns the instructions of a direction, forward or not. It is called for the pair's own direction first.
      edit: Name of the edit, in this direction.
      kind: `Pair.recipe`.
      seed: Seed of the pair.
      mask: uint8 [T, H, W].
      provenance: Origin of the pair.
      is_reversible: Whether the provenance gets the sentences of the other direction.
      reference: Reference picture, uint8 [h, w, 3].
      effect: Part of the mask that the edit has an effect on without touching it, uint8 [T, H, W].
    """
    instructions = sample_sentences(forward)
    if is_reversible:
        provenance = provenance | {"reverse_instructions": list(sample_sentences(not forward))}
    source, target = (plain, edited) if forward else (edited, plain)
    return Pair(
        source=source.video,
        target=target.video,
        mask=mask,
        reference=reference,
        instructions=instructions,
        source_caption=source.caption or "a video",
        target_caption=target.caption or "a video",
        edit=edit,
        recipe=kind,
        seed=seed,
        provenance=provenance,
        active=(0, len(mask)),
        effect=effect,
    )
