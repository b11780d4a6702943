"""Where arrays live: the mesh, one strict table of parameters, and the layout of activations. Used by train/ and the experiments.

Mesh axes are ("data", "fsdp", "seq", "tensor"); each may be 1. A parameter's path says its dims, a dim says its mesh axis:
    blocks/ffn/up/kernel [L, d, f]  --PARAM_DIMS-->  "L d f"  --WEIGHT_AXES-->  (None, "fsdp", "tensor")
LoRA has no rules of its own: of a kernel "d h", a is "d r" and b is "r h"; where d is missing, r takes its mesh axis if it
divides. Optimiser moments and averages carry the path of their parameter at the end of their own, so the same rules hold for them.
Strict: a leaf no rule knows, a mesh axis used twice and a size that doesn't divide are errors, all raised at once. Activations
are laid out by `constrain(x, "b l d")`.
"""

import math
import os
import re
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from v2v.errors import InputError

AXES = ("data", "fsdp", "seq", "tensor")
BATCH_AXES = ("data", "fsdp")
WEIGHT_AXES = {"d": "fsdp", "w": "fsdp", "h": "tensor", "f": "tensor"}  # other dims are not split
ACTIVATION_AXES = {"b": BATCH_AXES, "l": "seq", "h": "tensor", "f": "tensor"}

# Path (its end) → dims; the first rule that matches holds. "-" is a dim that is never split, "..." any number of them. Leaves
# under blocks/ have one more axis in front, L, the layers.
PARAM_DIMS: tuple[tuple[str, str], ...] = (
    (r"vae/.*", "..."),  # small, and no part of an edit's step
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
    (r"edit/kernel", "- -"),  # the text encoder's head while it learns names of edits
    (r"ns_coeffs", "..."),  # Muon's constants
)


def request_cpu_devices(n: int) -> None:
    """Ask for n CPU devices; only before the first use of JAX, and never over a setting of the user's.

    Two devices on two cores: 31 ms a sample in a data-parallel step against 44 on one device (one noisy trial).
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if "host_platform_device_count" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count={n}".strip()


def join_processes() -> None:
    """Make this process one of a job: JAX asks the TPU pod, Slurm, MPI or Kubernetes who the others are. Before any computation.

    Elsewhere set JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID.

    Raises:
      InputError: nobody knows of any others, or they can't be reached.
    """
    known = {
        name: int(os.environ[variable])
        for name, variable in (("num_processes", "JAX_NUM_PROCESSES"), ("process_id", "JAX_PROCESS_ID"))
        if variable in os.environ
    }
    try:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(**known)
    except (ValueError, RuntimeError) as err:
        raise InputError(
            f"--distributed: expected a TPU pod, Slurm, or JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID; {err}"
        ) from err


def make_mesh(data: int = -1, fsdp: int = 1, seq: int = 1, tensor: int = 1, devices: Any = None) -> Mesh:
    """A mesh over all devices (or `devices`); one size may be -1 and takes what is left.

    Raises:
      InputError: the sizes don't multiply to the number of devices.
    """
    sizes, n = [data, fsdp, seq, tensor], jax.device_count() if devices is None else len(devices)
    if sizes.count(-1) == 1:
        rest = -math.prod(sizes)
        sizes[sizes.index(-1)] = n // rest if rest > 0 and n % rest == 0 else 0
    if math.prod(sizes) != n or min(sizes) < 1:
        asked = dict(zip(AXES, (data, fsdp, seq, tensor), strict=True))
        raise InputError(
            f"mesh: expected sizes that multiply to {n} devices, got {asked}; set one of them to -1"
        )
    types = (AxisType.Auto,) * 4
    try:
        return jax.make_mesh(sizes, AXES, axis_types=types, devices=devices)
    except (
        NotImplementedError
    ):  # 8 x 8 on a torus of 4 x 4 x 4 is no product of whole physical axes: they must be split
        placed = mesh_utils.create_device_mesh(sizes, devices, allow_split_physical_axes=True)
        return Mesh(placed, AXES, axis_types=types)


def tree_shardings(tree: Any, mesh: Mesh, rules: tuple[tuple[str, str], ...] = PARAM_DIMS) -> Any:
    """The tree (arrays or shapes) with a NamedSharding at every leaf.

    Raises:
      InputError: names path, shape, rule and mesh of every leaf that can't be placed.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(tree)
    wrong: list[str] = []
    out = [
        NamedSharding(mesh, _spec(format_key_path(path), np.shape(leaf), mesh, rules, wrong))
        for path, leaf in leaves
    ]
    if wrong:
        shown = "; ".join(wrong[:8]) + (f"; and {len(wrong) - 8} more" if len(wrong) > 8 else "")
        raise InputError(f"sharding on mesh {dict(mesh.shape)}: {shown}; change the mesh or the table")
    return jax.tree.unflatten(structure, out)


def parameter_sharding(path: str, shape: tuple[int, ...], mesh: Mesh) -> NamedSharding:
    """Of one parameter, by its path ("dit/blocks/ffn/up/kernel"); for readers that place leaf by leaf."""
    wrong: list[str] = []
    spec = _spec(path, shape, mesh, PARAM_DIMS, wrong)
    if wrong:
        raise InputError(f"sharding on mesh {dict(mesh.shape)}: {wrong[0]}; change the mesh or the table")
    return NamedSharding(mesh, spec)


def constrain_activation(x: jax.Array, dims: str) -> jax.Array:
    """Lay an activation out on the mesh in use (`jax.set_mesh`), dims as in array_types.py; without a mesh, nothing.

    A batch that doesn't divide (one clip sampled on many chips) is left whole.
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
    """Hold a tree of parameters (a TrainState) to the table on the mesh in use; without a mesh, nothing."""
    mesh = jax.sharding.get_abstract_mesh()
    if "fsdp" not in mesh.shape or mesh.size == 1:
        return tree
    return jax.lax.with_sharding_constraint(tree, jax.tree.map(lambda s: s.spec, tree_shardings(tree, mesh)))


def batch_sharding(mesh: Mesh, size: int) -> NamedSharding:
    """Leading axis, `size` long, over data and fsdp. Raises InputError when it doesn't divide."""
    parts = mesh.shape["data"] * mesh.shape["fsdp"]
    if size % parts:
        raise InputError(
            f"batch: expected a multiple of the {parts} data-parallel devices, got {size}; change it"
        )
    return NamedSharding(mesh, PartitionSpec(BATCH_AXES))


def replicated_sharding(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def place_tree(tree: Any, places: Any) -> Any:
    """A tree to its shardings. With several processes each takes its shares out of its own copy, without asking the others whether
    they have the same: made from one seed or read from one file, they do."""

    def one(x, place):
        if isinstance(x, jax.Array) and not x.is_fully_addressable:
            return x  # read straight into its place
        host = np.asarray(x)
        return jax.make_array_from_callback(host.shape, place, lambda index: host[index])

    return jax.device_put(tree, places) if jax.process_count() == 1 else jax.tree.map(one, tree, places)


def place_batch(mesh: Mesh, size: int, local: Any) -> Any:
    """Host rows of this process → one global array a leaf, `size` rows in all, split over data and fsdp."""
    sharding = batch_sharding(mesh, size)
    if jax.process_count() == 1:
        return jax.device_put(local, sharding)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), local)


def format_shardings(tree: Any, mesh: Mesh) -> str:
    """Every leaf, its shape and where it goes, one line each: for reading."""
    placed = jax.tree_util.tree_leaves_with_path(tree_shardings(tree, mesh))
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(tree)]
    return "\n".join(f"{format_key_path(p)}  {s}  {x.spec}" for (p, x), s in zip(placed, shapes, strict=True))


def format_key_path(keys: tuple) -> str:
    """A key path of jax.tree_util as names joined by "/"."""
    return "/".join(str(getattr(k, "key", getattr(k, "name", getattr(k, "idx", k)))) for k in keys)


def parameter_dims(
    path: str, rank: int, rules: tuple[tuple[str, str], ...] = PARAM_DIMS
) -> tuple[str, ...] | None:
    """Dims of the leaf at `path`, or None when no rule knows it. LoRA's come from its kernel's."""
    name = path.rsplit("/", 1)[-1]
    if name in ("a", "b"):
        kernel = parameter_dims(path[: -len(name)] + "kernel", rank, rules)
        if kernel is None:
            return None
        return (*kernel[:-1], "r") if name == "a" else (*kernel[:-2], "r", kernel[-1])
    for pattern, dims in rules:
        if re.search(rf"(^|/){pattern}$", path):
            names = tuple(dims.split())
            if names == ("...",):
                return ("-",) * rank
            return ("L", *names) if "blocks/" in path else names
    return None


def _spec(path: str, shape: tuple[int, ...], mesh: Any, rules, wrong: list[str]) -> PartitionSpec:
    if not shape:  # step, counts
        return PartitionSpec()
    dims = parameter_dims(path, len(shape), rules)
    what = f"{path} {shape}"
    if dims is None:
        wrong.append(f"{what} matches no rule")
        return PartitionSpec()
    rule = f'rule "{" ".join(dims)}"'
    if len(dims) != len(shape):
        wrong.append(f"{what} has {len(shape)} axes, {rule} has {len(dims)}")
        return PartitionSpec()
    axes = [WEIGHT_AXES.get(dim) for dim in dims]
    if "r" in dims and "fsdp" not in axes and shape[dims.index("r")] % mesh.shape["fsdp"] == 0:
        axes[dims.index("r")] = (
            "fsdp"  # else half of LoRA, its moments and its average would lie whole on every chip
        )
    used = [axis for axis in axes if axis]
    if len(used) != len(set(used)):
        wrong.append(f"{what} {rule} uses a mesh axis twice: {axes}")
        return PartitionSpec()
    for size, axis in zip(shape, axes, strict=True):
        if axis and size % mesh.shape[axis]:
            wrong.append(f"{what} {rule}: {size} doesn't divide by {axis}={mesh.shape[axis]}")
    return PartitionSpec(*axes)
