"""Frames at the model's size, and pictures out of clips."""

import cv2
import numpy as np
import pytest

from tests.example_clips import picture
from v2v.video import decoder
from v2v.video.inputs import read_picture, resize_frame
from v2v.video.video import Video, read_video


@pytest.mark.parametrize("H,W", [(64, 64), (128, 176), (720, 1280), (1080, 1920), (2160, 3840), (719, 1279)])
def test_a_shrunk_frame_is_its_areas_means(H, W):
    coarse = np.random.default_rng(0).integers(0, 256, (H // 10 + 1, W // 10 + 1, 3), dtype=np.uint8)
    frame = cv2.resize(coarse, (W, H), interpolation=cv2.INTER_CUBIC)
    resized = resize_frame(frame, 64, 64).astype(int)
    assert np.abs(resized - cv2.resize(frame, (64, 64), interpolation=cv2.INTER_AREA)).max() <= 1


def test_a_small_frame_is_enlarged():
    frame = np.zeros((40, 90, 3), np.uint8)
    frame[:, 45:] = 200
    resized = resize_frame(frame, 64, 64)
    assert resized.shape == (64, 64, 3) and resized[0, 0, 0] == 0 and resized[-1, -1, 2] == 200


def test_a_picture_is_the_frame_shown_then_however_far_decoding_is_ahead(tmp_path, monkeypatch):
    path = Video.from_array(picture(10), fps=10).save(tmp_path / "a.mp4")
    frames = read_video(path).frames
    iterate = decoder.iterate_frames

    def decode_ahead(path, info, **options):
        yield from list(iterate(path, info, **options))

    monkeypatch.setattr(decoder, "iterate_frames", decode_ahead)
    for second, number in ((0, 0), (0.25, 2), (0.3, 3), (0.39, 3), (0.95, 9)):
        np.testing.assert_array_equal(read_picture(f"{path}@{second}"), frames[number])
