"""Attention a few hundred queries of one head at a time: CPUs, any dtype; the [l, s] logits are never stored.

Plain attention writes the logits of all heads to memory and walks over them four times. Here one piece of a head's queries has
its logits made, turned into weights and used up while they are in the cache (the numbers differ only by the order of sums):
    S = Q kᵀ/√k,  m = max S,  E = exp(S - m),  O = E v / ΣE,  L = m + log ΣE
The backward pass keeps O and L alone and makes the weights again, P = exp(S - L):
    dv += Pᵀ dO,  dS = P ∘ (dO vᵀ - Σ dO∘O),  dQ = dS k/√k,  dk += dSᵀ Q/√k             (FlashAttention, arXiv 2205.14135)
"""

import jax
import jax.numpy as jnp

from v2v.shapes import Array, Float

PIECE = (
    2**23
)  # bytes of logits at a time: gemms large enough for their full rate, a matrix small enough for caches


def attend(
    q: Float[Array, "b l h k"],
    k: Float[Array, "b s h k"],
    v: Float[Array, "b s h k"],
    length: int | None = None,
    piece: int = PIECE,
) -> Float[Array, "b l h k"]:
    """As plain.attend, within 2e-6 of it in float32 and 2e-2 in bfloat16; in reverse mode only."""
    b, tokens, h, width = q.shape
    k, v = _heads_first(k[:, :length]), _heads_first(v[:, :length])
    pieces = -(-4 * tokens * k.shape[1] // piece)
    rows = -(-tokens // pieces)
    q = jnp.pad(_heads_first(q), ((0, 0), (0, -tokens % rows), (0, 0)))
    out = _attend(q.reshape(b * h, -1, rows, width), k, v)
    return out.reshape(b, h, -1, width)[:, :, :tokens].swapaxes(1, 2).astype(v.dtype)


def pays(q: jax.Array, k: jax.Array) -> bool:
    """Whether one head's logits are more than fits a core's cache; many short sequences are better off as one product."""
    return 4 * q.shape[1] * k.shape[1] >= PIECE // 2


@jax.custom_vjp
def _attend(q: Float[Array, "g n r k"], k: Float[Array, "g s k"], v: Float[Array, "g s k"]):
    """g heads of n pieces of r queries, float32 out."""
    return _forward(q, k, v)[0]


def _forward(q, k, v):
    scale = q.shape[-1] ** -0.5

    def head(qkv):
        q, k, v = qkv

        def piece(q):
            logits = _dot(q, k, 1, 1)
            top = logits.max(-1, keepdims=True)
            weights = jnp.exp((logits - top) * scale)
            total = weights.sum(-1, keepdims=True)
            return _dot(weights.astype(v.dtype), v, 1, 0) / total, top * scale + jnp.log(total)

        return jax.lax.map(piece, q)

    out, lse = jax.lax.map(head, (q, k, v))
    return out, (q, k, v, out, lse)


def _backward(saved, d_out):
    scale, dtype = saved[0].shape[-1] ** -0.5, saved[0].dtype

    def head(args):
        q, k, v, out, lse, d_out = args

        def piece(sums, args):
            dk, dv = sums
            q, out, lse, d_out = args
            weights = jnp.exp(_dot(q, k, 1, 1) * scale - lse)
            given = d_out.astype(dtype)
            d_logits = weights * (_dot(given, v, 1, 1) - (d_out * out).sum(-1, keepdims=True)) * scale
            d_logits, weights = d_logits.astype(dtype), weights.astype(dtype)
            return (dk + _dot(d_logits, q, 0, 0), dv + _dot(weights, given, 0, 0)), _dot(d_logits, k, 1, 0)

        zeros = jnp.zeros(k.shape, jnp.float32), jnp.zeros(v.shape, jnp.float32)
        (dk, dv), dq = jax.lax.scan(piece, zeros, (q, out, lse, d_out))
        return dq.astype(dtype), dk.astype(dtype), dv.astype(dtype)

    return jax.lax.map(head, (*saved, d_out))


_attend.defvjp(_forward, _backward)


def _dot(a, b, over_a: int, over_b: int):
    """Two matrices multiplied over the axes named, summed in float32."""
    return jax.lax.dot_general(a, b, (((over_a,), (over_b,)), ((), ())), preferred_element_type=jnp.float32)


def _heads_first(x: Float[Array, "b l h k"]) -> Float[Array, "bh l k"]:
    return x.swapaxes(1, 2).reshape(-1, x.shape[1], x.shape[3])
