"""Attention as three XLA operations, for any platform and type; the reference for every other kernel."""

import flax.linen as nn
import jax.numpy as jnp

from v2v.array_types import Array, Float
from v2v.models.rematerialization import keep


def attend(
    q: Float[Array, "b l h k"],
    k: Float[Array, "b s h k"],
    v: Float[Array, "b s h k"],
    length: int | None = None,
    *,
    tensor: str = "self_attention",
) -> Float[Array, "b l h k"]:
    """Attend (see `Kernel`), with logits and softmax in float32."""
    logits = jnp.einsum("blhk,bshk->bhls", q, k, preferred_element_type=jnp.float32)
    logits = logits * q.shape[-1] ** -0.5
    if length is not None and length < k.shape[1]:
        logits = jnp.where(jnp.arange(k.shape[1]) < length, logits, -jnp.inf)
    weights = keep(nn.softmax(logits, axis=-1), tensor)
    return keep(jnp.einsum("bhls,bshk->blhk", weights.astype(v.dtype), v), tensor)
