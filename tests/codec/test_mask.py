"""The fade at a mask's rim, and what a composite keeps."""

import cv2
import numpy as np

from v2v.codec import mask as masks


def test_a_frame_that_is_white_all_over_stays_whole():
    assert (masks.faded(np.full((16, 16), 255, np.uint8), 3) == 255).all()


def test_the_fade_lies_inside_and_rises_inwards():
    share = np.zeros((16, 16), np.uint8)
    share[:, 4:] = 255
    row = masks.faded(share, 3)[8].astype(int)
    assert (row[:4] == 0).all() and (row[4:] > 0).all()
    assert (np.diff(row) >= 0).all() and row[-1] == 255 > row[4]


def test_a_composite_keeps_the_source_where_alpha_is_nought():
    rng = np.random.default_rng(0)
    source, edit = rng.integers(0, 256, (2, 8, 8, 3), np.uint8)
    alpha = rng.choice(np.array([0, 100, 255], np.uint8), (8, 8))
    out = masks.composite(source, edit, alpha)
    assert (out[alpha == 0] == source[alpha == 0]).all() and (out[alpha == 255] == edit[alpha == 255]).all()
    mixed = source + (alpha[..., None] / 255) * (edit.astype(float) - source)
    assert np.abs(out - mixed).max() <= 0.5


def test_a_fade_is_the_same_wherever_the_mask_lies():
    """Only the mask's own part of a frame is worked on; distances are those of the whole."""
    rng = np.random.default_rng(0)
    for place in ((0, 0), (13, 20), (40, 64)):
        share = np.zeros((64, 96), np.uint8)
        share[place[0] : place[0] + 24, place[1] : place[1] + 32] = 255 * (rng.random((24, 32)) > 0.1)
        depth = cv2.distanceTransform((share > 0).astype(np.uint8), cv2.DIST_L2, 3)
        ramp = np.rint(np.minimum(depth * 255 / 6, 255)).astype(np.uint8)
        np.testing.assert_array_equal(masks.faded(share, 5), np.minimum(share, ramp))
    assert not masks.faded(np.zeros((9, 9), np.uint8), 3).any()
    assert masks.chosen(np.zeros((9, 9), np.uint8)) == (slice(0, 0), slice(0, 0))
    assert masks.chosen(np.eye(9, dtype=np.uint8)[:3], 1) == (slice(0, 4), slice(0, 4))
