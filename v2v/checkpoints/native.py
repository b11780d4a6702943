"""Our own model folders: what the package ships, `v2v train` writes and `--model DIR` reads, in safetensors.

    config.json        the ModelConfig, latent statistics included
    tokenizer.json     the vocabulary                 abilities.json    what it is known to do (language/abilities.py), if measured
    base.safetensors   dit/… and text/…               vae.safetensors   vae/…
    lora.safetensors   lora/… and embed/… of the editing adapter; also the form in which `v2v train` leaves an adapter
    detail.safetensors the detail network (detail_file.py), if there is one
Names are our tree paths joined by "/". Tensors are float16, or, of the shipped VAE, int8 (its reconstructions stay the same to 0.01 dB):
    w ≈ q · scale,  q in -127..127, one float32 scale for each output channel (and layer) in "NAME:scale"
Safetensors only: no pickle is ever read.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from v2v import config as configs
from v2v.checkpoints.config_types import check_types
from v2v.checkpoints.flat_tree import flatten_tree, unflatten_tree
from v2v.errors import InputError
from v2v.runtime import text_files

SCALE_SUFFIX = ":scale"


def save_parameters(
    path: str | Path, tree: dict, metadata: dict[str, str] | None = None, int8: bool = False
) -> None:
    """Write a nested dict of arrays as float16, magnitudes of a DoRA as float32, under a temporary name, then rename it.

    Args:
      path: the safetensors file to write.
      tree: the arrays.
      metadata: entries of the file's header.
      int8: store matrices of 4096 or more elements as int8.

    Raises:
      ValueError: values that are not finite as float16.
    """
    tensors = {}
    for name, leaf in flatten_tree(tree).items():
        leaf = np.asarray(leaf, np.float32)
        if int8 and leaf.ndim >= 2 and leaf.size >= 4096:
            tensors[name], tensors[name + SCALE_SUFFIX] = _quantize(leaf, name)
        else:
            # What a DoRA changes of a length is small beside it.
            tensors[name] = leaf.astype(np.float32 if name.endswith("/magnitude") else np.float16)
    bad = [name for name, leaf in tensors.items() if not np.isfinite(leaf).all()]
    if bad:
        raise ValueError(f"{path}: not finite as float16: {', '.join(bad)}")
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")
    partial.touch()
    mode = partial.stat().st_mode  # as any new file's; safetensors would leave one that nobody else can read
    safetensors.numpy.save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, partial, metadata)
    partial.chmod(mode)
    partial.rename(path)


def _quantize(leaf: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return int8 values and the float32 scale of each output channel (and layer)."""
    axes = tuple(range(1 if "blocks" in name else 0, leaf.ndim - 1))  # a scanned layer is a matrix of its own
    scale = np.maximum(np.abs(leaf).max(axes, keepdims=True), 1e-12) / 127
    return np.rint(leaf / scale).astype(np.int8), scale.astype(np.float32)


def load_parameters(path: str | Path, like: dict | None = None, dtype=np.float32) -> dict:
    """Load a tree written by `save_parameters`.

    Args:
      path: the safetensors file.
      like: arrays or shapes that names and shapes must equal; None accepts any.
      dtype: type of the arrays returned.

    Raises:
      InputError: missing or unreadable file, missing, unexpected, mis-shaped or non-finite tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: expected a safetensors file, found none; check the path")
    try:
        flat = safetensors.numpy.load_file(path)
        for name in [name for name in flat if name.endswith(SCALE_SUFFIX)]:
            scale = flat.pop(name)
            flat[name.removesuffix(SCALE_SUFFIX)] = flat[name.removesuffix(SCALE_SUFFIX)] * scale
    # Of types that the package does not know, and of scales without a matrix or of another shape.
    except (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError) as err:
        raise InputError(
            f"{path}: expected a safetensors file, could not read it ({err}); export it again"
        ) from err
    wrong = [f"{name} is not finite" for name, leaf in flat.items() if not np.isfinite(leaf).all()]
    if like is not None:
        expected = {k: v.shape for k, v in flatten_tree(like).items()}
        wrong += [f"{name} missing" for name in sorted(expected.keys() - flat.keys())]
        wrong += [f"{name} unexpected" for name in sorted(flat.keys() - expected.keys())]
        wrong += [
            f"{name} is {flat[name].shape}, expected {expected[name]}"
            for name in sorted(expected.keys() & flat.keys())
            if flat[name].shape != expected[name]
        ]
    if wrong:
        details = "; ".join(wrong[:8]) + (f"; and {len(wrong) - 8} more" if len(wrong) > 8 else "")
        raise InputError(f"{path}: {len(wrong)} tensors don't fit this model: {details}")
    try:
        return unflatten_tree({k: v.astype(dtype) for k, v in flat.items()})
    except (TypeError, IndexError) as err:
        raise InputError(
            f"{path}: a name is that of a tensor and of a group of tensors; export it again"
        ) from err


# Fields that earlier versions don't know and would refuse: written only where they have another value than the default.
LATER_FIELDS = {
    configs.ModelConfig: ("fps",),
    configs.DiTConfig: ("frame_times",),
    configs.VAEConfig: ("residual",),
    configs.LoRAConfig: ("ranks", "rank_stabilized", "dora"),
    configs.ConditionConfig: ("reference", "context"),
    configs.FlowConfig: (
        "shift_tokens",
        "guidance_reference",
        "guidance_source",
        "negative",
        "boundary",
        "low_guidance",
        "tau_range",
        "levels",
    ),
}


def config_values(config: Any) -> dict[str, Any]:
    """Return a configuration as JSON values that earlier versions read too, as far as it has nothing that they lack."""
    values = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name in LATER_FIELDS.get(type(config), ()) and value == field.default:
            continue
        values[field.name] = config_values(value) if dataclasses.is_dataclass(value) else value
    return values


def save_config(path: str | Path, cfg: configs.ModelConfig) -> None:
    """Write a model configuration as JSON."""
    Path(path).write_text(json.dumps(config_values(cfg), indent=1) + "\n")


def load_config(path: str | Path) -> configs.ModelConfig:
    """Load a model configuration from JSON.

    Raises:
      InputError: a missing file, invalid JSON, or unknown fields.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: expected a model's config.json, found none; is the folder a v2v export?")
    try:
        config = _build_dataclass(configs.ModelConfig, text_files.read_json(path))
        check_types(config)
        return config
    except (ValueError, TypeError, KeyError, IndexError, ArithmeticError, AttributeError) as err:
        raise InputError(
            f"{path}: expected a v2v model configuration ({err}); export the model again"
        ) from err


def _build_dataclass(kind: type, values: dict[str, Any]) -> Any:
    """Build a frozen dataclass from nested dicts; lists become tuples."""
    if not isinstance(values, dict):
        raise ValueError(f"{kind.__name__}: expected an object, got {type(values).__name__}")
    types = {field.name: field.type for field in dataclasses.fields(kind)}
    unknown = values.keys() - types.keys()
    if unknown:
        raise ValueError(f"{kind.__name__} has no field {', '.join(sorted(unknown))}")
    built = {}
    for name, value in values.items():
        field_type = types[name]
        if isinstance(field_type, type) and dataclasses.is_dataclass(field_type):
            value = _build_dataclass(field_type, value)
        built[name] = _to_tuples(value)
    return kind(**built)


def _to_tuples(value: Any) -> Any:
    """Return a value with lists, also those in lists, as tuples."""
    return tuple(map(_to_tuples, value)) if isinstance(value, list) else value
