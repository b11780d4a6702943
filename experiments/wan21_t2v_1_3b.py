"""EasyV2V's recipe on Wan2.1-T2V-1.3B: 81x480x832 at 16 frames a second, LoRA of rank 256, AdamW 1e-4, batch 32.

    v2v train wan21_t2v_1_3b --workdir runs/1.3b --weights Wan-AI/Wan2.1-T2V-1.3B-Diffusers --sets pairs
    v2v plan  wan21_t2v_1_3b --topology v5e:2x4            memory and time beforehand, without the hardware

The recipe is that of wan22_ti2v_5b; its autoencoder halves height and width once less, so that a clip has four times the tokens. The
paper trained nothing on this backbone. Scores: none yet.
"""

import dataclasses

from v2v.config import ModelConfig, wan21_t2v_1_3b
from v2v.train.config import Experiment

from . import wan22_ti2v_5b

run = wan22_ti2v_5b.run


def config() -> Experiment:
    """Return the recipe with this backbone."""
    return on_backbone(wan21_t2v_1_3b())


def on_backbone(model: ModelConfig) -> Experiment:
    """Return the paper's recipe with another backbone, its shift and its frame rate."""
    base = wan22_ti2v_5b.config()
    model = dataclasses.replace(model, dit=dataclasses.replace(model.dit, remat="full"), lora=base.model.lora)
    data = dataclasses.replace(base.data, fps=model.fps)
    return dataclasses.replace(base, name=model.name, model=model, data=data)
