"""Guidance: which passes of the network a step takes, and how their velocities combine (models/guidance_modes.py has the modes).

v = v0 + g (v1 - v0)          v1 is given the prompt and all conditions

prompt            v0 = v(∅, source, mask, reference): visual conditions stay in both passes (EasyV2V, appendix D, eq. 3)
prompt+reference  v0 = v(∅, source, mask): the reference is guided too (eq. 4)
prompt+source     v0 = v(∅, ∅), and between both v(∅, source, mask): prompt and source have a scale each (InstructPix2Pix, arXiv 2211.09800)
none              v = v1, one pass instead of two; the same as a scale of 1

Modes of three and four passes have a scale for each difference. Modes with a projection work on predictions of the data, m = x - sigma v:
a difference d = m1 - m0 is shortened to the limit and loses part of what is parallel to m1, in each latent frame on its own.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax.numpy as jnp

from v2v.array_types import AnyArray, Array, Conditions, Float, Latents, Text
from v2v.models.guidance_modes import GuidanceAxis, GuidanceMode, Projection

# By axis, each a number for all jobs or [b].
GuidanceScales = Mapping[GuidanceAxis, float | AnyArray]


class Branch(NamedTuple):
    """What one pass of the network is given beside the noisy target.

    Attributes:
      text: embeddings of its sentence.
      conditions: latents of its visual conditions.
    """

    text: Text
    conditions: Conditions


def guidance_branches(
    mode: GuidanceMode, prompt: Text, null: Float[AnyArray, "#b m w"], conditions: Conditions
) -> list[Branch]:
    """Return the passes of a step, the one with everything first.

    Args:
      mode: what each pass is given.
      prompt: embeddings of the instruction.
      null: embeddings of the empty sentence, for all jobs or for each.
      conditions: latents of the visual conditions.
    """
    branches = []
    for branch in mode.branches:
        visible = {name: z for name, z in conditions.items() if branch.shows(name)}
        text = prompt if branch.prompt else jnp.broadcast_to(null, (len(prompt), *jnp.shape(null)[1:]))
        branches.append(Branch(text, visible))
    return branches


def combine_velocities(
    velocities: Sequence[Latents],
    mode: GuidanceMode,
    scales: GuidanceScales,
    x: Latents | None = None,
    sigma: Float[Array, ""] | float | None = None,
) -> Latents:
    """Return the guided velocity.

    Args:
      velocities: those of the branches, in the order of `guidance_branches`.
      mode: the mode that they are of.
      scales: guidance scale of each of the mode's axes.
      x: the state; needed with a projection.
      sigma: its noise level; needed with a projection.
    """
    projection = mode.projection
    if projection is None:
        return _chain(velocities, mode, scales)
    assert x is not None and sigma is not None, "a projection is of predictions of the data"
    return (x - _chain([x - sigma * v for v in velocities], mode, scales)) / sigma


def _chain(results: Sequence[Latents], mode: GuidanceMode, scales: GuidanceScales) -> Latents:
    """Return the last of the passes' results with the differences between neighbors added, each times its scale."""
    total = results[-1]
    for i, axis in reversed(list(enumerate(mode.axes))):
        factor = jnp.asarray(scales[axis], jnp.float32).reshape(-1, 1, 1, 1, 1)
        difference = results[i] - results[i + 1]
        if mode.projection is not None:
            difference = project_difference(difference, results[i], mode.projection)
        total = total + factor * difference
    return total


def project_difference(difference: Latents, prediction: Latents, projection: Projection) -> Latents:
    """Return a difference of predictions as a projection shapes it.

    Args:
      difference: between two predictions of the data.
      prediction: the one that is shown more.
      projection: limit and share.
    """
    frame = (2, 3, 4)
    length = jnp.linalg.norm(difference.reshape(*difference.shape[:2], -1), axis=-1)[:, :, None, None, None]
    difference = difference * jnp.minimum(1.0, projection.limit / jnp.maximum(length, 1e-12))
    length = jnp.linalg.norm(prediction.reshape(*prediction.shape[:2], -1), axis=-1)[:, :, None, None, None]
    direction = prediction / jnp.maximum(length, 1e-12)
    along = (difference * direction).sum(frame, keepdims=True) * direction
    return difference - (1 - projection.parallel) * along
