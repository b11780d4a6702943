"""The memory of devices and of the host beside them, and arrays in the host's memory that programs read.

Weights that don't fit on a device may stay in the host's pinned memory (`in_host_memory`): a program takes them as arguments, and each layer of a scan
moves its own to the device while it runs (`move_to_device`), so that the device holds one or two layers at a time.
"""

import os
from dataclasses import dataclass
from typing import Any, Literal

import jax
from jax.sharding import Sharding, SingleDeviceSharding

from v2v.runtime import platform

# More than any device has.
UNLIMITED = 1 << 60


@dataclass(frozen=True)
class DeviceMemory:
    """The memory that a plan is made for.

    Attributes:
      device_bytes: of a device.
      host_bytes: free memory of the host beside it; 0 where it is the device's.
      platform: of the device.
    """

    device_bytes: int
    host_bytes: int
    platform: Literal["cpu", "gpu", "tpu"]


def local_memory() -> DeviceMemory:
    """Return the memory of this process's devices."""
    return DeviceMemory(device_bytes(), free_host_bytes(), platform.local_platform())


def remaining_memory() -> DeviceMemory:
    """Return the memory of this process's first device that nothing holds yet, such as weights of a training run."""
    whole, stats = local_memory(), jax.local_devices()[0].memory_stats() or {}
    used_bytes = stats.get("bytes_in_use", 0)
    return DeviceMemory(max(0, whole.device_bytes - used_bytes), whole.host_bytes, whole.platform)


def device_bytes(device: jax.Device | None = None) -> int:
    """Return the memory that programs may use on a device, or that of the machine where the device reports none, in bytes.

    Args:
      device: None for the first of this process. On GPUs it reports JAX's own share, three quarters of the card unless
        XLA_PYTHON_CLIENT_MEM_FRACTION says otherwise.
    """
    stats = (device or jax.local_devices()[0]).memory_stats() or {}
    return stats.get("bytes_limit") or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def peak_device_bytes() -> int:
    """Return the most memory that was in use on the first device of this process, in bytes; 0 where devices report none."""
    stats = jax.local_devices()[0].memory_stats() or {}
    return stats.get("peak_bytes_in_use", 0)


def free_host_bytes() -> int:
    """Return the free memory of the host beside the devices' own, in bytes; 0 where devices use the host's."""
    if jax.local_devices()[0].platform == "cpu":
        return 0
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")


def in_host_memory(place: Sharding | None) -> Sharding:
    """Return a sharding in the pinned memory of the host beside the same devices; None is the first device of this process."""
    place = place or SingleDeviceSharding(jax.local_devices()[0])
    return place.with_memory_kind("pinned_host")


def is_streamed(path: str) -> bool:
    """Return whether a parameter stays in the host's memory where a transformer's blocks are streamed: their kernels.

    The rest of a block is small, and TPUs can't take a layer of it out of the host's memory in the layout that it has on the device.
    """
    return path.startswith("blocks/") and path.endswith("/kernel")


def move_blocks_to_host(tree: dict) -> dict:
    """Return a transformer's parameters with the kernels of its blocks in the host's memory beside the devices that they are on."""

    def move(path: tuple, x: jax.Array) -> jax.Array:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        return jax.device_put(x, in_host_memory(x.sharding)) if is_streamed(name) else x

    return jax.tree_util.tree_map_with_path(move, tree)


def move_to_device(tree: Any) -> Any:
    """Return arrays in the memory of the device, inside a program."""
    return jax.tree.map(lambda x: jax.device_put(x, jax.memory.Space.Device), tree)
