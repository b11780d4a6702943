"""EasyV2V on Wan2.2-TI2V-5B, first stage of the paper's recipe: 81x480x832, LoRA of rank 256, AdamW 1e-4, global batch 32.

    v2v synth --out pairs --pairs 100000 --frames 81 --height 480 --width 832 --recipes local,photometric,control ...
    v2v train experiments/wan22_ti2v_5b.py --workdir runs/5b --weights Wan2.2-TI2V-5B-Diffusers --sets pairs
    v2v train experiments/wan22_ti2v_5b_720p.py --workdir runs/5b-720p ... --start runs/5b/lora.safetensors
    v2v plan  experiments/wan22_ti2v_5b.py --topology v5e:2x4            memory and time beforehand, without the hardware

Stages, each resuming by itself:
  latents   every process encodes its share of source, target, mask, reference and sentences, once
  edit      base frozen and sharded over all chips; LoRA and the new embeddings learn. Ends with WORKDIR/lora.safetensors
Stated by the paper: frozen backbone, rank 256 on attention and FFN, zero-initialised new embeddings, AdamW with constant 1e-4,
half of the references dropped, half of the pairs with a transition, 40,000 steps in the ablations. Not stated and chosen here:
batch 32 (one clip on each of its 32 GPUs, derived from its cost table), tau by shifted uniform with shift 5, clip by group at 1,
weight decay 0.01, text dropped one time in ten, the mask every other time, no weight on the edited region.
Other sizes beside the model's: --data.sizes 81 480 832 49 480 832 1 480 832 (pictures are clips of one frame), each in batches of as
many tokens; --data.mixture 0.7 0.3 draws from two --sets by weight. What is used and left out is told before anything is encoded.
Predicted, nobody has trained it (`v2v plan experiments/wan22_ti2v_5b.py --topology v5e:2x4 --edit.batch 8`, 40 % of the chip's rate):
one clip a chip takes 13.0 of 15.75 GiB and 13.6 s a step on v5e 2x4; the batch of 32, as four micro-batches (--edit.micro 4), four
times that: 54 s a step, 25 days for the 40,000 steps on those 8 small chips.
"""

import dataclasses
import functools
import math
import tempfile
from pathlib import Path

from etils import epath

from v2v.config import DataConfig, FlowConfig, LoRAConfig, MeshConfig, ModelConfig, OptimConfig, wan22_ti2v_5b
from v2v.errors import InputError
from v2v.train.config import Experiment, Stage

SHARD = 64  # pairs a shard of latents: about 0.6 GB at 480p


def config() -> Experiment:
    model = wan22_ti2v_5b()
    model = dataclasses.replace(
        model,
        dit=dataclasses.replace(model.dit, remat="full"),
        lora=LoRAConfig(rank=256),
        flow=FlowConfig(shift=5.0, steps=50, guidance=3.0),
    )
    return Experiment(
        name="wan22_ti2v_5b",
        model=model,
        region=0.0,
        data=DataConfig(drop_text=0.1, drop_mask=0.5, reference=0.5, transition=0.5),
        mesh=MeshConfig(data=1, fsdp=-1),
        edit=Stage(
            steps=40_000,
            batch=32,
            optim=OptimConfig(kind="adamw", peak_lr=1e-4, warmup_steps=100, weight_decay=0.01, b2=0.999, ema=0.999),
        ),
        save_every=500,
    )  # fmt: skip


def run(cfg: Experiment, workdir: Path) -> Path:
    """Do what is left to do; returns the adapter's file, or with --trains full that of the whole DiT and its embeddings."""
    import jax

    from v2v.checkpoints import model_folder, native
    from v2v.data import loader
    from v2v.pipeline import pretrained
    from v2v.train import objectives
    from v2v.train.stage import fit_stage, on_host, save_config

    if not cfg.weights or not cfg.sets:
        raise InputError(
            f"{cfg.name}: expected a backbone and pairs; give --weights Wan2.2-TI2V-5B-Diffusers and --sets FOLDER ..."
        )
    found = model_folder.read(cfg.weights).require()
    cfg = dataclasses.replace(cfg, model=_sized(cfg.model, found.config))
    words = pretrained.tokenizer(found, cfg.model)
    save_config(cfg, workdir)
    buckets = cache_latents(cfg, found, words, _latents(cfg, workdir))
    data = loader.edit_batches(buckets, words, cfg.seed, cfg.data, cfg.model.condition.mask_code)
    dit = _load_dit(cfg, found)
    objective = objectives.edit(cfg.model, cfg.region, data.recipes)
    frozen = None if cfg.trains == "full" else {"dit": dit}
    state = fit_stage(cfg, cfg.edit, workdir / "edit", _start(cfg, dit), data, objective, frozen, work=True)
    out = workdir / ("lora.safetensors" if cfg.trains == "lora" else "editor.safetensors")
    result = on_host(state.result)
    if jax.process_index() == 0:
        with tempfile.TemporaryDirectory() as here:  # workdir may be a bucket
            file = Path(here) / out.name
            native.save_tree(file, result, condition_metadata(cfg) | {"steps": str(int(state.step))})
            epath.Path(file).copy(out, overwrite=True)
    return out


def cache_latents(cfg: Experiment, found, words, folder: Path):
    """Buckets of the loader: every set's clips of every size, in folder/SET/SIZE, encoded by all processes together. What is left
    out, and why, is told first. Encoders are read only when something is left to encode."""
    import jax
    import numpy as np

    from v2v.data import buckets, datasets, latent_cache, pair
    from v2v.train.stage import say

    batches = _batches(cfg)
    names, records = datasets.names(cfg.sets), [datasets.open_set(path) for path in cfg.sets]
    made_by, part = _fingerprint(found.parts["vae"]), (jax.process_index(), jax.process_count())

    def surveys():
        return [
            datasets.remembered(folder / name / "survey.json", name, source, list(batches))
            for name, source in zip(names, records, strict=True)
        ]

    if part[0] == 0:
        surveys()
    _together("survey")
    seen = surveys()
    say(datasets.describe(seen, cfg.data.mixture))
    encoders = functools.cache(lambda: _encoders(cfg.model, found, words))
    parts, first = {size: [] for size in batches}, 0
    for survey, source, share in zip(seen, records, datasets.shares(seen, cfg.data.mixture), strict=True):
        for size, chosen in survey.chosen.items():
            here = folder / survey.name / buckets.label(size)
            latent_cache.write(
                here, chosen, lambda i, at=source, size=size: buckets.crop(pair.decode(at[i]), size),
                lambda clips: encoders()[0](clips), made_by, 1, embed=lambda lines: encoders()[1](lines), shard=SHARD, part=part,
            )  # fmt: skip
            parts[size].append((here, share[size], first))
        first += survey.count
    _together("latents")
    return [
        buckets.Bucket(
            batches[size],
            np.load(here[0][0] / "time_masks.npy"),
            tuple(
                buckets.Cached(latent_cache.shards(path, made_by), weight, first)
                for path, weight, first in here
            ),
        )
        for size, here in parts.items()
        if here
    ]


def _batches(cfg: Experiment) -> dict[tuple[int, int, int], int]:
    """Sizes that clips train at → clips a batch."""
    import jax

    from v2v.data import buckets
    from v2v.runtime import flops, sharding

    m, mesh = cfg.model, sharding.make_mesh(**dataclasses.asdict(cfg.mesh))
    sharding.batch(mesh, cfg.edit.batch // cfg.edit.micro)
    unit = math.lcm(mesh.shape["data"] * mesh.shape["fsdp"] * cfg.edit.micro, jax.process_count())

    def tokens(size):
        try:
            sized = dataclasses.replace(m, **dict(zip(("frames", "height", "width"), size, strict=True)))
        except ValueError as err:
            raise InputError(f"data.sizes {buckets.label(size)}: {err}") from err
        return flops.tokens(sized, reference=True)

    own = (m.frames, m.height, m.width)
    budget = cfg.data.tokens or cfg.edit.batch * tokens(own)
    return {size: buckets.batch_size(size, tokens(size), budget, unit) for size in cfg.data.sizes or (own,)}


def _together(name: str) -> None:
    """Every process is here before any goes on."""
    import jax
    from jax.experimental import multihost_utils

    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def _latents(cfg: Experiment, workdir: Path) -> Path:
    if cfg.latents:
        return Path(cfg.latents)
    if "://" in str(workdir):
        raise InputError(
            f"{workdir}: latents are read at random from files, which a bucket can't give; set --latents to a folder all processes"
            " see (a disk, or the bucket mounted with gcsfuse)"
        )
    return workdir / "latents"


def condition_metadata(cfg: Experiment) -> dict[str, str]:
    """How conditions were laid out, kept in the adapter's header: sampling must do the same."""
    from v2v.checkpoints import adapters

    return adapters.condition_metadata(cfg.model.condition)


def _sized(model: ModelConfig, found: ModelConfig) -> ModelConfig:
    """The experiment's settings with the sizes of the weights that were found."""
    ours = {name: getattr(model.dit, name) for name in ("remat", "backend", "dtype")}
    dit = dataclasses.replace(found.dit, **ours)
    return dataclasses.replace(model, dit=dit, vae=found.vae, text=found.text)


def _start(cfg: Experiment, dit: dict) -> dict:
    """What is trained, at step 0: fresh, or the adapter `cfg.start`."""
    import jax

    from v2v.checkpoints import native
    from v2v.models import initialization

    key = jax.random.key(cfg.seed + 1)
    if cfg.trains == "full":
        return {"dit": dit, "embed": initialization.init_embed(key, cfg.model)}
    fresh = initialization.init_adapter(key, cfg.model, dit)
    return native.load_tree(cfg.start, fresh) if cfg.start else fresh


def _load_dit(cfg: Experiment, found) -> dict:
    """Each leaf goes straight to its place on the mesh; in float32 when it is to be trained."""
    from v2v.checkpoints import wan
    from v2v.runtime import sharding

    mesh = sharding.make_mesh(**dataclasses.asdict(cfg.mesh))
    shapes = wan.shapes("dit", cfg.model)
    dtype = "float32" if cfg.trains == "full" else None
    return wan.load(
        "dit", found.parts["dit"], cfg.model, dtype=dtype,
        place=lambda path: sharding.sharding_of(f"dit/{path}", shapes[path], mesh),
    )  # fmt: skip


def _encoders(model: ModelConfig, found, words):
    """(uint8 clips → latents, sentences → embeddings of their true lengths), on this process's first device."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from v2v.checkpoints import wan
    from v2v.models import autoencoder_streaming
    from v2v.models.autoencoder import VAE
    from v2v.models.text_encoder import TextEncoder

    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    vae, text = (
        wan.load(part, found.parts[part], model, place=lambda path: here) for part in ("vae", "text")
    )

    @jax.jit
    def encode(params, clips):
        return autoencoder_streaming.encode(VAE(model.vae), params, clips.astype(jnp.float32) / 127.5 - 1)

    embed_one = jax.jit(lambda params, ids, n: TextEncoder(model.text).apply({"params": params}, ids, n))

    @functools.lru_cache(maxsize=4096)
    def embed(sentence: str) -> np.ndarray:
        ids, lengths = words.ids([sentence])
        return np.asarray(embed_one(text, ids, lengths)[0, : lengths[0]], np.float16)

    return (lambda clips: encode(vae, clips)), (lambda sentences: [embed(s) for s in sentences])


def _fingerprint(files) -> str:
    """Twelve hex digits that tell one VAE from another: names, shapes and the values of all small tensors."""
    import hashlib

    digest = hashlib.sha256()
    for name, slot in sorted(files.slots.items()):
        digest.update(f"{name} {slot.shape}".encode())
        if len(slot.shape) <= 1:
            digest.update(files.read(name).tobytes())
    return digest.hexdigest()[:12]
