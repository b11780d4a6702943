"""The small pieces of the DiT: a linear layer that knows LoRA, two norms, modulation. Used by attention.py and transformer.py.

Low-rank path of a linear layer, when the variable collection `lora` holds `a` [i, r] and `b` [r, o] for it:
    y = x W + bias + (x a) b            or, where that is less work,            y = x (W + a b) + bias
The second costs a product of the weights' size instead of two of the tokens', and no pass over y; it needs float32: in bfloat16 the
sum W + a b would round an adapter's small steps away. Its gradients are those of the first. With b = 0 both are the base, bit for
bit. The factor alpha/r is folded into `b` by `lora.scaled` before the model runs, so no layer knows it.

Gradients of weights, dW = xᵀ dy, sum over rows. XLA's matrix product for CPUs reaches half its rate on factors that lie so; there
the transpose is laid out first (`turned`). Other platforms choose layouts themselves.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.typing import DTypeLike

from v2v.array_types import Array, Bool, Float
from v2v.runtime.platform import materialize, transpose_in_memory


class Dense(nn.Module):
    """Linear layer on the last axis, matmul in `dtype`; adds the low-rank path when it finds one."""

    features: int
    dtype: DTypeLike
    kernel_init: nn.initializers.Initializer = nn.initializers.xavier_uniform()

    @nn.compact
    def __call__(self, x: Float[Array, "*b i"]) -> Float[Array, "*b o"]:
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        x = x.astype(self.dtype)
        w = kernel.astype(self.dtype)
        if self.has_variable("lora", "a"):
            a, b = (self.get_variable("lora", name).astype(self.dtype) for name in ("a", "b"))
            y = (
                merged_matmul(x, w, a, b)
                if is_merging_cheaper(x, w)
                else matmul(x, w) + low_rank_matmul(x, a, b)
            )
        else:
            y = matmul(x, w)
        return y + bias.astype(self.dtype)


@jax.custom_vjp
def matmul(x: Float[Array, "*b i"], w: Float[Array, "i o"]) -> Float[Array, "*b o"]:
    """x w; its backward pass makes dw only when it is wanted, and then at the full rate."""
    return x @ w


def _product_forward(x, w):
    x_value, w_value = x.value, w.value
    return x_value @ w_value, (x_value if w.perturbed else None, w_value if x.perturbed else None)


def _product_backward(saved, dy):
    x, w = saved
    if isinstance(dy, SymbolicZero):
        return None, None
    return None if w is None else dy @ w.T, None if x is None else transpose_in_memory(_flat(x)) @ _flat(dy)


matmul.defvjp(_product_forward, _product_backward, symbolic_zeros=True)


@jax.custom_vjp
def low_rank_matmul(
    x: Float[Array, "*b i"], a: Float[Array, "i r"], b: Float[Array, "r o"]
) -> Float[Array, "*b o"]:
    """(x a) b, with a backward pass that only ever transposes the thin [l, r] products, never x or the cotangent."""
    return (x @ a) @ b


def _low_rank_forward(x, a, b):
    h = x @ a  # thin: cheaper to keep than to make again
    return h @ b, (x, h, a, b)


def _low_rank_backward(saved, dy):
    x, h, a, b = saved
    dh = materialize(dy @ b.T)
    return dh @ a.T, *_thin_gradients(x, h, dh, dy)


low_rank_matmul.defvjp(_low_rank_forward, _low_rank_backward)


@jax.custom_vjp
def merged_matmul(
    x: Float[Array, "*b i"], w: Float[Array, "i o"], a: Float[Array, "i r"], b: Float[Array, "r o"]
) -> Float[Array, "*b o"]:
    """x (w + a b); a and b get their gradients through the thin x a and dy bᵀ, and the sum is made again for them, not kept."""
    return x @ (w + a @ b)


def is_merging_cheaper(x: Float[Array, "*b i"], w: Float[Array, "i o"]) -> bool:
    """Whether `adapted` is exact enough and less work than `low_rank`: i o < rows (i + o)."""
    (i, o), rows = w.shape, x.size // x.shape[-1]
    return x.dtype == jnp.float32 and i * o < rows * (i + o)


def _adapted_forward(x, w, a, b):
    return merged_matmul(x.value, w.value, a.value, b.value), (
        x.value,
        w.value,
        a.value,
        b.value,
        w.perturbed,
    )


def _adapted_backward(saved, dy):
    if isinstance(dy, SymbolicZero):
        return None, None, None, None
    x, w, a, b, tuned = saved
    dx, dw = dy @ (w + a @ b).T, transpose_in_memory(_flat(x)) @ _flat(dy) if tuned else None
    return dx, dw, *_thin_gradients(x, materialize(x @ a), materialize(dy @ b.T), dy)


merged_matmul.defvjp(_adapted_forward, _adapted_backward, symbolic_zeros=True)


def _thin_gradients(x, h, dh, dy) -> tuple[Float[Array, "i r"], Float[Array, "r o"]]:
    """(da, db) = (xᵀ dh, hᵀ dy), the thin factor transposed."""
    return materialize(transpose_in_memory(_flat(dh)) @ _flat(x)).T, transpose_in_memory(_flat(h)) @ _flat(dy)


def _flat(x: Float[Array, "*b i"]) -> Float[Array, "l i"]:
    return x.reshape(-1, x.shape[-1])


@partial(jax.checkpoint, prevent_cse=False)
def gelu(x: Float[Array, "*b f"]) -> Float[Array, "*b f"]:
    """By tanh. Its backward pass begins from x again: one array of the FFN's width is kept for it instead of five."""
    return nn.gelu(x, approximate=True)


class LayerNorm(nn.Module):
    """Normalises the last axis in float32; affine only where the backbone has it (before cross-attention)."""

    eps: float
    affine: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
        x = x.astype(jnp.float32)
        x = x - x.mean(-1, keepdims=True)
        x = x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + self.eps)
        if self.affine:
            x = x * self.param("scale", nn.initializers.ones, (x.shape[-1],), jnp.float32)
            x = x + self.param("bias", nn.initializers.zeros, (x.shape[-1],), jnp.float32)
        return x


class RMSNorm(nn.Module):
    """x / rms(x) * gain in float32. On q and k it runs over the whole width, before the split into heads."""

    eps: float
    gain: float = 1.0

    @nn.compact
    def __call__(self, x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
        scale = self.param("scale", nn.initializers.constant(self.gain), (x.shape[-1],), jnp.float32)
        return rms_norm(x.astype(jnp.float32), scale, self.eps)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def rms_norm(x: Float[Array, "*b d"], scale: Float[Array, "d"], eps: float) -> Float[Array, "*b d"]:
    """x / rms(x) * scale. The gradient is written out, for CPUs: what XLA derives walks over columns where rows would do."""
    return x * _over_rms(x, eps) * scale


def _over_rms(x, eps):
    return jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + eps)


def _rms_forward(x, scale, eps):
    return rms_norm(x, scale, eps), (x, scale)


def _rms_backward(eps, saved, dy):
    x, scale = saved
    factor = _over_rms(x, eps)
    unit = x * factor
    both = dy * unit
    dx = factor * (dy * scale - unit * (both * scale).mean(-1, keepdims=True))
    return dx, _flat(both).sum(0)


rms_norm.defvjp(_rms_forward, _rms_backward)


def select_modulation(
    noisy: Bool[Array, "b l"], at_tau: Float[Array, "b d"], at_zero: Float[Array, "b d"]
) -> Float[Array, "b l d"]:
    """Per-token modulation out of the two flow times there are; XLA fuses it, so no [l, 6, d] table is ever stored."""
    return jnp.where(noisy[..., None], at_tau[:, None], at_zero[:, None])
