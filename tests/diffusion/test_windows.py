"""Windows over a long clip: they cover it, are blended where they overlap, and don't depend on how they are batched."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from v2v.diffusion import solvers, windows
from v2v.diffusion.schedule import noise_levels
from v2v.errors import InputError

SHAPE = (2, 3, 1)  # y, x, c


def integrate(velocity, x, table, links):
    """Integrate as `solvers.integrate` does, blending windows; return the data and the past of the next batch."""

    def body(state, row_and_past):
        row, past = row_and_past
        v, prediction = windows.blend_windows(velocity(state[0], row.tau), state[0], row.sigma, links, past)
        return solvers.advance_state(state, row, v), prediction

    (x, *_), past = jax.lax.scan(
        body, solvers.initial_state(x), (jax.tree.map(jnp.asarray, table), links.past)
    )
    return x, past


def sample_windows(plan, velocity_of, batch, solver="unipc", steps=4):
    """Return every window's data, float32 [w, t, *SHAPE]; `velocity_of(windows)` gives the velocity of a batch."""
    table = solvers.build_solver_table(solver, *noise_levels("linear", steps, 3.0))
    run = jax.jit(lambda w, x, links: integrate(velocity_of(w), x, table, links))
    past, out = np.zeros((len(table.sigma), 1, plan.frames, *SHAPE), np.float32), []
    for low in range(0, len(plan.starts), batch):
        indices = np.minimum(np.arange(low, low + batch), len(plan.starts) - 1)
        x = np.stack([windows.window_noise(0, plan.starts[i], plan.frames, SHAPE) for i in indices])
        x, past = run(indices, x, plan.links(indices, past))
        out += list(np.asarray(x))[: len(plan.starts) - low]
    return np.stack(out)


def disagreeing(indices):
    """Return a velocity by which window i predicts i everywhere."""
    level = jnp.asarray(indices, jnp.float32)[:, None, None, None, None]
    return lambda x, tau: (x - level) / tau


def mixing(indices):
    """Return a velocity in which every frame of a window depends on the others, and each window differs."""
    level = jnp.asarray(indices, jnp.float32)[:, None, None, None, None]
    return lambda x, tau: jnp.sin(3 * x + level) + 0.5 * x.mean(1, keepdims=True) * tau


@pytest.mark.parametrize("frames,overlap", [(1, None), (2, None), (3, None), (9, 2), (21, None), (9, 0)])
def test_a_plan_covers_every_group_and_shares_some(frames, overlap):
    for groups in (*range(12), 40, 57):
        plan = windows.plan_windows(groups, frames, overlap)
        groups_shown = {start + p for start in plan.starts for p in range(1, frames)}
        assert frames == 1 or groups_shown >= set(range(1, groups + 1))
        assert plan.starts[-1] == max(0, groups - (frames - 1))
        if len(plan.starts) > 1 and frames > 2:
            shared = overlap if overlap is not None else max(1, (frames - 1) // 4)
            assert all(frames - 1 - plan.shift(i) >= shared for i in range(1, len(plan.starts)))
            assert (plan.weight(1)[2:] < 1).any() == (shared > 1) or len(plan.starts) == 2
            assert plan.weight(1)[1] == 1  # its past is padding, unlike the neighbor's


@pytest.mark.parametrize(
    "frame_count,window,groups,stride", [(1, 9, 0, 4), (10, 9, 3, 4), (41, 9, 10, 4), (5, 1, 4, 1)]
)
def test_a_plan_counts_in_pictures_of_a_clip(frame_count, window, groups, stride):
    """A last group that is not full counts as one; windows of one picture move by pictures."""
    plan, expected = (
        windows.WindowPlan.of(frame_count, window, 4),
        windows.plan_windows(groups, (window - 1) // 4 + 1),
    )
    assert plan.starts.tolist() == expected.starts.tolist()
    assert (plan.frames, plan.stride) == (expected.frames, stride)
    assert (plan.starts[-1] * stride + window) >= frame_count


def test_padding_of_a_batch_is_linked_to_nothing():
    plan, indices = windows.plan_windows(14, 7, 2), np.array([1, 2, 2, 2])
    assert windows.unpadded_rows(indices).tolist() == [0, 1]
    links = plan.links(indices)
    assert links.weight.dtype == np.float32 and links.shift.dtype == np.int32 and links.past is None
    np.testing.assert_array_equal(links.weight[:2], [plan.weight(1), plan.weight(2)])
    assert (links.weight[:2] < 1).any() and (links.weight[2:] == 1).all()


def test_links_of_several_clips_are_one_batch():
    plan = windows.plan_windows(14, 7, 2)
    past = np.ones((4, 1, 7, *SHAPE), np.float32)
    first, second = plan.links(np.array([0, 1])), plan.links(np.array([1, 2]), past)
    both = windows.concatenate_links([first, second])
    assert both.clips == 2 and both.weight.shape == (4, 7) and both.shift.tolist() == [0, 4, 4, 4]
    assert both.past.shape == (4, 2, 7, *SHAPE)
    assert (both.past[:, 0] == 0).all() and (both.past[:, 1] == 1).all()
    assert windows.concatenate_links([first, first]).past is None


def test_an_overlap_must_leave_progress():
    with pytest.raises(InputError, match="0 to 7 latent frames"):
        windows.plan_windows(20, 9, 8)


def test_the_same_frame_has_the_same_noise():
    a, b = (windows.window_noise(3, start, 6, SHAPE) for start in (0, 4))
    np.testing.assert_array_equal(a[5], b[1])
    assert not np.array_equal(a[4], b[0]) and abs(a.mean()) < 0.5 < a.std() < 1.5
    assert not np.array_equal(a, windows.window_noise(4, 0, 6, SHAPE))


@pytest.mark.parametrize("solver", ["euler", "heun", "unipc"])
def test_each_window_begins_as_its_neighbor_ends(solver):
    """Windows that predict 0, 1, 2 … meet in even steps, frame by frame."""
    plan = windows.plan_windows(20, 9, 3)
    out = sample_windows(plan, disagreeing, 2, solver)[..., 0, 0, 0]
    for i in range(1, len(plan.starts)):
        shared = 8 - plan.shift(i)
        weight = np.arange(1, shared) / shared
        neighbor = out[i - 1, 2 + plan.shift(i) :]
        np.testing.assert_allclose(out[i, 1], i, atol=2e-5)
        np.testing.assert_allclose(out[i, 2 : shared + 1], weight * i + (1 - weight) * neighbor, atol=2e-5)
        np.testing.assert_allclose(out[i, shared + 1 :], i, atol=2e-5)


@pytest.mark.parametrize("solver", ["euler", "unipc"])
def test_batches_make_no_difference(solver):
    plan = windows.plan_windows(41, 7)
    one, two, all_at_once = (
        sample_windows(plan, mixing, batch, solver) for batch in (1, 2, len(plan.starts))
    )
    np.testing.assert_allclose(one, two, atol=1e-6)
    np.testing.assert_allclose(one, all_at_once, atol=1e-6)
    assert one.std() > 0.1


def test_windows_depend_on_their_neighbors():
    plan = windows.plan_windows(14, 7, 2)
    ones = np.ones(plan.frames, np.float32)
    blended = sample_windows(plan, mixing, 2)
    separate = sample_windows(
        type("Unblended", (windows.WindowPlan,), {"weight": lambda self, i: ones})(plan.starts, 7), mixing, 2
    )
    np.testing.assert_array_equal(blended[0], separate[0])
    assert np.abs(blended[1] - separate[1]).max() > 1e-2


def test_a_window_alone_is_plain_sampling():
    plan, table = (
        windows.plan_windows(3, 7),
        solvers.build_solver_table("heun", *noise_levels("linear", 4, 3.0)),
    )
    x = jnp.asarray(windows.window_noise(0, 0, 7, SHAPE))[None]
    past = np.zeros((len(table.sigma), 1, 7, *SHAPE), np.float32)
    blended, _ = integrate(mixing(np.array([0])), x, table, plan.links(np.array([0]), past))
    np.testing.assert_array_equal(blended, solvers.integrate(mixing(np.array([0])), x, table))
