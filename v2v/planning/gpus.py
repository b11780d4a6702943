"""NVIDIA GPUs to compile for that need not be present. Needs jax's CUDA plugin, but neither a GPU nor the CUDA libraries.

    pip install --no-deps jax-cuda12-plugin jax-cuda12-pjrt          of the version of jax

The plugin compiles for a description of a GPU in the compiler's own terms. Figures are the vendor's data sheets and CUDA's tables of
compute capabilities. Lowering and memory reports are those of a real GPU; plans that cuDNN and autotuning choose at run time are not.
"""

import importlib.util
import os
from dataclasses import dataclass

import jax

from v2v.errors import InputError

# Of the cuDNN that described GPUs have.
CUDNN_VERSION = (9, 10, 0)


@dataclass(frozen=True)
class GPU:
    """One kind of GPU.

    Attributes:
      device_kind: its name, as the driver reports it.
      memory: bytes.
      memory_rate: bytes per second from and to memory.
      flops: peak dense bfloat16 operations per second.
      link_rate: bytes per second that it sends to the others of its machine: NVLink, or PCIe for cards without it.
      capability: compute capability, (major, minor).
      cores: streaming multiprocessors.
      clock_ghz: boost clock.
      l2_bytes: second-level cache.
      shared_bytes: shared memory of a multiprocessor; a block may use all but 1 KiB.
    """

    device_kind: str
    memory: int
    memory_rate: float
    flops: float
    link_rate: float
    capability: tuple[int, int]
    cores: int
    clock_ghz: float
    l2_bytes: int
    shared_bytes: int


# Of a card's memory, what JAX gives to programs unless XLA_PYTHON_CLIENT_MEM_FRACTION says otherwise.
POOL = 0.75
GPUS = {
    "h100": GPU(
        "NVIDIA H100 80GB HBM3", 84978434048, 3.352e12, 989e12, 450e9, (9, 0), 132, 1.98, 50 << 20, 228 << 10
    ),
    "a100": GPU(
        "NVIDIA A100-SXM4-80GB", 84974239744, 2.039e12, 312e12, 300e9, (8, 0), 108, 1.41, 40 << 20, 164 << 10
    ),
    "rtx4090": GPU(
        "NVIDIA GeForce RTX 4090", 25384321024, 1.008e12, 165e12, 32e9, (8, 9), 128, 2.52, 72 << 20, 100 << 10
    ),
}


def absent_gpus(kind: str, count: int, machines: int = 1) -> list[jax.Device]:
    """Return devices to compile for.

    Args:
      kind: one of `GPUS`.
      count: number of devices of one machine.
      machines: number of machines.

    Raises:
      InputError: an unknown kind, or the plugin is not installed.
    """
    if kind not in GPUS or count < 1:
        raise InputError(f"plan: expected a GPU of {', '.join(GPUS)} and a count, got {kind}:{count}")
    if not has_cuda_plugin():
        raise InputError(
            "plan: compiling for GPUs needs jax's CUDA plugin; pip install --no-deps jax-cuda12-plugin jax-cuda12-pjrt"
        )
    os.environ.setdefault("JAX_SKIP_CUDA_CONSTRAINTS_CHECK", "1")
    from jax.experimental import topologies

    _assume_cudnn()
    return topologies.get_topology_desc(
        "", platform="cuda", target_config=describe_target(GPUS[kind]), topology=f"1x{machines}x{count}"
    ).devices


def has_cuda_plugin() -> bool:
    """Return whether jax can compile for GPUs here."""
    return importlib.util.find_spec("jax_cuda12_plugin") is not None


def _assume_cudnn() -> None:
    """Tell jax's attention the version of cuDNN in this process, which it asks of the library; that need not be installed."""
    from jax._src.cudnn import fused_attention_stablehlo

    major, minor, patch = CUDNN_VERSION
    fused_attention_stablehlo.check_cudnn_version = lambda: 10000 * major + 100 * minor + patch


def describe_target(gpu: GPU) -> str:
    """Return the compiler's description of a GPU, a text-format GpuTargetConfigProto."""
    registers, (major, minor) = 65536, gpu.capability
    device = {
        "threads_per_block_limit": 1024,
        "threads_per_warp": 32,
        "shared_memory_per_block": 48 << 10,
        "shared_memory_per_core": gpu.shared_bytes,
        "shared_memory_per_block_optin": gpu.shared_bytes - (1 << 10),
        "threads_per_core_limit": 1536 if gpu.capability == (8, 9) else 2048,
        "core_count": gpu.cores,
        "fpus_per_core": 64 if gpu.capability == (8, 0) else 128,
        "block_dim_limit_x": 2**31 - 1,
        "block_dim_limit_y": 65535,
        "block_dim_limit_z": 65535,
        "memory_bandwidth": int(gpu.memory_rate),
        "l2_cache_size": gpu.l2_bytes,
        "clock_rate_ghz": gpu.clock_ghz,
        "device_memory_size": gpu.memory,
        "registers_per_core_limit": registers,
        "registers_per_block_limit": registers,
    }
    fields = " ".join(f"{name}: {value}" for name, value in device.items())
    cudnn = "major: {} minor: {} patch: {}".format(*CUDNN_VERSION)
    return (
        f"gpu_device_info {{ {fields} cuda_compute_capability {{ major: {major} minor: {minor} }} }}\n"
        f'platform_name: "CUDA"\ndnn_version_info {{ {cudnn} }}\ndevice_description_str: "{gpu.device_kind}"\n'
    )
