"""Schedules as published; solvers exact on straight paths and of their order on curved ones (UniPC itself: tests/parity)."""

from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from v2v.config import FlowConfig, SolverName
from v2v.diffusion import solvers, windows
from v2v.diffusion.schedule import count_steps, noise_levels, sampling_levels
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
    data, noise = (jnp.array(pair).reshape(1, 1, 1, 1, 2) for pair in ([0.3, -2.0], [1.5, 0.7]))
    table = build_solver_table(solver, *noise_levels("linear", steps, 3.0))
    # Solvers that draw noise leave the straight line, so the velocity is that towards the data from any place.
    out = integrate(lambda x, tau: (x - data) / tau, noise, table, windows.noise_seeds(0, 0, 1)[None])
    # UniPC starts a hair below 1, so its path is off by that hair times the slope
    np.testing.assert_allclose(out, data, atol=5e-6)


@pytest.mark.parametrize("solver, order", [("euler", 1), ("heun", 2), ("unipc", 2)])
def test_order_of_convergence(solver, order):
    """Between two inner noise levels (the jump to 0 is first order for all), halving the step gains 2^order."""
    x = jnp.linspace(-1, 1, 9)

    def solve(name, n):
        steps = build_solver_table(name, np.linspace(0.9, 0.4, n + 1))
        jump = len(build_solver_table(name, [0.4]).sigma)  # rows of the step to 0
        return integrate(curved, x, jax.tree.map(lambda leaf: leaf[:-jump], steps))

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


def test_renoise_jumps_and_adds_fresh_noise_of_the_next_level():
    """Exact on a known data point; without noise a step is (1 - s+) m; repeatable by seed."""
    levels = np.float32([1.0, 0.75, 0.25])
    steps = build_solver_table("renoise", levels)
    np.testing.assert_array_equal(steps.predict, [[0, 0.25, 0], [0, 0.75, 0], [0, 1, 0]])
    np.testing.assert_array_equal(steps.noise, [0.75, 0.25, 0])
    data = jnp.full((2, 3, 4, 5, 6), 0.3)
    seeds = np.stack([windows.noise_seeds(seed, 0, 3) for seed in (5, 6)])

    def velocity(x, tau):
        return (x - data) / tau

    x = jax.random.normal(jax.random.key(0), data.shape)
    np.testing.assert_allclose(integrate(velocity, x, steps, seeds), data, atol=1e-6)
    state, row = solvers.initial_state(x), jax.tree.map(lambda leaf: jnp.asarray(leaf)[0], steps)
    after = solvers.advance_state(state, row, velocity(x, 1.0), jnp.zeros_like(x)).x
    np.testing.assert_allclose(after, 0.25 * data, atol=1e-6)
    with pytest.raises(InputError, match="needs a seed for each latent frame"):
        integrate(velocity, x, steps)


def test_renoise_of_a_linear_velocity_in_closed_form():
    """m = k x: every step multiplies by (1 - s+) k and adds s+ e, so the result is a known sum of the noise that was drawn."""
    levels, k, shape = (1.0, 0.9375, 0.625), 0.8, (1, 2, 3, 2, 4)
    seeds = windows.noise_seeds(3, 0, 2)[None]
    x = jax.random.normal(jax.random.key(1), shape)
    sigma_of = {round(level, 4): level for level in levels}
    first, second = (np.asarray(solvers.draw_noise(seeds, i, shape)) for i in range(2))
    result = integrate(lambda x, tau: (1 - k) * x / tau, x, build_solver_table("renoise", levels), seeds)
    a, b = sigma_of[0.9375], sigma_of[0.625]
    expected = k * ((1 - b) * k * ((1 - a) * k * np.asarray(x) + a * first) + b * second)
    np.testing.assert_allclose(result, expected, atol=2e-6)


def test_fresh_noise_is_the_cells_own():
    """Standard normal; equal in all windows, tiles and batches that show a cell; another row, frame, seed or cell has other noise."""
    shape = (1, 5, 6, 8, 16)
    whole = np.asarray(solvers.draw_noise(windows.noise_seeds(7, 2, 5)[None], 1, shape))
    assert abs(whole.mean()) < 0.05 and whole.std() == pytest.approx(1, abs=0.02)
    later = solvers.draw_noise(windows.noise_seeds(7, 4, 5)[None], 1, shape)
    np.testing.assert_array_equal(later[:, 1:3], whole[:, 3:5])
    assert not np.array_equal(later[:, 0], whole[:, 2])  # a window's first frame is a single picture
    tile = solvers.draw_noise(windows.noise_seeds(7, 2, 5, (2, 3))[None], 1, (1, 5, 4, 5, 16))
    np.testing.assert_array_equal(tile, whole[:, :, 2:, 3:])
    pair = np.stack([windows.noise_seeds(seed, 2, 5) for seed in (8, 7)])
    both = jax.jit(solvers.draw_noise, static_argnums=2)(pair, 1, (2, *shape[1:]))
    np.testing.assert_allclose(both[1], whole[0], atol=1e-6)
    frames = whole.reshape(5, -1)
    others = [both[0].reshape(5, -1), np.asarray(solvers.draw_noise(pair[1:], 0, shape)).reshape(5, -1)]
    for one in np.concatenate([frames, *others])[1:]:
        assert abs(np.corrcoef(frames[0], one)[0, 1]) < 0.15
    cells = whole.reshape(-1, 16)
    assert len(np.unique(cells, axis=0)) == len(cells)


FLOW = FlowConfig(shift=5.0, steps=3, levels=((1000, 1.0), (757, 0.7568), (522, 0.5217)))


@pytest.mark.parametrize(
    "steps, strength, sigmas, times",
    [
        (3, 1.0, [1, 0.7568, 0.5217], [1, 0.757, 0.522]),
        (3, 0.8, [0.7568, 0.5217], [0.757, 0.522]),
        (3, 0.1, [0.5217], [0.522]),
        (4, 1.0, [1, 0.9375, 0.8333, 0.625], [1, 0.9375, 0.8333, 0.625]),
        (2, 0.5, [0.8333, 0.625], [0.8333, 0.625]),
    ],
)
def test_explicit_levels(steps, strength, sigmas, times):
    """They are visited by as many steps as they are; other numbers of steps take the schedule's."""
    sigma, tau = sampling_levels(FLOW, steps, strength)
    np.testing.assert_allclose(sigma, sigmas, atol=5e-5)
    np.testing.assert_allclose(tau, times, atol=5e-5)
    assert count_steps(FLOW, steps, strength) == len(sigmas)


@pytest.mark.parametrize(
    "levels, steps, words",
    [
        (((1000, 1.0), (750, 0.75)), 3, "one for each of 3 steps, got 2"),
        (((750, 0.75), (1000, 1.0)), 2, "fall from at most"),
        (((1000, 1.2),), 1, "fall from at most"),
        (((1000, 1.0), (0, 0.0)), 2, "to above 0"),
        (((1000, 1.0, 3),), 1, "expected pairs"),
        (((1000, float("nan")),), 1, "fall from at most"),
    ],
)
def test_bad_levels(levels, steps, words):
    with pytest.raises(ValueError, match=words):
        FlowConfig(steps=steps, levels=levels)
