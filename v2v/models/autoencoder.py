"""The autoencoder between frames and latents: the causal 3-D VAE of Wan2.2, and that of Wan2.1.

Pixels are in [-1, 1], channels last. T = 1 + 4n frames become 1 + n latent frames; frame 0 is encoded by itself, so an image is a video
of one frame. Every temporal convolution looks back only: encoding a prefix gives the prefix of the latents.

    encode: unshuffle by `patch` → conv → [stage: residual blocks, ↓2] + avg_down → middle → conv → mode → (z - mean) / std
    decode: the mirror image, with [stage: residual blocks, ↑2] + dup_up

`avg_down` and `dup_up` carry the signal past each stage without parameters; Wan2.1 has neither, and its decoder halves the channels where it
enlarges frames (`VAEConfig.residual`). Orders of channels and the special first frame follow the
published implementation, so its weights load by renaming alone.

Streaming: a video coded in chunks (autoencoder_streaming.py) gives the same result as the whole; autoencoder_layers.py says how.

Distribution: a full-size clip is too large for one device in pixels, not in weights. On a mesh every device holds all weights and a
rectangle of every frame (`video_partition_spec`), and the compiler exchanges the borders that convolutions look at. Only the attention
of the middle, at latent size, sees whole frames.
"""

from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from v2v.array_types import Array, Float, Latents, Video
from v2v.config import VAEConfig
from v2v.models.autoencoder_blocks import apply_blocks
from v2v.models.autoencoder_layers import (
    CausalConv,
    ChannelNorm,
    Conv2d,
    FeatureMap,
    OutputMap,
    Start,
    avg_down,
    constrain_video,
    dup_up,
    exchange_history,
    exchange_start,
    hide_padding,
)
from v2v.runtime.platform import product_dtype

# Last stages of the decoder, of large frames and few channels, that may be applied to windows of a frame.
FINE_STAGES = 2

DecoderPart = Literal["all", "coarse", "fine"]


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
        start = exchange_start(self)
        if start is None:
            self.cfg.latent_shape(T, H, W)
        h = self.quant_conv(self.encoder(constrain_video(space_to_channels(video, self.cfg.patch)), start))
        return constrain_video((h[..., : self.cfg.z_dim].astype(jnp.float32) - self._mean()) / self._std())

    def decode(self, z: Latents) -> Video:
        """Decode normalized latents to a video in [-1, 1], float32, clipped."""
        return self._to_video(self.decoder(self._from_latents(z), exchange_start(self)))

    def decode_coarse(self, z: Latents) -> OutputMap:
        """Apply the stages of the decoder that see whole frames; the first half of `decode` in tiles (autoencoder_tiling.py)."""
        return self.decoder(self._from_latents(z), exchange_start(self), part="coarse")

    def decode_fine(self, features: FeatureMap) -> OutputMap:
        """Apply the other stages to what `decode_coarse` returns, or to a window of it."""
        return self._to_video(self.decoder(features, exchange_start(self), part="fine"))

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
    def __call__(self, x: FeatureMap, start: Start = None) -> OutputMap:
        """Encode."""
        cfg, dtype = self.cfg, jnp.dtype(self.cfg.dtype)
        widths = [cfg.base_dim * m for m in cfg.dim_mult]
        # ChannelNorm drops magnitude: without a bias to compare with, brightness would be lost before training could help.
        x = CausalConv(widths[0], dtype=dtype, bias_std=1.0, name="conv_in")(x, start)
        for i, width in enumerate(widths):
            shortcut, is_last = x, i == len(widths) - 1
            names = [f"down_{i}_res_{j}" for j in range(cfg.num_res_blocks)]
            x = apply_blocks(self, names, width, dtype, x, start)
            in_time = not is_last and cfg.temporal_downsample[i]
            if not is_last:
                x = Downsample(width, in_time, dtype, name=f"down_{i}_resample")(x, start)
            if cfg.residual:
                x = x + avg_down(hide_padding(shortcut, start), 1 + in_time, 1 if is_last else 2, width)
            x = constrain_video(x)
        x = Middle(widths[-1], dtype, name="mid")(x, start)
        # A small gain keeps SiLU near its linear middle at first.
        x = nn.silu(ChannelNorm(0.3, name="norm_out")(x))
        return CausalConv(2 * cfg.z_dim, dtype=dtype, name="conv_out")(x, start)


class Decoder(nn.Module):
    """The decoder, from unnormalized latents to unshuffled pixels.

    Attributes:
      cfg: sizes.
    """

    cfg: VAEConfig

    @nn.compact
    def __call__(self, x: FeatureMap, start: Start = None, part: DecoderPart = "all") -> OutputMap:
        """Decode.

        Args:
          x: unnormalized latents; features of the stage `FINE_STAGES` before the last where `part` is "fine".
          start: whether this chunk is the first; None where the whole video is decoded at once.
          part: which stages to apply. "coarse" are those before, whose attention sees whole frames, "fine" those from there on.
        """
        cfg, dtype = self.cfg, jnp.dtype(self.cfg.dtype)
        widths = [cfg.decoder_base_dim * m for m in reversed(cfg.dim_mult)]
        if part != "fine":
            # ChannelNorm drops magnitude: without a bias to compare with, brightness would be lost before training could help.
            x = CausalConv(widths[0], dtype=dtype, bias_std=1.0, name="conv_in")(x, start)
            x = Middle(widths[0], dtype, name="mid")(x, start)
        for i, width in enumerate(widths):
            is_fine = i >= first_fine_stage(cfg)
            if part == ("coarse" if is_fine else "fine"):
                continue
            shortcut, is_last = x, i == len(widths) - 1
            names = [f"up_{i}_res_{j}" for j in range(cfg.num_res_blocks + 1)]
            x = apply_blocks(self, names, width, dtype, x, start)
            if not is_last:
                in_time = cfg.temporal_downsample[-1 - i]
                features = width if cfg.residual else width // 2
                x = Upsample(features, in_time, dtype, name=f"up_{i}_resample")(x, start)
                if cfg.residual:
                    x = x + dup_up(shortcut, 1 + in_time, 2, width, drops=start is None)
                x = constrain_video(x)
        if part == "coarse":
            return x
        # A small gain keeps SiLU near its linear middle at first.
        x = nn.silu(ChannelNorm(0.3, name="norm_out")(x))
        return CausalConv(3 * cfg.patch**2, dtype=dtype, name="conv_out")(x, start)


def first_fine_stage(cfg: VAEConfig) -> int:
    """Return the index of the decoder's first stage that may be applied to windows of a frame."""
    return max(0, len(cfg.dim_mult) - FINE_STAGES)


class Middle(nn.Module):
    """Attention between two residual blocks, at latent size.

    Attributes:
      features: channels.
      dtype: type of the convolutions and products.
    """

    features: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: FeatureMap, start: Start = None) -> Float[Array, "b T H W d"]:
        """Apply the blocks."""
        x = apply_blocks(self, ["res_0"], self.features, self.dtype, x, start)
        x = FrameAttention(self.dtype, name="attention")(x)
        return apply_blocks(self, ["res_1"], self.features, self.dtype, x, start)


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
    def __call__(self, x: FeatureMap, start: Start = None) -> OutputMap:
        """Downsample."""
        x = Conv2d(self.features, 3, self.dtype, stride=2, pad=(0, 1), zero=True, name="conv")(x)
        if not self.in_time:
            return x
        conv = CausalConv(self.features, (3, 1, 1), self.dtype, stride_t=2, pad_t=False, name="time_conv")
        if start is not None:
            x = hide_padding(x, start)
            operand = x.astype(product_dtype(self.dtype))
            halved = conv(jnp.concatenate([exchange_history(self, operand, 1), operand], 1), start)
            return jnp.where(start, x[:, 1::2], halved)
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
    def __call__(self, x: FeatureMap, start: Start = None) -> OutputMap:
        """Upsample."""
        if self.in_time:
            conv = CausalConv(2 * x.shape[-1], (3, 1, 1), self.dtype, name="time_conv")
            if start is None:
                x = jnp.concatenate([x[:, :1], _interleave(conv(x[:, 1:]))], 1)
            else:  # the convolution never sees the first frame, which isn't doubled
                history = jnp.where(start, jnp.zeros((), x.dtype), x)
                x = jnp.where(start, jnp.repeat(x, 2, 1), _interleave(conv(history, start)))
        x = constrain_video(jnp.repeat(jnp.repeat(x, 2, 2), 2, 3))
        return Conv2d(self.features, 3, self.dtype, pad=(1, 1), zero=True, name="conv")(x)


def _interleave(x: FeatureMap) -> OutputMap:
    """Return twice as many frames of half as many channels: the first half of a frame's channels, then the second."""
    b, T, H, W, c = x.shape
    return x.reshape(b, T, H, W, 2, c // 2).transpose(0, 1, 4, 2, 3, 5).reshape(b, 2 * T, H, W, c // 2)


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
