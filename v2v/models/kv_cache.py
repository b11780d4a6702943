"""Keys and values of the condition tokens, computed once a video. conditioning.py → **cache** → diffusion/sampler.py

With `one_way` attention and flow time 0 on clean tokens, nothing a condition token computes depends on the noisy target. So one
pass of the DiT splits exactly in two:
    prefill   source, mask, reference and text → keys and values [L, b, s, h, k] of every layer          once a video
    step      z_tau, tau and those → velocity                                                     once a step, n tokens
A step then costs the n target tokens' linear layers and their attention to s + n keys, where an uncached one pays for s + n
tokens' linear layers. The keys and values of cross-attention, which depend on the text alone, are kept with them.

Condition tokens cross-attend to the text, so beyond the first layer's keys and values they differ between the prompt and the null
prompt: guidance keeps one cache a branch (one layer of L could be shared; it isn't worth a second layout).
"""

from collections.abc import Callable

import jax.numpy as jnp

from v2v.array_types import Array, Float, Latents, Text
from v2v.errors import InputError
from v2v.models.conditioning import build_conditioning
from v2v.models.transformer import DiT

KVCache = dict  # {"blocks": {"self_attn": {"k", "v"}, "cross_attn": {"k", "v"}}}, each [L, b, tokens, h, k]


def prefill(dit: DiT, variables: dict, z: Latents, text: Text, conditions: dict[str, Latents]) -> KVCache:
    """One pass over the condition tokens and the text.

    Args:
      z: the target latents; only their shape matters (positions of a reference follow the target's).
      conditions: `source`, `mask`, `reference`, each optional, but at least one that makes tokens.

    Raises:
      InputError: the model's condition tokens look at the target or at flow time, so nothing about them can be kept.
    """
    if not build_conditioning(dit.cfg, dit.condition).cacheable:
        raise InputError(
            f"cache: expected condition.attention one_way and condition.time zero, got {dit.condition.attention} and "
            f"{dit.condition.time}; sample without a cache, or train a model with these settings"
        )
    zero = jnp.zeros(z.shape[:1])
    _, made = dit.apply(variables, z, zero, text, **conditions, part="conditions", mutable=["cache"])
    return made["cache"]


def build_cached_velocity(
    dit: DiT, variables: dict, cache: KVCache, text: Text, conditions: dict[str, Latents]
) -> Callable[[Latents, Float[Array, ""]], Latents]:
    """velocity(x, tau) of the target tokens alone; same arguments as the prefill that made `cache`."""

    def velocity(x, tau):
        both = variables | {"cache": cache}
        return dit.apply(both, x, jnp.full(x.shape[:1], tau), text, **conditions, part="target")

    return velocity
