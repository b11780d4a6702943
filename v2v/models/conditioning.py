"""latents → **tokens** → transformer.py: patches, and the order in which conditions join the target.

    X = [ E_src(z_src) + E_msk(z_msk) ; E_tgt(z_tau) ; E_ref(z_ref)? ]
E_tgt is the pretrained patch embedding; the others are new, zero-initialised and live in the collection `embed`. Temporal
positions continue source → target → reference (`contiguous`), or source and target share theirs (`shared`); either way the
reference takes the next index. Source: EasyV2V section 3.
"""

from dataclasses import dataclass
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from v2v.array_types import Array, Float, Latents, Tokens
from v2v.config import ConditionConfig
from v2v.models.rotary import grid_positions

SequencePart = Literal["all", "conditions", "target"]


def patchify(z: Latents, patch: tuple[int, int, int]) -> Float[Array, "b l e"]:
    """Cut latents into patches, flattened in order t, y, x; inside a patch the channel comes first (c, pt, py, px)."""
    b, t, y, x, c = z.shape
    pt, py, px = patch
    z = z.reshape(b, t // pt, pt, y // py, py, x // px, px, c)
    return z.transpose(0, 1, 3, 5, 7, 2, 4, 6).reshape(b, (t // pt) * (y // py) * (x // px), c * pt * py * px)


def unpatchify(u: Float[Array, "b l e"], grid: tuple[int, int, int], patch: tuple[int, int, int]) -> Latents:
    """Inverse for the head's output, where the channel comes *last* inside a patch (pt, py, px, c)."""
    (t, y, x), (pt, py, px) = grid, patch
    u = u.reshape(u.shape[0], t, y, x, pt, py, px, -1)
    return u.transpose(0, 1, 4, 2, 5, 3, 6, 7).reshape(u.shape[0], t * pt, y * py, x * px, -1)


class ConditionEmbedding(nn.Module):
    """A zero-initialised patch embedding, kept in the collection `embed` so that the base tree never changes."""

    width: int

    @nn.compact
    def __call__(self, patches: Float[Array, "b l e"]) -> Tokens:
        def zeros(*shape):
            return jnp.zeros(shape, jnp.float32)

        kernel = self.variable("embed", "kernel", zeros, patches.shape[-1], self.width).value
        bias = self.variable("embed", "bias", zeros, self.width).value
        return patches.astype(jnp.float32) @ kernel + bias


@dataclass(frozen=True)
class Layout:
    """Where everything sits in the joint sequence, known before anything is computed."""

    positions: np.ndarray  # [l, 3]
    target: slice  # the target's tokens in the sequence
    grid: tuple[int, int, int]  # the target's token grid

    @property
    def length(self) -> int:
        return len(self.positions)

    def rows(self, part: SequencePart) -> slice | np.ndarray:
        """The tokens of a part of the sequence: the target's, the conditions' (all others, in order), or all."""
        if part == "conditions":
            return np.delete(np.arange(self.length), self.target)
        return self.target if part == "target" else slice(None)


def build_layout(
    target: tuple[int, int, int],
    source: tuple[int, int, int] | None,
    reference: tuple[int, int, int] | None,
    condition: ConditionConfig,
    mask: tuple[int, int, int] | None = None,
) -> Layout:
    """The joint sequence of token grids (t, y, x): source, target, mask, reference; None for an absent one.

    A mask that has tokens of its own (ConditionConfig.mask "sequence") stands where the source does, or goes on after the target.
    """
    n = int(np.prod(target))
    parts, first_t, s = [], 0, 0
    if source is not None:
        parts.append(grid_positions(*source))
        s = len(parts[0])
        first_t = source[0] if condition.rope == "contiguous" else 0
    parts.append(grid_positions(*target, first_t=first_t))
    if mask is not None:
        first_t += mask[0] if condition.rope == "contiguous" else 0
        parts.append(grid_positions(*mask, first_t=first_t))
    if reference is not None:
        parts.append(grid_positions(*reference, first_t=first_t + target[0]))
    return Layout(np.concatenate(parts), slice(s, s + n), tuple(target))
