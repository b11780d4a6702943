"""What the compiled code will run on, where the model's layers and kernels must know it. **platform** → layers.py, backends/"""

import jax

from v2v.array_types import Array, Float


def target_platform() -> str:
    """cpu, gpu or tpu: of the mesh compiled for, which may not be attached (`v2v plan`), else JAX's default."""
    device = getattr(jax.sharding.get_abstract_mesh(), "abstract_device", None)
    if device is None:
        return jax.default_backend()
    kind = device.device_kind.lower()
    return next((p for p in ("tpu", "cpu") if p in kind), "gpu")


def transpose_in_memory(x: Float[Array, "l i"]) -> Float[Array, "i l"]:
    """The transpose, laid out in memory when compiling for a CPU: matrix products that read it are then twice as fast.

    XLA folds a transpose into the product, which on CPUs sums over rows of both factors at half its rate.
    """
    return jax.lax.optimization_barrier(x.T) if target_platform() == "cpu" else x.T


def materialize(x: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """x, made by itself when compiling for a CPU: a thin product that XLA turns round to suit what follows runs at a fifth of its rate."""
    return jax.lax.optimization_barrier(x) if target_platform() == "cpu" else x
