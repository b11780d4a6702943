"""The decoder in tiles of a frame, equal to the whole frame: less memory for a little more computation.

The decoder's memory lies in its last stages, whose frames are large. Their convolutions look no further than a few cells of the feature map
that the stages before hand to them (`tile_margin`; the attention of the middle, which sees whole frames, lies before). So latent frame by
latent frame (autoencoder_streaming.py) the coarse stages run on the whole frame, and the fine ones on one window of it after another:

    features [y, x] ──┬─ window 0 = core + margin ── fine stages ── core's pixels ─┐
                      ├─ window 1                                                  ├─ frame
                      └─ ...            each window has its own history            ┘

A window's margin is cut off with what the missing surroundings spoilt. Where a window ends at the frame's own border, it is padded with
zeros there as the whole frame is. So nothing is blended, and there are no seams: results differ by the order of a backend's sums alone.
"""

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from v2v.array_types import Latents, Video
from v2v.config import VAEConfig
from v2v.models.autoencoder import VAE, first_fine_stage
from v2v.models.autoencoder_streaming import code_chunk, code_in_loop, initial_history


@dataclass(frozen=True)
class TileAxis:
    """How one side of a feature map is divided.

    Attributes:
      window: cells of a window, margins included.
      core: cells of a window that its result is used of.
      starts: first cell of each window.
      core_starts: first cell of each core; the last cores may overlap.
    """

    window: int
    core: int
    starts: tuple[int, ...]
    core_starts: tuple[int, ...]

    @classmethod
    def of(cls, size: int, count: int, margin: int) -> "TileAxis":
        """Divide `size` cells into `count` windows whose cores have `margin` cells around them as far as the map goes."""
        core = math.ceil(size / count)
        window = min(size, core + margin * min(2, count - 1))
        core_starts = tuple(min(i * core, size - core) for i in range(count))
        starts = tuple(max(0, min(start - margin, size - window)) for start in core_starts)
        return cls(window, core, starts, core_starts)


def tile_margin(cfg: VAEConfig) -> int:
    """Return the cells around a window's core, of the features given to the fine stages, on which the core's pixels depend."""
    first, last = first_fine_stage(cfg), len(cfg.dim_mult) - 1
    cells = 1  # the last convolution
    for stage in range(last, first - 1, -1):
        cells += 2 * (cfg.num_res_blocks + 1)
        if stage > first:  # the convolution behind the enlargement
            cells = math.ceil((cells + 1) / 2)
    return cells


def feature_scale(cfg: VAEConfig) -> int:
    """Return the pixels of a cell of the features given to the fine stages, along height and width."""
    return cfg.patch * 2 ** (len(cfg.dim_mult) - 1 - first_fine_stage(cfg))


def tile_shape(cfg: VAEConfig, height: int, width: int, tiles: tuple[int, int]) -> tuple[int, int]:
    """Return the height and width of a window in pixels, for frames of a size in so many rows and columns of tiles."""
    scale, margin = feature_scale(cfg), tile_margin(cfg)
    rows, columns = (
        scale * TileAxis.of(size // scale, count, margin).window
        for size, count in zip((height, width), tiles, strict=True)
    )
    return rows, columns


def decode_in_tiles(vae: VAE, params: dict[str, Any], z: Latents, tiles: tuple[int, int]) -> Video:
    """Decode as `vae.decode` does.

    Args:
      vae: the autoencoder.
      params: its parameters.
      z: normalized latents.
      tiles: rows and columns of tiles.
    """
    # Those of the encoder would only be held by the barriers below.
    params = {name: tree for name, tree in params.items() if name in ("decoder", "post_quant_conv")}
    scale = feature_scale(vae.cfg)
    to_cells = vae.cfg.stride_xy // scale
    rows, columns = (
        TileAxis.of(size * to_cells, count, tile_margin(vae.cfg))
        for size, count in zip(z.shape[2:4], tiles, strict=True)
    )
    grid = np.array(
        [
            (*start, *core)
            for start, core in zip(
                ((y, x) for y in rows.starts for x in columns.starts),
                ((y, x) for y in rows.core_starts for x in columns.core_starts),
                strict=True,
            )
        ],
        np.int32,
    )

    def decode_window(params, history, features, place):
        """Return the pixels of a window's core, and the window's history."""
        b, T, _, _, c = features.shape
        window = jax.lax.dynamic_slice(
            features, (0, 0, place[0], place[1], 0), (b, T, rows.window, columns.window, c)
        )
        pixels, history = code_chunk(vae, params, history, window, "decode_fine")
        offset = scale * (place[2:] - place[:2])
        size = (b, pixels.shape[1], scale * rows.core, scale * columns.core, 3)
        return jax.lax.dynamic_slice(pixels, (0, 0, offset[0], offset[1], 0), size), history

    def paste(frames, core, place):
        return jax.lax.dynamic_update_slice(frames, core, (0, 0, scale * place[2], scale * place[3], 0))

    height, width = (vae.cfg.stride_xy * side for side in z.shape[2:4])

    def decode_chunk(histories, piece):
        coarse, fine = histories
        # GPUs want weights transposed: computed ahead of the loop, these copies would be in memory all at once.
        weights, piece = jax.lax.optimization_barrier((params, piece))
        features, coarse = code_chunk(vae, weights, coarse, piece, "decode_coarse")

        # The windows' histories are updated in place: as inputs and outputs of a scan they would be in memory twice.
        def decode_tile(number, carry):
            frames, fine = carry
            tile_weights, place = jax.lax.optimization_barrier((weights, jnp.asarray(grid)[number]))
            history = jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, number, keepdims=False), fine)
            core, history = decode_window(tile_weights, history, features, place)
            fine = jax.tree.map(
                lambda x, new: jax.lax.dynamic_update_index_in_dim(x, new, number, 0), fine, history
            )
            return paste(frames, core, place), fine

        blank = jnp.zeros((z.shape[0], vae.cfg.stride_t, height, width, 3), jnp.float32)
        frames, fine = jax.lax.fori_loop(0, len(grid), decode_tile, (blank, fine))
        return frames, (coarse, fine)

    coarse = initial_history(vae, params, z[:, :1], "decode_coarse")
    features = jax.eval_shape(lambda: code_chunk(vae, params, coarse, z[:, :1], "decode_coarse")[0])
    window = jax.ShapeDtypeStruct(
        (*features.shape[:2], rows.window, columns.window, features.shape[-1]), features.dtype
    )
    fine = initial_history(vae, params, window, "decode_fine")
    fine = jax.tree.map(lambda x: jnp.broadcast_to(x, (len(grid), *x.shape)), fine)
    return code_in_loop(decode_chunk, (coarse, fine), z, 1, vae.cfg.stride_t)
