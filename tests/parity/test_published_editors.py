"""Published editors on tiny random models against stored answers of their own code (tools/checks/compare_editors.py); needs no torch."""

from pathlib import Path

import numpy as np
import pytest

from tests.parity import ours_editors

ANSWERS = np.load(Path(__file__).parents[1] / "golden" / "editors.npz")
# One with each way of combining passes, and one with everything that Kiwi-Edit has.
QUICK = ("kiwi/before",)


@pytest.mark.parametrize(
    "case",
    [case if case in QUICK else pytest.param(case, marks=pytest.mark.slow) for case in ours_editors.CASES],
)
def test_sampled_latents(case):
    np.testing.assert_allclose(ours_editors.sample(case, ANSWERS), ANSWERS[case], rtol=0, atol=1e-4)
