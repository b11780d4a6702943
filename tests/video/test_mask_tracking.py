"""Painted masks follow what moves: a textured square over a moving ground, keyframes as painted, and corrections in between."""

import cv2
import numpy as np
import pytest

from v2v import InputError
from v2v.video.mask_tracking import FARTHEST, measure_distance, track_mask

T, H, W, SIDE = 6, 160, 224, 80


def moving_square(speed=10):
    """A textured square that moves to the right before a ground of another texture; frames and masks."""
    rng = np.random.default_rng(0)
    ground, square = (
        cv2.GaussianBlur(rng.integers(0, 256, (n, m, 3)).astype(np.float32), (0, 0), 2) * 2 + level
        for n, m, level in ((H, W, -180), (SIDE, SIDE, -80))
    )
    ground, square = (np.clip(texture, 0, 255).astype(np.uint8) for texture in (ground, square))
    frames, masks = np.repeat(ground[None], T, 0), np.zeros((T, H, W), np.uint8)
    for t in range(T):
        x = 12 + speed * t
        frames[t, 20 : 20 + SIDE, x : x + SIDE] = square
        masks[t, 20 : 20 + SIDE, x : x + SIDE] = 255
    return frames, masks


def overlap(mask, truth):
    a, b = mask > 127, truth > 127
    return (a & b).sum() / (a | b).sum()


def test_a_mask_follows_in_both_directions_and_keyframes_stay():
    frames, masks = moving_square()
    assert overlap(masks[0], masks[-1]) < 0.5  # holding it still would fail
    told = []
    for key in (0, T - 1, 3):
        tracked = track_mask(iter(frames), {key: masks[key]}, lambda done, total: told.append((done, total)))
        result = list(tracked)
        assert len(tracked) == T and all(mask.shape == (H, W) and mask.dtype == np.uint8 for mask in result)
        np.testing.assert_array_equal(result[key], masks[key])
        assert min(overlap(*pair) for pair in zip(result, masks, strict=True)) > 0.95
    assert told[2 * T - 1] == (2 * T, 2 * T)


def test_between_two_keyframes_the_outline_passes_from_one_to_the_other():
    frames = np.zeros((5, 64, 64, 3), np.uint8)  # nothing to follow: only the keyframes tell
    small, large = np.zeros((2, 64, 64), np.uint8)
    small[24:40, 24:40] = large[16:48, 16:48] = 255
    areas = [(mask > 127).sum() for mask in track_mask(frames, {0: small, 4: large})]
    assert areas[0] == 16 * 16 and areas[4] == 32 * 32 and areas == sorted(areas) and areas[1] < areas[3]
    gone = list(track_mask(frames, {0: small, 2: np.zeros_like(small)}))
    assert gone[0].any() and not gone[2].any() and not gone[4].any()


def test_distances_and_bad_masks():
    mask = np.zeros((40, 40), np.uint8)
    mask[10:30, 10:30] = 255
    distance = measure_distance(mask, 20, 20)
    assert (
        distance[10, 10] == pytest.approx(4.75, abs=0.5)
        and distance[0, 10] < -4
        and distance[5, 10] > 0 > distance[4, 10]
    )
    assert measure_distance(np.zeros_like(mask), 20, 20).max() == -FARTHEST
    assert measure_distance(np.full_like(mask, 255), 20, 20).min() == FARTHEST
    frames = np.zeros((3, 40, 40, 3), np.uint8)
    for keyframes, message in (({}, "painted place"), ({0: 0 * mask}, "painted place"), ({3: mask}, "frame from 0 to 2"), ({0: mask[1:]}, "40x40")):  # fmt: skip
        with pytest.raises(InputError, match=message):
            track_mask(frames, keyframes)
