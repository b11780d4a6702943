"""Which rows are skipped, and how the cost is reported."""

import numpy as np
import pytest

from v2v.diffusion import step_skipping
from v2v.diffusion.sampler import SampleOutput
from v2v.errors import InputError


def test_rows_to_skip_follow_the_ratios():
    assert step_skipping.select_evaluated_steps(np.full(10, 0.99), 0.0).all()
    evaluated = step_skipping.select_evaluated_steps(np.full(20, 0.99), 0.05, longest_run=3)
    assert evaluated[:4].all() and evaluated[-1] and 0.3 < evaluated.mean() < 0.8
    assert "---" not in "".join(
        "x" if row else "-" for row in evaluated
    )  # 1 % + 2 % fit in 5 %, 3 % more don't
    assert step_skipping.select_evaluated_steps(np.full(20, 0.5), 0.05).all()
    assert step_skipping.select_evaluated_steps(np.full(20, 1.0), 0.05, longest_run=2).tolist()[4:7] == [
        False,
        False,
        True,
    ]


def test_the_first_batch_is_exact_and_tells_the_cost_of_the_others():
    calls = []

    def sample(evaluated=None, measure_ratios=False):
        calls.append("exact" if measure_ratios else "skipping")
        count = 0 if measure_ratios else (~evaluated).sum()
        return SampleOutput(noise + 0.1 * count * np.sign(noise), ratios=np.full(20, 0.99))

    skipper, noise = step_skipping.StepSkipper(0.05), np.array([1.0, -1.0])
    first = skipper.run(sample, key=2.0).latents
    np.testing.assert_array_equal(first, noise)
    count = int((~step_skipping.select_evaluated_steps(np.full(20, 0.99), 0.05)).sum())
    assert skipper.report.share == pytest.approx(count / 20)
    assert skipper.report.snr == pytest.approx(20 * np.log10(1 / (0.1 * count)), abs=0.1)
    later = skipper.run(sample, key=2.0).latents
    assert np.abs(later - noise).max() > 0.01 and calls == ["exact", "skipping", "skipping"]
    skipper.run(sample, key=3.0)  # another guidance scale is measured anew
    assert calls[3:] == ["exact", "skipping"]
    skipper.forget()  # another clip
    skipper.run(sample, key=2.0)
    assert calls[5:] == ["exact", "skipping"]


@pytest.mark.parametrize("tolerance", [-1.0, float("nan"), float("inf")])
def test_a_tolerance_is_a_number_of_at_least_0(tolerance):
    with pytest.raises(InputError, match="at least 0"):
        step_skipping.StepSkipper(tolerance)
