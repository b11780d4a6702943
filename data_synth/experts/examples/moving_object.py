"""An example expert of role mask without a network: the object that moves by itself before a fixed camera (`operators.moving_objects`).

    v2v synth --out pairs --pairs 8 --recipes removal,insertion --clips CLIPS --expert data_synth/experts/examples/moving_object.toml

Copy moving_object.toml beside a copy of this file and change `noun` where you know what moves in your clips.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data_synth.experts import wire
from data_synth.operators.moving_objects import find_moving_object


def find(jobs: Sequence[wire.Job]) -> list[np.ndarray]:
    """Return one mask video, uint8 [T, H, W, 3], for each job; a black one where nothing moves alone."""
    masks = [find_moving_object(job.clip) for job in jobs]
    return [
        np.zeros_like(job.clip)
        if mask is None
        else np.repeat(np.where(mask, 255, 0).astype(np.uint8)[..., None], 3, -1)
        for job, mask in zip(jobs, masks, strict=True)
    ]
