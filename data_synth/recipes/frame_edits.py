"""Pairs in which whole frames differ: those of edits of the camera and of time.

clip, frames of source and target → **Pair**, whose mask is the whole frame where they differ, and 0 elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from data_synth.footage import Clip
from data_synth.language.captions import add_manner
from data_synth.language.sentence_templates import EditSentences
from data_synth.rng import build_rng
from v2v.data.pair import Pair


def build_frame_edit_pair(
    clip: Clip,
    source: np.ndarray,
    target: np.ndarray,
    is_different: np.ndarray,
    sentences: EditSentences,
    *,
    edit: str,
    kind: str,
    seed: int,
    slots: Mapping[str, str],
    target_words: str,
    provenance: Mapping[str, Any],
) -> Pair:
    """Return the pair of two sequences of a clip's frames.

    Args:
      clip: The footage, whose caption and origin are used.
      source: uint8 [T, H, W, 3].
      target: uint8 [T, H, W, 3].
      is_different: bool [T], frames that differ; at least one.
      sentences: Instructions of all edits of the kind.
      edit: Name of the edit.
      kind: `Pair.recipe`.
      seed: Seed of the pair and of the words.
      slots: Words for the placeholders of instructions.
      target_words: What the target's caption adds to the clip's.
      provenance: What is recorded beside the clip's origin, the slots and the sentences of the way back.
    """
    T, H, W, _ = source.shape
    frames = np.flatnonzero(is_different)
    caption = clip.caption or "a video"
    words = build_rng(seed, "words")
    return Pair(
        source=source,
        target=target,
        mask=np.repeat(np.where(is_different, 255, 0).astype(np.uint8), H * W).reshape(T, H, W),
        reference=None,
        instructions=sentences.sample(edit, slots, words),
        source_caption=caption,
        target_caption=add_manner(caption, target_words),
        edit=edit,
        recipe=kind,
        seed=seed,
        provenance={
            **clip.origin,
            "slots": dict(slots),
            **provenance,
            **sentences.sample_reverse(edit, slots, words),
        },
        active=(int(frames[0]), int(frames[-1]) + 1),
    )
