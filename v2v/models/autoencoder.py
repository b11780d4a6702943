"""frames ↔ latents: the Wan2.2-type causal 3-D VAE. video.py → **vae** → models/conditioning.py.

Pixels in [-1, 1], channels last. T = 1 + 4n frames become 1 + n latent frames; frame 0 stands alone, so an image is a video of
one frame. Every temporal convolution looks only back: encoding a prefix gives the prefix of the latents.
  encode: unshuffle by `patch` → conv → [stage: residual blocks, ↓2] + AvgDown → middle → conv → mode → (z - mean) / std
  decode: the mirror, with [stage: residual blocks, ↑2] + DupUp
AvgDown and DupUp carry the signal past each stage without parameters. Channel orders and the special first frame follow the
published implementation (reference wan22.md, section b), so its weights load by renaming alone.

Here stand the model and its two halves. autoencoder.py holds what they are built of, autoencoder_streaming.py runs them a few frames at a time,
autoencoder.py says how a mesh of devices shares the work.

How a mesh shares a video inside the VAE: rows and columns of every frame. **spatial** → autoencoder.py, vae.py.

A full-size clip is too large for one chip in pixels, not in weights: every device holds the whole VAE and a rectangle of every
frame, and the compiler exchanges the borders that convolutions look at (halos). Only the middle attention, at latent size, sees
whole frames. Clips come first: mesh axes that divide the batch split it. The others are given, one by one, to the longer side of
the rectangle where they divide it, else to the other side, which keeps rectangles near squares (short borders) and the split the
same at every resolution; an axis that divides neither side into pieces of at least two repeats the work.

What the VAE is built of: causal convolutions, norms, residual and resampling blocks. **vae_layers** → vae.py.

Two rules hold in every layer: it looks only back in time, and inside a stream (autoencoder_streaming.py) it remembers through `carry` the last
frames it saw, so that a video coded in chunks comes out as the whole would.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from v2v.array_types import Array, Float, Latents, Video
from v2v.config import VAEConfig
from v2v.runtime.sharding import AXES, BATCH_AXES

MIN_SHARD_SIDE = (
    2  # rows and columns on a device: XLA (jaxlib 0.10.2) computes wrong 3x3 convolutions on 1x1 pieces
)


def constrain_video(x: Float[Array, "b T H W c"]) -> Float[Array, "b T H W c"]:
    """`x`, laid out over the mesh in use (`jax.set_mesh`); untouched without one."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1 or set(mesh.axis_names) != set(AXES):
        return x
    return jax.lax.with_sharding_constraint(x, video_partition_spec(x.shape, mesh.shape))


def video_partition_spec(shape: tuple[int, ...], mesh: dict[str, int]) -> PartitionSpec:
    """Of [b, T, H, W, c] on a mesh of these axis sizes."""
    b, _, rows, columns, _ = shape
    split_batch = b % (mesh[BATCH_AXES[0]] * mesh[BATCH_AXES[1]]) == 0
    sides, over = {"rows": rows, "columns": columns}, {"rows": (), "columns": ()}
    for axis in AXES:
        if mesh[axis] == 1 or (split_batch and axis in BATCH_AXES):
            continue
        for side in sorted(sides, key=sides.get, reverse=True):
            if sides[side] % mesh[axis] == 0 and sides[side] // mesh[axis] >= MIN_SHARD_SIDE:
                sides[side] //= mesh[axis]
                over[side] += (axis,)
                break
    return PartitionSpec(
        BATCH_AXES if split_batch else None, None, over["rows"] or None, over["columns"] or None, None
    )


FeatureMap = Float[Array, "b T H W c"]


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
    def __call__(self, x: FeatureMap) -> FeatureMap:
        kt, kh, kw = self.kernel
        init = nn.initializers.zeros if self.zero else _conv_init
        weight = self.param("kernel", init, (*self.kernel, x.shape[-1], self.features), jnp.float32)
        bias = self.param("bias", nn.initializers.normal(self.bias_std), (self.features,), jnp.float32)
        x, weight = x.astype(self.dtype), weight.astype(self.dtype)
        if self.pad_t and kt > 1:
            past = prepend_history(self, x, kt - 1)
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
    def __call__(self, x: FeatureMap) -> FeatureMap:
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
    def __call__(self, x: FeatureMap) -> FeatureMap:
        gamma = self.param("gamma", nn.initializers.constant(self.gain), (x.shape[-1],), jnp.float32)
        f = x.astype(jnp.float32)
        # 1e-24 inside the root is the published clamp of the norm at 1e-12, with a gradient at zero
        f = f * jax.lax.rsqrt(jnp.maximum((f * f).sum(-1, keepdims=True), 1e-24))
        return (f * (x.shape[-1] ** 0.5) * gamma).astype(x.dtype)


class ResBlock(nn.Module):
    features: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: FeatureMap) -> FeatureMap:
        x = constrain_video(x)
        h = CausalConv(self.features, dtype=self.dtype, name="conv1")(nn.silu(ChannelNorm(name="norm1")(x)))
        h = CausalConv(self.features, dtype=self.dtype, zero=True, name="conv2")(
            nn.silu(ChannelNorm(name="norm2")(h))
        )
        if x.shape[-1] != self.features:
            x = CausalConv(self.features, (1, 1, 1), dtype=self.dtype, name="shortcut")(x)
        return constrain_video(x + h)


class Middle(nn.Module):
    features: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: FeatureMap) -> FeatureMap:
        x = ResBlock(self.features, self.dtype, name="res_0")(x)
        x = FrameAttention(self.dtype, name="attention")(x)
        return ResBlock(self.features, self.dtype, name="res_1")(x)


class FrameAttention(nn.Module):
    """One head over the positions of each frame."""

    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: FeatureMap) -> FeatureMap:
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
    def __call__(self, x: FeatureMap) -> FeatureMap:
        x = Conv2d(self.features, 3, self.dtype, stride=2, pad=(0, 1), zero=True, name="conv")(x)
        if not self.in_time:
            return x
        conv = CausalConv(self.features, (3, 1, 1), self.dtype, stride_t=2, pad_t=False, name="time_conv")
        past = prepend_history(self, x, 1)
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
    def __call__(self, x: FeatureMap) -> FeatureMap:
        if self.in_time:
            conv = CausalConv(2 * x.shape[-1], (3, 1, 1), self.dtype, name="time_conv")
            alone = int(
                prepend_history(self, x, 0) is None
            )  # frames that are not doubled: the first of a video
            b, T, H, W, c = x.shape
            pairs = conv(x[:, alone:]).reshape(b, T - alone, H, W, 2, c).transpose(0, 1, 4, 2, 3, 5)
            x = jnp.concatenate([x[:, :alone], pairs.reshape(b, 2 * (T - alone), H, W, c)], 1)
        x = constrain_video(jnp.repeat(jnp.repeat(x, 2, 2), 2, 3))
        return Conv2d(self.features, 3, self.dtype, pad=(1, 1), zero=True, name="conv")(x)


def avg_down(x: FeatureMap, ft: int, fs: int, out: int) -> FeatureMap:
    """Space-time to channels (c, ft, fs, fs), then means over runs of channels; frames are padded with zeros in front."""
    x = _pad_front(x, -x.shape[1] % ft)
    b, T, H, W, c = x.shape
    x = x.reshape(b, T // ft, ft, H // fs, fs, W // fs, fs, c).transpose(0, 1, 3, 5, 7, 2, 4, 6)
    return x.reshape(b, T // ft, H // fs, W // fs, out, -1).mean(-1)


def dup_up(x: FeatureMap, ft: int, fs: int, out: int, first: bool = True) -> FeatureMap:
    """The adjoint shape: repeat channels, then channels (out, ft, fs, fs) to space-time; the first ft-1 frames of a video are dropped."""
    b, T, H, W, c = x.shape
    x = jnp.repeat(x, out * ft * fs * fs // c, -1).reshape(b, T, H, W, out, ft, fs, fs)
    x = x.transpose(0, 1, 5, 2, 6, 3, 7, 4).reshape(b, T * ft, H * fs, W * fs, out)
    return x[:, ft - 1 :] if first else x


def prepend_history(module: nn.Module, x: FeatureMap, frames: int) -> FeatureMap | None:
    """Streaming (autoencoder_streaming.py): the last `frames` frames of `x` in the chunk before, None at the start of a video.

    This chunk's are kept for the next in the collection `stream`. Where that collection isn't mutable, always None.
    """
    if not is_streaming(module):
        return None
    past = module.get_variable("stream", "past")
    seen = x if past is None else jnp.concatenate([past, x], 1)
    seen = _pad_front(seen, max(0, frames - seen.shape[1]))
    module.put_variable("stream", "past", constrain_video(seen[:, seen.shape[1] - frames :]))
    return past


def is_streaming(module: nn.Module) -> bool:
    return module.is_mutable_collection("stream") and not module.is_initializing()


def _pad_front(x: FeatureMap, frames: int) -> FeatureMap:
    return jnp.pad(x, ((0, 0), (frames, 0), (0, 0), (0, 0), (0, 0)))


def _conv2d(x, weight, stride, padding):
    return jax.lax.conv_general_dilated(
        x, weight, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


_conv_init = nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal")


class VAE(nn.Module):
    """`vae.apply(params, video, method="encode")` and `method="decode"`."""

    cfg: VAEConfig

    def setup(self):
        cfg = self.cfg
        self.encoder = Encoder(cfg)
        self.quant_conv = CausalConv(2 * cfg.z_dim, (1, 1, 1), dtype=jnp.dtype(cfg.dtype))
        self.post_quant_conv = CausalConv(cfg.z_dim, (1, 1, 1), dtype=jnp.dtype(cfg.dtype))
        self.decoder = Decoder(cfg)

    def __call__(self, video: Video) -> Video:
        return self.decode(self.encode(video))

    def encode(self, video: Video) -> Latents:
        """Video in [-1, 1] to normalised latents, float32: the mode, never a sample."""
        b, T, H, W, _ = video.shape
        if not is_streaming(self):
            self.cfg.latent_shape(T, H, W)  # raises with the remedy when the size doesn't fit
        h = self.quant_conv(self.encoder(constrain_video(space_to_channels(video, self.cfg.patch))))
        return constrain_video((h[..., : self.cfg.z_dim].astype(jnp.float32) - self._mean()) / self._std())

    def decode(self, z: Latents) -> Video:
        """Normalised latents to video in [-1, 1], float32, clipped."""
        z = z * self._std() + self._mean()
        h = self.decoder(self.post_quant_conv(constrain_video(z))).astype(jnp.float32)
        return constrain_video(jnp.clip(channels_to_space(h, self.cfg.patch), -1, 1))

    def reconstruct(self, video: Video, noise: Float[Array, "b t y x c"]):
        """For training: (reconstruction, unclipped, from the unnormalised latents plus `noise`; those latents)."""
        h = self.quant_conv(self.encoder(space_to_channels(video, self.cfg.patch))).astype(jnp.float32)
        mu = h[..., : self.cfg.z_dim]
        out = self.decoder(self.post_quant_conv(mu + noise)).astype(jnp.float32)
        return channels_to_space(out, self.cfg.patch), mu

    def _mean(self):
        return np.asarray(self.cfg.mean or np.zeros(self.cfg.z_dim), np.float32)

    def _std(self):
        return np.asarray(self.cfg.std or np.ones(self.cfg.z_dim), np.float32)


def space_to_channels(video: Video, p: int) -> FeatureMap:
    """Pixel unshuffle; the new channel index is (c, offset in W, offset in H): width before height."""
    b, T, H, W, c = video.shape
    video = video.reshape(b, T, H // p, p, W // p, p, c)
    return video.transpose(0, 1, 2, 4, 6, 5, 3).reshape(b, T, H // p, W // p, c * p * p)


def channels_to_space(h: FeatureMap, p: int) -> Video:
    b, T, H, W, c = h.shape
    h = h.reshape(b, T, H, W, c // (p * p), p, p)
    return h.transpose(0, 1, 2, 6, 3, 5, 4).reshape(b, T, H * p, W * p, c // (p * p))


class Encoder(nn.Module):
    cfg: VAEConfig

    @nn.compact
    def __call__(self, x: FeatureMap) -> FeatureMap:
        cfg, dtype = self.cfg, jnp.dtype(self.cfg.dtype)
        widths = [cfg.base_dim * m for m in cfg.dim_mult]
        # ChannelNorm drops magnitude: without a bias to compare with, brightness would be lost before training could help
        x = CausalConv(widths[0], dtype=dtype, bias_std=1.0, name="conv_in")(x)
        for i, width in enumerate(widths):
            shortcut, last = x, i == len(widths) - 1
            for j in range(cfg.num_res_blocks):
                x = ResBlock(width, dtype, name=f"down_{i}_res_{j}")(x)
            in_time = not last and cfg.temporal_downsample[i]
            if not last:
                x = Downsample(width, in_time, dtype, name=f"down_{i}_resample")(x)
            x = constrain_video(x + avg_down(shortcut, 1 + in_time, 1 if last else 2, width))
        x = Middle(widths[-1], dtype, name="mid")(x)
        x = nn.silu(
            ChannelNorm(0.3, name="norm_out")(x)
        )  # a small gain keeps SiLU near its linear middle at first
        return CausalConv(2 * cfg.z_dim, dtype=dtype, name="conv_out")(x)


class Decoder(nn.Module):
    cfg: VAEConfig

    @nn.compact
    def __call__(self, x: FeatureMap) -> FeatureMap:
        cfg, dtype = self.cfg, jnp.dtype(self.cfg.dtype)
        widths = [cfg.decoder_base_dim * m for m in reversed(cfg.dim_mult)]
        first = prepend_history(self, x, 0) is None
        # ChannelNorm drops magnitude: without a bias to compare with, brightness would be lost before training could help
        x = CausalConv(widths[0], dtype=dtype, bias_std=1.0, name="conv_in")(x)
        x = Middle(widths[0], dtype, name="mid")(x)
        for i, width in enumerate(widths):
            shortcut, last = x, i == len(widths) - 1
            for j in range(cfg.num_res_blocks + 1):
                x = ResBlock(width, dtype, name=f"up_{i}_res_{j}")(x)
            if not last:
                in_time = cfg.temporal_downsample[-1 - i]
                x = Upsample(width, in_time, dtype, name=f"up_{i}_resample")(x)
                x = constrain_video(x + dup_up(shortcut, 1 + in_time, 2, width, first))
        x = nn.silu(
            ChannelNorm(0.3, name="norm_out")(x)
        )  # a small gain keeps SiLU near its linear middle at first
        return CausalConv(3 * cfg.patch**2, dtype=dtype, name="conv_out")(x)
