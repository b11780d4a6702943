"""Classifier-free guidance: which passes of the network a step takes, and how their velocities combine.

v = v0 + g (v1 - v0)          v1 is given the prompt and all conditions

prompt            v0 = v(∅, source, mask, reference): visual conditions stay in both passes (EasyV2V, appendix D, eq. 3)
prompt+reference  v0 = v(∅, source, mask): the reference is guided too (eq. 4)
none              v = v1, one pass instead of two; the same as a scale of 1
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax.numpy as jnp

from v2v.array_types import AnyArray, Conditions, Float, Latents, Text
from v2v.errors import InputError
from v2v.models.conditioning import GuidanceBranch


class Branch(NamedTuple):
    """What one pass of the network is given beside the noisy target.

    Attributes:
      text: embeddings of its sentence.
      conditions: latents of its visual conditions.
    """

    text: Text
    conditions: Conditions


def guidance_branches(
    modes: Mapping[str, tuple[GuidanceBranch, ...]],
    mode: str,
    prompt: Text,
    null: Float[AnyArray, "#b m w"],
    conditions: Conditions,
) -> list[Branch]:
    """Return the passes of a step, the conditional one first.

    Args:
      modes: what each pass of a mode is given (`Conditioning.guidance`).
      mode: one of them.
      prompt: embeddings of the instruction.
      null: embeddings of the empty sentence, for all jobs or for each.
      conditions: latents of the visual conditions.

    Raises:
      InputError: an unknown mode.
    """
    if mode not in modes:
        *names, last = modes
        raise InputError(f"guidance: mode must be {', '.join(names)} or {last}, got {mode!r}")
    branches = []
    for branch in modes[mode]:
        visible = {name: z for name, z in conditions.items() if name not in branch.hidden}
        branches.append(Branch(prompt if branch.prompt else jnp.broadcast_to(null, prompt.shape), visible))
    return branches


def combine_velocities(velocities: Sequence[Latents], scale: float | AnyArray) -> Latents:
    """Return the guided velocity.

    Args:
      velocities: those of the branches, in the order of `guidance_branches`.
      scale: guidance scale, a number for all jobs or [b].
    """
    if len(velocities) == 1:
        return velocities[0]
    factor = jnp.asarray(scale, jnp.float32).reshape(-1, 1, 1, 1, 1)
    conditional, unconditional = velocities
    return unconditional + factor * (conditional - unconditional)
