"""Weather: the same every time, at any size, moving, and behind what its depth says is in front."""

import numpy as np
import pytest

from data_synth import footage, generate
from data_synth.generate import PairOptions
from data_synth.operators import weather
from data_synth.operators.weather import WEATHER
from data_synth.recipes import registry
from data_synth.recipes.weather import render_clip_with_depth
from data_synth.rng import build_rng
from tests.data_synth.outcomes import pairs_of

CLIP = generate.make_clip(3, T=3, H=60, W=90)[0]


@pytest.mark.parametrize("name", WEATHER)
def test_the_same_every_time_visible_and_moving(name):
    original = CLIP.copy()
    edited = WEATHER[name](CLIP, build_rng(0, "w"), None)
    np.testing.assert_array_equal(WEATHER[name](CLIP, build_rng(0, "w"), None), edited)
    np.testing.assert_array_equal(WEATHER[name](CLIP[:2], build_rng(0, "w"), None), edited[:2])
    np.testing.assert_array_equal(CLIP, original)
    assert np.abs(edited.astype(int) - CLIP).mean() > 10
    frozen = WEATHER[name](np.repeat(CLIP[:1], 3, 0), build_rng(0, "w"), None)
    assert (frozen[2] != frozen[0]).any() and (WEATHER[name](CLIP, build_rng(1, "w"), None) != edited).any()


@pytest.mark.parametrize("size", [(1, 1, 1), (2, 2, 3), (1, 3, 40), (2, 41, 7)])
@pytest.mark.parametrize("name", WEATHER)
def test_odd_and_tiny_sizes(name, size):
    video = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    for depth in (None, np.full(size, 0.5, np.float32)):
        out = WEATHER[name](video, build_rng(0, "w"), depth)
        assert out.shape == video.shape and out.dtype == np.uint8


@pytest.mark.parametrize("name", WEATHER)
def test_at_the_camera_there_is_little_weather_and_far_away_much(name):
    depth = np.zeros(CLIP.shape[:3], np.float32)
    depth[:, :, 45:] = 1.0
    edited = WEATHER[name](CLIP, build_rng(0, "w"), depth).astype(float)
    change = np.abs(edited - CLIP)
    assert change[:, :, 45:].mean() > 1.5 * change[:, :, :45].mean()
    if name == "fog":
        np.testing.assert_array_equal(edited[:, :, :45], CLIP[:, :, :45])


def test_fog_is_undone():
    depth = np.full(CLIP.shape[:3], 0.6, np.float32)
    foggy = weather.fog(CLIP, build_rng(4, "w"), depth)
    assert np.abs(foggy.astype(int) - CLIP).mean() > 30
    back = weather.remove_fog(foggy, build_rng(4, "w"), depth)
    assert np.abs(back.astype(int) - CLIP).max() <= 3  # half a level of rounding, divided by t > 0.25


def test_the_depth_is_that_of_the_footage():
    clip, depth = render_clip_with_depth(7, 2, 40, 60)
    np.testing.assert_array_equal(clip.video, footage.render_clip(7, 2, 40, 60).video)
    assert depth.shape == (2, 40, 60) and 0.19 < depth.min() < 1.0 == depth.max()


@pytest.mark.parametrize("name", registry.FAMILIES["weather"])
def test_recipes_in_both_directions(name):
    options = PairOptions(3, 48, 64, (name,), 0.0)
    pairs = pairs_of(generate.make_pair(seed, options) for seed in range(6))
    assert {pair.provenance["depth"] for pair in pairs} == {True, False}
    assert {pair.edit for pair in pairs} == {name} and (pairs[0].mask == 255).all()
    clip = pairs[0].target if name.startswith("remove-") else pairs[0].source
    np.testing.assert_array_equal(clip, footage.render_clip(pairs[0].seed, 3, 48, 64).video)
