"""A model trained further: the packaged one, or any folder that experiments/embedded.py exported, on pairs it hasn't seen.

    v2v train experiments/embedded_more.py --workdir runs/more                              goes on from the packaged model
    v2v train experiments/embedded_more.py --workdir runs/more --weights runs/embedded/export

Stages: pairs → latents → base → edit → export. VAE, vocabulary and sampling stay as they are; base and adapter begin where the given
ones ended, with a learning rate that warms up again. Half of the pairs are local edits, which are learnt last, and half of the
base's clips turn. This was the second leg of the shipped weights; experiments/embedded_edit.py is the third
(v2v/assets/embedded/README.md has hours and scores). Hardware: two CPU cores, about two hours.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from experiments import embedded
from v2v.config import OptimConfig
from v2v.train.config import Experiment, Stage
from v2v.train.stage import check

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
    """Do what is left to do; returns the exported folder."""
    return go_on(cfg, workdir, embedded.train_base)


def go_on(cfg: Experiment, workdir: Path, train_base: Callable, mix: tuple[str, ...] = MIX) -> Path:
    """The stages on what a folder holds. `train_base` is called as embedded.train_base and gives the base for the edit stage."""
    from v2v.assets import EMBEDDED
    from v2v.checkpoints import native as files
    from v2v.runtime import sharding

    sharding.cpu_devices(cfg.cpu_devices)
    check(cfg, "base", "edit", reads=("weights",))
    folder = Path(cfg.weights or EMBEDDED)
    model = files.load_config(folder / "config.json")
    if (
        cfg.model.condition.attention == "one_way"
    ):  # asked for: the base serves either; a one_way folder stays so
        one_way = dataclasses.replace(model.condition, attention="one_way")
        model = dataclasses.replace(model, condition=one_way)
    cfg = dataclasses.replace(cfg, model=model)
    vae, base, adapter = (files.load_tree(folder / f"{name}.safetensors") for name in ("vae", "base", "lora"))
    workdir.mkdir(parents=True, exist_ok=True)
    embedded.render_pairs(cfg, workdir / "pairs", mix)
    shards, time_masks = embedded.cache_latents(cfg, vae["vae"], workdir)
    base = train_base(cfg, base["text"], shards, workdir / "base", start=base)
    adapter = embedded.train_edit(cfg, vae["vae"], base, shards, time_masks, workdir / "edit", start=adapter)
    return embedded.export(cfg, vae["vae"], base, adapter, workdir / "export")
