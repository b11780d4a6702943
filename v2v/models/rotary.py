"""Rotary position embedding in three dimensions: positions of tokens, angles, and the rotation of queries and keys.

A head of size k gives k - 2·2⌊k/6⌋ channels to time and 2⌊k/6⌋ each to height and width (128 → 44, 42, 42). On an axis with
D channels, pair j is rotated by p · theta^(-2j/D) at position p; pairs are interleaved, (x0, x1), (x2, x3), …
"""

import jax
import jax.numpy as jnp
import numpy as np

from v2v.array_types import Array, Float


def grid_positions(t: int, y: int, x: int, first_t: int = 0) -> np.ndarray:
    """Return the positions (t, y, x), int [t·y·x, 3], of a token grid flattened in that order.

    Args:
      t: tokens along time.
      y: tokens along height.
      x: tokens along width.
      first_t: temporal position of the first tokens.
    """
    axes = np.meshgrid(np.arange(first_t, first_t + t), np.arange(y), np.arange(x), indexing="ij")
    return np.stack(axes, -1).reshape(-1, 3)


def rotary_angles(
    positions: np.ndarray, head_dim: int, theta: float, source_ids: np.ndarray | None = None
) -> np.ndarray:
    """Return the angles, float32 [l, k/2], of every pair of channels.

    They are computed in float64 on the host and rounded, as in both published implementations.

    Args:
      positions: (t, y, x) of every token, int [l, 3].
      head_dim: channels k of a head.
      theta: base of the frequencies.
      source_ids: of every token's segment, [l], a fourth position that rotates all pairs of the head: pair j by id · theta^(-2j/k). None
        for none.
    """
    side = 2 * (head_dim // 6)
    angles = []
    for axis, dim in enumerate((head_dim - 2 * side, side, side)):
        freq = theta ** (-np.arange(0, dim, 2, dtype=np.float64) / dim)
        angles.append(positions[:, axis, None] * freq)
    total = np.concatenate(angles, -1)
    if source_ids is not None:
        total = total + source_ids[:, None] * theta ** (
            -np.arange(0, head_dim, 2, dtype=np.float64) / head_dim
        )
    return total.astype(np.float32)


def rotary_table(angles: Float[Array, "l k2"]) -> Float[Array, "2 l k2"]:
    """Return cosines and sines, computed once for all layers and heads."""
    return jnp.stack([jnp.cos(angles), jnp.sin(angles)])


@jax.custom_vjp
def apply_rotary(x: Float[Array, "b l h k"], table: Float[Array, "2 l k2"]) -> Float[Array, "b l h k"]:
    """Rotate each interleaved pair of channels of every head by its token's angles, in float32.

    The gradient is the rotation in the other direction; the table gets none.
    """
    cos, sin = table[:, :, None]
    even, odd = x[..., 0::2], x[..., 1::2]
    return jnp.stack([even * cos - odd * sin, even * sin + odd * cos], -1).reshape(x.shape)


def _rotate_forward(x, table):
    return apply_rotary(x, table), table


def _rotate_backward(table, dy):
    return apply_rotary(dy, table * np.array([1, -1], np.float32)[:, None, None]), None


apply_rotary.defvjp(_rotate_forward, _rotate_backward)
