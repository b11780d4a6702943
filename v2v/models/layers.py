"""Layers of the video transformer: a linear layer with optional LoRA, norms, activation, modulation.

A linear layer adds a low-rank path when the variable collection `lora` holds `a` [i, r] and `b` [r, o] for it:

    y = x W + bias + (x a) b            or, where that is less work,            y = x (W + a b) + bias

The second form costs one product of the weights' size instead of two of the tokens', and no pass over y. It needs float32: in bfloat16
the sum W + a b would round away the small steps of an adapter. Its gradients are those of the first form. With b = 0 both equal the
base bit for bit. The factor alpha/r is folded into `b` by `lora.scale_adapter` before the model runs, so no layer knows it. With
`magnitude_change` [o] beside them the first form is multiplied by m / |W + a b| (DoRA, models/lora.py).

Gradients of weights, dW = xᵀ dy, sum over rows. XLA's matrix product on CPUs reaches half its rate with factors in that layout, so
there the transpose is made in memory first (`platform.transpose_in_memory`). Other platforms choose layouts themselves.
"""

from contextlib import AbstractContextManager, nullcontext
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.typing import DTypeLike

from v2v.array_types import Array, Bool, Float
from v2v.models import quantized
from v2v.runtime.platform import materialize, transpose_in_memory


class Dense(nn.Module):
    """A linear layer on the last axis, with a low-rank path when it finds one.

    Attributes:
      features: output features.
      dtype: type of the matrix product; parameters are float32.
      kernel_init: initializer of the weights.
      exact: compute products of float32 in float32 also where a device rounds their factors by default (TPUs to bfloat16, GPUs to TF32).
    """

    features: int
    dtype: DTypeLike
    kernel_init: nn.initializers.Initializer = nn.initializers.xavier_uniform()
    exact: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "*b i"]) -> Float[Array, "*b o"]:
        """Apply the layer."""
        shape = (x.shape[-1], self.features)
        x = x.astype(self.dtype)
        lora = None
        if self.has_variable("lora", "a"):
            lora = [self.get_variable("lora", name) for name in ("a", "b")]
        dora = self.get_variable("lora", "magnitude_change", None)
        with exact_products() if self.exact else nullcontext():
            if (small := quantized.find_kernel(self)) is not None:
                y = small.multiply(x)
                y = y if lora is None else y + low_rank_matmul(x, *lora)
            else:
                w = self.param("kernel", self.kernel_init, shape, jnp.float32).astype(self.dtype)
                if lora is None:
                    y = matmul(x, w)
                elif dora is None and is_merging_cheaper(x, w):
                    y = merged_matmul(x, w, *lora)
                else:
                    y = matmul(x, w) + low_rank_matmul(x, *lora)
            if lora is not None and dora is not None:
                weights = self.get_variable("params", "kernel") if small is None else small.dequantize()
                relative = relative_magnitude(weights, lora[0], lora[1], dora)
                y = y + (y.astype(jnp.float32) * relative).astype(self.dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        return y + bias.astype(self.dtype)


def exact_products() -> AbstractContextManager:
    """Return a context in which products of float32 are traced to be computed in float32 on every device."""
    return jax.default_matmul_precision("highest")


@jax.custom_vjp
def matmul(x: Float[Array, "*b i"], w: Float[Array, "i o"]) -> Float[Array, "*b o"]:
    """Return x w; its backward pass computes the gradient of w only where w is differentiated."""
    return x @ w


def _matmul_forward(x, w):
    x_value, w_value = x.value, w.value
    return x_value @ w_value, (x_value if w.perturbed else None, w_value if x.perturbed else None)


def _matmul_backward(residuals, dy):
    x, w = residuals
    if isinstance(dy, SymbolicZero):
        return None, None
    return None if w is None else dy @ w.T, None if x is None else transpose_in_memory(
        _flatten(x)
    ) @ _flatten(dy)


matmul.defvjp(_matmul_forward, _matmul_backward, symbolic_zeros=True)


@jax.custom_vjp
def low_rank_matmul(
    x: Float[Array, "*b i"], a: Float[Array, "i r"], b: Float[Array, "r o"]
) -> Float[Array, "*b o"]:
    """Return (x a) b in the type of x; its backward pass transposes the thin [l, r] products only, never x or the cotangent."""
    return (x @ a.astype(x.dtype)) @ b.astype(x.dtype)


def _low_rank_forward(x, a, b):
    h = x @ a.astype(x.dtype)  # thin: cheaper to store than to compute again
    return h @ b.astype(x.dtype), (x, h, a, b)


def _low_rank_backward(residuals, dy):
    x, h, a, b = residuals
    dh = materialize(dy @ b.astype(x.dtype).T)
    return dh @ a.astype(x.dtype).T, *_thin_gradients(x, h, dh, dy)


low_rank_matmul.defvjp(_low_rank_forward, _low_rank_backward)


def relative_magnitude(
    w: Float[Array, "i o"], a: Float[Array, "i r"], b: Float[Array, "r o"], change: Float[Array, "o"]
) -> Float[Array, "o"]:
    """Return m / |w + a b| - 1 for every output, where m = |w| + change; exactly 0 with b = 0 and no change.

    Lengths count as constants. |w + a b|² is |w|² + d, and d is a thin sum that is 0 with b; |w| - |w + a b| is then -d / (|w| + |w + a b|), which
    no rounding of either length disturbs.
    """
    w, a, b = (jax.lax.stop_gradient(x.astype(jnp.float32)) for x in (w, a, b))
    with exact_products():
        d = (b * (2 * (a.T @ w) + (a.T @ a) @ b)).sum(0)
    squares = (w * w).sum(0)
    base_length, length = jnp.sqrt(squares), jnp.sqrt(jnp.maximum(squares + d, 1e-30))
    return (change - d / (base_length + length)) / length


@jax.custom_vjp
def merged_matmul(
    x: Float[Array, "*b i"], w: Float[Array, "i o"], a: Float[Array, "i r"], b: Float[Array, "r o"]
) -> Float[Array, "*b o"]:
    """Return x (w + a b).

    The gradients of a and b go through the thin products x a and dy bᵀ. The sum w + a b is computed again in the backward pass instead
    of being stored.
    """
    return x @ (w + a @ b)


def is_merging_cheaper(x: Float[Array, "*b i"], w: Float[Array, "i o"]) -> bool:
    """Return whether `merged_matmul` is exact enough and less work than `low_rank_matmul`: i o < rows (i + o)."""
    (i, o), rows = w.shape, x.size // x.shape[-1]
    return x.dtype == jnp.float32 and i * o < rows * (i + o)


def _merged_forward(x, w, a, b):
    y = merged_matmul(x.value, w.value, a.value, b.value)
    return y, (x.value, w.value, a.value, b.value, w.perturbed)


def _merged_backward(residuals, dy):
    if isinstance(dy, SymbolicZero):
        return None, None, None, None
    x, w, a, b, trains_w = residuals
    dx = dy @ (w + a @ b).T
    dw = transpose_in_memory(_flatten(x)) @ _flatten(dy) if trains_w else None
    return dx, dw, *_thin_gradients(x, materialize(x @ a), materialize(dy @ b.T), dy)


merged_matmul.defvjp(_merged_forward, _merged_backward, symbolic_zeros=True)


def _thin_gradients(
    x: Float[Array, "*b i"], h: Float[Array, "*b r"], dh: Float[Array, "*b r"], dy: Float[Array, "*b o"]
) -> tuple[Float[Array, "i r"], Float[Array, "r o"]]:
    """Return (xᵀ dh, hᵀ dy) in float32, transposing the thin factor in memory.

    They are sums over rows, which devices and micro-batches add up further: rounded to bfloat16 before, those of 256 devices would lose several
    bits that AdamW, which divides by their size, does not forgive.
    """
    product = partial(jnp.matmul, preferred_element_type=jnp.float32)
    da = materialize(product(transpose_in_memory(_flatten(dh)), _flatten(x))).T
    return da, product(transpose_in_memory(_flatten(h)), _flatten(dy))


def _flatten(x: Float[Array, "*b i"]) -> Float[Array, "l i"]:
    return x.reshape(-1, x.shape[-1])


@partial(jax.checkpoint, prevent_cse=False)
def gelu(x: Float[Array, "*b f"]) -> Float[Array, "*b f"]:
    """Apply GELU in its tanh form. The backward pass starts from x again: one array of the MLP's width is stored instead of five."""
    return nn.gelu(x, approximate=True)


class LayerNorm(nn.Module):
    """Normalization of the last axis to mean 0 and variance 1, in float32.

    Attributes:
      eps: added to the variance.
      affine: whether there are scale and bias, as the backbone has before cross-attention only.
    """

    eps: float
    affine: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
        """Normalize."""
        x = x.astype(jnp.float32)
        x = x - x.mean(-1, keepdims=True)
        x = x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + self.eps)
        if self.affine:
            x = x * self.param("scale", nn.initializers.ones, (x.shape[-1],), jnp.float32)
            x = x + self.param("bias", nn.initializers.zeros, (x.shape[-1],), jnp.float32)
        return x


class RMSNorm(nn.Module):
    """x / rms(x) * scale over the last axis, in float32. On q and k it runs over the whole width, before the split into heads.

    Attributes:
      eps: added to the mean square.
      gain: initial value of the scale.
    """

    eps: float
    gain: float = 1.0

    @nn.compact
    def __call__(self, x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
        """Normalize."""
        scale = self.param("scale", nn.initializers.constant(self.gain), (x.shape[-1],), jnp.float32)
        return rms_norm(x.astype(jnp.float32), scale, self.eps)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def rms_norm(x: Float[Array, "*b d"], scale: Float[Array, "d"], eps: float) -> Float[Array, "*b d"]:
    """Return x / rms(x) * scale; the gradient is written out because the one that XLA derives is slow on CPUs (it goes by columns)."""
    return x * _inverse_rms(x, eps) * scale


def _inverse_rms(x, eps):
    return jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + eps)


def _rms_norm_forward(x, scale, eps):
    return rms_norm(x, scale, eps), (x, scale)


def _rms_norm_backward(eps, residuals, dy):
    x, scale = residuals
    factor = _inverse_rms(x, eps)
    unit = x * factor
    product = dy * unit
    dx = factor * (dy * scale - unit * (product * scale).mean(-1, keepdims=True))
    return dx, _flatten(product).sum(0)


rms_norm.defvjp(_rms_norm_forward, _rms_norm_backward)


def select_modulation(
    noisy: Bool[Array, "b l"], at_tau: Float[Array, "b d"], at_zero: Float[Array, "b d"]
) -> Float[Array, "b l d"]:
    """Return each token's modulation: that of flow time tau where `noisy`, else that of flow time 0.

    XLA fuses the selection, so no [b, l, 6, d] table is stored.
    """
    return jnp.where(noisy[..., None], at_tau[:, None], at_zero[:, None])
