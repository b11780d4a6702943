"""Everything once, tiny: what the integration test trains. Not a model anyone should edit with.

v2v train experiments/debug.py --workdir runs/debug          about two minutes on two CPU cores
"""

import dataclasses

from v2v.config import debug
from v2v.train.config import Experiment

from . import embedded

run = embedded.run


def config() -> Experiment:
    base = embedded.config()

    def short(stage):
        optim = dataclasses.replace(stage.optim, warmup_steps=2, decay_steps=0)
        return dataclasses.replace(stage, steps=4, batch=4, optim=optim)

    stages = {name: short(getattr(base, name)) for name in ("vae", "text", "base", "edit")}
    return dataclasses.replace(
        base, name="debug", model=debug(), pairs=160, workers=1, save_every=2, **stages
    )
