"""The memory of devices and of the host beside them."""

import os

import jax


def device_bytes(device: jax.Device | None = None) -> int:
    """Return the memory that programs may use on a device, or that of the machine where the device reports none, in bytes.

    Args:
      device: None for the first of this process. On GPUs it reports JAX's own share, three quarters of the card unless
        XLA_PYTHON_CLIENT_MEM_FRACTION says otherwise.
    """
    stats = (device or jax.local_devices()[0]).memory_stats() or {}
    return stats.get("bytes_limit") or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def free_host_bytes() -> int:
    """Return the free memory of the host beside the devices' own, in bytes; 0 where devices use the host's."""
    if jax.local_devices()[0].platform == "cpu":
        return 0
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
