"""Transformer towers of CLIP, DINOv2 and ViCLIP.

All three consist of one block and two towers; `TowerConfig` holds their differences. A picture is processed as

    pixels [b, H, W, 3] -> patches [b, n, d], class token in front, + positions -> norm? -> blocks -> norm -> class token [b, d]

DINOv2 scales both residuals by learnt vectors and has no norm in front; in ViCLIP the patches of all T frames attend to one another, with one
class token and learnt times added to the patches. A sentence is processed as

    ids [b, m] -> tokens + positions -> causal blocks -> norm -> the token with the end mark [b, d]

Sources: Radford et al. 2021 (CLIP), Oquab et al. 2023 (DINOv2), Wang et al. 2023 (InternVid, ViCLIP).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

ACTIVATIONS: dict[str, Callable] = {
    "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
}


@dataclass(frozen=True)
class TowerConfig:
    """Sizes and variants of one tower.

    Attributes:
      width: of the residual stream.
      layers: number of blocks.
      heads: attention heads of a block.
      mlp: width of a block's MLP.
      act: activation: "quick_gelu" or "gelu".
      eps: epsilon of the norms.
      patch: side of a patch in pixels; 0 for text.
      norm_in_front: whether there is a norm before the blocks.
      scaled: whether residuals have learnt scales.
      patch_bias: whether the patch convolution has a bias.
      end: id of the end mark; None for the place of the largest id.
    """

    width: int
    layers: int
    heads: int
    mlp: int
    act: str = "quick_gelu"
    eps: float = 1e-5
    patch: int = 0
    norm_in_front: bool = True
    scaled: bool = False
    patch_bias: bool = False
    end: int | None = None


class TransformerBlock(nn.Module):
    """A pre-norm block: x + attention(norm(x)), then x + mlp(norm(x)).

    Attributes:
      cfg: the tower's configuration.
      causal: whether a token attends only to those up to itself.
    """

    cfg: TowerConfig
    causal: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b l d"]) -> Float[Array, "b l d"]:
        """Apply the block to tokens [b, l, d]."""
        cfg = self.cfg
        heads = (*x.shape[:2], cfg.heads, cfg.width // cfg.heads)
        y = nn.LayerNorm(cfg.eps, name="norm1")(x)
        q, k, v = (nn.Dense(cfg.width, name=part)(y).reshape(heads) for part in "qkv")
        logits = jnp.einsum("blhk,bmhk->bhlm", q, k) / np.float32(np.sqrt(heads[-1]))
        if self.causal:
            logits = jnp.where(jnp.tril(jnp.ones(logits.shape[-2:], bool)), logits, -jnp.inf)
        y = jnp.einsum("bhlm,bmhk->blhk", jax.nn.softmax(logits, -1), v).reshape(x.shape)
        x = x + self._scale("scale1", nn.Dense(cfg.width, name="o")(y))
        y = nn.Dense(cfg.mlp, name="fc1")(nn.LayerNorm(cfg.eps, name="norm2")(x))
        return x + self._scale("scale2", nn.Dense(cfg.width, name="fc2")(ACTIVATIONS[cfg.act](y)))

    def _scale(self, name: str, y: Array) -> Array:
        if not self.cfg.scaled:
            return y
        return y * self.param(name, nn.initializers.ones, (self.cfg.width,))


class VisionTower(nn.Module):
    """A tower from pictures, or clips where the weights hold learnt times, to one vector each.

    Attributes:
      cfg: the configuration.
      positions: rows of the stored table, including the class token's.
      times: frames of a clip; 0 for pictures.
    """

    cfg: TowerConfig
    positions: int
    times: int = 0

    @nn.compact
    def __call__(self, pixels: Float[Array, "*b H W 3"]) -> Float[Array, "b d"]:
        """Return the class tokens [b, d] of pictures [b, H, W, 3] or clips [b, T, H, W, 3]."""
        cfg = self.cfg
        b, (height, width) = pixels.shape[0], pixels.shape[-3:-1]
        x = pixels.reshape(-1, height, width, 3)
        step = (cfg.patch, cfg.patch)
        x = nn.Conv(cfg.width, step, step, padding="VALID", use_bias=cfg.patch_bias, name="patch")(x)
        grid = x.shape[1], x.shape[2]
        x = x.reshape(x.shape[0], -1, cfg.width)
        table = self.param("position", nn.initializers.normal(0.02), (self.positions, cfg.width))
        table = _resample_positions(table, grid)
        first = self.param("class", nn.initializers.normal(0.02), (cfg.width,)) + table[0]
        x = x + table[None, 1:]
        if self.times:
            moments = self.param("temporal", nn.initializers.normal(0.02), (self.times, cfg.width))
            x = x.reshape(b, self.times, -1, cfg.width) + moments[None, :, None]
            x = jnp.swapaxes(x, 1, 2).reshape(b, -1, cfg.width)
        x = jnp.concatenate([jnp.broadcast_to(first, (b, 1, cfg.width)), x], 1)
        if cfg.norm_in_front:
            x = nn.LayerNorm(cfg.eps, name="pre")(x)
        for k in range(cfg.layers):
            x = TransformerBlock(cfg, name=f"block{k}")(x)
        return nn.LayerNorm(cfg.eps, name="post")(x[:, 0])


class TextTower(nn.Module):
    """A tower from sentences to one vector each.

    Attributes:
      cfg: the configuration.
      vocab: size of the vocabulary.
      length: ids of a sentence.
    """

    cfg: TowerConfig
    vocab: int
    length: int

    @nn.compact
    def __call__(self, ids: Int[Array, "b m"]) -> Float[Array, "b d"]:
        """Return the vectors [b, d] of sentences."""
        cfg = self.cfg
        table = self.param("position", nn.initializers.normal(0.02), (self.length, cfg.width))
        x = nn.Embed(self.vocab, cfg.width, name="token")(ids) + table[None, : ids.shape[1]]
        for k in range(cfg.layers):
            x = TransformerBlock(cfg, causal=True, name=f"block{k}")(x)
        x = nn.LayerNorm(cfg.eps, name="post")(x)
        ends = jnp.argmax(ids if cfg.end is None else (ids == cfg.end).astype(jnp.int32), -1)
        return jnp.take_along_axis(x, ends[:, None, None], 1)[:, 0]


def _resample_positions(table: Float[Array, "p d"], grid: tuple[int, int]) -> Float[Array, "q d"]:
    """Resample the stored square table of positions to another grid, bicubic as in PyTorch's `interpolate`."""
    side = round((table.shape[0] - 1) ** 0.5)
    if grid == (side, side):
        return table
    rows, columns = (jnp.asarray(bicubic_matrix(side, n)) for n in grid)
    square = table[1:].reshape(side, side, -1)
    fitted = jnp.einsum("yi,xj,ijd->yxd", rows, columns, square).reshape(grid[0] * grid[1], -1)
    return jnp.concatenate([table[:1], fitted])


def bicubic_matrix(n: int, m: int, a: float = -0.75) -> np.ndarray:
    """Return the matrix [m, n] that resamples n points to m by cubic convolution (Keys 1981)."""
    at = (np.arange(m) + 0.5) * n / m - 0.5
    low = np.floor(at).astype(int)
    matrix = np.zeros((m, n))
    for k in range(-1, 3):
        d = np.abs(at - (low + k))
        near = ((a + 2) * d - (a + 3)) * d * d + 1
        far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
        weight = np.where(d <= 1, near, np.where(d < 2, far, 0))
        np.add.at(matrix, (np.arange(m), np.clip(low + k, 0, n - 1)), weight)
    return matrix.astype(np.float32)
