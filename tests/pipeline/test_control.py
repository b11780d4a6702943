"""Where and when: masks, boxes, time ranges, the change map and references, by an editor whose model is a formula."""

import numpy as np
import pytest

from tests.example_clips import picture, psnr
from tests.example_clips import write as make
from tests.fake_model import FakePretrained
from tests.notes import expect_note
from v2v import EasyV2VEditor, InputError, Video


@pytest.fixture
def editor():
    return EasyV2VEditor(FakePretrained())


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


@pytest.mark.parametrize("place", [slice(None), slice(8, 40)])
def test_frames_in_which_the_mask_is_black_are_as_if_not_asked_for(editor, place):
    """A mask video that comes on and goes off is its picture and a time range, to the byte."""
    frames, mask = picture(25), np.zeros((25, 48, 64), np.uint8)
    mask[5:15, place] = 255
    timed = editor.edit_video(frames, "make it negative", mask=mask)
    both = editor.edit_video(frames, "make it negative", mask=mask[5], start=0.2, end=0.6)
    np.testing.assert_array_equal(timed.frames, both.frames)
    assert timed.report["edited_frames"] == 10
    assert (
        timed.report["mask_area"] == both.report["mask_area"] == pytest.approx(mask[5].mean() / 255, abs=1e-4)
    )


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


@pytest.mark.parametrize("mask", ["30,20,40,30", "array"])
def test_a_box_is_a_mask(editor, mask):
    frames = picture(6, 64, 96)
    painted = np.zeros((64, 96), bool)
    painted[20:50, 30:70] = True
    made = editor.edit_video(frames, "make it negative", mask=painted if mask == "array" else mask)
    np.testing.assert_array_equal(made.frames[:, ~painted], frames[:, ~painted])
    assert psnr(made.frames[:, painted], 255 - frames[:, painted]) > 28
    assert made.report["mask_area"] == pytest.approx(1200 / 6144, abs=1e-3) and made.report["leak"] == 0


def test_grey_masks_are_soft_edges(editor):
    frames, grey = picture(5, 48, 64), np.tile(np.linspace(0, 255, 64).astype(np.uint8), (48, 1))
    out = editor.edit_video(frames, "make it negative", mask=grey).frames.astype(float)
    np.testing.assert_array_equal(out[:, grey <= 32], frames[:, grey <= 32])
    full = 255 - 2 * frames.astype(float)  # what the whole edit changes
    clear = np.abs(full) > 60
    wanted = np.broadcast_to(np.clip((grey - 32.0) / 192, 0, 1)[..., None], frames.shape)
    assert np.abs((out - frames)[clear] / full[clear] - wanted[clear]).mean() < 0.05


def test_soft_sets_the_width_of_the_fade(editor):
    frames = picture(2, 64, 64)
    widths = []
    for soft in (0, 8):
        out = editor.edit_video(frames, "make it negative", mask="8,8,48,48", soft=soft).frames
        change, full = np.abs(out[0].astype(float) - frames[0]), np.abs(255 - 2 * frames[0].astype(float))
        share = change.sum(-1)[32] / full.sum(-1)[32]
        widths.append(int((share[8:32] < 0.95).sum()))
        assert not share[:8].any()
    assert (
        widths[0] <= 1 and 5 <= widths[1] <= 9
    )  # at the rim itself the edit is as sharp as it can be carried


def test_black_may_mark_the_place_but_not_in_silence(editor):
    frames, mask = picture(4, 64, 64), np.full((64, 64), 255, np.uint8)
    mask[10:30, 10:30] = 0
    with expect_note("if black marks the place, add --invert-mask"):
        editor.edit_video(frames, "make it negative", mask=mask)
    with expect_note("black marks the place, as asked"):
        out = editor.edit_video(frames, "make it negative", mask=mask, invert_mask=True).frames
    np.testing.assert_array_equal(out[:, mask > 0], frames[:, mask > 0])
    assert psnr(out[:, 12:28, 12:28], 255 - frames[:, 12:28, 12:28]) > 28


def test_a_full_mask_is_none(editor):
    with expect_note("same as no mask"):
        full = editor.edit_video(picture(), "make it grey", mask=np.ones((48, 64), bool)).frames
    np.testing.assert_array_equal(full, editor.edit_video(picture(), "make it grey").frames)


class OneCorner(FakePretrained):
    """Asked for anything, paints the upper left corner red, and everything a little brighter: an edit that leaks."""

    def sample(self, request):
        output = super().sample(request)
        latents = request.source + 1.0
        latents[:, :, :12, :12] = np.float32([220, 20, 20])
        return output.replace(latents=latents)


def test_the_change_map_keeps_an_object_edit_to_the_object():
    frames = picture(9, 96, 96)
    plain, auto = (
        EasyV2VEditor(OneCorner()).edit_video(frames, "make it red", mask=m) for m in (None, "auto")
    )
    far = np.s_[:, 60:, 60:]
    np.testing.assert_array_equal(auto.frames[far], frames[far])
    assert np.abs(auto.frames[:, 5:30, 5:30].astype(int) - (220, 20, 20)).mean() < 12
    assert (
        0.1 < auto.report["mask_area"] < 0.5 and plain.report["mask_area"] == 1 and auto.report["leak"] == 0
    )


def test_the_change_map_of_a_photometric_edit_is_everything(editor):
    frames = picture(7)
    auto = editor.edit_video(frames, "make it negative", mask="auto")
    assert auto.report["mask_area"] == 1
    np.testing.assert_array_equal(auto.frames, editor.edit_video(frames, "make it negative").frames)


@pytest.mark.parametrize("mask", ["auto", "8,8,16,16"])
@pytest.mark.parametrize("soft", [9999, np.inf])
def test_a_fade_is_checked_with_any_mask(editor, mask, soft):
    with pytest.raises(InputError, match="soft: expected a (width of 0 to 64 pixels|number, got inf)"):
        editor.edit_video(picture(3), "make it negative", mask=mask, soft=soft)


def test_leaks_are_measured():
    """Of the model's own picture, and of what is shown: nothing when preserving, all of it when not."""
    frames = picture(6, 64, 64)
    kept, shown = (
        EasyV2VEditor(OneCorner())
        .edit_video(frames, "make it red", mask="0,0,24,24", preserve=p, detail="model")
        .report
        for p in (True, False)
    )
    assert kept["leak"] == 0 and kept["leak_model"] == shown["leak_model"] == pytest.approx(1, abs=0.2)
    assert 0.5 < shown["leak"] < 6


def test_a_moment_of_a_clip_is_a_reference(editor, tmp_path):
    frames = np.repeat(np.uint8([40, 120, 200])[:, None, None, None], 10, 0).reshape(30, 1, 1, 1)
    make(tmp_path / "r.mp4", np.broadcast_to(frames, (30, 48, 64, 3)).copy())
    out = editor.edit_video(
        picture(), "the colours of the reference", reference=f"{tmp_path}/r.mp4@0.6"
    ).frames
    assert np.abs(out.astype(int) - 120).max() <= 4
    with pytest.raises(InputError, match="0 to 1.20"):
        editor.edit_video(picture(), "the colours of the reference", reference=f"{tmp_path}/r.mp4@9")


def test_a_mask_may_be_painted_in_any_colour(editor, tmp_path):
    frames, red = picture(2, 64, 64), np.zeros((64, 64, 3), np.uint8)
    red[16:48, 16:48, 0] = 255
    Video.from_array(red, 1).save(tmp_path / "red.png")
    expected = editor.edit_video(frames, "make it negative", mask=red[..., 0]).frames
    for mask in (red, tmp_path / "red.png"):
        made = editor.edit_video(frames, "make it negative", mask=mask).frames
        np.testing.assert_array_equal(made, expected)
