"""Where a model's parameters come from, when they are read, and how long they stay. folder.py, adapters.py → **store** → pretrained.py

    published folder   streamed tensor by tensor (wan.py); adapters are added on the way, in float32, before the cast
    converted folder   restored by orbax (train/checkpoint.py), adapters merged on the device
    packaged model     a few MB, read at once (export.py)
Opening a model checks names, shapes and types of everything and reads nothing; a part is read when it is first needed. At full size
the text encoder alone is 11 GB, so a part can be released again, and of the DiT only the version last asked for is kept. `check`
finds NaN in the parts that are needed last before the first has worked.
"""

import os
from collections.abc import Callable
from pathlib import Path

import flax
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from v2v.checkpoints import name_mapping, orbax_tree, wan
from v2v.checkpoints.adapters import Adapter
from v2v.checkpoints.model_folder import ModelFolder
from v2v.config import ModelConfig
from v2v.models import lora
from v2v.runtime import sharding

WeightedAdapters = tuple[
    tuple[Adapter, float], ...
]  # adapters in the order they are added, each with its weight
PartReader = Callable[[str, WeightedAdapters], dict]
RANK_MULTIPLE = 64  # combined adapters have a rank that is a multiple of this


class ParameterStore:
    """The parts "dit", "vae" and "text" of one model."""

    def __init__(self, read: PartReader, sizes: dict[str, int], look: Callable[[str], None] | None = None):
        """Args: read(part, adapters) gives a tree on the device; sizes are in bytes; look(part) raises when it holds NaN."""
        self._read, self._sizes, self._look = read, sizes, look
        self._checked = False
        self._held: dict[str, tuple[WeightedAdapters, dict]] = {}

    def get(self, part: str, adapters: WeightedAdapters = ()) -> dict:
        """The part's parameters with the adapters merged, kept until another version of them is asked for."""
        held = self._held.get(part)
        if held is None or held[0] != adapters:
            self._held.pop(part, None)  # freed before its successor is read
            held = self._held[part] = (adapters, self._read(part, adapters))
        return held[1]

    def check(self, adapters: WeightedAdapters = ()) -> None:
        """Raises InputError for values of the DiT or the VAE that are no numbers; to be called before the text encoder is read.

        Where the whole model fits comfortably both are simply read, else looked through a tensor at a time and not kept.
        """
        if self._checked:
            return
        for part, merged in (("dit", adapters), ("vae", ())):
            if self._roomy():
                self.get(part, merged)
            elif self._look and part not in self._held:
                self._look(part)
        self._checked = True

    def release(self, part: str) -> None:
        """Forget a part unless the whole model fits comfortably."""
        if not self._roomy():
            self._held.pop(part, None)

    def _roomy(self) -> bool:
        return sum(self._sizes.values()) <= _memory_bytes() / 2


class ReplicatedStore:
    """A store whose parts lie whole on every device of a mesh."""

    def __init__(self, one: ParameterStore, mesh: Mesh):
        self._one, self._mesh = one, mesh
        self._held: dict[str, tuple[dict, dict]] = {}

    def get(self, part: str, adapters: WeightedAdapters = ()) -> dict:
        tree, held = self._one.get(part, adapters), self._held.get(part)
        if held is None or held[0] is not tree:
            self._held.pop(part, None)
            held = self._held[part] = (tree, jax.device_put(tree, sharding.replicated(self._mesh)))
        return held[1]

    def check(self, adapters: WeightedAdapters = ()) -> None:
        self._one.check(adapters)

    def release(self, part: str) -> None:
        self._one.release(part)
        if part not in self._one._held:
            self._held.pop(part, None)


def store_from_trees(trees: dict[str, dict]) -> ParameterStore:
    """Parameters that are already here."""
    trees = jax.device_put(trees)
    sizes = {part: sum(x.nbytes for x in jax.tree.leaves(tree)) for part, tree in trees.items()}
    return ParameterStore(lambda part, adapters: merge_adapters(trees[part], adapters), sizes)


def store_from_folder(
    folder: ModelFolder, config: ModelConfig, mesh: Mesh | None = None, progress: bool = False
) -> ParameterStore:
    """A published folder; raises InputError, here and now, for everything that names, shapes and types tell.

    With a mesh each tensor goes straight into its shards (sharding.py); no device holds a whole one.
    """
    folder.require()
    for part in name_mapping.PARTS:
        wan.match_tensors(part, folder.parts[part], config)
    places = {
        part: flax.traverse_util.flatten_dict(abstract_parameters(part, config, mesh), sep="/")
        for part in name_mapping.PARTS
    }

    def read(part: str, adapters: WeightedAdapters) -> dict:
        update = build_adapter_update(adapters) if adapters else None
        with build_progress_bar(part, config, progress) as shown:
            return wan.load_part(
                part,
                folder.parts[part],
                config,
                place=lambda path: places[part][path].sharding,
                update=update,
                progress=lambda _: shown.update(),
            )

    return ParameterStore(
        read, part_bytes(config), lambda part: wan.check_values(part, folder.parts[part], config)
    )


def store_from_orbax(path: Path, config: ModelConfig, mesh: Mesh | None = None) -> ParameterStore:
    """A folder written by `v2v convert`, which has looked at every value; on a mesh as `from_folder`."""

    like = {part: abstract_parameters(part, config, mesh) for part in name_mapping.PARTS}
    for part in name_mapping.PARTS:
        orbax_tree.check_tree(path / part, like[part])

    def read(part: str, adapters: WeightedAdapters) -> dict:
        return merge_adapters(orbax_tree.load_tree(path / part, like[part]), adapters, donate=True)

    return ParameterStore(read, part_bytes(config))


def load_converted_adapter(path: Path) -> Adapter | None:
    """The adapter in a folder written by `v2v convert`, or None."""

    folder = path / "adapter"
    if not folder.is_dir():
        return None
    tree = orbax_tree.load_tree(folder)
    return Adapter(tree["lora"], 1.0, tree.get("delta"), tree.get("embed"))


def abstract_parameters(part: str, config: ModelConfig, mesh: Mesh | None = None) -> dict:
    """Shapes and types of a part as it is held: matmul weights in the part's dtype, the DiT's small ones in float32.

    With a mesh also where each leaf lies; raises InputError for all that don't divide.
    """
    leaves = {
        p: jax.ShapeDtypeStruct(s, wan.parameter_dtype(part, p, config))
        for p, s in wan.parameter_shapes(part, config).items()
    }
    tree = flax.traverse_util.unflatten_dict(leaves, sep="/")
    if mesh is None:
        return tree
    places = sharding.shardings({part: tree}, mesh)[part]
    return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), tree, places)


def part_bytes(config: ModelConfig) -> dict[str, int]:
    """Memory each part takes."""
    return {
        part: sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(abstract_parameters(part, config)))
        for part in name_mapping.PARTS
    }


def merge_adapters(tree: dict, adapters: WeightedAdapters, donate: bool = False) -> dict:
    """Parameters with adapters added, on the device; `donate` gives the tree's memory away.

    Several are one of their ranks together: added once and rounded once, in one program for any weights and nearly any ranks.
    """
    together = _merge_in_place if donate else _merge
    if len(adapters) == 1:
        ((adapter, weight),) = adapters
        tree = together(tree, adapter.lora, weight * adapter.scale)
    elif adapters:
        low = lora.combine([(a.lora, weight * a.scale) for a, weight in adapters], multiple=RANK_MULTIPLE)
        tree = together(tree, low, 1.0)
    for adapter, weight in adapters:
        if adapter.delta is not None:
            tree = (_add_in_place if donate else _add)(tree, adapter.delta, weight)
    return tree


def build_adapter_update(adapters: WeightedAdapters) -> wan.TensorUpdate:
    """The same for one tensor on its way from the file, on the host."""
    flat = [
        (
            {p: np.asarray(x) for p, x in flax.traverse_util.flatten_dict(a.lora, sep="/").items()},
            {p: np.asarray(x) for p, x in flax.traverse_util.flatten_dict(a.delta or {}, sep="/").items()},
            np.float32(weight * a.scale),
            np.float32(weight),
        )
        for a, weight in adapters
    ]

    def update(path: str, layer: int | None, x: np.ndarray) -> np.ndarray:
        module, here = path.removesuffix("/kernel"), ... if layer is None else layer
        for low, full, scale, weight in flat:
            if module != path and f"{module}/a" in low:
                x = x.astype(np.float32) + low[f"{module}/a"][here] @ (low[f"{module}/b"][here] * scale)
            if path in full:
                x = x.astype(np.float32) + weight * full[path][here]
        return x

    return update


def build_progress_bar(part: str, config: ModelConfig, shown: bool) -> tqdm:
    """Progress over the tensors of a part."""
    return tqdm(total=len(wan.parameter_shapes(part, config)), desc=f"loading {part}", unit=" tensors", disable=not shown, leave=False)  # fmt: skip


def _add_full_updates(tree: dict, delta: dict, weight: float) -> dict:
    flat, full = (flax.traverse_util.flatten_dict(t, sep="/") for t in (tree, delta))
    for path, x in full.items():
        flat[path] = (flat[path].astype(jnp.float32) + weight * x).astype(flat[path].dtype)
    return flax.traverse_util.unflatten_dict(flat, sep="/")


_merge, _add = jax.jit(lora.merge), jax.jit(_add_full_updates)
_merge_in_place, _add_in_place = (
    jax.jit(lora.merge, donate_argnums=0),
    jax.jit(_add_full_updates, donate_argnums=0),
)


def _memory_bytes() -> int:
    """Bytes of the first device, or of the machine where the device doesn't say."""
    stats = jax.local_devices()[0].memory_stats() or {}
    return stats.get("bytes_limit") or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
