"""Fine-tuning of published weights: latents once, then LoRA (or the whole transformer) on a base sharded over all chips.

dataset_plan.py, encode_dataset.py, stage.py -> **fine_tuning** -> experiments

The result is WORKDIR/lora.safetensors, or WORKDIR/editor.safetensors of a whole transformer.
"""

import dataclasses
import functools
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import flax
import jax
import jax.numpy as jnp
from etils import epath

from v2v.checkpoints import (
    adapter_release,
    adapters,
    editor_folder,
    hub,
    model_folder,
    native,
    parameter_store,
    wan,
)
from v2v.checkpoints.flat_tree import flatten_tree
from v2v.checkpoints.model_folder import ModelFolder
from v2v.config import MeshConfig, ModelConfig, TransformerName, transformer_part
from v2v.data import datasets, loader
from v2v.data.buckets import Bucket, Size
from v2v.data.latent_folder import LatentFolder, open_latent_folder, stage_set
from v2v.errors import InputError, note
from v2v.models import initialization
from v2v.models.conditioning import PUBLISHED_LAYOUTS
from v2v.models.quantized import RoundingError
from v2v.models.text_encoder import Tokenizer
from v2v.pipeline import pretrained, pretrained_model
from v2v.pipeline.editor import EasyV2VEditor
from v2v.runtime import host_memory, sharding
from v2v.train import callbacks, loop, objectives, offload_check
from v2v.train.config import Experiment
from v2v.train.dataset_plan import DatasetPlan, check_room, plan_datasets
from v2v.train.encode_dataset import build_buckets, check_latents, encode_plan
from v2v.train.objectives import Parameters
from v2v.train.run_record import compare_run, record_run
from v2v.train.stage import (
    TrainingTask,
    check_dropped,
    check_held_out,
    finish_adapter,
    fit_stage,
    log_info,
    to_host,
)
from v2v.train.start_adapter import check_start, load_start
from v2v.train.state import TrainState

# The adapter of the least held-out loss.
BEST_FILE = "lora-best.safetensors"
# Pairs that are shown in previews.
PREVIEWS = 3


def fine_tune(cfg: Experiment, workdir: Path) -> Path:
    """Train an editor on published weights, resuming what is there.

    Args:
      cfg: the experiment; `weights` and `sets` must be given.
      workdir: folder of the run, which may be a bucket.

    Returns:
      the adapter's file, or with `trains` "full" that of the whole transformer and its embeddings. With a held-out loss, WORKDIR also has
      lora-best.safetensors, the adapter of the least one.

    Raises:
      InputError: no weights or sets, or as `plan_datasets` and `fit_stage`; what can be known is checked before anything is encoded.
    """
    if not cfg.weights or not cfg.sets:
        raise InputError(
            f"{cfg.name}: expected a backbone and pairs; give --model Wan-AI/Wan2.2-TI2V-5B-Diffusers and --sets FOLDER ..."
        )
    _check_previews(cfg, workdir)
    check_held_out(cfg)
    published = model_folder.read_model_folder(hub.resolve_model(cfg.weights)).require()
    compare_run(cfg, workdir)
    requested = cfg
    transformer = choose_transformer(cfg, published.config)
    if transformer is not None and cfg.log.preview_every:
        raise InputError(
            f"{cfg.name}: --log.preview-every: previews need adapters of both transformers of {published.config.name}; give --log.preview-every 0"
        )
    model = with_published_sizes(cfg.model, published.config, transformer)
    cfg = share_clips(dataclasses.replace(cfg, model=model, sets=tuple(map(stage_set, cfg.sets))))
    check_dropped(cfg)
    if cfg.model.condition.context == "stored":
        if cfg.log.preview_every:
            raise InputError(
                f"{cfg.name}: --log.preview-every: previews need sentences, this model reads contexts of another network; give --log.preview-every 0"
            )
        cfg = _without_sentences(cfg)
    _check_adapter(cfg, published)
    offload_check.check_offloading(cfg.model, cfg.weights_memory == "host")
    tokenizer = pretrained.load_tokenizer(published, cfg.model)
    shared = _latents_folder(cfg, workdir)
    plan = _encode(cfg, published, tokenizer, shared)
    shared.fetch()
    buckets = build_buckets(cfg, plan, published)
    data = loader.edit_batches(buckets, tokenizer, cfg.seed, cfg.data, cfg.model.condition.mask_code)
    record_run(requested, workdir)  # not before: what was refused above may be given again with other values
    dit = _load_transformer(cfg, published, transformer)
    objective = objectives.edit(cfg.model, cfg.region, data.recipes, cfg.weights_memory == "host")
    frozen = None if cfg.trains == "full" else {"dit": dit}
    held_out, save_best = [], None
    if cfg.log.held_out_every:
        mask_code = cfg.model.condition.mask_code
        held_out = loader.held_out_batches(buckets, tokenizer, cfg.data, mask_code=mask_code)
        if cfg.trains == "lora":
            save_best = functools.partial(_save_result, cfg, frozen, workdir / BEST_FILE)
    task = TrainingTask(objective, _init_trained(cfg, dit, published), data, frozen, held_out, save_best)
    hooks: list[loop.Hook] = []
    if cfg.snapshot_every and cfg.trains == "lora":
        save = functools.partial(_save_result, cfg, frozen)
        hooks.append(callbacks.Snapshots(cfg.snapshot_every, workdir / "edit" / "snapshots", save))
    if cfg.log.preview_every:
        hooks.append(_build_previews(cfg, published, tokenizer, plan, workdir, dit))
    state = fit_stage(cfg, cfg.edit, workdir / "edit", task, hooks=hooks, log_utilization=True)
    out = workdir / ("lora.safetensors" if cfg.trains == "lora" else "editor.safetensors")
    _save_result(cfg, frozen, out, state, int(state.step))
    if cfg.trains == "lora":
        release = "" if "://" in str(workdir) else _write_release(cfg, plan, buckets, workdir, out)
        log_info(_format_result(cfg, plan, workdir, out) + release)
    return out


def encode_latents(cfg: Experiment) -> str:
    """Encode the pairs of an experiment on published weights, without training; what is encoded already stays.

    Args:
      cfg: the experiment; `weights`, `sets` and `latents` must be given. Its mesh and what it trains don't matter: any devices encode, each
        its own clips.

    Returns:
      the folder, or its address.

    Raises:
      InputError: as `fine_tune`.
    """
    if not cfg.weights or not cfg.sets or not cfg.latents:
        raise InputError(
            f"{cfg.name}: expected a backbone, pairs and a folder for their latents; give --model Wan-AI/Wan2.2-TI2V-5B-Diffusers, --sets FOLDER ..."
            " and --latents DIR (or gs://BUCKET/FOLDER)"
        )
    published = model_folder.read_model_folder(hub.resolve_model(cfg.weights)).require()
    cfg = dataclasses.replace(
        cfg,
        model=with_published_sizes(cfg.model, published.config),
        mesh=MeshConfig(data=1, fsdp=1, seq=-1, tensor=1),
        sets=tuple(map(stage_set, cfg.sets)),
    )
    if cfg.model.condition.context == "stored":
        cfg = _without_sentences(cfg)
    tokenizer = pretrained.load_tokenizer(published, cfg.model)
    shared = open_latent_folder(cfg.latents, keeps_shards=False)
    _encode(cfg, published, tokenizer, shared)
    return shared.place


def _encode(
    cfg: Experiment, published: ModelFolder, tokenizer: Tokenizer, shared: LatentFolder
) -> DatasetPlan:
    """Plan what an experiment trains on, tell it, and encode what is not encoded yet."""
    shared.fetch(with_shards=False)
    check_latents(cfg, published, tokenizer, shared.path)
    plan, summary = plan_datasets(cfg, shared)
    log_info(summary)
    log_info(check_room(cfg, plan, shared))
    encode_plan(cfg, plan, published, tokenizer, shared)
    return plan


def share_clips(cfg: Experiment) -> Experiment:
    """Return an experiment whose batch the devices can share: where there are more devices than clips, several share the tokens of one.

    Nothing changes where all axes of the mesh are given, or no number of devices a clip fits; then `plan_datasets` says what does not.
    """
    clips, free = cfg.edit.batch // cfg.edit.micro, -1 in (cfg.mesh.data, cfg.mesh.fsdp)
    devices = jax.device_count()
    for seq in range(1, devices + 1):
        if not free or cfg.mesh.seq != 1 or devices % seq or cfg.model.dit.heads % (seq * cfg.mesh.tensor):
            continue
        config = dataclasses.replace(cfg.mesh, seq=seq)
        try:
            mesh = sharding.make_mesh(**dataclasses.asdict(config))
        except InputError:
            continue
        if clips % (mesh.shape["data"] * mesh.shape["fsdp"]) == 0:
            if seq > 1:
                note(f"{clips} clips on {devices} devices: {seq} devices share a clip (--mesh.seq {seq})")
            return dataclasses.replace(cfg, mesh=config)
    return cfg


def _save_result(cfg: Experiment, frozen: Parameters | None, out: Path, state: TrainState, step: int) -> None:
    """Write the weights of a state; called in all processes."""
    result = to_host(state.result if frozen is None else finish_adapter(state.result, frozen["dit"]))
    if jax.process_index() == 0:
        metadata = adapters.adapter_metadata(cfg.model, cfg.transformer or None) | {"steps": str(step)}
        # Written to a local folder first, because it may go to a bucket.
        with tempfile.TemporaryDirectory() as temporary:
            file = Path(temporary) / out.name
            native.save_parameters(file, result, metadata)
            if "://" in str(out):
                epath.Path(file).copy(out, overwrite=True)
            else:
                partial = out.with_name(f".{out.name}.partial")
                shutil.copyfile(file, partial)
                partial.replace(out)


def _format_result(cfg: Experiment, plan: DatasetPlan, workdir: Path, out: Path) -> str:
    """Return how to edit with an adapter, for people."""
    largest = max(plan.groups, key=lambda group: (group.size[0] > 1, len(group.indices)))
    (frames, height, width), index = largest.size, largest.indices[0]
    sentence = next(iter(largest.dataset.instructions(index)), "make it sepia")
    lines = [
        f'try it: v2v edit IN.mp4 "{sentence}" -o OUT.mp4 --model {cfg.weights} --lora {out} --size {width}x{height}x{frames}'
    ]
    best = callbacks.BestWeights(workdir / "edit", lambda state, step: None).read()
    if cfg.log.held_out_every and best is not None:
        lines.append(f"least held-out loss {best[1]:.4g} at step {best[0]}: --lora {workdir / BEST_FILE}")
    return "\n".join(lines)


def _write_release(
    cfg: Experiment, plan: DatasetPlan, buckets: Sequence[Bucket], workdir: Path, out: Path
) -> str:
    """Write WORKDIR/export, the adapter of the least held-out loss, else the last, for others; return what to say of it.

    A model of two transformers has an adapter each, which are released alone as well.
    """
    if jax.process_index():
        return ""
    best = callbacks.BestWeights(workdir / "edit", lambda state, step: None).read()
    file = workdir / BEST_FILE if best is not None and (workdir / BEST_FILE).exists() else out
    adapter = adapters.load_adapter(file, cfg.model, cfg.transformer or None)
    clips = [clips for bucket in buckets for clips in bucket.sets]
    sizes: Counter[Size] = Counter()
    for group in plan.groups:
        sizes[group.size] += len(group.indices)
    largest = max(plan.groups, key=lambda group: len(group.indices))
    sentences = (next(iter(largest.dataset.instructions(i)), "") for i in largest.indices[:50])
    facts = adapter_release.TrainingFacts(
        base=cfg.weights if "/" in cfg.weights and not Path(cfg.weights).exists() else Path(cfg.weights).name,
        steps=cfg.edit.steps,
        lora=cfg.model.lora,
        sizes=sizes,
        licences=Counter(fact.get("license", "not stated") for c in clips for fact in c.facts),
        sets=datasets.dataset_names(cfg.sets),
        instructions=list(dict.fromkeys(filter(None, sentences)))[:5],
        best=best if file.name == BEST_FILE else None,
        transformer=cfg.transformer,
    )
    release = adapter_release.write_release(workdir / "export", adapter, cfg.model, facts)
    return f"\nto share: {release.folder}, with a card; v2v models --push {release.folder} ORG/NAME"


def _check_previews(cfg: Experiment, workdir: Path) -> None:
    """Check that previews can be made where they are asked for.

    Raises:
      InputError: several processes, a bucket, or the whole transformer is trained.
    """
    callbacks.check_previews(cfg.log)
    if not cfg.log.preview_every:
        return
    wrong = {
        "of a job of several processes": jax.process_count() > 1,
        "in a bucket": "://" in str(workdir),
        "of a whole transformer": cfg.trains == "full",
    }
    for what, is_so in wrong.items():
        if is_so:
            raise InputError(
                f"{cfg.name}: --log.preview-every: previews {what} aren't made; give --log.preview-every 0, and edit with the run's adapter"
                " by v2v edit --lora"
            )


def _build_previews(
    cfg: Experiment,
    published: ModelFolder,
    tokenizer: Tokenizer,
    plan: DatasetPlan,
    workdir: Path,
    dit: Parameters,
) -> callbacks.Previews:
    """Return the hook that edits some pairs with the adapter of a step; the model is read again for it."""
    store = parameter_store.store_from_folder(published, cfg.model, weights_dtype=cfg.weights_dtype)
    settings = callbacks.preview_settings(cfg.log)

    @functools.cache
    def build_model() -> pretrained_model.Pretrained:
        """Return the model, planned for the memory that training leaves: at the first preview its state is there."""
        model = pretrained_model.Pretrained(
            cfg.model, tokenizer, store, device=host_memory.remaining_memory()
        )
        model.any_aspect = True
        return model

    def build_editor(adapter: Parameters, size: Size | None) -> EasyV2VEditor:
        complete, model = to_host(finish_adapter(adapter, dit)), build_model()
        return EasyV2VEditor((model.with_size(*size) if size else model).with_lora(complete))

    if cfg.log.previews:
        clips = callbacks.read_preview_clips(cfg.log.previews, settings)
    else:
        fps = cfg.data.fps or 24.0
        pairs = [group.read_pair(index) for group, index in plan.choose_pairs(PREVIEWS)]
        clips = [callbacks.PreviewClip.of_pair(pair, fps, settings) for pair in pairs]
    return callbacks.Previews(cfg.log.preview_every, build_editor, clips, workdir / "edit" / "previews")


def _check_adapter(cfg: Experiment, published: ModelFolder) -> None:
    """Check the adapter's targets, and the file that it starts from, without weights of the model.

    Raises:
      InputError: no layer matches the targets, or the file has other shapes.
    """
    if cfg.trains == "full":
        return
    shapes = flax.traverse_util.unflatten_dict(
        {
            tuple(path.split("/")): jax.ShapeDtypeStruct(shape, jnp.float32)
            for path, shape in wan.parameter_shapes("dit", cfg.model).items()
        }
    )
    try:
        adapter = jax.eval_shape(
            lambda key: initialization.init_adapter(key, cfg.model, shapes), jax.random.key(0)
        )
    except ValueError as error:
        raise InputError(f"--model.lora: {error}") from None
    if cfg.start:
        embed = editor_folder.load_embeddings(published.embedders, cfg.model)
        check_start(
            cfg.start, cfg.model, adapter | ({"embed": embed} if embed else {}), cfg.transformer or None
        )


def _latents_folder(cfg: Experiment, workdir: Path) -> LatentFolder:
    """Return the folder of the latents, beside the run where none is given."""
    return open_latent_folder(cfg.latents or workdir / "latents")


def choose_transformer(cfg: Experiment, published: ModelConfig) -> TransformerName | None:
    """Return the name of the transformer that is trained; None for the only one.

    Raises:
      InputError: published weights of two without a choice, or of one with one.
    """
    name = cfg.transformer or None
    if name is None and None not in published.transformer_names:
        raise InputError(
            f"{cfg.name}: expected the transformer to train, {published.name} has two; add --transformer high or low, and train one after the "
            "other, each in a --workdir of its own"
        )
    if name not in published.transformer_names:
        raise InputError(
            f"{cfg.name}: {published.name} has a single transformer, got --transformer {name}; leave it out"
        )
    return name


def with_published_sizes(
    model: ModelConfig, published: ModelConfig, transformer: TransformerName | None = None
) -> ModelConfig:
    """Return an experiment's settings with the sizes of published weights, and of a published editor with its conditioning.

    Args:
      model: the experiment's model.
      published: the model of the weights.
      transformer: which of two transformers is trained, on its flow times alone; None for all.
    """
    ours = model.dit
    dit = dataclasses.replace(published.dit, remat=ours.remat, backend=ours.backend, dtype=ours.dtype)
    is_editor = published.condition.layout in PUBLISHED_LAYOUTS
    condition = published.condition if is_editor else model.condition
    boundary = published.flow.boundary
    ranges = {None: model.flow.tau_range, "high": (boundary, 1.0), "low": (0.0, boundary)}
    flow = dataclasses.replace(model.flow, boundary=boundary, tau_range=ranges[transformer])
    return dataclasses.replace(
        model, dit=dit, vae=published.vae, text=published.text, condition=condition, flow=flow
    )


def _without_sentences(cfg: Experiment) -> Experiment:
    """Return an experiment on contexts, which nothing stands in for: nothing is left out that they hold too, and references are."""
    names = ("drop_text", "drop_source", "drop_source_and_text", "drop_all", "reference")
    settings = [f"data.{name} {getattr(cfg.data, name):g}" for name in names if getattr(cfg.data, name)]
    if settings:
        note(f"{cfg.name}: {' and '.join(settings)} are 0 on stored contexts")
    return dataclasses.replace(cfg, data=dataclasses.replace(cfg.data, **dict.fromkeys(names, 0.0)))


def _init_trained(cfg: Experiment, dit: Parameters, published: ModelFolder) -> Parameters:
    """Return the weights to train at step 0: the whole editor, an initial adapter, or the adapter `cfg.start`.

    Adapters are returned on the host: what the run is given stays beside its state, and would take the memory of the first device.
    """
    key = jax.random.key(cfg.seed + 1)
    # Embeddings that a published editor has go on from there.
    published_embed = editor_folder.load_embeddings(published.embedders, cfg.model)
    embed = jax.tree.map(jnp.asarray, published_embed) or initialization.init_embed(key, cfg.model)
    if cfg.trains == "full":
        return {"dit": dit, "embed": embed}
    initial_adapter = initialization.init_adapter(key, cfg.model, dit) | {"embed": embed}
    if cfg.start:
        initial_adapter = load_start(cfg.start, cfg.model, initial_adapter, cfg.transformer or None, dit)
    return jax.device_get(initial_adapter)


def _load_transformer(
    cfg: Experiment, published: ModelFolder, transformer: TransformerName | None = None
) -> Parameters:
    """Load the transformer, each leaf straight to its devices on the mesh; in float32 when it is to be trained."""
    mesh = sharding.make_mesh(**dataclasses.asdict(cfg.mesh))
    streams = cfg.weights_memory == "host"
    leaves = flatten_tree(
        parameter_store.abstract_parameters("dit", cfg.model, mesh, cfg.weights_dtype, streams)
    )
    rounding = RoundingError()
    tree = wan.load_part(
        "dit", published.parts[transformer_part(transformer)], cfg.model, dtype="float32" if cfg.trains == "full" else None,
        place=lambda path: leaves[path].sharding, weights_dtype=cfg.weights_dtype, rounding=rounding,
    )  # fmt: skip
    parameter_store.tell_rounding("dit", cfg.weights_dtype, rounding)
    return tree
