"""Second stage of the paper's recipe: 81x704x1280, from the adapter of the first; it "converges within a few training steps".

    v2v train wan22_ti2v_5b_720p --workdir runs/5b-720p --weights DIR --sets pairs-720p --start runs/5b/lora.safetensors

Hardware: 8 chips of 32 GB. Predicted (`v2v plan wan22_ti2v_5b_720p --topology v6e:2x4 --edit.batch 8`, 40 % of the
chip's rate): one clip a chip takes 26.1 of 31.25 GiB and 10.9 s a step, 6 hours for the 2,000 steps; the batch of 32, as four
micro-batches (--edit.micro 4), four times that. The memory of a token (0.66 MB, of which 0.37 are the residual stream that full remat
keeps of each layer, float32) leaves no room for 121 frames on one chip: a clip split over two (--model.frames 121 --mesh.fsdp 4
--mesh.seq 2 --edit.micro 2) takes 23.7 GiB and 21.4 s; 64 chips of v5p:4x4x4 (--mesh.fsdp 8 --mesh.seq 8) take 7.2 of 95.7 GiB, 5.4 s.
Scores: none yet.
"""

import dataclasses

from v2v.train.config import Experiment

from . import wan22_ti2v_5b

run = wan22_ti2v_5b.run


def config() -> Experiment:
    """Return the paper's second stage."""
    base = wan22_ti2v_5b.config()
    model = dataclasses.replace(base.model, height=704, width=1280)
    stage = dataclasses.replace(base.edit, steps=2_000)
    return dataclasses.replace(base, name="wan22_ti2v_5b_720p", model=model, edit=stage)
