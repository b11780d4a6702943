"""LoRA files of all common tools: read into adapter trees (models/lora.py) and written for other tools.

A low-rank update of a linear layer is stored as A [r, i] and B [o, r], under a name that differs from tool to tool:
    diffusers, PEFT          transformer.blocks.0.attn1.to_q.lora_A.weight                 alpha in the header, as JSON;
                             base_model.model.…                                            PEFT's own: in adapter_config.json
    ComfyUI, ai-toolkit,     diffusion_model.blocks.0.self_attn.q.lora_A.weight            alpha beside it, or none
      diffusion-pipe, DiffSynth: the same with lora_down/lora_up, with `.default`, or with no prefix
    musubi-tuner, kohya      lora_unet_blocks_0_self_attn_q.lora_down.weight               alpha always
    VideoX-Fun               lora_unet__blocks_0_…                                         alpha always
    others                   dit.…, lora_transformer_…; .lora.down for .lora_down (diffusers before 0.20), .lora_alpha (FastVideo)

DoRA's magnitude, a length for each output, is beside the factors, as NAME.lora_magnitude_vector [o] (PEFT, diffusers) or NAME.dora_scale [o, 1]
(ComfyUI and those that follow it). The reading is of lengths over inputs alone, the usual ones.

Tools that subtract one checkpoint from another store full updates of everything that is no matrix beside the factors:
    NAME.diff         added to NAME.weight (gains of norms, the patch convolution), or to NAME itself (modulation tables)
    NAME.diff_b       added to NAME.bias
    NAME.diff_m       added to NAME.modulation (lightx2v, CausVid)
    NAME.lora_B.bias  PEFT's `lora_bias`: added to NAME.bias, times alpha/r

On reading, the update is (alpha/r) B A with alpha = r by default, and (alpha/sqrt(r)) B A where PEFT's configuration says rsLoRA. The factor is folded into our b, so an adapter from a file has scale 1.
Layers that are not in the file stay zero; ranks that differ between blocks are padded with zeros. On an editor whose input holds the
source as further channels, an update of the plain backbone's patch embedding is added to the channels of the noise, which come first. A key that matches no parameter
is an error, with the reason where the kind is known, because a partly applied adapter looks like a working one. On writing, the
factor is folded in and no alpha is written, which all tools above read in the same way.
"""

import contextlib
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from v2v.checkpoints import name_mapping, safetensors_file, wan
from v2v.checkpoints.flat_tree import flatten_tree, unflatten_tree
from v2v.checkpoints.tensor_files import TensorFiles
from v2v.config import LoraDtype, LoraStyle, ModelConfig, TransformerName
from v2v.errors import InputError
from v2v.runtime import text_files

# A linear layer: its path in our tree, and its index on the stacked axis, or None where it is not stacked.
Module = tuple[str, int | None]
MODULE_PREFIXES = (
    "base_model.model.",
    "model.diffusion_model.",
    "diffusion_model.",
    "transformer.",
    "pipe.dit.",
    "dit.",
    "lora_transformer_",
    "lora_unet__",
    "lora_unet_",
)
METADATA_KEY = "lora_adapter_metadata"
# Diffusers' name of the low-noise transformer of a model of two.
LOW_NOISE_PREFIX = "transformer_2."
# What is taken of a regular expression from a file.
MOST_REPETITIONS, MOST_GROUPS, LONGEST_PATTERN = 3, 5, 1000

_FACTOR = re.compile(
    r"\.(?:lora[_.](?P<half>A|B|down|up)(?:\.(?!weight$)[\w-]+)?\.weight|(?P<alpha>alpha|lora_alpha))$"
)
_MAGNITUDE = re.compile(r"\.(?:lora_magnitude_vector(?:\.(?!weight$)[\w-]+)?(?:\.weight)?|dora_scale)$")
_BIAS = re.compile(r"\.lora_(?:B|up)(?:\.[\w-]+)?\.bias$")
# Why keys of a known kind cannot be read; the first match counts.
REFUSAL_REASONS = (
    (r"\.set_weight$", "replaces a weight instead of adding to it; use the full checkpoint"),
    (r"\.reshape_weight$", "widens a weight for another number of input channels; use the checkpoint it makes, in_channels and all"),
    (r"\.(hada|lokr|oft|boft|glora)_|\.oft_", "LoHa, LoKr or OFT, which are no low-rank updates; extract a LoRA"),
    (r"vace|\.k_img|\.v_img|\.add_[kv]_proj|img_emb|control_adapter|motion_", "of a VACE, control or image-to-video backbone"),
    (r"lora_te|text_encoder|text_model", "of the text encoder; this package adapts the transformer alone"),
)  # fmt: skip
BACKBONES_BY_WIDTH = {5120: "Wan 14B or A14B", 1536: "Wan 1.3B", 3072: "Wan2.2-TI2V-5B"}


@dataclass(frozen=True)
class LoraUpdates:
    """Updates of the transformer read from a LoRA file, float32.

    Attributes:
      lora: low-rank updates, a tree {path: {"a": [L, i, r], "b": [L, r, o]}} without L for layers outside the blocks; of a DoRA with
        "magnitude" [L, o], 0 for blocks that have none.
      delta: full updates, a tree {path: [L, ...]}; None where the file has none.
    """

    lora: dict
    delta: dict | None = None


def load_lora(
    path: str | Path, config: ModelConfig, transformer: TransformerName | None = None
) -> LoraUpdates:
    """Load an adapter from a file of any convention above: float32, on the host, alpha folded in.

    Args:
      path: a safetensors file.
      config: the model that the adapter must fit.
      transformer: which transformer of a model of two it is for; None for a model of one.

    Raises:
      InputError: a backbone of another width, or the other transformer; or, in one message, all keys that match no parameter, unpaired matrices and
        wrong shapes.
    """
    files = _select_transformer(TensorFiles.open(path), config, transformer)
    keys = _assign_keys(files, config)
    _check_width(path, files, config)
    low_rank, scales = _read_factors(files, keys, config)
    magnitudes = _read_magnitudes(files, keys, config)
    for key, target in keys.full.items():
        shape = files.slots[key].shape
        if shape != target.shape and not _is_of_noise_channels(target.path, shape, config):
            keys.problems.append(
                f"{key} {list(shape)} is for another backbone, expected {list(target.shape)}"
            )
    if keys.problems:
        raise InputError(
            f"{path}: not a LoRA for {config.name}: {'; '.join(_shorten(keys.problems))}; export it for this model without extra keys"
        )
    stacked = _stack_blocks(low_rank, magnitudes, config.dit.layers)
    if not keys.full:
        return LoraUpdates(stacked)
    updates: dict[name_mapping.TensorMapping, np.ndarray] = {}
    for key, target in keys.full.items():
        module = (target.path.rsplit("/", 1)[0], target.layer)
        scale = scales.get(module, np.float32(1)) if _BIAS.search(key) else np.float32(1)
        x = files.read(key).astype(np.float32)
        if x.shape != target.shape:
            x = np.concatenate([x, np.zeros_like(x)], 1)
        updates[target] = updates.get(target, np.float32(0)) + x * scale
    return LoraUpdates(stacked, stack_full_updates(updates, config))


def is_magnitude(key: str) -> bool:
    """Return whether a key is that of a DoRA's magnitude."""
    return bool(_MAGNITUDE.search(key))


def holds_both_transformers(files: TensorFiles) -> bool:
    """Return whether a file holds adapters of both transformers of a model of two, as diffusers writes them."""
    return {key.startswith(LOW_NOISE_PREFIX) for key in files.slots} == {True, False}


def _select_transformer(
    files: TensorFiles, config: ModelConfig, transformer: TransformerName | None
) -> TensorFiles:
    """Return the adapter of one transformer in a file that tells them apart; other files as they are."""
    low = {key: slot for key, slot in files.slots.items() if key.startswith(LOW_NOISE_PREFIX)}
    if not low:
        return files
    if transformer is None:
        raise InputError(
            f"{files.path}: holds an adapter of the low-noise transformer of a model of two ({LOW_NOISE_PREFIX}), such as Wan2.2-A14B; "
            f"expected one for {config.name if not config.flow.boundary else 'a single transformer'}"
        )
    high = {key: slot for key, slot in files.slots.items() if key not in low}
    if transformer == "high" and not high:
        raise InputError(
            f"{files.path}: is an adapter of the low-noise transformer ({LOW_NOISE_PREFIX}), expected one of the high-noise; pass it with "
            "--lora-low"
        )
    metadata = dict(files.metadata)
    with contextlib.suppress(ValueError, AttributeError):  # told where it is read
        header = text_files.parse_json(metadata.get(METADATA_KEY, "{}"))
        mine = {k: v for k, v in header.items() if k.startswith(LOW_NOISE_PREFIX) == (transformer == "low")}
        metadata[METADATA_KEY] = json.dumps({k.removeprefix(LOW_NOISE_PREFIX): v for k, v in mine.items()})
    slots = {key.removeprefix(LOW_NOISE_PREFIX): slot for key, slot in low.items()}
    return TensorFiles(files.path, slots if transformer == "low" else high, metadata)


@dataclass(frozen=True)
class _AssignedKeys:
    """The keys of a file by the parameters that they belong to.

    Attributes:
      factors: keys of "a", "b", "alpha" and "magnitude" by module.
      full: targets of full updates by key.
      problems: descriptions of keys and shapes that do not fit.
    """

    factors: dict[Module, dict[str, str]]
    full: dict[str, name_mapping.TensorMapping]
    problems: list[str]


def _assign_keys(files: TensorFiles, config: ModelConfig) -> _AssignedKeys:
    """Assign every key of a file to a parameter by its name."""
    modules, full_update_targets = _map_modules(config), map_full_updates(config)
    keys = _AssignedKeys({}, {}, [])
    for key in files.slots:
        magnitude = _MAGNITUDE.search(key)
        match, bias = magnitude or _FACTOR.search(key), _BIAS.search(key)
        module = match and modules.get(_strip_prefixes(key[: match.start()]))
        target = full_update_targets.get(
            _strip_prefixes(key[: bias.start()]) + ".diff_b" if bias else _strip_prefixes(key)
        )
        if target:
            keys.full[key] = target
        elif not match or not module:
            keys.problems.append(f"{key} matches no parameter{_refusal_reason(key)}")
        else:
            halves = {"A": "a", "down": "a", "B": "b", "up": "b", None: "alpha"}
            half = "magnitude" if magnitude else halves[match["half"]]
            if half in keys.factors.setdefault(module, {}):
                keys.problems.append(f"{key} is given twice")
            keys.factors[module][half] = key
    if not files.slots:
        keys.problems.append("the file is empty")
    return keys


def _read_factors(
    files: TensorFiles, keys: _AssignedKeys, config: ModelConfig
) -> tuple[dict[Module, tuple[np.ndarray, np.ndarray]], dict[Module, np.float32]]:
    """Read low-rank updates; add what does not fit to `keys.problems`, after which nothing more is read.

    Returns:
      a [i, r] and b [r, o] by module, with alpha/r folded into b; and alpha/r by module.
    """
    kernels = wan.parameter_shapes("dit", config)
    header = _parse_alphas(files, name_mapping.map_linear_modules(config.dit.layers, "diffusers"))
    low_rank: dict[Module, tuple[np.ndarray, np.ndarray]] = {}
    scales: dict[Module, np.float32] = {}
    for module, halves in keys.factors.items():
        if not {"a", "b"} <= set(halves):
            keys.problems.append(f"{next(iter(halves.values()))} lacks its other half")
            continue
        a_shape, b_shape = (files.slots[halves[half]].shape for half in "ab")
        d_in, d_out = kernels[f"{module[0]}/kernel"][-2:]
        r = a_shape[0] if a_shape else 0
        a_fits = r and (np.prod(a_shape) == r * d_in or _is_of_noise_channels(module[0], a_shape, config))
        if not a_fits or b_shape[:2] != (d_out, r) or np.prod(b_shape) != d_out * r:
            keys.problems.append(
                f"{halves['a']} {list(a_shape)} and {list(b_shape)} are for another backbone, expected "
                f"[r, {d_in}] and [{d_out}, r]"
            )
            continue
        alpha = header.of(module, r)
        if "alpha" in halves:
            values = files.read(halves["alpha"]).reshape(-1)
            if values.size != 1:
                keys.problems.append(f"{halves['alpha']} has {values.size} values, expected one number")
                continue
            alpha = float(values[0])
        scales[module] = np.float32(alpha / r)
        if not keys.problems:
            a = files.read(halves["a"]).astype(np.float32).reshape(r, -1)
            a = np.pad(a, ((0, 0), (0, d_in - a.shape[1])))
            b = files.read(halves["b"]).astype(np.float32).reshape(d_out, -1)
            low_rank[module] = a.T, b.T * scales[module]
    return low_rank, scales


def _read_magnitudes(
    files: TensorFiles, keys: _AssignedKeys, config: ModelConfig
) -> dict[Module, np.ndarray]:
    """Read the magnitudes [o] of a DoRA by module; add what does not fit to `keys.problems`."""
    kernels = wan.parameter_shapes("dit", config)
    magnitudes: dict[Module, np.ndarray] = {}
    for module, halves in keys.factors.items():
        if (key := halves.get("magnitude")) is None:
            continue
        shape, d_out = files.slots[key].shape, kernels[f"{module[0]}/kernel"][-1]
        # [o], [o, 1, ...], and PEFT's of convolutions [1, o, 1, ...]; [1, i] are lengths over outputs.
        is_of_outputs = shape[:1] == (d_out,) or (len(shape) > 2 and shape[1] == d_out)
        if not is_of_outputs or math.prod(shape) != d_out:
            keys.problems.append(f"{key} {list(shape)} has no length for each of {d_out} outputs")
        elif not keys.problems:
            magnitudes[module] = files.read(key).astype(np.float32).reshape(-1)
    return magnitudes


def save_lora(
    path: str | Path,
    adapter: dict,
    config: ModelConfig,
    *,
    scale: float = 1.0,
    style: LoraStyle = "original",
    dtype: LoraDtype = "bfloat16",
    metadata: dict[str, str] | None = None,
) -> None:
    """Write an adapter for other tools.

    Args:
      path: the file to write.
      adapter: the low-rank tree.
      config: the model it belongs to.
      scale: alpha/r, folded into B.
      style: "original" (`diffusion_model.` names; ComfyUI, diffusers, DiffSynth and most others read it) or "diffusers"
        (`transformer.` names with the adapter's metadata).
      dtype: type of the matrices.
      metadata: further entries of the file's header; None for none.

    Raises:
      InputError: an update of the patch embedding in the original style, which makes diffusers reject the whole file.
    """
    layout, prefix = {
        "original": ("original", "diffusion_model."),
        "diffusers": ("diffusers", "transformer."),
    }[style]
    modules = name_mapping.map_linear_modules(config.dit.layers, layout)
    names = {module: name for name, module in modules.items()}
    flat = flatten_tree(adapter)
    kind = {"bfloat16": ml_dtypes.bfloat16, "float16": np.float16, "float32": np.float32}[dtype]
    tensors, ranks = {}, {}
    for module in sorted({p.rsplit("/", 1)[0] for p in flat}):
        if module == "patch_embedding" and style == "original":
            raise InputError(
                f"{path}: an adapter of the patch embedding can't be written in the original style; use --format diffusers"
            )
        a, b = (np.asarray(flat[f"{module}/{h}"], np.float32) for h in "ab")
        b = b * np.float32(scale)
        for layer in range(len(a)) if a.ndim == 3 else (None,):
            name = names[module, layer]
            x, y = (a, b) if layer is None else (a[layer], b[layer])
            x, y = x.T, y.T
            if module == "patch_embedding":
                x = x.reshape(len(x), -1, *config.dit.patch)
                y = y.reshape(*y.shape, 1, 1, 1)
            tensors[f"{prefix}{name}.lora_A.weight"] = np.ascontiguousarray(x).astype(kind)
            tensors[f"{prefix}{name}.lora_B.weight"] = np.ascontiguousarray(y).astype(kind)
            if (magnitude := flat.get(f"{module}/magnitude")) is not None:
                length = np.asarray(magnitude if layer is None else magnitude[layer], np.float32)
                if style == "original":
                    tensors[f"{prefix}{name}.dora_scale"] = length[:, None]
                else:
                    shape = (1, -1, 1, 1, 1) if module == "patch_embedding" else (-1,)
                    tensors[f"{prefix}{name}.lora_magnitude_vector"] = length.reshape(shape)
            ranks[name] = x.shape[0]
    is_dora = any(path.endswith("/magnitude") for path in flat)
    entries = (_build_metadata(ranks, is_dora) if style == "diffusers" else {}) | (metadata or {})
    safetensors_file.write_safetensors(path, tensors, entries or None)


def map_full_updates(config: ModelConfig) -> dict[str, name_mapping.TensorMapping]:
    """Map every spelling of a full update ("blocks.0.norm3.diff", "blocks_0_norm3.diff") to the tensor it is added to."""
    out = {}
    for layout in name_mapping.LAYOUTS:
        for entry in name_mapping.map_tensors("dit", wan.parameter_shapes("dit", config), config, layout):
            stem, end = entry.name, ".diff"
            if stem.endswith(".bias"):
                stem, end = stem.removesuffix(".bias"), ".diff_b"
            if stem.endswith(".modulation"):
                # lightx2v's name, without that of the table.
                name = f"{stem.removesuffix('.modulation')}.diff_m"
                out[name] = out[name.replace(".", "_")] = entry
            stem = stem.removesuffix(".weight")
            out[stem + end] = out[stem.replace(".", "_") + end] = entry
    return out


def stack_full_updates(updates: dict[name_mapping.TensorMapping, np.ndarray], config: ModelConfig) -> dict:
    """Stack full updates in the published layout into a tree of our parameters, float32; absent layers are zero."""
    shapes, out = wan.parameter_shapes("dit", config), {}
    for entry, x in updates.items():
        shape = shapes[entry.path]
        leaf = out.setdefault(entry.path, np.zeros(shape, np.float32))
        if entry.layer is None:
            leaf += entry.ours(x, shape)
        else:
            leaf[entry.layer] += entry.ours(x, shape[1:])
    return unflatten_tree(out)


def _is_of_noise_channels(path: str, shape: tuple[int, ...], config: ModelConfig) -> bool:
    """Return whether an update is one of the plain backbone's patch embedding, and the model's has channels of the source as well.

    Args:
      path: of the layer or of its kernel.
      shape: [d or r, c, *patch].
      config: the model's.
    """
    dit = config.dit
    is_wide = dit.in_channels == 2 * dit.out_channels
    return path.startswith("patch_embedding") and is_wide and shape[1:] == (dit.out_channels, *dit.patch)


def _map_modules(config: ModelConfig) -> dict[str, Module]:
    """Map every spelling of a module's name, also with underscores for dots, to the module in our tree."""
    out = {}
    for layout in name_mapping.LAYOUTS:
        for name, module in name_mapping.map_linear_modules(config.dit.layers, layout).items():
            out[name] = out[name.replace(".", "_")] = module
    return out


def _strip_prefixes(module: str) -> str:
    """Remove the prefixes of other tools, of which there may be several."""
    while prefix := next((p for p in MODULE_PREFIXES if module.startswith(p)), None):
        module = module.removeprefix(prefix)
    return module


def _refusal_reason(key: str) -> str:
    """Return why a key of a known kind cannot be read, "" for an unknown kind."""
    return next((f" ({why})" for pattern, why in REFUSAL_REASONS if re.search(pattern, key)), "")


def _check_width(path: str | Path, files: TensorFiles, config: ModelConfig) -> None:
    """Raise InputError that names the backbone of a LoRA for another one, instead of hundreds of wrong shapes."""
    queries = re.compile(r"(?:self_attn|attn1)[._](?:to_)?q\.lora[_.](?:A|down)(?:\.\w+)?\.weight$")
    widths = {
        slot.shape[1] for key, slot in files.slots.items() if queries.search(key) and len(slot.shape) > 1
    }
    if len(widths) == 1 and (width := widths.pop()) != config.dit.width:
        backbone = BACKBONES_BY_WIDTH.get(width, "another backbone")
        raise InputError(
            f"{path}: is a LoRA for {backbone} (width {width}), expected one for {config.name} (width {config.dit.width}); adapters "
            "fit only the backbone they were trained on"
        )


@dataclass(frozen=True)
class _Alphas:
    """The alphas that a header or configuration gives.

    Attributes:
      by_module: those of modules.
      is_rank_stabilized: whether updates are scaled by alpha/sqrt(r) in place of alpha/r (rsLoRA).
    """

    by_module: dict[Module, float]
    is_rank_stabilized: bool = False

    def of(self, module: Module, rank: int) -> float:
        """Return the alpha that, divided by the rank, is the factor of a module's update."""
        alpha = self.by_module.get(module, float(rank))
        return alpha * math.sqrt(rank) if self.is_rank_stabilized and module in self.by_module else alpha


def _parse_alphas(files: TensorFiles, modules: dict[str, Module]) -> _Alphas:
    """Parse alphas from a diffusers header or PEFT's adapter_config.json: one value, and exceptions by regex of the module's name."""
    beside = files.path.with_name("adapter_config.json")
    if beside.is_file() and all(key.startswith("base_model.") for key in files.slots):
        source, text = beside.name, text_files.read_text(beside)
    else:
        source, text = METADATA_KEY, files.metadata.get(METADATA_KEY, "{}")
    try:
        meta = text_files.parse_json(text)
    except ValueError as err:
        raise InputError(f"{files.path}: expected {source} as JSON, got {err}; export it again") from err
    if not isinstance(meta, dict):
        raise InputError(
            f"{files.path}: expected {source} as a JSON object, got {type(meta).__name__}; export it again"
        )
    meta = {k.removeprefix("transformer."): v for k, v in meta.items()}
    patterns = _compile_patterns(files.path, meta.get("alpha_pattern") or {})
    common_alpha = meta.get("lora_alpha")
    if common_alpha is not None:
        common_alpha = _parse_alpha(files.path, "lora_alpha", common_alpha)
    elif meta.get("use_rslora"):
        raise InputError(
            f"{files.path}: is scaled by alpha / sqrt(r) (use_rslora in {source}), expected lora_alpha there; export it again"
        )
    out = {}
    for name, module in modules.items():
        alpha = next((v for pattern, v in patterns if pattern.search(name)), common_alpha)
        if alpha is not None:
            out[module] = alpha
    return _Alphas(out, bool(meta.get("use_rslora")))


def _compile_patterns(path: Path, patterns: Any) -> list[tuple[re.Pattern[str], float]]:
    """Return the regular expressions of an alpha_pattern with their alphas, in order."""
    if not isinstance(patterns, dict):
        raise InputError(
            f"{path}: alpha_pattern: expected a mapping of modules to alphas, got {type(patterns).__name__}; export it again"
        )
    out = []
    for text, alpha in patterns.items():
        if _may_backtrack(text):
            raise InputError(
                f"{path}: alpha_pattern: {text[:60]!r} has repeated groups, or so many repetitions or alternatives that comparing it with "
                "names may take for ever; write it as plain names of modules"
            )
        try:
            # Deep nesting and huge counts of repetitions are errors of other types.
            pattern = re.compile(rf"(?:^|\.)(?:{text})$")
        except (re.error, RecursionError, OverflowError) as err:
            raise InputError(
                f"{path}: alpha_pattern: expected regular expressions of modules' names, got {text[:60]!r} ({err}); export it again"
            ) from err
        out.append((pattern, _parse_alpha(path, f"alpha_pattern {text[:60]!r}", alpha)))
    return out


def _may_backtrack(text: str) -> bool:
    """Return whether comparing a regular expression with a module's name may take very many steps.

    Without repeated groups no repetition holds another, and the steps are at most the name's length to the power of their number, times
    the alternatives of each group.
    """
    # Without escapes, classes of letters, and the marks that begin groups.
    plain = re.sub(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", "x", text, flags=re.S).replace("(?", "(")
    groups = 1 + plain.count("(") if "|" in plain else 0
    return (
        bool(re.search(r"\)[*+{]", plain))
        or len(re.findall(r"[*+{?]", plain)) > MOST_REPETITIONS
        or groups > MOST_GROUPS
        or len(text) > LONGEST_PATTERN
    )


def _parse_alpha(path: Path, name: str, value: Any) -> float:
    """Return an alpha of a configuration as a float; raise InputError for anything but a finite number."""
    # An integer may be beyond what a float can hold.
    is_number = type(value) in (int, float) and abs(value) <= 1e30
    if not is_number or not math.isfinite(value):
        text = repr(value)
        raise InputError(
            f"{path}: {name}: expected a number as alpha, got {text[:40]}{'...' * (len(text) > 40)}; export it again"
        )
    return float(value)


def _build_metadata(ranks: dict[str, int], is_dora: bool) -> dict[str, str]:
    """Build the header entry from which diffusers restores an adapter: the commonest rank, and the modules that differ."""
    r = max(set(ranks.values()), key=list(ranks.values()).count, default=1)
    exceptions = {name: n for name, n in ranks.items() if n != r}
    config = {
        "r": r, "lora_alpha": r, "target_modules": sorted(ranks), "rank_pattern": exceptions, "alpha_pattern": exceptions, "bias": "none",
        "lora_dropout": 0.0, "use_dora": is_dora, "use_rslora": False, "peft_type": "LORA",
    }  # fmt: skip
    return {METADATA_KEY: json.dumps({f"transformer.{k}": v for k, v in config.items()}, sort_keys=True)}


def _stack_blocks(
    updates: dict[Module, tuple[np.ndarray, np.ndarray]], magnitudes: dict[Module, np.ndarray], layers: int
) -> dict:
    """Stack blocks along the scanned axis: zeros where a block has no update, ranks padded to the layer's largest."""
    out = {}
    for module in sorted({m for m, _ in updates}):
        members = {layer: ab for (m, layer), ab in updates.items() if m == module}
        lengths = {layer: length for (m, layer), length in magnitudes.items() if m == module}
        if None in members:
            out[f"{module}/a"], out[f"{module}/b"] = members[None]
            if lengths:
                out[f"{module}/magnitude"] = lengths[None]
            continue
        r = max(a.shape[1] for a, _ in members.values())
        first_a, first_b = next(iter(members.values()))
        a = np.zeros((layers, first_a.shape[0], r), np.float32)
        b = np.zeros((layers, r, first_b.shape[1]), np.float32)
        for layer, (x, y) in members.items():
            a[layer, :, : x.shape[1]], b[layer, : y.shape[0]] = x, y
        if lengths:
            out[f"{module}/magnitude"] = np.zeros((layers, first_b.shape[1]), np.float32)
            for layer, length in lengths.items():
                out[f"{module}/magnitude"][layer] = length
        out[f"{module}/a"], out[f"{module}/b"] = a, b
    return unflatten_tree(out)


def _shorten(items: list[str], limit: int = 12) -> list[str]:
    """Return the first `limit` items and a count of the others."""
    return items if len(items) <= limit else [*items[:limit], f"and {len(items) - limit} more"]
