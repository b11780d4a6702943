"""Fine-tuning of published weights: latents once, then LoRA (or the whole transformer) on a base sharded over all chips.

encode_dataset.py, stage.py -> **fine_tuning** -> experiments

The result is WORKDIR/lora.safetensors, or WORKDIR/editor.safetensors of a whole transformer.
"""

import dataclasses
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
from etils import epath

from v2v.checkpoints import adapters, editor_folder, hub, model_folder, native, parameter_store, wan
from v2v.checkpoints.flat_tree import flatten_tree
from v2v.checkpoints.model_folder import ModelFolder
from v2v.checkpoints.tensor_files import TensorFiles
from v2v.config import ModelConfig
from v2v.data import loader
from v2v.errors import InputError, note
from v2v.models import initialization, lora
from v2v.models.conditioning import PUBLISHED_LAYOUTS
from v2v.models.quantized import RoundingError
from v2v.pipeline import pretrained
from v2v.runtime import sharding
from v2v.train import objectives
from v2v.train.config import Experiment
from v2v.train.encode_dataset import encode_sets
from v2v.train.objectives import Parameters
from v2v.train.run_record import check_run
from v2v.train.stage import TrainingTask, check_held_out, fit_stage, to_host


def fine_tune(cfg: Experiment, workdir: Path) -> Path:
    """Train an editor on published weights, resuming what is there.

    Args:
      cfg: the experiment; `weights` and `sets` must be given.
      workdir: folder of the run, which may be a bucket if `cfg.latents` is given.

    Returns:
      the adapter's file, or with `trains` "full" that of the whole transformer and its embeddings.

    Raises:
      InputError: no weights or sets, or as `encode_sets` and `fit_stage`.
    """
    if not cfg.weights or not cfg.sets:
        raise InputError(
            f"{cfg.name}: expected a backbone and pairs; give --weights Wan-AI/Wan2.2-TI2V-5B-Diffusers and --sets FOLDER ..."
        )
    if cfg.log.preview_every:
        raise InputError(
            f"{cfg.name}: --log.preview-every would do nothing, fine-tuning of published weights writes no previews; leave it out"
        )
    check_held_out(cfg)
    published = model_folder.read_model_folder(hub.resolve_model(cfg.weights)).require()
    check_run(cfg, workdir)
    cfg = dataclasses.replace(cfg, model=with_published_sizes(cfg.model, published.config))
    cfg = _without_sentences(cfg) if cfg.model.condition.context == "stored" else cfg
    tokenizer = pretrained.load_tokenizer(published, cfg.model)
    buckets = encode_sets(cfg, published, tokenizer, _latents_folder(cfg, workdir))
    data = loader.edit_batches(buckets, tokenizer, cfg.seed, cfg.data, cfg.model.condition.mask_code)
    dit = _load_transformer(cfg, published)
    objective = objectives.edit(cfg.model, cfg.region, data.recipes)
    frozen = None if cfg.trains == "full" else {"dit": dit}
    held_out = []
    if cfg.log.held_out_every:
        mask_code = cfg.model.condition.mask_code
        held_out = loader.held_out_batches(buckets, tokenizer, cfg.data, mask_code=mask_code)
    task = TrainingTask(objective, _init_trained(cfg, dit, published), data, frozen, held_out)
    state = fit_stage(cfg, cfg.edit, workdir / "edit", task, log_utilization=True)
    out = workdir / ("lora.safetensors" if cfg.trains == "lora" else "editor.safetensors")
    result = to_host(state.result)
    if jax.process_index() == 0:
        metadata = adapters.adapter_metadata(cfg.model) | {"steps": str(int(state.step))}
        # Written to a local folder first, because workdir may be a bucket.
        with tempfile.TemporaryDirectory() as temporary:
            file = Path(temporary) / out.name
            native.save_parameters(file, result, metadata)
            epath.Path(file).copy(out, overwrite=True)
    return out


def _latents_folder(cfg: Experiment, workdir: Path) -> Path:
    """Return the folder of the latents; raise InputError where it would be in a bucket."""
    if cfg.latents:
        return Path(cfg.latents)
    if "://" in str(workdir):
        raise InputError(
            f"{workdir}: latents are read at random from files, which a bucket can't give; set --latents to a folder all processes"
            " see (a disk, or the bucket mounted with gcsfuse)"
        )
    return workdir / "latents"


def with_published_sizes(model: ModelConfig, published: ModelConfig) -> ModelConfig:
    """Return an experiment's settings with the sizes of published weights, and of a published editor with its conditioning.

    Args:
      model: the experiment's model.
      published: the model of the weights.
    """
    ours = model.dit
    dit = dataclasses.replace(published.dit, remat=ours.remat, backend=ours.backend, dtype=ours.dtype)
    is_editor = published.condition.layout in PUBLISHED_LAYOUTS
    condition = published.condition if is_editor else model.condition
    return dataclasses.replace(model, dit=dit, vae=published.vae, text=published.text, condition=condition)


def _without_sentences(cfg: Experiment) -> Experiment:
    """Return an experiment on contexts, which nothing stands in for: no text is left out, and references, which contexts hold too, are."""
    settings = [
        f"data.{name} {getattr(cfg.data, name):g}"
        for name in ("drop_text", "reference")
        if getattr(cfg.data, name)
    ]
    if settings:
        note(f"{cfg.name}: {' and '.join(settings)} are 0 on stored contexts")
    return dataclasses.replace(cfg, data=dataclasses.replace(cfg.data, drop_text=0.0, reference=0.0))


def _init_trained(cfg: Experiment, dit: Parameters, published: ModelFolder) -> Parameters:
    """Return the weights to train at step 0: the whole editor, an initial adapter, or the adapter `cfg.start`."""
    key = jax.random.key(cfg.seed + 1)
    # Embeddings that a published editor has go on from there.
    published_embed = editor_folder.load_embeddings(published.embedders, cfg.model)
    embed = jax.tree.map(jnp.asarray, published_embed) or initialization.init_embed(key, cfg.model)
    if cfg.trains == "full":
        return {"dit": dit, "embed": embed}
    initial_adapter = initialization.init_adapter(key, cfg.model, dit) | {"embed": embed}
    if not cfg.start:
        return initial_adapter
    start = native.load_parameters(cfg.start, initial_adapter)
    factor = adapters.stored_scale(TensorFiles.open(Path(cfg.start)), cfg.model) / cfg.model.lora.scale
    return start if factor == 1 else start | {"lora": lora.scale_adapter(start["lora"], factor)}


def _load_transformer(cfg: Experiment, published: ModelFolder) -> Parameters:
    """Load the transformer, each leaf straight to its devices on the mesh; in float32 when it is to be trained."""
    mesh = sharding.make_mesh(**dataclasses.asdict(cfg.mesh))
    leaves = flatten_tree(parameter_store.abstract_parameters("dit", cfg.model, mesh, cfg.weights_dtype))
    rounding = RoundingError()
    tree = wan.load_part(
        "dit", published.parts["dit"], cfg.model, dtype="float32" if cfg.trains == "full" else None,
        place=lambda path: leaves[path].sharding, weights_dtype=cfg.weights_dtype, rounding=rounding,
    )  # fmt: skip
    parameter_store.tell_rounding("dit", cfg.weights_dtype, rounding)
    return tree
