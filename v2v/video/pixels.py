"""Scaling between the levels of a picture, 0..255, and the range -1..1 that autoencoder and LPIPS take.

Both functions call only methods and operators of their argument, so they serve NumPy arrays and, inside and outside of `jax.jit`, JAX arrays.
"""

from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    import jax

ArrayType = TypeVar("ArrayType", "np.ndarray", "jax.Array")

# Half of the range of levels: 0 becomes -1 and 255 becomes 1.
HALF_RANGE = 127.5


def normalize_pixels(levels: ArrayType) -> ArrayType:
    """Scale levels 0..255 to -1..1.

    Args:
      levels: of any shape and real dtype; uint8 is usual.

    Returns:
      float32 of the same shape, not clipped.
    """
    return levels.astype(np.float32) / HALF_RANGE - 1


def denormalize_pixels(values: ArrayType) -> ArrayType:
    """Scale values -1..1 to levels 0..255.

    Args:
      values: floating-point numbers of any shape.

    Returns:
      Levels of the same shape and dtype, neither rounded nor clipped.
    """
    return (values + 1) * HALF_RANGE
