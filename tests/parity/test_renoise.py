"""Renoise and its noise levels against diffusers' schedulers with the same network and the same noise; needs the extra [parity]."""

import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

from tests.parity import few_step, tiny
from v2v.diffusion.schedule import noise_levels
from v2v.diffusion.solvers import build_solver_table, draw_noise, integrate

STEPS = 4


@pytest.mark.parametrize("name", ["FlowMatchLCMScheduler", "FlowMatchEulerDiscreteScheduler"])
def test_renoise(monkeypatch, name):
    """The second with `stochastic_sampling`, which is the same step."""
    options = {"stochastic_sampling": True} if "Euler" in name else {}
    theirs = getattr(diffusers, name)(shift=5.0, **options)
    theirs.set_timesteps(STEPS)
    sigma, tau = noise_levels("euler", STEPS, 5.0)
    assert np.abs(theirs.sigmas[:-1].numpy() - sigma).max() <= 1.2e-7
    assert np.abs(theirs.timesteps.numpy() - 1000 * tau).max() <= 1e-3

    x = few_step.noise()
    rows = iter(range(STEPS))

    def draw(shape, **_):
        return torch.from_numpy(np.array(draw_noise(few_step.seeds(), next(rows), shape)))

    monkeypatch.setattr(f"{type(theirs).__module__}.randn_tensor", draw)
    state = torch.from_numpy(x)
    for t in theirs.timesteps:
        velocity = (state - torch.tanh(1.5 * state + 0.0003 * t)) / (0.1 + 0.001 * t)
        state = theirs.step(velocity, t, state, return_dict=False)[0]
    ours = integrate(tiny.seek, jnp.asarray(x), build_solver_table("renoise", sigma, tau), few_step.seeds())
    assert np.abs(ours - state.numpy()).max() <= 1e-5


@pytest.mark.parametrize("steps", [1, 4, 10])
def test_heun(steps):
    """diffusers' Heun visits the levels of its Euler scheduler."""
    theirs = diffusers.FlowMatchHeunDiscreteScheduler(shift=5.0)
    theirs.set_timesteps(steps)
    sigma, tau = noise_levels("euler", steps, 5.0)
    state = torch.from_numpy(few_step.noise())
    for t in theirs.timesteps:
        velocity = (state - torch.tanh(1.5 * state + 0.0003 * t)) / (0.1 + 0.001 * t)
        state = theirs.step(velocity, t, state, return_dict=False)[0]
    ours = integrate(tiny.seek, jnp.asarray(few_step.noise()), build_solver_table("heun", sigma, tau))
    assert np.abs(ours - state.numpy()).max() <= 1e-5
