"""Flicker, timing and drift on clips whose answer is known."""

import math

import cv2
import numpy as np
import pytest

from v2v.errors import InputError
from v2v.evaluation.metrics import temporal


def panning(T=6, side=64, step=3, seed=0):
    """A smooth texture that moves by `step` pixels a frame, uint8 [T, side, side, 3]."""
    rng = np.random.default_rng(seed)
    large = cv2.GaussianBlur(rng.uniform(0, 255, (side, side + T * step, 3)), (0, 0), 3)
    large = cv2.normalize(large, None, 20, 235, cv2.NORM_MINMAX).astype(np.uint8)
    return np.stack([large[:, k * step : k * step + side] for k in range(T)])


def test_motion_is_not_flicker_but_flashing_is():
    truth = panning()
    still = np.abs(np.diff(truth.astype(float), axis=0)).mean()
    same = temporal.flicker(truth, truth)
    assert same.departure == 0 and same.output == same.truth
    assert same.truth < 0.25 * still  # the flow explains the motion
    flashing = truth.copy()
    flashing[1::2] += 8
    levels = temporal.flicker(flashing, truth)
    assert levels.departure == pytest.approx(8, abs=0.01)
    assert levels.output > levels.truth + 5


def test_a_constant_error_is_not_flicker_and_freezing_is_no_gain():
    truth = panning()
    assert temporal.flicker(truth + 5, truth).departure == pytest.approx(0, abs=1e-3)
    grey = temporal.flicker(np.full_like(truth, 128), truth)
    assert grey.output == 0 and grey.departure == pytest.approx(grey.truth)


def test_flow_is_the_truths():
    """A clip that stands still where the truth moves flickers along the truth's motion."""
    truth = panning()
    frozen = np.repeat(truth[:1], len(truth), 0)
    assert temporal.flicker(frozen, truth).departure > 5


def test_flicker_needs_two_frames_and_something_to_see():
    with pytest.raises(InputError, match="two frames"):
        temporal.flicker(panning(T=1), panning(T=1))
    with pytest.raises(InputError, match="at least 12 pixels"):
        temporal.flicker(panning(side=8), panning(side=8))


@pytest.mark.parametrize("start, end, expected", [(4, 9, (0, 0)), (6, 9, (2, 0)), (3, 7, (-1, -2))])
def test_timing_error(start, end, expected):
    rng = np.random.default_rng(0)
    source = rng.integers(60, 120, (12, 20, 20, 3), np.uint8)
    mask = np.zeros((12, 20, 20), np.uint8)
    mask[4:9, 5:12, 5:12] = 255
    output = source + rng.integers(0, 4, source.shape, np.uint8)  # what a codec does
    output[start:end, 5:12, 5:12] += 60
    assert temporal.timing_error(output, source, mask) == expected


def test_timing_without_an_edit():
    source = np.zeros((3, 8, 8, 3), np.uint8)
    mask = np.ones((3, 8, 8), bool)
    assert all(math.isnan(e) for e in temporal.timing_error(source + 1, source, mask))
    assert all(math.isnan(e) for e in temporal.timing_error(source + 90, source, ~mask))


def test_colour_drift():
    truth = np.full((8, 6, 6, 3), 100, np.uint8)
    assert temporal.color_drift(truth + 9, truth) == 0  # an offset is not a drift
    output = truth.copy()
    output[..., 0] += (np.arange(8) * 4).astype(np.uint8)[:, None, None]  # red: 0, 4, ..., 28
    assert temporal.color_drift(output, truth) == pytest.approx(26 - 2)
    mask = np.zeros((8, 6, 6), bool)
    mask[:, :3] = True
    output[:, :3] = truth[:, :3]
    assert temporal.color_drift(output, truth, mask) == 0
    assert temporal.color_drift(output, truth, ~mask) == pytest.approx(24)
    assert math.isnan(temporal.color_drift(truth[:1], truth[:1]))


def test_parts_of_flicker_and_flow_at_half_size():
    clip = panning(T=4)
    noisy = np.clip(clip + np.random.default_rng(0).normal(0, 9, clip.shape), 0, 255).astype(np.uint8)
    total = temporal.flicker(noisy, clip)
    assert temporal.flicker_of_pair(noisy, clip) == pytest.approx(total[:2], rel=1e-6)
    assert temporal.flicker_departure(noisy, clip) == pytest.approx(total.departure, rel=1e-6)
    large = panning(
        T=2, side=temporal.HALF_SIZE_FROM, step=6
    )  # its flow comes from half the size, and still follows the pan
    unwarped = float(np.abs(large[1].astype(float) - large[0]).mean())
    assert temporal.flicker(large, large).truth < 0.3 * unwarped


def test_frames_that_are_too_low_for_their_width_are_told():
    """OpenCV reads past its memory in such frames, which ended the process."""
    for height, width, expected in ((17, 90, 32), (12, 40, 16), (24, 832, 32), (11, 400, 12)):
        with pytest.raises(InputError, match=f"^flicker: expected .*at least {expected} "):
            temporal.check_flow_size(height, width, "flicker")
    for height, width in ((12, 39), (16, 40), (32, 832), (90, 17), (832, 12)):
        temporal.check_flow_size(height, width, "flicker")


def test_pixels_without_a_target_are_found_near_the_border_alone():
    height, width = 450, 400
    memory, rng = temporal._Memory(height, width), np.random.default_rng(0)
    for reach in (0, 3, 60, 500):
        flow = rng.uniform(-reach, reach, (height, width, 2)).astype(np.float32)
        for rows in temporal.iterate_strips(height, width):
            to, outside, count = memory.targets(flow, rows, reach)
            is_inside = ((to >= 0) & (to <= (width - 1, height - 1))).all(-1)
            assert count == is_inside.sum() and (outside is None) == is_inside.all()
            assert outside is None or np.array_equal(outside == 0, is_inside)
