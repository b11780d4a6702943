"""What becomes of this process, and of other files, when a decoder crashes, hangs or takes all memory."""

import os
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest

from tests.bad_decoder import replace_decoder
from tests.example_clips import picture, write
from tests.notes import expect_note
from v2v.errors import InputError
from v2v.video import decoding_process
from v2v.video.decoder import StreamInfo, decode_frames, iterate_frames
from v2v.video.inputs import read_picture
from v2v.video.mask import Mask
from v2v.video.video import Video, open_video, read_video


@pytest.fixture
def clips(tmp_path):
    """A good clip, and one at which the decoder of `replace_decoder` fails."""
    return [write(tmp_path / name, picture(12), tones=(440,)) for name in ("good.mp4", "bad.mp4")]


def test_a_child_decodes_what_this_process_would(clips):
    there, here = StreamInfo(), StreamInfo()
    frames = list(iterate_frames(clips[0], there))
    expected = list(decode_frames(here, clips[0], with_audio=True, is_first_pass=True, skip=0, start=0.0))
    np.testing.assert_array_equal(frames, expected)
    assert there == here and there.audio


def test_frames_are_written_to_the_memory_that_is_given(clips):
    info, memory = StreamInfo(), []

    def new_frame(shape):
        assert info.frame_count >= 12 and len(info.times) == len(memory) + 1, (
            "what comes with a frame is known"
        )
        memory.append(np.zeros(shape, np.uint8))
        return memory[-1]

    frames = list(iterate_frames(clips[0], info, new_frame=new_frame))
    assert [id(frame) for frame in frames] == [id(place) for place in memory]
    np.testing.assert_array_equal(frames, read_video(clips[0]).frames)


@pytest.mark.parametrize("failure", ["abort", "segfault", "exit"])
@pytest.mark.parametrize("frame", [0, 5])
def test_one_bad_file_fails_alone(clips, monkeypatch, failure, frame):
    good, bad = clips
    replace_decoder(monkeypatch, failure, frame)
    for _ in range(2):
        assert len(read_video(good).frames) == 12
        with pytest.raises(InputError, match=r"bad\.mp4: the decoder (crashed \(SIG|ended with status 3)"):
            read_video(bad)
    with pytest.raises(InputError, match=r"bad\.mp4: the decoder"):
        open_video(bad, lambda frame: None)
    assert len(list(open_video(good, lambda frame: None).frames)) == 12


def test_bad_masks_and_references_fail_alone(clips, monkeypatch):
    good, bad = clips
    replace_decoder(monkeypatch, "abort", 0)
    with pytest.raises(InputError, match=r"reference .*bad\.mp4: the decoder crashed"):
        read_picture(f"{bad}@0.2")
    with pytest.raises(InputError, match=r"mask .*bad\.mp4: the decoder crashed"):
        Mask(bad, read_video(good))


def test_a_decoder_that_hangs_is_ended(clips, monkeypatch):
    good, bad = clips
    monkeypatch.setattr(decoding_process, "TIME_LIMIT", 2)
    replace_decoder(monkeypatch, "hang", 5)
    with pytest.raises(InputError, match=r"bad\.mp4: the decoder took more than 2 s"):
        read_video(bad)
    frames = []
    for frame in iterate_frames(good, StreamInfo()):
        if not frames:
            # Waiting for this process is no hanging.
            time.sleep(2.5)
        frames.append(frame)
    assert len(frames) == 12


def test_memory_is_limited(tmp_path, monkeypatch):
    monkeypatch.setattr(decoding_process, "LEAST_MEMORY", 128 << 20)
    monkeypatch.setattr(decoding_process, "MEMORY_SHARE", 0.0)
    replace_decoder(monkeypatch, "none", 0)
    cv2.imwrite(str(tmp_path / "bomb.png"), np.zeros((12_000, 12_000), np.uint8))
    with pytest.raises(InputError, match=r"bomb\.png: .*(memory|crashed)"):
        read_video(tmp_path / "bomb.png")


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
from v2v.video.video import read_video
print(len(read_video(sys.argv[1]).frames))
"""


def test_a_limit_of_file_sizes_is_none_of_memory(clips):
    """The memory that both processes share counts as a file (ulimit -f)."""
    done = subprocess.run([sys.executable, "-c", LIMITED, str(clips[0])], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "12\n", "")


def test_passes_that_are_given_up_leave_children_that_can_be_used(clips):
    for _ in range(5):
        next(iter(iterate_frames(clips[0], StreamInfo())))
        assert len(read_video(clips[0]).frames) == 12
    assert len(decoding_process._idle) <= decoding_process.MAX_IDLE


def test_a_child_that_gives_up_a_pass_is_waited_for(clips, monkeypatch):
    """Starting another takes longer; one that hangs is not waited for for ever."""
    monkeypatch.setattr(decoding_process, "STOP_SECONDS", 60)
    replace_decoder(monkeypatch, "hang", 5)
    processes = set()
    for _ in range(4):
        next(iter(iterate_frames(clips[0], StreamInfo())))
        processes |= {child.process.pid for child in decoding_process._idle}
    assert len(processes) == 1
    monkeypatch.setattr(decoding_process, "STOP_SECONDS", 0.01)
    next(iter(iterate_frames(clips[1], StreamInfo())))
    assert len(read_video(clips[0]).frames) == 12


def test_passes_can_be_nested(clips):
    streams = [iterate_frames(clips[0], StreamInfo()) for _ in range(4)]
    for frames in zip(*streams, strict=True):
        for frame in frames[1:]:
            np.testing.assert_array_equal(frame, frames[0])


def test_relative_paths_are_those_of_this_process(clips, tmp_path, monkeypatch):
    read_video(clips[0])
    monkeypatch.chdir(tmp_path)
    assert len(read_video("good.mp4").frames) == 12


def test_frames_of_many_sizes_and_turns(tmp_path):
    """Each pass has its own size of the shared memory."""
    for height, width, degrees in ((48, 64, 0), (33, 31, 0), (480, 640, 90), (16, 16, 180)):
        frames = picture(12, height, width)
        Video.from_array(frames).save(tmp_path / "a.mp4")
        assert np.abs(read_video(tmp_path / "a.mp4").frames.astype(int) - frames).mean() < 4
        write(tmp_path / "b.mov", frames, codec="png", pix_fmt="rgb24", rotation={"degrees": degrees})
        turned = np.rot90(frames, degrees // 90, axes=(1, 2))
        np.testing.assert_array_equal(read_video(tmp_path / "b.mov").frames, turned)


def test_notes_of_a_child_belong_to_the_work_that_asked(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8, 4), np.uint8))
    with expect_note("transparency isn't kept"):
        read_video(tmp_path / "a.png")


def test_without_children_files_are_decoded_here(clips, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("no processes")

    monkeypatch.setattr(decoding_process, "_idle", [])
    monkeypatch.setattr(decoding_process.subprocess, "Popen", refuse)
    assert len(read_video(clips[0]).frames) == 12 and os.getpid() == decoding_process._owner
