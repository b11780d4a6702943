"""The straight path, the loss on it, and a sampler that must land where a known velocity leads."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from v2v.config import FlowConfig
from v2v.diffusion import flow_matching
from v2v.diffusion.schedule import noise_levels
from v2v.diffusion.solvers import build_solver_table, integrate


def test_path_ends_at_data_and_noise_and_velocity_is_their_difference():
    x0, eps = jnp.ones((2, 1, 1, 1, 3)), jnp.full((2, 1, 1, 1, 3), 5.0)
    x, v = flow_matching.interpolate(x0, eps, jnp.asarray([0.0, 1.0]))
    np.testing.assert_array_equal(x[0], x0[0])
    np.testing.assert_array_equal(x[1], eps[1])
    np.testing.assert_array_equal(v, eps - x0)


def test_sampled_times_lie_in_range_lean_to_noise_and_cover_every_part():
    tau = flow_matching.sample_tau(jax.random.key(0), 512, FlowConfig(shift=3.0))
    assert 0 <= float(tau.min()) and float(tau.max()) <= 1
    u = tau / (3 - 2 * tau)  # the shift undone must be even
    assert np.histogram(u, 8, (0, 1))[0].tolist() == [64] * 8 or np.ptp(np.histogram(u, 8, (0, 1))[0]) <= 2
    normal = flow_matching.sample_tau(jax.random.key(0), 512, FlowConfig(shift=1.0, sampling="logit_normal"))
    assert abs(float(normal.mean()) - 0.5) < 0.05


def test_loss_weighs_the_region_and_leaves_out_clean_frames():
    wrong = jnp.zeros((1, 2, 1, 2, 4)).at[0, 1, 0, 0].set(2.0)  # squared error 4 in one cell of four
    zero = jnp.zeros_like(wrong)
    np.testing.assert_allclose(flow_matching.velocity_loss(wrong, zero), 1.0)
    area = jnp.zeros((1, 2, 1, 2)).at[0, 1, 0, 0].set(1.0)
    weighed = 1 + 3 / (1 / 4)  # the cell is a quarter of the clip
    np.testing.assert_allclose(
        flow_matching.velocity_loss(wrong, zero, area, region=3.0), 4 * weighed / (weighed + 3), rtol=1e-6
    )
    one = flow_matching.velocity_loss(wrong, zero, jnp.ones_like(area), region=3.0)
    np.testing.assert_allclose(one, 1.0)  # an edit of everything is the plain mean
    np.testing.assert_allclose(
        flow_matching.velocity_loss(wrong, zero, frame_mask=jnp.asarray([[0.0, 1.0]])), 2.0
    )


def test_sampler_lands_on_the_data_when_the_velocity_is_exact():
    x0, eps = jax.random.normal(jax.random.key(0), (2, 1, 2, 2, 2, 3))
    for steps in (1, 4):
        for solver in ("euler", "heun"):
            out = integrate(
                lambda x, tau: (x - x0) / tau,
                eps,
                build_solver_table(solver, *noise_levels("linear", steps, 3.0)),
            )
            np.testing.assert_allclose(out, x0, atol=1e-5)


@pytest.mark.parametrize("sampling", ["shifted_uniform", "logit_normal"])
@pytest.mark.parametrize("span", [(0.875, 1.0), (0.0, 0.875)])
def test_times_of_one_of_two_transformers_stay_in_its_range(sampling, span):
    """They are those of the whole distribution that lie there: their median is that of what is drawn else."""
    cfg = FlowConfig(shift=5.0, sampling=sampling)
    key = jax.random.key(0)
    tau = flow_matching.sample_tau(key, 4096, dataclasses.replace(cfg, tau_range=span))
    assert span[0] <= float(tau.min()) and float(tau.max()) <= span[1]
    whole = np.asarray(flow_matching.sample_tau(key, 1 << 15, cfg))
    inside = whole[(whole >= span[0]) & (whole <= span[1])]
    assert abs(float(np.median(inside)) - float(jnp.median(tau))) < 0.02
