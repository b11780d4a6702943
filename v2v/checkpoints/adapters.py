"""Adapters: LoRA, full updates and patch embeddings, read from any file and written for other tools.

    NAME.safetensors          low-rank updates in any tool's convention, or {"lora", "embed"} as `v2v train` writes it
    NAME.embeds.safetensors   beside a file for other tools: the patch embeddings of source, mask and reference. In the LoRA
                              file itself such keys would make diffusers reject the whole file

The layout of the conditions in training (config.ConditionConfig) is stored in the header of the file with the embeddings, because
sampling must use the same one. An adapter distilled to a few steps stores how it is sampled (config.SamplingConfig) in the header of the
LoRA file.
"""

import dataclasses
import json
import re
from pathlib import Path

import jax
import numpy as np

from v2v.checkpoints import hub, lora_files, native, safetensors_file, wan
from v2v.checkpoints.config_types import check_types
from v2v.checkpoints.flat_tree import flatten_tree, unflatten_tree
from v2v.checkpoints.presets import parse_sampling
from v2v.checkpoints.tensor_files import TensorFiles
from v2v.config import (
    ConditionConfig,
    LoRAConfig,
    LoraDtype,
    LoraStyle,
    ModelConfig,
    SamplingConfig,
    TransformerName,
    transformer_part,
)
from v2v.errors import InputError
from v2v.models import lora
from v2v.models.conditioning import CONDITION_NAMES, Conditioning, build_conditioning
from v2v.runtime import text_files

CONDITION_KEY = "v2v_condition"
LORA_KEY = "v2v_lora"
SAMPLING_KEY = "v2v_sampling"
# Which transformer of a model of two an adapter was trained for.
TRANSFORMER_KEY = "v2v_transformer"
# In the names of files of such adapters.
_NOISE_LEVEL = re.compile(r"(high|low)[-_ ]?noise", re.IGNORECASE)


@dataclasses.dataclass(frozen=True, eq=False)
class Adapter:
    """An adapter as trees of host or device arrays, checked against a model.

    Attributes:
      lora: low-rank updates, {path: {"a", "b"}}, of a DoRA with "magnitude".
      scale: alpha/r where it is not folded into b.
      delta: full updates by parameter path.
      embed: patch embeddings of the conditions; an adapter with them replaces the model's own editing adapter.
      condition: the layout of the conditions in training; None where the file does not say.
      sampling: how it was distilled to be sampled; None where the file does not say.
    """

    lora: dict
    scale: float = 1.0
    delta: dict | None = None
    embed: dict | None = None
    condition: ConditionConfig | None = None
    sampling: SamplingConfig | None = None


def embeddings_path(path: str | Path) -> Path:
    """Return the path of the embeddings that belong to the LoRA file `path`."""
    return Path(path).with_suffix(".embeds.safetensors")


def load_for_transformers(
    source: str | Path | dict | Adapter, config: ModelConfig, transformer: TransformerName | None = None
) -> dict[str, Adapter]:
    """Load what an adapter adds to each transformer of a model.

    Args:
      source: as for `load_adapter`, or a loaded adapter.
      config: the model.
      transformer: which transformer of a model of two it is for; None for a model of one, and for a file with adapters of both.

    Returns:
      adapters by part.

    Raises:
      InputError: as `load_adapter`, or one that isn't told for which of two transformers it is.
    """
    if transformer is not None and transformer not in config.transformer_names:
        raise InputError(
            f"adapter: got one for the {transformer}-noise transformer, but {config.name} has a single one; pass it with --lora"
        )
    if transformer is None and None not in config.transformer_names:
        is_file = not isinstance(source, dict | Adapter)
        if not is_file or not lora_files.holds_both_transformers(
            TensorFiles.open(hub.resolve_adapter(source))
        ):
            name = source if is_file else "adapter"
            raise InputError(
                f"{name}: expected adapters of both transformers of {config.name}, got one; pass the pair with --lora-high and --lora-low"
            )
        return {
            transformer_part(name): load_adapter(source, config, name) for name in config.transformer_names
        }
    adapter = source if isinstance(source, Adapter) else load_adapter(source, config, transformer)
    return {transformer_part(transformer): adapter}


def load_adapter(
    source: str | Path | dict, config: ModelConfig, transformer: TransformerName | None = None
) -> Adapter:
    """Load an adapter from a file, with the embeddings beside it if there are any, or from a tree.

    Args:
      source: a safetensors file, ORG/NAME[/FILE.safetensors] on the Hugging Face Hub, or a tree {"lora", "embed"} as training
        keeps it.
      config: the model that the adapter must fit.
      transformer: which transformer of a model of two it is for; None for a model of one.

    Raises:
      InputError: a missing or damaged file, or an adapter for another model, or for the other transformer. No weights of the model are read.
    """
    if isinstance(source, dict):
        return _build_from_tree("adapter", source, config, None, config.lora.scale)
    path = hub.resolve_adapter(source)
    files = TensorFiles.open(path)
    _check_transformer(files, transformer)
    if any(key.startswith(("lora/", "embed/")) for key in files.slots):
        tree = native.load_parameters(files.path)
        adapter = _build_from_tree(path, tree, config, _parse_condition(files), stored_scale(files, config))
        return dataclasses.replace(adapter, sampling=_parse_sampling(files))
    updates = lora_files.load_lora(path, config, transformer)
    embeddings_file = embeddings_path(files.path)
    embed = condition = None
    if embeddings_file.is_file():
        condition = _parse_condition(TensorFiles.open(embeddings_file))
        embed = load_embeddings(embeddings_file, config, condition)
    _check_source(embeddings_file, embed, config)
    return Adapter(updates.lora, 1.0, updates.delta, embed, condition, _parse_sampling(files))


def _check_transformer(files: TensorFiles, transformer: TransformerName | None) -> None:
    """Raise InputError for an adapter that says, in its header or by its name, that it is of the other transformer."""
    entry, match = files.metadata.get(TRANSFORMER_KEY), _NOISE_LEVEL.search(files.path.name)
    name = entry or (match and match[1].lower())
    if transformer is not None and name and name != transformer:
        raise InputError(
            f"{files.path}: is an adapter of the {name}-noise transformer by its {'header' if entry else 'name'}, expected one of the "
            f"{transformer}-noise; pass it with --lora-{name}"
        )


def save_adapter(
    path: str | Path,
    adapter: Adapter,
    config: ModelConfig,
    *,
    style: LoraStyle = "original",
    dtype: LoraDtype = "bfloat16",
) -> list[Path]:
    """Write an adapter for other tools.

    Args:
      path: the LoRA file; embeddings go into a file beside it.
      adapter: the adapter to write.
      config: the model it belongs to.
      style: the convention of names, see `lora_files.save_lora`.
      dtype: type of the low-rank matrices.

    Returns:
      the files written: the LoRA and, if there are any, the embeddings.

    Raises:
      InputError: the adapter has full updates, or an update of the patch embedding in the original style.
      OSError: the disk is full or can't be written; no file is left.
    """
    if adapter.delta is not None:
        updates = ", ".join(sorted(flatten_tree(adapter.delta))[:4])
        raise InputError(
            f"{path}: the adapter holds full updates ({updates}, …), which no LoRA file of ours carries; keep the file it came in"
        )
    paths = [Path(path)]
    metadata = None if adapter.sampling is None else sampling_metadata(adapter.sampling)
    lora_files.save_lora(
        path, adapter.lora, config, scale=adapter.scale, style=style, dtype=dtype, metadata=metadata
    )
    if adapter.embed is not None:
        paths.append(embeddings_path(path))
        try:
            save_embeddings(paths[1], adapter.embed, config, adapter.condition)
        except BaseException:
            paths[0].unlink()  # without its embeddings it would be another adapter
            raise
    return paths


def combine_adapters(parts: tuple[tuple[Adapter, float], ...], embed: dict | None) -> Adapter | None:
    """Combine weighted adapters into one adapter of scale 1; None for no adapters.

    Args:
      parts: adapters, each with its weight.
      embed: patch embeddings of the result.
    """
    if not parts:
        return None
    has_dora = any(lora.is_dora(adapter.lora) for adapter, _ in parts)
    if has_dora and [weight for _, weight in parts] != [1]:
        raise InputError(
            "adapters: a DoRA sets the length of weights, so it can't be written as one with other adapters or at another strength than 1; write each alone"
        )
    low_rank = lora.combine_adapters([(adapter.lora, weight * adapter.scale) for adapter, weight in parts])
    full: dict[str, np.ndarray] = {}
    for adapter, weight in parts:
        for path, x in flatten_tree(adapter.delta or {}).items():
            full[path] = full.get(path, np.float32(0)) + np.float32(weight) * np.asarray(x, np.float32)
    samplings = [adapter.sampling for adapter, weight in parts if adapter.sampling is not None and weight]
    return Adapter(
        low_rank,
        1.0,
        unflatten_tree(full) or None,
        embed,
        parts[-1][0].condition,
        samplings[-1] if samplings else None,
    )


def load_embeddings(path: str | Path, config: ModelConfig, condition: ConditionConfig | None = None) -> dict:
    """Load patch embeddings written by `save_embeddings`.

    Args:
      path: a safetensors file.
      config: the model that they must fit.
      condition: the layout of the conditions in training; None for the model's.

    Returns:
      the flax collection `embed`, float32.

    Raises:
      InputError: any other file.
    """
    files = TensorFiles.open(path)
    dit = config.dit
    conditioning = build_conditioning(dit, condition or config.condition)
    channels = {name: conditioning.embedding_channels(name, dit.out_channels) for name in CONDITION_NAMES}
    expected: dict[str, tuple[int, ...]] = {}
    for name in CONDITION_NAMES:
        expected[f"{name}_embedding.weight"] = (dit.width, channels[name], *dit.patch)
        expected[f"{name}_embedding.bias"] = (dit.width,)
    wrong = [
        f"{k} {list(s.shape)}" + (f", expected {list(expected[k])}" if k in expected else " is unknown")
        for k, s in files.slots.items()
        if expected.get(k) != s.shape
    ]
    unpaired = [
        k
        for k in files.slots
        if f"{k.rsplit('.', 1)[0]}.{'bias' if k.endswith('weight') else 'weight'}" not in files.slots
    ]
    if wrong or unpaired or not files.slots:
        detail = "; ".join((wrong + [f"{k} lacks its other half" for k in unpaired])[:12]) or "no tensors"
        raise InputError(
            f"{path}: not the new embeddings for {config.name}: {detail}; pass the file written beside the LoRA"
        )
    embeddings = {}
    for name in CONDITION_NAMES:
        if f"{name}_embedding.weight" in files.slots:
            weight = files.read(f"{name}_embedding.weight").astype(np.float32)
            bias = files.read(f"{name}_embedding.bias").astype(np.float32)
            embeddings[name] = {"kernel": weight.reshape(dit.width, -1).T, "bias": bias}
    return embeddings


def save_embeddings(
    path: str | Path, embeds: dict, config: ModelConfig, condition: ConditionConfig | None = None
) -> None:
    """Write the collection `embed` as convolution weights {source,mask,reference}_embedding.{weight,bias}, float32.

    Args:
      path: the safetensors file to write.
      embeds: {name: {"kernel": [patch * c, d], "bias": [d]}}.
      config: the model they belong to.
      condition: layout of the conditions in training, stored in the header; None stores none.
    """
    tensors = {}
    for name, leaves in embeds.items():
        kernel = np.asarray(leaves["kernel"], np.float32)
        tensors[f"{name}_embedding.weight"] = np.ascontiguousarray(kernel.T).reshape(
            kernel.shape[1], -1, *config.dit.patch
        )
        tensors[f"{name}_embedding.bias"] = np.asarray(leaves["bias"], np.float32)
    safetensors_file.write_safetensors(path, tensors, condition and condition_metadata(condition))


def condition_metadata(condition: ConditionConfig) -> dict[str, str]:
    """Return the entry of a safetensors header that stores the layout of an adapter's conditions."""
    return {CONDITION_KEY: json.dumps(native.config_values(condition))}


def sampling_metadata(sampling: SamplingConfig) -> dict[str, str]:
    """Return the entry of a safetensors header that stores how an adapter was distilled to be sampled."""
    return {SAMPLING_KEY: json.dumps(dataclasses.asdict(sampling))}


def adapter_metadata(config: ModelConfig, transformer: TransformerName | None = None) -> dict[str, str]:
    """Return the entries of a safetensors header that make an adapter's file complete.

    They are rank and alpha of LoRA, the layout of conditions, and, of a model with explicit noise levels, how it is sampled.

    Args:
      config: the model.
      transformer: which transformer of a model of two it was trained for.
    """
    flow = config.flow
    entries = {LORA_KEY: json.dumps(native.config_values(config.lora))} | condition_metadata(config.condition)
    if transformer is not None:
        entries[TRANSFORMER_KEY] = transformer
    if flow.levels:
        names = [field.name for field in dataclasses.fields(SamplingConfig)]
        entries |= sampling_metadata(SamplingConfig(**{name: getattr(flow, name) for name in names}))
    return entries


def stored_scale(files: TensorFiles, config: ModelConfig) -> float:
    """Return alpha / rank of an adapter as `v2v train` writes it; that of the model for files of earlier versions, which don't say.

    Raises:
      InputError: an entry that can't be read.
    """
    text = files.metadata.get(LORA_KEY)
    if not text:
        return config.lora.scale
    try:
        return LoRAConfig(**text_files.parse_json(text)).scale
    except (ValueError, TypeError, ArithmeticError) as err:
        raise InputError(
            f"{files.path}: {LORA_KEY} in its header can't be read ({err}); export it again"
        ) from err


def _parse_condition(files: TensorFiles) -> ConditionConfig | None:
    """Parse the layout of an adapter's conditions from the header of its file; None if it has none."""
    text = files.metadata.get(CONDITION_KEY)
    try:
        if not text:
            return None
        condition = ConditionConfig(**text_files.parse_json(text))
        check_types(condition)
        return condition
    except (ValueError, TypeError) as err:
        raise InputError(
            f"{files.path}: {CONDITION_KEY} in its header can't be read ({err}); export it again"
        ) from err


def _parse_sampling(files: TensorFiles) -> SamplingConfig | None:
    """Parse how an adapter was distilled to be sampled from the header of its file; None if it has none."""
    text = files.metadata.get(SAMPLING_KEY)
    try:
        return parse_sampling(text_files.parse_json(text)) if text else None
    except ValueError as err:
        raise InputError(
            f"{files.path}: {SAMPLING_KEY} in its header can't be read ({err}); export it again"
        ) from err


def _build_from_tree(
    where: str | Path, tree: dict, config: ModelConfig, condition: ConditionConfig | None, scale: float
) -> Adapter:
    """Build an adapter from a tree as training keeps it, checked name by name; `where` is its source, for messages."""
    if "lora" not in tree or tree.keys() - {"lora", "embed", "delta"}:
        raise InputError(
            f"{where}: expected an adapter with lora/… and embed/…, got {', '.join(sorted(tree))}; is it a LoRA?"
        )
    if not all(
        isinstance(group, dict) and "" not in flatten_tree(group)
        for group in tree.values()
        if group is not None
    ):
        raise InputError(
            f"{where}: expected groups of tensors as lora/… and embed/…, got a tensor; is it a LoRA?"
        )
    base = {p: jax.ShapeDtypeStruct(s, np.float32) for p, s in wan.parameter_shapes("dit", config).items()}
    try:
        jax.eval_shape(lora.merge_adapter, unflatten_tree(base), tree["lora"], 1.0)
    except (ValueError, KeyError) as err:
        raise InputError(f"{where}: {err}; use an adapter trained on {config.name}") from err
    embed = tree.get("embed")
    if embed is not None:
        conditioning = build_conditioning(config.dit, condition or config.condition)
        if embed.keys() - set(CONDITION_NAMES) or any(
            jax.tree.map(np.shape, leaves) != _embedding_shapes(conditioning, name, config)
            for name, leaves in embed.items()
        ):
            raise InputError(
                f"{where}: its embeddings don't fit model {config.name}; it was made for another"
            )
    _check_source(where, embed, config)
    return Adapter(tree["lora"], scale, tree.get("delta"), embed, condition)


def _embedding_shapes(
    conditioning: Conditioning, name: str, config: ModelConfig
) -> dict[str, tuple[int, ...]]:
    channels = conditioning.embedding_channels(name, config.dit.out_channels)
    return {
        "kernel": (int(np.prod(config.dit.patch)) * channels, config.dit.width),
        "bias": (config.dit.width,),
    }


def _check_source(where: str | Path, embed: dict | None, config: ModelConfig) -> None:
    """Check that embeddings include that of the source video, unless the model takes it as further channels."""
    if embed is None:
        return
    if "source" not in build_conditioning(config.dit, config.condition).usable_conditions(embed):
        raise InputError(f"{where}: brings embeddings but none for the source video; export it again")
