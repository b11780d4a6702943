"""Control recipes: formulas, both directions, words, and the renderer's own truth."""

import dataclasses

import av
import cv2
import numpy as np
import pytest

from data_synth import footage as footage_lib
from data_synth import generate, quality
from data_synth.generate import PairOptions
from data_synth.language import control as control_lib
from data_synth.language import grammar
from data_synth.operators import control, optical_flow
from data_synth.recipes import control as recipes_control
from data_synth.recipes import registry
from data_synth.recipes.sources import Sources
from data_synth.scenes import draw, objects, truth
from data_synth.scenes import objects as ob
from data_synth.scenes import render as rn
from tests.data_synth.outcomes import pairs_of, reasons_of
from v2v.errors import InputError
from v2v.video import video as codec

T, H, W = 5, 48, 64


def footage(seed=0):
    return footage_lib.render_clip(seed, T, H, W).video


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("name", registry.FAMILIES["control"])
def test_every_control_gives_pairs_that_pass_the_gates(name):
    pairs = pairs_of(generate.make_pair(s, PairOptions(T, H, W, (name,), 0.0)) for s in range(12))
    assert len(pairs) >= 5
    _, _, control_name = name.partition("-")
    vocabulary = set(grammar.vocabulary()) | set(control_lib.vocabulary())
    for pair in pairs:
        assert pair.edit == name and pair.recipe == "control"
        assert pair.provenance["expert"] == {"name": control_name, "version": recipes_control.VERSION}
        words = {
            w
            for text in (*pair.instructions, pair.source_caption, pair.target_caption)
            for w in grammar.split_words(text)
        }
        assert words <= vocabulary and "{" not in "".join(pair.instructions)


def test_the_two_directions_are_mirrored():
    for name in (*control.CONTROLS, *recipes_control.TRUTH_CONTROLS):
        make = (
            recipes_control.truth_pair
            if name in recipes_control.TRUTH_CONTROLS
            else recipes_control.control_pair
        )
        arguments = () if name in recipes_control.TRUTH_CONTROLS else (footage_lib.render_clip,)
        forward, backward = (
            make(name, True, *arguments, 3, T, H, W),
            make(name, False, *arguments, 3, T, H, W),
        )
        np.testing.assert_array_equal(forward.source, backward.target)
        np.testing.assert_array_equal(forward.target, backward.source)
        np.testing.assert_array_equal(forward.mask, backward.mask)
        np.testing.assert_array_equal(forward.source[forward.mask == 0], forward.target[forward.mask == 0])
        assert (forward.source_caption, forward.target_caption) == (
            backward.target_caption,
            backward.source_caption,
        )
        assert not set(forward.instructions) & set(backward.instructions) or name == "negation"


def test_instructions_name_the_way_back_truly():
    for seed in range(12):
        for name in ("brightness", "contrast", "saturation"):
            pair = recipes_control.control_pair(name, False, footage_lib.render_clip, seed, T, H, W)
            measure = {
                "brightness": np.mean,
                "contrast": np.std,
                "saturation": lambda v: np.ptp(v.astype(int), axis=-1).mean(),
            }[name]
            rises = measure(pair.target) > measure(pair.source)
            assert any(i.startswith("increase" if rises else "reduce") for i in pair.instructions)
    pair = recipes_control.control_pair("canny", False, footage_lib.render_clip, 0, T, H, W)
    assert all(pair.target_caption in i for i in pair.instructions)
    sentences = control_lib.sample_instructions("canny", False, {}, "", rng())
    assert all("showing" not in i and "{" not in i for i in sentences)


def test_edges_are_found_where_they_are():
    video = np.full((2, 40, 60, 3), 60, np.uint8)
    video[:, 10:30, 20:40] = 200
    edges = control.canny(video, rng()).video
    assert set(np.unique(edges)) <= {0, 255} and edges[0, 10:30, 19:21].any(-1).any(1).sum() > 16
    assert not edges[0, 15:25, 25:35].any() and not edges[0, :6].any()
    soft = control.soft_edges(video, rng()).video
    assert soft[0, 20, 20, 0] > 150 and soft[0, 20, 30, 0] < 20


@pytest.mark.parametrize("dx, dy", [(2, 0), (0, 2), (-2, 1)])
def test_optical_flow_points_where_things_go(dx, dy):
    big = cv2.GaussianBlur(rng(1).integers(0, 256, (96, 112, 3), np.uint8), (0, 0), 2)
    big = cv2.normalize(big, None, 0, 255, cv2.NORM_MINMAX)
    video = np.stack([big[20 - k * dy : 68 - k * dy, 20 - k * dx : 84 - k * dx] for k in range(4)])
    colors = control.flow(video, rng()).video[1, 8:-8, 8:-8].reshape(-1, 3)
    want = optical_flow.flow_colors(np.full((1, 4, 4, 2), (dx, dy), float))[0, 0, 0]
    assert np.abs(np.median(colors, 0) - want).max() < 40


def test_masked_controls_change_only_their_mask():
    for name in ("inpainting", "outpainting", "frame-drop"):
        for seed in range(20):
            video = footage(seed)
            result = control.CONTROLS[name](video, rng(seed))
            np.testing.assert_array_equal(result.video[~result.mask], video[~result.mask])
            assert 0.02 < result.mask.mean() < 0.99
            if name != "frame-drop":
                assert not result.video[result.mask].any()


def test_formulas():
    video = footage(4)
    np.testing.assert_array_equal(control.negation(video, rng()).video, 255 - video)
    grey = control.grayscale(video, rng()).video.astype(float)
    np.testing.assert_allclose(grey[..., 0], video @ np.array([0.299, 0.587, 0.114]), atol=0.51)
    tones = [len(np.unique(control.posterization(video, rng(s)).video)) for s in range(8)]
    assert set(tones) <= {2, 3, 4}
    noise = control.noise(np.full((3, 64, 64, 3), 128, np.uint8), rng(1)).video.astype(float) - 128
    assert 18 < noise.std() < 46 and abs(noise.mean()) < 1 and not np.array_equal(noise[0], noise[1])
    overlay = control.overlay(np.zeros((1, 4, 4, 3), np.uint8), rng(2))
    colour = np.array(objects.COLORS[overlay.slots["colour"]])
    share = overlay.video[0, 0, 0] / np.maximum(colour, 1)
    assert 0.38 < share.min() and share.max() < 0.62
    blocks = control.pixelation(video, rng(3)).video
    assert len(np.unique(blocks[0].reshape(-1, 3), axis=0)) < 700
    dropped_frames = control.frame_drop(
        np.arange(9, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8), rng(0)
    )
    n = 3 if dropped_frames.video[3, 0, 0, 0] == 3 else 4
    assert [int(f[0, 0, 0]) for f in dropped_frames.video] == [k - k % n for k in range(9)]
    for name in ("blur", "low-resolution", "wave"):
        out = control.CONTROLS[name](video, rng(5)).video
        assert out.shape == video.shape and 1 < np.abs(out.astype(int) - video).mean() < 60


def motion_errors(scene):
    """For every surface of every frame: mean difference to the next frame with and without the motion undone."""
    layers = rn.render_layers(scene, T, 2 * H, 2 * W)
    video, moves, owner = (
        rn.compose_layers(layers).astype(np.float32),
        truth.compute_motion(scene, layers),
        truth.layer_ranks(scene, layers),
    )
    y, x = np.mgrid[: 2 * H, : 2 * W].astype(np.float32)
    for k in range(T - 1):
        at_x, at_y = (x + moves[k, ..., 0]).astype(np.float32), (y + moves[k, ..., 1]).astype(np.float32)
        warped_frame = cv2.remap(video[k + 1], at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        inside = (at_x > 1) & (at_x < 2 * W - 2) & (at_y > 1) & (at_y < 2 * H - 2)
        # away from outlines, where another surface comes into view
        flat = cv2.morphologyEx(owner[k], cv2.MORPH_GRADIENT, np.ones((9, 9), np.uint8)) == 0
        for surface in np.unique(owner[k]):
            where = inside & flat & (owner[k] == surface)
            if where.sum() > 60:
                yield (
                    surface,
                    np.abs(warped_frame - video[k])[where].mean(),
                    np.abs(video[k + 1] - video[k])[where].mean(),
                )


def test_exact_motion_moves_one_frame_onto_the_next():
    rows = [
        row
        for seed in range(8)
        for row in motion_errors(draw.sample_scene(rng(seed), aspect=W / H, objects=(1, 3), rich=True))
    ]
    _, moved, still = np.array(rows).T
    assert len(rows) > 60 and moved.mean() < 0.25 * still.mean()
    assert (moved < np.maximum(5, 0.5 * still)).mean() > 0.95  # the rest is what a shadow passes over


def test_exact_motion_turns_the_right_way():
    scene = draw.sample_scene(rng(3), aspect=W / H, objects=(0, 0), rich=True)
    wheel = ob.Object("cross", "red", 0.8, "large", "striped", (0.0, 0.0), (0.05, 0.0), spin=1.2)
    (moved, still), *_ = [
        (m, s)
        for surface, m, s in motion_errors(dataclasses.replace(scene, objects=(wheel,)))
        if surface == 1 + len(scene.hills)
    ]
    assert moved < 0.45 * still  # the light does not turn with it; the other way round it would be above 1


def test_depth_and_segmentation_follow_the_layers():
    scene = draw.sample_scene(rng(2), aspect=W / H, objects=(2, 3), rich=True)
    layers = rn.render_layers(scene, T, H, W)
    depth, parts = truth.render_depth(scene, layers)[..., 0], truth.render_segmentation(scene, layers)
    front = layers.coverage((len(scene.objects) - 1,)) >= 0.5
    assert (depth[front] == 255).all() and depth.min() == 40
    assert len(np.unique(parts[front], axis=0)) == 1
    assert len(np.unique(parts.reshape(-1, 3), axis=0)) == 1 + len(scene.hills) + len(scene.objects)


def test_vocabularies_stay_apart():
    extra = control_lib.vocabulary()
    assert extra == sorted(extra) and not set(extra) & set(grammar.vocabulary()) and len(extra) < 160


def test_footage_from_a_folder(tmp_path):

    with pytest.raises(InputError, match="found none"):
        footage_lib.read_clip_folder(tmp_path)
    with pytest.raises(InputError, match="expected a readable folder"):
        footage_lib.read_clip_folder(tmp_path / "missing")
    (tmp_path / "deep").mkdir()
    codec.write_video(
        codec.Video.from_array(footage_lib.render_clip(5, 8, 40, 60).video, 10),
        tmp_path / "deep" / "good.mp4",
    )
    (tmp_path / "deep" / "good.txt").write_text("a cat on a sofa\n")
    (tmp_path / "poisoned.mp4").write_bytes(b"not a video")
    sources = Sources(clips=str(tmp_path), license="CC0")
    outcomes = [
        generate.make_pair(s, PairOptions(T, 32, 32, ("from-canny",), 0.0, sources=sources))
        for s in range(10)
    ]
    pairs = pairs_of(outcomes)
    (reason,) = set(reasons_of(outcomes)) - {""}
    assert (
        reason.startswith("from-canny: unreadable clip poisoned.mp4: expected a video file, got data")
        and pairs
    )
    assert all("a cat on a sofa" in i for i in pairs[0].instructions)
    assert pairs[0].provenance["license"] == "CC0" and pairs[0].provenance["clip"] == "deep/good.mp4"
    assert quality.find_rejection(pairs[0]) is None and pairs[0].source.shape == (T, 32, 32, 3)


@pytest.mark.parametrize("name", ["flow", "blur", "noise"])
def test_the_fast_forms_for_large_frames_do_the_same(monkeypatch, name):
    texture = cv2.GaussianBlur(
        np.random.default_rng(0).integers(0, 256, (160, 190, 3), dtype=np.uint8), (0, 0), 2.0
    )
    video = np.stack(
        [texture[4:132, 2 * k : 2 * k + 128] for k in range(3)]
    )  # all moves left, 2 pixels a frame
    slow = control.CONTROLS[name](video, np.random.default_rng(1)).video.astype(int)
    monkeypatch.setattr(optical_flow, "FAST_SIDE", 64)
    fast = control.CONTROLS[name](video, np.random.default_rng(1)).video.astype(int)
    if name == "noise":
        sigma = np.random.default_rng(1).uniform(20, 45)
        grain = (fast - video)[(video > 110) & (video < 145)]  # far from where it would be cut off
        assert grain.std() == pytest.approx(sigma, rel=0.06) and abs(grain.mean()) < 1
        assert (np.abs(grain) < sigma).mean() == pytest.approx(0.683, abs=0.02)
    else:
        assert np.abs(fast - slow)[:, 12:-12, 12:-12].mean() < (4 if name == "blur" else 25)


@pytest.mark.parametrize("ending", ["mp4", "mkv"])  # the second doesn't say how many frames there are
def test_a_long_clip_gives_the_same_frames_without_being_held(tmp_path, monkeypatch, ending):
    path = codec.write_video(
        codec.Video.from_array(footage_lib.render_clip(5, 60, 40, 60).video, 10), tmp_path / "a.mp4"
    )
    if ending == "mkv":
        with av.open(str(path)) as source_file, av.open(str(tmp_path / "a.mkv"), "w") as copy:
            stream = copy.add_stream_from_template(source_file.streams.video[0])
            for packet in source_file.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    copy.mux(packet)
        path.unlink()
    source = footage_lib.read_clip_folder(tmp_path)
    clips = [source(seed, 8, 32, 48) for seed in range(4)]
    full_video = footage_lib.decode_clip(str(tmp_path / f"a.{ending}"))
    footage_lib.decode_clip.cache_clear()
    monkeypatch.setattr(footage_lib, "MAX_DECODED_BYTES", full_video.frames[:20].nbytes)
    for seed, clip in enumerate(clips):
        streamed_clip = source(seed, 8, 32, 48)
        assert streamed_clip.origin == clip.origin
        np.testing.assert_array_equal(streamed_clip.video, clip.video)
    video = footage_lib.decode_clip(str(tmp_path / f"a.{ending}"))
    assert not isinstance(video.frames, np.ndarray) and video.duration == full_video.duration
    np.testing.assert_array_equal(video.times, full_video.times)
    read_range = footage_lib._read_range
    for seek in (True, False):  # each way alone; False: as if seeking in the file gave other frames
        monkeypatch.setattr(
            footage_lib,
            "_read_range",
            lambda *args, seek=seek: read_range(*args) if args[-1] == seek else None,
        )
        for index in ([0, 1, 2], [37, 37, 41], [59]):
            frames = footage_lib.select_frames(video, index, 30, 30)
            np.testing.assert_array_equal(frames, footage_lib.fit_frames(full_video.frames[index], 30, 30))
    footage_lib.decode_clip.cache_clear()


def test_an_edit_that_begins_late_is_no_cut():
    for name in ("from-negation", "from-flow"):
        outcomes = [generate.make_pair(s, PairOptions(9, 48, 48, (name,), 1.0, ("cut",))) for s in range(12)]
        assert not [reason for reason in reasons_of(outcomes) if reason.endswith("cut inside")]
        assert any(pair.active[0] > 0 for pair in pairs_of(outcomes))
