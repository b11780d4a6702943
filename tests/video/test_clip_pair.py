"""Clips of a pair: frames matched in time, damage found, memory bounded."""

import cv2
import numpy as np
import pytest

from tests.example_clips import picture, write
from v2v.video import clip_pair
from v2v.video.clip_pair import UnusablePairError, open_clip_pair


def shades(T):
    """Frames that tell their own number by their brightness."""
    return np.broadcast_to(np.arange(T)[:, None, None, None] * 8 + 20, (T, 32, 48, 3)).astype(np.uint8)


def numbers(frames):
    return [round((float(frame.mean()) - 20) / 8) for frame in frames]


@pytest.mark.parametrize("is_swapped", [False, True])
def test_clips_of_other_rates_are_matched_in_time(tmp_path, is_swapped):
    fast, slow = tmp_path / "fast.mp4", tmp_path / "slow.mp4"
    write(fast, shades(20))
    write(slow, shades(20)[::2], pts=list(range(0, 20, 2)))
    pair = open_clip_pair(slow, fast) if is_swapped else open_clip_pair(fast, slow)
    assert pair.count == 10 and pair.fps == 12.5
    moments = list(pair.iterate(3, 7))
    assert numbers(m.source for m in moments) == numbers(m.target for m in moments) == [6, 8, 10, 12]


def test_equally_many_frames_belong_together_frame_by_frame(tmp_path):
    write(tmp_path / "a.mp4", shades(12), fps=24)
    write(tmp_path / "b.mp4", shades(12), fps=16)
    pair = open_clip_pair(tmp_path / "a.mp4", tmp_path / "b.mp4")
    assert pair.fps == 24 and numbers(m.target for m in pair.iterate()) == list(range(12))


def test_the_mask_follows_the_clip_and_the_time_of_the_edit(tmp_path):
    write(tmp_path / "a.mp4", shades(10))
    write(tmp_path / "b.mp4", shades(10))
    square = np.zeros((16, 24, 3), np.uint8)
    square[4:12, 4:12] = 255
    cv2.imwrite(str(tmp_path / "m.png"), square)
    pair = open_clip_pair(tmp_path / "a.mp4", tmp_path / "b.mp4", tmp_path / "m.png", 0.08, 0.2)
    assert pair.active == (2, 5) and pair.is_limited
    masks = [moment.mask for moment in pair.iterate()]
    assert [int(mask.any()) for mask in masks] == [0, 0, 1, 1, 1, 0, 0, 0, 0, 0]
    assert np.array_equal(masks[3], square[..., 0])
    large = clip_pair.resize_mask(masks[3], 32, 48)
    assert set(np.unique(large)) == {0, 255} and large[8:24, 8:24].all()


def test_files_that_are_no_pair_say_why(tmp_path):
    write(tmp_path / "a.mp4", picture(20))
    write(tmp_path / "tall.mp4", picture(20, 64, 48))
    write(tmp_path / "short.mp4", picture(8))
    cv2.imwrite(str(tmp_path / "p.png"), picture(1)[0])
    data = bytearray((tmp_path / "a.mp4").read_bytes())
    for place in np.random.default_rng(0).integers(1200, len(data) - 1500, 60):
        data[place] ^= 255
    (tmp_path / "damaged.mp4").write_bytes(data)
    (tmp_path / "text.mp4").write_text("none")
    kinds = {
        "tall.mp4": "another shape",
        "short.mp4": "another length",
        "p.png": "a picture and a clip",
        "damaged.mp4": "damaged file",
        "text.mp4": "unreadable file",
        "gone.mp4": "file missing",
    }
    for name, kind in kinds.items():
        with pytest.raises(UnusablePairError) as caught:
            open_clip_pair(tmp_path / "a.mp4", tmp_path / name)
        assert caught.value.kind == kind and name in caught.value.detail
    with pytest.raises(UnusablePairError, match="unreadable reference: a.mp4 has 20 frames"):
        clip_pair.read_reference(tmp_path / "a.mp4")
    assert clip_pair.read_reference(tmp_path / "a.mp4@0.2").shape == (48, 64, 3)
