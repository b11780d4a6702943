"""Chips and topologies: the figures of a chip, and the devices of "v6e:2x4" to compile for. Needs libtpu, but no TPU.

Figures are the vendor's (cloud.google.com/tpu/docs: v5e, v5p, v6e, v4): peak bfloat16 rate, HBM rate and the sum of a chip's
links. `hbm` is the memory that the compiler lets a program use, slightly below the nominal 16, 32 and 95 GiB.
"""

import importlib.util
import math
import os
import re
from dataclasses import dataclass

from v2v.errors import InputError

GIB = 2**30


@dataclass(frozen=True)
class Chip:
    """One kind of chip.

    Attributes:
      name: "v6e" and so on.
      hbm: bytes that a program may use.
      flops: peak bfloat16 operations per second.
      hbm_rate: bytes per second from and to memory.
      ici_rate: bytes per second over all links, both directions counted once.
    """

    name: str
    hbm: float
    flops: float
    hbm_rate: float
    ici_rate: float


CHIPS = {
    "v4": Chip("v4", 30.75 * GIB, 275e12, 1228e9, 300e9),
    "v5e": Chip("v5e", 15.75 * GIB, 197e12, 819e9, 200e9),
    "v5p": Chip("v5p", 95.74 * GIB, 459e12, 2765e9, 600e9),
    "v6e": Chip("v6e", 31.25 * GIB, 918e12, 1640e9, 448e9),
}


def resolve_topology(name: str) -> tuple[Chip, list]:
    """Return the chip of a topology such as "v6e:2x4", and the devices to compile for, one per chip.

    Raises:
      InputError: an unknown topology, or libtpu is not installed.
    """
    kind, _, shape = name.partition(":")
    if kind not in CHIPS or not re.fullmatch(r"\d+x\d+(x\d+)?", shape):
        raise InputError(
            f"plan: expected a topology such as v5e:2x4, v6e:2x4 or v5p:4x4x4 (chips: {', '.join(CHIPS)}), got {name!r}"
        )
    if importlib.util.find_spec("libtpu") is None:
        raise InputError("plan: compiling for TPUs needs libtpu; pip install 'v2v-edit[plan]'")
    for variable, value in (
        # There is no metadata server.
        ("TPU_SKIP_MDS_QUERY", "1"),
        ("TPU_WORKER_HOSTNAMES", "localhost"),
        ("TPU_ACCELERATOR_TYPE", "v5litepod-1"),
        # No device is opened, so a running job does not matter.
        ("ALLOW_MULTIPLE_LIBTPU_LOAD", "1"),
    ):
        os.environ.setdefault(variable, value)

    import jax
    from jax.experimental import topologies

    # A single chip, as notebooks lend it, is less than the machine that the compiler expects.
    options = {"chips_per_host_bounds": [1, 1, 1]} if set(shape.split("x")) == {"1"} else {}
    try:
        devices = topologies.get_topology_desc(name, platform="tpu", **options).devices
    except (RuntimeError, jax.errors.JaxRuntimeError) as err:
        reason = str(err).splitlines()[0]
        raise InputError(f"plan: the compiler knows no topology {name!r} ({reason}); try {kind}:2x4") from err
    chips = math.prod(int(n) for n in shape.split("x"))
    return CHIPS[kind], devices[:: len(devices) // chips]
