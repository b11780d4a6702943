"""EasyV2V's recipe on Wan2.1-T2V-14B: 81x480x832 at 16 frames a second, LoRA of rank 256, AdamW 1e-4, batch 32.

    v2v train wan21_t2v_14b --workdir runs/14b --weights Wan-AI/Wan2.1-T2V-14B-Diffusers --sets pairs
    v2v plan  wan21_t2v_14b --topology v5p:4x4x4           memory and time beforehand, without the hardware

The recipe is that of wan22_ti2v_5b. The paper trained nothing on this backbone. Scores: none yet.
"""

from v2v.config import wan21_t2v_14b
from v2v.train.config import Experiment

from . import wan21_t2v_1_3b

run = wan21_t2v_1_3b.run


def config() -> Experiment:
    """Return the recipe with this backbone."""
    return wan21_t2v_1_3b.on_backbone(wan21_t2v_14b())
