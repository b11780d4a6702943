"""The edit stage alone, continued from the packaged model or from any folder that embedded exported; the base stays as it is.

    v2v train embedded_edit --workdir runs/edit                               continues from the packaged model
    v2v train embedded_edit --workdir runs/one --model.condition.attention one_way
    v2v train embedded_edit --workdir runs/own --sets data/own                adds pairs of your own, 9x64x64, to the rendered ones

Stages: pairs, latents, edit, export. Cells that an edit changes and those it does not weigh about the same in the loss (`region` 1, in
earlier legs 3), because edits told by the sentence alone failed mostly outside of the changed cells. This is the third leg of the packaged weights
(v2v/assets/embedded/README.md has hours and scores). Hardware: one CPU core, a minute for 55 steps.
"""

import dataclasses
from pathlib import Path

from v2v.config import OptimConfig
from v2v.train.config import Experiment, Stage

from . import embedded_more


def config() -> Experiment:
    """Return embedded_more's configuration with other pairs, another weighting and a stage of its own."""
    return dataclasses.replace(
        embedded_more.config(),
        name="embedded_edit",
        # Ten sets of pairs beyond those of embedded_more.
        seed=1_500_000,
        region=1.0,
        edit=Stage(
            steps=4600, batch=16,
            optim=OptimConfig(kind="muon", peak_lr=0.01, adam_lr=8e-4, warmup_steps=20, decay_steps=4580, b2=0.95, ema=0.99),
        ),
    )  # fmt: skip


def run(cfg: Experiment, workdir: Path) -> Path:
    """Run the stages that are not done yet; return the exported folder."""
    return embedded_more.continue_training(cfg, workdir, embedded_more.MIX)
