"""Sharding: the mesh of devices, one strict table that places parameters on it, and the layout of activations.

The mesh axes are ("data", "fsdp", "seq", "tensor"); each may have size 1. A parameter's path determines its dims, a dim its mesh
axis:

    blocks/ffn/up/kernel [L, d, f]  --PARAM_DIMS-->  "L d f"  --WEIGHT_AXES-->  (None, "fsdp", "tensor")

LoRA has no rules of its own: for a kernel "d h", a is "d r" and b is "r h"; where d is missing, r takes its mesh axis if it
divides. Scales of weights in few bits lie as their kernels' outputs, or where there are several in a channel, as its inputs too. The paths of optimiser moments and averages end with that of their parameter, so the same rules hold for them. A leaf
without a rule, a mesh axis used twice and a size that doesn't divide are errors, all raised at once. Activations are laid out by
`constrain_activation(x, "b l d")`. Dims are those of `v2v/array_types.py`.
"""

import math
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from v2v.errors import InputError

AXES = ("data", "fsdp", "seq", "tensor")
BATCH_AXES = ("data", "fsdp")
# Dims that are not named here are not split.
WEIGHT_AXES = {"d": "fsdp", "w": "fsdp", "h": "tensor", "f": "tensor"}
ACTIVATION_AXES = {"b": BATCH_AXES, "l": "seq", "h": "tensor", "f": "tensor"}

# A pattern of a path's end, and the dims of its leaf.
ShardingRules = tuple[tuple[str, str], ...]

# The first rule that matches holds. "-" is a dim that is never split, "..." any number of them. Leaves under blocks/ have one
# more axis in front, L, the layers. The autoencoder is small, and no part of an edit's step; `edit` is the text encoder's head
# while it learns names of edits; `ns_coeffs` are Muon's constants.
PARAM_DIMS: ShardingRules = (
    (r"(vae|detail)/.*", "..."),
    (r"text/blocks/[qkv]/kernel", "w h"),
    (r"text/blocks/o/kernel", "h w"),
    (r"text/blocks/(gate|up)/kernel", "w f"),
    (r"text/blocks/down/kernel", "f w"),
    (r"text/blocks/position_bias", "- h"),
    (r"text/blocks/norm[12]/scale", "-"),
    (r"text/embedding", "- w"),
    (r"text/norm/scale", "-"),
    (r"(self|cross)_attn/[qkv]/kernel", "d h"),
    (r"(self|cross)_attn/o/kernel", "h d"),
    (r"(self|cross)_attn/([qkv]/bias|norm_[qk]/scale)", "h"),
    (r"(self|cross)_attn/o/bias", "-"),
    (r"ffn/up/kernel", "d f"),
    (r"ffn/up/bias", "f"),
    (r"ffn/down/kernel", "f d"),
    (r"ffn/down/bias", "-"),
    (r"norm_cross/(scale|bias)", "-"),
    (r"modulation", "- -"),
    (r"(patch_embedding|text_in|text_out|time_in|time_out)/kernel", "- d"),
    (r"(time_proj|head/linear)/kernel", "d -"),
    (r"(patch_embedding|text_in|text_out|time_in|time_out|time_proj|head/linear)/bias", "-"),
    (r"embed/(source|mask|reference)/kernel", "- d"),
    (r"embed/(source|mask|reference)/bias", "-"),
    (r"edit/kernel", "- -"),
    (r"ns_coeffs", "..."),
)


def request_cpu_devices(n: int) -> None:
    """Ask for n CPU devices, before the first use of JAX; a setting of the user's stays.

    Two devices on two cores take 31 ms per sample in a data-parallel step, one device 44 (one noisy trial).
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if "host_platform_device_count" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count={n}".strip()


def join_processes() -> None:
    """Make this process one of a job, before any computation.

    JAX asks the TPU pod, Slurm, MPI or Kubernetes for the others. Elsewhere set JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and
    JAX_PROCESS_ID.

    Raises:
      InputError: no other process is known, or one can't be reached.
    """
    count, index = (os.environ.get(name) for name in ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID"))
    try:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(
            num_processes=None if count is None else int(count),
            process_id=None if index is None else int(index),
            local_device_ids=_own_gpus(),
        )
    except (ValueError, RuntimeError) as err:
        raise InputError(
            f"--distributed: expected a TPU pod, Slurm, or JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID; {err}"
        ) from err


def _own_gpus() -> list[int] | None:
    """Return the GPUs of this process where Slurm shows each process its own alone (--gpus-per-task); None where JAX chooses.

    JAX takes the GPU of the process's number on its node, which such a process doesn't see.
    """
    visible, share = (os.environ.get(name, "") for name in ("CUDA_VISIBLE_DEVICES", "SLURM_GPUS_PER_TASK"))
    # Such as "1" or "h100:1".
    count = share.rpartition(":")[2]
    if "SLURM_LOCALID" not in os.environ or not count.isdigit() or len(visible.split(",")) != int(count):
        return None
    return list(range(int(count)))


def make_mesh(
    data: int = -1,
    fsdp: int = 1,
    seq: int = 1,
    tensor: int = 1,
    devices: Sequence[jax.Device] | None = None,
) -> Mesh:
    """Make a mesh of devices.

    Args:
      data: size of the axis; one of the four may be -1 and takes the devices that are left. 0 is the number of slices.
      fsdp: size of the axis.
      seq: size of the axis.
      tensor: size of the axis.
      devices: the devices; None for all.

    Raises:
      InputError: the sizes don't multiply to the number of devices.
    """
    slices = count_slices(jax.devices() if devices is None else devices)
    data = data or slices
    sizes, n = [data, fsdp, seq, tensor], jax.device_count() if devices is None else len(devices)
    if sizes.count(-1) == 1:
        others = -math.prod(sizes)
        sizes[sizes.index(-1)] = n // others if others > 0 and n % others == 0 else 0
    if math.prod(sizes) != n or min(sizes) < 1:
        request = ", ".join(
            f"{axis}={size}" for axis, size in zip(AXES, (data, fsdp, seq, tensor), strict=True)
        )
        raise InputError(
            f"mesh: expected sizes that multiply to {n} devices, as many as there are, got {request}; choose others, or for "
            "one axis in a configuration -1, which takes the rest"
        )
    types = (AxisType.Auto,) * 4
    if slices > 1:
        return Mesh(_slice_grid(sizes, slices, devices), AXES, axis_types=types)
    try:
        return jax.make_mesh(sizes, AXES, axis_types=types, devices=devices)
    except NotImplementedError:
        # 8 x 8 on a torus of 4 x 4 x 4 is no product of complete physical axes: they must be split.
        grid = mesh_utils.create_device_mesh(sizes, devices, allow_split_physical_axes=True)
        return Mesh(grid, AXES, axis_types=types)


def abstract_mesh(axes: Mapping[str, int]) -> AbstractMesh:
    """Return a mesh without devices, for shapes of shards; axes that are not named have size 1."""
    sizes = tuple(axes.get(axis, 1) for axis in AXES)
    return AbstractMesh(sizes, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def count_slices(devices: Sequence[jax.Device]) -> int:
    """Return the number of TPU slices, or machines with GPUs, that devices belong to, between which links are slow; 1 where there are none."""
    try:
        return len({device.slice_index for device in devices})
    except AttributeError:  # of other devices than TPUs
        return 1


def _slice_grid(sizes: list[int], slices: int, devices: Sequence[jax.Device] | None) -> np.ndarray:
    """Return devices as a mesh whose axis data, or else fsdp, goes from slice to slice; the others stay within one.

    Raises:
      InputError: neither is a multiple of the number of slices.
    """
    outer = next((i for i in range(2) if sizes[i] % slices == 0), None)
    if outer is None:
        raise InputError(
            f"mesh: expected data or fsdp to be a multiple of the {slices} slices, got {dict(zip(AXES, sizes, strict=True))}; change it"
        )
    between = [slices if i == outer else 1 for i in range(4)]
    within = [size // n for size, n in zip(sizes, between, strict=True)]
    return mesh_utils.create_hybrid_device_mesh(within, between, devices)


def tree_shardings(tree: Any, mesh: Mesh | AbstractMesh, rules: ShardingRules = PARAM_DIMS) -> Any:
    """Return the shardings of a tree of parameters.

    Args:
      tree: arrays or shapes.
      mesh: the devices.
      rules: as `PARAM_DIMS`.

    Returns:
      The tree with a NamedSharding at every leaf.

    Raises:
      InputError: names path, shape, rule and mesh of every leaf that can't be placed.
    """
    specs = _tree_specs(tree, mesh.shape, rules)
    return jax.tree.map(lambda spec: NamedSharding(mesh, spec), specs)


def parameter_sharding(path: str, shape: tuple[int, ...], mesh: Mesh) -> NamedSharding:
    """Return the sharding of one parameter, for readers that place leaf by leaf.

    Args:
      path: such as "dit/blocks/ffn/up/kernel".
      shape: of the array.
      mesh: the devices.

    Raises:
      InputError: it can't be placed.
    """
    faults: list[str] = []
    spec = _leaf_spec(path, shape, mesh.shape, PARAM_DIMS, faults)
    if faults:
        raise InputError(f"sharding on mesh {dict(mesh.shape)}: {faults[0]}; change the mesh or the table")
    return NamedSharding(mesh, spec)


def constrain_activation(x: jax.Array, dims: str) -> jax.Array:
    """Lay an activation out on the mesh in use (`jax.set_mesh`); without a mesh, return it unchanged.

    A batch that doesn't divide (one clip sampled on many chips) is not split.

    Args:
      x: the activation.
      dims: one letter for each axis, such as "b l d".

    Raises:
      ValueError: another number of dims than axes.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if "seq" not in mesh.shape or mesh.size == 1:
        return x
    names = dims.split()
    if len(names) != x.ndim:
        raise ValueError(f"constrain: dims {dims!r} for an array of shape {x.shape}")
    axes: list[Any] = [ACTIVATION_AXES.get(name) for name in names]
    if names[0] == "b" and x.shape[0] % (mesh.shape["data"] * mesh.shape["fsdp"]):
        axes[0] = None
    return jax.lax.with_sharding_constraint(x, PartitionSpec(*axes))


def constrain_params(tree: Any) -> Any:
    """Lay a tree of parameters (a TrainState) out on the mesh in use by the table; without a mesh, return it unchanged."""
    mesh = jax.sharding.get_abstract_mesh()
    if "fsdp" not in mesh.shape or mesh.size == 1:
        return tree
    return jax.lax.with_sharding_constraint(tree, _tree_specs(tree, mesh.shape, PARAM_DIMS))


def count_batch_groups(rows: int) -> int:
    """Return over how many groups of devices the mesh in use splits a batch of so many rows; 1 where it doesn't."""
    mesh = jax.sharding.get_abstract_mesh()
    groups = math.prod(mesh.shape.get(axis, 1) for axis in BATCH_AXES)
    return groups if rows % groups == 0 else 1


def constrain_groups(tree: Any, axis: int) -> Any:
    """Lay arrays out on the mesh in use so that each group of devices of `count_batch_groups` has its own part.

    Args:
      tree: arrays with an axis of groups.
      axis: its number.
    """
    spec = PartitionSpec(*(None,) * axis, BATCH_AXES)
    return jax.lax.with_sharding_constraint(tree, jax.tree.map(lambda _: spec, tree))


def batch_sharding(mesh: Mesh, size: int) -> NamedSharding:
    """Return the sharding of batches: the leading axis is split over data and fsdp.

    Args:
      mesh: the devices.
      size: length of the leading axis.

    Raises:
      InputError: it doesn't divide.
    """
    parts = mesh.shape["data"] * mesh.shape["fsdp"]
    if size % parts:
        raise InputError(
            f"batch: expected a multiple of the {parts} data-parallel devices, got {size}; change it, or let devices share clips, as with --mesh.seq 2"
        )
    return NamedSharding(mesh, PartitionSpec(BATCH_AXES))


def replicated_sharding(mesh: Mesh) -> NamedSharding:
    """Return the sharding that puts a copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def place_tree(tree: Any, shardings: Any) -> Any:
    """Put a tree of arrays on its devices.

    With several processes each takes its shares out of its own copy, without asking the others whether theirs is equal: made from
    one seed or read from one file, it is. Arrays that are distributed already stay.

    Args:
      tree: the arrays.
      shardings: a sharding for each of them.
    """

    def place(x, sharding):
        if isinstance(x, jax.Array) and not x.is_fully_addressable:
            return x
        host = np.asarray(x)
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

    if jax.process_count() == 1:
        return jax.device_put(tree, shardings)
    return jax.tree.map(place, tree, shardings)


def place_batch(mesh: Mesh, size: int, local: Any) -> Any:
    """Put the rows of all processes together to global arrays, split over data and fsdp.

    Args:
      mesh: the devices.
      size: number of rows in all.
      local: a tree of arrays of this process's rows.

    Returns:
      The tree with a global array at every leaf.
    """
    sharding = batch_sharding(mesh, size)
    if jax.process_count() == 1:
        return jax.device_put(local, sharding)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), local)


def format_shardings(tree: Any, mesh: Mesh) -> str:
    """Return a text of one line for every leaf: its path, shape and partition."""
    shardings = jax.tree_util.tree_leaves_with_path(tree_shardings(tree, mesh))
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(tree)]
    return "\n".join(
        f"{format_key_path(path)}  {shape}  {sharding.spec}"
        for (path, sharding), shape in zip(shardings, shapes, strict=True)
    )


def format_key_path(keys: tuple) -> str:
    """Return a key path of `jax.tree_util` as names joined by "/"."""
    return jax.tree_util.keystr(keys, simple=True, separator="/")


def parameter_dims(path: str, rank: int, rules: ShardingRules = PARAM_DIMS) -> tuple[str, ...] | None:
    """Return the dims of a parameter; LoRA's come from its kernel's.

    Args:
      path: such as "dit/blocks/ffn/up/kernel".
      rank: number of its axes.
      rules: as `PARAM_DIMS`.

    Returns:
      One name for each axis; None where no rule matches.
    """
    name = path.rsplit("/", 1)[-1]
    if name in ("a", "b"):
        kernel = parameter_dims(path[: -len(name)] + "kernel", rank, rules)
        if kernel is None:
            return None
        return (*kernel[:-1], "r") if name == "a" else (*kernel[:-2], "r", kernel[-1])
    if name in ("magnitude", "magnitude_change"):  # of a DoRA: one for each output
        kernel = parameter_dims(path[: -len(name)] + "kernel", rank + 1, rules)
        return kernel if kernel is None else (*kernel[:-2], kernel[-1])
    if name in ("moment", "moment_scale"):  # of an optimizer in 8 bits (train/stored_moments.py)
        parameter = parameter_dims(path[: -len(name) - 1], rank, rules)
        return parameter if parameter is None or name == "moment" else (*parameter[:-1], "-")
    if name == "kernel_scale":  # of weights in few bits: one for each output, or for each block of inputs too
        kernel = parameter_dims(path.removesuffix("_scale"), rank, rules)
        return kernel if kernel is None or len(kernel) == rank else (*kernel[:-2], kernel[-1])
    for pattern, dims in rules:
        if re.search(rf"(^|/){pattern}$", path):
            names = tuple(dims.split())
            if names == ("...",):
                return ("-",) * rank
            return ("L", *names) if "blocks/" in path else names
    return None


def _tree_specs(tree: Any, mesh_shape: Mapping[str, int], rules: ShardingRules) -> Any:
    """Return the tree with a PartitionSpec at every leaf; raise InputError that names all leaves that can't be placed."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(tree)
    faults: list[str] = []
    specs = [
        _leaf_spec(format_key_path(path), np.shape(leaf), mesh_shape, rules, faults) for path, leaf in leaves
    ]
    if faults:
        text = "; ".join(faults[:8]) + (f"; and {len(faults) - 8} more" if len(faults) > 8 else "")
        raise InputError(f"sharding on mesh {dict(mesh_shape)}: {text}; change the mesh or the table")
    return jax.tree.unflatten(structure, specs)


def _leaf_spec(
    path: str, shape: tuple[int, ...], mesh_shape: Mapping[str, int], rules: ShardingRules, faults: list[str]
) -> PartitionSpec:
    """Return the partition of one leaf, or append to `faults` why it has none."""
    # Steps and counts.
    if not shape:
        return PartitionSpec()
    dims = parameter_dims(path, len(shape), rules)
    label = f"{path} {shape}"
    if dims is None:
        faults.append(f"{label} matches no rule")
        return PartitionSpec()
    rule = f'rule "{" ".join(dims)}"'
    if len(dims) != len(shape):
        faults.append(f"{label} has {len(shape)} axes, {rule} has {len(dims)}")
        return PartitionSpec()
    axes = [WEIGHT_AXES.get(dim) for dim in dims]
    if "r" in dims and "fsdp" not in axes and shape[dims.index("r")] % mesh_shape["fsdp"] == 0:
        # Otherwise half of LoRA, its moments and its average would be stored in full on every chip.
        axes[dims.index("r")] = "fsdp"
    if path.endswith("/kernel_scale"):  # small enough for a copy everywhere, where blocks don't divide
        axes = [
            axis if axis and not size % mesh_shape[axis] else None
            for size, axis in zip(shape, axes, strict=True)
        ]
    mesh_axes = [axis for axis in axes if axis]
    if len(mesh_axes) != len(set(mesh_axes)):
        faults.append(f"{label} {rule} uses a mesh axis twice: {axes}")
        return PartitionSpec()
    for size, axis in zip(shape, axes, strict=True):
        if axis and size % mesh_shape[axis]:
            faults.append(f"{label} {rule}: {size} doesn't divide by {axis}={mesh_shape[axis]}")
    return PartitionSpec(*axes)
