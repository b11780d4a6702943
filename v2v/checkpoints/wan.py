"""Published Wan2.2-type checkpoints, read into and written from our parameter trees.

    files: names and shapes are checked at once -> each leaf of ours: read, transpose, cast, stack -> devices
No tensor is in memory twice: one leaf of ours (one kernel of all layers, at most a few GB) is assembled on the host in its final type and
put on its devices before the next is read. Both published layouts are recognized by their names, with the prefixes of single-file
releases.
"""

import difflib
import functools
import re
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from v2v.checkpoints import name_mapping, safetensors_file
from v2v.checkpoints.flat_tree import flatten_tree, unflatten_tree
from v2v.checkpoints.tensor_files import TensorFiles
from v2v.checkpoints.tensor_slot import FLOAT_DTYPES, READABLE_DTYPES
from v2v.config import ModelConfig, WeightsDtype, part_kind
from v2v.errors import InputError
from v2v.models import quantized
from v2v.models.autoencoder import VAE
from v2v.models.quantized import RoundingError
from v2v.models.text_encoder import TextEncoder
from v2v.models.transformer import DiT

NAME_PREFIXES = ("", "model.diffusion_model.", "diffusion_model.", "model.")
# Parameters of a bfloat16 transformer that stay in float32: they are small, and the published model computes with them in float32.
FLOAT32_PATHS = re.compile(r"modulation$|scale$|norm_cross/bias$|^time_|^head/")
# Tensors of some releases that are no parameters.
IGNORED_TENSORS = {"spiece_model"}

ShardingByPath = Callable[[str], jax.sharding.Sharding | None]
TensorUpdate = Callable[[str, int | None, np.ndarray], np.ndarray]


@functools.cache
def parameter_shapes(part: str, config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a part's parameters by path, from abstract evaluation; part is one of `ModelConfig.parts`."""
    key = jax.random.key(0)
    f32 = functools.partial(jax.ShapeDtypeStruct, dtype=jnp.float32)
    i32 = functools.partial(jax.ShapeDtypeStruct, dtype=jnp.int32)
    if part_kind(part) == "dit":
        cfg = config.dit
        args = (f32((1, *cfg.patch, cfg.in_channels)), f32((1,)), f32((1, cfg.text_len, cfg.text_width)))
        tree = jax.eval_shape(DiT(cfg, config.condition).init, key, *args)
    elif part == "vae":
        side = config.vae.stride_xy
        tree = jax.eval_shape(VAE(config.vae).init, key, f32((1, 1, side, side, 3)))
    else:
        tree = jax.eval_shape(TextEncoder(config.text).init, key, i32((1, 2)), i32((1,)))
    return {path: leaf.shape for path, leaf in flatten_tree(tree["params"]).items()}


def load_part(
    part: str,
    source: str | Path | TensorFiles,
    config: ModelConfig,
    *,
    dtype: DTypeLike | None = None,
    place: ShardingByPath | None = None,
    update: TensorUpdate | None = None,
    weights_dtype: WeightsDtype | None = None,
    rounding: RoundingError | None = None,
    progress: Callable[[str], object] | None = None,
) -> dict:
    """Load a part of the model from safetensors.

    Args:
      part: one of `ModelConfig.parts`.
      source: a file, an index, a folder with one of either, or an open checkpoint.
      config: the model the tensors must fit.
      dtype: type of the parameters; None takes the part's own `dtype`. A bfloat16 DiT keeps norms, modulation, time MLP and head
        in float32.
      place: sharding of a leaf by its path ("blocks/ffn/up/kernel"), None for the default device.
      update: (path, layer, tensor in our layout) to the tensor to use, before the cast; this is where adapters are merged.
      weights_dtype: type that weights are stored in (models/quantized.py), after `update`; None for that of `dtype`.
      rounding: the error of weights in few bits is added to it.
      progress: called with the path of each finished leaf.

    Returns:
      our parameter tree, on device.

    Raises:
      InputError: everything wrong with names and shapes at once, before any tensor is read; damaged files and values.
    """
    files = source if isinstance(source, TensorFiles) else TensorFiles.open(source)
    file_names, by_path = match_tensors(part, files, config)
    out = {}
    for path, entries in by_path.items():
        shape = parameter_shapes(part, config)[path]
        scales = None
        if weights_dtype is not None and quantized.is_quantized(part, path, weights_dtype):
            abstract = quantized.FORMATS[weights_dtype].abstract(shape)
            host, scales = (np.empty(leaf.shape, leaf.dtype) for leaf in abstract)
        else:
            host = np.empty(shape, parameter_dtype(part, path, config, dtype, weights_dtype))
        for e in entries:
            row = ... if e.layer is None else e.layer
            x = e.ours(files.read(file_names[e.name]), shape if e.layer is None else shape[1:])
            x = update(path, e.layer, x) if update else x
            if scales is None or weights_dtype is None:
                host[row] = x
                continue
            host[row], scales[row] = quantized.quantize_host(x, weights_dtype)
            if rounding is not None:
                rounding.add(x, host[row], scales[row])
        out[path] = _put_on_device(host, place and place(path))
        if scales is not None:
            scale_path = quantized.scale_path(path)
            out[scale_path] = _put_on_device(scales, place and place(scale_path))
        if progress:
            progress(path)
    return unflatten_tree(out)


def check_values(part: str, files: TensorFiles, config: ModelConfig) -> None:
    """Read every tensor of a part and keep none.

    Raises:
      InputError: NaN or infinite values, or files that have changed since they were opened.
    """
    for name in match_tensors(part, files, config)[0].values():
        files.read(name)


def parameter_dtype(
    part: str,
    path: str,
    config: ModelConfig,
    dtype: DTypeLike | None = None,
    weights_dtype: WeightsDtype | None = None,
) -> jnp.dtype:
    """Return the type of a parameter in memory that is not in few bits: the part's own, `weights_dtype` or `dtype`.

    What a bfloat16 DiT computes in float32 is float32.
    """
    kind = part_kind(part)
    if weights_dtype == "bfloat16" and kind in quantized.QUANTIZED_PARTS:
        dtype = dtype or jnp.bfloat16
    dtype = jnp.dtype(dtype or {"dit": config.dit, "vae": config.vae, "text": config.text}[kind].dtype)
    return jnp.dtype(jnp.float32) if kind == "dit" and FLOAT32_PATHS.search(path) else dtype


def match_tensors(
    part: str, files: TensorFiles, config: ModelConfig
) -> tuple[dict[str, str], dict[str, list[name_mapping.TensorMapping]]]:
    """Pair the checkpoint's tensors with ours.

    Returns:
      published name → name in the file, and our path → the published tensors that fill it.

    Raises:
      InputError: lists every missing, unexpected and mis-shaped tensor, with the nearest name.
    """
    file_names, layout = strip_prefix(part, files, config)
    entries = name_mapping.map_tensors(part, parameter_shapes(part, config), config, layout)
    expected = {e.name: e.shape for e in entries}
    for alias, name in name_mapping.ALIASES.items():
        if alias in file_names:
            file_names.setdefault(name, file_names[alias])
            del file_names[alias]
    both = sorted(set(expected) & set(file_names))
    packed = [(name, f"is {files.slots[file_names[name]].dtype}") for name in both]
    packed = [(name, what) for name, what in packed if what.removeprefix("is ") not in READABLE_DTYPES]
    if packed:
        raise InputError(
            f"{files.path}: expected tensors of {', '.join(FLOAT_DTYPES)}, but "
            + "; ".join(_group_by_layer(packed))
            + "; use the unquantized checkpoint"
        )
    missing = sorted(set(expected) - set(file_names))
    unexpected = sorted(set(file_names) - set(expected))
    wrong = []
    for listed, what, others in ((missing, "missing", unexpected), (unexpected, "unexpected", missing)):
        wrong += [(name, what + _format_nearest(name, others)) for name in listed]
    for name in both:
        shape = files.slots[file_names[name]].shape
        if shape != expected[name]:
            wrong.append((name, f"shape {list(shape)}, expected {list(expected[name])}"))
    if wrong:
        total = f"{len(missing)} missing, {len(unexpected)} unexpected, {len(wrong) - len(missing) - len(unexpected)} mis-shaped"
        raise InputError(
            f"{files.path}: doesn't fit the {part_kind(part)} of {config.name} in the {layout} layout ({total}): "
            + "; ".join(_group_by_layer(wrong))
            + "; check that the folder is the model meant and complete"
        )
    by_path: dict[str, list[name_mapping.TensorMapping]] = {}
    for e in entries:
        by_path.setdefault(e.path, []).append(e)
    return file_names, by_path


def strip_prefix(part: str, files: TensorFiles, config: ModelConfig) -> tuple[dict[str, str], str]:
    """Return {published name: name in the file} and the layout, for the prefix and layout that match most names."""
    best_hits, best_names, best_layout = -1, {}, ""
    for layout in name_mapping.LAYOUTS:
        expected = {
            e.name for e in name_mapping.map_tensors(part, parameter_shapes(part, config), config, layout)
        }
        for prefix in NAME_PREFIXES:
            parameters = [name for name in files.slots if name not in IGNORED_TENSORS]
            prefixed = {name.removeprefix(prefix): name for name in parameters if name.startswith(prefix)}
            hits = len(expected & set(prefixed))
            if hits > best_hits:
                others = {name: name for name in parameters if not name.startswith(prefix)}
                best_hits, best_names, best_layout = hits, others | prefixed, layout
    return best_names, best_layout


def published_tensors(
    part: str, params: dict, config: ModelConfig, layout: str = "diffusers"
) -> dict[str, np.ndarray]:
    """Return a tree under published names and in their memory layout, as host arrays: the inverse of `load_part`.

    Args:
      part: one of `ModelConfig.parts`.
      params: our parameter tree.
      config: the model it belongs to.
      layout: "diffusers" or "original".
    """
    flat = flatten_tree(params)
    out = {}
    for e in name_mapping.map_tensors(
        part, {path: leaf.shape for path, leaf in flat.items()}, config, layout
    ):
        leaf = flat[e.path] if e.layer is None else flat[e.path][e.layer]
        out[e.name] = np.ascontiguousarray(e.published(np.asarray(leaf)))
    return out


def save_part(
    part: str, path: str | Path, params: dict, config: ModelConfig, layout: str = "diffusers"
) -> None:
    """Write a tree as one safetensors file that the published tools load; arguments as in `published_tensors`."""
    safetensors_file.write_safetensors(path, published_tensors(part, params, config, layout))


def _format_nearest(name: str, others: list[str]) -> str:
    """Format the most similar name of the same layer, or ""; only one layer is compared to be fast."""

    def layer(name):
        return (re.findall(r"\d+", name) or [""])[0]

    near = difflib.get_close_matches(name, [n for n in others if layer(n) == layer(name)], 1)
    return f", nearest is {near[0]}" if near else ""


def _put_on_device(host: np.ndarray, sharding: jax.sharding.Sharding | None) -> jax.Array:
    """Put a host array on the default device, or on the devices of its sharding."""
    if sharding is None:
        return jnp.asarray(host)
    # Every process provides only the shards of its own devices.
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])


def _group_by_layer(wrong: list[tuple[str, str]]) -> list[str]:
    """Return one line for all layers with the same problem: blocks.{0-29}.attn1.to_q.weight."""
    groups: dict[tuple[str, str], list[int]] = {}
    for name, what in wrong:
        block = re.search(r"(?<=blocks\.)\d+|(?<=block\.)\d+", name)
        key = (
            (
                name[: block.start()] + "{}" + name[block.end() :],
                re.sub(r"(?<=block)(s?)\.\d+", r"\1.{}", what),
            )
            if block
            else (name, what)
        )
        groups.setdefault(key, []).append(int(block.group()) if block else -1)
    out = []
    for (name, what), layers in groups.items():
        numbers = _format_ranges(sorted(layers))
        label = numbers if len(layers) == 1 else "{" + numbers + "}"
        what = what.replace("{}", "N" if len(layers) > 1 else label)
        out.append(f"{name.replace('{}', label, 1) if layers[0] >= 0 else name} {what}")
    return out


def _format_ranges(numbers: list[int]) -> str:
    """Format sorted numbers with ranges: 1, 2, 3, 7 as "1-3,7"."""
    out, start = [], None
    for i, n in enumerate(numbers):
        if start is None:
            start = n
        if i + 1 == len(numbers) or numbers[i + 1] != n + 1:
            out.append(str(start) if start == n else f"{start}-{n}")
            start = None
    return ",".join(out)
