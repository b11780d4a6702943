"""The model shipped with the package, from nothing: scenes → TFDS → latents → VAE, base, LoRA → safetensors.

    v2v train experiments/embedded.py --workdir runs/embedded          (every stage resumes by itself)

Stages, each in its own folder of the workdir:
  pairs     data_synth renders procedural pairs into TFDS (array_record)
  vae       the causal VAE learns to reconstruct scenes; its latent statistics become part of the model
  latents   source, target, mask and reference of every pair, encoded once
  text      the text encoder learns words and the names of edits from sentences alone
  base      DiT and text encoder learn text-to-video and image-to-video, everything trained
  edit      base frozen; LoRA and the embeddings of source, mask and reference learn the edits
  export    safetensors (the VAE as int8), vocabulary and configuration: a folder that `--model DIR` reads
Hardware, hours and scores of the shipped weights: v2v/assets/embedded/README.md.
"""

import dataclasses
import functools
import itertools
import sys
from pathlib import Path

from v2v.config import OptimConfig
from v2v.train.config import Experiment, Stage
from v2v.train.stage import check, fit_stage, on_host

PREVIEW_SEEDS = 2_000_000_000  # pairs shown in previews
CLIP_SEEDS = 1_000_000_000  # clips for the VAE; pairs count from 0, scoring from 3e9
PART, PART_SEEDS = 7000, 100_000  # pairs of one TFDS set, and seeds set aside for it
MIX = ("local", "photometric", "photometric")  # there are three photometric edits for every local one


def config() -> Experiment:
    return Experiment(
        vae=Stage(
            steps=1500, batch=4,
            optim=OptimConfig(kind="muon", peak_lr=0.02, adam_lr=1.5e-3, warmup_steps=20, decay_steps=1480, b2=0.95, ema=0.99),
        ),
        text=Stage(
            steps=600, batch=256,
            optim=OptimConfig(kind="adamw", peak_lr=3e-3, warmup_steps=20, decay_steps=580, ema=0.98),
        ),
        base=Stage(
            steps=1800, batch=32,
            optim=OptimConfig(kind="muon", peak_lr=0.01, adam_lr=1e-3, warmup_steps=30, decay_steps=1770, ema=0.99),
        ),
        edit=Stage(  # Muon: loss 0.43 after 150 steps, AdamW 0.52; one run each, rates 0.01 and 1.5e-3
            steps=7700,
            batch=16,
            optim=OptimConfig(kind="muon", peak_lr=0.012, adam_lr=1e-3, warmup_steps=20, decay_steps=7680, b2=0.95, ema=0.99),
        ),
    )  # fmt: skip


def run(cfg: Experiment, workdir: Path) -> Path:
    """Do what is left to do; returns the exported folder."""
    from v2v.runtime import sharding

    sharding.cpu_devices(cfg.cpu_devices)
    check(cfg, "vae", "text", "base", "edit")
    workdir.mkdir(parents=True, exist_ok=True)
    render_pairs(cfg, workdir / "pairs")
    vae, model = train_vae(cfg, workdir / "vae")
    cfg = dataclasses.replace(cfg, model=model)
    shards, time_masks = cache_latents(cfg, vae, workdir)
    text = train_text(cfg, shards, workdir / "text")
    base = train_base(cfg, text, shards, workdir / "base")
    adapter = train_edit(cfg, vae, base, shards, time_masks, workdir / "edit")
    return export(cfg, vae, base, adapter, workdir / "export")


def render_pairs(cfg: Experiment, folder: Path, edits: tuple[str, ...] = MIX) -> None:
    """TFDS sets of at most PART pairs, so that rendering goes on where it stopped and more pairs can be added later."""
    from data_synth.dataset.build import synth

    m = cfg.model
    size = {"frames": m.frames, "height": m.height, "width": m.width}
    for part, start in enumerate(range(0, cfg.pairs, PART)):
        out = folder / f"part-{part}"
        if not out.exists():
            n = min(PART, cfg.pairs - start)
            _say(f"rendering pairs {start} to {start + n}")
            seed = cfg.seed + part * PART_SEEDS
            synth(out, n, seed=seed, workers=cfg.workers, edits=edits, transition=cfg.data.transition, **size)


def train_vae(cfg: Experiment, folder: Path):
    """(VAE parameters, the ModelConfig with their latent statistics)."""
    import jax
    import numpy as np

    from v2v.checkpoints import native as files
    from v2v.models.autoencoder import VAE
    from v2v.train import vae as training

    done, m = folder / "vae.safetensors", cfg.model
    if not done.exists():
        module = VAE(m.vae)
        video = np.zeros((1, m.frames, m.height, m.width, 3), np.float32)
        params = jax.jit(module.init)(jax.random.key(cfg.seed), video)["params"]
        clips = _clips(cfg)
        state = fit_stage(cfg, cfg.vae, folder, {"vae": params}, clips, training.objective(module))
        params = on_host(state.result["vae"])
        plain = VAE(dataclasses.replace(m.vae, mean=(), std=()))
        encode = jax.jit(
            lambda x: plain.apply({"params": params}, x.astype(np.float32) / 127.5 - 1, method="encode")
        )
        iterator = iter(clips)
        mean, std = training.statistics(encode, (next(iterator) for _ in range(64)))
        model = dataclasses.replace(m, vae=dataclasses.replace(m.vae, mean=mean, std=std))
        files.save_config(folder / "config.json", model)
        files.save_tree(done, {"vae": params})
    return files.load_tree(done)["vae"], files.load_config(folder / "config.json")


def cache_latents(cfg: Experiment, vae: dict, workdir: Path):
    """(shard paths, latents of the whole-frame masks)."""
    import grain
    import jax
    import numpy as np
    import tensorflow_datasets as tfds
    from tqdm import tqdm

    from v2v.data import latent_cache, pair
    from v2v.models.autoencoder import VAE

    folder, m = workdir / "latents", cfg.model
    parts = sorted((workdir / "pairs").glob("part-*"), key=lambda path: int(path.name.split("-")[1]))
    source = grain.MapDataset.concatenate(
        [grain.MapDataset.source(tfds.builder_from_directory(part).as_data_source("train")) for part in parts]
    )
    encode = jax.jit(
        lambda p, x: VAE(m.vae).apply({"params": p}, x.astype(np.float32) / 127.5 - 1, method="encode")
    )
    vae_hash = latent_cache.tree_hash(vae)
    with tqdm(total=len(source), desc="latents", unit="pair") as bar:
        latent_cache.write(
            folder, range(len(source)), lambda i: pair.decode(source[i]), functools.partial(encode, vae), vae_hash,
            progress=bar.update,
        )  # fmt: skip
    return latent_cache.shards(folder, vae_hash), np.load(folder / "time_masks.npy")


def train_text(cfg: Experiment, shards: list[str], folder: Path) -> dict:
    """The text encoder's parameters."""
    import jax

    from v2v.checkpoints import native as files
    from v2v.data import latent_cache, loader, transforms
    from v2v.train import text

    done = folder / "text.safetensors"
    if not done.exists():
        edits = tuple(
            sorted({fact["edit"] for fact in latent_cache.facts(shards)})
        )  # what there is to tell apart
        data = loader.text_batches(
            shards, cfg.text.batch, transforms.ToSentence(_tokenizer(cfg), edits), cfg.seed
        )
        trained = text.init(jax.random.key(cfg.seed), cfg.model.text, edits)
        state = fit_stage(cfg, cfg.text, folder, trained, data, text.objective(cfg.model.text))
        files.save_tree(done, {"text": on_host(state.result["text"])})
    return files.load_tree(done)["text"]


def train_base(
    cfg: Experiment, text: dict, shards: list[str], folder: Path, start: dict | None = None
) -> dict:
    """{"dit", "text"}, from nothing but `text` or from `start`, an earlier {"dit", "text"}."""
    import jax

    from v2v.checkpoints import native as files
    from v2v.data import loader, transforms
    from v2v.models import initialization
    from v2v.train import objectives

    done = folder / "base.safetensors"
    if not done.exists():
        transform = transforms.ToClip(
            _tokenizer(cfg), cfg.data.turning, cfg.data.image_to_video, cfg.data.drop_text
        )
        data = loader.base_batches(shards, cfg.base.batch, transform, cfg.seed)
        trained = start or initialization.init_base(jax.random.key(cfg.seed), cfg.model) | {"text": text}
        state = fit_stage(
            cfg, cfg.base, folder, trained, data, objectives.text_to_video(cfg.model, cfg.region)
        )
        files.save_tree(done, on_host(state.result))
    return files.load_tree(done)


def train_edit(
    cfg: Experiment,
    vae: dict,
    base: dict,
    shards: list[str],
    time_masks,
    folder: Path,
    start: dict | None = None,
) -> dict:
    """{"lora", "embed"}, from nothing or from `start`, an earlier one; also left as folder/lora.safetensors."""
    import jax

    from v2v.checkpoints import native as files
    from v2v.data import buckets as buckets_lib
    from v2v.data import loader
    from v2v.models import initialization
    from v2v.train import objectives

    buckets = [buckets_lib.Bucket(cfg.edit.batch, time_masks, (buckets_lib.Cached(shards),))]
    coded = cfg.model.condition.mask_code
    data = loader.edit_batches(buckets, _tokenizer(cfg), cfg.seed, cfg.data, coded)
    trained = start or initialization.init_adapter(jax.random.key(cfg.seed + 1), cfg.model, base["dit"])
    objective = objectives.edit(cfg.model, cfg.region, data.recipes)
    held, watches = [], []
    if cfg.log.held_out_every:
        held = loader.held_out_batches(buckets, _tokenizer(cfg), cfg.data, mask_code=coded)
    if cfg.log.preview_every:
        watches = [_previews(cfg, vae, base, folder)]
    state = fit_stage(
        cfg, cfg.edit, folder, trained, data, objective, base, held=held, watches=watches, work=True
    )
    adapter = on_host(state.result)
    files.save_tree(folder / "lora.safetensors", adapter, {"steps": str(int(state.step))})
    return adapter


def export(cfg: Experiment, vae: dict, base: dict, adapter: dict, folder: Path) -> Path:
    from v2v.checkpoints import native as files

    folder.mkdir(parents=True, exist_ok=True)
    files.save_config(folder / "config.json", cfg.model)
    _tokenizer(cfg).backend.save(str(folder / "tokenizer.json"))
    files.save_tree(folder / "vae.safetensors", {"vae": vae}, int8=True)
    files.save_tree(folder / "base.safetensors", base)
    files.save_tree(folder / "lora.safetensors", adapter)
    _say(f'exported to {folder}: v2v edit IN.mp4 "make it sepia" -o OUT.mp4 --model {folder}')
    return folder


def _previews(cfg: Experiment, vae: dict, base: dict, folder: Path):
    from data_synth.generate import make_pair
    from v2v.checkpoints.parameter_store import from_trees
    from v2v.pipeline.editor import EasyV2VEditor
    from v2v.pipeline.pretrained import Pretrained
    from v2v.train import callbacks

    m = cfg.model
    model = Pretrained(m, _tokenizer(cfg), from_trees(base | {"vae": vae}))
    made = (make_pair(PREVIEW_SEEDS + i, T=m.frames, H=m.height, W=m.width)[0] for i in range(1000))
    shown = list(itertools.islice((pair for pair in made if pair is not None), 4))
    return callbacks.previews(
        cfg.log.preview_every,
        lambda adapter: EasyV2VEditor(model.with_lora(adapter)),
        shown,
        folder / "previews",
    )


def _tokenizer(cfg: Experiment):
    from data_synth.language import grammar, rooms
    from v2v.models.text_encoder import word_tokenizer

    known = grammar.vocabulary() + (rooms.vocabulary() if cfg.words == "rooms" else [])
    return word_tokenizer(known, cfg.model.text.text_len, cfg.model.text.vocab)


def _clips(cfg: Experiment):
    import grain

    from data_synth.generate import make_clip

    m = cfg.model
    size = {"T": m.frames, "H": m.height, "W": m.width}

    class Render(grain.transforms.Map):
        def map(self, seed):
            return make_clip(int(seed) + CLIP_SEEDS, **size)[0]

    seeds = grain.MapDataset.range(10_000_000).seed(cfg.seed).shuffle().repeat()
    clips = (
        seeds.map(Render())
        .to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=32))
        .batch(cfg.vae.batch)
    )
    if cfg.workers <= 2:  # a thread keeps up with a CPU's steps
        return clips
    return clips.mp_prefetch(grain.multiprocessing.MultiprocessingOptions(num_workers=cfg.workers))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
