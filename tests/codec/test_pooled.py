"""Averaged masks: shares of latent cells, the first frame by itself."""

import numpy as np

from v2v.codec.pooled import pooled


def test_pooled_masks_are_shares_of_latent_cells():
    mask = np.zeros((9, 8, 8), np.float32)
    mask[0, :2] = 1  # half of the upper cells of frame 0
    mask[3:5, 4:, 4:] = 1  # one cell in two of the four frames 1..4
    got = pooled(mask, (3, 2, 2))
    np.testing.assert_array_equal(got, [[[0.5, 0.5], [0, 0]], [[0, 0], [0, 0.5]], [[0, 0], [0, 0]]])
    np.testing.assert_array_equal(pooled(mask[None, :1], (1, 2, 2))[0], got[:1])
