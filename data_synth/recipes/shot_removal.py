"""From a shot to its pair: an object taken out, put in, or exchanged, whatever method takes it out.

shot → `RemovalMethod` → **Pair**; for replacements, → `Replacer` → **Pair**. Rendered shots are the matter of `removal.py`, footage that of
`footage_removal.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from data_synth.language.captions import add_thing
from data_synth.recipes.shots import Shot, ShotSource
from data_synth.recipes.two_way import Side, build_two_way_pair
from data_synth.rejection import Rejected
from data_synth.rng import build_rng
from v2v.data.pair import Pair


@dataclasses.dataclass(frozen=True)
class ShotRemoval:
    """A shot without its object.

    Attributes:
      target: uint8 [T, H, W, 3].
      mask: bool [T, H, W], where it may differ from the shot.
      provenance: How the object was taken out.
      effect: bool [T, H, W], the part of the mask that is the object's shadow; None where that is unknown.
    """

    target: np.ndarray
    mask: np.ndarray
    provenance: dict[str, Any]
    effect: np.ndarray | None = None


class RemovalMethod(Protocol):
    """Takes objects out of shots of one kind, and knows the words for it."""

    @property
    def is_reversible(self) -> bool:
        """Whether a pair's provenance gets the sentences of the other direction."""
        ...

    def remove(self, shot: Shot, seed: int) -> ShotRemoval | Rejected:
        """Take the object out of a shot, or tell why that can't be done.

        Args:
          shot: The shot.
          seed: Seed of the pair.
        """
        ...

    def name_slots(self, shot: Shot) -> dict[str, str]:
        """Return the words for the object, as provenance records them."""
        ...

    def sample_sentences(
        self, insert: bool, slots: dict[str, str], rng: np.random.Generator
    ) -> tuple[str, ...]:
        """Sample instructions that ask for the object to be put in, or taken out.

        Args:
          insert: Whether it is put in.
          slots: Of `name_slots`.
          rng: Orders the templates.
        """
        ...

    def cut_out(self, shot: Shot) -> np.ndarray | None:
        """Return a reference picture of the object, uint8 [h, w, 3]; None where it is never in view."""
        ...


@dataclasses.dataclass(frozen=True)
class Replacement:
    """A shot with another object.

    Attributes:
      target: uint8 [T, H, W, 3].
      mask: bool [T, H, W], where it may differ from the shot.
      reference: Picture of the new object, uint8 [h, w, 3].
      instructions: Sentences that ask for it.
      object_words: The new object with its article.
      provenance: What is recorded of it.
      effect: bool [T, H, W], the part of the mask that is shadow; None where that is unknown.
    """

    target: np.ndarray
    mask: np.ndarray
    reference: np.ndarray | None
    instructions: tuple[str, ...]
    object_words: str
    provenance: dict[str, Any]
    effect: np.ndarray | None = None


# (shot, shot without its object, seed) → shot with another object, or why there is none.
Replacer = Callable[[Shot, ShotRemoval, int], Replacement | Rejected]


def removal_pair(
    method: RemovalMethod, insert: bool, shots: ShotSource, seed: int, T: int, H: int, W: int
) -> Pair | Rejected:
    """Return a pair in which an object is taken out, or put in.

    Args:
      method: Takes it out.
      insert: Whether to exchange source and target.
      shots: Source of footage with masks.
      seed: Seed of the shot and the words.
      T: Number of frames.
      H: Frame height in pixels.
      W: Frame width in pixels.
    """
    result = _remove_from_shot(method, shots, seed, T, H, W)
    if isinstance(result, Rejected):
        return result
    shot, removal = result
    words = build_rng(seed, "words")
    slots = method.name_slots(shot)
    return build_two_way_pair(
        Side(shot.video, shot.caption),
        Side(removal.target, shot.caption_without),
        not insert,
        lambda is_removal: method.sample_sentences(not is_removal, slots, words),
        edit="insertion" if insert else "removal",
        kind="removal",
        seed=seed,
        mask=_to_levels(removal.mask),
        provenance={**shot.origin, **removal.provenance, "slots": slots},
        is_reversible=method.is_reversible,
        reference=method.cut_out(shot) if insert else None,
        effect=None if removal.effect is None else _to_levels(removal.effect),
    )


def replacement_pair(
    method: RemovalMethod, replace: Replacer, shots: ShotSource, seed: int, T: int, H: int, W: int
) -> Pair | Rejected:
    """Return a pair in which an object becomes another one that goes where it went.

    Args:
      method: Takes the object out.
      replace: Puts the other one there.
      shots: Source of footage with masks.
      seed: Seed of the shot, the new object and the words.
      T: Number of frames.
      H: Frame height in pixels.
      W: Frame width in pixels.
    """
    result = _remove_from_shot(method, shots, seed, T, H, W)
    if isinstance(result, Rejected):
        return result
    shot, removal = result
    replacement = replace(shot, removal, seed)
    if isinstance(replacement, Rejected):
        return replacement
    return Pair(
        source=shot.video,
        target=replacement.target,
        mask=_to_levels(replacement.mask),
        reference=replacement.reference,
        instructions=replacement.instructions,
        source_caption=shot.caption,
        target_caption=add_thing(shot.caption_without, replacement.object_words),
        edit="replacement",
        recipe="removal",
        seed=seed,
        active=(0, T),
        provenance={**shot.origin, **removal.provenance, **replacement.provenance},
        effect=None if replacement.effect is None else _to_levels(replacement.effect),
    )


def _remove_from_shot(
    method: RemovalMethod, shots: ShotSource, seed: int, T: int, H: int, W: int
) -> tuple[Shot, ShotRemoval] | Rejected:
    """Return the shot of a seed, and the shot without its object."""
    shot = shots(seed, T, H, W)
    if isinstance(shot, Rejected):
        return shot
    removal = method.remove(shot, seed)
    return removal if isinstance(removal, Rejected) else (shot, removal)


def _to_levels(mask: np.ndarray) -> np.ndarray:
    return np.where(mask, 255, 0).astype(np.uint8)
