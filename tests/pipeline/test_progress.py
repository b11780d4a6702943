"""The progress of an edit as a function: what it is told, and how it ends the edit."""

import pytest

from tests.example_clips import picture
from tests.fake_model import FakePretrained
from v2v import EasyV2VEditor
from v2v.pipeline.progress import EditCanceledError, EditProgress, track, track_steps


def test_a_function_is_told_of_every_stage(tmp_path):
    seen = []
    editor = EasyV2VEditor(FakePretrained())
    editor.edit_file(
        picture(6, 32, 32), "make it grey", tmp_path / "out.mp4", mask="left", progress=seen.append
    )
    assert [*dict.fromkeys(progress.stage for progress in seen)] == ["masks", "windows", "frames"]
    for stage in ("masks", "windows", "frames"):
        done = [progress.done for progress in seen if progress.stage == stage]
        last = [progress for progress in seen if progress.stage == stage][-1]
        assert done == sorted(done) and done[0] == 0
        # The source "left" looks at one frame alone.
        assert last.done == last.total or stage == "masks"


@pytest.mark.parametrize("stage", ["windows", "frames"])
def test_it_ends_the_edit_and_nothing_is_written(tmp_path, stage):
    def end(progress):
        if progress.stage == stage:
            raise EditCanceledError

    with pytest.raises(EditCanceledError):
        EasyV2VEditor(FakePretrained()).edit_file(
            picture(6, 32, 32), "make it grey", tmp_path / "out.mp4", progress=end
        )
    assert list(tmp_path.iterdir()) == []


def test_items_pass_through():
    seen = []
    assert (
        list(track("abc", "frames", seen.append, 3))
        == list(track("abc", "frames", False, 3))
        == ["a", "b", "c"]
    )
    assert seen == [EditProgress("frames", done, 3) for done in range(4)]
    assert (
        list(track_steps([1, 2], "windows", seen.append))
        == list(track_steps([1, 2], "windows", False))
        == [1, 2]
    )
    assert list(track([], "masks", seen.append, 0)) == []
