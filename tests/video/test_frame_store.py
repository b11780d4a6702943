"""Small frames on disk, and clips that are walked rather than held in memory."""

import os

import numpy as np
import pytest

from tests.example_clips import picture
from tests.example_clips import write as make
from v2v.errors import InputError
from v2v.video import video
from v2v.video.frame_store import FrameStore


def test_frames_come_back_by_number():
    frames, store = picture(9, 12, 16), FrameStore()
    for frame in frames:
        store.append(frame)
    assert store.shape == (9, 12, 16, 3) and len(store) == 9
    np.testing.assert_array_equal(store[4], frames[4])
    rows = np.array([[8, 0], [3, 3]])
    np.testing.assert_array_equal(store[rows], frames[rows])
    store.append(frames[1])  # after reading, still at the end
    np.testing.assert_array_equal(store[9], frames[1])
    for row in (-1, 10):
        with pytest.raises(IndexError):
            store[row]


def test_levels_are_kept_to_an_eighth():
    levels, store = np.random.default_rng(0).uniform(-20, 275, (3, 8, 8, 3)).astype(np.float32), FrameStore()
    for frame in levels:
        store.append(frame)
    back = store[np.arange(3)]
    assert back.dtype == np.float32 and np.abs(back - levels).max() <= 0.125


def test_nothing_is_left_on_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    store = FrameStore()
    store.append(picture(1)[0])
    assert not os.listdir(tmp_path) and store[0].shape == (48, 64, 3)


def test_a_full_disk_is_named(monkeypatch):
    class Full:
        def seek(self, *_): ...

        def write(self, _):
            raise OSError(28, "No space left on device")

    store = FrameStore()
    monkeypatch.setattr(store, "_file", Full())
    with pytest.raises(InputError, match="no space left.*TMPDIR"):
        store.append(picture(1)[0])


def test_a_clip_is_walked_again_and_again(tmp_path):
    make(tmp_path / "in.mp4", picture(7, 31, 48)[:, :30], tones=(440,))
    frames_seen, clip_in_memory = [], video.read_video(tmp_path / "in.mp4")
    clip = video.open_video(tmp_path / "in.mp4", frames_seen.append)
    assert (
        clip.frames.shape == clip_in_memory.frames.shape
        and len(clip.frames) == 7
        and clip.frames.dtype == np.uint8
    )
    assert (clip.fps, clip.duration, clip.audio) == (
        clip_in_memory.fps,
        clip_in_memory.duration,
        clip_in_memory.audio,
    )
    np.testing.assert_array_equal(clip.times, clip_in_memory.times)
    for frames in (frames_seen, list(clip.frames), np.asarray(clip.frames)):
        np.testing.assert_array_equal(frames, clip_in_memory.frames)
    clip.save(tmp_path / "copy.mp4")
    assert video.read_video(tmp_path / "copy.mp4").frames.shape == clip_in_memory.frames.shape
