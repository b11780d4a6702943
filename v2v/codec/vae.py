"""frames ↔ latents: the Wan2.2-type causal 3-D VAE. video.py → **vae** → model/tokens.py.

Pixels in [-1, 1], channels last. T = 1 + 4n frames become 1 + n latent frames; frame 0 stands alone, so an image is a video of
one frame. Every temporal convolution looks only back: encoding a prefix gives the prefix of the latents.
  encode: unshuffle by `patch` → conv → [stage: residual blocks, ↓2] + AvgDown → middle → conv → mode → (z - mean) / std
  decode: the mirror, with [stage: residual blocks, ↑2] + DupUp
AvgDown and DupUp carry the signal past each stage without parameters. Channel orders and the special first frame follow the
published implementation (reference wan22.md, section b), so its weights load by renaming alone.

Here stand the model and its two halves. vae_layers.py holds what they are built of, stream.py runs them a few frames at a time,
spatial.py says how a mesh of devices shares the work.
"""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from v2v.codec.spatial import spread
from v2v.codec.vae_layers import (
    CausalConv,
    ChannelNorm,
    Downsample,
    FMap,
    Middle,
    ResBlock,
    Upsample,
    avg_down,
    carry,
    dup_up,
    streaming,
)
from v2v.config import VAEConfig
from v2v.shapes import Array, Float, Latents, Video


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
        if not streaming(self):
            self.cfg.latent_shape(T, H, W)  # raises with the remedy when the size doesn't fit
        h = self.quant_conv(self.encoder(spread(space_to_channels(video, self.cfg.patch))))
        return spread((h[..., : self.cfg.z_dim].astype(jnp.float32) - self._mean()) / self._std())

    def decode(self, z: Latents) -> Video:
        """Normalised latents to video in [-1, 1], float32, clipped."""
        z = z * self._std() + self._mean()
        h = self.decoder(self.post_quant_conv(spread(z))).astype(jnp.float32)
        return spread(jnp.clip(channels_to_space(h, self.cfg.patch), -1, 1))

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


def space_to_channels(video: Video, p: int) -> FMap:
    """Pixel unshuffle; the new channel index is (c, offset in W, offset in H): width before height."""
    b, T, H, W, c = video.shape
    video = video.reshape(b, T, H // p, p, W // p, p, c)
    return video.transpose(0, 1, 2, 4, 6, 5, 3).reshape(b, T, H // p, W // p, c * p * p)


def channels_to_space(h: FMap, p: int) -> Video:
    b, T, H, W, c = h.shape
    h = h.reshape(b, T, H, W, c // (p * p), p, p)
    return h.transpose(0, 1, 2, 6, 3, 5, 4).reshape(b, T, H * p, W * p, c // (p * p))


class Encoder(nn.Module):
    cfg: VAEConfig

    @nn.compact
    def __call__(self, x: FMap) -> FMap:
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
            x = spread(x + avg_down(shortcut, 1 + in_time, 1 if last else 2, width))
        x = Middle(widths[-1], dtype, name="mid")(x)
        x = nn.silu(
            ChannelNorm(0.3, name="norm_out")(x)
        )  # a small gain keeps SiLU near its linear middle at first
        return CausalConv(2 * cfg.z_dim, dtype=dtype, name="conv_out")(x)


class Decoder(nn.Module):
    cfg: VAEConfig

    @nn.compact
    def __call__(self, x: FMap) -> FMap:
        cfg, dtype = self.cfg, jnp.dtype(self.cfg.dtype)
        widths = [cfg.decoder_base_dim * m for m in reversed(cfg.dim_mult)]
        first = carry(self, x, 0) is None
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
                x = spread(x + dup_up(shortcut, 1 + in_time, 2, width, first))
        x = nn.silu(
            ChannelNorm(0.3, name="norm_out")(x)
        )  # a small gain keeps SiLU near its linear middle at first
        return CausalConv(3 * cfg.patch**2, dtype=dtype, name="conv_out")(x)
