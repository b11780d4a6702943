"""Latents as tokens: patches, and where each input's tokens sit in the joint sequence, known before anything is computed."""

from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
import numpy as np

from v2v.array_types import Array, ConditionLatents, Float, Latents
from v2v.models.rotary import grid_positions

# A part of the joint sequence, for passes over a part only (kv_cache.py).
SequencePart = Literal["all", "conditions", "target"]
# Tokens along time, height and width.
Grid = tuple[int, int, int]


def patchify(z: ConditionLatents, patch: Grid) -> Float[Array, "b l e"]:
    """Cut latents into patches, flattened in order t, y, x; inside a patch the channel comes first (c, pt, py, px)."""
    b, t, y, x, c = z.shape
    pt, py, px = patch
    blocks = jnp.asarray(z).reshape(b, t // pt, pt, y // py, py, x // px, px, c)
    return blocks.transpose(0, 1, 3, 5, 7, 2, 4, 6).reshape(
        b, (t // pt) * (y // py) * (x // px), c * pt * py * px
    )


def unpatchify(u: Float[Array, "b l e"], grid: Grid, patch: Grid) -> Latents:
    """Join the head's output to latents; unlike in `patchify`, the channel comes last inside a patch (pt, py, px, c)."""
    (t, y, x), (pt, py, px) = grid, patch
    u = u.reshape(u.shape[0], t, y, x, pt, py, px, -1)
    return u.transpose(0, 1, 4, 2, 5, 3, 6, 7).reshape(u.shape[0], t * pt, y * py, x * px, -1)


@dataclass(frozen=True)
class Segment:
    """The tokens of one input in the joint sequence.

    Attributes:
      name: "target" or that of a condition.
      grid: its tokens along t, y, x.
      first_t: temporal position of its first tokens.
      source_id: what tells segments at the same positions apart (layout "segments"); 0 rotates nothing.
    """

    name: str
    grid: Grid
    first_t: int = 0
    source_id: float = 0

    @property
    def length(self) -> int:
        """Return the number of tokens."""
        return int(np.prod(self.grid))


@dataclass(frozen=True)
class Layout:
    """Where everything sits in the joint sequence, known before anything is computed.

    Attributes:
      segments: in the order of the sequence; one of them is the target.
      clean_conditions: whether condition tokens have flow time 0, and not the target's.
    """

    segments: tuple[Segment, ...]
    clean_conditions: bool = True

    @property
    def target(self) -> slice:
        """Return the target's tokens."""
        names = [s.name for s in self.segments]
        i = names.index("target")
        start = sum(s.length for s in self.segments[:i])
        return slice(start, start + self.segments[i].length)

    @property
    def grid(self) -> Grid:
        """Return the target's token grid."""
        return next(s.grid for s in self.segments if s.name == "target")

    @property
    def length(self) -> int:
        """Return the number of tokens of the sequence."""
        return sum(s.length for s in self.segments)

    @property
    def positions(self) -> np.ndarray:
        """Return the integer positions (t, y, x) of all tokens, [l, 3]."""
        return np.concatenate([grid_positions(*s.grid, first_t=s.first_t) for s in self.segments])

    @property
    def source_ids(self) -> np.ndarray | None:
        """Return the id of each token's segment, float64 [l]; None where all are 0."""
        if not any(s.source_id for s in self.segments):
            return None
        return np.concatenate([np.full(s.length, float(s.source_id)) for s in self.segments])

    @property
    def noisy(self) -> np.ndarray:
        """Return which tokens are modulated by the target's flow time, bool [l]; the others are at flow time 0."""
        noisy = np.full(self.length, not self.clean_conditions)
        noisy[self.target] = True
        return noisy

    def rows(self, part: SequencePart) -> slice | np.ndarray:
        """Return the tokens of a part of the sequence: the target's, the conditions' (all others, in order), or all."""
        if part == "conditions":
            return np.delete(np.arange(self.length), self.target)
        return self.target if part == "target" else slice(None)
