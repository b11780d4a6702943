"""Attention behind one function, and the two attention layers of a block. tokens → **attention** → transformer.py.

    attend(q, k, v) = softmax(q kᵀ / √k) v                       no mask, no dropout; backends/ holds the kernels
Self-attention over joint tokens is `full`, or `one_way`: condition tokens (first `s` and the last `e`) look only at one
another, target tokens look at all. One_way is two plain calls, not a mask, so it costs what it computes.

Keys and values that no later call changes live in the collection `cache` (cache.py): a call that may write it leaves its own
there; a call that finds some puts them before its own tokens' (self-attention) or takes them as they are (cross-attention).
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from v2v.array_types import Array, Float, Tokens
from v2v.config import DiTConfig
from v2v.models import attention_kernels
from v2v.models.attention_kernels.parallel import run_on_mesh
from v2v.models.layers import Dense, RMSNorm
from v2v.models.rotary import apply_rotary


def attend(
    q: Float[Array, "b l h k"],
    k: Float[Array, "b s h k"],
    v: Float[Array, "b s h k"],
    backend: str = "plain",
    length: int | None = None,
) -> Float[Array, "b l h k"]:
    """Attention on one device to the first `length` keys (None: to all), logits and softmax in float32."""
    return attention_kernels.select_kernel(backend, q, k)(q, k, v, length)


def attend_one_way(q, k, v, start: int, stop: int, backend: str = "plain", length: int | None = None):
    """As `attend`, but tokens outside start:stop (the target's) neither see nor depend on those inside."""

    def clean(x):
        return jnp.concatenate([x[:, :start], x[:, stop:]], 1)

    from_clean = attend(clean(q), clean(k), clean(v), backend, length and length - (stop - start))
    from_target = attend(q[:, start:stop], k, v, backend, length)
    return jnp.concatenate([from_clean[:, :start], from_target, from_clean[:, start:]], axis=1)


def attention_weights(
    q: Float[Array, "b l h k"], k: Float[Array, "b s h k"], places: Float[Array, "s 4"] | None = None
) -> Float[Array, "b l w"]:
    """Attention weights themselves, averaged over heads; for attention_maps.py alone.

    Args:
      places: None for the weights to every key; or 1 and a place (t, y, x) for keys of the source, 0 for others. Then the result
        is [share of the source, p, p times the place looked at], where p is how sharply a head looks: heads that spread their
        weights evenly say nothing about places and would draw every mean to the middle of the picture.
    """

    def head(total, qk):
        logits = jnp.einsum("blk,bsk->bls", *qk, preferred_element_type=jnp.float32) * q.shape[-1] ** -0.5
        weights = nn.softmax(logits, axis=-1)
        if places is None:
            return total + weights, None
        share, sharp = weights @ places[:, :1], weights**2 * places[:, 0]
        return total + jnp.concatenate([share, sharp @ places], -1), None

    shape = (*q.shape[:2], k.shape[1] if places is None else 5)
    total, _ = jax.lax.scan(head, jnp.zeros(shape), (jnp.moveaxis(q, 2, 0), jnp.moveaxis(k, 2, 0)))
    return total / q.shape[2]


class Attention(nn.Module):
    """q, k, v, o with RMS-normed q and k. Self-attention when `context` is None (then `turns` rotate q and k)."""

    cfg: DiTConfig

    @nn.compact
    def __call__(
        self,
        x: Tokens,
        context: Float[Array, "b m d"] | None = None,
        turns: Float[Array, "2 l k2"] | None = None,
        one_way: tuple[int, int] | None = None,
        length: int | None = None,
        watch: Float[Array, "l w"] | None = None,
    ) -> Tokens:
        cfg, dtype = self.cfg, jnp.dtype(self.cfg.dtype)
        q = self.place(
            RMSNorm(cfg.eps, cfg.qk_gain, name="norm_q")(Dense(cfg.width, dtype, name="q")(x)), turns
        )
        k, v = self.keys(x if context is None else context, turns, fixed=context is not None, length=length)
        if length is not None:  # keys of the cache stand before those of these tokens
            length += k.shape[1] - x.shape[1]
        local = partial(attend, backend=cfg.backend)
        if one_way is not None:
            local = partial(attend_one_way, start=one_way[0], stop=one_way[1], backend=cfg.backend)
        if watch is not None:
            self.put_variable(
                "attention", "seen", attention_weights(q, k, None if context is not None else watch)
            )
        out = run_on_mesh(local, q, k, v, length, cross=context is not None)
        return Dense(cfg.width, dtype, name="o")(out.reshape(*x.shape[:2], cfg.width))

    def keys(self, x: Tokens, turns, fixed: bool, length: int | None) -> tuple[jax.Array, jax.Array]:
        """k and v [b, s, h, k] of `x` and of what the cache holds; `fixed`: they depend on nothing that changes from call to call."""
        cfg, dtype = self.cfg, jnp.dtype(self.cfg.dtype)
        write = self.is_mutable_collection("cache") and not self.is_initializing()
        kept = None
        if not write and self.has_variable("cache", "k"):
            kept = self.get_variable("cache", "k"), self.get_variable("cache", "v")
            if fixed:
                return kept
        k = self.place(
            RMSNorm(cfg.eps, cfg.qk_gain, name="norm_k")(Dense(cfg.width, dtype, name="k")(x)), turns
        )
        v = self.place(Dense(cfg.width, dtype, name="v")(x), None)
        if write:
            self.put_variable("cache", "k", k[:, :length])
            self.put_variable("cache", "v", v[:, :length])
        if kept is None:
            return k, v
        return jnp.concatenate([kept[0], k], 1), jnp.concatenate([kept[1], v], 1)

    def place(self, x: Tokens, turns) -> Float[Array, "b l h k"]:
        """Split into heads, turned by `turns` where there are any."""
        x = x.reshape(*x.shape[:2], self.cfg.heads, self.cfg.head_dim)
        return (x if turns is None else apply_rotary(x, turns)).astype(self.cfg.dtype)
