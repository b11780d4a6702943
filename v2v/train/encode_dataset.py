"""Encoding of whole datasets with published weights: several sets and sizes, encoded once by all processes together.

dataset_plan.py, latent_cache.py -> **encode_dataset** -> fine_tuning.py

The clips of a plan are encoded as shards in folder/SET/SIZE, by all devices of every process, and the shards become buckets of the
loader. Sentences come first, as far as sets state them without their records, so that the text encoder is gone before clips are encoded.
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.typing import ArrayLike
from tqdm import tqdm

from v2v.checkpoints import wan
from v2v.checkpoints.model_folder import ModelFolder
from v2v.checkpoints.tensor_files import TensorFiles
from v2v.config import ModelConfig
from v2v.data import buckets, datasets, latent_cache
from v2v.data.latent_folder import LatentFolder
from v2v.errors import InputError
from v2v.language.task_prompts import task_prefix
from v2v.models import autoencoder_streaming
from v2v.models.autoencoder import VAE
from v2v.models.editor_presets import editor_rules
from v2v.models.text_encoder import TextEncoder, Tokenizer
from v2v.runtime.interruptible import run_interruptible
from v2v.train import stored_contexts
from v2v.train.config import Experiment
from v2v.train.dataset_plan import ClipGroup, DatasetPlan, wait_for_all
from v2v.train.objectives import Parameters
from v2v.video.pixels import normalize_pixels

# Pairs in one shard of latents, about 0.6 GB at 480p.
SHARD = 64
# Sentences of which embeddings are kept beside those that were embedded ahead: about 0.1 MB each.
SENTENCES = 4096


def clips_mesh(devices: Sequence[jax.Device]) -> Mesh:
    """Return the mesh of devices that encode a clip each."""
    return Mesh(np.asarray(devices), ("clips",))


def build_clip_encoder(model: ModelConfig, mesh: Mesh) -> Callable[[Parameters, ArrayLike], jax.Array]:
    """Return the program (weights of the autoencoder's encoder, uint8 clips [devices, T, H, W, 3]) to latents."""
    rows = PartitionSpec("clips")

    def encode(params: Parameters, clips: jax.Array) -> jax.Array:
        return autoencoder_streaming.encode_in_chunks(VAE(model.vae), params, normalize_pixels(clips))

    return jax.jit(
        jax.shard_map(encode, mesh=mesh, in_specs=(PartitionSpec(), rows), out_specs=rows, check_vma=False)
    )


def build_sentence_encoder(model: ModelConfig) -> Callable[[Parameters, ArrayLike, ArrayLike], jax.Array]:
    """Return the program (weights of the text encoder, token numbers [b, n], lengths [b]) to embeddings."""

    @jax.jit
    def embed(params: Parameters, ids: jax.Array, lengths: jax.Array) -> jax.Array:
        return cast(jax.Array, TextEncoder(model.text).apply({"params": params}, ids, lengths))

    return embed


def encoder_weights(vae: Mapping[str, Any]) -> dict[str, Any]:
    """Return the weights that encode: the decoder, three quarters of all, isn't needed."""
    return {name: part for name, part in vae.items() if name in ("encoder", "quant_conv")}


class Encoders:
    """The frozen encoders of a published model, on all devices of this process; each is loaded when it is first needed.

    Args:
      model: configuration of the model.
      model_folder: the folder of the published model.
      tokenizer: tokenizer of its text encoder.
    """

    def __init__(self, model: ModelConfig, model_folder: ModelFolder, tokenizer: Tokenizer):
        self._model, self._folder, self._tokenizer = model, model_folder, tokenizer
        # Not the axes of training, over which the autoencoder would divide a clip.
        self._mesh = clips_mesh(jax.local_devices())
        self._vae: Parameters | None = None
        self._text: Parameters | None = None
        self._embeddings: dict[str, np.ndarray] = {}
        self._ahead: set[str] = set()
        self._encode, self._embed = build_clip_encoder(model, self._mesh), build_sentence_encoder(model)

    @property
    def batch(self) -> int:
        """Return the number of clips that are encoded together, one on each device."""
        return self._mesh.size

    def encode(self, clips: np.ndarray) -> np.ndarray:
        """Return latents of uint8 clips [b, T, H, W, 3], b as `batch`."""
        if self._vae is None:
            replicated = NamedSharding(self._mesh, PartitionSpec())
            tree = wan.load_part("vae", self._folder.parts["vae"], self._model, place=lambda path: replicated)
            self._vae = encoder_weights(tree)
        return np.asarray(self._encode(self._vae, clips))

    def embed(self, sentences: list[str]) -> list[np.ndarray]:
        """Return embeddings [m, w] of sentences, of their true lengths, float16."""
        for sentence in sentences:
            if sentence not in self._embeddings:
                prompt = _task_sentence(self._model) + sentence if sentence else ""
                ids, lengths = self._tokenizer.encode([prompt])
                rows = self._embed(self._load_text(), ids, lengths)
                self._embeddings[sentence] = np.asarray(rows[0, : lengths[0]], np.float16)
        embeddings = [self._embeddings[sentence] for sentence in sentences]
        others = [sentence for sentence in self._embeddings if sentence not in self._ahead]
        for sentence in others[:-SENTENCES]:
            del self._embeddings[sentence]
        return embeddings

    def embed_ahead(self, sentences: Iterable[str]) -> None:
        """Embed sentences that are asked for later, and free the text encoder."""
        self._ahead = {*sentences, ""}
        self._embeddings = {s: rows for s, rows in self._embeddings.items() if s in self._ahead}
        for sentence in sorted(self._ahead):
            self.embed([sentence])
        self._text = None

    def _load_text(self) -> Parameters:
        if self._text is None:
            device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
            self._text = wan.load_part(
                "text", self._folder.parts["text"], self._model, place=lambda path: device
            )
        return self._text


def encode_plan(
    cfg: Experiment, plan: DatasetPlan, model_folder: ModelFolder, tokenizer: Tokenizer, shared: LatentFolder
) -> None:
    """Encode the clips of a plan, all processes together.

    Nothing is loaded where everything is encoded already.

    Args:
      cfg: the experiment.
      plan: what it trains on (`plan_datasets`).
      model_folder: the folder of the published model.
      tokenizer: tokenizer of its text encoder.
      shared: the folder of the latents.

    Raises:
      InputError: latents of another autoencoder.
    """
    vae_hash = fingerprint_tensors(model_folder.parts["vae"])
    encoders = Encoders(cfg.model, model_folder, tokenizer)
    encoder = latent_cache.LatentEncoder(
        lambda frames: run_interruptible(lambda: encoders.encode(frames)),
        vae_hash,
        lambda sentences: run_interruptible(lambda: encoders.embed(sentences)),
        batch=encoders.batch,
    )
    process, count = jax.process_index(), jax.process_count()
    total = sum(len(group.indices) for group in plan.groups)
    with tqdm(total=total, desc="latents", unit="pair", dynamic_ncols=True, disable=process > 0) as bar:
        for group in plan.groups:
            prepare = functools.partial(_embed_ahead, encoders, group)
            if cfg.model.condition.context == "stored":
                read_context = functools.partial(
                    stored_contexts.read_pair_context, cfg.sets[group.number], cfg.model
                )
                encoder = dataclasses.replace(encoder, embed_pair=read_context)
                prepare = _embed_nothing
            latent_cache.write_latents(
                group.folder,
                group.indices,
                group.read_pair,
                encoder,
                progress=lambda n: bar.update(n * count),
                prepare=prepare,
                shard=SHARD,
                part=(process, count),
                shared=shared,
            )
    if process == 0:
        shared.publish()
    wait_for_all("latents")


def build_buckets(cfg: Experiment, plan: DatasetPlan, model_folder: ModelFolder) -> list[buckets.Bucket]:
    """Return the encoded clips of a plan as buckets of the loader; arguments as in `encode_plan`."""
    vae_hash = fingerprint_tensors(model_folder.parts["vae"])
    return [
        buckets.Bucket(
            batch,
            np.load(plan.groups_of(size)[0].folder / "time_masks.npy"),
            tuple(
                buckets.CachedClips(
                    latent_cache.list_shards(group.folder, vae_hash),
                    group.share,
                    group.first,
                    group.held_out,
                    later_weights=group.later_shares,
                )
                for group in plan.groups_of(size)
            ),
            cfg.model.vae.stride_t,
            plan.repeats,
        )
        for size, batch in plan.batches.items()
        if plan.groups_of(size)
    ]


def check_latents(cfg: Experiment, model_folder: ModelFolder, tokenizer: Tokenizer, folder: Path) -> None:
    """Check that latents in a folder were made of these sets with this text encoder and tokenizer; record them in a new folder.

    Args:
      cfg: the experiment.
      model_folder: the folder of the published model.
      tokenizer: tokenizer of its text encoder.
      folder: folder of the latents.

    Raises:
      InputError: they were made from others.
    """
    if jax.process_index():
        return
    is_stored = cfg.model.condition.context == "stored"
    encoder_hashes = {} if is_stored else _hash_text_encoder(cfg.model, model_folder, tokenizer)
    for name, path in zip(datasets.dataset_names(cfg.sets), cfg.sets, strict=True):
        hashes = {"contexts": stored_contexts.fingerprint_contexts(path)} if is_stored else encoder_hashes
        set_hash = datasets.dataset_fingerprint(path, cfg.data.fps)
        check_sources(folder / name, {"set": set_hash} | hashes)


def _embed_nothing(indices: Sequence[int]) -> None:
    """Do nothing: contexts of pairs are read with them."""


def _embed_ahead(encoders: Encoders, group: ClipGroup, indices: Sequence[int]) -> None:
    """Embed the instructions of pairs, as far as their set states them without their records."""
    sentences = {sentence for i in indices for sentence in group.dataset.instructions(i)}
    if sentences:
        run_interruptible(lambda: encoders.embed_ahead(sentences))


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
