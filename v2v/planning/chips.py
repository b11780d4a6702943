"""Chips and topologies: the figures of a chip, and the devices of "v6e:2x4" or "h100:8" to compile for, which need not be there.

    [Nx]CHIP:SHAPE      v5e:2x4, 2xv5e:2x4 (two slices), h100:8 (eight of a machine), 2xh100:8, rtx4090:1

TPUs need libtpu, GPUs jax's CUDA plugin (gpus.py).

Figures are the vendor's (cloud.google.com/tpu/docs: v5e, v5p, v6e, v4): peak bfloat16 rate, HBM rate and the sum of a chip's
links. `hbm` is the memory that the compiler lets a program use, slightly below the nominal 16, 32 and 95 GiB.
"""

import importlib.util
import math
import os
import re
from dataclasses import dataclass
from typing import Any, Literal

from v2v.errors import InputError
from v2v.planning import gpus

GIB = 2**30


@dataclass(frozen=True)
class Chip:
    """One kind of chip.

    Attributes:
      name: "v6e" and so on.
      hbm: bytes that a program may use.
      flops: peak bfloat16 operations per second.
      hbm_rate: bytes per second from and to memory.
      ici_rate: bytes per second over all links of a slice or machine, both directions counted once.
      platform: "tpu" or "gpu".
    """

    name: str
    hbm: float
    flops: float
    hbm_rate: float
    ici_rate: float
    platform: Literal["tpu", "gpu"] = "tpu"


CHIPS = {
    "v4": Chip("v4", 30.75 * GIB, 275e12, 1228e9, 300e9),
    "v5e": Chip("v5e", 15.75 * GIB, 197e12, 819e9, 200e9),
    "v5p": Chip("v5p", 95.74 * GIB, 459e12, 2765e9, 600e9),
    "v6e": Chip("v6e", 31.25 * GIB, 918e12, 1640e9, 448e9),
}


@dataclass(frozen=True)
class Topology:
    """A topology's name in its parts.

    Attributes:
      chip: the kind of chip.
      shape: such as "2x4", or a number of GPUs.
      slices: slices of TPUs, or machines with GPUs.
    """

    chip: Chip
    shape: str
    slices: int = 1

    @property
    def chips(self) -> int:
        """Return the number of chips."""
        return self.slices * math.prod(int(n) for n in self.shape.split("x"))


def parse_topology(name: str) -> Topology:
    """Return the parts of a topology's name; nothing needs to be installed.

    Raises:
      InputError: an unknown chip or another form.
    """
    match = re.fullmatch(r"(?:(\d+)x)?([a-z]\w*?):(\d+(?:x\d+){0,2})", name)
    kind, shape = (match[2], match[3]) if match else ("", "")
    is_gpu, slices = kind in gpus.GPUS, int(match[1] or 1) if match else 0
    if (
        not (is_gpu and shape.isdigit())
        and not (kind in CHIPS and "x" in shape)
        or min(slices, 1) < 1
        or "0" in shape.split("x")
    ):
        raise InputError(
            f"plan: expected a topology such as v5e:2x4, 2xv6e:4x4, v5p:4x4x4 or h100:8 (chips: {', '.join([*CHIPS, *gpus.GPUS])}), "
            f"got {name!r}"
        )
    if is_gpu:
        gpu = gpus.GPUS[kind]
        chip = Chip(kind, gpus.POOL * gpu.memory, gpu.flops, gpu.memory_rate, gpu.link_rate, "gpu")
        return Topology(chip, shape, slices)
    return Topology(CHIPS[kind], shape, slices)


def resolve_topology(name: str) -> tuple[Chip, list]:
    """Return the chip of a topology such as "v6e:2x4", and the devices to compile for, one per chip.

    Raises:
      InputError: an unknown topology, or what compiles for it is not installed.
    """
    topology = parse_topology(name)
    kind, shape = topology.chip.name, topology.shape
    if topology.chip.platform == "gpu":
        return topology.chip, gpus.absent_gpus(kind, int(shape), topology.slices)
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
    options: dict[str, Any] = {"chips_per_host_bounds": [1, 1, 1]} if set(shape.split("x")) == {"1"} else {}
    if topology.slices > 1:
        options["num_slices"] = topology.slices
    try:
        devices = topologies.get_topology_desc(f"{kind}:{shape}", platform="tpu", **options).devices
    except (RuntimeError, jax.errors.JaxRuntimeError) as err:
        reason = str(err).splitlines()[0]
        raise InputError(f"plan: the compiler knows no topology {name!r} ({reason}); try {kind}:2x4") from err
    return topology.chip, devices[:: len(devices) // topology.chips]
