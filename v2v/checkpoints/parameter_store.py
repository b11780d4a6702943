"""Stores of a model's parameters: where they come from, when they are read, and how long they stay in memory.

    published folder   read tensor by tensor (wan.py); adapters are added to each, in float32, before the cast
    converted folder   restored by orbax (orbax_tree.py), adapters merged on the device
    packaged model     a few MB, read at once (native.py)

Opening a model checks the names, shapes and types of all tensors and reads no values; a part is read on first use. At full size
the text encoder alone takes 11 GB, so a part can be released again, gives way where another part needs its memory or the plan of an edit
says so (pipeline/memory_plan.py), and only the latest version of the transformer is kept.
`check` finds NaN in the parts that are needed last before any work has been done.
"""

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AbstractMesh, Mesh, Sharding
from tqdm import tqdm

from v2v.checkpoints import orbax_tree, wan
from v2v.checkpoints.adapters import Adapter
from v2v.checkpoints.flat_tree import flatten_tree, unflatten_tree
from v2v.checkpoints.model_folder import ModelFolder
from v2v.config import ModelConfig, WeightsDtype, part_kind
from v2v.errors import InputError, note
from v2v.models import lora, quantized
from v2v.models.quantized import RoundingError
from v2v.runtime import host_memory, sharding

# Adapters in the order in which they are added, each with its weight.
WeightedAdapters = tuple[tuple[Adapter, float], ...]
# The adapters of each transformer by its part; none where it is left out.
AdaptersByPart = Mapping[str, WeightedAdapters]


class PartReader(Protocol):
    """Reads a part of a model."""

    def __call__(self, part: str, adapters: WeightedAdapters, streams: bool, /) -> dict:
        """Return its parameters on the devices, adapters merged; where it `streams`, its blocks' kernels in the host's memory."""
        ...


# Where `v2v convert` writes the adapter of each transformer.
ADAPTER_FOLDERS = {"dit": "adapter", "dit_low": "adapter_low"}
# The rank of combined adapters is padded to a multiple of this, so that most combinations share one compiled program.
RANK_MULTIPLE = 64


class PartStore(Protocol):
    """What a model needs of a store of its parameters."""

    def get(self, part: str, adapters: WeightedAdapters = (), streams: bool = False) -> dict:
        """Return a part with the adapters merged; where it streams, its blocks' kernels in the host's memory."""
        ...

    def check(self, adapters: AdaptersByPart) -> None:
        """Raise InputError where values are NaN or infinite."""
        ...

    @property
    def sizes(self) -> dict[str, int]:
        """Return the bytes of each part on a device."""
        ...

    def retain(self, *parts: str) -> None:
        """Free all parts but these."""
        ...

    def release(self, part: str) -> None:
        """Free a part that is not needed soon."""
        ...

    def has_loaded(self, part: str) -> bool:
        """Return whether a part is in memory."""
        ...


@dataclass(frozen=True)
class _HostCopy:
    """A part in the host's memory, with the adapters that are merged into it, the places that its arrays had, and whether it was streamed."""

    adapters: WeightedAdapters
    tree: dict
    shardings: dict
    streams: bool


class ParameterStore:
    """The parts of one model.

    Args:
      read: reads a part.
      sizes: bytes of each part on a device; also an attribute.
      check_part: check_part(part) raises InputError when the part holds NaN.
    """

    def __init__(
        self, read: PartReader, sizes: dict[str, int], check_part: Callable[[str], None] | None = None
    ):
        self.sizes = sizes
        self._read, self._check_part = read, check_part
        self._checked = False
        self._loaded: dict[str, tuple[WeightedAdapters, dict]] = {}
        self._on_host: dict[str, _HostCopy] = {}
        # Parts whose blocks' kernels are in the host's memory as programs read them.
        self._streamed: set[str] = set()

    def get(self, part: str, adapters: WeightedAdapters = (), streams: bool = False) -> dict:
        """Return a part with the adapters merged; it is kept until it is requested with other adapters, or others need the memory.

        Args:
          part: one of `ModelConfig.parts`.
          adapters: to be merged.
          streams: whether its blocks' kernels shall be in the host's memory.
        """
        loaded = self._loaded.get(part)
        if loaded is None or loaded[0] != adapters or streams != (part in self._streamed):
            self._loaded.pop(part, None)  # freed before its successor is read
            if not streams:
                self._make_room(part)
            self._streamed = self._streamed | {part} if streams else self._streamed - {part}
            copy = self._on_host.pop(part, None)
            if copy is not None and (copy.adapters, copy.streams) == (adapters, streams):
                tree = jax.device_put(copy.tree, copy.shardings)
            else:
                tree = self._read(part, adapters, streams)
            loaded = self._loaded[part] = (adapters, tree)
        return loaded[1]

    def retain(self, *parts: str) -> None:
        """Free all parts but these."""
        for part in [name for name in self._loaded if name not in parts]:
            self._evict(part)

    def check(self, adapters: AdaptersByPart) -> None:
        """Check the values of the transformers and the autoencoder; to be called before the text encoder is read.

        Where the whole model fits into half of the memory both are loaded, else they are read one tensor at a time and not kept.

        Raises:
          InputError: NaN or infinite values.
        """
        if self._checked:
            return
        for part in [part for part in self.sizes if part != "text"]:
            if self._fits_in_memory():
                self.get(part, adapters.get(part, ()))
            elif self._check_part and part not in self._loaded:
                self._check_part(part)
        self._checked = True

    def release(self, part: str) -> None:
        """Free a part unless the whole model fits into half of the memory."""
        if not self._fits_in_memory():
            self._evict(part)

    def has_loaded(self, part: str) -> bool:
        """Return whether a part is in memory."""
        return part in self._loaded

    def _make_room(self, part: str) -> None:
        """Free other parts as far as `part` doesn't fit into memory beside them."""
        for other in [name for name in self._loaded if name != part]:
            loaded = sum(self.sizes[p] for p in self._loaded if p not in (part, *self._streamed))
            if self.sizes[part] + loaded > host_memory.device_bytes():
                self._evict(other)

    def _evict(self, part: str) -> None:
        """Free a part; of an accelerator's memory it goes to the host's where that has room, so that it need not be read again."""
        adapters, tree = self._loaded.pop(part, (None, None))
        streams = part in self._streamed
        if adapters is None or not tree:
            return
        if streams or host_memory.free_host_bytes() >= 2 * self.sizes[part]:
            shardings = jax.tree.map(lambda x: x.sharding, tree)
            self._on_host[part] = _HostCopy(adapters, jax.tree.map(_on_host, tree), shardings, streams)

    def _fits_in_memory(self) -> bool:
        return sum(self.sizes.values()) <= host_memory.device_bytes() / 2


class ReplicatedStore:
    """A store that replicates the parts of another store on every device of a mesh."""

    def __init__(self, source: PartStore, mesh: Mesh):
        self._source, self._mesh = source, mesh
        self._loaded: dict[str, tuple[dict, dict]] = {}

    def get(self, part: str, adapters: WeightedAdapters = (), streams: bool = False) -> dict:
        """Return a part with the adapters merged, replicated; none is streamed."""
        assert not streams, "weights on several devices are split before they are streamed"
        tree, loaded = self._source.get(part, adapters), self._loaded.get(part)
        self._follow(part)  # what the source store freed for it
        if loaded is None or loaded[0] is not tree:
            self._loaded.pop(part, None)
            loaded = self._loaded[part] = (
                tree,
                jax.device_put(tree, sharding.replicated_sharding(self._mesh)),
            )
        return loaded[1]

    @property
    def sizes(self) -> dict[str, int]:
        """Return the bytes of each part on a device, by the source store."""
        return self._source.sizes

    def retain(self, *parts: str) -> None:
        """Free all parts but these."""
        self._source.retain(*parts)
        self._follow(*parts)

    def check(self, adapters: AdaptersByPart) -> None:
        """Check the values of the source store."""
        self._source.check(adapters)

    def release(self, part: str) -> None:
        """Free a part if the source store frees it."""
        self._source.release(part)
        if not self._source.has_loaded(part):
            self._loaded.pop(part, None)

    def has_loaded(self, part: str) -> bool:
        """Return whether a part is in memory."""
        return part in self._loaded

    def _follow(self, *parts: str) -> None:
        """Free the parts that the source store has freed, but these."""
        for other in [
            name for name in self._loaded if name not in parts and not self._source.has_loaded(name)
        ]:
            del self._loaded[other]


def store_from_trees(
    trees: dict[str, dict], config: ModelConfig | None = None, weights_dtype: WeightsDtype | None = None
) -> ParameterStore:
    """Build a store of parameters that are already in memory.

    Args:
      trees: by part.
      config: the model they are of; needed with `weights_dtype`.
      weights_dtype: type to store weights in (models/quantized.py), adapters merged before; None for their own.
    """
    if weights_dtype is not None:
        assert config is not None, "types of parameters depend on the model"
        host_trees = jax.device_get(trees)

        def convert(part: str, adapters: WeightedAdapters, streams: bool, /) -> dict:
            return _convert_weights(part, host_trees[part], config, adapters, weights_dtype, streams=streams)

        return ParameterStore(convert, part_bytes(config, weights_dtype=weights_dtype))
    trees = jax.device_put(trees)
    sizes = {part: sum(x.nbytes for x in jax.tree.leaves(tree)) for part, tree in trees.items()}

    def read(part: str, adapters: WeightedAdapters, streams: bool, /) -> dict:
        tree = merge_adapters(trees[part], adapters)
        return host_memory.move_blocks_to_host(tree) if streams else tree

    return ParameterStore(read, sizes)


def store_from_folder(
    folder: ModelFolder,
    config: ModelConfig,
    mesh: Mesh | None = None,
    progress: bool = False,
    weights_dtype: WeightsDtype | None = None,
) -> ParameterStore:
    """Build a store of a published folder.

    Args:
      folder: a complete model folder.
      config: the model that the tensors must fit.
      mesh: devices over which each tensor is split as it is read (runtime/sharding.py); None for the first device.
      progress: show a bar while a part is read.
      weights_dtype: type to store weights in (models/quantized.py), adapters merged before; None for the model's own.

    Raises:
      InputError: missing parts, or names, shapes and types that do not fit, before any tensor is read.
    """
    folder.require()
    for part in config.parts:
        wan.match_tensors(part, folder.parts[part], config)
    shardings = {
        part: flatten_tree(abstract_parameters(part, config, mesh, weights_dtype)) for part in config.parts
    }

    def read(part: str, adapters: WeightedAdapters, streams: bool, /) -> dict:
        update = build_adapter_update(adapters) if adapters else None
        rounding = RoundingError()
        with build_progress_bar(part, config, progress) as bar:
            tree = wan.load_part(
                part,
                folder.parts[part],
                config,
                place=lambda path: _place(path, shardings[part][path].sharding, streams),
                update=update,
                weights_dtype=weights_dtype,
                rounding=rounding,
                progress=lambda _: bar.update(),
            )
        tell_rounding(part, weights_dtype, rounding)
        return tree

    return ParameterStore(
        read,
        part_bytes(config, mesh, weights_dtype),
        lambda part: wan.check_values(part, folder.parts[part], config),
    )


def store_from_orbax(
    path: Path, config: ModelConfig, mesh: Mesh | None = None, weights_dtype: WeightsDtype | None = None
) -> ParameterStore:
    """Build a store of a folder written by `v2v convert`, whose values need no check.

    Args:
      path: the folder.
      config: its configuration.
      mesh: as in `store_from_folder`.
      weights_dtype: as in `store_from_folder`; weights that are stored in few bits stay so.

    Raises:
      InputError: files that don't fit the configuration, or other weights of a folder in few bits.
    """
    stored: WeightsDtype | None = None
    if (kernel_type := orbax_tree.find_scaled_type(path / "dit", quantized.SCALE)) is not None:
        stored = quantized.format_name(kernel_type)
        if stored is None:
            raise InputError(
                f"{path}: its weights are {kernel_type}, expected one of {', '.join(quantized.FORMATS)}; convert the original again"
            )
        if weights_dtype not in (None, stored):
            raise InputError(
                f"{path}: its weights are {stored} already, got --weights-dtype {weights_dtype}; leave it out or convert the original"
            )
    like = {part: abstract_parameters(part, config, mesh, stored) for part in config.parts}
    for part in config.parts:
        orbax_tree.check_tree(path / part, like[part])
    host = jax.sharding.SingleDeviceSharding(jax.local_devices(backend="cpu")[0])
    on_host = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=host), like)

    def read(part: str, adapters: WeightedAdapters, streams: bool, /) -> dict:
        if weights_dtype in (None, stored) and not streams:
            return merge_adapters(orbax_tree.load_tree(path / part, like[part]), adapters, donate=True)
        tree = orbax_tree.load_tree(path / part, on_host[part])
        return _convert_weights(part, tree, config, adapters, weights_dtype or stored, mesh, streams)

    return ParameterStore(read, part_bytes(config, mesh, weights_dtype or stored))


def load_converted_adapter(path: Path, part: str = "dit") -> Adapter | None:
    """Load the adapter of a transformer in a folder written by `v2v convert`; None if there is none."""
    folder = path / ADAPTER_FOLDERS[part]
    if not folder.is_dir():
        return None
    tree = orbax_tree.load_tree(folder)
    return Adapter(tree["lora"], 1.0, tree.get("delta"), tree.get("embed"))


def abstract_parameters(
    part: str,
    config: ModelConfig,
    mesh: Mesh | AbstractMesh | None = None,
    weights_dtype: WeightsDtype | None = None,
    streams: bool = False,
) -> dict:
    """Return a part's shapes and types in memory: matmul weights in the part's dtype or `weights_dtype`, small ones of the transformer in float32.

    With a mesh, the leaves have shardings too; where the part streams, in the host's memory for its blocks' kernels.

    Raises:
      InputError: names all leaves whose axes the mesh does not divide.
    """
    leaves = {
        p: jax.ShapeDtypeStruct(s, wan.parameter_dtype(part, p, config, weights_dtype=weights_dtype))
        for p, s in wan.parameter_shapes(part, config).items()
    }
    for path, leaf in list(leaves.items()):
        if weights_dtype is not None and quantized.is_quantized(part, path, weights_dtype):
            abstract = quantized.FORMATS[weights_dtype].abstract(leaf.shape)
            leaves[path], leaves[quantized.scale_path(path)] = abstract
    tree = unflatten_tree(leaves)
    if mesh is None:
        return tree
    kind = part_kind(part)
    places = flatten_tree(sharding.tree_shardings({kind: tree}, mesh)[kind])
    return unflatten_tree(
        {
            path: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=_place(path, places[path], streams))
            for path, x in leaves.items()
        }
    )


def part_bytes(
    config: ModelConfig, mesh: Mesh | AbstractMesh | None = None, weights_dtype: WeightsDtype | None = None
) -> dict[str, int]:
    """Return the memory that each part takes, in bytes; with a mesh, on each of its devices."""

    def leaf_bytes(x: jax.ShapeDtypeStruct) -> int:
        shape = x.shape if x.sharding is None else x.sharding.shard_shape(x.shape)
        return math.prod(shape) * x.dtype.itemsize

    return {
        part: sum(map(leaf_bytes, jax.tree.leaves(abstract_parameters(part, config, mesh, weights_dtype))))
        for part in config.parts
    }


def merge_adapters(tree: dict, adapters: WeightedAdapters, donate: bool = False) -> dict:
    """Add adapters to parameters on the device; `donate` reuses the tree's memory.

    Several adapters are concatenated along the rank: they are added and rounded once, by one compiled program for any weights and
    nearly any ranks. DoRAs follow one by one, each of what the others made of the weights.
    """
    merge = _merge_in_place if donate else _merge
    plain, doras = split_doras(adapters)
    if len(plain) == 1:
        ((adapter, weight),) = plain
        tree = merge(tree, adapter.lora, weight * adapter.scale)
    elif plain:
        low_rank = lora.combine_adapters(
            [(a.lora, weight * a.scale) for a, weight in plain], multiple=RANK_MULTIPLE
        )
        tree = merge(tree, low_rank, 1.0)
    for adapter, weight in doras:
        tree = merge(tree, adapter.lora, adapter.scale, weight)
    for adapter, weight in adapters:
        if adapter.delta is not None:
            tree = (_add_in_place if donate else _add)(tree, adapter.delta, weight)
    return tree


def split_doras(adapters: WeightedAdapters) -> tuple[WeightedAdapters, WeightedAdapters]:
    """Return the adapters that add to weights, and those that set their lengths too, which are merged after them."""
    doras = tuple(pair for pair in adapters if lora.is_dora(pair[0].lora))
    return tuple(pair for pair in adapters if pair not in doras), doras


def _convert_weights(
    part: str,
    tree: dict,
    config: ModelConfig,
    adapters: WeightedAdapters,
    weights_dtype: WeightsDtype | None,
    mesh: Mesh | None = None,
    streams: bool = False,
) -> dict:
    """Return a part of the host's memory on the devices, adapters merged, its weights in another type; a leaf at a time.

    Where it streams, its blocks' kernels go to the host's pinned memory.
    """
    shardings = flatten_tree(abstract_parameters(part, config, mesh, weights_dtype))
    update = build_adapter_update(adapters) if adapters else None
    rounding, out, leaves = RoundingError(), {}, flatten_tree(tree)
    for path, leaf in leaves.items():
        leaf = np.asarray(leaf)
        scale = leaves.get(quantized.scale_path(path)) if path.endswith("/kernel") else None
        if path.endswith(quantized.SCALE) or (scale is not None and update is None):
            if update is None:  # in few bits already
                out[path] = jax.device_put(leaf, _place(path, shardings[path].sharding, streams))
            continue
        if scale is not None:
            leaf = quantized.dequantize(leaf, np.asarray(scale))
        if update is not None:
            rows = range(len(leaf)) if path.startswith("blocks/") else [None]
            layers = [update(path, row, leaf if row is None else leaf[row]) for row in rows]
            leaf = layers[0] if rows == [None] else np.stack(layers)
        if weights_dtype is None or not quantized.is_quantized(part, path, weights_dtype):
            dtype = wan.parameter_dtype(part, path, config, weights_dtype=weights_dtype)
            out[path] = jax.device_put(leaf.astype(dtype), _place(path, shardings[path].sharding, streams))
            continue
        values, scale = quantized.quantize_host(leaf, weights_dtype)
        rounding.add(leaf, values, scale)
        for name, array in ((path, values), (quantized.scale_path(path), scale)):
            out[name] = jax.device_put(array, _place(name, shardings[name].sharding, streams))
    tell_rounding(part, weights_dtype, rounding)
    return unflatten_tree(out)


def _place(path: str, place: Sharding | None, streams: bool) -> Sharding | None:
    return host_memory.in_host_memory(place) if streams and host_memory.is_streamed(path) else place


def _on_host(x: jax.Array) -> jax.Array | np.ndarray:
    """Return an array in the host's memory; one that is there already as it is."""
    return x if x.sharding.memory_kind == "pinned_host" else jax.device_get(x)


def streamed_bytes(config: ModelConfig, weights_dtype: WeightsDtype | None = None) -> int:
    """Return the memory that the transformer takes on a device while its blocks are streamed: the rest of it, and two blocks."""
    leaves = flatten_tree(abstract_parameters("dit", config, weights_dtype=weights_dtype))
    sizes = {path: math.prod(x.shape) * x.dtype.itemsize for path, x in leaves.items()}
    blocks = sum(size for path, size in sizes.items() if host_memory.is_streamed(path))
    return sum(sizes.values()) - blocks + 2 * blocks // config.dit.layers


def tell_rounding(part: str, weights_dtype: WeightsDtype | None, rounding: RoundingError) -> None:
    """Tell in a note by how much weights in few bits differ from those that they were made of; nothing where there are none."""
    if rounding.decibels is not None:
        note(f"{weights_dtype} weights of {part}: their rounding lies {rounding.decibels:.1f} dB below them")


@dataclass(frozen=True)
class _HostAdapter:
    """A weighted adapter on the host.

    Attributes:
      low_rank: matrices a and b by path.
      full: full updates by path.
      scale: factor of the low-rank updates.
      weight: factor of the full updates, and strength of a DoRA.
    """

    low_rank: dict[str, np.ndarray]
    full: dict[str, np.ndarray]
    scale: np.float32
    weight: np.float32


def build_adapter_update(adapters: WeightedAdapters) -> wan.TensorUpdate:
    """Build a function that adds adapters to one tensor on the host, as it is read from its file."""
    host_adapters = [
        _HostAdapter(
            {path: np.asarray(x) for path, x in flatten_tree(adapter.lora).items()},
            {path: np.asarray(x) for path, x in flatten_tree(adapter.delta or {}).items()},
            np.float32(adapter.scale if lora.is_dora(adapter.lora) else weight * adapter.scale),
            np.float32(weight),
        )
        for adapter, weight in itertools.chain(*split_doras(adapters))
    ]

    def update(path: str, layer: int | None, x: np.ndarray) -> np.ndarray:
        module, index = path.removesuffix("/kernel"), ... if layer is None else layer
        for part in host_adapters:
            if module != path and f"{module}/a" in part.low_rank:
                a, b = (part.low_rank[f"{module}/{half}"][index] for half in "ab")
                x = x.astype(np.float32)
                magnitude = part.low_rank.get(f"{module}/magnitude")
                directed = x + a @ (b * part.scale)
                x = (
                    directed
                    if magnitude is None
                    else lora.apply_magnitude(x, directed, magnitude[index], part.weight)
                )
            if path in part.full:
                x = x.astype(np.float32) + part.weight * part.full[path][index]
        return x

    return update


def build_progress_bar(part: str, config: ModelConfig, visible: bool) -> tqdm:
    """Build a progress bar over the tensors of a part."""
    count = len(wan.parameter_shapes(part, config))
    return tqdm(total=count, desc=f"loading {part}", unit=" tensors", disable=not visible, leave=False)


def _layer_of(x: jax.Array) -> Callable[[Any], jax.Array]:
    return lambda layer: x[layer]


def _add_full_updates(tree: dict, delta: dict, weight: float) -> dict:
    """Add weighted full updates to parameters in float32; the result has the types of the parameters."""
    flat, full = (flatten_tree(t) for t in (tree, delta))
    for path, x in full.items():
        scale_path = quantized.scale_path(path)
        if path.endswith("/kernel") and scale_path in flat:
            flat[path], flat[scale_path] = quantized.update(
                flat[path], flat[scale_path], _layer_of(weight * jnp.asarray(x))
            )
            continue
        flat[path] = (flat[path].astype(jnp.float32) + weight * x).astype(flat[path].dtype)
    return unflatten_tree(flat)


_merge = jax.jit(lora.merge_adapter)
_merge_in_place = jax.jit(lora.merge_adapter, donate_argnums=0)
_add = jax.jit(_add_full_updates)
_add_in_place = jax.jit(_add_full_updates, donate_argnums=0)
