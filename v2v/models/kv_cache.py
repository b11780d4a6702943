"""The KV cache: keys and values of the condition tokens, computed once for all steps of sampling.

With one_way attention and flow time 0 on clean tokens, nothing that a condition token computes depends on the noisy target. So a pass
of the transformer splits exactly in two:

    prefill   source, mask, reference and text → keys and values [L, b, s, h, k] of every layer          once
    step      z_tau, tau and the cache → velocity                                               once a step, n tokens

A step then costs the linear layers of n target tokens and their attention to s + n keys, where a step without a cache costs the linear
layers of s + n tokens. The keys and values of cross-attention, which depend on the text alone, are cached with them.

Condition tokens cross-attend to the text, so beyond the first layer their keys and values differ between the prompt and the empty
sentence: guidance has one cache for each branch (sharing one layer of L would not be worth a second layout).
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from v2v.array_types import Array, Conditions, Float, Latents, Text
from v2v.errors import InputError
from v2v.models.conditioning import build_conditioning
from v2v.models.transformer import DiT

# {"blocks": {"self_attn": {"k", "v"}, "cross_attn": {"k", "v"}}}, each [L, b, tokens, h, k].
KVCache = dict[str, Any]


def prefill(dit: DiT, variables: dict[str, Any], z: Latents, text: Text, conditions: Conditions) -> KVCache:
    """Return the cache, by one pass over the condition tokens and the text.

    Args:
      dit: the transformer.
      variables: its parameters and embeddings.
      z: the target latents; only their shape matters (positions of a reference follow the target's).
      text: embeddings of the instruction.
      conditions: `source`, `mask`, `reference`, each optional, but at least one that makes tokens.

    Raises:
      InputError: condition tokens attend to the target or depend on flow time, so nothing of them can be cached.
    """
    if not build_conditioning(dit.cfg, dit.condition).cacheable:
        raise InputError(
            f"cache: expected condition.attention one_way and condition.time zero, got {dit.condition.attention} and "
            f"{dit.condition.time}; sample without a cache, or train a model with these settings"
        )
    tau = jnp.zeros(z.shape[:1])
    latents: dict[str, Any] = {**conditions}
    out: Any = dit.apply(variables, z, tau, text, **latents, part="conditions", mutable=["cache"])
    _, collections = out
    return collections["cache"]


def build_cached_velocity(
    dit: DiT, variables: dict[str, Any], cache: KVCache, text: Text, conditions: Conditions
) -> Callable[[Latents, float | Float[Array, ""]], Latents]:
    """Return the function (x, tau) to the velocity of the target, computed on its tokens alone.

    Args:
      dit: the transformer.
      variables: its parameters and embeddings.
      cache: what `prefill` returned for the same arguments.
      text: embeddings of the instruction.
      conditions: latents by name.
    """
    latents: dict[str, Any] = {**conditions}

    def velocity(x: Latents, tau: float | Float[Array, ""]) -> Latents:
        times = jnp.full(x.shape[:1], tau)
        out: Any = dit.apply(variables | {"cache": cache}, x, times, text, **latents, part="target")
        return out

    return velocity
