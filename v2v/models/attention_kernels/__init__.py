"""The kernels that can stand behind `attention.attend`, one file each, all of one signature. **backends** → attention.py

    kernel(q [b l h k], k [b s h k], v [b s h k], length) → [b l h k]         softmax(q kᵀ / √k) v over the first `length` keys
  plain    einsum, softmax, einsum: any platform and dtype; stores the [b h l s] logits
  chunked  a few hundred queries and keys of a head at a time: CPUs, where `auto` takes it for all but the shortest sequences
  cudnn    cuDNN's fused attention: NVIDIA GPUs, bfloat16
  splash   Pallas' splash attention: TPUs; pads to its blocks and masks what it added
parallel.py runs any of them on a mesh. Names come from `DiTConfig.backend`; `auto` asks the platform.
"""

from collections.abc import Callable

import jax
import numpy as np

from v2v.errors import InputError
from v2v.models.attention_kernels import chunked, cudnn, plain, splash
from v2v.runtime.platform import target_platform

Kernel = Callable[..., jax.Array]
KERNELS: dict[str, Kernel] = {
    "plain": plain.attend,
    "chunked": chunked.attend,
    "cudnn": cudnn.attend,
    "splash": splash.attend,
}
KERNEL_PLATFORMS = {"cudnn": "gpu", "splash": "tpu"}  # where else a kernel can't run
# Bytes of logits below which `auto` stays plain on GPUs and TPUs: nothing to save, and a kernel's blocks would be mostly padding.
MAX_PLAIN_LOGITS = 2**26


def select_kernel(name: str, q: jax.Array, k: jax.Array) -> Kernel:
    """The kernel that `name` stands for with these operands on this platform.

    Raises:
      InputError: it doesn't exist, or can't run here or on this dtype.
    """
    platform = target_platform()
    if name == "auto":
        logits = 4 * int(np.prod(q.shape[:3])) * k.shape[1]
        fused = {"gpu": "cudnn", "tpu": "splash"}.get(platform, "chunked")
        pays = {
            "cudnn": logits > MAX_PLAIN_LOGITS and cudnn.is_supported(q),
            "chunked": chunked.is_faster(q, k),
        }
        name = fused if pays.get(fused, logits > MAX_PLAIN_LOGITS) else "plain"
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
