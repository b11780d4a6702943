"""Published editors through `v2v edit`, on tiny random models: what they are given, and what they refuse."""

import dataclasses

import cv2
import numpy as np
import pytest

from tests.checkpoints.test_editor_folder import write_bernini, write_kiwi
from tests.example_clips import picture
from tests.fake_model import FakePretrained
from tests.parity import tiny
from v2v import Video, read
from v2v.checkpoints.context_file import StoredContext, write_context
from v2v.cli import main
from v2v.config import ConditionConfig, debug
from v2v.diffusion.sampler import SampleOutput
from v2v.errors import InputError, collect_notes
from v2v.models.editor_presets import as_bernini, as_kiwi
from v2v.pipeline import editor_inputs, windowed
from v2v.pipeline.editor import EasyV2VEditor
from v2v.pipeline.second_video import read_second_video
from v2v.pipeline.settings import EditRequest, EditSettings

BERNINI = dataclasses.replace(debug(), condition=ConditionConfig(layout="segments", time="same"))
CLIP = picture(5, 48, 40)


def model(config=BERNINI, conditions=("source", "reference")):
    return FakePretrained(config, conditions=conditions)


def request(**inputs):
    settings = EditSettings(**inputs.pop("settings", {}))
    return EditRequest(CLIP, "make it grey", settings=settings, **inputs)


@pytest.mark.parametrize(
    "inputs, words",
    [
        ({"reference": [CLIP[0]] * 17}, "takes 16 at most, got 17"),
        ({"context": "c.safetensors"}, "reads the instruction itself"),
        ({"second_video": CLIP, "settings": {"detail": "tiles"}}, "expected another detail"),
        ({"settings": {"guidance_reference": 2.0}}, "isn't guided on that here"),
        ({"settings": {"guide": "v2v_chain", "guidance_reference": 2.0}}, "isn't guided on that here"),
    ],
)
def test_inputs_that_would_do_nothing_are_refused(inputs, words):
    with pytest.raises(InputError, match=words):
        editor_inputs.check_inputs(model(), request(**inputs), has_mask=False, frames=5)


def test_modes_that_a_model_does_not_have_are_refused():
    with pytest.raises(
        InputError, match="a mode of this model, prompt or prompt.reference or prompt.source, got 'rv2v'"
    ):
        editor_inputs.check_inputs(
            model(debug(), ("source", "mask")), request(settings={"guide": "rv2v"}), has_mask=False, frames=5
        )


def test_a_second_clip_needs_a_model_for_two():
    with pytest.raises(InputError, match=r"second_video: .* takes one clip"):
        editor_inputs.check_inputs(
            model(debug(), ("source", "mask")), request(second_video=CLIP), has_mask=False, frames=5
        )
    with pytest.raises(InputError, match="second_video: expected a file"):
        request(second_video="http://somewhere/clip.mp4")


def test_a_second_clip_is_shown_whole_or_at_the_windows_time():
    """At the first clip's rate, in whole latent frames of which the last may be repeated."""
    short = read_second_video(BERNINI, CLIP, 10.0, 20.0)  # 0.5 s
    assert short.frames[np.array([0])].shape == (1, 48, 40, 3)
    assert list(short.rows) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert list(short.window_rows(0, 5, 4)) == [0, 0, 1, 1, 2]
    assert list(short.window_rows(8, 5, 4)) == [2, 3, 3, 4, 4]  # beyond its end: its last frames
    whole = [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 4, 4, 4]
    assert list(short.window_rows(0, 81, 4)) == list(short.window_rows(80, 81, 4)) == whole
    assert list(read_second_video(BERNINI, CLIP[:1], 10.0, 20.0).window_rows(4, 81, 4)) == [0]


def test_what_a_model_sees_of_a_mask_is_told():
    with collect_notes() as notes:
        editor_inputs.check_inputs(model(), request(), has_mask=True, frames=5)
        editor_inputs.check_inputs(model(debug(), ("source", "mask")), request(), has_mask=True, frames=5)
    assert len(notes) == 1 and "sees whole frames" in notes[0] and "put back" in notes[0]


def test_a_clip_of_another_rate_is_told():
    with collect_notes() as notes:
        editor_inputs.tell_rate(dataclasses.replace(BERNINI, fps=16.0), 24)
        editor_inputs.tell_rate(debug(), 60)
        editor_inputs.tell_rate(dataclasses.replace(BERNINI, fps=16.0), 60)
    assert len(notes) == 1 and "trained at 16 frames a second; all 60" in notes[0]


def test_tasks_stand_before_the_instruction():
    def sentence(config=BERNINI, task="", **facts):
        given = {"has_source": True, "has_reference": False, "is_picture": False} | facts
        return editor_inputs.tell_task(config, EditSettings(task=task), **given)

    start = "You are a helpful assistant"
    assert sentence() == f"{start} specialized in video editing."
    assert sentence(has_reference=True) == f"{start} specialized in video editing with reference."
    assert sentence(is_picture=True) == f"{start} specialized in image editing."
    assert sentence(has_source=False) == f"{start} specialized in text-to-video generation."
    pictures = {"has_source": False, "has_reference": True}
    assert sentence(**pictures) == f"{start} specialized in subject-to-video generation."
    assert sentence(**pictures, is_picture=True) == f"{start} specialized in subject-to-image generation."
    assert sentence(has_second_source=True) == f"{start} specialized in ads insertion."
    assert sentence(task="mv2v").startswith(
        f"{start} for editing. You might need to adjust the video's style"
    )
    assert sentence(task="default") == f"{start}."
    assert sentence(debug()) == ""
    with pytest.raises(InputError, match="is told none"):
        sentence(debug(), task="v2v")


def test_references_have_their_own_size_or_a_white_border():
    wide = np.zeros((30, 90, 3), np.uint8)
    (own,) = editor_inputs.read_references(BERNINI, [wide])
    step = BERNINI.vae.stride_xy
    assert own.shape[:2] == (round(30 / step) * step, round(90 / step) * step)
    kiwi = dataclasses.replace(
        debug(), condition=ConditionConfig(layout="scaled_add", time="same", context="stored")
    )
    (padded,) = editor_inputs.read_references(kiwi, [wide])
    assert padded.shape == (32, 32, 3) and (padded[:10] == 255).all() and not padded[12:20].any()


def test_short_clips_are_edited_as_they_are():
    assert [windowed.clip_window(BERNINI, None, frames) for frames in (1, 2, 5, 9)] == [1, 5, 5, 5]
    assert windowed.clip_window(debug(), None, 1) == 5


def test_presets_have_the_published_numbers():
    bernini = as_bernini(debug(), 0.875).flow
    assert (bernini.shift, bernini.steps, bernini.guidance, bernini.low_guidance) == (5.0, 40, 4.0, 3.2)
    kiwi = as_kiwi(dataclasses.replace(debug()), reference_first=True)
    assert (kiwi.condition.reference, kiwi.flow.guidance, kiwi.fps) == ("before", 1.0, 15)


def test_clips_of_what_pictures_show():
    """Without a source: references at their own sizes, the task's sentence, and guidance on them; refused where a model takes none."""

    class Model(FakePretrained):
        def embed_text(self, texts):
            self.text = texts[0]
            return super().embed_text(["make it grey"])

        def encode(self, video):
            return np.asarray(video)

        def sample(self, request):
            self.request = request
            return SampleOutput(np.zeros_like(np.asarray(request.noise)))

        def decode(self, z):
            return np.zeros((1, 5, 32, 32, 3), np.float32)

    fake = Model(BERNINI, conditions=("source", "reference"))
    pictures = [np.full((30, 90, 3), 50, np.uint8), np.full((32, 32, 3), 90, np.uint8)]
    clip = EasyV2VEditor(fake).generate("a cat", reference=pictures, guidance_reference=3.0, anyway=True)
    assert clip.frames.shape == (5, 32, 32, 3) and fake.text.endswith("subject-to-video generation.a cat")
    step = BERNINI.vae.stride_xy
    assert fake.request.reference.shape == (1, 1, round(30 / step) * step, round(90 / step) * step, 3)
    assert fake.request.others["reference_2"].shape == (1, 1, 32, 32, 3)
    assert fake.request.source is None and fake.request.guidance_reference == 3.0
    for config, inputs, words in (
        (BERNINI, {"guidance_reference": 3.0}, "isn't guided on that here"),
        (BERNINI, {"reference": pictures * 9}, "takes 16 at most, got 18"),
        (debug(), {"reference": pictures[0]}, "takes none without a clip"),
    ):
        with pytest.raises(InputError, match=words):
            EasyV2VEditor(Model(config)).generate("a cat", anyway=True, **inputs)


@pytest.mark.slow
def test_bernini_edits(tmp_path, capsys):
    folder = write_bernini(tmp_path / "model", model_type="bernini_renderer")
    Video.from_array(CLIP, 10).save(tmp_path / "in.mp4")
    words = ["edit", "in.mp4", "Make the sky purple", "--model", "model", "--size", "32x32x5", "--steps", "2"]
    words = [str(tmp_path / word) if word in ("in.mp4", "model") else word for word in words]
    for i in (1, 2):
        cv2.imwrite(str(tmp_path / f"r{i}.png"), np.full((20 + 20 * i, 50, 3), 90 * i, np.uint8))
    assert folder.is_dir() and main.main([*words, "-o", str(tmp_path / "plain.mp4")]) == 0
    references = [word for i in (1, 2) for word in ("--reference", str(tmp_path / f"r{i}.png"))]
    assert main.main([*words, *references, "--mask", "5,5,20,20", "-o", str(tmp_path / "all.mkv")]) == 0
    assert "takes none: it sees whole frames" in capsys.readouterr().err
    plain, edited = (read(tmp_path / name).frames for name in ("plain.mp4", "all.mkv"))
    assert plain.shape == edited.shape == CLIP.shape
    assert main.main([*words, "--guide", "r2v_apg", "--context", "x", "-o", str(tmp_path / "no.mp4")]) == 2
    # A second clip of another size, rate and length changes the edit, and takes nothing of its size.
    Video.from_array(picture(9, 32, 64), 20).save(tmp_path / "second.mp4")
    second = ["--second-video", str(tmp_path / "second.mp4")]
    exact = ["--detail", "model", "--crf", "0", "--pix-fmt", "yuv444p"]
    assert main.main([*words, *exact, "-o", str(tmp_path / "one.mkv")]) == 0
    assert main.main([*words, *exact, *second, "--task", "v2v", "-o", str(tmp_path / "two.mkv")]) == 0
    one, two = (read(tmp_path / name).frames.astype(int) for name in ("one.mkv", "two.mkv"))
    assert one.shape == two.shape and np.abs(one - two).max() > 2
    assert main.main([*words, *references, *second, "--guide", "rv2v", "-o", str(tmp_path / "both.mkv")]) == 0


@pytest.mark.slow
def test_kiwi_edits(tmp_path, capsys):
    folder = write_kiwi(tmp_path / "model", vae=dataclasses.replace(tiny.config().vae, mean=(), std=()))
    Video.from_array(CLIP, 10).save(tmp_path / "in.mp4")
    rows = tiny.normal("context", 7, tiny.config().dit.width)
    write_context(tmp_path / "c.safetensors", StoredContext(rows, "Remove it.", "video"))
    write_context(tmp_path / "r.safetensors", StoredContext(rows, "Remove it.", "reference"))
    cv2.imwrite(str(tmp_path / "r.png"), np.full((20, 50, 3), 90, np.uint8))
    words = ["edit", str(tmp_path / "in.mp4"), "Remove it.", "--model", str(folder), "--size", "64x64x5"]
    words += ["--steps", "2", "-o", str(tmp_path / "out.mp4"), "--overwrite"]
    assert main.main(words) == 2 and "kiwi_contexts.py" in capsys.readouterr().err
    context = ["--context", str(tmp_path / "c.safetensors")]
    assert main.main([*words, *context]) == 0
    assert read(tmp_path / "out.mp4").frames.shape == CLIP.shape
    reference = ["--context", str(tmp_path / "r.safetensors"), "--reference", str(tmp_path / "r.png")]
    assert main.main([*words, *reference]) == 0
    for more, told in (
        (["--guidance", "3"], "no empty sentence"),
        (["--negative", "blurry"], "none to lead away from"),
        (["--reference", str(tmp_path / "r.png")], "was made without a reference"),
    ):
        capsys.readouterr()
        assert main.main([*words, *context, *more]) == 2 and told in capsys.readouterr().err
