"""Weights in 8 bits: kernels of a transformer's blocks as int8 with one scale for each output channel.

    kernel [i, o] float  →  kernel [i, o] int8, kernel_scale [o] float32          kernel ≈ kernel_scale · int8, |int8| ≤ 127
    y = (x int8) · kernel_scale                                                  the product in the layer's type

int8 is exact in bfloat16, so weights lose their rounding to 127 steps alone: about 42 dB below themselves. They take half of bfloat16's
memory, while computations keep their speed. `layers.Dense` and the text encoder's layers multiply so where they find `kernel_scale` beside their
kernel; embeddings, norms, biases and what lies outside the blocks stay as they are.

Both are plain arrays in the tree of parameters: they are stored, split over devices and scanned over layers as every other. That is also why
they are not those of a quantization library, whose arrays bundle both and bring providers that rewrite a model's products.
"""

import re
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from v2v.array_types import AnyArray, Array, Float, Int
from v2v.config import WeightsDtype

# Parts of a model that may be stored so; the autoencoder is small.
QUANTIZED_PARTS = ("dit", "text")
QUANTIZED_PATHS = re.compile(r"^blocks/.*/kernel$")
SCALE = "kernel_scale"
LARGEST = 127
# The largest weight of a channel counts at least so much, that a channel of zeros has a scale.
SMALLEST = np.float32(1e-30)


def is_quantized(part: str, path: str, weights_dtype: WeightsDtype | None) -> bool:
    """Return whether a parameter is stored in 8 bits.

    Args:
      part: "dit", "vae" or "text".
      path: such as "blocks/ffn/up/kernel".
      weights_dtype: of the model's weights; None for their own.
    """
    return weights_dtype == "int8" and part in QUANTIZED_PARTS and bool(QUANTIZED_PATHS.match(path))


def scale_path(path: str) -> str:
    """Return the path of a kernel's scales."""
    return path.removesuffix("kernel") + SCALE


def quantize_host(kernel: Float[np.ndarray, "*L i o"]) -> tuple[np.ndarray, np.ndarray]:
    """Return a kernel in 8 bits and its scales, computed on the host.

    Args:
      kernel: weights, [i, o] or with layers in front.
    """
    kernel = np.asarray(kernel, np.float32)
    scale = np.maximum(np.abs(kernel).max(-2), SMALLEST) / np.float32(LARGEST)
    return np.rint(kernel / scale[..., None, :]).astype(np.int8), scale


def quantize(kernel: Float[AnyArray, "*L i o"]) -> tuple[Int[Array, "*L i o"], Float[Array, "*L o"]]:
    """Return a kernel in 8 bits and its scales."""
    kernel = jnp.asarray(kernel, jnp.float32)
    scale = jnp.maximum(jnp.abs(kernel).max(-2), SMALLEST) / LARGEST
    return jnp.rint(kernel / scale[..., None, :]).astype(jnp.int8), scale


def dequantize(kernel: Int[AnyArray, "*L i o"], scale: Float[AnyArray, "*L o"]) -> Float[Array, "*L i o"]:
    """Return the float32 weights that 8 bits stand for."""
    return jnp.asarray(kernel, jnp.float32) * jnp.asarray(scale)[..., None, :]


def update(
    kernel: Int[AnyArray, "*L i o"],
    scale: Float[AnyArray, "*L o"],
    addend: Callable[[Any], Float[Array, "i o"]],
) -> tuple[Int[Array, "*L i o"], Float[Array, "*L o"]]:
    """Return weights with something added, in 8 bits again; a layer at a time, so that one is in memory as float32.

    Args:
      kernel: weights in 8 bits.
      scale: their scales.
      addend: of a layer's index, or of `...` where there are no layers.
    """
    kernel, scale = jnp.asarray(kernel), jnp.asarray(scale)
    if kernel.ndim == 2:
        return quantize(dequantize(kernel, scale) + addend(...))

    def update_layer(layer: Array) -> tuple[Array, Array]:
        return quantize(dequantize(kernel[layer], scale[layer]) + addend(layer))

    return jax.lax.map(update_layer, jnp.arange(kernel.shape[0]))


def find_scale(module: nn.Module) -> Float[Array, "o"] | None:
    """Return the scales beside a layer's kernel; None where the kernel is in a floating-point type."""
    return module.get_variable("params", SCALE) if module.has_variable("params", SCALE) else None


def multiply(
    x: Float[Array, "*b i"], kernel: Int[Array, "i o"], scale: Float[Array, "o"]
) -> Float[Array, "*b o"]:
    """Return x times the weights that 8 bits stand for, in the type of x."""
    # A float32 result of the product would be the largest array of a block; its rounding is far below that of 8 bits.
    y = x @ kernel.astype(x.dtype)
    return (y.astype(jnp.float32) * scale).astype(x.dtype)


class RoundingError:
    """The error of weights rounded to 8 bits, summed over kernels as they are read."""

    def __init__(self):
        self._signal = self._error = 0.0

    def add(self, kernel: Float[np.ndarray, "*L i o"], values: np.ndarray, scale: np.ndarray) -> None:
        """Add a kernel: its weights before, and `quantize_host` of them."""
        kernel = np.asarray(kernel, np.float32)
        error = kernel - values * scale[..., None, :]
        self._signal += float(np.vdot(kernel, kernel))
        self._error += float(np.vdot(error, error))

    @property
    def decibels(self) -> float | None:
        """Return by how many dB the error lies below the weights; None before any error."""
        return 10 * float(np.log10(self._signal / self._error)) if self._signal and self._error else None
