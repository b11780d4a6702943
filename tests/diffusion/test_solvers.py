"""Schedules as published; solvers exact on straight paths and of their order on curved ones (UniPC itself: tests/parity)."""

from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from v2v.config import SolverName
from v2v.diffusion import solvers
from v2v.diffusion.schedule import noise_levels
from v2v.diffusion.solvers import SOLVERS, build_solver_table, integrate
from v2v.errors import InputError


def curved(x, tau):
    """A smooth velocity that depends on both arguments."""
    return jnp.sin(3 * x + 2 * tau) + 0.5 * x * tau


def test_configurations_name_the_solvers_that_exist():
    assert set(get_args(SolverName)) == set(SOLVERS)


def test_published_timesteps():
    def steps(schedule, n):
        return np.rint(noise_levels(schedule, n, 5.0)[1] * 1000).astype(int).tolist()

    assert steps("wan", 50)[:4] == [999, 995, 991, 987]
    assert steps("wan", 50)[-3:] == [241, 172, 92]
    assert steps("diffusers", 50)[-3:] == [244, 175, 96]
    assert sum(a != b for a, b in zip(steps("wan", 50), steps("diffusers", 50), strict=True)) == 27
    wan, diffusers = noise_levels("wan", 50, 5.0)[0], noise_levels("diffusers", 50, 5.0)[0]
    assert wan[0] == pytest.approx(0.9998, abs=1e-6) and diffusers[0] == pytest.approx(1 - 1e-6, abs=1e-7)
    assert np.abs(wan - diffusers).max() == pytest.approx(4.27e-3, abs=1e-5)


def test_the_published_euler_scheduler():
    """FlowMatchEulerDiscreteScheduler(shift=5).set_timesteps(4).sigmas of diffusers 0.37: its smallest level is shifted twice."""
    sigma, tau = noise_levels("euler", 4, 5.0)
    smallest = 5 * 0.001 / (1 + 4 * 0.001)
    grid = np.array([1, 1 - (1 - smallest) / 3, 1 - 2 * (1 - smallest) / 3, smallest])
    np.testing.assert_allclose(sigma, 5 * grid / (1 + 4 * grid), rtol=1e-6)
    np.testing.assert_array_equal(sigma, tau)
    for steps, difference in ((50, 0.068), (20, 0.18), (4, 0.60)):
        linear = noise_levels("linear", steps, 5.0)[0]
        assert np.abs(noise_levels("euler", steps, 5.0)[0] - linear).max() == pytest.approx(
            difference, abs=5e-3
        )


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_exact_on_a_straight_path(solver, steps):
    data, noise = jnp.array([0.3, -2.0]), jnp.array([1.5, 0.7])
    out = integrate(
        lambda x, tau: noise - data, noise, build_solver_table(solver, *noise_levels("linear", steps, 3.0))
    )
    # UniPC starts a hair below 1, so its path is off by that hair times the slope
    np.testing.assert_allclose(out, data, atol=5e-6)


@pytest.mark.parametrize("solver, order", [("euler", 1), ("heun", 2), ("unipc", 2)])
def test_order_of_convergence(solver, order):
    """Between two inner noise levels (the jump to 0 is first order for all), halving the step gains 2^order."""
    x = jnp.linspace(-1, 1, 9)

    def solve(name, n):
        steps = build_solver_table(name, np.linspace(0.9, 0.4, n + 1))
        return integrate(curved, x, jax.tree.map(lambda leaf: leaf[:-1], steps))

    truth = solve("heun", 2048)
    coarse, fine = (float(np.abs(solve(solver, n) - truth).max()) for n in (16, 32))
    assert coarse / fine > 0.8 * 2**order


def test_table_is_an_argument_of_a_jitted_sampler():
    x = jnp.ones((1, 2))
    sample = jax.jit(lambda x, steps: integrate(curved, x, steps))
    euler = sample(x, build_solver_table("euler", *noise_levels("linear", 6, 3.0)))
    unipc = sample(x, build_solver_table("unipc", *noise_levels("wan", 6, 3.0)))
    assert sample._cache_size() == 1 and not np.allclose(euler, unipc)


@pytest.mark.parametrize(
    "call",
    [
        lambda: noise_levels("linear", 0, 3.0),
        lambda: noise_levels("linear", 4, 0.0),
        lambda: noise_levels("karras", 4, 3.0),
        lambda: build_solver_table("euler", [0.5, 0.9]),
        lambda: build_solver_table("euler", [0.5, 0.0]),
        lambda: build_solver_table("rk4", [0.9, 0.5]),
    ],
)
def test_bad_input_is_named(call):
    with pytest.raises(InputError, match="sampling: "):
        call()


class Renoise:
    """Jumps to the network's prediction of the data, then adds fresh noise of the next level: draws noise, and brings its own levels."""

    def table(self, sigma, tau):
        levels = np.float32([0.9, 0.5])
        following = np.append(levels[1:], 0).astype(np.float32)
        keep, n = np.eye(1, 5, dtype=np.float32), len(levels)
        predict = np.stack([0 * levels, 1 - following, 0 * levels], -1)
        return solvers.SolverTable(levels, levels, keep.repeat(n, 0), predict, following)


def test_a_solver_may_draw_noise_and_bring_its_own_timesteps(monkeypatch):
    """Exact on a known data point, repeatable by seed, and a job's noise does not depend on its neighbours."""
    monkeypatch.setitem(solvers.SOLVERS, "renoise", Renoise())
    steps = solvers.build_solver_table("renoise", np.float32([1.0, 0.75, 0.25]))
    assert len(steps.sigma) == 2
    x, data = jnp.ones((3, 4)), jnp.full((3, 4), 0.3)

    def velocity(x, tau):
        return (x - data) / tau

    out = solvers.integrate(velocity, x, steps, jnp.uint32([5, 6, 7]))
    np.testing.assert_allclose(out, data, atol=1e-6)
    draws = solvers.draw_noise(jnp.uint32([5, 6, 7]), 1, (3, 4))
    np.testing.assert_array_equal(solvers.draw_noise(jnp.uint32([7]), 1, (1, 4))[0], draws[2])
    assert abs(float(draws.mean())) < 1 and float(draws.std()) > 0.3
    with pytest.raises(InputError, match="needs a seed for each job"):
        solvers.integrate(velocity, x, steps)
