"""Which noise levels sampling visits. flow_matching.py → **schedule** → solvers.py

A schedule is sigma_0 > … > sigma_{N-1} > 0 (0 itself is where the last step lands) and the flow time tau that the network is told
at each. With shift k every schedule is  k s / (1 + (k-1) s)  of an even grid s; they differ in the grid's ends and in tau:

    linear     1 … 0 without its end        tau = sigma: what training draws, and DiffSynth's sampler
    wan        0.999 … 0 without its end    tau = floor(1000 sigma) / 1000: the original, and diffusers up to 0.36
    diffusers  1 … 0.001 without its end    the same tau; sigma_0 = 1 - 1e-6 (diffusers from 0.37 on)
The last two both go by the name of UniPC with shift 5, differ by up to 4.3e-3 in sigma, and give different videos.
"""

from typing import Literal

import numpy as np

from v2v.errors import InputError

Schedule = Literal["linear", "wan", "diffusers"]
TRAIN_STEPS = 1000


def noise_levels(schedule: Schedule, steps: int, shift: float) -> tuple[np.ndarray, np.ndarray]:
    """(sigma, tau), float32 [steps] each, from noise to data.

    Raises:
      InputError: fewer than one step, a shift that isn't positive, an unknown schedule.
    """
    if steps < 1 or not shift > 0:
        raise InputError(f"sampling: expected steps >= 1 and shift > 0, got {steps=} {shift=}")
    ends = {"linear": (1.0, 0.0), "wan": (1 - 1 / TRAIN_STEPS, 0.0), "diffusers": (1.0, 1 / TRAIN_STEPS)}
    if schedule not in ends:
        raise InputError(f"sampling: schedule must be one of {', '.join(ends)}, got {schedule!r}")
    grid = np.linspace(*ends[schedule], steps + 1)[:-1]
    sigma = shift * grid / (1 + (shift - 1) * grid)
    if schedule == "linear":
        return sigma.astype(np.float32), sigma.astype(np.float32)
    if sigma[0] == 1:  # log(1 - sigma) must be finite
        sigma[0] -= 1e-6
    tau = np.floor(sigma * TRAIN_STEPS) / TRAIN_STEPS
    return sigma.astype(np.float32), tau.astype(np.float32)
