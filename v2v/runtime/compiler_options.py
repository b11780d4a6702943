"""Options of the compiler, by the kind of device: part of each program, not of the environment.

Those of training steps let a step send weights and gradients while it computes. All were published with training recipes for these chips (MaxText's library of flags,
tpu-recipes); none was measured by us. Nothing that one recipe sets for every chip is here: collectives on the sparse cores, a gain on newer chips, hang a
v5p. An option that the installed compiler doesn't know is left out, and told.

    kinds of device      collectives beside computation                      kernels' memory
    v5e, v6e, v5p        several devices                                     v5p alone, whose default is short for attention of long clips
    between slices       reductions of gradients merged
    the host's memory    copies scheduled over longer stretches

On GPUs copies from the host are not pipelined by the compiler, which has changed losses (openxla/xla 45393).

For TPUs the autoencoder's programs have an option too: the compiler searches for the best way to compute each large convolution for up to half a minute.
The search ends at one that takes little more by the compiler's own estimate (tools/bench/compile_time.py has figures).
"""

import functools
from collections.abc import Mapping, Sequence

import jax
import numpy as np

from v2v.runtime.platform import local_platform

CompilerOptions = dict[str, str | bool]
# Of programs on several chips of a slice.
COLLECTIVES = {
    "xla_enable_async_all_gather": "true",
    "xla_enable_async_all_reduce": "true",
    "xla_tpu_enable_async_collective_fusion": "true",
    "xla_max_concurrent_async_all_gathers": "4",
}
# Of programs on several slices.
SLICES = {
    "xla_tpu_enable_data_parallel_all_reduce_opt": "true",
    "xla_tpu_data_parallel_opt_different_sized_ops": "true",
}
# Of programs that read the host's memory.
HOST = {
    "xla_tpu_enable_all_experimental_scheduler_features": "true",
    "xla_tpu_enable_scheduler_memory_pressure_tracking": "true",
    "xla_tpu_host_transfer_overlap_limit": "24",
}
# By a part of the device's kind.
BY_KIND: Mapping[str, Mapping[str, str]] = {
    "TPU v5p": {"xla_tpu_scoped_vmem_limit_kib": "65472"},
}
# "TPU v5" is how JAX calls the v5p.
KINDS = {"TPU v5": "TPU v5p"}
# In Python's types, which this compiler expects; that for TPUs takes words.
GPU_HOST = {"xla_gpu_enable_pipelined_host_offloading": False}
# Of programs of large convolutions: the search ends at this share of the speed that the compiler thinks possible.
CONVOLUTIONS = {"xla_jf_convolution_performance_target": "0.97"}


def autoencoder_options(platform: str) -> CompilerOptions:
    """Return the options for the autoencoder's programs: on this process's TPUs those that their compiler knows.

    Args:
      platform: that code is compiled for (`platform.target_platform`).
    """
    if platform != "tpu":
        return {}
    if local_platform() != "tpu":  # compiled for TPUs that are not there
        return dict(CONVOLUTIONS)
    return supported_options(CONVOLUTIONS, jax.local_devices())[0]


def training_options(devices: Sequence[jax.Device], uses_host: bool = False) -> CompilerOptions:
    """Return the options for a training step on devices, which need not be attached; none on CPUs.

    Args:
      devices: of the mesh.
      uses_host: whether tensors or weights wait in the host's memory.
    """
    kind, platform = str(devices[0].device_kind), devices[0].platform
    if platform == "cpu":
        return {}
    if platform != "tpu":
        return dict(GPU_HOST) if uses_host else {}
    options: CompilerOptions = dict(BY_KIND.get(KINDS.get(kind, kind), {}))
    if len(devices) > 1:
        options |= COLLECTIVES
    if len({getattr(device, "slice_index", 0) for device in devices}) > 1:
        options |= SLICES
    return options | HOST if uses_host else options


def supported_options(
    options: Mapping[str, str | bool], devices: Sequence[jax.Device]
) -> tuple[CompilerOptions, tuple[str, ...]]:
    """Return the options that the compiler for a device knows, and the names of the others.

    Args:
      options: by name.
      devices: the first is compiled for.
    """
    # Of this device alone, whatever mesh is in use around.
    mesh = jax.sharding.Mesh(np.asarray(devices[:1], object), ("device",))
    place = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    with jax.set_mesh(mesh):
        lowered = jax.jit(lambda x: x + 1).lower(jax.ShapeDtypeStruct((), "float32", sharding=place))

    @functools.cache
    def compiles(names: tuple[str, ...]) -> bool:
        try:
            lowered.compile(compiler_options={name: options[name] for name in names})
        except (jax.errors.JaxRuntimeError, RuntimeError):
            return False
        return True

    if not options or compiles(tuple(options)):
        return dict(options), ()
    unknown = tuple(name for name in options if not compiles((name,)))
    return {name: value for name, value in options.items() if name not in unknown}, unknown


def describe_options(options: Mapping[str, str | bool]) -> str:
    """Return options for people, one line."""
    return " ".join(f"{name}={value}" for name, value in options.items())
