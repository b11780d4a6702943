"""Classifier-free guidance: which passes of the model a step takes, and how their answers combine. transformer.py → **guidance** → sampler.py

    v = v0 + g (v1 - v0)          v1 sees the prompt and all conditions
  prompt            v0 = v(∅, source, mask, reference): visual conditions stay in both branches (EasyV2V, appendix D, eq. 3)
  prompt+reference  v0 = v(∅, source, mask): the reference is guided too (eq. 4)
A scale of 1 is no guidance: v = v1, one pass instead of two.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax.numpy as jnp

from v2v.array_types import Array, Float, Latents, Text
from v2v.errors import InputError

GuidanceMode = Literal["prompt", "prompt+reference", "none"]


class Branch(NamedTuple):
    """What one pass of the model is shown beside the noisy target."""

    text: Text
    conditions: dict[str, Latents]


def guidance_branches(
    mode: GuidanceMode, prompt: Text, null: Text, conditions: dict[str, Latents]
) -> list[Branch]:
    """The passes of a step, the conditional one first; `null` [1 or b, m, w]. Raises InputError on an unknown mode."""
    if mode == "none":
        return [Branch(prompt, conditions)]
    if mode not in ("prompt", "prompt+reference"):
        raise InputError(f"guidance: mode must be prompt, prompt+reference or none, got {mode!r}")
    dropped = {"reference"} if mode == "prompt+reference" else set()
    kept = {name: z for name, z in conditions.items() if name not in dropped}
    return [Branch(prompt, conditions), Branch(jnp.broadcast_to(null, prompt.shape), kept)]


def combine_velocities(answers: Sequence[Latents], scale: Float[Array, ""] | Float[Array, "b"]) -> Latents:
    """The guided velocity out of the branches' own, in their order; one scale for all jobs of a batch, or one each."""
    if len(answers) == 1:
        return answers[0]
    scale = jnp.asarray(scale, jnp.float32)
    with_prompt, without = answers
    return without + scale.reshape(-1, 1, 1, 1, 1) * (with_prompt - without)
