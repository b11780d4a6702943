"""Conversions of pixel values: levels 0..255 to the range -1..1 that autoencoder and LPIPS take, and back; floats to bytes.

The functions that scale call only methods and operators of their argument, so they take NumPy arrays and, inside and outside of
`jax.jit`, JAX arrays.
"""

from typing import TYPE_CHECKING, TypeVar

import cv2
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
    return levels.astype(np.float32) / HALF_RANGE - 1  # pyright: ignore[reportReturnType]


def denormalize_pixels(values: ArrayType) -> ArrayType:
    """Scale values -1..1 to levels 0..255.

    Args:
      values: floating-point numbers of any shape.

    Returns:
      Levels of the same shape and dtype, neither rounded nor clipped.
    """
    return (values + 1) * HALF_RANGE


def round_to_uint8(levels: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Round levels to the nearest integer and clip them to 0..255, in one pass.

    Args:
      levels: float32 [...].
      out: uint8 of the same shape, overwritten with the result; None for a new array.
    """
    # OpenCV adds numbers too, which its stubs don't say.
    return cv2.add(levels, 0.0, dst=out, dtype=cv2.CV_8U)  # pyright: ignore[reportCallIssue, reportArgumentType]
