"""The flow of editing, on a stand-in model whose edit is known exactly: windows, masks, time, sound, adapters, errors."""

import dataclasses

import numpy as np
import pytest

from tests.example_clips import picture, psnr
from tests.example_clips import write as make
from tests.fake_model import FakePretrained, grey
from tests.notes import expect_note
from v2v import EasyV2VEditor, InputError, Video, lora_context, read
from v2v.assets import SAMPLE
from v2v.config import debug
from v2v.diffusion.windows import noise_seeds
from v2v.pipeline import tiled
from v2v.pipeline.pretrained import load_pretrained
from v2v.pipeline.pretrained_model import Pretrained
from v2v.pipeline.settings import EditRequest, EditSettings
from v2v.video.segmentation import registry
from v2v.video.segmentation.halves import HalfSource
from v2v.video.segmentation.text import TextMask
from v2v.video.segmentation.text_reading import TextLine


@pytest.fixture
def editor():
    return EasyV2VEditor(FakePretrained())


@pytest.mark.parametrize("T", [1, 2, 5, 6, 13, 40])
@pytest.mark.parametrize("H,W", [(32, 32), (45, 81), (90, 20)])
def test_any_length_and_size(editor, T, H, W):
    """One compiled shape serves every clip, and a photometric edit is exact at the clip's own size."""
    frames = picture(T, H, W)
    out = editor.edit_video(frames, "make it grey", fps=12)
    assert out.frames.shape == frames.shape and out.fps == 12 and len(out.times) == T
    assert psnr(out.frames, grey(frames)) > 38
    assert {call["shape"] for call in editor.model.calls} == {(debug().batch, 5, 32, 32, 3)}


@pytest.mark.parametrize(("start", "edited"), [(None, 8), (0.12, 5)])
def test_masks_by_name(editor, start, edited):
    """What a mask source finds is edited, the rest isn't, and of a time range only its frames are searched."""
    frames = picture(8, 48, 64)
    seen = []

    class FoundHalf(HalfSource):
        def find(self, frames):
            seen.append(len(list(frames)))
            return super().find([np.zeros((48, 64, 3), np.uint8)])

    info = registry.MaskSourceInfo("for this test", lambda files, argument: FoundHalf("left"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.MASK_SOURCES, "there", info)
        out = editor.edit_video(frames, "make it negative", mask="there", start=start, soft=0).frames
        turned = editor.edit_video(frames, "make it negative", mask="there", invert_mask=True, soft=0).frames
    assert seen == [edited, 8]
    np.testing.assert_array_equal(out[:, :, 32:], frames[:, :, 32:])
    np.testing.assert_array_equal(out[: 8 - edited], frames[: 8 - edited])
    assert psnr(out[8 - edited :, :, :32], 255 - frames[8 - edited :, :, :32]) > 30
    np.testing.assert_array_equal(turned[:, :, :32], frames[:, :, :32])
    assert psnr(turned[:, :, 32:], 255 - frames[:, :, 32:]) > 30


@pytest.mark.parametrize("start", [None, 0.08])
def test_text_is_removed_without_the_model(editor, start):
    """An instruction to remove what was found as text fills it; any other edits its boxes."""
    frames = picture(6, 48, 64)
    first = 0 if start is None else 2
    line = TextLine("AB", np.array([(20, 20), (40, 20), (40, 30), (20, 30)], np.float32))

    class FoundText(HalfSource):
        def find(self, frames):
            return TextMask((48, 64), [[line] for _ in frames])

    info = registry.MaskSourceInfo("for this test", lambda files, argument: FoundText("left"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.MASK_SOURCES, "words", info)
        removed = editor.edit_video(frames, "Remove the text", mask="words", start=start)
        assert not editor.model.calls
        edited = editor.edit_video(frames, "make it negative", mask="words", start=start)
    assert editor.model.calls and removed.report["edited_frames"] == 6 - first
    assert 0 < removed.report["mask_area"] == edited.report["mask_area"] < 0.2
    for out in (removed.frames, edited.frames):
        np.testing.assert_array_equal(out[:first], frames[:first])
        np.testing.assert_array_equal(out[:, :10], frames[:, :10])


def test_files_keep_sound_times_and_size(editor, tmp_path):
    frames = picture(20, 48, 64)
    make(tmp_path / "in.mp4", frames, tones=(440,))
    out = editor.edit_video(tmp_path / "in.mp4", "make it negative")
    assert out.audio and out.duration == pytest.approx(20 / 25)
    out.save(tmp_path / "out.mp4")
    assert psnr(out.frames, 255 - frames) > 30


def test_detail_model_is_plainly_enlarged(editor):
    frames = np.random.default_rng(0).integers(0, 256, (5, 128, 128, 3), dtype=np.uint8)
    guided, model = (editor.edit_video(frames, "make it grey", detail=d).frames for d in ("guided", "model"))
    assert psnr(guided, grey(frames)) > 30 > 20 > psnr(model, grey(frames))


def test_settings_reach_the_sampler(editor):
    first = editor.edit_video(picture(), "make it grey", seed=3)
    editor.edit_video(picture(), "make it grey", seed=4, steps=7, guidance=2.5)
    again = editor.edit_video(picture(), "make it grey", seed=3)
    a, b, c = editor.model.calls[0], editor.model.calls[-2], editor.model.calls[-1]
    flow = editor.model.config.flow
    assert (a["steps"], a["guidance"]) == (flow.steps, flow.guidance) and (b["steps"], b["guidance"]) == (
        7,
        2.5,
    )
    np.testing.assert_array_equal(a["noise"], c["noise"])
    assert not np.array_equal(a["noise"], b["noise"])
    np.testing.assert_array_equal(a["seeds"], noise_seeds(3, 0, len(a["seeds"])))
    np.testing.assert_array_equal(c["seeds"], a["seeds"])
    np.testing.assert_array_equal(first.frames, again.frames)


def test_adapters(editor):
    frames = picture(5, 32, 32)

    def brightness():
        return editor.edit_video(frames, "make it", detail="model").frames.mean() - frames.mean()

    with lora_context(editor, 20, scale=0.5) as same:
        assert same is editor and brightness() == pytest.approx(10, abs=1.5)
        with lora_context(editor, 10):
            assert brightness() == pytest.approx(20, abs=1.5)
    assert brightness() == pytest.approx(0, abs=1)
    with pytest.raises(RuntimeError), lora_context(editor, 20):
        raise RuntimeError
    assert brightness() == pytest.approx(0, abs=1)
    with pytest.raises(InputError), lora_context(editor, "missing.safetensors"):
        raise AssertionError
    editor.load_lora_weights(30)
    assert brightness() > 20
    editor.unload_lora_weights()
    assert brightness() == pytest.approx(0, abs=1)


def test_unknown_words_are_told(editor):
    with expect_note('"frobnicate"'):
        editor.edit_video(picture(), "make it grey frobnicate")
    with pytest.raises(InputError, match="none of its words"):
        editor.edit_video(picture(), "frobnicate gizmos")


def test_the_end_of_a_long_instruction_is_told(editor):
    with expect_note(r'24 tokens; its end is left out: "negative grey"'):
        made = editor.edit_video(picture(), "grey " * 24 + "negative grey")
    assert made.report["left_out"] == "negative grey"


def test_the_report_echoes_what_was_asked(editor):
    made = editor.edit_video(
        picture(25), "  make it\tgrey ", start=0.2, end=0.6, strength=0.5, steps=3, seed=7
    )
    wanted = {
        "prompt": "make it grey",
        "unknown_words": [],
        "left_out": "",
        "seed": 7,
        "steps": 3,
        "strength": 0.5,
    }
    wanted |= {
        "edited_frames": 10,
        "edited_from": 0.2,
        "edited_to": 0.6,
        "edited_seconds": 0.4,
        "mask_area": 1.0,
    }
    assert {name: made.report[name] for name in wanted} == wanted
    assert editor.model.calls[-1]["strength"] == 0.5


def test_windows_share_noise_and_hand_on(editor):
    """Every window of a long clip has its frames' own noise, whatever batch it comes in."""
    wide = dataclasses.replace(debug(), frames=37)  # 9 groups a window, of which neighbours share 2
    seen = {}
    for batch in (1, 4):
        model = FakePretrained(dataclasses.replace(wide, batch=batch))
        made = EasyV2VEditor(model).edit_video(picture(128, 32, 32), "make it negative", detail="model")
        seen[batch] = [call["noise"] for call in model.calls], made.frames
        assert [call["links"].weight[0].min() < 1 for call in model.calls] == [
            i > 0 for i in range(len(model.calls))
        ]
    np.testing.assert_array_equal(seen[1][0][4], seen[4][0][1])
    np.testing.assert_array_equal(seen[1][1], seen[4][1])
    assert psnr(seen[1][1], 255 - picture(128, 32, 32)) > 38


def test_shorter_windows_may_be_asked_for():
    model = FakePretrained(dataclasses.replace(debug(), frames=13))
    EasyV2VEditor(model).edit_video(picture(20), "make it grey", window=9)
    assert {call["shape"][1] for call in model.calls} == {9}


@pytest.mark.parametrize("H,W", [(32, 32), (70, 100), (20, 90)])
@pytest.mark.parametrize("T", [1, 14])
def test_tiles_paint_at_full_size(H, W, T):
    """Fine detail comes out of the model itself, without seams between tiles or windows."""
    model = FakePretrained(dataclasses.replace(debug(), frames=9))
    frames = np.random.default_rng(0).integers(0, 256, (T, H, W, 3), dtype=np.uint8)
    out = EasyV2VEditor(model).edit_video(frames, "make it negative", detail="tiles").frames
    assert np.abs(out.astype(int) - (255 - frames.astype(int))).max() <= 1
    assert model.calls[-1]["strength"] == tiled.TILE_STRENGTH and model.calls[0]["strength"] == 1


def test_tiles_are_guided_as_the_whole_is(editor):
    how = {"reference": picture(1)[0], "guide": "prompt+reference", "detail": "tiles"}
    editor.edit_video(picture(5, 96, 64), "make it reference", **how)
    assert len(editor.model.calls) > 1 and {call["mode"] for call in editor.model.calls} == {
        "prompt+reference"
    }


def test_tiles_with_a_mask_and_a_range(editor):
    frames = picture(12, 64, 64)
    out = editor.edit_video(frames, "make it negative", mask="16,16,32,32", start=0.16, detail="tiles").frames
    np.testing.assert_array_equal(out[:4], frames[:4])
    np.testing.assert_array_equal(out[:, :16], frames[:, :16])
    assert psnr(out[4:, 18:46, 18:46], 255 - frames[4:, 18:46, 18:46]) > 30


def test_from_file_to_file(editor, tmp_path):
    """The same bytes as in memory, before encoding; nothing else is left in the folder."""
    make(tmp_path / "in.mp4", picture(30, 48, 64), tones=(440,))
    made = editor.edit_file(tmp_path / "in.mp4", "make it negative", tmp_path / "out.mp4", mask="10,10,30,30")
    held = editor.edit_video(tmp_path / "in.mp4", "make it negative", mask="10,10,30,30")
    np.testing.assert_array_equal(np.asarray(made.frames), held.frames)
    assert isinstance(held.frames, np.ndarray) and not isinstance(made.frames, np.ndarray)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]
    assert read(tmp_path / "out.mp4").frames.shape == (30, 48, 64, 3)
    with pytest.raises(InputError, match="output is the input"):
        editor.edit_file(tmp_path / "in.mp4", "make it grey", tmp_path / "in.mp4")


def test_no_output_takes_the_place_of_what_is_read_or_can_hold_it(editor, tmp_path):
    make(tmp_path / "in.mp4", picture(6))
    for name in ("mask.png", "look.png"):
        Video.from_array(picture(1), 1).save(tmp_path / name)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    clip, still = tmp_path / "in.mp4", tmp_path / "look.png"
    with pytest.raises(InputError, match="output is the mask"):
        editor.edit_file(still, "make it grey", tmp_path / "mask.png", mask=tmp_path / "mask.png")
    with pytest.raises(InputError, match="output is the reference"):
        editor.edit_file(clip, "make it grey", still, reference=still)
    with pytest.raises(InputError, match="output is the reference"):
        editor.edit_file(picture(6), "make it grey", clip, reference=f"{clip}@0.1")
    with pytest.raises(InputError, match="a still holds one frame"):
        editor.edit_file(clip, "make it grey", tmp_path / "out.png")
    assert not editor.model.calls and before == {path: path.read_bytes() for path in tmp_path.iterdir()}


def test_frames_in_any_order_in_memory(editor):
    """A portrait phone's frames are transposed in memory; OpenCV takes no such arrays."""
    frames = picture(5, 96, 64)
    turned = np.ascontiguousarray(frames.transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3)
    for given in (turned, np.asfortranarray(frames)):
        made = editor.edit_video(given, "make it grey")
        np.testing.assert_array_equal(made.frames, editor.edit_video(frames, "make it grey").frames)


def test_numbers_beyond_numbers_are_told(editor):
    class Broken(type(editor.model)):
        def sample(self, request):
            output = super().sample(request)
            return output.replace(latents=np.full_like(output.latents, np.nan, np.float32))

    editor.model = Broken(**vars(editor.model))
    with pytest.raises(InputError, match="no numbers any more.*lower --guidance"):
        editor.edit_video(picture(), "make it grey")
    for wrong in (float("inf"), float("nan")):
        with pytest.raises(InputError, match="guidance: expected a number"):
            editor.edit_video(picture(), "make it grey", guidance=wrong)


def test_a_clip_that_changes_meanwhile_is_refused(editor, tmp_path):
    make(tmp_path / "in.mp4", picture(10))
    edited = editor.edit(EditRequest(tmp_path / "in.mp4", "make it grey"))
    make(tmp_path / "in.mp4", picture(8))
    with pytest.raises(InputError, match="changed while"):
        edited.video.save(tmp_path / "out.mp4")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.mp4"]


@pytest.mark.parametrize(
    "message,arguments",
    [
        ("sentence", {"instruction": "  "}),
        ("detail", {"detail": "fine"}),
        ("steps", {"steps": 0}),
        ("size 64x48", {"mask": np.ones((48, 63), bool)}),
        ("1 frame or the clip's 8", {"mask": np.ones((7, 48, 64), bool)}),
        ("black everywhere", {"mask": np.zeros((48, 64), bool)}),
        ("expected as", {"mask": np.ones(5)}),
        ("within the frame, 64x48", {"mask": "40,10,30,10"}),
        ("within the frame", {"mask": "4,10,0,10"}),
        ("soft", {"mask": "0,0,9,9", "soft": -1}),
        ("strength", {"strength": 0}),
        ("strength", {"strength": 1.5}),
        ("seed", {"seed": -1}),
        ("up to 5 frames, got 9", {"window": 9}),
        ("4n \\+ 1 frames, got 3; 1 would do", {"window": 3}),
        ("start before end", {"start": 0.2, "end": 0.1}),
        ("within the clip", {"end": 9.0}),
        ("within the clip", {"start": -1.0}),
        ("cover a frame", {"start": 0.321, "end": 0.322}),
        ("black in every frame", {"mask": np.eye(8)[0][:, None, None] * np.ones((48, 64)), "start": 0.1}),
        ("no such file", {"mask": "none.png"}),
        ("no such file", {"reference": "none.png"}),
        ("no such file", {"reference": "none.mp4@2"}),
        ("no such file", {"video": "none.mp4"}),
        ("expected uint8", {"video": np.zeros((3, 4, 4))}),
        ("fps", {"fps": 0}),
    ],
)
def test_bad_input(editor, message, arguments):
    arguments = {"video": picture(), "instruction": "make it grey", **arguments}
    with pytest.raises(InputError, match=message) as caught:
        editor.edit_video(**arguments)
    assert "\n" not in str(caught.value)


def test_settings_by_their_names_elsewhere():
    assert EditSettings.of(guidance_scale=2.0, num_inference_steps=3) == EditSettings(guidance=2.0, steps=3)
    for wrong, remedy in (
        ({"generator": 1}, "write seed=NUMBER"),
        ({"sed": 1}, "did you mean seed"),
        ({"anything": 1}, "known are amount, anyway, detail, end"),
        ({"guidance": 1, "guidance_scale": 2}, "leave one out"),
    ):
        with pytest.raises(InputError, match=remedy):
            EditSettings.of(**wrong)


def test_the_sample_and_urls_by_name():
    assert EditRequest("sample", "make it sepia").video == SAMPLE
    for name in ("video", "mask", "reference"):
        inputs = {"video": "in.mp4", "instruction": "make it sepia", name: "https://example.com/a.png"}
        with pytest.raises(InputError, match=f"{name}: expected a file.*download it first"):
            EditRequest(**inputs)


def test_a_negation_that_is_not_understood_is_refused_and_slips_are_guessed(monkeypatch):
    """Of a model with a small vocabulary that brings no abilities; what it would edit is not looked at."""

    class ReachedError(Exception):
        pass

    def encode(model, video):
        raise ReachedError

    monkeypatch.setattr(Pretrained, "encode", encode)
    editor = EasyV2VEditor(load_pretrained("embedded").with_abilities(None))
    for sentence, word in (("do not make it darker", "not"), ("don't make it darker", "don")):
        with pytest.raises(InputError, match=f'doesn\'t know "{word}" and would do the opposite'):
            editor.edit_video(picture(), sentence)
    with expect_note('did you mean "sepia" in place of "sephia"'), pytest.raises(ReachedError):
        editor.edit_video(picture(), "make it sephia", steps=1)


@pytest.mark.parametrize("side, expected", [(256, "model"), (64, "guided")])
def test_clips_of_a_large_models_own_size_keep_its_picture(side, expected):
    model = FakePretrained(dataclasses.replace(debug(), frames=5, height=side, width=side, batch=1))
    editor, frames = EasyV2VEditor(model), picture(5, side, side)
    default, same = (
        np.asarray(list(editor.edit_video(frames, "make it grey", **settings).frames))
        for settings in ({}, {"detail": expected})
    )
    np.testing.assert_array_equal(default, same)
    other = editor.edit_video(frames[:, : side // 2], "make it grey").frames
    guided = editor.edit_video(frames[:, : side // 2], "make it grey", detail="guided").frames
    np.testing.assert_array_equal(np.asarray(list(other)), np.asarray(list(guided)))


def test_an_edited_first_frame_goes_on(editor):
    """The first window begins with it, each later one with the frame of the window before that shows the same moment."""
    editor.model.conditions = ()
    frames, first = picture(14, 32, 32), np.full((64, 64, 3), 200, np.uint8)
    with expect_note("doesn't see how the source moves"):
        out = editor.edit_video(frames, "make it grey", first_frame=first, detail="model")
    assert (out.frames[0] == 200).all()
    calls = editor.model.calls
    assert len(calls) > 2 and (np.asarray(calls[0]["first"]) == 200).all()
    begins = 4 * np.cumsum([call["links"].shift[0] for call in calls])
    for begin, call in zip(begins[1:], calls[1:], strict=True):
        start = editor.model.decode(np.asarray(call["first"]))[0, 0]
        assert np.abs(start - grey(frames[begin].astype(np.float32))).max() <= 1
    assert (
        editor.edit_video(frames, "make it grey", first_frame=first, strength=0.5).report["strength"] == 0.5
    )
    with expect_note("first frame: 64x32 is stretched"):
        editor.edit_video(frames, "make it grey", first_frame=first[:32], strength=0.5)


def test_models_that_were_never_trained_to_edit(editor):
    """They are refused with the ways that they have, and begin with the noised source where that is said."""
    editor.model.conditions = ()
    with pytest.raises(InputError, match=r"never trained to edit; .*--lora.*--strength 0.7.*--first-frame"):
        editor.edit_video(picture(), "make it grey")
    with expect_note("it begins with the source under noise"):
        editor.edit_video(picture(), "make it grey", strength=0.6)
    assert editor.model.calls[-1]["strength"] == 0.6


def test_what_guidance_leads_away_from(editor):
    editor.edit_video(picture(), "make it grey")
    assert editor.model.calls[-1]["negative"] is None
    editor.edit_video(picture(), "make it grey", negative_prompt="negative")
    negative = editor.model.calls[-1]["negative"]
    assert negative.shape == (editor.model.config.batch, 1, 3) and negative[0, 0].tolist() == [0, 1, 0]
    with expect_note("does nothing at guidance 1"):
        editor.edit_video(picture(), "make it grey", negative="negative", guidance=1)
    with pytest.raises(InputError, match="negative: expected a text, got 3"):
        EditSettings(negative=3)
