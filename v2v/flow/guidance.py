"""Classifier-free guidance on the prompt. model/dit.py → **guidance** → sampler.py

v = v(∅) + g (v(prompt) - v(∅))        source, mask and reference stay in both branches (EasyV2V, appendix D, eq. 3)
"""

from collections.abc import Callable

import jax.numpy as jnp

from v2v.shapes import Array, Float, Latents, Text

Conditional = Callable[[Latents, Float[Array, ""], Text], Latents]


def guided(velocity: Conditional, prompt: Text, null: Text, scale: float) -> Callable:
    """velocity(x, tau, text) → velocity(x, tau). A scale of 1 costs one call instead of two."""
    if scale == 1:
        return lambda x, tau: velocity(x, tau, prompt)

    def both(x, tau):
        without = velocity(x, tau, jnp.broadcast_to(null, prompt.shape))
        return without + scale * (velocity(x, tau, prompt) - without)

    return both
