"""The autoencoder of the next packaged model, trained on photographs as well as rendered scenes.

    v2v train embedded_film --workdir runs/film --pictures PHOTOS --cutouts CUTOUTS

One stage, vae: every fourth clip is a rendered scene, the others pan and zoom over photographs, half of them with cut-outs that move. Latents
have 4x8x8 pixels a cell in place of 4x16x16; the transformer joins 2x2 cells to a token, so a clip still has 48 tokens a stream. Base and edit
stages follow once the looks and words that they learn are fixed; base and adapter of the packaged weights don't fit this autoencoder.

Material under open licenses, of Debian 12: photographs of lomiri-wallpapers-16.04, lomiri-wallpapers-20.04, mate-backgrounds and
plasma-workspace-wallpapers, and the WEBP and JPEG pictures inside the .rcc files of gcompris-qt-data, without those on black or white (312
for training, every tenth of 346 kept for judging); cut-outs of tuxpaint-stamps-default (785 with alpha). So far: 507 of 12,000 steps, PSNR
21.4 dB on the training mix, 6 seconds a step on a crowded core. No weights of it are kept.
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


def model() -> ModelConfig:
    """Return the configuration of the next packaged model: the same classes and tokens, a finer autoencoder."""
    base = embedded()
    return dataclasses.replace(
        base,
        name="embedded_film",
        dit=dataclasses.replace(base.dit, in_channels=Z_DIM, out_channels=Z_DIM, patch=(1, 2, 2)),
        vae=VAEConfig(
            base_dim=32, decoder_base_dim=32, z_dim=Z_DIM, dim_mult=(1, 2, 2), num_res_blocks=0,
            temporal_downsample=(True, True), patch=2,
        ),
    )  # fmt: skip


def config() -> Experiment:
    """Return the configuration of the autoencoder's run."""
    return Experiment(
        name="embedded_film",
        model=model(),
        cpu_devices=1,
        vae=Stage(
            steps=12_000, batch=4,
            optim=OptimConfig(kind="muon", peak_lr=0.02, adam_lr=1.5e-3, warmup_steps=100, decay_steps=11_900, b2=0.95, ema=0.999),
        ),
    )  # fmt: skip


def run(cfg: Experiment, workdir: Path) -> Path:
    """Run the stage, or what is left of it; return its folder."""
    sharding.request_cpu_devices(cfg.cpu_devices)
    check_experiment(cfg, "vae", reads=("pictures", "cutouts"), workdir=workdir)
    if not cfg.pictures:
        raise InputError(
            "embedded_film: expected photographs to learn from; name their folder with --pictures"
        )
    workdir.mkdir(parents=True, exist_ok=True)
    stages.train_autoencoder(cfg, scene_data.clips(cfg), workdir / "vae")
    return workdir / "vae"
