"""The flow of editing, on a stand-in model whose edit is known exactly: windows, masks, time, sound, adapters, errors."""

import numpy as np
import pytest

from tests.clips import picture, psnr
from tests.clips import write as make
from tests.fake import FakePretrained
from v2v import EasyV2VEditor, InputError, Video, lora_context
from v2v.config import debug

GREY = np.float32([0.299, 0.587, 0.114])


def grey(frames):
    return np.repeat((frames @ GREY)[..., None], 3, -1)


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


def test_files_keep_sound_times_and_size(editor, tmp_path):
    frames = picture(20, 48, 64)
    make(tmp_path / "in.mp4", frames, tones=(440,))
    out = editor.edit_video(tmp_path / "in.mp4", "make it negative")
    assert out.audio and out.duration == pytest.approx(20 / 25)
    out.save(tmp_path / "out.mp4")
    assert psnr(out.frames, 255 - frames) > 30


def test_outside_the_mask_nothing_changes(editor):
    frames = picture(12, 64, 96)
    mask = np.zeros((64, 96), bool)
    mask[20:50, 30:70] = True
    out = editor.edit_video(frames, "make it negative", mask=mask).frames
    np.testing.assert_array_equal(out[:, ~mask], frames[:, ~mask])
    assert psnr(out[:, 22:48, 32:68], 255 - frames[:, 22:48, 32:68]) > 28


def test_the_mask_fades_inwards_on_large_frames(editor):
    frames = picture(3, 960, 960)
    mask = np.zeros((960, 960), np.uint8)
    mask[200:700, 300:800] = 255
    out = editor.edit_video(frames, "make it negative", mask=mask).frames
    change = np.abs(out[0].astype(int) - frames[0]).sum(-1)
    assert not change[mask == 0].any()
    assert 0 < change[200, 500] < change[201, 500] < change[203, 500]


def test_a_moving_mask(editor, tmp_path):
    frames, mask = picture(10, 64, 64), np.zeros((10, 64, 64), np.uint8)
    for t in range(10):
        mask[t, 10:40, 3 * t : 3 * t + 24] = 255
    make(tmp_path / "mask.mkv", np.repeat(mask[..., None], 3, -1), codec="ffv1", pix_fmt="gray")
    out = editor.edit_video(frames, "make it negative", mask=tmp_path / "mask.mkv").frames
    np.testing.assert_array_equal(out[mask == 0], frames[mask == 0])
    assert np.all(out[mask > 0] != frames[mask > 0], axis=-1).mean() > 0.9


def test_start_and_end(editor):
    frames = picture(25)
    out = editor.edit_video(frames, "make it negative", start=0.2, end=0.6, fps=25).frames
    np.testing.assert_array_equal(out[:5], frames[:5])
    np.testing.assert_array_equal(out[15:], frames[15:])
    assert psnr(out[5:15], 255 - frames[5:15]) > 38


def test_no_preserve_shows_the_model_everywhere(editor):
    """Then the model is told where and when, and its picture is shown as it is."""
    frames = picture(10, 64, 64)
    mask = np.zeros((64, 64), bool)
    mask[:32] = True
    out = editor.edit_video(
        frames, "make it negative", mask=mask, end=0.2, preserve=False, detail="model"
    ).frames
    seen = np.concatenate([call["mask"][:, :, ::16, 0, 0] for call in editor.model.calls])
    assert set(np.unique(seen)) == {0, 255}
    assert psnr(out[0, 4:28], 255 - frames[0, 4:28]) > 30 and psnr(out[9], frames[9]) > 30
    assert not np.array_equal(out[9], frames[9])


def test_reference(editor, tmp_path):
    colour = np.full((40, 30, 3), (200, 100, 50), np.uint8)
    Video.from_array(colour).save(tmp_path / "r.png")
    for reference in (colour, tmp_path / "r.png"):
        out = editor.edit_video(picture(), "the colours of the reference", reference=reference).frames
        assert np.abs(out.astype(int) - (200, 100, 50)).max() <= 2
    with pytest.raises(InputError, match="one picture"):
        editor.edit_video(picture(), "make it grey", reference=picture(T=2))


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
    with pytest.warns(UserWarning, match='"frobnicate"'):
        editor.edit_video(picture(), "make it grey frobnicate")
    with pytest.raises(InputError, match="none of its words"):
        editor.edit_video(picture(), "frobnicate gizmos")


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
