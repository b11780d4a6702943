"""LoRA files ↔ our adapter trees. model/lora.py knows the tree; **lora_files** knows how others write it down.

A low-rank update of a linear layer is stored as A [r, i] and B [o, r], under a name that differs from tool to tool:
    diffusers, PEFT          transformer.blocks.0.attn1.to_q.lora_A.weight                 alpha in the header, as JSON;
                             base_model.model.…                                            PEFT's own: in adapter_config.json
    ComfyUI, ai-toolkit,     diffusion_model.blocks.0.self_attn.q.lora_A.weight            alpha beside it, or none
      diffusion-pipe, DiffSynth: the same with lora_down/lora_up, with `.default`, or with no prefix
    musubi-tuner, kohya      lora_unet_blocks_0_self_attn_q.lora_down.weight               alpha always
    VideoX-Fun               lora_unet__blocks_0_…                                         alpha always
Reading: the update is (alpha/r) B A, alpha = r when it is not given; the factor is folded into our b, so an adapter that was read
has scale 1. Layers and blocks that a file leaves out stay zero, ranks that differ between blocks are padded with zeros. A key that
finds no home stops the read: an adapter that half applies looks like one that does.
Writing: the factor is folded in and no alpha written, which every tool above reads the same way.
"""

import json
import re
from pathlib import Path
from typing import Literal

import flax
import jax.numpy as jnp
import ml_dtypes
import numpy as np

from v2v.config import ModelConfig
from v2v.errors import InputError
from v2v.weights import names, tensorfile, wan
from v2v.weights.tensorfile import TensorFiles

Style = Literal["original", "diffusers"]
PREFIXES = (
    "base_model.model.",
    "model.diffusion_model.",
    "diffusion_model.",
    "transformer.",
    "pipe.dit.",
    "lora_unet__",
    "lora_unet_",
)
METADATA = "lora_adapter_metadata"
EMBEDS = ("source", "mask", "reference")

_FACTOR = re.compile(r"\.(?:lora_(?P<half>A|B|down|up)(?:\.(?!weight$)[\w-]+)?\.weight|(?P<alpha>alpha))$")


def read(path: str | Path, config: ModelConfig) -> dict:
    """The adapter in a file of any of the conventions above, float32 on the host, alpha folded in.

    Returns:
      {path: {"a": [L, i, r], "b": [L, r, o]}}, nested; without L for layers outside the blocks.

    Raises:
      InputError: names, all at once, the keys without a home, halves without their other, and sizes of another backbone.
    """
    files = TensorFiles.open(path)
    modules = _modules(config)
    factors, wrong = {}, []
    for key in files.slots:
        match = _FACTOR.search(key)
        module = match and modules.get(_strip(key[: match.start()]))
        if not module:
            wrong.append(f"{key} has no home" + _reason(key))
            continue
        half = {"A": "a", "down": "a", "B": "b", "up": "b", None: "alpha"}[match["half"]]
        if half in factors.setdefault(module, {}):
            wrong.append(f"{key} is given twice")
        factors[module][half] = key
    if not files.slots:
        wrong.append("the file is empty")
    kernels = wan.shapes("dit", config)
    header = _header_alphas(files, names.dit_modules(config.dit.layers, "diffusers"))
    found: dict[tuple[str, int | None], tuple[np.ndarray, np.ndarray]] = {}
    for (module, layer), halves in factors.items():
        if not {"a", "b"} <= set(halves):
            wrong.append(f"{next(iter(halves.values()))} lacks its other half")
            continue
        sizes = [files.slots[halves[h]].shape for h in "ab"]
        d_in, d_out = kernels[f"{module}/kernel"][-2:]
        r = sizes[0][0]
        if np.prod(sizes[0]) != r * d_in or sizes[1][:2] != (d_out, r) or np.prod(sizes[1]) != d_out * r:
            wrong.append(
                f"{halves['a']} {list(sizes[0])} and {list(sizes[1])} are for another backbone, expected "
                f"[r, {d_in}] and [{d_out}, r]"
            )
            continue
        a, b = (
            files.read(halves[h]).astype(np.float32).reshape(s[0], -1)
            for h, s in zip("ab", sizes, strict=True)
        )
        alpha = (
            float(files.read(halves["alpha"]).reshape(-1)[0])
            if "alpha" in halves
            else header.get((module, layer), r)
        )
        found[module, layer] = a.T, b.T * np.float32(alpha / r)
    if wrong:
        raise InputError(
            f"{path}: not a LoRA for {config.name}: {'; '.join(_shorten(wrong))}; export it for Wan2.2-TI2V-5B without extra keys"
        )
    return _stack(found, config.dit.layers)


def write(
    path: str | Path,
    adapter: dict,
    config: ModelConfig,
    *,
    scale: float = 1.0,
    style: Style = "original",
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16",
) -> None:
    """Write an adapter for other tools.

    Args:
      adapter: our tree; `scale` (alpha/r) is folded into B.
      style: "original" (`diffusion_model.` names; ComfyUI, diffusers, DiffSynth and most others read it) or "diffusers"
        (`transformer.` names with the adapter's metadata).

    Raises:
      InputError: an adapter of the patch embedding in the original style, for which diffusers refuses a whole file.
    """
    layout, prefix = {
        "original": ("original", "diffusion_model."),
        "diffusers": ("diffusers", "transformer."),
    }[style]
    inverse = {place: name for name, place in names.dit_modules(config.dit.layers, layout).items()}
    flat = flax.traverse_util.flatten_dict(adapter, sep="/")
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
            name = inverse[module, layer]
            x, y = (a, b) if layer is None else (a[layer], b[layer])
            x, y = x.T, y.T
            if module == "patch_embedding":
                x = x.reshape(len(x), -1, *config.dit.patch)
                y = y.reshape(*y.shape, 1, 1, 1)
            tensors[f"{prefix}{name}.lora_A.weight"] = np.ascontiguousarray(x).astype(kind)
            tensors[f"{prefix}{name}.lora_B.weight"] = np.ascontiguousarray(y).astype(kind)
            ranks[name] = x.shape[0]
    tensorfile.write(path, tensors, _metadata(ranks) if style == "diffusers" else None)


def read_embeds(path: str | Path, config: ModelConfig) -> dict:
    """The new patch embeddings written by `write_embeds`: the collection `embed`, float32. Raises InputError on any other file."""
    files = TensorFiles.open(path)
    dit = config.dit
    size, channels = int(np.prod(dit.patch)), dit.out_channels
    shapes = {"weight": (dit.width, channels, *dit.patch), "bias": (dit.width,)}
    expected = {f"{name}_embedding.{leaf}": shape for name in EMBEDS for leaf, shape in shapes.items()}
    wrong = [
        f"{k} {list(s.shape)}" + (f", expected {list(expected[k])}" if k in expected else " is unknown")
        for k, s in files.slots.items()
        if expected.get(k) != s.shape
    ]
    lone = [
        k
        for k in files.slots
        if f"{k.rsplit('.', 1)[0]}.{'bias' if k.endswith('weight') else 'weight'}" not in files.slots
    ]
    if wrong or lone or not files.slots:
        detail = "; ".join(_shorten(wrong + [f"{k} lacks its other half" for k in lone])) or "no tensors"
        raise InputError(
            f"{path}: not the new embeddings for {config.name}: {detail}; pass the file written beside the LoRA"
        )
    out = {}
    for name in EMBEDS:
        if f"{name}_embedding.weight" in files.slots:
            weight, bias = (files.read(f"{name}_embedding.{leaf}").astype(np.float32) for leaf in shapes)
            out[name] = {"kernel": weight.reshape(dit.width, channels * size).T, "bias": bias}
    return out


def write_embeds(path: str | Path, embeds: dict, config: ModelConfig) -> None:
    """The collection `embed` as convolution weights {source,mask,reference}_embedding.{weight,bias}, float32.

    A file of its own: inside a LoRA file such keys make diffusers refuse all of it.
    """
    tensors = {}
    for name, leaves in embeds.items():
        kernel = np.asarray(leaves["kernel"], np.float32)
        tensors[f"{name}_embedding.weight"] = np.ascontiguousarray(kernel.T).reshape(
            kernel.shape[1], -1, *config.dit.patch
        )
        tensors[f"{name}_embedding.bias"] = np.asarray(leaves["bias"], np.float32)
    tensorfile.write(path, tensors)


def _modules(config: ModelConfig) -> dict[str, tuple[str, int | None]]:
    """Every spelling of a module's name → its place in our tree; dots may have been turned to underscores."""
    out = {}
    for layout in names.LAYOUTS:
        for name, place in names.dit_modules(config.dit.layers, layout).items():
            out[name] = out[name.replace(".", "_")] = place
    return out


def _strip(module: str) -> str:
    """Without the prefixes tools put in front, of which there may be several."""
    while prefix := next((p for p in PREFIXES if module.startswith(p)), None):
        module = module.removeprefix(prefix)
    return module


def _reason(key: str) -> str:
    """Why a key of a known kind is refused."""
    if key.endswith((".diff", ".diff_b", ".set_weight", ".reshape_weight", ".lora_B.bias")):
        return " (a full weight or bias delta, not low rank)"
    if "dora" in key or "magnitude" in key:
        return " (DoRA)"
    if "vace" in key or ".k_img" in key or ".add_k_proj" in key:
        return " (of a VACE or image-to-video backbone)"
    return ""


def _header_alphas(files: TensorFiles, modules: dict) -> dict[tuple[str, int | None], float]:
    """Alphas in a diffusers header, or beside a file of PEFT's own: one for all, with exceptions by regex of the module's name."""
    beside = files.path.with_name("adapter_config.json")
    try:
        meta = json.loads(files.metadata.get(METADATA, "{}"))
        if beside.is_file() and all(key.startswith("base_model.") for key in files.slots):
            meta = json.loads(beside.read_text())
    except ValueError as err:
        raise InputError(
            f"{files.path}: {METADATA} in its header or {beside.name} is not JSON ({err}); export it again"
        ) from err
    meta = {k.removeprefix("transformer."): v for k, v in meta.items()}
    if meta.get("use_rslora"):
        raise InputError(
            f"{files.path}: uses rslora scaling (alpha / sqrt(r)), which is not supported; export it with alpha folded in"
        )
    patterns = meta.get("alpha_pattern") or {}
    out = {}
    for name, place in modules.items():
        hit = next(
            (v for k, v in patterns.items() if re.search(rf"(?:^|\.)(?:{k})$", name)), meta.get("lora_alpha")
        )
        if hit is not None:
            out[place] = float(hit)
    return out


def _metadata(ranks: dict[str, int]) -> dict[str, str]:
    r = max(set(ranks.values()), key=list(ranks.values()).count, default=1)
    odd = {name: n for name, n in ranks.items() if n != r}
    config = {
        "r": r, "lora_alpha": r, "target_modules": sorted(ranks), "rank_pattern": odd, "alpha_pattern": odd, "bias": "none",
        "lora_dropout": 0.0, "use_dora": False, "use_rslora": False, "peft_type": "LORA",
    }  # fmt: skip
    return {METADATA: json.dumps({f"transformer.{k}": v for k, v in config.items()}, sort_keys=True)}


def _stack(found: dict, layers: int) -> dict:
    """Blocks onto the scanned axis, zeros where a block has no update, ranks padded to the layer's largest."""
    out = {}
    for module in sorted({m for m, _ in found}):
        members = {layer: ab for (m, layer), ab in found.items() if m == module}
        if None in members:
            out[f"{module}/a"], out[f"{module}/b"] = members[None]
            continue
        r = max(a.shape[1] for a, _ in members.values())
        first_a, first_b = next(iter(members.values()))
        a = np.zeros((layers, first_a.shape[0], r), np.float32)
        b = np.zeros((layers, r, first_b.shape[1]), np.float32)
        for layer, (x, y) in members.items():
            a[layer, :, : x.shape[1]], b[layer, : y.shape[0]] = x, y
        out[f"{module}/a"], out[f"{module}/b"] = a, b
    return flax.traverse_util.unflatten_dict({k: jnp.asarray(v) for k, v in out.items()}, sep="/")


def _shorten(items: list[str], most: int = 12) -> list[str]:
    return items if len(items) <= most else [*items[:most], f"and {len(items) - most} more"]
