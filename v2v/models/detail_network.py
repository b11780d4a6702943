"""The detail network: what an edit does to texture, at full size. frame, small source and edit -> **residual, gain** -> large edit.

A sketch, an oil painting or rain is no function of color, so `video/detail_transfer` alone leaves it blurred or out. This network sees the
large source at a fixed number of lines, what the transfer makes of it, and both small clips. A small encoder reads from the small pair what
kind of edit it is, a code for the whole frame, which scales and shifts the features of a U-net of convolutions; those see the texture.

    y = c + u(x, c, s, e; k)      x source, c transfer, s and e small source and edit, all at the network's lines; k = code(s, e)
    out = up(y) + up(g) (I - up(x))      I the source at its own size: g says how much of the detail above the network's lines stays

u and g - 1 start at zero: untrained, the result is the transfer's, with the source's finest detail.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from v2v.array_types import Array, Float
from v2v.config import DetailConfig

Frames = Float[Array, "b H W 3"]
SmallFrames = Float[Array, "b h w 3"]


class Detail(NamedTuple):
    """What the network says of frames at its number of lines.

    Attributes:
      frames: the edit, [b, H, W, 3] in [-1, 1], not clipped.
      gain: [b, H, W, 1], the share of the source's detail above these lines that stays.
    """

    frames: Float[Array, "b H W 3"]
    gain: Float[Array, "b H W 1"]


class DetailNetwork(nn.Module):
    """The network.

    Attributes:
      cfg: sizes.
    """

    cfg: DetailConfig

    @nn.compact
    def __call__(self, frames: Frames, transfer: Frames, source: SmallFrames, edit: SmallFrames) -> Detail:
        """Return the edit of frames.

        Args:
          frames: the source at the network's lines, in [-1, 1]; height and width are multiples of `cfg.multiple`.
          transfer: the same frames as the detail transfer edits them.
          source: small source frames, after the autoencoder's round trip.
          edit: small edit frames.
        """
        cfg = self.cfg
        code = EditCode(cfg.code_width, name="code")(source, edit)
        b, H, W, _ = frames.shape
        # The nearest small pixel, not a mean of several: its borders show where the small pixels lie.
        small = jax.image.resize(jnp.concatenate([source, edit], -1), (b, H, W, 6), "nearest")
        x = space_to_depth(jnp.concatenate([frames, transfer, small], -1))
        skips = []
        for level, width in enumerate(cfg.widths):
            if level:
                x = nn.avg_pool(x, (2, 2), (2, 2))
            for layer in range(2):
                x = ModulatedConv(width, name=f"down_{level}_{layer}")(x, code)
            skips.append(x)
        for level, width in reversed(list(enumerate(cfg.widths[:-1]))):
            x = nn.Conv(width, (1, 1), name=f"up_{level}_in")(x)
            x = jnp.repeat(jnp.repeat(x, 2, 1), 2, 2) + skips[level]
            x = ModulatedConv(width, name=f"up_{level}")(x, code)
        out = depth_to_space(
            nn.Conv(16, (3, 3), kernel_init=nn.initializers.zeros, name="out")(x).astype(jnp.float32)
        )
        return Detail(transfer + out[..., :3], 1 + out[..., 3:])


class EditCode(nn.Module):
    """What kind of edit a small pair shows, one vector for a frame.

    Attributes:
      width: its length.
    """

    width: int

    @nn.compact
    def __call__(self, source: SmallFrames, edit: SmallFrames) -> Float[Array, "b k"]:
        """Return the code."""
        x = jnp.concatenate([source, edit, edit - source], -1)
        pooled = []
        for layer, width in enumerate((self.width // 2, self.width, self.width)):
            x = nn.gelu(nn.Conv(width, (3, 3), strides=1 if layer == 0 else 2, name=f"conv_{layer}")(x))
            pooled += [x.mean((1, 2)), jnp.sqrt(x.var((1, 2)) + 1e-6)]
        return nn.Dense(self.width, name="out")(
            nn.gelu(nn.Dense(2 * self.width, name="in")(jnp.concatenate(pooled, -1)))
        )


class ModulatedConv(nn.Module):
    """A convolution of 3x3 whose features the code scales and shifts before the activation.

    Attributes:
      width: output features.
    """

    width: int

    @nn.compact
    def __call__(self, x: Float[Array, "b H W i"], code: Float[Array, "b k"]) -> Float[Array, "b H W o"]:
        """Apply the layer."""
        y = nn.Conv(self.width, (3, 3), name="conv")(x)
        scale, shift = jnp.split(nn.Dense(2 * self.width, name="modulation")(code)[:, None, None], 2, -1)
        return nn.gelu(y * (1 + scale) + shift)


def space_to_depth(x: Float[Array, "b H W c"]) -> Float[Array, "b y x d"]:
    """Return 2x2 pixels as one with four times the channels."""
    b, H, W, c = x.shape
    return x.reshape(b, H // 2, 2, W // 2, 2, c).transpose(0, 1, 3, 2, 4, 5).reshape(b, H // 2, W // 2, 4 * c)


def depth_to_space(x: Float[Array, "b y x d"]) -> Float[Array, "b H W c"]:
    """Return the inverse of `space_to_depth`."""
    b, H, W, c = x.shape
    return x.reshape(b, H, W, 2, 2, c // 4).transpose(0, 1, 3, 2, 4, 5).reshape(b, 2 * H, 2 * W, c // 4)


def merge_detail(frames: Frames, large: Frames, detail: Detail) -> Frames:
    """Return the edit at the size of the large frames, in [-1, 1], not clipped.

    Args:
      frames: the source at the network's lines.
      large: the source at its own size.
      detail: of the network.
    """
    b, H, W, _ = large.shape
    both = jnp.concatenate([detail.frames, detail.gain, frames], -1)
    enlarged = jax.image.resize(both, (b, H, W, 7), "linear")
    edit, gain, low = jnp.split(enlarged, (3, 4), -1)
    return edit + gain * (large - low)
