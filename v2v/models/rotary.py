"""3-D rotary positions: grid → integer positions → phases → turns → rotated q and k. Between conditioning.py and attention.py.

A head of size k gives k - 2·2⌊k/6⌋ channels to time and 2⌊k/6⌋ each to height and width (128 → 44, 42, 42). On an axis with
D channels, pair j turns by  p · theta^(-2j/D)  at position p; pairs are interleaved, (x0, x1), (x2, x3), …
"""

import jax
import jax.numpy as jnp
import numpy as np

from v2v.array_types import Array, Float


def grid_positions(t: int, y: int, x: int, first_t: int = 0) -> np.ndarray:
    """Positions [t·y·x, 3] of a token grid flattened in order t, y, x; time starts at `first_t`."""
    axes = np.meshgrid(np.arange(first_t, first_t + t), np.arange(y), np.arange(x), indexing="ij")
    return np.stack(axes, -1).reshape(-1, 3)


def rotary_angles(positions: np.ndarray, head_dim: int, theta: float) -> np.ndarray:
    """Angles [l, k/2] in float64 on the host, stored as float32 (as both published implementations do)."""
    side = 2 * (head_dim // 6)
    angles = []
    for axis, dim in enumerate((head_dim - 2 * side, side, side)):
        freq = theta ** (-np.arange(0, dim, 2, dtype=np.float64) / dim)
        angles.append(positions[:, axis, None] * freq)
    return np.concatenate(angles, -1).astype(np.float32)


def rotary_table(angles: Float[Array, "l k2"]) -> Float[Array, "2 l k2"]:
    """Cosines and sines, made once for all layers and heads."""
    return jnp.stack([jnp.cos(angles), jnp.sin(angles)])


@jax.custom_vjp
def apply_rotary(x: Float[Array, "b l h k"], turns: Float[Array, "2 l k2"]) -> Float[Array, "b l h k"]:
    """Turn each interleaved channel pair of every head by its token's angles, in float32. Its gradient is turned back."""
    cos, sin = turns[:, :, None]
    even, odd = x[..., 0::2], x[..., 1::2]
    return jnp.stack([even * cos - odd * sin, even * sin + odd * cos], -1).reshape(x.shape)


def _rotate_forward(x, turns):
    return apply_rotary(x, turns), turns


def _rotate_backward(turns, dy):
    return apply_rotary(dy, turns * np.float32([1, -1])[:, None, None]), None


apply_rotary.defvjp(_rotate_forward, _rotate_backward)
