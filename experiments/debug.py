"""Every stage of embedded, tiny, for the integration test; its model is not meant for editing.

v2v train debug --workdir runs/debug          about two minutes on two CPU cores
"""

import dataclasses

from v2v.config import debug
from v2v.train.config import Experiment, Stage

from . import embedded

run = embedded.run


def config() -> Experiment:
    """Return embedded's configuration with the smallest model and four steps a stage."""
    base = embedded.config()

    def shorten(stage: Stage) -> Stage:
        optim = dataclasses.replace(stage.optim, warmup_steps=2, decay_steps=0)
        return dataclasses.replace(stage, steps=4, batch=4, optim=optim)

    return dataclasses.replace(
        base,
        name="debug",
        model=debug(),
        pairs=160,
        workers=1,
        save_every=2,
        vae=shorten(base.vae),
        text=shorten(base.text),
        base=shorten(base.base),
        edit=shorten(base.edit),
    )
