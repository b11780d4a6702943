"""EasyV2V's recipe on Wan2.2-T2V-A14B: an adapter for each of its two transformers, trained one after the other.

    v2v train wan22_a14b --transformer high --workdir runs/high --latents LATENTS --weights Wan-AI/Wan2.2-T2V-A14B-Diffusers --sets pairs
    v2v train wan22_a14b --transformer low  --workdir runs/low  --latents LATENTS --weights Wan-AI/Wan2.2-T2V-A14B-Diffusers --sets pairs
    v2v edit in.mp4 "make it winter" -o out.mp4 --model Wan-AI/Wan2.2-T2V-A14B-Diffusers
        --lora-high runs/high/lora.safetensors --lora-low runs/low/lora.safetensors
    v2v plan wan22_a14b --topology v5p:4x4x4               memory and time beforehand, without the hardware

Each sees the flow times that sampling gives it: the high-noise one those from 0.875 on, the low-noise one those below. The recipe is else
that of wan22_ti2v_5b. The paper trained nothing on this backbone. Scores: none yet.
"""

from v2v.config import wan22_a14b
from v2v.train.config import Experiment

from . import wan21_t2v_1_3b

run = wan21_t2v_1_3b.run


def config() -> Experiment:
    """Return the recipe with this backbone."""
    return wan21_t2v_1_3b.on_backbone(wan22_a14b())
