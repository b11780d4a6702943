"""The packaged model, trained from scratch: rendered scenes to autoencoder, text encoder, base and adapter.

    v2v train embedded --workdir runs/embedded          (every stage resumes by itself)

Stages, each in a folder of its own in the workdir:
  pairs     data_synth renders procedural pairs into TFDS (array_record)
  vae       the causal autoencoder learns to reconstruct scenes; its latent statistics become part of the model
  latents   source, target, mask and reference of every pair are encoded once
  text      the text encoder learns words and the names of edits from sentences alone
  base      transformer and text encoder learn text-to-video and image-to-video; all weights are trained
  edit      the base is frozen; LoRA and the embeddings of source, mask and reference learn the edits
  export    safetensors (the autoencoder as int8), vocabulary and configuration: a folder that `--model DIR` reads
Hardware, hours and scores of the packaged weights: v2v/assets/embedded/README.md.
"""

import dataclasses
from pathlib import Path

from v2v.config import OptimConfig
from v2v.runtime import sharding
from v2v.train import stages
from v2v.train.config import Experiment, Stage
from v2v.train.stage import check_experiment

from . import scene_data


def config() -> Experiment:
    """Return the configuration of the first leg of the packaged weights."""
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
        # Muon reached a loss of 0.43 after 150 steps, AdamW 0.52; one run each, rates 0.01 and 1.5e-3.
        edit=Stage(
            steps=7700, batch=16,
            optim=OptimConfig(kind="muon", peak_lr=0.012, adam_lr=1e-3, warmup_steps=20, decay_steps=7680, b2=0.95, ema=0.99),
        ),
    )  # fmt: skip


def run(cfg: Experiment, workdir: Path) -> Path:
    """Run the stages that are not done yet; return the exported folder."""
    sharding.request_cpu_devices(cfg.cpu_devices)
    check_experiment(cfg, "vae", "text", "base", "edit", workdir=workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    scene_data.render_pairs(cfg, workdir / "pairs")
    vae = stages.train_autoencoder(cfg, scene_data.clips(cfg), workdir / "vae")
    cfg = dataclasses.replace(cfg, model=vae.config)
    tokenizer = scene_data.build_tokenizer(cfg)
    latents = scene_data.encode_rendered(cfg, vae.params, workdir)
    text = stages.train_text(cfg, tokenizer, latents.shards, workdir / "text")
    base = stages.train_base(cfg, tokenizer, text, latents.shards, workdir / "base")
    adapter = stages.train_edit(
        cfg, tokenizer, vae.params, base, latents, workdir / "edit",
        preview_pairs=lambda: scene_data.preview_pairs(cfg),
    )  # fmt: skip
    return stages.export_model(cfg, tokenizer, vae.params, base, adapter, workdir / "export")
