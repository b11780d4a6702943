"""Opens models by name: the packaged one, folders of our own, and published folders."""

import dataclasses
import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from v2v.assets import EMBEDDED
from v2v.checkpoints import (
    detail_file,
    editor_folder,
    hub,
    known_models,
    model_folder,
    native,
    parameter_store,
    part_files,
)
from v2v.checkpoints.adapters import Adapter
from v2v.checkpoints.parameter_store import ParameterStore
from v2v.checkpoints.presets import Preset, find_preset
from v2v.config import (
    FlowConfig,
    ModelConfig,
    WeightsDtype,
    transformer_part,
)
from v2v.errors import InputError, note
from v2v.language.abilities import load_abilities
from v2v.models.autoencoder import VAE
from v2v.models.initialization import init_base
from v2v.models.text_encoder import Tokenizer, build_word_tokenizer
from v2v.pipeline import sampling_choice
from v2v.pipeline.pretrained_model import Pretrained

# Settings of `load_pretrained` that are those of the flow.
FLOW_FIELDS = frozenset(field.name for field in dataclasses.fields(FlowConfig))


def apply_settings(cfg: ModelConfig, settings: dict) -> ModelConfig:
    """Return `cfg` with the settings that are not None; frames larger than in training cause a note.

    Raises:
      InputError: more frames than in training, values that do not fit, or a size beyond this machine's memory.
    """
    values = {name: value for name, value in settings.items() if value is not None}
    frames, height, width = (
        max(trained, default)
        for trained, default in zip(cfg.largest, (cfg.frames, cfg.height, cfg.width), strict=True)
    )
    if values.get("frames", 1) > frames:
        raise InputError(
            f"size: {cfg.name} has learnt positions of {frames} frames, got {values['frames']}; longer clips are edited in windows anyway"
        )
    flow = {name: values.pop(name) for name in FLOW_FIELDS & values.keys()}
    for part in ("dit", "text") if "dtype" in values else ():
        cfg = dataclasses.replace(
            cfg, **{part: dataclasses.replace(getattr(cfg, part), dtype=values["dtype"])}
        )
    values.pop("dtype", None)
    try:
        cfg = dataclasses.replace(cfg, flow=sampling_choice.change_flow(cfg.flow, flow), **values)
    except ValueError as err:
        raise InputError(f"model: {err}; choose another size") from err
    # The clips as float32 RGB alone, a small part of the memory in use.
    least = 12 * cfg.batch * cfg.frames * cfg.height * cfg.width / 2**30
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    if least > memory:
        raise InputError(
            f"model: clips of {cfg.width}x{cfg.height}x{cfg.frames} need more than {least:.0f} GiB, this machine has {memory:.0f}; "
            "choose a smaller size"
        )
    if cfg.width * cfg.height > width * height:
        note(
            f"{cfg.name} has seen pictures up to {width}x{height}; at {cfg.width}x{cfg.height} its edits may be poor"
        )
    return cfg


def load_pretrained(
    name_or_dir: str | Path,
    *,
    mesh: Mesh | None = None,
    progress: bool = False,
    weights_dtype: WeightsDtype | None = None,
    any_aspect: bool | None = None,
    preset: str | Path | Preset | None = None,
    **settings,
) -> Pretrained:
    """Load the packaged model ("embedded"), a folder, or a model by its name on the Hugging Face Hub.

    A folder holds a published model of the Wan2.1 or Wan2.2 family, or one of `v2v convert` or `v2v train`.

    Args:
      name_or_dir: "embedded", the path of a folder or of a transformer's file, or ORG/NAME[@REVISION], which is fetched as far as the hub's cache lacks it;
        a `Path` is always a folder.
      mesh: devices that edit a clip together; over them the weights of a published or converted model are split, as in training. None for
        the first device.
      progress: show bars while weights are read; a download shows one wherever stderr is a terminal.
      weights_dtype: type that weights of transformer and text encoder are stored in (models/quantized.py): "bfloat16", or "int8", "fp8"
        and "nf4", which take half and a quarter of that; None for the model's own.
      any_aspect: edit each clip at a size of its own aspect and of the area of the model's height and width; None does so for models that
        were trained on many sizes, unless `height` or `width` is given.
      preset: a way to sample, of weights distilled to a few steps (checkpoints/presets.py): its name, or a JSON file. An adapter that
        belongs to it is added.
      settings: other values for `frames`, `height`, `width` (the clips the model works on), `dtype` (of matmuls: "bfloat16" or
        "float32") and for the fields of `config.FlowConfig` (`solver`, `schedule`, `shift`, ...); None leaves a value as it is.

    Raises:
      InputError: no such model, or incomplete, damaged or unsuitable files; every wrong tensor is named.
    """
    model = _open_model(name_or_dir, mesh, progress, weights_dtype, settings)
    has_size = settings.get("height") is not None or settings.get("width") is not None
    # Of the packaged model and others of one size `largest` isn't set.
    model.any_aspect = (any(model.config.largest) and not has_size) if any_aspect is None else any_aspect
    if preset is None:
        return model
    return model.with_preset(preset if isinstance(preset, Preset) else find_preset(preset))


def _open_model(
    name_or_dir: str | Path,
    mesh: Mesh | None,
    progress: bool,
    weights_dtype: WeightsDtype | None,
    settings: dict[str, Any],
) -> Pretrained:
    """Open a model with its own adapter; arguments as those of `load_pretrained`."""
    user_fields = frozenset(name for name in FLOW_FIELDS if settings.get(name) is not None)
    path = EMBEDDED if name_or_dir == "embedded" else hub.resolve_model(name_or_dir)
    if not path.exists():
        full_name = known_models.suggest(str(name_or_dir))
        raise InputError(
            f'model: expected "embedded" or a folder of weights, or ORG/NAME on the Hugging Face Hub, got "{name_or_dir}"; '
            + (f"did you mean {full_name}?" if full_name else "check --model")
        )
    if is_native_folder(path):
        cfg = apply_settings(native.load_config(path / "config.json"), settings)
        vocabulary = Tokenizer.load(path / "tokenizer.json", cfg.text.text_len)
        abilities = load_abilities(path)
        if is_converted_folder(path):
            model = Pretrained(
                cfg, vocabulary, parameter_store.store_from_orbax(path, cfg, mesh, weights_dtype), mesh
            )
            for name in cfg.transformer_names:
                if adapter := parameter_store.load_converted_adapter(path, transformer_part(name)):
                    model = model.with_lora(adapter, transformer=name)
        else:
            model = Pretrained(cfg, vocabulary, _load_packaged(path, cfg, weights_dtype))
            model = model if mesh is None else model.on(mesh)
            adapter = path / "lora.safetensors"
            model = model.with_lora(adapter) if adapter.is_file() else model
        model.user_fields = user_fields
        model = model.with_abilities(abilities)
        network = path / detail_file.FILE_NAME
        return model.with_detail(detail_file.load_detail(network)) if network.is_file() else model
    folder = model_folder.read_model_folder(path).require()
    cfg = apply_settings(folder.config, settings)
    index = part_files.read_json_object(part_files.find_root(path) / "model_index.json") or {}
    if terms := known_models.licence_note(cfg.name, str(index.get("_class_name", ""))):
        note(terms)
    weights = parameter_store.store_from_folder(folder, cfg, mesh, progress, weights_dtype)
    model = Pretrained(cfg, load_tokenizer(folder, cfg), weights, mesh)
    model.user_fields = user_fields
    if folder.embedders:
        embed = editor_folder.load_embeddings(folder.embedders, cfg)
        model = model.with_lora(Adapter({}, embed=embed))
    return model.with_lora(folder.adapter) if folder.adapter else model


def load_tokenizer(folder: model_folder.ModelFolder, cfg: ModelConfig) -> Tokenizer:
    """Load the tokenizer of a published folder.

    Raises:
      InputError: an unreadable file, or more tokens than the text encoder has.
    """
    length = cfg.text.text_len
    if cfg.condition.context == "stored":  # no sentence is read
        return build_word_tokenizer([], length, cfg.text.vocab)
    assert folder.tokenizer is not None, "`ModelFolder.require` was called"
    source = folder.tokenizer
    if source.path.suffix == ".json":
        vocabulary = Tokenizer.load(source.path, length)
    else:
        vocabulary = Tokenizer.parse_sentencepiece(source.read(), length, str(source))
    if vocabulary.backend.get_vocab_size() > cfg.text.vocab:
        raise InputError(
            f"{folder.tokenizer}: has {vocabulary.backend.get_vocab_size()} tokens, the text encoder {cfg.text.vocab}; they are of "
            "different models"
        )
    return vocabulary


def is_native_folder(path: Path) -> bool:
    """Return whether `v2v train` or `v2v convert` wrote this folder."""
    return (path / "base.safetensors").is_file() or is_converted_folder(path)


def is_converted_folder(path: Path) -> bool:
    """Return whether `v2v convert` wrote this folder."""
    return (path / "config.json").is_file() and all((path / part).is_dir() for part in ("dit", "vae", "text"))


def _load_packaged(path: Path, cfg: ModelConfig, weights_dtype: WeightsDtype | None) -> ParameterStore:
    base = jax.eval_shape(lambda key: init_base(key, cfg), jax.random.key(0))
    trees = native.load_parameters(path / "base.safetensors", base)
    video = jax.ShapeDtypeStruct((1, cfg.frames, cfg.height, cfg.width, 3), jnp.float32)
    vae = {"vae": jax.eval_shape(VAE(cfg.vae).init, jax.random.key(0), video)["params"]}
    return parameter_store.store_from_trees(
        {**trees, **native.load_parameters(path / "vae.safetensors", vae)}, cfg, weights_dtype
    )
