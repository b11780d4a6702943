"""The edit stage alone, continued with edits of one half of the frame and mostly without masks.

    v2v train embedded_halves --workdir runs/halves          continues from the packaged model

As embedded_edit, but a third of the pairs are photometric edits of one half (`v2v synth --recipes halves`), which the model took for
edits of the whole frame, and three in four examples show no mask, so that the sentence alone says what changes. This is the fourth leg
of the packaged weights, in two parts (v2v/assets/embedded/README.md has hours and scores). Hardware: one CPU core, a minute for 60 steps.
"""

import dataclasses
from pathlib import Path

from v2v.config import OptimConfig
from v2v.train.config import Experiment

from . import embedded_edit, embedded_more

MIX = (*embedded_more.MIX, "halves")


def config() -> Experiment:
    """Return embedded_edit's configuration with other pairs, fewer masks and a lower learning rate."""
    base = embedded_edit.config()
    optim = OptimConfig(
        kind="muon", peak_lr=0.006, adam_lr=5e-4, warmup_steps=20, decay_steps=5480, b2=0.95, ema=0.99
    )
    return dataclasses.replace(
        base,
        name="embedded_halves",
        seed=2_500_000,
        data=dataclasses.replace(base.data, drop_mask=0.75),
        edit=dataclasses.replace(base.edit, steps=5500, optim=optim),
    )


def run(cfg: Experiment, workdir: Path) -> Path:
    """Run the stages that are not done yet; return the exported folder."""
    return embedded_more.continue_training(cfg, workdir, MIX)
