"""Latents of whole datasets on published weights: several sets and sizes, encoded once by all processes together.

sets -> survey (what is used, what is left out, why) -> folder/SET/SIZE shards -> buckets of the loader
"""

import dataclasses
import functools
import hashlib
import math
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils

from v2v.checkpoints import wan
from v2v.checkpoints.model_folder import ModelFolder
from v2v.checkpoints.safetensors_file import TensorFiles
from v2v.config import ModelConfig
from v2v.data import buckets, datasets, latent_cache, pair
from v2v.errors import InputError
from v2v.models import autoencoder_streaming
from v2v.models.autoencoder import VAE
from v2v.models.conditioning import count_tokens
from v2v.models.text_encoder import TextEncoder, Tokenizer
from v2v.runtime import sharding
from v2v.train.config import Experiment
from v2v.train.stage import log_info
from v2v.video.pixels import normalize_pixels

# Pairs in one shard of latents: about 0.6 GB at 480p.
SHARD = 64


def encode_sets(
    cfg: Experiment, model_folder: ModelFolder, tokenizer: Tokenizer, folder: Path
) -> list[buckets.Bucket]:
    """Encode every set's clips of every size in folder/SET/SIZE; return them as buckets of the loader.

    A summary of used and skipped pairs is printed before encoding starts. The encoders are loaded only when something is left to encode.

    Args:
      cfg: the experiment: `sets`, `data`, the model, and the batch of its `edit` stage.
      model_folder: the folder of the published model.
      tokenizer: of its text encoder.
      folder: where latents lie, seen by all processes.

    Raises:
      InputError: sets without usable clips, sizes that the model cannot take, or latents of another autoencoder.
    """
    batches = batch_sizes(cfg)
    names, records = datasets.dataset_names(cfg.sets), [datasets.open_dataset(path) for path in cfg.sets]
    vae_hash = fingerprint(model_folder.parts["vae"])
    process = (jax.process_index(), jax.process_count())

    def surveys():
        return [
            datasets.load_or_survey(folder / name / "survey.json", name, source, list(batches))
            for name, source in zip(names, records, strict=True)
        ]

    if process[0] == 0:
        surveys()
    _wait_for_all("survey")
    surveys_of_sets = surveys()
    log_info(datasets.format_surveys(surveys_of_sets, cfg.data.mixture))
    encoders = functools.cache(lambda: build_encoders(cfg.model, model_folder, tokenizer))
    parts, first = {size: [] for size in batches}, 0
    for survey, source, share in zip(
        surveys_of_sets, records, datasets.compute_shares(surveys_of_sets, cfg.data.mixture), strict=True
    ):
        for size, indices in survey.indices_by_size.items():
            place = folder / survey.name / buckets.format_size(size)
            latent_cache.write_latents(
                place, indices, lambda i, at=source, size=size: buckets.crop_pair(pair.decode_pair(at[i]), size),
                lambda clips: encoders()[0](clips), vae_hash, 1, embed=lambda lines: encoders()[1](lines), shard=SHARD, part=process,
            )  # fmt: skip
            parts[size].append((place, share[size], first))
        first += survey.count
    _wait_for_all("latents")
    return [
        buckets.Bucket(
            batches[size],
            np.load(places[0][0] / "time_masks.npy"),
            tuple(
                buckets.CachedClips(latent_cache.list_shards(path, vae_hash), weight, first)
                for path, weight, first in places
            ),
            cfg.model.vae.stride_t,
        )
        for size, places in parts.items()
        if places
    ]


def batch_sizes(cfg: Experiment) -> dict[tuple[int, int, int], int]:
    """Return the batch of every size that clips train at: as many clips as fit the budget of tokens."""
    m, mesh = cfg.model, sharding.make_mesh(**dataclasses.asdict(cfg.mesh))
    sharding.batch_sharding(mesh, cfg.edit.batch // cfg.edit.micro)
    unit = math.lcm(mesh.shape["data"] * mesh.shape["fsdp"] * cfg.edit.micro, jax.process_count())

    def tokens(size):
        try:
            sized = dataclasses.replace(m, **dict(zip(("frames", "height", "width"), size, strict=True)))
        except ValueError as err:
            raise InputError(f"data.sizes {buckets.format_size(size)}: {err}") from err
        return count_tokens(sized, reference=True)

    model_size = (m.frames, m.height, m.width)
    budget = cfg.data.tokens or cfg.edit.batch * tokens(model_size)
    sizes = cfg.data.sizes or (model_size,)
    return {size: buckets.batch_size(size, tokens(size), budget, unit) for size in sizes}


def build_encoders(model: ModelConfig, model_folder: ModelFolder, tokenizer: Tokenizer):
    """Return two functions: uint8 clips to latents, and sentences to embeddings of their true lengths, on this process's first device."""
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    vae, text = (
        wan.load_part(part, model_folder.parts[part], model, place=lambda path: device)
        for part in ("vae", "text")
    )

    @jax.jit
    def encode(params, clips):
        return autoencoder_streaming.encode_in_chunks(VAE(model.vae), params, normalize_pixels(clips))

    embed_one = jax.jit(lambda params, ids, n: TextEncoder(model.text).apply({"params": params}, ids, n))

    @functools.lru_cache(maxsize=4096)
    def embed(sentence: str) -> np.ndarray:
        ids, lengths = tokenizer.ids([sentence])
        return np.asarray(embed_one(text, ids, lengths)[0, : lengths[0]], np.float16)

    return (lambda clips: encode(vae, clips)), (lambda sentences: [embed(s) for s in sentences])


def fingerprint(files: TensorFiles) -> str:
    """Return twelve hex digits that tell one autoencoder from another: names, shapes and the values of all small tensors."""
    digest = hashlib.sha256()
    for name, slot in sorted(files.slots.items()):
        digest.update(f"{name} {slot.shape}".encode())
        if len(slot.shape) <= 1:
            digest.update(files.read(name).tobytes())
    return digest.hexdigest()[:12]


def _wait_for_all(name: str) -> None:
    """Wait until every process is here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)
