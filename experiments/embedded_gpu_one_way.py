"""embedded_gpu's editor with condition tokens that do not attend to noisy ones, so that sampling computes them once a clip.

v2v train embedded_gpu_one_way --workdir runs/gpu --sets runs/physics      (shares all but the edit stage)
"""

import dataclasses

from v2v.train.config import Experiment

from . import embedded_gpu

run = embedded_gpu.run


def config() -> Experiment:
    """Return embedded_gpu's configuration with one-way attention."""
    base = embedded_gpu.config()
    condition = dataclasses.replace(base.model.condition, attention="one_way")
    model = dataclasses.replace(base.model, condition=condition)
    return dataclasses.replace(base, name="embedded_gpu_one_way", model=model)
