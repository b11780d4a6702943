"""The next packaged model, trained from scratch on photographs as well as rendered scenes.

    v2v train embedded_film --workdir runs/film --pictures PHOTOS --cutouts CUTOUTS      (every stage resumes by itself)

Stages, each in a folder of its own in the workdir:
  vae       is taken from embedded_film_vae beside this file; --autoencoder "" trains it again: every fourth clip is a rendered scene, the others pan and zoom over photographs, half of them with cut-outs that move
  pairs     looks and weather on photographs under camera moves, edits of cut-outs on them, edits of rendered scenes
  latents   source, target, mask and reference of every pair are encoded once
  text      the text encoder learns words and the names of edits from sentences alone; its vocabulary is that of the pairs
  base      transformer and text encoder learn text-to-video and image-to-video; all weights are trained
  edit      the base is frozen; LoRA and the embeddings of source, mask and reference learn the edits
  export    the folder that `--model DIR` reads
Latents have 4x8x8 pixels a cell in place of 4x16x16; the transformer joins 2x2 cells to a token, so a clip still has 48 tokens a stream.

Material: 286 photographs and 423 named cut-outs of Debian packages under open licenses (backgrounds of GNOME, MATE, Plasma and UKUI, GCompris'
photographs, Tux Paint's stamps), laid out by `tools/film_material.py`, which says where they come from; 27 more photographs are held out. The
autoencoder saw 312 photographs and 785 cut-outs of the same packages, letters and signs among them. Hardware: one CPU core. The other stages are not
trained to their end yet: the packaged weights are still those of `embedded_halves`.

A base that starts from the packaged editor's transformer, adapter merged, with fresh ends for the new latents, learns no faster than one from
nothing: loss 2.23 and 1.68 at 50 and 100 steps of 32 clips, against 2.16 and 1.66. So it starts from nothing. On one of two busy cores 14,000 pairs
are rendered in six minutes, encoded in about fifteen (10 to 28 a second), the text encoder takes 0.6 to 1.8 s a step and the base about 2 s.

A first run of all stages on that core: 14,000 pairs, text 900 steps, base 4,000 steps of 32 (loss 1.10), edit 3,600 steps of 16 in 1.1 hours (loss 0.58).
By the sentence it succeeds at 36 % of 36 pairs of rendered scenes; the packaged model, whose looks are exact, at 50 %, and it refuses the other half.
Of 3 pairs a kind it got 2 right of night, warmer, darker, winter, removal and palettes, 1 of black and white, none of negative, insertion, replacement,
recoloring and backgrounds; PSNR 19.7 dB. Its legs saw 128,000 and 58,000 clips, so steps are the next lever.

The autoencoder, 9,000 steps in 2.6 hours, the learning rate of the first 3,423 of them falling towards step 12,000. PSNR in dB of 9 frames at 64x64
that no training saw, beside the packaged model's: Big Buck Bunny 26.9 (21.1), vtest.avi 26.3 (19.8), held-out photographs panned 26.0 (24.2), 29.5
(25.7), 23.2 (18.6), scikit-image's astronaut 21.5 (15.7) and coffee 24.2 (18.4).
"""

import dataclasses
from pathlib import Path

from v2v.config import ModelConfig, OptimConfig, VAEConfig, embedded
from v2v.errors import InputError
from v2v.runtime import sharding
from v2v.train import stages
from v2v.train.config import Experiment, Stage
from v2v.train.stage import check_experiment

from . import scene_data

# A linear code of 16 channels, fitted to such clips, reaches 25.1 dB on film, 24 channels 26.2, 32 channels 27.4 (Big Buck Bunny at 64x64).
Z_DIM = 24
# Words of the instructions and captions, names of cut-outs among them.
VOCABULARY = 2048
# The mix of edits: looks on photographs, then edits of things, which rendered scenes show with shadows and cut-outs with textures.
MIX = (
    "look-on-clip=6", "looks=8", "weather=1", "local=5", "photometric=2", "cutout-insert=1", "cutout-remove=1.5",
    "cutout-replace=1", "cutout-recolour=1.5",
)  # fmt: skip


def model() -> ModelConfig:
    """Return the configuration of the next packaged model: the same classes and tokens, a finer autoencoder, more words."""
    base = embedded()
    return dataclasses.replace(
        base,
        name="embedded_film",
        dit=dataclasses.replace(base.dit, in_channels=Z_DIM, out_channels=Z_DIM, patch=(1, 2, 2)),
        vae=VAEConfig(
            base_dim=32, decoder_base_dim=32, z_dim=Z_DIM, dim_mult=(1, 2, 2), num_res_blocks=0,
            temporal_downsample=(True, True), patch=2,
        ),
        text=dataclasses.replace(base.text, vocab=VOCABULARY),
    )  # fmt: skip


def config() -> Experiment:
    """Return the configuration of the first leg."""
    return Experiment(
        name="embedded_film",
        model=model(),
        cpu_devices=1,
        autoencoder=str(Path(__file__).with_name("embedded_film_vae")),
        vae=Stage(
            steps=9000, batch=4,
            optim=OptimConfig(kind="muon", peak_lr=0.02, adam_lr=1.5e-3, warmup_steps=100, decay_steps=8900, b2=0.95, ema=0.999),
        ),
        text=Stage(
            steps=1500, batch=256,
            optim=OptimConfig(kind="adamw", peak_lr=3e-3, warmup_steps=20, decay_steps=1480, ema=0.98),
        ),
        base=Stage(
            steps=6000, batch=32,
            optim=OptimConfig(kind="muon", peak_lr=0.01, adam_lr=1e-3, warmup_steps=30, decay_steps=5970, ema=0.99),
        ),
        edit=Stage(
            steps=16_000, batch=16,
            optim=OptimConfig(kind="muon", peak_lr=0.012, adam_lr=1e-3, warmup_steps=20, decay_steps=15_980, b2=0.95, ema=0.99),
        ),
    )  # fmt: skip


def run(cfg: Experiment, workdir: Path) -> Path:
    """Run the stages that are not done yet; return the exported folder."""
    sharding.request_cpu_devices(cfg.cpu_devices)
    check_experiment(cfg, "vae", "text", "base", "edit", reads=("pictures", "cutouts"), workdir=workdir)
    for name, what in (
        ("pictures", "photographs"),
        ("cutouts", "pictures of things with a transparent background"),
    ):
        if not getattr(cfg, name):
            raise InputError(f"embedded_film: expected {what} to learn from; name their folder with --{name}")
    workdir.mkdir(parents=True, exist_ok=True)
    vae = stages.train_autoencoder(cfg, scene_data.clips(cfg), workdir / "vae")
    cfg = dataclasses.replace(cfg, model=vae.config)
    scene_data.render_pairs(cfg, workdir / "pairs", MIX)
    latents = scene_data.encode_rendered(cfg, vae.params, workdir)
    tokenizer = scene_data.build_text_tokenizer(cfg, latents.shards)
    text = stages.train_text(cfg, tokenizer, latents.shards, workdir / "text")
    base = stages.train_base(cfg, tokenizer, text, latents.shards, workdir / "base")
    adapter = stages.train_edit(
        cfg, tokenizer, vae.params, base, latents, workdir / "edit",
        preview_pairs=lambda: scene_data.preview_pairs(cfg, edits=MIX),
    )  # fmt: skip
    return stages.export_model(cfg, tokenizer, vae.params, base, adapter, workdir / "export")
