"""Averaged masks: shares of latent cells, the first frame by itself."""

import dataclasses
import types

import numpy as np

from v2v.config import debug
from v2v.pipeline.pretrained_model import Pretrained
from v2v.video.mask import pool_mask


def test_pooled_masks_are_shares_of_latent_cells():
    mask = np.zeros((9, 8, 8), np.float32)
    mask[0, :2] = 1  # half of the upper cells of frame 0
    mask[3:5, 4:, 4:] = 1  # one cell in two of the four frames 1..4
    pooled = pool_mask(mask, (3, 2, 2))
    np.testing.assert_array_equal(pooled, [[[0.5, 0.5], [0, 0]], [[0, 0], [0, 0.5]], [[0, 0], [0, 0]]])
    np.testing.assert_array_equal(pool_mask(mask[None, :1], (1, 2, 2))[0], pooled[:1])


def test_a_model_of_averaged_masks_is_shown_shares():
    """White on black in, as the editor hands masks over; the VAE isn't used."""
    cfg = debug()
    cfg = dataclasses.replace(cfg, condition=dataclasses.replace(cfg.condition, mask_code="pooled"))
    clip = np.zeros((2, 5, 32, 32, 3), np.uint8)
    clip[1, 1:3, :, 16:] = 255
    shares = Pretrained.encode_mask(types.SimpleNamespace(config=cfg, encode=None), clip)
    assert shares.shape == (2, *cfg.vae.latent_shape(5, 32, 32)[:3], 1)
    assert not shares[0].any() and not shares[1, 0].any()
    assert (shares[1, 1, :, shares.shape[3] // 2 :] == 0.5).all() and not shares[
        1, 1, :, : shares.shape[3] // 2
    ].any()
