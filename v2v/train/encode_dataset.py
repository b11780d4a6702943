"""Encoding of whole datasets with published weights: several sets and sizes, encoded once by all processes together.

datasets.py, latent_cache.py -> **encode_dataset** -> fine_tuning.py

Sets are surveyed (which pairs are used, which are skipped and why), their clips are encoded as shards in folder/SET/SIZE, and the shards
become buckets of the loader.
"""

import dataclasses
import functools
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import jax
import numpy as np
from jax.experimental import multihost_utils

from v2v.checkpoints import wan
from v2v.checkpoints.model_folder import ModelFolder
from v2v.checkpoints.tensor_files import TensorFiles
from v2v.config import ModelConfig
from v2v.data import buckets, datasets, latent_cache
from v2v.data.dataset_source import PairDataset
from v2v.data.pair import Pair
from v2v.errors import InputError
from v2v.language.task_prompts import task_prefix
from v2v.models import autoencoder_streaming
from v2v.models.autoencoder import VAE
from v2v.models.conditioning import count_tokens
from v2v.models.editor_presets import editor_rules
from v2v.models.text_encoder import TextEncoder, Tokenizer
from v2v.runtime import sharding
from v2v.runtime.interruptible import run_interruptible
from v2v.train import stored_contexts
from v2v.train.config import Experiment
from v2v.train.objectives import Parameters
from v2v.train.stage import log_info
from v2v.video.pixels import normalize_pixels

# Pairs in one shard of latents, about 0.6 GB at 480p.
SHARD = 64


@dataclass(frozen=True)
class Encoders:
    """The frozen encoders of a published model, on this process's first device.

    Attributes:
      encode: uint8 clips [b, T, H, W, 3] to latents.
      embed: sentences to embeddings [m, w] of their true lengths, float16.
    """

    encode: latent_cache.EncodeClips
    embed: latent_cache.EmbedSentences


@dataclass(frozen=True)
class _EncodedClips:
    """The clips of one set and size.

    Attributes:
      folder: folder of their latents.
      weight: relative frequency with which they are drawn.
      first: number of the set's first pair.
    """

    folder: Path
    weight: float
    first: int


def encode_sets(
    cfg: Experiment, model_folder: ModelFolder, tokenizer: Tokenizer, folder: Path
) -> list[buckets.Bucket]:
    """Encode every set's clips of every size in folder/SET/SIZE; return them as buckets of the loader.

    A summary of used and skipped pairs is printed before encoding starts. The encoders are loaded only when something is left to encode.

    Args:
      cfg: the experiment: `sets`, `data`, the model, and the batch of its `edit` stage.
      model_folder: the folder of the published model.
      tokenizer: tokenizer of its text encoder.
      folder: folder of the latents, seen by all processes.

    Raises:
      InputError: sets without usable clips, sizes that the model cannot take, or latents of another autoencoder, set or text encoder.
    """
    batches = batch_sizes(cfg)
    names = datasets.dataset_names(cfg.sets)
    sets = [datasets.open_pairs(path, cfg.data.fps) for path in cfg.sets]
    vae_hash = fingerprint_tensors(model_folder.parts["vae"])
    is_stored = cfg.model.condition.context == "stored"
    text_hashes = [
        {"contexts": stored_contexts.fingerprint_contexts(path)}
        if is_stored
        else _hash_text_encoder(cfg.model, model_folder, tokenizer)
        for path in cfg.sets
    ]
    set_hashes = [datasets.dataset_fingerprint(path, cfg.data.fps) for path in cfg.sets]
    process = (jax.process_index(), jax.process_count())

    def load_surveys() -> list[datasets.Survey]:
        return [
            datasets.load_or_survey(folder / name / "survey.json", name, dataset, list(batches), set_hash)
            for name, dataset, set_hash in zip(names, sets, set_hashes, strict=True)
        ]

    if process[0] == 0:
        for name, set_hash, text_hash in zip(names, set_hashes, text_hashes, strict=True):
            check_sources(folder / name, {"set": set_hash} | text_hash)
        load_surveys()
    _wait_for_all("survey")
    surveys = load_surveys()
    log_info(datasets.format_surveys(surveys, cfg.data.mixture))
    load_encoders = functools.cache(lambda: build_encoders(cfg.model, model_folder, tokenizer))
    encoder = latent_cache.LatentEncoder(
        lambda frames: run_interruptible(lambda: np.asarray(load_encoders().encode(frames))),
        vae_hash,
        lambda sentences: load_encoders().embed(sentences),
        batch=1,
    )
    clips_by_size: dict[buckets.Size, list[_EncodedClips]] = {size: [] for size in batches}
    first = 0
    shares = datasets.compute_shares(surveys, cfg.data.mixture)
    for survey, dataset, share, path in zip(surveys, sets, shares, cfg.sets, strict=True):
        if is_stored:
            read_context = functools.partial(stored_contexts.read_pair_context, path, cfg.model)
            encoder = dataclasses.replace(encoder, embed_pair=read_context)
        groups = datasets.group_by_weight(survey, dataset)
        total = sum(weight * len(indices) for (_, weight), indices in groups.items())
        for (size, weight), indices in groups.items():
            name = buckets.format_size(size) + ("" if weight == 1 else f"-weight-{weight:g}")
            group_share = sum(share.values()) * weight * len(indices) / total
            clips = _EncodedClips(folder / survey.name / name, group_share, first)
            latent_cache.write_latents(
                clips.folder,
                indices,
                functools.partial(_read_pair, dataset, size),
                encoder,
                shard=SHARD,
                part=process,
            )
            clips_by_size[size].append(clips)
        first += survey.count
    _wait_for_all("latents")
    return [
        buckets.Bucket(
            batches[size],
            np.load(parts[0].folder / "time_masks.npy"),
            tuple(
                buckets.CachedClips(latent_cache.list_shards(part.folder, vae_hash), part.weight, part.first)
                for part in parts
            ),
            cfg.model.vae.stride_t,
        )
        for size, parts in clips_by_size.items()
        if parts
    ]


def check_sources(folder: Path, hashes: Mapping[str, str]) -> None:
    """Check that a set's latents and embeddings were made from the same sources, beside the autoencoder; record them in a new folder.

    Args:
      folder: the folder of the set's latents. One of an earlier version, which recorded nothing, is taken as it is.
      hashes: fingerprints by the name of a source.

    Raises:
      InputError: they were made from another set, text encoder or tokenizer.
    """
    path = folder / "sources.json"
    recorded = json.loads(path.read_text()) if path.exists() else {}
    changed = [name for name, digest in hashes.items() if recorded.get(name, digest) != digest]
    if changed:
        raise InputError(
            f"{folder}: latents were made from another {' and '.join(changed)}; remove the folder, or choose another with --latents"
        )
    if recorded != dict(hashes):
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / ".sources.json.partial"
        partial.write_text(json.dumps(dict(hashes), indent=1) + "\n")
        partial.replace(path)


def batch_sizes(cfg: Experiment) -> dict[buckets.Size, int]:
    """Return the batch of every size that clips train at: as many clips as fit the budget of tokens.

    Raises:
      InputError: a batch that the devices cannot share, or a size that the model cannot take.
    """
    m, mesh = cfg.model, sharding.make_mesh(**dataclasses.asdict(cfg.mesh))
    sharding.batch_sharding(mesh, cfg.edit.batch // cfg.edit.micro)
    unit = math.lcm(mesh.shape["data"] * mesh.shape["fsdp"] * cfg.edit.micro, jax.process_count())

    def tokens(size: buckets.Size) -> int:
        frames, height, width = size
        try:
            sized = dataclasses.replace(m, frames=frames, height=height, width=width)
        except ValueError as err:
            raise InputError(f"data.sizes {buckets.format_size(size)}: {err}") from err
        return count_tokens(sized, reference=True)

    model_size = (m.frames, m.height, m.width)
    budget = cfg.data.tokens or cfg.edit.batch * tokens(model_size)
    sizes = cfg.data.sizes or (model_size,)
    return {size: buckets.batch_size(size, tokens(size), budget, unit) for size in sizes}


def build_encoders(model: ModelConfig, model_folder: ModelFolder, tokenizer: Tokenizer) -> Encoders:
    """Load the autoencoder and the text encoder of a published model on this process's first device.

    Args:
      model: configuration of the model.
      model_folder: the folder of the published model.
      tokenizer: tokenizer of its text encoder.
    """
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    vae, text = (
        wan.load_part(part, model_folder.parts[part], model, place=lambda path: device)
        if part in model.parts
        else {}
        for part in ("vae", "text")
    )

    @jax.jit
    def encode(params: Parameters, clips: jax.Array) -> jax.Array:
        return autoencoder_streaming.encode_in_chunks(VAE(model.vae), params, normalize_pixels(clips))

    @jax.jit
    def embed_ids(params: Parameters, ids: jax.Array, lengths: jax.Array) -> jax.Array:
        return cast(jax.Array, TextEncoder(model.text).apply({"params": params}, ids, lengths))

    @functools.lru_cache(maxsize=4096)
    def embed(sentence: str) -> np.ndarray:
        ids, lengths = tokenizer.encode([_task_sentence(model) + sentence if sentence else ""])
        return np.asarray(embed_ids(text, ids, lengths)[0, : lengths[0]], np.float16)

    return Encoders(
        lambda clips: encode(vae, clips), lambda sentences: [embed(sentence) for sentence in sentences]
    )


def _hash_text_encoder(model: ModelConfig, model_folder: ModelFolder, tokenizer: Tokenizer) -> dict[str, str]:
    """Return fingerprints of what embeds sentences."""
    words = tokenizer.backend.to_str() + _task_sentence(model)
    return {
        "text encoder": fingerprint_tensors(model_folder.parts["text"]),
        "tokenizer": hashlib.sha256(words.encode()).hexdigest()[:12],
    }


def _task_sentence(model: ModelConfig) -> str:
    """Return what stands before every instruction, of editors that are told their task; "" for others."""
    return task_prefix("v2v") if editor_rules(model).has_tasks else ""


def fingerprint_tensors(files: TensorFiles) -> str:
    """Return twelve hexadecimal digits that identify published weights by names, shapes and the values of all small tensors.

    Large matrices are not read: a text encoder has 11 GB of them. `latent_cache.tree_hash` reads every weight, of parameters in memory.
    """
    digest = hashlib.sha256()
    for name, slot in sorted(files.slots.items()):
        digest.update(f"{name} {slot.shape}".encode())
        if len(slot.shape) <= 1:
            digest.update(files.read(name).tobytes())
    return digest.hexdigest()[:12]


def _read_pair(dataset: PairDataset, size: buckets.Size, index: int) -> Pair:
    """Read a pair of a set, cropped to a size."""
    return dataset.read_pair(index, size)


def _wait_for_all(name: str) -> None:
    """Wait until every process has called this with the same name."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)
