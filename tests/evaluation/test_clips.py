"""Clips: streamed or held they are the same frames; the written rule for outputs of another shape; masks; what is refused."""

import cv2
import numpy as np
import pytest

from tests.example_clips import picture, write
from v2v.errors import InputError
from v2v.evaluation.benchmarks.exact_truth import write_lossless_clip
from v2v.evaluation.metrics import pixel
from v2v.evaluation.metrics.clips import Clip, MaskClip, ResizedClip, describe_mismatch, editor_input
from v2v.video import video as codec


@pytest.mark.parametrize("height, width, turned", [(48, 64, False), (37, 51, False), (48, 64, True)])
def test_streamed_and_held_are_the_same(tmp_path, height, width, turned):
    path = tmp_path / "a.mp4"
    if turned:
        write(path, picture(5, height, width), rotation={"degrees": 90, "hflip": False, "vflip": False})
    else:
        codec.Video.from_array(picture(5, height, width)).save(path)  # odd sizes are noted in the file
    cached, streamed = Clip(path), Clip(path, max_cached_bytes=0)
    assert (len(cached), cached.size, round(cached.fps)) == (
        len(streamed),
        streamed.size,
        round(streamed.fps),
    )
    assert cached.size == ((width, height) if turned else (height, width))
    for _ in range(2):  # gone through twice
        assert np.array_equal(np.stack(list(cached)), np.stack(list(streamed)))
    assert np.array_equal(np.stack(list(cached)), codec.read_video(path).frames)


def test_metrics_take_streams(tmp_path):
    write_lossless_clip(picture(4), tmp_path / "a.mkv")
    write_lossless_clip(picture(4, seed=1), tmp_path / "b.mkv")
    a, b = (Clip(tmp_path / f"{n}.mkv", max_cached_bytes=0) for n in "ab")
    assert pixel.psnr(a, b) == pixel.psnr(picture(4), picture(4, seed=1))


def test_rule_for_another_length_and_size(tmp_path):
    write_lossless_clip(picture(6, 48, 64), tmp_path / "long.mkv")
    write_lossless_clip(picture(4, 96, 128), tmp_path / "large.mkv")
    long, large = Clip(tmp_path / "long.mkv"), Clip(tmp_path / "large.mkv")
    words = describe_mismatch(large, long, "source")
    assert words == (
        "4 frames against the source's 6: the first 4 are compared; 128x96 against the source's 64x48: scaled to the latter"
    )
    assert describe_mismatch(long, long, "source") == ""
    resized = list(ResizedClip(large, 4, long.size))
    assert len(resized) == 4 and np.array_equal(
        resized[0], cv2.resize(picture(4, 96, 128)[0], (64, 48), interpolation=cv2.INTER_AREA)
    )


def test_masks_are_planes_of_the_clip_and_their_last_frame_stays(tmp_path):
    frames = np.zeros((2, 24, 32, 3), np.uint8)
    frames[1, :12] = 255
    write_lossless_clip(frames, tmp_path / "m.mkv")
    mask = MaskClip(Clip(tmp_path / "m.mkv"), 4, (48, 64)).array
    assert mask.shape == (4, 48, 64) and mask.dtype == bool
    assert not mask[0].any() and mask[1:, :24].all() and not mask[1:, 24:].any()
    assert np.array_equal(MaskClip(Clip(tmp_path / "m.mkv"), 1, (24, 32)).array, np.zeros((1, 24, 32), bool))


def test_folder_of_frames(tmp_path):
    for k, frame in enumerate(picture(3)):
        cv2.imwrite(str(tmp_path / f"{k:03d}.png"), frame[..., ::-1])
    (tmp_path / "notes.txt").write_text("x")
    clip = Clip(tmp_path)
    assert len(clip) == 3 and np.array_equal(np.stack(list(clip)), picture(3))
    assert (
        np.array_equal(editor_input(tmp_path).frames, picture(3))
        and editor_input(tmp_path / "notes.txt") == tmp_path / "notes.txt"
    )


def test_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.mp4").write_text("not a video")
    for path in (tmp_path / "empty", tmp_path / "text.mp4", tmp_path / "none.mp4"):
        with pytest.raises(InputError):
            Clip(path)
    write(tmp_path / "cut.mp4", picture(30, 96, 128), codec_options={"g": "1"})
    data = bytearray((tmp_path / "cut.mp4").read_bytes())
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError):
        Clip(tmp_path / "cut.mp4")


def test_frames_of_a_folder_are_in_the_order_of_their_numbers(tmp_path):
    """frame_10 comes after frame_9, as when the numbers are padded with zeros."""
    for folder, width in (("plain", 0), ("padded", 3)):
        (tmp_path / folder).mkdir()
        for k in range(12):
            frame = np.full((8, 8, 3), 20 * k, np.uint8)
            cv2.imwrite(str(tmp_path / folder / f"frame_{k:0{width}d}.png"), frame)
    for folder in ("plain", "padded"):
        assert [int(frame[0, 0, 0]) for frame in Clip(tmp_path / folder)] == list(range(0, 240, 20))
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for name, level in (("a2b10.png", 20), ("a2b9.png", 10), ("a10b1.png", 30), ("9.png", 0), ("b.png", 40)):
        cv2.imwrite(str(mixed / name), np.full((8, 8, 3), level, np.uint8))
    assert [int(frame[0, 0, 0]) for frame in Clip(mixed)] == [0, 10, 20, 30, 40]
