"""cuDNN's fused attention by `jax.nn.dot_product_attention`, for NVIDIA GPUs with bfloat16 or float16.

Within 2e-2 of the plain kernel in bfloat16 (one rounding of the weights is elsewhere); the backward pass is fused as well.
"""

from typing import Literal

import jax
import jax.numpy as jnp

from v2v.array_types import Array, Float


def attend(
    q: Float[Array, "b l h k"],
    k: Float[Array, "b s h k"],
    v: Float[Array, "b s h k"],
    length: int | None = None,
    implementation: Literal["xla", "cudnn"] = "cudnn",
    *,
    tensor: str = "self_attention",
) -> Float[Array, "b l h k"]:
    """Attend (see `Kernel`).

    Args:
      q: queries.
      k: keys.
      v: values.
      length: number of keys that count; None for all.
      implementation: "xla" runs the same call without cuDNN, for tests without a GPU.
      tensor: without effect: rematerialization.py knows cuDNN's call by its primitive.
    """
    del tensor
    lengths = None
    if length is not None and length < k.shape[1]:
        lengths = jnp.full(k.shape[:1], length, jnp.int32)
    return jax.nn.dot_product_attention(q, k, v, key_value_seq_lengths=lengths, implementation=implementation)


def is_supported(q: jax.Array | jax.ShapeDtypeStruct) -> bool:
    """Return whether cuDNN takes heads of this type and size."""
    return q.dtype in (jnp.bfloat16, jnp.float16) and q.shape[-1] <= 128 and q.shape[-1] % 8 == 0
