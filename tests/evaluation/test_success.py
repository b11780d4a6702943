"""The definition of success, at its edges."""

import math

import numpy as np
import pytest

from v2v.errors import InputError
from v2v.evaluation.metrics.success import MAX_GAP_SHARE, gap_share, score_edit


def case(T=4, side=16):
    """Source 40 everywhere, truth 240 inside the mask; mask covers a square in the later half of the clip."""
    source = np.full((T, side, side, 3), 40, np.uint8)
    mask = np.zeros((T, side, side), np.uint8)
    mask[T // 2 :, 4:12, 4:12] = 255
    truth = source.copy()
    truth[mask > 0] = 240
    return source, truth, mask


def test_nothing_fails_and_truth_succeeds():
    source, truth, mask = case()
    nothing, perfect = score_edit(source, source, truth, mask), score_edit(truth, source, truth, mask)
    assert not nothing.success and nothing.error_ratio == 1 and nothing.psnr_outside == 100
    assert perfect.success and perfect.success_rms and perfect.error_ratio == 0


@pytest.mark.parametrize(
    "level, success, rms", [(140, True, False), (139, False, False), (190, True, True), (189, True, False)]
)
def test_a_quarter_of_the_squared_error(level, success, rms):
    """200 levels to go: 100 left is a quarter of the squared error, 50 left a quarter of the root."""
    source, truth, mask = case()
    output = source.copy()
    output[mask > 0] = level
    assert score_edit(output, source, truth, mask)[:2] == (success, rms)


@pytest.mark.parametrize("error, success", [(12, True), (13, False)])
def test_26_db_outside(error, success):
    """26 dB is a root mean square of 12.78 levels."""
    source, truth, mask = case()
    output = truth.copy()
    output[mask == 0] += error
    outcome = score_edit(output, source, truth, mask)
    assert outcome.success is success and outcome.psnr_outside == pytest.approx(20 * math.log10(255 / error))


def test_outside_means_times_too():
    """The right edit in the right place throughout, when it should have begun half way."""
    source, truth, mask = case()
    output = source.copy()
    output[:, 4:12, 4:12] = 240
    outcome = score_edit(output, source, truth, mask)
    assert outcome.error_ratio == 0 and outcome.psnr_outside < 26 and not outcome.success


def test_a_mask_of_everything_has_no_outside():
    source, truth, mask = case()
    truth[:] = 240
    outcome = score_edit(truth, source, truth, np.full_like(mask, 255))
    assert outcome.success and math.isnan(outcome.psnr_outside)


def test_cases_that_cannot_be_scored():
    source, truth, mask = case()
    with pytest.raises(InputError, match="got 0 pixels"):
        score_edit(truth, source, truth, np.zeros_like(mask))
    with pytest.raises(InputError, match="squared difference of 0"):
        score_edit(truth, source, source, mask)
    with pytest.raises(InputError, match="one length"):
        score_edit(truth[:3], source, truth, mask)
    with pytest.raises(InputError, match="mask of 4 frames"):
        score_edit(truth, source, truth, mask[:3])


def test_colour_left_on_an_object_is_a_gap_though_it_is_a_success():
    """ "Remove all colour": a blue cube in a greenish room; the edit greys all but the cube, or all, or leaves a speck."""
    rng = np.random.default_rng(0)
    source = np.full((6, 96, 128, 3), (90, 150, 80), np.uint8)
    source[:, 40:60, 50:70] = (30, 60, 160)
    noisy = np.clip(source + rng.normal(0, 4, source.shape), 0, 255)
    source = noisy.astype(np.uint8)
    truth = np.repeat(source.mean(-1, keepdims=True), 3, -1).astype(np.uint8)
    mask = np.ones(source.shape[:3], np.uint8)
    good = np.clip(truth + rng.normal(0, 6, truth.shape), 0, 255).astype(np.uint8)
    cube, speck = good.copy(), good.copy()
    cube[:, 40:60, 50:70] = source[:, 40:60, 50:70]
    speck[:, 40:43, 50:53] = source[:, 40:43, 50:53]
    assert score_edit(cube, source, truth, mask).success
    assert gap_share(cube, source, truth, mask) == 1 > MAX_GAP_SHARE
    assert gap_share(good, source, truth, mask) == gap_share(speck, source, truth, mask) == 0
    once = good.copy()
    once[:1] = cube[:1]
    assert gap_share(once, source, truth, mask) == pytest.approx(1 / 6)
    assert gap_share(source, source, truth, mask) == 1
    assert math.isnan(gap_share(source, source, source, mask))  # nothing is asked for


def test_a_weak_change_beside_a_strong_one_is_no_gap():
    """A negative: where the source is grey, little is asked for, and what is left there is not seen."""
    source = np.full((2, 96, 128, 3), 20, np.uint8)
    source[:, 30:60, 40:80] = 118
    truth, mask = 255 - source, np.ones(source.shape[:3], np.uint8)
    output = truth.copy()
    output[:, 30:60, 40:80] = source[:, 30:60, 40:80]
    assert gap_share(output, source, truth, mask) == 0
