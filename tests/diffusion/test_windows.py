"""Windows over a long clip: they cover it, agree where they overlap, and don't care how they are batched."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from v2v.diffusion import solvers, windows
from v2v.diffusion.schedule import noise_levels
from v2v.errors import InputError

SHAPE = (2, 3, 1)  # y, x, c


def integrate(velocity, x, table, links):
    """As `solvers.integrate`, with windows that agree: (data, past of the next batch)."""

    def body(carry, row_and_past):
        row, past = row_and_past
        v, guess = windows.align_windows(velocity(carry[0], row.tau), carry[0], row.sigma, links, past)
        return solvers.advance_state(carry, row, v), guess

    (x, *_), past = jax.lax.scan(
        body, solvers.initial_state(x), (jax.tree.map(jnp.asarray, table), links.past)
    )
    return x, past


def walk(plan, velocity_of, batch, solver="unipc", steps=4):
    """Every window's data, float32 [w, t, *SHAPE]; `velocity_of(windows)` gives the velocity of a batch."""
    table = solvers.build_solver_table(solver, *noise_levels("linear", steps, 3.0))
    run = jax.jit(lambda w, x, links: integrate(velocity_of(w), x, table, links))
    past, out = np.zeros((len(table.sigma), 1, plan.frames, *SHAPE), np.float32), []
    for low in range(0, len(plan.starts), batch):
        chosen = np.minimum(np.arange(low, low + batch), len(plan.starts) - 1)
        x = np.stack([windows.window_noise(0, plan.starts[i], plan.frames, SHAPE) for i in chosen])
        x, past = run(chosen, x, plan.links(chosen, past))
        out += list(np.asarray(x))[: len(plan.starts) - low]
    return np.stack(out)


def disagreeing(chosen):
    """Window i believes that the data are i everywhere."""
    level = jnp.asarray(chosen, jnp.float32)[:, None, None, None, None]
    return lambda x, tau: (x - level) / tau


def mixing(chosen):
    """A velocity in which every frame of a window hears of the others, and each window differs."""
    level = jnp.asarray(chosen, jnp.float32)[:, None, None, None, None]
    return lambda x, tau: jnp.sin(3 * x + level) + 0.5 * x.mean(1, keepdims=True) * tau


@pytest.mark.parametrize("frames,overlap", [(1, None), (2, None), (3, None), (9, 2), (21, None), (9, 0)])
def test_a_plan_covers_every_group_and_shares_some(frames, overlap):
    for groups in (*range(12), 40, 57):
        plan = windows.plan_windows(groups, frames, overlap)
        seen = {start + p for start in plan.starts for p in range(1, frames)}
        assert frames == 1 or seen >= set(range(1, groups + 1))
        assert plan.starts[-1] == max(0, groups - (frames - 1))
        if len(plan.starts) > 1 and frames > 2:
            shared = overlap if overlap is not None else max(1, (frames - 1) // 4)
            assert all(frames - 1 - plan.shift(i) >= shared for i in range(1, len(plan.starts)))
            assert (plan.own(1)[2:] < 1).any() == (shared > 1) or len(plan.starts) == 2
            assert plan.own(1)[1] == 1  # its past is padding: nothing of a neighbour's fits there


def test_an_overlap_must_leave_progress():
    with pytest.raises(InputError, match="0 to 7 latent frames"):
        windows.plan_windows(20, 9, 8)


def test_the_same_frame_has_the_same_noise():
    a, b = (windows.window_noise(3, start, 6, SHAPE) for start in (0, 4))
    np.testing.assert_array_equal(a[5], b[1])
    assert not np.array_equal(a[4], b[0]) and abs(a.mean()) < 0.5 < a.std() < 1.5
    assert not np.array_equal(a, windows.window_noise(4, 0, 6, SHAPE))


@pytest.mark.parametrize("solver", ["euler", "heun", "unipc"])
def test_each_window_begins_as_its_neighbour_ends(solver):
    """Windows that insist on 0, 1, 2 … meet in even steps, frame by frame."""
    plan = windows.plan_windows(20, 9, 3)
    out = walk(plan, disagreeing, 2, solver)[..., 0, 0, 0]
    for i in range(1, len(plan.starts)):
        shared = 8 - plan.shift(i)
        own = np.arange(1, shared) / shared
        neighbour = out[i - 1, 2 + plan.shift(i) :]
        np.testing.assert_allclose(out[i, 1], i, atol=2e-5)
        np.testing.assert_allclose(out[i, 2 : shared + 1], own * i + (1 - own) * neighbour, atol=2e-5)
        np.testing.assert_allclose(out[i, shared + 1 :], i, atol=2e-5)


@pytest.mark.parametrize("solver", ["euler", "unipc"])
def test_batches_make_no_difference(solver):
    plan = windows.plan_windows(41, 7)
    one, two, all_at_once = (walk(plan, mixing, batch, solver) for batch in (1, 2, len(plan.starts)))
    np.testing.assert_allclose(one, two, atol=1e-6)
    np.testing.assert_allclose(one, all_at_once, atol=1e-6)
    assert one.std() > 0.1


def test_windows_hear_of_their_neighbours():
    plan = windows.plan_windows(14, 7, 2)
    apart = np.ones(plan.frames, np.float32)
    heard = walk(plan, mixing, 2)
    alone = walk(
        type("Alone", (windows.WindowPlan,), {"own": lambda self, i: apart})(plan.starts, 7), mixing, 2
    )
    np.testing.assert_array_equal(heard[0], alone[0])
    assert np.abs(heard[1] - alone[1]).max() > 1e-2


def test_a_window_alone_is_plain_sampling():
    plan, table = (
        windows.plan_windows(3, 7),
        solvers.build_solver_table("heun", *noise_levels("linear", 4, 3.0)),
    )
    x = jnp.asarray(windows.window_noise(0, 0, 7, SHAPE))[None]
    past = np.zeros((len(table.sigma), 1, 7, *SHAPE), np.float32)
    woven, _ = integrate(mixing(np.array([0])), x, table, plan.links(np.array([0]), past))
    np.testing.assert_array_equal(woven, solvers.integrate(mixing(np.array([0])), x, table))
