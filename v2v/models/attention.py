"""The attention layers of a transformer block, and attention itself behind one function.

    attend(q, k, v) = softmax(q kᵀ / √k) v                       no mask, no dropout; attention_kernels/ holds the kernels

Self-attention over the joint tokens is full, or one_way: condition tokens, which lie around the target's, attend to one another only,
and target tokens to all. One_way is two plain calls instead of a mask, so it costs what it computes.

Keys and values that no later call changes are in the collection `cache` (kv_cache.py). A call for which the collection is mutable stores
its own there. A call that finds some puts them before those of its tokens (self-attention), or uses them alone (cross-attention).
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from v2v.array_types import AnyArray, Array, Float, Tokens
from v2v.config import DiTConfig
from v2v.models import attention_kernels
from v2v.models.attention_kernels.parallel import run_on_mesh
from v2v.models.layers import Dense, RMSNorm
from v2v.models.rematerialization import keep
from v2v.models.rotary import apply_rotary


def attend(
    q: Float[Array, "b l h k"],
    k: Float[Array, "b s h k"],
    v: Float[Array, "b s h k"],
    backend: str = "plain",
    length: int | None = None,
    tensor: str = "self_attention",
) -> Float[Array, "b l h k"]:
    """Attend on one device, with logits and softmax in float32.

    Args:
      q: queries.
      k: keys.
      v: values.
      backend: name of a kernel, or auto.
      length: number of keys that count, the rest being padding; None for all.
      tensor: name under which the result is kept for the backward pass (rematerialization.py).

    Raises:
      InputError: no such kernel, or one that can't run here.
    """
    return attention_kernels.select_kernel(backend, q, k)(q, k, v, length, tensor=tensor)


def attend_one_way(
    q: Float[Array, "b l h k"],
    k: Float[Array, "b l h k"],
    v: Float[Array, "b l h k"],
    start: int,
    stop: int,
    backend: str = "plain",
    length: int | None = None,
    tensor: str = "self_attention",
) -> Float[Array, "b l h k"]:
    """Attend as `attend` does, but without a path from target tokens to condition tokens.

    Args:
      q: queries.
      k: keys.
      v: values.
      start: first target token.
      stop: end of the target tokens, exclusive; all others are condition tokens.
      backend: name of a kernel, or auto.
      length: number of keys that count, the rest being padding; None for all.
      tensor: as in `attend`.
    """

    def without_target(x):
        return jnp.concatenate([x[:, :start], x[:, stop:]], 1)

    condition_length = length and length - (stop - start)
    conditions = attend(
        without_target(q), without_target(k), without_target(v), backend, condition_length, tensor
    )
    target = attend(q[:, start:stop], k, v, backend, length, tensor)
    return jnp.concatenate([conditions[:, :start], target, conditions[:, start:]], axis=1)


def attention_weights(
    q: Float[Array, "b l h k"],
    k: Float[Array, "b s h k"],
    source_positions: Float[AnyArray, "s 4"] | None = None,
) -> Float[Array, "b l w"]:
    """Return the attention weights themselves, averaged over heads; for pipeline/attention_maps.py.

    Args:
      q: queries.
      k: keys.
      source_positions: 1 and the position (t, y, x) of keys of the source, zeros for other keys; None for the weights to all keys.

    Returns:
      [b, l, s], weights to all keys; or [b, l, 5]: the share that goes to the source, p, and p times the position it goes to, where p is
      the sum of squared weights. Heads that spread their weights evenly say nothing about positions and would draw every mean to
      the middle of the picture, so sharp heads count more.
    """

    def add_head(total, qk):
        logits = jnp.einsum("blk,bsk->bls", *qk, preferred_element_type=jnp.float32) * q.shape[-1] ** -0.5
        weights = nn.softmax(logits, axis=-1)
        if source_positions is None:
            return total + weights, None
        share, sharpness = weights @ source_positions[:, :1], weights**2 * source_positions[:, 0]
        return total + jnp.concatenate([share, sharpness @ source_positions], -1), None

    shape = (*q.shape[:2], k.shape[1] if source_positions is None else 5)
    total, _ = jax.lax.scan(add_head, jnp.zeros(shape), (jnp.moveaxis(q, 2, 0), jnp.moveaxis(k, 2, 0)))
    return total / q.shape[2]


class Attention(nn.Module):
    """An attention layer with linear layers q, k, v and o, and RMS norms on q and k.

    Attributes:
      cfg: sizes.
    """

    cfg: DiTConfig

    @nn.compact
    def __call__(
        self,
        x: Tokens,
        context: Float[Array, "b m d"] | None = None,
        rotary: Float[Array, "2 l k2"] | None = None,
        one_way: tuple[int, int] | None = None,
        length: int | None = None,
        source_positions: Float[AnyArray, "l 4"] | None = None,
    ) -> Tokens:
        """Attend from `x` to the context, or to `x` itself.

        Args:
          x: tokens.
          context: tokens of the text, for cross-attention; None for self-attention.
          rotary: cosines and sines by which self-attention rotates q and k (`rotary.rotary_table`).
          one_way: start and end of the target tokens, where condition tokens must not attend to them.
          length: number of tokens of `x` that count, the rest being padding; None for all.
          source_positions: where given, the attention weights are stored in the collection `attention` (`attention_weights`); those of
            cross-attention are to every token of the text.
        """
        cfg, dtype = self.cfg, jnp.dtype(self.cfg.dtype)
        is_cross = context is not None
        q = keep(Dense(cfg.width, dtype, name="q")(x), "cross_q" if is_cross else "q")
        q = RMSNorm(cfg.eps, cfg.qk_gain, name="norm_q")(q)
        q = self.split_heads(q, rotary)
        k, v = self.keys_and_values(x if context is None else context, rotary, is_cross, length)
        if length is not None:  # keys of the cache are before those of these tokens
            length += k.shape[1] - x.shape[1]
        local = partial(
            attend, backend=cfg.backend, tensor="cross_attention" if is_cross else "self_attention"
        )
        if one_way is not None:
            local = partial(attend_one_way, **local.keywords, start=one_way[0], stop=one_way[1])
        if source_positions is not None:
            weights = attention_weights(q, k, None if is_cross else source_positions)
            self.put_variable("attention", "seen", weights)
        out = run_on_mesh(local, q, k, v, length, cross=is_cross)
        return Dense(cfg.width, dtype, name="o")(out.reshape(*x.shape[:2], cfg.width))

    def keys_and_values(
        self,
        x: Float[Array, "b n d"],
        rotary: Float[Array, "2 n k2"] | None,
        is_cross: bool,
        length: int | None,
    ) -> tuple[Float[Array, "b s h k"], Float[Array, "b s h k"]]:
        """Return the keys and values of `x`, with those of the cache.

        Args:
          x: tokens.
          rotary: cosines and sines; None for no rotation.
          is_cross: whether keys and values depend on nothing that changes from call to call: the cache's then replace those of `x`.
          length: number of tokens to store when the cache is written; None for all.
        """
        cfg, dtype = self.cfg, jnp.dtype(self.cfg.dtype)
        writes_cache = self.is_mutable_collection("cache") and not self.is_initializing()
        reads_cache = not writes_cache and self.has_variable("cache", "k")
        if reads_cache and is_cross:
            return self.get_variable("cache", "k"), self.get_variable("cache", "v")
        k, v = (Dense(cfg.width, dtype, name=name)(x) for name in ("k", "v"))
        if not is_cross:  # those of the text are few
            k, v = keep(k, "k"), keep(v, "v")
        k = self.split_heads(RMSNorm(cfg.eps, cfg.qk_gain, name="norm_k")(k), rotary)
        v = self.split_heads(v, None)
        if writes_cache:
            self.put_variable("cache", "k", k[:, :length])
            self.put_variable("cache", "v", v[:, :length])
        if reads_cache:
            k = jnp.concatenate([self.get_variable("cache", "k"), k], 1)
            v = jnp.concatenate([self.get_variable("cache", "v"), v], 1)
        return k, v

    def split_heads(
        self, x: Float[Array, "b n d"], rotary: Float[Array, "2 n k2"] | None
    ) -> Float[Array, "b n h k"]:
        """Split channels into heads, and rotate them if `rotary` is given; returns the type of the configuration."""
        heads = x.reshape(*x.shape[:2], self.cfg.heads, self.cfg.head_dim)
        return (heads if rotary is None else apply_rotary(heads, rotary)).astype(self.cfg.dtype)
