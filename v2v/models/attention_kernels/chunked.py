"""Attention by blocks of queries and keys of one head, for CPUs with any type; the [l, s] logits are never stored.

Plain attention writes the logits of all heads to memory and passes over them four times. Here the logits of a few hundred queries to as
many keys are computed, turned into weights and used while they are in the processor's cache, where matrix products also run a fifth
faster. Over the blocks of keys j, the largest logit m and the sums are updated (arXiv 1805.02867):

    S = Q kⱼᵀ/√k,  m' = max(m, max S),  E = exp(S - m'),  O ← O exp(m - m') + E vⱼ,  Σ ← Σ exp(m - m') + ΣE

and O/Σ is the result; L = m + log Σ is stored for the backward pass. That computes the weights again from L, transposed, and sums dQ
transposed too, so that no matrix of logits is ever transposed (arXiv 2205.14135):

    Pᵀ = exp(kⱼ Qᵀ/√k - L),  dvⱼ += Pᵀ dO,  dSᵀ = Pᵀ ∘ (vⱼ dOᵀ - Σ dO∘O)/√k,  dkⱼ += dSᵀ Q,  dQᵀ += kⱼᵀ dSᵀ

The results differ from plain attention's only by the order of sums. 1/√k is applied inside the exponent, where it costs no pass.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from v2v.array_types import Array, Float
from v2v.models.rematerialization import keep
from v2v.runtime.platform import target_platform

# Queries and keys of a block: products large enough for their full rate, logits small enough for the processor's cache.
BLOCK_SIZE = 512
# Queries and keys from which the loop over blocks is worth its cost.
MIN_TOKENS = 128


def attend(
    q: Float[Array, "b l h k"],
    k: Float[Array, "b s h k"],
    v: Float[Array, "b s h k"],
    length: int | None = None,
    block: int = BLOCK_SIZE,
    *,
    tensor: str = "self_attention",
) -> Float[Array, "b l h k"]:
    """Attend (see `Kernel`), within 2e-6 of the plain kernel in float32 and 2e-2 in bfloat16; differentiable in reverse mode only.

    Args:
      q: queries.
      k: keys.
      v: values.
      length: number of keys that count; None for all.
      block: largest number of queries or keys in a block.
      tensor: as in `Kernel`.
    """
    b, tokens, h, width = q.shape
    k, v = k[:, :length], v[:, :length]
    blocks = _split_blocks(q, block), _split_blocks(k, block), _split_blocks(v, block)
    out: jax.Array = _attend_blocks(*blocks, k.shape[1], tensor)
    return out.reshape(b, h, -1, width)[:, :, :tokens].swapaxes(1, 2).astype(v.dtype)


def is_faster(q: jax.Array | jax.ShapeDtypeStruct, k: jax.Array | jax.ShapeDtypeStruct) -> bool:
    """Return whether blocks are faster than whole logits: on a CPU they are from about 128 queries and keys."""
    return q.shape[1] * k.shape[1] >= MIN_TOKENS**2


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _attend_blocks(
    q: Float[Array, "g n r k"], k: Float[Array, "g j c k"], v: Float[Array, "g j c k"], keys: int, tensor: str
) -> Float[Array, "g n r k"]:
    """Attend with g heads, n blocks of r queries and j blocks of c keys, of which the first `keys` in all count; returns float32."""
    return _forward(q, k, v, keys, tensor)[0]


def _forward(q, k, v, keys, tensor):
    scale, (_, _, r, width) = q.shape[-1] ** -0.5, q.shape

    def head(qkv):
        q, k, v = qkv

        def queries(q):
            def step(state, kv):
                top, total, out = state
                k, v, mask = kv
                logits = _dot(q, k, 1, 1)
                if mask is not None:
                    logits = logits + mask
                higher = jnp.maximum(top, logits.max(-1, keepdims=True))
                weights, rescale = jnp.exp((logits - higher) * scale), jnp.exp((top - higher) * scale)
                total = total * rescale + weights.sum(-1, keepdims=True)
                return (higher, total, out * rescale + _dot(weights.astype(v.dtype), v, 1, 0)), None

            start = jnp.full((r, 1), -jnp.inf), jnp.zeros((r, 1)), jnp.zeros((r, width))
            (top, total, out), _ = jax.lax.scan(step, start, (k, v, _padding_mask(k, keys)))
            return out / total, top * scale + jnp.log(total)

        return jax.lax.map(queries, q)

    out, lse = (keep(x, tensor) for x in jax.lax.map(head, (q, k, v)))
    return out, (q, k, v, out, lse)


def _backward(keys, tensor, residuals, d_out):
    del tensor
    scale, dtype = residuals[0].shape[-1] ** -0.5, residuals[0].dtype

    def head(args):
        q, k, v, out, lse, d_out = args
        mean = (d_out * out).sum(-1)[:, None]  # [n, 1, r]
        blocks = q, lse.swapaxes(1, 2), mean, d_out.astype(dtype)

        def step(dq, kv):
            k, v, mask = kv
            k_transposed = k.T

            def queries(sums, block):
                dk, dv = sums
                q, lse, mean, d_out = block
                logits = _dot(k, q, 1, 1)
                if mask is not None:
                    logits = logits + mask.T
                weights = jnp.exp(logits * scale - lse)
                d_logits = (weights * (_dot(v, d_out, 1, 1) - mean) * scale).astype(dtype)
                dk, dv = dk + _dot(d_logits, q, 1, 0), dv + _dot(weights.astype(dtype), d_out, 1, 0)
                return (dk, dv), _dot(k_transposed, d_logits, 1, 0)

            zeros = jnp.zeros(k.shape, jnp.float32), jnp.zeros(v.shape, jnp.float32)
            sums, dq_part = jax.lax.scan(queries, zeros, blocks)
            return dq + dq_part, sums

        zeros = jnp.zeros((q.shape[0], q.shape[2], q.shape[1]), jnp.float32)
        dq, (dk, dv) = jax.lax.scan(step, zeros, (k, v, _padding_mask(k, keys)))
        return dq.swapaxes(1, 2).astype(dtype), dk.astype(dtype), dv.astype(dtype)

    return jax.lax.map(head, (*residuals, d_out))


_attend_blocks.defvjp(_forward, _backward)


def _split_blocks(x: Float[Array, "b l h k"], largest: int) -> Float[Array, "g n r k"]:
    """Move heads before tokens, and split tokens into equal blocks of at most `largest`, the last padded with zeros."""
    b, tokens, h, width = x.shape
    count = -(-tokens // largest)
    x = x.swapaxes(1, 2).reshape(b * h, tokens, width)
    return jnp.pad(x, ((0, 0), (0, -tokens % count), (0, 0))).reshape(b * h, count, -1, width)


def _padding_mask(k: Float[Array, "j c k"], keys: int) -> Float[Array, "j 1 c"] | None:
    """Return 0 where there is a key and -inf where a block is padded; None without padding."""
    if keys == k.shape[0] * k.shape[1]:
        return None
    is_key = np.arange(k.shape[0] * k.shape[1]).reshape(k.shape[0], 1, -1) < keys
    return jnp.asarray(np.where(is_key, 0, -np.inf), jnp.float32)


def _dot(a: Array, b: Array, axis_a: int, axis_b: int) -> Array:
    """Return the product of two matrices over the given axes, summed in float32.

    XLA for CPUs refuses to sum products of bfloat16 in float32 within some loops when they run; converted before, factors are the same.
    """
    if target_platform() == "cpu":
        a, b = a.astype(jnp.float32), b.astype(jnp.float32)
    return jax.lax.dot_general(a, b, (((axis_a,), (axis_b,)), ((), ())), preferred_element_type=jnp.float32)
