"""Our UniPC tables against diffusers' scheduler, stepped with the same model outputs; skipped without the extra [parity]."""

import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

from tests.parity import tiny
from v2v.diffusion.schedule import noise_levels
from v2v.diffusion.solvers import build_solver_table, integrate


def scheduler(shift=5.0):
    return diffusers.UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, num_train_timesteps=1000, flow_shift=shift,
        solver_order=2, solver_type="bh2", predict_x0=True, lower_order_final=True, final_sigmas_type="zero",
    )  # fmt: skip


@pytest.mark.parametrize("schedule", ["wan", "diffusers"])
@pytest.mark.parametrize("steps", [50, 40, 20, 4, 2, 1])
def test_unipc(schedule, steps):
    theirs = scheduler()
    grid = np.linspace(0.999, 0, steps + 1)[:-1] if schedule == "wan" else None
    theirs.set_timesteps(*(() if grid is not None else (steps,)), sigmas=grid)
    sigma, tau = noise_levels(schedule, steps, 5.0)
    assert np.abs(theirs.sigmas[:-1].numpy() - sigma).max() <= 1.2e-7
    assert (theirs.timesteps.numpy() == np.rint(tau * 1000)).all()

    x = np.random.default_rng(1).standard_normal((1, 3, 4, 6, 5)).astype(np.float32)
    state = torch.from_numpy(x)
    for t in theirs.timesteps:
        velocity = (state - torch.tanh(1.5 * state + 0.0003 * t)) / (0.1 + 0.001 * t)
        state = theirs.step(velocity, t, state, return_dict=False)[0]
    ours = integrate(tiny.seek, jnp.asarray(x), build_solver_table("unipc", sigma, tau))
    assert np.abs(ours - state.numpy()).max() <= 1e-6
