"""EasyV2V on Wan2.2-TI2V-5B, first stage of the paper's recipe: 81x480x832, LoRA of rank 256, AdamW 1e-4, global batch 32.

    v2v synth --out pairs --pairs 100000 --frames 81 --height 480 --width 832 --recipes local,photometric,control ...
    v2v train wan22_ti2v_5b --workdir runs/5b --weights Wan2.2-TI2V-5B-Diffusers --sets pairs
    v2v train wan22_ti2v_5b_720p --workdir runs/5b-720p ... --start runs/5b/lora.safetensors
    v2v plan  wan22_ti2v_5b --topology v5e:2x4            memory and time beforehand, without the hardware

Stages, each resuming by itself:
  latents   every process encodes its share of source, target, mask, reference and sentences, once
  edit      the base is frozen and sharded over all chips; LoRA and the new embeddings learn. Ends with WORKDIR/lora.safetensors
Stated by the paper: frozen backbone, rank 256 on attention and FFN, zero-initialised new embeddings, AdamW with constant 1e-4,
half of the references dropped, half of the pairs with a transition, 40,000 steps in the ablations. Not stated and set here:
batch 32 (one clip on each of its 32 GPUs, derived from its cost table), tau by shifted uniform with shift 5, clip by group at 1,
weight decay 0.01, text dropped one time in ten, the mask every other time, no weight on the edited region.
Other sizes beside the model's: --data.sizes 81 480 832 49 480 832 1 480 832 (pictures are clips of one frame), each in batches of as
many tokens; --data.mixture 0.7 0.3 draws from two --sets by weight. Used and skipped pairs are listed before anything is encoded.
Predicted, not measured (`v2v plan wan22_ti2v_5b --topology v5e:2x4 --edit.batch 8`, 40 % of the chip's rate):
one clip a chip takes 13.0 of 15.75 GiB and 13.6 s a step on v5e 2x4; the batch of 32, as four micro-batches (--edit.micro 4), four
times that: 54 s a step, 25 days for the 40,000 steps on these 8 chips.
"""

import dataclasses

from v2v.config import DataConfig, FlowConfig, LoRAConfig, MeshConfig, OptimConfig, wan22_ti2v_5b
from v2v.train.config import Experiment, Stage
from v2v.train.fine_tuning import fine_tune

run = fine_tune


def config() -> Experiment:
    """Return the paper's first stage."""
    model = wan22_ti2v_5b()
    model = dataclasses.replace(
        model,
        dit=dataclasses.replace(model.dit, remat="full"),
        lora=LoRAConfig(rank=256),
        flow=FlowConfig(shift=5.0, steps=50, guidance=3.0),
    )
    return Experiment(
        name="wan22_ti2v_5b",
        model=model,
        region=0.0,
        data=DataConfig(drop_text=0.1, drop_mask=0.5, reference=0.5, transition=0.5),
        mesh=MeshConfig(data=0, fsdp=-1),
        edit=Stage(
            steps=40_000,
            batch=32,
            optim=OptimConfig(kind="adamw", peak_lr=1e-4, warmup_steps=100, weight_decay=0.01, b2=0.999, ema=0.999),
        ),
        save_every=500,
    )  # fmt: skip
