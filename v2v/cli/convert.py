"""`v2v convert`: models into folders that load fast, and LoRA files into the layout of other tools.

    a model folder (published, or of `v2v train`)  →  a folder of ours: config.json, tokenizer.json, and orbax trees dit/ vae/ text/
                                                      (and adapter/; of a model of two transformers dit_low/ and adapter_low/ too), cast once, read in parallel afterwards
    a LoRA file of any tool, or of `v2v train`     →  a LoRA file for other tools, and its embeddings in a file beside it

Everything is checked before a tensor is read. A folder is complete or absent.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from v2v.checkpoints import adapters, hub, hub_client, native
from v2v.checkpoints.model_folder import read_model_folder
from v2v.checkpoints.presets import find_preset
from v2v.config import LoraDtype, LoraStyle, ModelConfig, TransformerName, WeightsDtype
from v2v.errors import InputError
from v2v.pipeline.pretrained import is_converted_folder, is_native_folder, load_pretrained
from v2v.pipeline.saved_model import check_target, explained_write_errors, save_model


@dataclasses.dataclass(frozen=True)
class Conversion:
    """The files that a conversion wrote.

    Attributes:
      output: the target.
      files: number of files.
      bytes: their size.
    """

    output: str
    files: int
    bytes: int


def run_convert(source: str, target: str, **options) -> dict[str, Any]:
    """Convert, with the arguments of `convert`, and return what the command prints."""
    return dataclasses.asdict(convert(source, target, **options))


def convert(
    source: str | Path,
    target: str | Path,
    *,
    model: str = "",
    lora: str = "",
    pairs: Mapping[TransformerName, str] = MappingProxyType({}),
    style: LoraStyle = "original",
    dtype: LoraDtype = "bfloat16",
    weights_dtype: WeightsDtype | None = None,
    preset: str = "",
    progress: bool = False,
) -> Conversion:
    """Convert a model folder, or a LoRA file.

    Args:
      source: a folder, a .safetensors file, or the name of either on the Hugging Face Hub; a `Path` is never a name.
      target: the folder or file to write.
      model: for a LoRA file, the model that it belongs to.
      lora: an adapter to store in the folder beside the weights.
      pairs: the same for the transformers of a model of two.
      style: the convention of names in a LoRA file.
      dtype: of the matrices in a LoRA file.
      weights_dtype: type to store the weights of a folder in (models/quantized.py); None for the model's own.
      preset: how the result is sampled from then on, stored in it (checkpoints/presets.py); "" leaves that as it is.
      progress: show bars.

    Raises:
      InputError: the target exists, the source cannot be loaded, or the disk is full.
    """
    path, target = Path(source), Path(target)
    name = hub_client.find_hub_name(source)
    # Model folders have dots in their names too, such as Wan2.2-TI2V-5B-Diffusers.
    is_adapter = (
        name.file.endswith(".safetensors")
        if name
        else path.is_file() or (path.suffix == ".safetensors" and not path.is_dir())
    )
    if is_adapter:
        if weights_dtype is not None:
            raise InputError(f"{source}: is an adapter, for which --weights-dtype does nothing; leave it out")
        outputs = _convert_lora(source, target, model, style, dtype, preset)
    else:
        outputs = _convert_model(source, target, lora, pairs, progress, weights_dtype, preset)
    files = [
        p for root in outputs for p in ([root] if root.is_file() else sorted(root.rglob("*"))) if p.is_file()
    ]
    return Conversion(str(target), len(files), sum(p.stat().st_size for p in files))


def _convert_lora(
    source: str | Path, target: Path, model: str, style: LoraStyle, dtype: LoraDtype, preset: str
) -> list[Path]:
    if not model:
        raise InputError(f"{source}: is one file; say with --model which model the adapter is for")
    if target.suffix != ".safetensors":
        raise InputError(f"{target}: expected a name ending in .safetensors for an adapter")
    if not target.parent.is_dir():
        raise InputError(f"{target}: no folder {target.parent}; make it first")
    existing = [p for p in (target, adapters.embeddings_path(target)) if p.exists()]
    if existing:
        raise InputError(f"{existing[0]}: already there; choose another name")
    sampling = find_preset(preset).sampling if preset else None
    config = _read_config(model)
    adapter = adapters.load_adapter(source, config)
    condition = adapter.condition or config.condition
    adapter = dataclasses.replace(adapter, condition=condition, sampling=sampling or adapter.sampling)
    with explained_write_errors(target):
        return adapters.save_adapter(target, adapter, config, style=style, dtype=dtype)


def _read_config(model: str) -> ModelConfig:
    """Return the configuration of a model; of one on the hub from its headers alone."""
    if hub_client.find_hub_name(model) is None:
        return load_pretrained(model).config
    with hub.open_for_examination(model) as examined:
        if is_native_folder(examined.folder):
            return native.load_config(examined.folder / "config.json")
        return read_model_folder(examined.folder).config


def _convert_model(
    source: str | Path,
    target: Path,
    lora: str,
    pairs: Mapping[TransformerName, str],
    progress: bool,
    weights_dtype: WeightsDtype | None,
    preset: str,
) -> list[Path]:
    check_target(target)
    has_changes = bool(lora or pairs or weights_dtype or preset)
    if Path(source).is_dir() and is_converted_folder(Path(source)) and not has_changes:
        raise InputError(f"{source}: is converted already; pass it to --model as it is")
    sampling_preset = find_preset(preset) if preset else None
    if sampling_preset is not None and lora:
        sampling_preset = dataclasses.replace(sampling_preset, adapter="")
    model = load_pretrained(source, progress=progress, weights_dtype=weights_dtype, preset=sampling_preset)
    if lora:
        model = model.with_lora(lora)
    for transformer, file in pairs.items():
        model = model.with_lora(file, transformer=transformer)
    save_model(model, target, progress=progress)
    return [target]
