"""Attention behind one function, and the two attention layers of a block. tokens → **attention** → dit.py.

    attend(q, k, v) = softmax(q kᵀ / √k) v                       no mask, no dropout
Self-attention over joint tokens is `full`, or `one_way`: condition tokens (first `s` and the last `e`) look only at one
another, target tokens look at all. One_way is two plain calls, not a mask, so it costs what it computes.
"""

import flax.linen as nn
import jax.numpy as jnp

from v2v.config import DiTConfig
from v2v.model.layers import Dense, RMSNorm
from v2v.model.rope import rotate
from v2v.shapes import Array, Float, Tokens


def attend(
    q: Float[Array, "b l h k"], k: Float[Array, "b s h k"], v: Float[Array, "b s h k"]
) -> Float[Array, "b l h k"]:
    """Plain attention; logits and softmax in float32."""
    logits = jnp.einsum("blhk,bshk->bhls", q, k, preferred_element_type=jnp.float32)
    weights = nn.softmax(logits * q.shape[-1] ** -0.5, axis=-1)
    return jnp.einsum("bhls,bshk->blhk", weights.astype(v.dtype), v)


def attend_one_way(q, k, v, start: int, stop: int):
    """As `attend`, but tokens outside start:stop (the target's) neither see nor depend on those inside."""

    def clean(x):
        return jnp.concatenate([x[:, :start], x[:, stop:]], 1)

    from_clean = attend(clean(q), clean(k), clean(v))
    from_target = attend(q[:, start:stop], k, v)
    return jnp.concatenate([from_clean[:, :start], from_target, from_clean[:, start:]], axis=1)


class Attention(nn.Module):
    """q, k, v, o with RMS-normed q and k. Self-attention when `context` is None (then `angles` rotate q and k)."""

    cfg: DiTConfig

    @nn.compact
    def __call__(
        self,
        x: Tokens,
        context: Float[Array, "b m d"] | None = None,
        angles: Float[Array, "l k2"] | None = None,
        one_way: tuple[int, int] | None = None,
    ) -> Tokens:
        cfg, dtype = self.cfg, jnp.dtype(self.cfg.dtype)
        kv = x if context is None else context
        q = RMSNorm(cfg.eps, cfg.qk_gain, name="norm_q")(Dense(cfg.width, dtype, name="q")(x))
        k = RMSNorm(cfg.eps, cfg.qk_gain, name="norm_k")(Dense(cfg.width, dtype, name="k")(kv))
        v = Dense(cfg.width, dtype, name="v")(kv)
        q, k, v = (z.reshape(*z.shape[:2], cfg.heads, cfg.head_dim) for z in (q, k, v))
        if angles is not None:
            q, k = rotate(q, angles), rotate(k, angles)
        q, k = q.astype(dtype), k.astype(dtype)
        out = attend(q, k, v) if one_way is None else attend_one_way(q, k, v, *one_way)
        return Dense(cfg.width, dtype, name="o")(out.reshape(*x.shape[:2], cfg.width))
