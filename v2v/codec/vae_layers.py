"""What the VAE is built of: causal convolutions, norms, residual and resampling blocks. **vae_layers** → vae.py.

Two rules hold in every layer: it looks only back in time, and inside a stream (stream.py) it remembers through `carry` the last
frames it saw, so that a video coded in chunks comes out as the whole would.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from v2v.codec.spatial import spread
from v2v.shapes import Array, Float

FMap = Float[Array, "b T H W c"]


class CausalConv(nn.Module):
    """Conv3d, zero-padded by k-1 frames on the left in time and evenly in space.

    The temporal taps are laid side by side as channels of one 2-D convolution: the same sum, several times faster on CPUs than
    a 3-D convolution and no slower elsewhere.
    """

    features: int
    kernel: tuple[int, int, int] = (3, 3, 3)
    dtype: jnp.dtype = jnp.float32
    stride_t: int = 1
    pad_t: bool = True
    zero: bool = False  # start at zero: a residual branch that is silent at first
    bias_std: float = 0.0

    @nn.compact
    def __call__(self, x: FMap) -> FMap:
        kt, kh, kw = self.kernel
        init = nn.initializers.zeros if self.zero else _conv_init
        weight = self.param("kernel", init, (*self.kernel, x.shape[-1], self.features), jnp.float32)
        bias = self.param("bias", nn.initializers.normal(self.bias_std), (self.features,), jnp.float32)
        x, weight = x.astype(self.dtype), weight.astype(self.dtype)
        if self.pad_t and kt > 1:
            past = carry(self, x, kt - 1)
            x = _pad_front(x, kt - 1) if past is None else jnp.concatenate([past, x], 1)
        frames = (x.shape[1] - kt) // self.stride_t + 1
        taps = [x[:, i : i + (frames - 1) * self.stride_t + 1 : self.stride_t] for i in range(kt)]
        taps = jnp.concatenate(taps, -1)
        weight = weight.transpose(1, 2, 0, 3, 4).reshape(kh, kw, -1, self.features)
        b, T, H, W, c = taps.shape
        y = _conv2d(taps.reshape(b * T, H, W, c), weight, 1, ((kh // 2,) * 2, (kw // 2,) * 2))
        return y.reshape(b, T, *y.shape[1:]) + bias.astype(self.dtype)


class Conv2d(nn.Module):
    """A convolution of every frame by itself."""

    features: int
    kernel: int
    dtype: jnp.dtype
    stride: int = 1
    pad: tuple[int, int] = (0, 0)  # before and after, on both sides
    zero: bool = False

    @nn.compact
    def __call__(self, x: FMap) -> FMap:
        k = self.kernel
        init = nn.initializers.zeros if self.zero else _conv_init
        weight = self.param("kernel", init, (k, k, x.shape[-1], self.features), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        b, T = x.shape[:2]
        x = x.astype(self.dtype).reshape(b * T, *x.shape[2:])
        y = _conv2d(x, weight.astype(self.dtype), self.stride, (self.pad, self.pad))
        return y.reshape(b, T, *y.shape[1:]) + bias.astype(self.dtype)


class ChannelNorm(nn.Module):
    """x / max(|x|, 1e-12) · √c · gamma over channels, normalised in float32."""

    gain: float = 1.0  # of gamma at first

    @nn.compact
    def __call__(self, x: FMap) -> FMap:
        gamma = self.param("gamma", nn.initializers.constant(self.gain), (x.shape[-1],), jnp.float32)
        f = x.astype(jnp.float32)
        # 1e-24 inside the root is the published clamp of the norm at 1e-12, with a gradient at zero
        f = f * jax.lax.rsqrt(jnp.maximum((f * f).sum(-1, keepdims=True), 1e-24))
        return (f * (x.shape[-1] ** 0.5) * gamma).astype(x.dtype)


class ResBlock(nn.Module):
    features: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: FMap) -> FMap:
        x = spread(x)
        h = CausalConv(self.features, dtype=self.dtype, name="conv1")(nn.silu(ChannelNorm(name="norm1")(x)))
        h = CausalConv(self.features, dtype=self.dtype, zero=True, name="conv2")(
            nn.silu(ChannelNorm(name="norm2")(h))
        )
        if x.shape[-1] != self.features:
            x = CausalConv(self.features, (1, 1, 1), dtype=self.dtype, name="shortcut")(x)
        return spread(x + h)


class Middle(nn.Module):
    features: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: FMap) -> FMap:
        x = ResBlock(self.features, self.dtype, name="res_0")(x)
        x = FrameAttention(self.dtype, name="attention")(x)
        return ResBlock(self.features, self.dtype, name="res_1")(x)


class FrameAttention(nn.Module):
    """One head over the positions of each frame."""

    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: FMap) -> FMap:
        b, T, H, W, c = x.shape
        qkv = Conv2d(3 * c, 1, self.dtype, name="to_qkv")(ChannelNorm(name="norm")(x))
        q, k, v = jnp.split(qkv.reshape(b * T, H * W, 3 * c), 3, -1)
        logits = jnp.einsum("blc,bsc->bls", q, k, preferred_element_type=jnp.float32)
        weights = nn.softmax(logits * c**-0.5).astype(self.dtype)
        out = jnp.einsum("bls,bsc->blc", weights, v).reshape(x.shape)
        return x + Conv2d(c, 1, self.dtype, zero=True, name="proj")(out)


class Downsample(nn.Module):
    """Halves space; halves time too when asked, passing frame 0 through unconvolved."""

    features: int
    in_time: bool
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: FMap) -> FMap:
        x = Conv2d(self.features, 3, self.dtype, stride=2, pad=(0, 1), zero=True, name="conv")(x)
        if not self.in_time:
            return x
        conv = CausalConv(self.features, (3, 1, 1), self.dtype, stride_t=2, pad_t=False, name="time_conv")
        past = carry(self, x, 1)
        if past is not None:
            return conv(jnp.concatenate([past, x], 1))
        if x.shape[1] < 3:  # a single frame has no window; the convolution must still own its parameters
            conv(jnp.zeros((1, 3, 1, 1, x.shape[-1]), x.dtype))
            return x[:, :1]
        return jnp.concatenate([x[:, :1], conv(x)], 1)


class Upsample(nn.Module):
    """Doubles space (nearest); doubles time too when asked, all frames but the first."""

    features: int
    in_time: bool
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: FMap) -> FMap:
        if self.in_time:
            conv = CausalConv(2 * x.shape[-1], (3, 1, 1), self.dtype, name="time_conv")
            alone = int(carry(self, x, 0) is None)  # frames that are not doubled: the first of a video
            b, T, H, W, c = x.shape
            pairs = conv(x[:, alone:]).reshape(b, T - alone, H, W, 2, c).transpose(0, 1, 4, 2, 3, 5)
            x = jnp.concatenate([x[:, :alone], pairs.reshape(b, 2 * (T - alone), H, W, c)], 1)
        x = spread(jnp.repeat(jnp.repeat(x, 2, 2), 2, 3))
        return Conv2d(self.features, 3, self.dtype, pad=(1, 1), zero=True, name="conv")(x)


def avg_down(x: FMap, ft: int, fs: int, out: int) -> FMap:
    """Space-time to channels (c, ft, fs, fs), then means over runs of channels; frames are padded with zeros in front."""
    x = _pad_front(x, -x.shape[1] % ft)
    b, T, H, W, c = x.shape
    x = x.reshape(b, T // ft, ft, H // fs, fs, W // fs, fs, c).transpose(0, 1, 3, 5, 7, 2, 4, 6)
    return x.reshape(b, T // ft, H // fs, W // fs, out, -1).mean(-1)


def dup_up(x: FMap, ft: int, fs: int, out: int, first: bool = True) -> FMap:
    """The adjoint shape: repeat channels, then channels (out, ft, fs, fs) to space-time; the first ft-1 frames of a video are dropped."""
    b, T, H, W, c = x.shape
    x = jnp.repeat(x, out * ft * fs * fs // c, -1).reshape(b, T, H, W, out, ft, fs, fs)
    x = x.transpose(0, 1, 5, 2, 6, 3, 7, 4).reshape(b, T * ft, H * fs, W * fs, out)
    return x[:, ft - 1 :] if first else x


def carry(module: nn.Module, x: FMap, frames: int) -> FMap | None:
    """Streaming (stream.py): the last `frames` frames of `x` in the chunk before, None at the start of a video.

    This chunk's are kept for the next in the collection `stream`. Where that collection isn't mutable, always None.
    """
    if not streaming(module):
        return None
    past = module.get_variable("stream", "past")
    seen = x if past is None else jnp.concatenate([past, x], 1)
    seen = _pad_front(seen, max(0, frames - seen.shape[1]))
    module.put_variable("stream", "past", spread(seen[:, seen.shape[1] - frames :]))
    return past


def streaming(module: nn.Module) -> bool:
    return module.is_mutable_collection("stream") and not module.is_initializing()


def _pad_front(x: FMap, frames: int) -> FMap:
    return jnp.pad(x, ((0, 0), (frames, 0), (0, 0), (0, 0), (0, 0)))


def _conv2d(x, weight, stride, padding):
    return jax.lax.conv_general_dilated(
        x, weight, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


_conv_init = nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal")
