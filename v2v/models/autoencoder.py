"""The autoencoder between frames and latents: the causal 3-D VAE of Wan2.2, and that of Wan2.1.

Pixels are in [-1, 1], channels last. T = 1 + 4n frames become 1 + n latent frames; frame 0 is encoded by itself, so an image is a video
of one frame. Every temporal convolution looks back only: encoding a prefix gives the prefix of the latents.

    encode: unshuffle by `patch` → conv → [stage: residual blocks, ↓2] + avg_down → middle → conv → mode → (z - mean) / std
    decode: the mirror image, with [stage: residual blocks, ↑2] + dup_up

`avg_down` and `dup_up` carry the signal past each stage without parameters; Wan2.1 has neither, and its decoder halves the channels where it
enlarges frames (`VAEConfig.residual`). Orders of channels and the special first frame follow the
published implementation, so its weights load by renaming alone.

Streaming: in the collection `stream` every layer keeps the last frames it saw (`exchange_history`), so that a video coded in chunks
(autoencoder_streaming.py) gives the same result as the whole.

Distribution: a full-size clip is too large for one device in pixels, not in weights. On a mesh every device holds all weights and a
rectangle of every frame (`video_partition_spec`), and the compiler exchanges the borders that convolutions look at. Only the attention
of the middle, at latent size, sees whole frames.
"""

from collections.abc import Mapping
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec
from jax.typing import DTypeLike

from v2v.array_types import Array, Float, Latents, Video
from v2v.config import VAEConfig
from v2v.runtime.sharding import AXES, BATCH_AXES

# Fewest rows and columns on a device: XLA (jaxlib 0.10.2) computes wrong 3x3 convolutions on 1x1 pieces.
MIN_SHARD_SIDE = 2

# Last stages of the decoder, of large frames and few channels, that may be applied to windows of a frame.
FINE_STAGES = 2

DecoderPart = Literal["all", "coarse", "fine"]
FeatureMap = Float[Array, "b T H W c"]
# A layer's output, which may differ from its input in all but the batch.
OutputMap = Float[Array, "b T2 H2 W2 c2"]


class VAE(nn.Module):
    """The autoencoder: `vae.apply({"params": params}, video, method="encode")`, and "decode" or "reconstruct".

    Attributes:
      cfg: sizes, and statistics of the latents.
    """

    cfg: VAEConfig

    def setup(self):
        """Create the submodules; their names are those of the parameters in files."""
        cfg = self.cfg
        self.encoder = Encoder(cfg)
        self.quant_conv = CausalConv(2 * cfg.z_dim, (1, 1, 1), dtype=jnp.dtype(cfg.dtype))
        self.post_quant_conv = CausalConv(cfg.z_dim, (1, 1, 1), dtype=jnp.dtype(cfg.dtype))
        self.decoder = Decoder(cfg)

    def __call__(self, video: Video) -> Video:
        """Encode and decode."""
        return self.decode(self.encode(video))

    def encode(self, video: Video) -> Latents:
        """Encode a video in [-1, 1] to normalized latents, float32: the mode of the distribution, never a sample.

        Raises:
          ValueError: the size doesn't fit (`VAEConfig.latent_shape`).
        """
        _, T, H, W, _ = video.shape
        if not is_streaming(self):
            self.cfg.latent_shape(T, H, W)
        h = self.quant_conv(self.encoder(constrain_video(space_to_channels(video, self.cfg.patch))))
        return constrain_video((h[..., : self.cfg.z_dim].astype(jnp.float32) - self._mean()) / self._std())

    def decode(self, z: Latents) -> Video:
        """Decode normalized latents to a video in [-1, 1], float32, clipped."""
        return self._to_video(self.decoder(self._from_latents(z)))

    def decode_coarse(self, z: Latents) -> OutputMap:
        """Apply the stages of the decoder that see whole frames; the first half of `decode` in tiles (autoencoder_tiling.py)."""
        return self.decoder(self._from_latents(z), part="coarse")

    def decode_fine(self, features: FeatureMap) -> OutputMap:
        """Apply the other stages to what `decode_coarse` returns, or to a window of it."""
        return self._to_video(self.decoder(features, part="fine"))

    def reconstruct(self, video: Video, noise: Latents) -> tuple[Video, Latents]:
        """Encode and decode as training does.

        Args:
          video: frames in [-1, 1].
          noise: added to the unnormalized latents before they are decoded.

        Returns:
          The reconstruction, float32, not clipped, and the unnormalized latents without noise.
        """
        h = self.quant_conv(self.encoder(space_to_channels(video, self.cfg.patch))).astype(jnp.float32)
        mu = h[..., : self.cfg.z_dim]
        out = self.decoder(self.post_quant_conv(mu + noise)).astype(jnp.float32)
        return channels_to_space(out, self.cfg.patch), mu

    def _from_latents(self, z: Latents) -> OutputMap:
        return self.post_quant_conv(constrain_video(z * self._std() + self._mean()))

    def _to_video(self, h: FeatureMap) -> OutputMap:
        return constrain_video(jnp.clip(channels_to_space(h.astype(jnp.float32), self.cfg.patch), -1, 1))

    def _mean(self) -> np.ndarray:
        return np.asarray(self.cfg.mean or np.zeros(self.cfg.z_dim), np.float32)

    def _std(self) -> np.ndarray:
        return np.asarray(self.cfg.std or np.ones(self.cfg.z_dim), np.float32)


class Encoder(nn.Module):
    """The encoder, from unshuffled pixels to mean and log-variance.

    Attributes:
      cfg: sizes.
    """

    cfg: VAEConfig

    @nn.compact
    def __call__(self, x: FeatureMap) -> OutputMap:
        """Encode."""
        cfg, dtype = self.cfg, jnp.dtype(self.cfg.dtype)
        widths = [cfg.base_dim * m for m in cfg.dim_mult]
        # ChannelNorm drops magnitude: without a bias to compare with, brightness would be lost before training could help.
        x = CausalConv(widths[0], dtype=dtype, bias_std=1.0, name="conv_in")(x)
        for i, width in enumerate(widths):
            shortcut, is_last = x, i == len(widths) - 1
            for j in range(cfg.num_res_blocks):
                x = ResBlock(width, dtype, name=f"down_{i}_res_{j}")(x)
            in_time = not is_last and cfg.temporal_downsample[i]
            if not is_last:
                x = Downsample(width, in_time, dtype, name=f"down_{i}_resample")(x)
            if cfg.residual:
                x = x + avg_down(shortcut, 1 + in_time, 1 if is_last else 2, width)
            x = constrain_video(x)
        x = Middle(widths[-1], dtype, name="mid")(x)
        # A small gain keeps SiLU near its linear middle at first.
        x = nn.silu(ChannelNorm(0.3, name="norm_out")(x))
        return CausalConv(2 * cfg.z_dim, dtype=dtype, name="conv_out")(x)


class Decoder(nn.Module):
    """The decoder, from unnormalized latents to unshuffled pixels.

    Attributes:
      cfg: sizes.
    """

    cfg: VAEConfig

    @nn.compact
    def __call__(self, x: FeatureMap, part: DecoderPart = "all") -> OutputMap:
        """Decode.

        Args:
          x: unnormalized latents; features of the stage `FINE_STAGES` before the last where `part` is "fine".
          part: which stages to apply. "coarse" are those before, whose attention sees whole frames, "fine" those from there on.
        """
        cfg, dtype = self.cfg, jnp.dtype(self.cfg.dtype)
        widths = [cfg.decoder_base_dim * m for m in reversed(cfg.dim_mult)]
        is_start = exchange_history(self, x, 0) is None
        if part != "fine":
            # ChannelNorm drops magnitude: without a bias to compare with, brightness would be lost before training could help.
            x = CausalConv(widths[0], dtype=dtype, bias_std=1.0, name="conv_in")(x)
            x = Middle(widths[0], dtype, name="mid")(x)
        for i, width in enumerate(widths):
            is_fine = i >= first_fine_stage(cfg)
            if part == ("coarse" if is_fine else "fine"):
                continue
            shortcut, is_last = x, i == len(widths) - 1
            for j in range(cfg.num_res_blocks + 1):
                x = ResBlock(width, dtype, name=f"up_{i}_res_{j}")(x)
            if not is_last:
                in_time = cfg.temporal_downsample[-1 - i]
                features = width if cfg.residual else width // 2
                x = Upsample(features, in_time, dtype, name=f"up_{i}_resample")(x)
                if cfg.residual:
                    x = x + dup_up(shortcut, 1 + in_time, 2, width, is_start)
                x = constrain_video(x)
        if part == "coarse":
            return x
        # A small gain keeps SiLU near its linear middle at first.
        x = nn.silu(ChannelNorm(0.3, name="norm_out")(x))
        return CausalConv(3 * cfg.patch**2, dtype=dtype, name="conv_out")(x)


def first_fine_stage(cfg: VAEConfig) -> int:
    """Return the index of the decoder's first stage that may be applied to windows of a frame."""
    return max(0, len(cfg.dim_mult) - FINE_STAGES)


class ResBlock(nn.Module):
    """Two causal convolutions with norms, and a shortcut.

    Attributes:
      features: output channels.
      dtype: type of the convolutions.
    """

    features: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: FeatureMap) -> Float[Array, "b T H W d"]:
        """Apply the block."""
        x = constrain_video(x)
        h = nn.silu(ChannelNorm(name="norm1")(x))
        h = CausalConv(self.features, dtype=self.dtype, name="conv1")(h)
        h = nn.silu(ChannelNorm(name="norm2")(h))
        h = CausalConv(self.features, dtype=self.dtype, zero=True, name="conv2")(h)
        if x.shape[-1] != self.features:
            x = CausalConv(self.features, (1, 1, 1), dtype=self.dtype, name="shortcut")(x)
        return constrain_video(x + h)


class Middle(nn.Module):
    """Attention between two residual blocks, at latent size.

    Attributes:
      features: channels.
      dtype: type of the convolutions and products.
    """

    features: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: FeatureMap) -> Float[Array, "b T H W d"]:
        """Apply the blocks."""
        x = ResBlock(self.features, self.dtype, name="res_0")(x)
        x = FrameAttention(self.dtype, name="attention")(x)
        return ResBlock(self.features, self.dtype, name="res_1")(x)


class FrameAttention(nn.Module):
    """Self-attention with one head over the positions of each frame.

    Attributes:
      dtype: type of the products; logits and softmax are float32.
    """

    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: FeatureMap) -> FeatureMap:
        """Attend, and add the result to `x`."""
        b, T, H, W, c = x.shape
        qkv = Conv2d(3 * c, 1, self.dtype, name="to_qkv")(ChannelNorm(name="norm")(x))
        q, k, v = jnp.split(qkv.reshape(b * T, H * W, 3 * c), 3, -1)
        logits = jnp.einsum("blc,bsc->bls", q, k, preferred_element_type=jnp.float32)
        weights = nn.softmax(logits * c**-0.5).astype(self.dtype)
        out = jnp.einsum("bls,bsc->blc", weights, v).reshape(x.shape)
        return x + Conv2d(c, 1, self.dtype, zero=True, name="proj")(out)


class Downsample(nn.Module):
    """Halving of height and width, and of time if asked, where frame 0 passes through without a temporal convolution.

    Attributes:
      features: output channels.
      in_time: whether time is halved.
      dtype: type of the convolutions.
    """

    features: int
    in_time: bool
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: FeatureMap) -> OutputMap:
        """Downsample."""
        x = Conv2d(self.features, 3, self.dtype, stride=2, pad=(0, 1), zero=True, name="conv")(x)
        if not self.in_time:
            return x
        conv = CausalConv(self.features, (3, 1, 1), self.dtype, stride_t=2, pad_t=False, name="time_conv")
        history = exchange_history(self, x, 1)
        if history is not None:
            return conv(jnp.concatenate([history, x], 1))
        # A single frame has no temporal window; the convolution must still create its parameters.
        if x.shape[1] < 3:
            conv(jnp.zeros((1, 3, 1, 1, x.shape[-1]), x.dtype))
            return x[:, :1]
        return jnp.concatenate([x[:, :1], conv(x)], 1)


class Upsample(nn.Module):
    """Doubling of height and width (nearest), and of time if asked, where the first frame of a video stays one.

    Attributes:
      features: output channels.
      in_time: whether time is doubled.
      dtype: type of the convolutions.
    """

    features: int
    in_time: bool
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: FeatureMap) -> OutputMap:
        """Upsample."""
        if self.in_time:
            conv = CausalConv(2 * x.shape[-1], (3, 1, 1), self.dtype, name="time_conv")
            # Frames that are not doubled: the first of a video.
            single = int(exchange_history(self, x, 0) is None)
            b, T, H, W, c = x.shape
            pairs = conv(x[:, single:]).reshape(b, T - single, H, W, 2, c).transpose(0, 1, 4, 2, 3, 5)
            x = jnp.concatenate([x[:, :single], pairs.reshape(b, 2 * (T - single), H, W, c)], 1)
        x = constrain_video(jnp.repeat(jnp.repeat(x, 2, 2), 2, 3))
        return Conv2d(self.features, 3, self.dtype, pad=(1, 1), zero=True, name="conv")(x)


class CausalConv(nn.Module):
    """A 3-D convolution, zero-padded by k - 1 frames on the left in time and evenly in space.

    The temporal taps are put side by side as channels of one 2-D convolution: the same sum, several times faster on CPUs than a 3-D
    convolution and no slower elsewhere.

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
    def __call__(self, x: FeatureMap) -> Float[Array, "b T2 H W c2"]:
        """Convolve."""
        kt, kh, kw = self.kernel
        init = nn.initializers.zeros if self.zero else _conv_init
        weight = self.param("kernel", init, (*self.kernel, x.shape[-1], self.features), jnp.float32)
        bias = self.param("bias", nn.initializers.normal(self.bias_std), (self.features,), jnp.float32)
        x, weight = x.astype(self.dtype), weight.astype(self.dtype)
        if self.pad_t and kt > 1:
            history = exchange_history(self, x, kt - 1)
            x = _pad_front(x, kt - 1) if history is None else jnp.concatenate([history, x], 1)
        frames = (x.shape[1] - kt) // self.stride_t + 1
        taps = [x[:, i : i + (frames - 1) * self.stride_t + 1 : self.stride_t] for i in range(kt)]
        taps = jnp.concatenate(taps, -1)
        weight = weight.transpose(1, 2, 0, 3, 4).reshape(kh, kw, -1, self.features)
        b, T, H, W, c = taps.shape
        y = _conv2d(taps.reshape(b * T, H, W, c), weight, 1, ((kh // 2, kh // 2), (kw // 2, kw // 2)))
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
        y = _conv2d(x, weight.astype(self.dtype), self.stride, (self.pad, self.pad))
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


def dup_up(x: FeatureMap, ft: int, fs: int, out: int, is_start: bool = True) -> OutputMap:
    """Upsample without parameters: repeat channels, then channels (out, ft, fs, fs) to space-time.

    Args:
      x: feature map.
      ft: factor in time.
      fs: factor in height and width.
      out: output channels.
      is_start: whether `x` starts a video, whose first ft - 1 frames are then dropped.
    """
    b, T, H, W, c = x.shape
    x = jnp.repeat(x, out * ft * fs * fs // c, -1).reshape(b, T, H, W, out, ft, fs, fs)
    x = x.transpose(0, 1, 5, 2, 6, 3, 7, 4).reshape(b, T * ft, H * fs, W * fs, out)
    return x[:, ft - 1 :] if is_start else x


def space_to_channels(video: FeatureMap, p: int) -> OutputMap:
    """Unshuffle p x p pixels into channels; the new index is (c, offset in W, offset in H): width before height."""
    b, T, H, W, c = video.shape
    video = video.reshape(b, T, H // p, p, W // p, p, c)
    return video.transpose(0, 1, 2, 4, 6, 5, 3).reshape(b, T, H // p, W // p, c * p * p)


def channels_to_space(h: FeatureMap, p: int) -> OutputMap:
    """Shuffle channels into p x p pixels, the inverse of `space_to_channels`."""
    b, T, H, W, c = h.shape
    h = h.reshape(b, T, H, W, c // (p * p), p, p)
    return h.transpose(0, 1, 2, 6, 3, 5, 4).reshape(b, T, H * p, W * p, c // (p * p))


def _pad_front(x: FeatureMap, frames: int) -> OutputMap:
    return jnp.pad(x, ((0, 0), (frames, 0), (0, 0), (0, 0), (0, 0)))


def _conv2d(x: Array, weight: Array, stride: int, padding: tuple[tuple[int, int], tuple[int, int]]) -> Array:
    return jax.lax.conv_general_dilated(
        x, weight, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


_conv_init = nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal")


def exchange_history(module: nn.Module, x: FeatureMap, frames: int) -> Float[Array, "b T2 H W c"] | None:
    """Return the last frames of the previous chunk, and store those of this one for the next.

    They are kept in the collection `stream`. Where that collection is not mutable the whole video is one chunk.

    Args:
      module: the layer that remembers.
      x: its input in this chunk.
      frames: number of frames to remember; 0 tells only whether there was a chunk before.

    Returns:
      [b, frames, H, W, c], or None at the start of a video.
    """
    if not is_streaming(module):
        return None
    history = module.get_variable("stream", "past")
    recent = x if history is None else jnp.concatenate([history, x], 1)
    recent = _pad_front(recent, max(0, frames - recent.shape[1]))
    module.put_variable("stream", "past", constrain_video(recent[:, recent.shape[1] - frames :]))
    return history


def is_streaming(module: nn.Module) -> bool:
    """Return whether a video is coded in chunks."""
    return module.is_mutable_collection("stream") and not module.is_initializing()


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
