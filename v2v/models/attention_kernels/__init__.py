"""Attention kernels behind `attention.attend`, one file each, all with one signature (`Kernel`).

    plain    einsum, softmax, einsum: any platform and type; stores the [b h l s] logits
    chunked  a few hundred queries and keys of a head at a time: CPUs, where `auto` selects it for all but the shortest sequences
    cudnn    cuDNN's fused attention: NVIDIA GPUs, bfloat16
    splash   Pallas' splash attention: TPUs; pads to its blocks and masks the padding

parallel.py runs any of them on a mesh. Names come from `DiTConfig.backend`; `auto` selects by platform and size.
"""

from typing import Protocol, runtime_checkable

import jax
import numpy as np

from v2v.errors import InputError
from v2v.models.attention_kernels import chunked, cudnn, plain, splash
from v2v.runtime.platform import target_platform


@runtime_checkable
class Kernel(Protocol):
    """softmax(q kᵀ / √k) v on one device.

    To add one, write a file with such a function, enter it in `KERNELS` (and in `KERNEL_PLATFORMS` if it is bound to a platform), and
    its name in `DiTConfig.backend`.
    """

    def __call__(
        self,
        q: jax.Array,
        k: jax.Array,
        v: jax.Array,
        length: int | None = None,
        *,
        tensor: str = "self_attention",
    ) -> jax.Array:
        """Attend.

        Args:
          q: queries, [b, l, h, k].
          k: keys, [b, s, h, k].
          v: values, [b, s, h, k].
          length: number of keys that count, the rest being padding; None for all.
          tensor: name under which the result and what its gradient needs are kept for the backward pass (rematerialization.py).

        Returns:
          [b, l, h, k], in the type of the values.
        """
        ...


KERNELS: dict[str, Kernel] = {
    "plain": plain.attend,
    "chunked": chunked.attend,
    "cudnn": cudnn.attend,
    "splash": splash.attend,
}

# The only platform of a kernel, where it has one.
KERNEL_PLATFORMS = {"cudnn": "gpu", "splash": "tpu"}

# Bytes of logits up to which `auto` stays plain on GPUs and TPUs: nothing to save, and a kernel's blocks would be mostly padding.
MAX_PLAIN_LOGITS = 2**26


def select_kernel(
    name: str, q: jax.Array | jax.ShapeDtypeStruct, k: jax.Array | jax.ShapeDtypeStruct
) -> Kernel:
    """Return the kernel of a name for these operands on this platform.

    Args:
      name: one of `KERNELS`, or auto.
      q: queries, [b, l, h, k]; only shape and type are used.
      k: keys, [b, s, h, k].

    Raises:
      InputError: the kernel doesn't exist, or can't run here or with this type.
    """
    platform = target_platform()
    if name == "auto":
        logits = 4 * int(np.prod(q.shape[:3])) * k.shape[1]
        fused = {"gpu": "cudnn", "tpu": "splash"}.get(platform, "chunked")
        is_worthwhile = {
            "cudnn": logits > MAX_PLAIN_LOGITS and cudnn.is_supported(q),
            "chunked": chunked.is_faster(q, k),
        }
        name = fused if is_worthwhile.get(fused, logits > MAX_PLAIN_LOGITS) else "plain"
    if name not in KERNELS:
        raise InputError(f"attention: backend must be auto or one of {', '.join(KERNELS)}, got {name!r}")
    if KERNEL_PLATFORMS.get(name, platform) != platform:
        raise InputError(
            f"attention: backend {name!r} runs on {KERNEL_PLATFORMS[name].upper()}s, this is a {platform.upper()};"
            " set dit.backend to auto or plain"
        )
    if name == "cudnn" and not cudnn.is_supported(q):
        raise InputError(
            f"attention: cuDNN takes bfloat16 or float16 heads of a multiple of 8 up to 128, got {q.dtype} heads of"
            f" {q.shape[-1]}; set dit.dtype to bfloat16 or dit.backend to plain"
        )
    return KERNELS[name]
