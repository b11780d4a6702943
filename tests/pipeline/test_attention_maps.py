"""Attention that is shown is the attention that is used, and lies over the right words, places and frames."""

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny_model
from tests.fake_model import FakePretrained
from tests.models.test_kv_cache import conditions, random_variables
from tests.models.test_transformer import CFG, C, T, X, Y, noise
from v2v import EasyV2VEditor
from v2v.diffusion import windows
from v2v.errors import InputError
from v2v.models.attention import attention_weights
from v2v.models.text_encoder import build_word_tokenizer
from v2v.models.transformer import DiT
from v2v.pipeline import attention_maps, windowed
from v2v.pipeline.attention_maps import Word
from v2v.pipeline.settings import EditRequest, EditSettings


def test_a_head_that_looks_at_one_place_is_believed_over_one_that_looks_everywhere():
    q = jnp.zeros((1, 2, 2, 4)).at[0, :, 0, 0].set(40.0)  # head 0 is sharp, head 1 even
    k = jnp.zeros((1, 6, 2, 4)).at[0, 4, 0, 0].set(40.0)
    places = np.zeros((6, 4), np.float32)
    places[:5, 0], places[:5, 3] = 1, np.arange(5)  # keys 0 to 4 are the source's, at x = 0 to 4
    share, p, t, y, x = np.moveaxis(np.asarray(attention_weights(q, k, places))[0], -1, 0)
    np.testing.assert_allclose(share, (1 + 5 / 6) / 2, atol=1e-4)
    np.testing.assert_allclose(x / p, 4, atol=0.3)
    np.testing.assert_allclose(attention_weights(q, k).sum(-1), 1, atol=1e-5)


@pytest.mark.slow
def test_looking_changes_nothing_and_is_laid_out_as_the_target():
    variables, shown = random_variables(), conditions(("source", "mask", "reference"))
    z, text = noise(7, 2, T, Y, X, C), noise(5, 2, CFG.dit.text_len, CFG.dit.text_width)
    dit, tau = DiT(CFG.dit), jnp.full(2, 0.5)

    @jax.jit
    def both(variables):
        plain = dit.apply(variables, z, tau, text, **shown)
        watched, made = dit.apply(variables, z, tau, text, **shown, mutable=["attention"])
        return plain, watched, made["attention"]["blocks"]

    plain, watched, made = both(variables)
    np.testing.assert_allclose(watched, plain, atol=1e-5 * float(jnp.abs(plain).max()))
    words, flow = attention_maps._build_observer(CFG)(variables, z, 0.1 * z, text, shown)
    assert words.shape == (2, T, Y, X, CFG.dit.text_len) and flow.shape == (2, T, Y, X, 5)
    np.testing.assert_allclose(words.sum(-1), 1, atol=1e-4)
    where = flow[..., 2:] / flow[..., 1:2]
    assert (flow[..., 0] > 0).all() and (flow[..., 0] < 1).all()
    assert (where >= 0).all() and (where <= np.array([T, Y, X]) - 1).all()
    assert made["self_attn"]["seen"].shape[:3] == (CFG.dit.layers, 2, 2 * T * Y * X + Y * X)


def test_words_find_their_tokens():
    tokenizer = build_word_tokenizer(["make", "the", "sky", "purple"], 6, 16)
    words = attention_maps.find_words(tokenizer, "Make the  sky purple!")
    assert words == [Word("Make", [0]), Word("the", [1]), Word("sky", [2]), Word("purple", [3])]
    # The text encoder reads six tokens.
    assert len(attention_maps.find_words(tokenizer, "the sky the sky the sky the sky")) == 6


def test_windows_become_frames():
    """Each window's maps hold its own place in the clip; averaged over windows they must be the clip's."""
    stride, T_window, n = CFG.vae.stride_t, CFG.frames, 11
    model = FakePretrained(CFG)
    model.tokenizer = None
    recorder = attention_maps.AttentionRecorder(model)
    plan = windows.WindowPlan.of(n, T_window, stride)
    batches = windowed.window_batches(len(plan.starts), CFG.batch)
    for batch in batches:
        place = np.stack([plan.starts[i] + np.arange(plan.frames) for i in batch]).astype(np.float32)
        maps = np.broadcast_to(place[:, :, None, None, None], (*place.shape, Y, X, 1))
        recorder.recorded.append(attention_maps.AttentionMaps(maps, maps))
    found = recorder.over_frames(n, T_window).text[:, 0, 0, 0]
    assert len(found) == n and (np.diff(found) >= -0.5).all() and found[0] == 0
    assert found[-1] == pytest.approx(-(-(n - 1) // stride), abs=0.01)


def test_panels_show_heat_where_attention_is(tmp_path):
    frames = np.full((3, 32, 48, 3), 120, np.uint8)
    text, flow = np.zeros((3, 4, 6, 5), np.float32), np.zeros((3, 4, 6, 5), np.float32)
    text[:, 0, 0, 2], flow[..., :2] = 1.0, 0.5
    panels = attention_maps.build_panels(
        frames, frames, attention_maps.AttentionMaps(text, flow), [Word("sky", [2])]
    )
    assert [panel.label for panel in panels] == ["source", "edit", "sky", "from source", "flow"]
    heat = panels[2].frames.astype(int)
    assert heat[0, :6, :6].mean() > heat[0, 16:, 24:].mean() + 30
    video = attention_maps.tile_panels(panels)
    assert video.shape == (3, 2 * 32, 4 * 48, 3) and video.dtype == np.uint8
    assert cv2.imwrite(str(tmp_path / "a.png"), video[0])


@pytest.mark.slow
def test_a_mask_video_says_when_as_start_and_end_do(tmp_path):
    (tmp_path / "model").mkdir()
    editor, frames = (
        EasyV2VEditor(str(tiny_model.write(tmp_path / "model"))),
        np.zeros((17, 32, 32, 3), np.uint8),
    )
    frames[:, 8:20] = np.linspace(40, 250, 17)[:, None, None, None]
    mask = np.zeros((17, 32, 32), np.uint8)
    mask[10:15] = 255
    by_mask = EditRequest(frames, "make it sepia", mask)
    by_time = EditRequest(frames, "make it sepia", settings=EditSettings(start=0.4, end=0.6))
    edited, report = attention_maps.write_attention_maps(editor, by_mask, tmp_path / "a")
    assert (edited.report["first_frame"], edited.report["edited_frames"]) == (10, 5)
    assert report == attention_maps.write_attention_maps(editor, by_time, tmp_path / "b")[1]
    shown = [cv2.imread(str(tmp_path / name / "explain.png")) for name in "ab"]
    np.testing.assert_array_equal(*shown)


def test_a_file_in_place_of_the_folder_and_tiles_are_refused(tmp_path):
    (tmp_path / "file").write_text("")
    editor, request = EasyV2VEditor(FakePretrained()), EditRequest("a.mp4", "make it sepia")
    with pytest.raises(InputError, match="expected a folder"):
        attention_maps.write_attention_maps(editor, request, tmp_path / "file")
    tiles = EditRequest("a.mp4", "make it sepia", settings=EditSettings(detail="tiles"))
    with pytest.raises(InputError, match="tiles"):
        attention_maps.write_attention_maps(editor, tiles, tmp_path / "new")
    frames = EditRequest(np.zeros((5, 32, 32, 3), np.uint8), "make it sepia")
    with pytest.raises(InputError, match="loaded model"):
        attention_maps.write_attention_maps(editor, frames, tmp_path / "new")
    assert not (tmp_path / "new").exists()
