"""Frames at the model's size."""

import cv2
import numpy as np
import pytest

from v2v.video.inputs import resize_frame


@pytest.mark.parametrize("H,W", [(64, 64), (128, 176), (720, 1280), (1080, 1920), (2160, 3840), (719, 1279)])
def test_a_shrunk_frame_is_its_areas_means(H, W):
    coarse = np.random.default_rng(0).integers(0, 256, (H // 10 + 1, W // 10 + 1, 3), dtype=np.uint8)
    frame = cv2.resize(coarse, (W, H), interpolation=cv2.INTER_CUBIC)
    made = resize_frame(frame, 64, 64).astype(int)
    assert np.abs(made - cv2.resize(frame, (64, 64), interpolation=cv2.INTER_AREA)).max() <= 1


def test_a_small_frame_is_enlarged():
    frame = np.zeros((40, 90, 3), np.uint8)
    frame[:, 45:] = 200
    made = resize_frame(frame, 64, 64)
    assert made.shape == (64, 64, 3) and made[0, 0, 0] == 0 and made[-1, -1, 2] == 200
