"""The edit stage alone, further: the packaged model, or any folder that experiments/embedded.py exported, its base left as it is.

    v2v train experiments/embedded_edit.py --workdir runs/edit                               goes on from the packaged model
    v2v train experiments/embedded_edit.py --workdir runs/one --model.condition.attention one_way

Stages: pairs → latents → edit → export. The loss gives the cells that an edit changes and those it leaves alone equal say
(`region` 1, before it was 3): what failed by the sentence alone was mostly the outside. The third leg of the shipped weights
(v2v/assets/embedded/README.md has hours and scores). Hardware: one CPU core, a minute for 55 steps.
"""

import dataclasses
from pathlib import Path

from v2v.config import OptimConfig
from v2v.train.config import Experiment, Stage

from . import embedded_more


def config() -> Experiment:
    return dataclasses.replace(
        embedded_more.config(),
        name="embedded_edit",
        seed=1_500_000,  # ten sets of pairs beyond those of experiments/embedded_more.py
        region=1.0,
        edit=Stage(
            steps=4600, batch=16,
            optim=OptimConfig(kind="muon", peak_lr=0.01, adam_lr=8e-4, warmup_steps=20, decay_steps=4580, b2=0.95, ema=0.99),
        ),
    )  # fmt: skip


def run(cfg: Experiment, workdir: Path) -> Path:
    """Run the stages that are not done yet; return the exported folder."""
    return embedded_more.continue_training(cfg, workdir, embedded_more.MIX)
