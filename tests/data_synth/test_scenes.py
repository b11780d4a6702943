"""Scenes: exact masks, twins that differ only where the mask says, one look at every resolution."""

import dataclasses

import cv2
import numpy as np
import pytest

from data_synth import rng
from data_synth.rejection import Rejected
from data_synth.scenes import draw, edits, objects, render, scene, textures


def twins(name, seeds, T=4, H=48, W=64):
    twin_count = 0
    for seed in range(seeds):
        sampled_scene = draw.sample_scene(rng.build_rng(seed, "scene"), aspect=W / H)
        twin = edits.apply_local_edit(name, sampled_scene, rng.build_rng(seed, "edit"), T, H, W)
        if not isinstance(twin, Rejected):
            twin_count += 1
            yield twin
    assert twin_count > 0.6 * seeds


@pytest.mark.parametrize("name", edits.LOCAL_EDITS)
def test_outside_the_mask_nothing_changes(name):
    for twin in twins(name, 40, T=2):
        difference = np.abs(twin.source.astype(int) - twin.target).max(-1)
        assert difference[~twin.mask].max(initial=0) == 0
        # and inside it, nearly everything visible does
        assert (difference[twin.mask] > 0).mean() > 0.6, name


@pytest.mark.parametrize("name", edits.LOCAL_EDITS)
def test_source_is_the_scene_rendered_anew_and_target_its_twin(name):
    twin = next(twins(name, 1))
    np.testing.assert_array_equal(twin.source, render.render_scene(twin.source_scene, 4, 48, 64))
    np.testing.assert_array_equal(twin.target, render.render_scene(twin.target_scene, 4, 48, 64))
    assert (twin.reference is None) == (name == "remove")


@pytest.mark.parametrize("seed", range(12))
def test_one_scene_at_two_sizes(seed):
    sampled_scene = draw.sample_scene(rng.build_rng(seed, "scene"), rich=seed % 2 == 1)
    small = render.render_scene(sampled_scene, 3, 64, 64).astype(float)
    large = render.render_scene(sampled_scene, 3, 128, 128)
    reduced = np.stack([cv2.resize(frame, (64, 64), interpolation=cv2.INTER_AREA) for frame in large])
    assert np.abs(reduced - small).mean() < 3.0
    short_coverage, long_coverage = (
        render.render_layers(sampled_scene, 3, 64, 64).coverage(),
        render.render_layers(sampled_scene, 5, 64, 64).coverage(),
    )
    np.testing.assert_array_equal(short_coverage, long_coverage[::2])  # frame 1 of 3 is frame 2 of 5


@pytest.mark.parametrize("shape", objects.SHAPES)
def test_shapes_fill_their_size(shape):
    obj = objects.Object(shape, "red", 0.5, pinned=True)
    bare = scene.Scene(draw.named_background("white")[0], "", (obj,))
    covered = render.render_layers(bare, 1, 100, 100).coverage()[0]
    rows, columns = np.flatnonzero(covered.max(1) > 0.5), np.flatnonzero(covered.max(0) > 0.5)
    for low, high in ((rows[0], rows[-1]), (columns[0], columns[-1])):
        assert 38 <= high - low + 1 <= 62  # a diameter of 50 pixels, give or take the shape
        assert abs((low + high) / 2 - 49.5) < 6
    assert 0.3 < covered.sum() / (np.pi * 25**2) < 1.3


def test_objects_are_named_apart_and_kept_apart():
    for seed in range(60):
        sampled_scene = draw.sample_scene(rng.build_rng(seed, "scene"))
        objects_in_scene = sampled_scene.objects
        assert (
            len({o.color for o in objects_in_scene})
            == len({o.shape for o in objects_in_scene})
            == len(objects_in_scene)
        )
        assert all(scene.is_visible_on(o.color, sampled_scene.texture) for o in objects_in_scene)
        layers = render.render_layers(sampled_scene, 5, 32, 32)
        shared = (
            sum(layers.coverage((i,)) > 0.5 for i in range(len(objects_in_scene)))
            if objects_in_scene
            else np.zeros(1)
        )
        assert (shared > 1).mean() < 0.01


def test_an_object_partly_outside_the_frame_is_cut():
    obj = objects.Object("ball", "red", 0.4, start=(-0.6, 0.0), end=(2.0, 0.3), pinned=True)
    bare = scene.Scene(draw.named_background("white")[0], "", (obj,))
    video = render.render_scene(bare, 5, 40, 40)
    assert (video[0] != 255).any() and video.shape == (5, 40, 40, 3)
    empty = render.render_scene(dataclasses.replace(bare, objects=()), 5, 40, 40)
    np.testing.assert_array_equal(video[-1], empty[-1])  # gone by the end


def test_a_star_is_five_rays_about_its_centre():
    """Folding at the mirrors agrees with the distance to the nearest ray's edge by its angle."""
    x, y = np.random.default_rng(0).uniform(-1.7, 1.7, (2, 3, 40, 40)).astype(np.float32)
    sector = 2 * np.pi / 5
    turn = np.arctan2(x, -y) / sector
    turn, r = np.abs(turn - np.rint(turn)) * sector, np.hypot(x, y)
    edge = np.array([0.5 * np.cos(sector / 2) - 1.12, 0.5 * np.sin(sector / 2)])  # from the tip to the notch
    expected = ((r * np.cos(turn) - 1.12) * edge[1] - r * np.sin(turn) * edge[0]) / np.linalg.norm(edge)
    distance = objects._DISTANCE["star"](x, y)
    assert distance.dtype == np.float32
    np.testing.assert_allclose(distance, expected, atol=2e-6)


def test_a_colour_shows_on_a_texture_by_its_distance_from_mean_and_spread():
    grey = textures.Texture("plain", base=objects.COLORS["grey"])
    busy = dataclasses.replace(grey, mix=((150.0, 0, 0), (0, 150.0, 0), (0, 0, 150.0)))
    assert "grey" not in scene.visible_colors(grey) and {"red", "white"} <= scene.visible_colors(grey)
    assert scene.visible_colors(busy) < scene.visible_colors(grey)
    assert scene.is_visible_on("red", grey) and not scene.is_visible_on("grey", grey)


def test_workers_share_the_tiles_they_draw(tmp_path, monkeypatch):
    monkeypatch.setattr(textures, "_tile_folder", None)
    tile = textures._load_or_draw_tile("cloud", 3, 64)
    textures.share_tiles(tmp_path / "tiles")
    np.testing.assert_array_equal(textures._load_or_draw_tile("cloud", 3, 64), tile)
    monkeypatch.setattr(textures, "_draw_tile", lambda *a: pytest.fail("drawn although it is there"))
    np.testing.assert_array_equal(textures._load_or_draw_tile("cloud", 3, 64), tile)
    assert [p.name for p in (tmp_path / "tiles").iterdir()] == ["cloud-3-64"]
