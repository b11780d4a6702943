"""The stages that train a small editor from scratch: autoencoder, latents, text encoder, base, edit, export.

    clips -> train_autoencoder; pairs -> encode_pairs -> train_text -> train_base -> train_edit -> export_model

Each stage works in a folder of its own, resumes by itself, and returns at once when it is done. Clips, pairs and the tokenizer come as
arguments: an experiment says where they come from.
"""

import dataclasses
import functools
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from v2v.checkpoints import adapters, detail_file, native
from v2v.checkpoints.detail_file import DetailWeights
from v2v.checkpoints.parameter_store import store_from_trees
from v2v.config import DetailConfig, ModelConfig
from v2v.data import buckets as buckets_lib
from v2v.data import latent_cache, loader, transforms
from v2v.data.batch import BatchSource, EditExample
from v2v.data.pair import Pair
from v2v.errors import InputError, note
from v2v.models import initialization, lora
from v2v.models.autoencoder import VAE
from v2v.models.detail_network import DetailNetwork
from v2v.models.text_encoder import Tokenizer
from v2v.pipeline.editor import EasyV2VEditor
from v2v.pipeline.pretrained_model import Pretrained
from v2v.train import callbacks, detail, objectives, text, vae
from v2v.train.config import Experiment
from v2v.train.detail import DetailBatch
from v2v.train.loop import Hook
from v2v.train.objectives import Parameters
from v2v.train.stage import TrainingTask, finish_adapter, fit_stage, log_info, to_host
from v2v.train.state import TrainState
from v2v.video.pixels import normalize_pixels

# Frames per second of previews.
PREVIEW_FPS = 10.0


@dataclass(frozen=True)
class Autoencoder:
    """A trained autoencoder.

    Attributes:
      params: its parameters.
      config: the model's configuration, with the statistics of its latents.
    """

    params: Parameters
    config: ModelConfig


@dataclass(frozen=True)
class LatentSet:
    """Encoded pairs on disk.

    Attributes:
      shards: paths of the array_record files.
      time_masks: latents of the masks of whole frames, by first and last active frame.
      stride_t: frames that one latent frame stands for.
    """

    shards: list[str]
    time_masks: np.ndarray
    stride_t: int

    def bucket(self, batch: int) -> buckets_lib.Bucket:
        """Return all pairs as one bucket of the loader, in batches of `batch` clips."""
        return buckets_lib.Bucket(
            batch, self.time_masks, (buckets_lib.CachedClips(self.shards),), self.stride_t
        )


def train_autoencoder(
    cfg: Experiment, clips: BatchSource[np.ndarray], folder: Path, statistics_batches: int = 64
) -> Autoencoder:
    """Train the autoencoder on clips and measure the statistics of its latents.

    Args:
      cfg: the experiment; its `vae` stage is run, or its `autoencoder` taken.
      clips: uint8 [b, T, H, W, 3] batches; iterated once for training and once for the statistics.
      folder: folder of the stage, which ends with vae.safetensors and config.json.
      statistics_batches: batches of clips that the statistics are taken from.
    """
    result, config = folder / "vae.safetensors", cfg.model
    if not result.exists() and cfg.autoencoder:
        _take_autoencoder(cfg, folder)
    elif not result.exists():
        module = VAE(config.vae)
        sample = np.zeros((1, config.frames, config.height, config.width, 3), np.float32)
        params = jax.jit(module.init)(jax.random.key(cfg.seed), sample)["params"]
        task = TrainingTask(vae.objective(module), {"vae": params}, clips)
        state = fit_stage(cfg, cfg.vae, folder, task)
        params = to_host(state.result["vae"])
        unscaled = VAE(dataclasses.replace(config.vae, mean=(), std=()))
        encode = jax.jit(lambda x: unscaled.apply({"params": params}, normalize_pixels(x), method="encode"))
        batches = iter(clips)
        mean, std = vae.latent_statistics(encode, (next(batches) for _ in range(statistics_batches)))
        config = dataclasses.replace(config, vae=dataclasses.replace(config.vae, mean=mean, std=std))
        native.save_config(folder / "config.json", config)
        native.save_parameters(result, {"vae": params})
    return Autoencoder(native.load_parameters(result)["vae"], native.load_config(folder / "config.json"))


def _take_autoencoder(cfg: Experiment, folder: Path) -> None:
    """Copy the result of an earlier run's stage to the folder of the stage.

    Raises:
      InputError: no such files, or an autoencoder of another size.
    """
    source = Path(cfg.autoencoder)
    for name in ("config.json", "vae.safetensors"):
        if not (source / name).is_file():
            raise InputError(
                f"--autoencoder: expected a folder with config.json and vae.safetensors, {source / name} doesn't exist"
            )
    actual = dataclasses.replace(native.load_config(source / "config.json").vae, mean=(), std=())
    expected = dataclasses.replace(cfg.model.vae, mean=(), std=())
    if actual != expected:
        raise InputError(
            f'--autoencoder {source}: expected {expected}, got {actual}; --autoencoder "" trains one'
        )
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source / "config.json", folder / "config.json")
    # Last and in one step, since this file says that the stage is done.
    partial = folder / "vae.safetensors.partial"
    shutil.copyfile(source / "vae.safetensors", partial)
    partial.replace(folder / "vae.safetensors")
    note(f"vae: the trained autoencoder in {source} is taken")


def train_detail(
    cfg: Experiment, network: DetailConfig, examples: BatchSource[DetailBatch], folder: Path
) -> DetailWeights:
    """Train the detail network.

    Args:
      cfg: the experiment; its `detail` stage is run.
      network: sizes of the network.
      examples: batches of edited frames.
      folder: folder of the stage, which ends with detail.safetensors.

    Returns:
      the network.
    """
    result, module = folder / detail_file.FILE_NAME, DetailNetwork(network)
    if not result.exists():
        crop, small = (jnp.zeros((1, 2 * network.multiple, 2 * network.multiple, 3)) for _ in range(2))
        params = jax.jit(module.init)(jax.random.key(cfg.seed), crop, crop, small, small)["params"]
        task = TrainingTask(detail.objective(module), {"detail": params}, examples)
        state = fit_stage(cfg, cfg.detail, folder, task)
        detail_file.save_detail(result, detail_file.DetailWeights(network, to_host(state.result["detail"])))
    return detail_file.load_detail(result)


def encode_pairs(
    cfg: Experiment, count: int, read_pair: Callable[[int], Pair], params: Parameters, folder: Path
) -> LatentSet:
    """Encode source, target, mask and reference of every pair once.

    Args:
      cfg: the experiment, with the autoencoder's configuration in `model.vae`.
      count: number of pairs.
      read_pair: returns the pair of an index.
      params: parameters of the autoencoder.
      folder: folder of the latents; shards that it holds already are not written again.
    """
    encode = jax.jit(
        lambda p, x: VAE(cfg.model.vae).apply({"params": p}, normalize_pixels(x), method="encode")
    )
    vae_hash = latent_cache.tree_hash(params)
    with tqdm(total=count, desc="latents", unit="pair") as bar:
        latent_cache.write_latents(
            folder,
            range(count),
            read_pair,
            latent_cache.LatentEncoder(functools.partial(encode, params), vae_hash),
            progress=bar.update,
        )
    return LatentSet(
        latent_cache.list_shards(folder, vae_hash), np.load(folder / "time_masks.npy"), cfg.model.vae.stride_t
    )


def train_text(cfg: Experiment, tokenizer: Tokenizer, shards: list[str], folder: Path) -> Parameters:
    """Train the text encoder on the sentences of cached pairs alone.

    Args:
      cfg: the experiment; its `text` stage is run.
      tokenizer: tokenizer of the text encoder.
      shards: cached latents.
      folder: folder of the stage, which ends with text.safetensors.

    Returns:
      its parameters.
    """
    result = folder / "text.safetensors"
    if not result.exists():
        edits = tuple(sorted({facts["edit"] for facts in latent_cache.read_facts(shards)}))
        data = loader.text_batches(shards, cfg.text.batch, transforms.ToSentence(tokenizer, edits), cfg.seed)
        trained = text.init_text(jax.random.key(cfg.seed), cfg.model.text, edits)
        state = fit_stage(cfg, cfg.text, folder, TrainingTask(text.objective(cfg.model.text), trained, data))
        native.save_parameters(result, {"text": to_host(state.result["text"])})
    return native.load_parameters(result)["text"]


def train_base(
    cfg: Experiment,
    tokenizer: Tokenizer,
    text_params: Parameters,
    shards: list[str],
    folder: Path,
    start: Parameters | None = None,
) -> Parameters:
    """Train text-to-video and image-to-video, every weight of transformer and text encoder.

    Args:
      cfg: the experiment; its `base` stage is run.
      tokenizer: tokenizer of the text encoder.
      text_params: a trained text encoder.
      shards: cached latents.
      folder: folder of the stage, which ends with base.safetensors.
      start: an earlier {"dit", "text"} to continue from instead of `text_params`.

    Returns:
      {"dit", "text"}.
    """
    result = folder / "base.safetensors"
    if not result.exists():
        transform = transforms.ToClip(
            tokenizer, cfg.data.turning, cfg.data.image_to_video, cfg.data.drop_text, cfg.model.vae.stride_t
        )
        data = loader.base_batches(shards, cfg.base.batch, transform, cfg.seed)
        trained = start or initialization.init_base(jax.random.key(cfg.seed), cfg.model) | {
            "text": text_params
        }
        task = TrainingTask(objectives.text_to_video(cfg.model, cfg.region), trained, data)
        state = fit_stage(cfg, cfg.base, folder, task)
        native.save_parameters(result, to_host(state.result))
    return native.load_parameters(result)


def fit_edit(
    cfg: Experiment,
    tokenizer: Tokenizer,
    base: Parameters,
    buckets: Sequence[buckets_lib.Bucket],
    folder: Path,
    *,
    start: Parameters | None = None,
    data: loader.Stream[EditExample] | None = None,
    hooks: Sequence[Hook] = (),
) -> TrainState:
    """Train an adapter, or with `cfg.trains` "full" a whole editor, on a base.

    Args:
      cfg: the experiment; its `edit` stage is run.
      tokenizer: tokenizer of the text encoder.
      base: {"dit", "text"}.
      buckets: cached pairs.
      folder: folder of the stage.
      start: an earlier {"lora", "embed"} to continue from.
      data: batches other than those of `buckets`.
      hooks: hooks of the loop.

    Returns:
      the final state.
    """
    mask_code = cfg.model.condition.mask_code
    data = data or loader.edit_batches(buckets, tokenizer, cfg.seed, cfg.data, mask_code)
    held_out = []
    if cfg.log.held_out_every:
        held_out = loader.held_out_batches(buckets, tokenizer, cfg.data, mask_code=mask_code)
    key = jax.random.key(cfg.seed + 1)
    if cfg.trains == "full":
        # The paper's full fine-tuning; the text encoder stays as it is.
        trained = {"dit": base["dit"], "embed": initialization.init_embed(key, cfg.model)}
        frozen = {"text": base["text"]}
    else:
        if cfg.weights_dtype is not None:
            store = store_from_trees(base, cfg.model, cfg.weights_dtype)
            base = {part: store.get(part) for part in base}
        if start is not None and lora.is_dora(start["lora"]):
            start = start | {"lora": jax.jit(lora.with_magnitude_changes)(start["lora"], base["dit"])}
        trained, frozen = start or initialization.init_adapter(key, cfg.model, base["dit"]), base
    objective = objectives.edit(cfg.model, cfg.region, data.recipes)
    task = TrainingTask(objective, trained, data, frozen, held_out)
    return fit_stage(cfg, cfg.edit, folder, task, hooks=hooks, log_utilization=True)


def train_edit(
    cfg: Experiment,
    tokenizer: Tokenizer,
    autoencoder: Parameters,
    base: Parameters,
    latents: LatentSet,
    folder: Path,
    *,
    start: Parameters | None = None,
    preview_pairs: Callable[[], list[Pair]] = list,
) -> Parameters:
    """Train the adapter on a frozen base.

    Args:
      cfg: the experiment; its `edit` stage is run.
      tokenizer: tokenizer of the text encoder.
      autoencoder: parameters, for previews.
      base: {"dit", "text"}.
      latents: cached pairs.
      folder: folder of the stage, which ends with lora.safetensors.
      start: an earlier {"lora", "embed"} to continue from.
      preview_pairs: returns the pairs shown in previews; called only when `cfg.log.preview_every` is set.

    Returns:
      {"lora", "embed"}.
    """
    hooks = []
    if cfg.log.preview_every:
        model = Pretrained(cfg.model, tokenizer, store_from_trees(base | {"vae": autoencoder}))
        settings = callbacks.preview_settings(cfg.log)
        if cfg.log.previews:
            clips = callbacks.read_preview_clips(cfg.log.previews, settings)
        else:
            clips = [callbacks.PreviewClip.of_pair(pair, PREVIEW_FPS, settings) for pair in preview_pairs()]
        hooks = [
            callbacks.Previews(
                cfg.log.preview_every,
                lambda adapter, size: EasyV2VEditor(
                    model.with_lora(to_host(finish_adapter(adapter, base["dit"])))
                ),
                clips,
                folder / "previews",
            )
        ]
    buckets = [latents.bucket(cfg.edit.batch)]
    state = fit_edit(cfg, tokenizer, base, buckets, folder, start=start, hooks=hooks)
    adapter = to_host(finish_adapter(state.result, base["dit"]))
    metadata = adapters.adapter_metadata(cfg.model) | {"steps": str(int(state.step))}
    native.save_parameters(folder / "lora.safetensors", adapter, metadata)
    return adapter


def export_model(
    cfg: Experiment,
    tokenizer: Tokenizer,
    autoencoder: Parameters,
    base: Parameters,
    adapter: Parameters,
    folder: Path,
) -> Path:
    """Write a folder for `--model`: configuration, vocabulary, and weights as safetensors, the autoencoder as int8.

    Args:
      cfg: the experiment, whose `model` is written.
      tokenizer: tokenizer of the text encoder.
      autoencoder: its parameters.
      base: {"dit", "text"}.
      adapter: {"lora", "embed"}.
      folder: the folder to write.

    Returns:
      the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    native.save_config(folder / "config.json", cfg.model)
    tokenizer.backend.save(str(folder / "tokenizer.json"))
    native.save_parameters(folder / "vae.safetensors", {"vae": autoencoder}, int8=True)
    native.save_parameters(folder / "base.safetensors", base)
    native.save_parameters(folder / "lora.safetensors", adapter, adapters.adapter_metadata(cfg.model))
    log_info(f'exported to {folder}: v2v edit IN.mp4 "make it sepia" -o OUT.mp4 --model {folder}')
    return folder
