"""A model trained further: the packaged one, or any folder that experiments/embedded.py exported, on pairs it hasn't seen.

    v2v train experiments/embedded_more.py --workdir runs/more                              goes on from the packaged model
    v2v train experiments/embedded_more.py --workdir runs/more --weights runs/embedded/export

Stages: pairs → latents → base → edit → export. VAE, vocabulary and sampling stay as they are; base and adapter begin where the given
ones ended, with a learning rate that warms up again. Half of the pairs are local edits, which are learnt last, and half of the
base's clips turn. This was the second leg of the shipped weights; experiments/embedded_edit.py is the third
(v2v/assets/embedded/README.md has hours and scores). Hardware: two CPU cores, about two hours.
"""

import dataclasses
from pathlib import Path

from v2v.assets import EMBEDDED
from v2v.checkpoints import native
from v2v.config import OptimConfig
from v2v.runtime import sharding
from v2v.train import stages
from v2v.train.config import Experiment, Stage
from v2v.train.stage import check_experiment

from . import scene_data

MIX = ("local", "photometric")


def config() -> Experiment:
    return Experiment(
        name="embedded_more",
        pairs=28_000,
        seed=500_000,  # five sets of pairs beyond those of experiments/embedded.py
        base=Stage(
            steps=1700, batch=32,
            optim=OptimConfig(kind="muon", peak_lr=0.008, adam_lr=8e-4, warmup_steps=30, decay_steps=1670, ema=0.99),
        ),
        edit=Stage(
            steps=2700, batch=16,
            optim=OptimConfig(kind="muon", peak_lr=0.01, adam_lr=8e-4, warmup_steps=20, decay_steps=2680, b2=0.95, ema=0.99),
        ),
    )  # fmt: skip


def run(cfg: Experiment, workdir: Path) -> Path:
    """Run the stages that are not done yet; return the exported folder."""
    return continue_training(cfg, workdir, MIX, with_base=True)


def continue_training(cfg: Experiment, workdir: Path, mix: tuple[str, ...], with_base: bool = False) -> Path:
    """Continue the training of an exported folder, `cfg.weights` or the packaged model.

    Args:
      cfg: the experiment.
      workdir: folder of the run.
      mix: the edits of its pairs.
      with_base: train the base further too, not the adapter alone.
    """
    sharding.request_cpu_devices(cfg.cpu_devices)
    check_experiment(cfg, *(["base"] if with_base else []), "edit", reads=("weights",))
    folder = Path(cfg.weights or EMBEDDED)
    model = native.load_config(folder / "config.json")
    if cfg.model.condition.attention == "one_way":
        # Asked for on the command line: the base serves either; a one_way folder stays so.
        one_way = dataclasses.replace(model.condition, attention="one_way")
        model = dataclasses.replace(model, condition=one_way)
    cfg = dataclasses.replace(cfg, model=model)
    vae, base, adapter = (
        native.load_parameters(folder / f"{name}.safetensors") for name in ("vae", "base", "lora")
    )
    workdir.mkdir(parents=True, exist_ok=True)
    scene_data.render_pairs(cfg, workdir / "pairs", mix)
    tokenizer = scene_data.build_tokenizer(cfg)
    latents = scene_data.encode_rendered(cfg, vae["vae"], workdir)
    if with_base:
        base = stages.train_base(cfg, tokenizer, base["text"], latents.shards, workdir / "base", start=base)
    adapter = stages.train_edit(
        cfg, tokenizer, vae["vae"], base, latents, workdir / "edit", start=adapter,
        preview_pairs=lambda: scene_data.preview_pairs(cfg),
    )  # fmt: skip
    return stages.export_model(cfg, tokenizer, vae["vae"], base, adapter, workdir / "export")
