"""Attention a block of queries and keys of one head at a time: CPUs, any dtype; the [l, s] logits are never stored.

Plain attention writes the logits of all heads to memory and walks over them four times. Here the logits of a few hundred queries
to as many keys are made, turned into weights and used up while they are in the cache, where matrix products also run a fifth
faster. Over the blocks of keys j, the largest logit so far m and the sums so far are carried (arXiv 1805.02867):
    S = Q kⱼᵀ/√k,  m' = max(m, max S),  E = exp(S - m'),  O ← O exp(m - m') + E vⱼ,  Σ ← Σ exp(m - m') + ΣE
and O/Σ is the result, L = m + log Σ is kept. The backward pass makes the weights again from L, transposed, and sums dQ transposed
too, so that no matrix of logits is ever turned (arXiv 2205.14135):
    Pᵀ = exp(kⱼ Qᵀ/√k - L),  dvⱼ += Pᵀ dO,  dSᵀ = Pᵀ ∘ (vⱼ dOᵀ - Σ dO∘O)/√k,  dkⱼ += dSᵀ Q,  dQᵀ += kⱼᵀ dSᵀ
Numbers differ from plain attention's only by the order of sums. 1/√k is applied inside the exponent: there it costs no pass.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from v2v.array_types import Array, Float

BLOCK_SIZE = (
    512  # queries and keys: products large enough for their full rate, logits small enough for caches
)
MIN_TOKENS = 128  # queries and keys worth a loop


def attend(
    q: Float[Array, "b l h k"],
    k: Float[Array, "b s h k"],
    v: Float[Array, "b s h k"],
    length: int | None = None,
    block: int = BLOCK_SIZE,
) -> Float[Array, "b l h k"]:
    """As plain.attend, within 2e-6 of it in float32 and 2e-2 in bfloat16; in reverse mode only."""
    b, tokens, h, width = q.shape
    k, v = k[:, :length], v[:, :length]
    out = _attend(_blocks(q, block), _blocks(k, block), _blocks(v, block), k.shape[1])
    return out.reshape(b, h, -1, width)[:, :, :tokens].swapaxes(1, 2).astype(v.dtype)


def is_faster(q: jax.Array, k: jax.Array) -> bool:
    """Whether blocks beat whole logits: on a CPU they do from about 128 queries and keys."""
    return q.shape[1] * k.shape[1] >= MIN_TOKENS**2


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def _attend(q: Float[Array, "g n r k"], k: Float[Array, "g j c k"], v: Float[Array, "g j c k"], keys: int):
    """g heads, n blocks of r queries, j blocks of c keys, of which the first `keys` in all count; float32 out."""
    return _forward(q, k, v, keys)[0]


def _forward(q, k, v, keys):
    scale, (_, _, r, width) = q.shape[-1] ** -0.5, q.shape

    def head(qkv):
        q, k, v = qkv

        def queries(q):
            def step(carried, kv):
                top, total, out = carried
                k, v, missing = kv
                logits = _dot(q, k, 1, 1)
                if missing is not None:
                    logits = logits + missing
                higher = jnp.maximum(top, logits.max(-1, keepdims=True))
                weights, kept = jnp.exp((logits - higher) * scale), jnp.exp((top - higher) * scale)
                total = total * kept + weights.sum(-1, keepdims=True)
                return (higher, total, out * kept + _dot(weights.astype(v.dtype), v, 1, 0)), None

            start = jnp.full((r, 1), -jnp.inf), jnp.zeros((r, 1)), jnp.zeros((r, width))
            (top, total, out), _ = jax.lax.scan(step, start, (k, v, _missing(k, keys)))
            return out / total, top * scale + jnp.log(total)

        return jax.lax.map(queries, q)

    out, lse = jax.lax.map(head, (q, k, v))
    return out, (q, k, v, out, lse)


def _backward(keys, saved, d_out):
    scale, dtype = saved[0].shape[-1] ** -0.5, saved[0].dtype

    def head(args):
        q, k, v, out, lse, d_out = args
        moved = (d_out * out).sum(-1)[:, None]  # [n, 1, r]
        blocks = q, lse.swapaxes(1, 2), moved, d_out.astype(dtype)

        def step(dq, kv):
            k, v, missing = kv
            turned_k = k.T

            def queries(sums, block):
                dk, dv = sums
                q, lse, moved, d_out = block
                logits = _dot(k, q, 1, 1)
                if missing is not None:
                    logits = logits + missing.T
                weights = jnp.exp(logits * scale - lse)
                d_logits = (weights * (_dot(v, d_out, 1, 1) - moved) * scale).astype(dtype)
                dk, dv = dk + _dot(d_logits, q, 1, 0), dv + _dot(weights.astype(dtype), d_out, 1, 0)
                return (dk, dv), _dot(turned_k, d_logits, 1, 0)

            zeros = jnp.zeros(k.shape, jnp.float32), jnp.zeros(v.shape, jnp.float32)
            sums, more = jax.lax.scan(queries, zeros, blocks)
            return dq + more, sums

        zeros = jnp.zeros((q.shape[0], q.shape[2], q.shape[1]), jnp.float32)
        dq, (dk, dv) = jax.lax.scan(step, zeros, (k, v, _missing(k, keys)))
        return dq.swapaxes(1, 2).astype(dtype), dk.astype(dtype), dv.astype(dtype)

    return jax.lax.map(head, (*saved, d_out))


_attend.defvjp(_forward, _backward)


def _blocks(x: Float[Array, "b l h k"], most: int) -> Float[Array, "g n r k"]:
    """Heads first, tokens in equal blocks of at most `most`, the last filled up with zeros."""
    b, tokens, h, width = x.shape
    count = -(-tokens // most)
    x = x.swapaxes(1, 2).reshape(b * h, tokens, width)
    return jnp.pad(x, ((0, 0), (0, -tokens % count), (0, 0))).reshape(b * h, count, -1, width)


def _missing(k: Float[Array, "j c k"], keys: int) -> Float[Array, "j 1 c"] | None:
    """0 where there is a key, -inf where a block was only filled up; None where all are filled with keys."""
    if keys == k.shape[0] * k.shape[1]:
        return None
    there = np.arange(k.shape[0] * k.shape[1]).reshape(k.shape[0], 1, -1) < keys
    return jnp.asarray(np.where(there, 0, -np.inf), jnp.float32)


def _dot(a, b, over_a: int, over_b: int):
    """Two matrices multiplied over the axes named, summed in float32."""
    return jax.lax.dot_general(a, b, (((over_a,), (over_b,)), ((), ())), preferred_element_type=jnp.float32)
