"""What callers see of the sampling: a function after each step as diffusers' pipelines call it, cancel, and the forms of the result."""

import importlib
import threading

import numpy as np
import pytest

from tests.example_clips import picture
from tests.fake_model import FakePretrained
from v2v import EasyV2VEditor, InputError
from v2v.pipeline.progress import EditCanceledError

CLIP = picture(5, 32, 32)
LONG = picture(40, 32, 32)


@pytest.fixture
def editor():
    return EasyV2VEditor(FakePretrained())


def test_a_function_is_called_after_each_step(editor):
    calls = []

    def look(pipeline, step, timestep, callback_kwargs):
        calls.append((pipeline, step, timestep, callback_kwargs["latents"].shape, callback_kwargs["windows"]))

    plain = editor.edit_video(CLIP, "make it grey", steps=4)
    seen = editor.edit_video(CLIP, "make it grey", steps=4, callback_on_step_end=look)
    np.testing.assert_array_equal(seen.frames, plain.frames)
    rows = editor.model.config.batch
    assert [call[1] for call in calls] == [0, 1, 2, 3] and {call[0] for call in calls} == {editor}
    assert [call[2] for call in calls] == [1000, 750, 500, 250]
    assert all(call[3][0] == rows and call[4] == [0] * rows for call in calls)


def test_it_may_change_the_latents(editor):
    def blacken(pipeline, step, timestep, callback_kwargs):
        return {"latents": np.zeros_like(callback_kwargs["latents"])} if step == 1 else {}

    changed = editor.edit_video(CLIP, "make it grey", steps=2, detail="model", callback_on_step_end=blacken)
    assert changed.frames.max() == 0
    with pytest.raises(InputError, match="expected it to return None"):
        editor.edit_video(CLIP, "make it grey", callback_on_step_end=lambda *_: 3)


def test_an_event_ends_the_edit_between_steps(editor, tmp_path):
    stop, steps = threading.Event(), []

    def look(pipeline, step, timestep, callback_kwargs):
        steps.append(step)
        if step == 1:
            stop.set()

    with pytest.raises(EditCanceledError):
        editor.edit_file(
            CLIP, "make it grey", tmp_path / "out.mp4", steps=5, callback_on_step_end=look, cancel=stop
        )
    assert steps == [0, 1] and list(tmp_path.iterdir()) == []
    with pytest.raises(EditCanceledError):
        editor.edit_video(CLIP, "make it grey", cancel=stop)
    stop.clear()
    editor.edit_file(CLIP, "make it grey", tmp_path / "out.mp4", cancel=stop)
    assert (tmp_path / "out.mp4").exists()


def test_an_event_ends_the_edit_while_frames_are_written(editor, tmp_path):
    stop = threading.Event()

    def show(progress):
        if progress.stage == "frames" and progress.done >= 2:
            stop.set()

    with pytest.raises(EditCanceledError):
        editor.edit_file(CLIP, "make it grey", tmp_path / "out.mp4", progress=show, cancel=stop)
    assert list(tmp_path.iterdir()) == []


def test_bars_are_shown_beside_an_event(editor, capfd):
    editor.edit_video(CLIP, "make it grey", progress=True, cancel=threading.Event())
    assert "editing windows" in capfd.readouterr().err
    editor.edit_video(CLIP, "make it grey", cancel=threading.Event())
    assert capfd.readouterr().err == ""


def test_arrays_and_pictures(editor):
    video = editor.edit_video(CLIP, "make it grey")
    array = editor.edit_video(CLIP, "make it grey", output_type="np")
    assert array.dtype == np.float32 and array.shape == CLIP.shape
    np.testing.assert_array_equal(np.rint(255 * array), video.frames)
    with pytest.raises(InputError, match="output_type: expected one of video, np, pil, latent, got 'tensor'"):
        editor.edit_video(CLIP, "make it grey", output_type="tensor")


def test_pictures_need_pillow(editor, monkeypatch):
    def absent(name):
        raise ImportError(name)

    with monkeypatch.context() as patch:
        patch.setattr(importlib, "import_module", absent)
        with pytest.raises(InputError, match="pip install pillow"):
            editor.edit_video(CLIP, "make it grey", output_type="pil")
    pytest.importorskip("PIL")
    video = editor.edit_video(CLIP, "make it grey")
    pictures = editor.edit_video(CLIP, "make it grey", output_type="pil")
    np.testing.assert_array_equal(np.stack(pictures), video.frames)


def test_latents_of_every_window(editor):
    model = editor.model
    latents = editor.edit_video(LONG, "make it grey", output_type="latent")
    assert latents.starts[0] == 0 and len(latents.starts) == len(latents.latents) > 1
    assert all(np.diff(latents.starts) > 0)
    video = editor.edit_video(LONG, "make it grey", detail="model")
    first = model.decode(latents.latents[:1])[0]
    count = latents.starts[1]
    np.testing.assert_allclose(first[:count].mean((1, 2)), video.frames[:count].mean((1, 2)), atol=1.5)
    assert editor.edit_video(CLIP, "make it grey", start=0.1, output_type="latent").starts[0] > 0


@pytest.mark.parametrize("name", ["callback", "callback_on_step_end_tensor_inputs"])
def test_other_names_of_diffusers_are_explained(editor, name):
    with pytest.raises(InputError, match=f"{name}: no such setting; (write|leave)"):
        editor.edit_video(CLIP, "make it grey", **{name: None})


def test_steps_that_are_skipped_have_no_function(editor):
    editor.model.skipping = object()
    with pytest.raises(InputError, match="computes each step"):
        editor.edit(None, callback_on_step_end=print)
