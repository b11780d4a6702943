"""Devices: which one is used, by the choice of `--device`, and how it is called; hints where a machine has one that JAX doesn't use."""

import contextlib
import importlib.util
import os
import re
from pathlib import Path

from v2v.errors import InputError

PLATFORMS = {"cpu": "cpu", "gpu": "cuda", "tpu": "tpu"}
# Which of several devices of a machine a process sees.
VISIBLE = {"gpu": "CUDA_VISIBLE_DEVICES", "tpu": "TPU_VISIBLE_CHIPS"}
# With one chip of a host that has several, libtpu must be told that it is alone.
SINGLE_CHIP = {"TPU_CHIPS_PER_PROCESS_BOUNDS": "1,1,1", "TPU_PROCESS_BOUNDS": "1,1,1"}
INSTALL = {
    "gpu": 'pip install -U "jax[cuda12]" (CUDA 13: "jax[cuda13]")',
    "tpu": 'pip install -U "jax[tpu]"',
}
# Device files of the drivers.
NVIDIA_FILE = "/dev/nvidia0"
TPU_FILES = ("/dev/accel0", "/dev/vfio/0")
PCI_DEVICES = "/sys/bus/pci/devices"
GOOGLE_VENDOR = "0x1ae0"
# What installs JAX's support of GPUs.
GPU_PLUGINS = ("jax_cuda12_plugin", "jax_cuda13_plugin", "jax_rocm7_plugin", "jax_rocm60_plugin")


def skip_absent_tpu() -> None:
    """Keep JAX from starting libtpu where there is no TPU, which prints lines of errors; to be called before JAX is imported.

    It is installed on such machines too, as `v2v plan` compiles with it. Where JAX has a GPU, or the user chose platforms, nothing is done.
    """
    if "JAX_PLATFORMS" in os.environ or importlib.util.find_spec("libtpu") is None or has_tpu():
        return
    if not any(importlib.util.find_spec(plugin) for plugin in GPU_PLUGINS):
        os.environ["JAX_PLATFORMS"] = "cpu"


def has_tpu() -> bool:
    """Return whether this machine seems to have a TPU, from device files and the PCI bus."""
    if any(Path(file).exists() for file in TPU_FILES):
        return True
    for vendor in Path(PCI_DEVICES).glob("*/vendor"):
        with contextlib.suppress(OSError):
            if vendor.read_text().strip() == GOOGLE_VENDOR:
                return True
    return False


def select_device(choice: str) -> None:
    """Restrict this process to a device; to be called before JAX has started a platform.

    Args:
      choice: cpu, gpu or tpu, or gpu:N or tpu:N for one of several; "" to leave the choice to JAX.

    Raises:
      InputError: no such choice, or a platform that JAX can't start here.
    """
    if not choice:
        return
    match = re.fullmatch(r"(cpu|gpu|tpu)(?::(\d+))?", choice)
    if match is None or (match[1] == "cpu" and match[2]):
        raise InputError(f"--device: expected cpu, gpu, tpu, gpu:N or tpu:N, got {choice}")
    kind, number = match[1], match[2]
    if number is not None:
        visible = [n for n in os.environ.get(VISIBLE[kind], "").split(",") if n]
        if visible and int(number) >= len(visible):
            raise InputError(f"--device {choice}: {VISIBLE[kind]} shows {len(visible)}, numbered from 0")
        os.environ[VISIBLE[kind]] = visible[int(number)] if visible else number
        if kind == "tpu":
            os.environ.update(SINGLE_CHIP)
    import jax

    jax.config.update("jax_platforms", PLATFORMS[kind])
    try:
        platform = jax.local_devices()[0].platform
    # Without the plugin of a platform JAX fails by an assertion.
    except (RuntimeError, AssertionError) as err:
        reason = (str(err).strip() or "it has no support for it").splitlines()[0][:200]
        remedy = f"; install JAX for it: {INSTALL[kind]}" if kind in INSTALL else ""
        raise InputError(f"--device {choice}: JAX can't start it ({reason}){remedy}") from err
    if platform != kind:
        raise InputError(
            f"--device {choice}: this process uses JAX on {platform} already; choose the device before its first computation"
        )


def use_exact_float32() -> None:
    """Compute products of float32 in float32: TPUs round their factors to bfloat16, GPUs to TF32, unless they are told not to."""
    import jax

    jax.config.update("jax_default_matmul_precision", "highest")


def describe_devices() -> str:
    """Return this process's devices in words, such as "8 x TPU v5 lite, 15.8 GiB each" or "CPU (2 cores)"."""
    import jax

    devices = jax.local_devices()
    first = devices[0]
    if first.platform == "cpu":
        return f"CPU ({os.cpu_count()} cores)" if len(devices) == 1 else f"{len(devices)} CPU devices"
    limit = (first.memory_stats() or {}).get("bytes_limit")
    memory = f", {limit / 2**30:.1f} GiB{' each' if len(devices) > 1 else ''}" if limit else ""
    count = f"{len(devices)} x " if len(devices) > 1 else ""
    return f"{count}{first.device_kind}{memory}"


def find_unused_device() -> str:
    """Return a hint where this machine has a GPU or TPU that JAX was installed without or can't start; else ""."""
    if not fell_back_to_cpu():
        return ""
    if Path(NVIDIA_FILE).exists():
        return f"this machine has an NVIDIA GPU, which JAX doesn't use: {INSTALL['gpu']}"
    if has_tpu():
        return f"this machine seems to have a TPU, which JAX doesn't use: {INSTALL['tpu']}"
    return ""


def fell_back_to_cpu() -> bool:
    """Return whether JAX uses the CPU although nobody chose it."""
    import jax

    platforms = jax.config.jax_platforms  # pyright: ignore[reportAttributeAccessIssue]  (defined at import)
    return jax.local_devices()[0].platform == "cpu" and not platforms
