"""The adapter that a run starts from: of an earlier run, or a LoRA file of any tool.

adapters.py -> **start_adapter** -> fine_tuning.py
"""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp

from v2v.checkpoints import adapters, lora_files, native
from v2v.checkpoints.flat_tree import flatten_tree, unflatten_tree
from v2v.checkpoints.tensor_files import TensorFiles
from v2v.config import ModelConfig, TransformerName
from v2v.errors import InputError, note
from v2v.models import lora
from v2v.train.objectives import Parameters


def load_start(
    path: str,
    config: ModelConfig,
    initial: Parameters,
    transformer: TransformerName | None = None,
    dit: Parameters | None = None,
) -> Parameters:
    """Return the weights that training goes on with.

    A file of `v2v train` must have the same ranks and embeddings. A LoRA of another tool may have lower ranks and fewer layers: what it
    lacks starts as in a new adapter, so that the first step equals the model with that LoRA.

    Args:
      path: the safetensors file.
      config: the model, with the ranks and targets that are trained.
      initial: an initial adapter {"lora", "embed"}, or shapes of one.
      transformer: which transformer of a model of two it is for.
      dit: parameters of the transformer; needed for a DoRA alone.

    Raises:
      InputError: a file for another model, of higher ranks, with layers that aren't trained, or a DoRA where none is trained and the reverse.
    """
    _check_kind(path, initial)
    if _is_own(path):
        start = native.load_parameters(path, _with_stored_names(initial))
        if dit is not None and lora.is_dora(start["lora"]):
            start = start | {"lora": jax.jit(lora.with_magnitude_changes)(start["lora"], dit)}
        factor = adapters.stored_scale(TensorFiles.open(Path(path)), config) / config.lora.scale
        return start if factor == 1 else start | {"lora": lora.scale_adapter(start["lora"], factor)}
    adapter = _load_foreign(path, config, initial, transformer)
    if dit is not None and lora.is_dora(adapter.lora):
        changes = jax.jit(lora.with_magnitude_changes)(adapter.lora, dit)
        adapter = dataclasses.replace(adapter, lora=_without_empty_magnitudes(adapter.lora, changes))
    foreign = flatten_tree(lora.scale_adapter(adapter.lora, adapter.scale / config.lora.scale))
    padded = {
        name: _pad(leaf, foreign.get(name), name) for name, leaf in flatten_tree(initial["lora"]).items()
    }
    if adapter.embed is None and initial.get("embed"):
        note(f"--start {path}: has no embeddings of source, mask and reference; they start at zero")
    return initial | {"lora": unflatten_tree(padded)} | ({"embed": adapter.embed} if adapter.embed else {})


def check_start(
    path: str, config: ModelConfig, shapes: Parameters, transformer: TransformerName | None = None
) -> None:
    """Check a file that training shall start from, as `load_start` does, with shapes in place of an initial adapter."""
    _check_kind(path, shapes)
    if _is_own(path):
        native.load_parameters(path, _with_stored_names(shapes))
    else:
        _load_foreign(path, config, shapes, transformer)


def _check_kind(path: str, initial: Parameters) -> None:
    """Raise InputError where a file is a DoRA and none is trained, or the reverse."""
    slots = TensorFiles.open(Path(path)).slots
    is_dora = any(key.endswith("/magnitude") or lora_files.is_magnitude(key) for key in slots)
    if is_dora != lora.is_dora(initial["lora"]):
        kinds = ("a DoRA", "no DoRA") if is_dora else ("no DoRA", "a DoRA")
        remedy = "give --model.lora.dora" if is_dora else "leave --model.lora.dora out"
        raise InputError(f"--start {path}: is {kinds[0]}, the run trains {kinds[1]}; {remedy}")


def _with_stored_names(initial: Parameters) -> Parameters:
    """Return an initial adapter with the names that files have."""
    leaves = flatten_tree(initial)
    return unflatten_tree(
        {
            name.removesuffix("_change") if name.endswith("/magnitude_change") else name: leaf
            for name, leaf in leaves.items()
        }
    )


def _without_empty_magnitudes(stored: Parameters, changes: Parameters) -> Parameters:
    """Return an adapter in which blocks without a magnitude, which have 0 in files, change none."""
    magnitudes = flatten_tree(stored)
    leaves = flatten_tree(changes)
    for name in [name for name in leaves if name.endswith("/magnitude_change")]:
        leaves[name] = jnp.where(magnitudes[name.removesuffix("_change")] == 0, 0.0, leaves[name])
    return unflatten_tree(leaves)


def _is_own(path: str) -> bool:
    """Return whether `v2v train` wrote a file."""
    return any(key.startswith(("lora/", "embed/")) for key in TensorFiles.open(Path(path)).slots)


def _load_foreign(
    path: str, config: ModelConfig, initial: Parameters, transformer: TransformerName | None
) -> adapters.Adapter:
    """Load a LoRA of another tool and check that it fits into what is trained."""
    adapter = adapters.load_adapter(Path(path), config, transformer)
    if adapter.delta is not None:
        names = ", ".join(sorted(flatten_tree(adapter.delta))[:4])
        raise InputError(
            f"--start {path}: holds full updates ({names}, ...), which no adapter trains; merge it into the model by v2v convert --lora"
        )
    foreign, initial_factors = flatten_tree(adapter.lora), flatten_tree(_with_stored_names(initial)["lora"])
    _check_layers(
        path, {k: v.shape for k, v in foreign.items()}, {k: v.shape for k, v in initial_factors.items()}
    )
    return adapter


def _check_layers(path: str, foreign: dict[str, tuple], initial_factors: dict[str, tuple]) -> None:
    """Raise InputError where an adapter has layers that aren't trained, or higher ranks."""
    extra = sorted({name.rsplit("/", 1)[0] for name in foreign.keys() - initial_factors.keys()})
    if extra:
        raise InputError(
            f"--start {path}: has layers that aren't trained ({', '.join(extra[:6])}{', ...' if extra[6:] else ''}); include them in"
            " --model.lora.targets"
        )
    higher = {
        name.rsplit("/", 1)[0]: shape[-1]
        for name, shape in foreign.items()
        if name.endswith("/a") and shape[-1] > initial_factors[name][-1]
    }
    if higher:
        layer, rank = max(higher.items(), key=lambda item: item[1])
        raise InputError(
            f"--start {path}: has rank {rank} in {layer}, expected {initial_factors[f'{layer}/a'][-1]} at most; give --model.lora.rank {rank}"
        )


def _pad(initial_factors: jax.Array, foreign: jax.Array | None, name: str) -> jax.Array:
    """Return factors of the initial one's rank: of a the initial columns follow, of b zeros, so that their product is the same."""
    if foreign is None:
        return initial_factors
    if name.endswith("/magnitude_change"):
        return jnp.asarray(foreign)
    rank = foreign.shape[-1] if name.endswith("/a") else foreign.shape[-2]
    if name.endswith("/a"):
        return jnp.concatenate([jnp.asarray(foreign, jnp.float32), initial_factors[..., rank:]], -1)
    return jnp.concatenate(
        [jnp.asarray(foreign, jnp.float32), jnp.zeros_like(initial_factors[..., rank:, :])], -2
    )
