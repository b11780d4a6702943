"""The fade at a mask's rim, and what a composite keeps."""

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
