"""The detail network of the packaged model: what an edit does to texture, at full size.

    v2v train embedded_detail --workdir runs/detail --pictures PHOTOS --cutouts CUTOUTS

One stage, detail, on photographs edited by the exact operators at 576 lines; it needs no other part of the model. Put the stage's
detail.safetensors into the model's folder. Material: that of embedded_film. Hardware: one CPU core.
"""

from pathlib import Path

from v2v.config import DetailConfig, OptimConfig
from v2v.errors import InputError
from v2v.runtime import sharding
from v2v.train import stages
from v2v.train.config import Experiment, Stage
from v2v.train.stage import check_experiment

from . import scene_data

NETWORK = DetailConfig()


def config() -> Experiment:
    """Return the configuration."""
    return Experiment(
        name="embedded_detail",
        cpu_devices=1,
        detail=Stage(
            steps=20_000, batch=4,
            optim=OptimConfig(kind="adamw", peak_lr=1e-3, warmup_steps=200, decay_steps=19_800, b2=0.99, ema=0.999),
        ),
    )  # fmt: skip


def run(cfg: Experiment, workdir: Path) -> Path:
    """Run the stage, or what is left of it; return its folder."""
    sharding.request_cpu_devices(cfg.cpu_devices)
    check_experiment(cfg, "detail", reads=("pictures", "cutouts"), workdir=workdir)
    if not cfg.pictures:
        raise InputError(
            "embedded_detail: expected photographs to learn from; name their folder with --pictures"
        )
    workdir.mkdir(parents=True, exist_ok=True)
    stages.train_detail(cfg, NETWORK, scene_data.detail_batches(cfg, NETWORK), workdir / "detail")
    return workdir / "detail"
