"""The platform that code is compiled for, and operations whose best form depends on it: for layers and attention kernels."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from v2v.array_types import Array, Float


def target_platform() -> str:
    """Return cpu, gpu or tpu: of the mesh compiled for, whose devices may be absent (`v2v plan`), else JAX's default."""
    device = jax.sharding.get_abstract_mesh().abstract_device
    if device is None:
        return jax.default_backend()
    kind = device.device_kind.lower()
    return next((p for p in ("tpu", "cpu") if p in kind), "gpu")


def target_kind() -> str:
    """Return the kind of device that code is compiled for, such as "TPU v6 lite": of the mesh compiled for, else of this process's."""
    device = jax.sharding.get_abstract_mesh().abstract_device
    return jax.local_devices()[0].device_kind if device is None else device.device_kind


def local_platform() -> Literal["cpu", "gpu", "tpu"]:
    """Return cpu, gpu or tpu: of this process's devices."""
    name = jax.local_devices()[0].platform
    return "tpu" if name == "tpu" else "cpu" if name == "cpu" else "gpu"


def product_dtype(dtype: DTypeLike) -> DTypeLike:
    """Return the type to which the device that code is compiled for rounds the factors of products of `dtype`.

    TPUs round float32 to bfloat16 unless a higher precision is asked for (`jax.default_matmul_precision`). Sums are of `dtype`.
    """
    config: Any = jax.config
    precision = config.jax_default_matmul_precision
    is_rounded = target_platform() == "tpu" and precision in (None, "default", "bfloat16")
    return jnp.bfloat16 if is_rounded and jnp.dtype(dtype) == jnp.float32 else dtype


def transpose_in_memory(x: Float[Array, "l i"]) -> Float[Array, "i l"]:
    """Return the transpose, stored in memory when compiling for a CPU: matrix products that read it are then twice as fast.

    XLA folds a transpose into the product, which on CPUs sums over rows of both factors at half its rate.
    """
    return jax.lax.optimization_barrier(x.T) if target_platform() == "cpu" else x.T


def materialize(x: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """Return x, computed by itself when compiling for a CPU.

    XLA transposes a thin product to suit what follows, which then runs at a fifth of its rate.
    """
    return jax.lax.optimization_barrier(x) if target_platform() == "cpu" else x
