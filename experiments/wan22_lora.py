"""An adapter from a few clips of your own on Wan2.2-TI2V-5B: rank 32, batch 4, 2,000 steps, held-out loss and previews on.

    v2v pairs check my.csv                                   what of your pairs is used, cut and left out, and why
    v2v train wan22_lora --sets my.csv --model Wan-AI/Wan2.2-TI2V-5B-Diffusers --workdir runs/mine
    v2v edit in.mp4 "..." -o out.mp4 --model Wan-AI/Wan2.2-TI2V-5B-Diffusers --lora runs/mine/lora-best.safetensors

my.csv has the columns source, target and instruction, and as you like mask, reference, start, end, weight, split. Clips train at their own
shape and length up to 81 frames of 480x832 pixels, resampled to 24 frames a second; pictures too. One pair in ten is held out, or those
whose split is held_out; WORKDIR/lora-best.safetensors is the adapter with the least loss on them, WORKDIR/edit/previews shows them edited.
Differences from the paper's recipe (wan22_ti2v_5b), chosen here for tens to hundreds of pairs and not measured: rank 32 with alpha 32,
batch 4, no references (--data.reference 0.5 with them), sizes of the clips' own, in which fewer clips than a batch repeat.

Presets of --memory, predicted by shapes for one clip of 81x480x832 at a time, batch 4 (tools/checks/training_memory.py --write):
           of GiB device  host s/step  remat, weights, moments
    12        8.9    6.6  17.8   43.9  offload_outputs, bfloat16 on the host, float32
    16       11.8    6.6  17.8   43.9  offload_outputs, bfloat16 on the host, float32
    24       17.7   17.4   0.0   51.1  full, int8 on the device, float32
    40       29.7   23.8   0.0   23.2  outputs, bfloat16 on the device, float32
    80       59.4   44.0   0.0   6.71  dots, bfloat16 on the device, float32
    v5e      15.8    6.6  17.8   36.7  offload_outputs, bfloat16 on the host, float32
    v6e      31.2   23.8   0.0   7.88  outputs, bfloat16 on the device, float32
    v5p      95.7   68.9   0.0   13.5  none, bfloat16 on the device, float32
"""

import dataclasses

from v2v.config import LoRAConfig
from v2v.train.config import Experiment

from . import wan22_ti2v_5b

run = wan22_ti2v_5b.run


def config() -> Experiment:
    """Return the configuration for few pairs."""
    base = wan22_ti2v_5b.config()
    return dataclasses.replace(
        base,
        name="wan22_lora",
        model=dataclasses.replace(base.model, lora=LoRAConfig(rank=32, alpha=32)),
        data=dataclasses.replace(base.data, reference=0.0, held_out=0.1, own_sizes=True),
        log=dataclasses.replace(base.log, every=10, held_out_every=100, preview_every=500, preview_steps=12),
        edit=dataclasses.replace(base.edit, steps=2_000, batch=4),
        save_every=100,
    )
