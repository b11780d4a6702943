"""Schedules: which noise levels sampling visits, and the flow time that the network is told at each.

A schedule is sigma_0 > … > sigma_{N-1} > 0 (the last step lands on 0) with a flow time tau for each. With shift k every schedule is
k s / (1 + (k-1) s) of an even grid s; they differ in the ends of the grid and in tau:

    linear     1 … 0 without its end        tau = sigma: what training draws, and DiffSynth's sampler
    wan        0.999 … 0 without its end    tau = floor(1000 sigma) / 1000: the original, and diffusers up to 0.36
    diffusers  1 … 0.001 without its end    the same tau; sigma_0 = 1 - 1e-6 (diffusers from 0.37 on)
    euler      1 … 0.001 shifted, with its end    tau = sigma: diffusers' FlowMatchEulerDiscreteScheduler, which so shifts its end twice
    diffsynth  1 … 0.003/1.002 without its end   tau = sigma: DiffSynth's grid for pictures, with which Kiwi-Edit was exported

Wan and diffusers are both known as UniPC with shift 5; they differ by up to 4.3e-3 in sigma and give different videos.

Models distilled to a few steps bring explicit levels instead (`FlowConfig.levels`), the same for every edit.
"""

from typing import get_args

import numpy as np

from v2v.config import FlowConfig, ScheduleName
from v2v.diffusion.flow_matching import shift_tau
from v2v.errors import InputError

SCHEDULES: tuple[str, ...] = get_args(ScheduleName)
# Flow times of the published training code are whole numbers up to this.
TRAIN_STEPS = 1000


def sampling_levels(flow: FlowConfig, steps: int, strength: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return (sigma, tau), float32 [n] each, that an edit visits.

    Args:
      flow: the model's; its explicit levels are visited where `steps` is their number, those of its schedule otherwise.
      steps: number of steps.
      strength: 0 to 1; below 1 the last part of the levels: `steps` of a schedule with more of them, and of explicit levels, which are the
        only ones that the model knows, the nearest whole number, at least one.

    Raises:
      InputError: as `noise_levels`.
    """
    if flow.levels and steps == len(flow.levels):
        timesteps, sigma = np.array(flow.levels[-count_steps(flow, steps, strength) :]).T
        return sigma.astype(np.float32), (timesteps / TRAIN_STEPS).astype(np.float32)
    sigma, tau = noise_levels(flow.schedule, round(steps / strength), flow.shift)
    return sigma[-steps:], tau[-steps:]


def count_steps(flow: FlowConfig, steps: int, strength: float) -> int:
    """Return the number of levels that an edit visits; arguments as those of `sampling_levels`."""
    return max(1, round(strength * steps)) if flow.levels and steps == len(flow.levels) else steps


def noise_levels(schedule: str, steps: int, shift: float) -> tuple[np.ndarray, np.ndarray]:
    """Return (sigma, tau), float32 [steps] each, from noise to data.

    Args:
      schedule: one of `SCHEDULES`.
      steps: number of noise levels.
      shift: shift towards noise; 1 for none.

    Raises:
      InputError: fewer than one step, a shift that isn't positive, an unknown schedule.
    """
    if steps < 1 or not shift > 0:
        raise InputError(f"sampling: expected steps >= 1 and shift > 0, got {steps=} {shift=}")
    if schedule not in SCHEDULES:
        raise InputError(f"sampling: schedule must be one of {', '.join(SCHEDULES)}, got {schedule!r}")
    if schedule == "euler":
        grid = np.linspace(1.0, float(shift_tau(np.array([1 / TRAIN_STEPS]), shift)[0]), steps)
    else:
        ends = {"linear": (1.0, 0.0), "wan": (1 - 1 / TRAIN_STEPS, 0.0), "diffusers": (1.0, 1 / TRAIN_STEPS)}
        ends["diffsynth"] = (1.0, 0.003 / 1.002)
        grid = np.linspace(*ends[schedule], steps + 1)[:-1]
    sigma = shift_tau(grid, shift)
    if schedule in ("linear", "euler", "diffsynth"):
        return sigma.astype(np.float32), sigma.astype(np.float32)
    if sigma[0] == 1:  # log(1 - sigma) must be finite
        sigma[0] -= 1e-6
    tau = np.floor(sigma * TRAIN_STEPS) / TRAIN_STEPS
    return sigma.astype(np.float32), tau.astype(np.float32)
