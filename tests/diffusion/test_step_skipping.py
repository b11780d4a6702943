"""Which rows are skipped, and what a user is told of the cost."""

import numpy as np
import pytest

from v2v.diffusion import step_skipping
from v2v.errors import InputError


def test_rows_to_skip_follow_the_ratios():
    assert step_skipping.select_evaluated_steps(np.full(10, 0.99), 0.0).all()
    fresh = step_skipping.select_evaluated_steps(np.full(20, 0.99), 0.05, longest=3)
    assert fresh[:4].all() and fresh[-1] and 0.3 < fresh.mean() < 0.8
    assert "---" not in "".join("x" if f else "-" for f in fresh)  # 1 % + 2 % fit in 5 %, 3 % more don't
    assert step_skipping.select_evaluated_steps(np.full(20, 0.5), 0.05).all()
    assert step_skipping.select_evaluated_steps(np.full(20, 1.0), 0.05, longest=2).tolist()[4:7] == [
        False,
        False,
        True,
    ]


def test_the_first_batch_is_exact_and_tells_the_cost_of_the_others():
    calls = []

    def sampler(variables, noise, text, null, shown, steps, guidance, fresh, **options):
        calls.append(fresh)
        fresh = np.ones(steps, bool) if fresh is True else fresh
        return noise + 0.1 * (~fresh).sum() * np.sign(noise), np.full(steps, 0.99)

    run, noise = step_skipping.StepSkipper(0.05), np.array([1.0, -1.0])
    first = run(sampler, {}, noise, None, None, {}, 20, 2.0)
    np.testing.assert_array_equal(first, noise)
    gone = int((~step_skipping.select_evaluated_steps(np.full(20, 0.99), 0.05)).sum())
    assert run.report["skipped"] == pytest.approx(gone / 20)
    assert run.report["skip_snr"] == pytest.approx(20 * np.log10(1 / (0.1 * gone)), abs=0.1)
    later = run(sampler, {}, noise, None, None, {}, 20, 2.0)
    assert np.abs(later - noise).max() > 0.01 and len(calls) == 3
    run(sampler, {}, noise, None, None, {}, 20, 3.0)  # another guidance is measured anew
    assert calls[3] is True
    run.forget()  # another clip
    run(sampler, {}, noise, None, None, {}, 20, 2.0)
    assert calls[5] is True


@pytest.mark.parametrize("tolerance", [-1.0, float("nan"), float("inf")])
def test_a_tolerance_is_a_number_of_at_least_0(tolerance):
    with pytest.raises(InputError, match="at least 0"):
        step_skipping.StepSkipper(tolerance)
