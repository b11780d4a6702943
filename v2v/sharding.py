"""Where arrays live: the mesh, and the two layouts training uses today. loop.py and the experiments → **sharding**

Mesh axes are ("data", "fsdp", "seq", "tensor"); each may be 1. Batches are split over data and fsdp, everything else is
replicated. On a CPU, `cpu_devices(n)` called before JAX starts makes n devices of it, so that a data-parallel step keeps n cores
busy (one noisy trial on two cores: 31 ms a sample against 44 on one device).
"""

import os

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from v2v.errors import InputError

AXES = ("data", "fsdp", "seq", "tensor")


def cpu_devices(n: int) -> None:
    """Ask for n CPU devices; only before the first use of JAX, and never over a setting of the user's."""
    flags = os.environ.get("XLA_FLAGS", "")
    if "host_platform_device_count" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count={n}".strip()


def make_mesh(data: int = -1, fsdp: int = 1, seq: int = 1, tensor: int = 1) -> Mesh:
    """A mesh over all devices; one size may be -1 and takes what is left.

    Raises:
      InputError: the sizes don't multiply to the number of devices.
    """
    sizes, n = [data, fsdp, seq, tensor], jax.device_count()
    if sizes.count(-1) == 1:
        rest = -int(np.prod(sizes))
        sizes[sizes.index(-1)] = n // rest if n % rest == 0 else 0
    if int(np.prod(sizes)) != n or min(sizes) < 1:
        asked = dict(zip(AXES, (data, fsdp, seq, tensor), strict=True))
        raise InputError(
            f"mesh: expected sizes that multiply to {n} devices, got {asked}; set one of them to -1"
        )
    return jax.make_mesh(sizes, AXES, axis_types=(AxisType.Auto,) * 4)


def batch(mesh: Mesh, size: int) -> NamedSharding:
    """Leading axis, `size` long, over data and fsdp. Raises InputError when it doesn't divide."""
    parts = mesh.shape["data"] * mesh.shape["fsdp"]
    if size % parts:
        raise InputError(
            f"batch: expected a multiple of the {parts} data-parallel devices, got {size}; change it"
        )
    return NamedSharding(mesh, PartitionSpec(("data", "fsdp")))


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())
