"""Layers of the autoencoder that know about chunks, meshes and platforms: convolutions, norm, resampling without parameters.

A video may be coded whole or in chunks (autoencoder_streaming.py). In chunks every layer that looks back in time keeps the last frames it
saw, in the collection `stream`, and all chunks run through the same code: before the first chunk the frames kept are zeros, which is how the
whole video is padded. The first chunk holds one frame, the first of the video, behind padding that makes it as long as the others. Layers get
`start`, whether a chunk is the first: then all frames but the last are padding, and what follows in time must see zeros there (`hide_padding`).
"""

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jax.typing import DTypeLike

from v2v.array_types import Array, Bool, Float
from v2v.runtime.platform import product_dtype, target_platform
from v2v.runtime.sharding import AXES, BATCH_AXES

# Fewest rows and columns on a device: XLA (jaxlib 0.10.2) computes wrong 3x3 convolutions on 1x1 pieces.
MIN_SHARD_SIDE = 2

FeatureMap = Float[Array, "b T H W c"]
# A layer's output, which may differ from its input in all but the batch.
OutputMap = Float[Array, "b T2 H2 W2 c2"]
# Whether a chunk is the first of a video; None where the whole video is coded at once.
Start = Bool[Array, ""] | None


class CausalConv(nn.Module):
    """A 3-D convolution, zero-padded by k - 1 frames on the left in time and evenly in space.

    The temporal taps are put side by side as channels of one 2-D convolution: the same sum, several times faster on CPUs than a 3-D
    convolution and no slower on GPUs. TPUs get the 3-D convolution, which needs no copy of the taps.

    In chunks, the frames kept for the next chunk have the type in which the device multiplies (`platform.product_dtype`): half the memory
    on TPUs, and nothing lost.

    Attributes:
      features: output channels.
      kernel: size in time, height and width.
      dtype: type of the convolution; parameters are float32.
      stride_t: stride in time.
      pad_t: whether to pad in time; without, there are k - 1 frames less.
      zero: whether weights start at zero, for a residual branch without effect at first.
      bias_std: standard deviation of the initial bias.
    """

    features: int
    kernel: tuple[int, int, int] = (3, 3, 3)
    dtype: DTypeLike = jnp.float32
    stride_t: int = 1
    pad_t: bool = True
    zero: bool = False
    bias_std: float = 0.0

    @nn.compact
    def __call__(self, x: FeatureMap, start: Start = None) -> Float[Array, "b T2 H W c2"]:
        """Convolve."""
        kt, kh, kw = self.kernel
        init = nn.initializers.zeros if self.zero else _conv_init
        weight = self.param("kernel", init, (*self.kernel, x.shape[-1], self.features), jnp.float32)
        bias = self.param("bias", nn.initializers.normal(self.bias_std), (self.features,), jnp.float32)
        # Only chunks: gradients of products of one type that return another are not there.
        dtype = self.dtype if start is None else product_dtype(self.dtype)
        x, weight = x.astype(dtype), weight.astype(dtype)
        if self.pad_t and kt > 1:
            if start is None:
                x = _pad_front(x, kt - 1)
            else:
                x = hide_padding(x, start)
                x = jnp.concatenate([exchange_history(self, x, kt - 1), x], 1)
        padding = ((kh // 2, kh // 2), (kw // 2, kw // 2))
        if target_platform() == "tpu":
            y = _convolve(x, weight, (self.stride_t, 1, 1), ((0, 0), *padding), self.dtype)
            return y + bias.astype(self.dtype)
        frames = (x.shape[1] - kt) // self.stride_t + 1
        taps = [x[:, i : i + (frames - 1) * self.stride_t + 1 : self.stride_t] for i in range(kt)]
        taps = jnp.concatenate(taps, -1)
        weight = weight.transpose(1, 2, 0, 3, 4).reshape(kh, kw, -1, self.features)
        b, T, H, W, c = taps.shape
        y = _convolve(taps.reshape(b * T, H, W, c), weight, (1, 1), padding, self.dtype)
        return y.reshape(b, T, *y.shape[1:]) + bias.astype(self.dtype)


class Conv2d(nn.Module):
    """A convolution of every frame by itself.

    Attributes:
      features: output channels.
      kernel: height and width.
      dtype: type of the convolution; parameters are float32.
      stride: stride in height and width.
      pad: zeros before and after, in both directions.
      zero: whether weights start at zero.
    """

    features: int
    kernel: int
    dtype: DTypeLike
    stride: int = 1
    pad: tuple[int, int] = (0, 0)
    zero: bool = False

    @nn.compact
    def __call__(self, x: FeatureMap) -> Float[Array, "b T H2 W2 c2"]:
        """Convolve."""
        k = self.kernel
        init = nn.initializers.zeros if self.zero else _conv_init
        weight = self.param("kernel", init, (k, k, x.shape[-1], self.features), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        b, T = x.shape[:2]
        x = x.astype(self.dtype).reshape(b * T, *x.shape[2:])
        y = _convolve(x, weight.astype(self.dtype), (self.stride,) * 2, (self.pad, self.pad), self.dtype)
        return y.reshape(b, T, *y.shape[1:]) + bias.astype(self.dtype)


class ChannelNorm(nn.Module):
    """x / max(|x|, 1e-12) · √c · gamma over channels, normalized in float32.

    Attributes:
      gain: initial value of gamma.
    """

    gain: float = 1.0

    @nn.compact
    def __call__(self, x: FeatureMap) -> FeatureMap:
        """Normalize."""
        gamma = self.param("gamma", nn.initializers.constant(self.gain), (x.shape[-1],), jnp.float32)
        f = x.astype(jnp.float32)
        # 1e-24 inside the root is the published clamp of the norm at 1e-12, with a gradient at zero.
        f = f * jax.lax.rsqrt(jnp.maximum((f * f).sum(-1, keepdims=True), 1e-24))
        return (f * (x.shape[-1] ** 0.5) * gamma).astype(x.dtype)


def avg_down(x: FeatureMap, ft: int, fs: int, out: int) -> OutputMap:
    """Downsample without parameters: space-time to channels (c, ft, fs, fs), then means over runs of channels.

    Args:
      x: feature map; frames are padded with zeros in front to a multiple of `ft`.
      ft: factor in time.
      fs: factor in height and width.
      out: output channels.
    """
    x = _pad_front(x, -x.shape[1] % ft)
    b, T, H, W, c = x.shape
    x = x.reshape(b, T // ft, ft, H // fs, fs, W // fs, fs, c).transpose(0, 1, 3, 5, 7, 2, 4, 6)
    return x.reshape(b, T // ft, H // fs, W // fs, out, -1).mean(-1)


def dup_up(x: FeatureMap, ft: int, fs: int, out: int, drops: bool = True) -> OutputMap:
    """Upsample without parameters: repeat channels, then channels (out, ft, fs, fs) to space-time.

    Args:
      x: feature map.
      ft: factor in time.
      fs: factor in height and width.
      out: output channels.
      drops: whether to drop the first ft - 1 frames: `x` is a whole video, whose first frame isn't repeated in time.
    """
    b, T, H, W, c = x.shape
    x = jnp.repeat(x, out * ft * fs * fs // c, -1).reshape(b, T, H, W, out, ft, fs, fs)
    x = x.transpose(0, 1, 5, 2, 6, 3, 7, 4).reshape(b, T * ft, H * fs, W * fs, out)
    return x[:, ft - 1 :] if drops else x


def _pad_front(x: FeatureMap, frames: int) -> OutputMap:
    return jnp.pad(x, ((0, 0), (frames, 0), (0, 0), (0, 0), (0, 0)))


def _convolve(
    x: Array, weight: Array, strides: tuple[int, ...], padding: tuple[tuple[int, int], ...], dtype: DTypeLike
) -> Array:
    """Return the convolution of channels-last `x`, over as many axes as there are strides, in `dtype`."""
    axes = "DHW"[-len(strides) :]
    numbers = (f"N{axes}C", f"{axes}IO", f"N{axes}C")
    out = None if x.dtype == dtype else dtype
    return jax.lax.conv_general_dilated(
        x, weight, strides, padding, dimension_numbers=numbers, preferred_element_type=out
    )


_conv_init = nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal")


def exchange_history(module: nn.Module, x: FeatureMap, frames: int) -> Float[Array, "b T2 H W c"]:
    """Return the last frames of the previous chunk, zeros before the first, and store those of this one for the next.

    Args:
      module: the layer that keeps them, in the collection `stream`.
      x: its input in this chunk, zero where it is padding.
      frames: number of frames to keep.
    """
    shape = (x.shape[0], frames, *x.shape[2:])
    history = module.get_variable("stream", "past", jnp.zeros(shape, x.dtype))
    recent = x if x.shape[1] >= frames else jnp.concatenate([history, x], 1)
    module.put_variable("stream", "past", constrain_video(recent[:, recent.shape[1] - frames :]))
    return history


def exchange_start(module: nn.Module) -> Start:
    """Return whether this chunk is the first, and store that the next is not; None where the whole video is coded at once.

    Args:
      module: the one that keeps it, in the collection `stream`.
    """
    if not module.is_mutable_collection("stream") or module.is_initializing():
        return None
    start = module.get_variable("stream", "start", jnp.asarray(True))
    module.put_variable("stream", "start", jnp.asarray(False))
    return start


def hide_padding(x: FeatureMap, start: Start) -> FeatureMap:
    """Return `x` with zeros in place of all frames but the last where `start`; unchanged where the whole video is coded at once."""
    if start is None or x.shape[1] == 1:
        return x
    is_padding = start & (jnp.arange(x.shape[1]) < x.shape[1] - 1)
    return jnp.where(is_padding[:, None, None, None], jnp.zeros((), x.dtype), x)


def constrain_video(x: FeatureMap) -> FeatureMap:
    """Return `x`, distributed over the mesh in use (`jax.set_mesh`) by `video_partition_spec`; unchanged without a mesh."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1 or set(mesh.axis_names) != set(AXES):
        return x
    return jax.lax.with_sharding_constraint(x, video_partition_spec(x.shape, mesh.shape))


def video_partition_spec(shape: tuple[int, ...], mesh: Mapping[str, int]) -> PartitionSpec:
    """Return how a video or feature map is divided over a mesh.

    Mesh axes that divide the batch split it. The others are given, one by one, to the longer side of the rectangle where they divide
    it, else to the other side: rectangles stay near squares, whose borders are short, and the split is the same at every resolution. An
    axis that divides neither side into pieces of at least `MIN_SHARD_SIDE` repeats the work.

    Args:
      shape: (b, T, H, W, c).
      mesh: sizes of the mesh axes by name.
    """
    b, _, rows, columns, _ = shape
    is_batch_split = b % (mesh[BATCH_AXES[0]] * mesh[BATCH_AXES[1]]) == 0
    sizes = {"rows": rows, "columns": columns}
    axes: dict[str, tuple[str, ...]] = {"rows": (), "columns": ()}
    for axis in AXES:
        if mesh[axis] == 1 or (is_batch_split and axis in BATCH_AXES):
            continue
        for side in sorted(sizes, key=lambda side: sizes[side], reverse=True):
            if sizes[side] % mesh[axis] == 0 and sizes[side] // mesh[axis] >= MIN_SHARD_SIDE:
                sizes[side] //= mesh[axis]
                axes[side] += (axis,)
                break
    return PartitionSpec(
        BATCH_AXES if is_batch_split else None, None, axes["rows"] or None, axes["columns"] or None, None
    )
