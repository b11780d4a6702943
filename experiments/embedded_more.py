"""Base and adapter continued on new pairs, from the packaged model or from any folder that embedded exported.

    v2v train embedded_more --workdir runs/more                              continues from the packaged model
    v2v train embedded_more --workdir runs/more --weights runs/embedded/export

Stages: pairs, latents, base, edit, export. Autoencoder, vocabulary and sampling stay as they are; base and adapter continue from the
given ones, with a learning rate that warms up again. Half of the pairs are local edits, which are learnt last, and half of the base's
clips begin as the source and continue as the target. This is the second leg of the packaged weights; embedded_edit is the third
(v2v/assets/embedded/README.md has hours and scores). Hardware: two CPU cores, about two hours.
"""

import dataclasses
from pathlib import Path

from v2v.assets import EMBEDDED
from v2v.checkpoints import hub, native
from v2v.config import OptimConfig
from v2v.runtime import sharding
from v2v.train import stages
from v2v.train.config import Experiment, Stage
from v2v.train.stage import check_experiment

from . import scene_data

# The mix of edits.
MIX = ("local", "photometric")


def config() -> Experiment:
    """Return the configuration of the second leg of the packaged weights."""
    return Experiment(
        name="embedded_more",
        pairs=28_000,
        # Five sets of pairs beyond those of embedded.
        seed=500_000,
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
      mix: edits of the pairs.
      with_base: train the base too, not the adapter alone.

    Returns:
      the exported folder.
    """
    sharding.request_cpu_devices(cfg.cpu_devices)
    check_experiment(
        cfg, *(["base"] if with_base else []), "edit", reads=("weights", "sets"), workdir=workdir
    )
    folder = hub.resolve_model(cfg.weights or EMBEDDED)
    model = native.load_config(folder / "config.json")
    if cfg.model.condition.attention == "one_way":
        # The command line may request it, since the base serves both; a folder of a one_way model stays so.
        one_way = dataclasses.replace(model.condition, attention="one_way")
        model = dataclasses.replace(model, condition=one_way)
    cfg = dataclasses.replace(cfg, model=model)
    vae, base, adapter = (
        native.load_parameters(folder / f"{name}.safetensors") for name in ("vae", "base", "lora")
    )
    workdir.mkdir(parents=True, exist_ok=True)
    scene_data.render_pairs(cfg, workdir / "pairs", mix)
    scene_data.link_sets(cfg, workdir / "pairs")
    tokenizer = scene_data.build_tokenizer(cfg)
    latents = scene_data.encode_rendered(cfg, vae["vae"], workdir)
    if with_base:
        base = stages.train_base(cfg, tokenizer, base["text"], latents.shards, workdir / "base", start=base)
    adapter = stages.train_edit(
        cfg, tokenizer, vae["vae"], base, latents, workdir / "edit", start=adapter,
        preview_pairs=lambda: scene_data.preview_pairs(cfg),
    )  # fmt: skip
    return stages.export_model(cfg, tokenizer, vae["vae"], base, adapter, workdir / "export")
