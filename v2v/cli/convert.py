"""`v2v convert`: what users have → what starts fast, or what other tools read. folder.py, adapters.py → **convert** → store.py

    a model folder (published, or of `v2v train`)  →  a folder of ours: config.json, tokenizer.json, and orbax trees dit/ vae/ text/
                                                      (and adapter/), cast once, read in parallel afterwards
    a LoRA file of any tool, or of `v2v train`     →  a LoRA file for other tools, and its embeddings in a file beside it
Everything is checked before a tensor is read. A folder appears whole under its name or not at all.
"""

import dataclasses
import os
import shutil
from pathlib import Path

import jax
from tqdm import tqdm

from v2v.checkpoints import adapters, name_mapping, native, orbax_tree
from v2v.checkpoints.adapters import Adapter
from v2v.checkpoints.lora_files import LoraStyle
from v2v.errors import InputError
from v2v.pipeline.pretrained import is_converted_folder, load_pretrained


def convert(
    source: str | Path,
    target: str | Path,
    *,
    model: str = "",
    lora: str = "",
    style: LoraStyle = "original",
    dtype: str = "bfloat16",
    progress: bool = False,
) -> dict:
    """Convert a model folder, or a LoRA file.

    Args:
      source: a folder, or a .safetensors file (then `model` says which model the adapter is for).
      target: the folder, or file, to make.
      lora: an adapter to put into the folder beside the weights.
      style, dtype: of a LoRA file.

    Returns:
      what was made: {"output", "files", "bytes"}.

    Raises:
      InputError: whatever loading would raise; a target that exists.
    """
    source, target = Path(source), Path(target)
    if source.is_file() or source.suffix:
        made = _convert_lora(source, target, model, style, dtype)
    else:
        made = _convert_model(source, target, lora, progress)
    files = [
        p for root in made for p in ([root] if root.is_file() else sorted(root.rglob("*"))) if p.is_file()
    ]
    return {
        "output": str(target),
        "files": len(files),
        "bytes": sum(p.stat().st_size for p in files),
    }


def _convert_lora(source: Path, target: Path, model: str, style: LoraStyle, dtype: str) -> list[Path]:
    if not model:
        raise InputError(f"{source}: is one file; say with --model which model the adapter is for")
    if target.suffix != ".safetensors":
        raise InputError(f"{target}: expected a name ending in .safetensors for an adapter")
    if not target.parent.is_dir():
        raise InputError(f"{target}: no folder {target.parent}; make it first")
    taken = [p for p in (target, adapters.embeddings_path(target)) if p.exists()]
    if taken:
        raise InputError(f"{taken[0]}: already there; choose another name")
    config = load_pretrained(model).config
    adapter = adapters.load_adapter(source, config)
    said = adapter.condition or config.condition
    return adapters.save_adapter(target, dataclasses.replace(adapter, condition=said), config, style=style, dtype=dtype)  # fmt: skip


def _convert_model(source: Path, target: Path, lora: str, progress: bool) -> list[Path]:
    if target.exists():
        raise InputError(f"{target}: already there; choose another name or remove it")
    if not target.absolute().parent.is_dir():
        raise InputError(f"{target}: no folder {target.absolute().parent}; make it first")
    if source.is_dir() and is_converted_folder(source) and not lora:
        raise InputError(f"{source}: is converted already; pass it to --model as it is")
    model = load_pretrained(str(source), progress=progress)
    if lora:
        model = model.with_lora(lora)
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir()
        model.tokenizer.backend.save(str(partial / "tokenizer.json"))
        for part in tqdm(
            name_mapping.PARTS, desc="converting", unit=" parts", disable=not progress, leave=False
        ):
            orbax_tree.save_tree(partial / part, model.parameters(part))
        adapter = model.adapter()
        if adapter is not None:
            orbax_tree.save_tree(partial / "adapter", _adapter_tree(adapter))
        config = dataclasses.replace(model.config, name=target.resolve().name)
        native.save_config(partial / "config.json", config)
        os.replace(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return [target]


def _adapter_tree(adapter: Adapter) -> dict:
    tree = {"lora": adapter.lora, "delta": adapter.delta, "embed": adapter.embed}
    return jax.device_put({name: leaves for name, leaves in tree.items() if leaves})
