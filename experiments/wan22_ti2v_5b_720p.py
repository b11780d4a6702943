"""Second stage of the paper's recipe: 81x704x1280, from the adapter of the first; it "converges within a few training steps".

    v2v train experiments/wan22_ti2v_5b_720p.py --workdir runs/5b-720p --weights DIR --sets pairs-720p --start runs/5b/lora.safetensors

Hardware: 8 chips of 32 GB (`v2v plan experiments/wan22_ti2v_5b_720p.py --topology v6e:2x4`). Scores: none yet.
"""

import dataclasses

from experiments import wan22_ti2v_5b
from v2v.train.experiment import Experiment

run = wan22_ti2v_5b.run


def config() -> Experiment:
    base = wan22_ti2v_5b.config()
    model = dataclasses.replace(base.model, height=704, width=1280)
    stage = dataclasses.replace(base.edit, steps=2_000)
    return dataclasses.replace(base, name="wan22_ti2v_5b_720p", model=model, edit=stage)
