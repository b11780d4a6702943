"""Outputs have one writer at a time, and what a killed one left is no obstacle."""

import os
import threading

import pytest

from tests.example_clips import picture
from v2v.errors import InputError
from v2v.video.partial_output import hold_partial
from v2v.video.video import Video, read_video


@pytest.mark.parametrize("is_folder", [False, True])
def test_an_output_has_one_writer(tmp_path, is_folder):
    path = tmp_path / "a.mp4"
    with hold_partial(path, is_folder=is_folder):
        with pytest.raises(InputError, match=r"a\.mp4: another process is writing it"):
            with hold_partial(path, is_folder=is_folder):
                pass
        with hold_partial(tmp_path / "b.mp4"):
            pass
    with hold_partial(path, is_folder=is_folder):
        pass
    assert not any(tmp_path.iterdir())


def test_what_another_writer_has_begun_since_is_not_removed(tmp_path):
    path = tmp_path / "a.png"
    with hold_partial(path) as partial:
        partial.write_bytes(b"first")
        os.replace(partial, path)
        partial.write_bytes(b"second")
    assert path.read_bytes() == b"first" and partial.read_bytes() == b"second"


def test_what_a_killed_writer_left_is_overwritten(tmp_path):
    clip = Video.from_array(picture(3))
    (tmp_path / ".a.partial.mp4").write_bytes(b"half" * 100_000)
    (tmp_path / ".frames.partial").mkdir()
    (tmp_path / ".frames.partial" / "frame_000009.png").touch()
    assert len(read_video(clip.save(tmp_path / "a.mp4")).frames) == 3
    assert len([*clip.save(tmp_path / "frames", codec="png").iterdir()]) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "frames"]


def test_two_writers_of_one_output_leave_one_whole_clip(tmp_path):
    path, failures = tmp_path / "a.mp4", []
    clips = [Video.from_array(picture(count, 96, 128, seed=count)) for count in (30, 40)]
    barrier = threading.Barrier(2)

    def work(clip: Video) -> None:
        barrier.wait()
        try:
            clip.save(path)
        except InputError as error:
            failures.append(str(error))

    threads = [threading.Thread(target=work, args=[clip]) for clip in clips]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_video(path).frames) in (30, 40)
    assert all("another process is writing it" in text for text in failures) and len(failures) < 2
    assert [path] == [*tmp_path.iterdir()]
