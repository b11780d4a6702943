"""Weights in 8 or 4 bits: kernels of a transformer's blocks as small numbers, with a scale for each output channel or block of rows.

    int8   kernel [i, o] int8, |k| ≤ 127             kernel_scale [o] float32          weights lose their rounding alone, 42 dB below them
    fp8    kernel [i, o] float8_e4m3fn, |k| ≤ 448    kernel_scale [o] float32          32 dB: fewer digits, but outliers cost the others less
    nf4    kernel [i/2, o] uint8, two codes a byte   kernel_scale [i/64, o] bfloat16   20 dB: a code is one of 16 quantiles of a normal distribution

    y = (x kernel) · kernel_scale       int8 and fp8, both exact in bfloat16: the product is in the layer's type
    y = x (table[kernel] · kernel_scale)     nf4, whose weights exist in the layer's type for one layer at a time

They take 1/2, 1/2 and 0.27 of bfloat16's memory. `layers.Dense` and the text encoder's layers multiply so where they find `kernel_scale` beside
their kernel; embeddings, norms, biases and what lies outside the blocks stay as they are. Weights so stored are frozen: `multiply` has a
gradient with respect to its input alone, and keeps nothing but the small numbers for the backward pass.

All are plain arrays in the tree of parameters: they are stored, split over devices and scanned over layers as every other. That is also why
they are not those of a quantization library, whose arrays bundle both and bring providers that rewrite a model's products.
Source of nf4: Dettmers et al., QLoRA, arXiv 2305.14314.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from jax.typing import DTypeLike
from scipy.special import ndtri

from v2v.array_types import AnyArray, Array, Float
from v2v.config import WeightsDtype, part_kind
from v2v.errors import InputError

# Parts of a model that may be stored so; the autoencoder is small.
QUANTIZED_PARTS = ("dit", "text")
QUANTIZED_PATHS = re.compile(r"^blocks/.*/kernel$")
SCALE = "kernel_scale"
# The largest weight of a channel counts at least so much, that a channel of zeros has a scale.
SMALLEST = np.float32(1e-30)
# Rows of a kernel that share a scale in nf4, at most.
BLOCK_ROWS = 64


@runtime_checkable
class WeightFormat(Protocol):
    """A way of storing a kernel in few bits."""

    @property
    def dtype(self) -> np.dtype:
        """Return the type of the numbers; each format has its own, by which `find_format` tells them."""
        ...

    def abstract(self, shape: tuple[int, ...]) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
        """Return shapes and types of numbers and scales of a kernel of a shape, [i, o] or with layers in front."""
        ...

    def weight_shape(self, values: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the kernel whose numbers have a shape."""
        ...

    def quantize(self, kernel: Any) -> tuple[Any, Any]:
        """Return numbers and scales of a float32 kernel [..., i, o], arrays of numpy or JAX as it is."""
        ...

    def dequantize(self, values: Any, scale: Any, dtype: DTypeLike = np.float32) -> Any:
        """Return the weights [..., i, o] that they stand for, arrays of numpy or JAX as they are."""
        ...

    def multiply(self, x: Array, values: Array, scale: Array) -> Array:
        """Return x [..., i] times the weights [i, o], in the type of x."""
        ...

    def multiply_transposed(self, y: Array, values: Array, scale: Array) -> Array:
        """Return y [..., o] times the transposed weights, in the type of y."""
        ...


@dataclass(frozen=True)
class ChannelScales:
    """Numbers with a scale for each output channel.

    Attributes:
      dtype: of the numbers.
      largest: number that stands for a channel's largest weight.
    """

    dtype: np.dtype
    largest: float

    def abstract(self, shape: tuple[int, ...]) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
        """Return shapes and types of numbers and scales."""
        scales = (*shape[:-2], shape[-1])
        return jax.ShapeDtypeStruct(shape, self.dtype), jax.ShapeDtypeStruct(scales, jnp.float32)

    def weight_shape(self, values: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the numbers, which is that of the weights."""
        return values

    def quantize(self, kernel: Any) -> tuple[Any, Any]:
        """Return numbers and scales."""
        xp = _namespace(kernel)
        scale = xp.maximum(xp.abs(kernel).max(-2), SMALLEST) / np.float32(self.largest)
        numbers = kernel / scale[..., None, :]
        return (xp.rint(numbers) if self.dtype == np.int8 else numbers).astype(self.dtype), scale

    def dequantize(self, values: Any, scale: Any, dtype: DTypeLike = np.float32) -> Any:
        """Return the weights."""
        return (values.astype(np.float32) * scale[..., None, :]).astype(dtype)

    def multiply(self, x: Array, values: Array, scale: Array) -> Array:
        """Return x times the weights."""
        # A float32 result of the product would be the largest array of a block; its rounding is far below that of 8 bits.
        y = x @ values.astype(x.dtype)
        return (y.astype(jnp.float32) * scale).astype(x.dtype)

    def multiply_transposed(self, y: Array, values: Array, scale: Array) -> Array:
        """Return y times the transposed weights."""
        return (y.astype(jnp.float32) * scale).astype(y.dtype) @ values.T.astype(y.dtype)


def _normal_quantiles() -> np.ndarray:
    """Return the 16 numbers of nf4: quantiles of a normal distribution, scaled to -1 .. 1, one of them 0; float32 [16]."""
    outermost = (
        1 - 1 / 32 + 1 - 1 / 30
    ) / 2  # that of the smallest and largest number: halfway between both halves' steps
    upper = ndtri(np.linspace(outermost, 0.5, 9)[:-1])
    lower = -ndtri(np.linspace(outermost, 0.5, 8)[:-1])
    numbers = np.sort(np.concatenate([upper, lower, [0.0]]))
    return (numbers / numbers.max()).astype(np.float32)


@dataclass(frozen=True)
class NormalFloat:
    """Codes of 4 bits with a scale for each block of rows, nf4.

    A byte holds two rows of a block, as far apart as half of it, so that the halves are put together without interleaving rows.

    Attributes:
      dtype: of the bytes.
      table: the numbers that codes stand for, float32 [16], ascending.
    """

    dtype: np.dtype
    table: tuple[float, ...]

    def abstract(self, shape: tuple[int, ...]) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
        """Return shapes and types of bytes and scales.

        Raises:
          InputError: an odd number of rows.
        """
        *lead, i, o = shape
        return (
            jax.ShapeDtypeStruct((*lead, i // 2, o), self.dtype),
            jax.ShapeDtypeStruct((*lead, i // self.block(i), o), jnp.bfloat16),
        )

    def block(self, rows: int) -> int:
        """Return how many rows of a kernel share a scale; raise InputError where they are odd."""
        if rows % 2:
            raise InputError(
                f"nf4: expected kernels of an even number of rows, got one of {rows}; use --weights-dtype int8"
            )
        return math.gcd(rows, BLOCK_ROWS)

    def weight_shape(self, values: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the weights of bytes of a shape."""
        *lead, half, o = values
        return (*lead, 2 * half, o)

    def quantize(self, kernel: Any) -> tuple[Any, Any]:
        """Return bytes and scales."""
        xp = _namespace(kernel)
        *lead, i, o = kernel.shape
        block = self.block(i)
        kernel = kernel.reshape(*lead, i // block, block, o)
        scale = xp.maximum(xp.abs(kernel).max(-2), SMALLEST).astype(ml_dtypes.bfloat16)
        kernel = kernel / scale.astype(np.float32)[..., None, :]
        codes = xp.zeros(kernel.shape, np.uint8)
        for low, high in zip(self.table[:-1], self.table[1:], strict=True):
            codes = codes + (kernel > np.float32((low + high) / 2)).astype(np.uint8)
        low, high = codes[..., : block // 2, :], codes[..., block // 2 :, :]
        return (low | (high << 4)).reshape(*lead, i // 2, o), scale

    def dequantize(self, values: Any, scale: Any, dtype: DTypeLike = np.float32) -> Any:
        """Return the weights."""
        xp = _namespace(values)
        *lead, half, o = values.shape
        blocks = scale.shape[-2]
        values = values.reshape(*lead, blocks, half // blocks, o)
        codes = xp.concatenate([values & 15, values >> 4], -2)
        # A tree of selections is fused into the product that follows; a lookup in a table is not.
        numbers: list[Any] = [np.float32(x) for x in self.table]
        for bit in range(4):
            is_set = (codes >> bit) & 1 == 1
            numbers = [
                xp.where(is_set, high, low)
                for low, high in zip(numbers[::2], numbers[1::2], strict=True)
            ]  # fmt: skip
        weights = numbers[0] * scale.astype(np.float32)[..., None, :]
        return weights.reshape(*lead, 2 * half, o).astype(dtype)

    def multiply(self, x: Array, values: Array, scale: Array) -> Array:
        """Return x times the weights."""
        return x @ self.dequantize(values, scale, x.dtype)

    def multiply_transposed(self, y: Array, values: Array, scale: Array) -> Array:
        """Return y times the transposed weights."""
        return y @ self.dequantize(values, scale, y.dtype).T


FORMATS: dict[str, WeightFormat] = {
    "int8": ChannelScales(np.dtype(np.int8), 127.0),
    "fp8": ChannelScales(np.dtype(ml_dtypes.float8_e4m3fn), 448.0),
    "nf4": NormalFloat(np.dtype(np.uint8), tuple(map(float, _normal_quantiles()))),
}


def is_quantized(part: str, path: str, weights_dtype: WeightsDtype | None) -> bool:
    """Return whether a parameter is stored in few bits.

    Args:
      part: one of `ModelConfig.parts`.
      path: such as "blocks/ffn/up/kernel".
      weights_dtype: of the model's weights; None for their own.
    """
    return (
        weights_dtype in FORMATS and part_kind(part) in QUANTIZED_PARTS and bool(QUANTIZED_PATHS.match(path))
    )


def format_name(dtype: DTypeLike) -> WeightsDtype | None:
    """Return the format whose numbers have a type; None for a floating-point type of more than 8 bits."""
    names: list[Any] = [name for name, stored in FORMATS.items() if stored.dtype == dtype]
    return names[0] if names else None


def find_format(values: AnyArray) -> WeightFormat:
    """Return the format of a kernel's numbers, by their type."""
    name = format_name(values.dtype)
    assert name is not None, f"kernels with scales are in {', '.join(FORMATS)}, not {values.dtype}"
    return FORMATS[name]


def scale_path(path: str) -> str:
    """Return the path of a kernel's scales."""
    return path.removesuffix("kernel") + SCALE


def weight_shape(values: AnyArray | jax.ShapeDtypeStruct, scale: Any | None) -> tuple[int, ...]:
    """Return the shape [i, o], or with layers in front, of the weights that a kernel stands for.

    Args:
      values: the kernel.
      scale: its scales; None where it is in a floating-point type.
    """
    name = None if scale is None else format_name(values.dtype)
    return tuple(values.shape) if name is None else FORMATS[name].weight_shape(tuple(values.shape))


def quantize_host(
    kernel: Float[np.ndarray, "*L i o"], weights_dtype: WeightsDtype
) -> tuple[np.ndarray, np.ndarray]:
    """Return a kernel in few bits and its scales, computed on the host, a layer at a time.

    Args:
      kernel: weights, [i, o] or with layers in front.
      weights_dtype: a name of `FORMATS`.
    """
    stored = FORMATS[weights_dtype]
    if kernel.ndim == 2:
        return stored.quantize(np.asarray(kernel, np.float32))
    values, scale = (np.empty(x.shape, x.dtype) for x in stored.abstract(kernel.shape))
    for layer, weights in enumerate(kernel):
        values[layer], scale[layer] = stored.quantize(np.asarray(weights, np.float32))
    return values, scale


def dequantize(values: Any, scale: Any) -> Any:
    """Return the float32 weights [..., i, o] that a kernel in few bits stands for, an array of numpy or JAX as it is."""
    return find_format(values).dequantize(values, scale)


def update(values: Any, scale: Any, addend: Callable[[Any], Float[Array, "i o"]]) -> tuple[Array, Array]:
    """Return weights with something added, in as few bits again; a layer at a time, so that one is in memory as float32.

    Args:
      values: the kernel, [i, o] or with layers in front.
      scale: its scales.
      addend: of a layer's index, or of `...` where there are no layers.
    """
    values, scale = jnp.asarray(values), jnp.asarray(scale)
    stored = find_format(values)
    if values.ndim == 2:
        return stored.quantize(stored.dequantize(values, scale) + addend(...))

    def update_layer(layer: Array) -> tuple[Array, Array]:
        return stored.quantize(stored.dequantize(values[layer], scale[layer]) + addend(layer))

    return jax.lax.map(update_layer, jnp.arange(values.shape[0]))


@dataclass(frozen=True)
class QuantizedKernel:
    """The kernel of one layer in few bits.

    Attributes:
      values: its numbers.
      scale: their scales.
    """

    values: Array
    scale: Array

    def multiply(self, x: Float[Array, "*b i"]) -> Float[Array, "*b o"]:
        """Return x times the weights, in the type of x."""
        return multiply(x, self.values, self.scale)

    def dequantize(self) -> Float[Array, "i o"]:
        """Return the weights, float32."""
        return dequantize(self.values, self.scale)


def find_kernel(module: nn.Module) -> QuantizedKernel | None:
    """Return a layer's kernel in few bits; None where it is in a floating-point type."""
    if not module.has_variable("params", SCALE):
        return None
    return QuantizedKernel(*(module.get_variable("params", name) for name in ("kernel", SCALE)))


@jax.custom_vjp
def multiply(x: Float[Array, "*b i"], values: Array, scale: Array) -> Float[Array, "*b o"]:
    """Return x times the weights that few bits stand for, in the type of x.

    The gradient with respect to x is that of the same weights; there is none with respect to numbers and scales, which are frozen.
    """
    return find_format(values).multiply(x, values, scale)


def _multiply_forward(x, values, scale):
    # Not the weights in the type of x, which the scan over layers would keep for all layers.
    return multiply(x, values, scale), (values, scale)


def _multiply_backward(residuals, dy):
    values, scale = residuals
    return find_format(values).multiply_transposed(dy, values, scale), None, None


multiply.defvjp(_multiply_forward, _multiply_backward)


class RoundingError:
    """The error of weights rounded to few bits, summed over kernels as they are read."""

    def __init__(self):
        self._signal = self._error = 0.0

    def add(self, kernel: Float[np.ndarray, "*L i o"], values: np.ndarray, scale: np.ndarray) -> None:
        """Add a kernel: its weights before, and `quantize_host` of them."""
        layers = [...] if kernel.ndim == 2 else range(len(kernel))
        for layer in layers:
            weights = np.asarray(kernel[layer], np.float32)
            error = weights - dequantize(values[layer], scale[layer])
            self._signal += float(np.vdot(weights, weights))
            self._error += float(np.vdot(error, error))

    @property
    def decibels(self) -> float | None:
        """Return by how many dB the error lies below the weights; None before any error."""
        return 10 * float(np.log10(self._signal / self._error)) if self._signal and self._error else None


def _namespace(x: Any) -> Any:
    """Return numpy for its arrays, jax.numpy for those of JAX."""
    return np if isinstance(x, np.ndarray) else jnp
