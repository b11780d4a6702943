"""Overlays: exact outside their footprint, undone where they are translucent, readable, at any size."""

import numpy as np
import pytest

from data_synth import footage, generate
from data_synth.generate import PairOptions
from data_synth.language import overlays as language
from data_synth.operators import overlays
from data_synth.recipes import registry
from data_synth.recipes.overlays import OVERLAYS
from data_synth.rng import build_rng
from tests.data_synth.outcomes import pairs_of

CLIP = footage.render_clip(2, 3, 60, 90).video


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_same_every_time_and_nothing_changes_outside(name):
    for seed in range(4):
        layers, words = OVERLAYS[name](build_rng(seed, name), *CLIP.shape[:3])
        covered = overlays.add_overlay(CLIP, layers)
        same_layers, same_words = OVERLAYS[name](build_rng(seed, name), *CLIP.shape[:3])
        np.testing.assert_array_equal(overlays.add_overlay(CLIP, same_layers), covered)
        assert words == same_words
        for k, frame in enumerate(covered):
            layer = layers[k % len(layers)]
            outside = ~layer.footprint()
            np.testing.assert_array_equal(frame[outside], CLIP[k][outside])
            assert 0.0 <= layer.alpha.min() and layer.alpha.max() <= 1 and (frame != CLIP[k]).any()


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 41), (40, 7)])
@pytest.mark.parametrize("name", OVERLAYS)
def test_odd_and_tiny_sizes(name, size):
    video = np.random.default_rng(0).integers(0, 256, (2, *size, 3), dtype=np.uint8)
    for seed in range(6):
        layers, _ = OVERLAYS[name](build_rng(seed, name), 2, *size)
        assert overlays.add_overlay(video, layers).shape == video.shape


def test_a_watermark_is_undone():
    for is_tiled in (True, False):
        layer = overlays.draw_watermark("SAMPLE", 60, 90, is_tiled=is_tiled)
        marked = overlays.add_overlay(CLIP, [layer])
        change = np.abs(marked.astype(int) - CLIP)
        assert change.max() > 30 and 0.01 < layer.footprint().mean() < 0.6
        assert np.abs(overlays.remove_overlay(marked, [layer]).astype(int) - CLIP).max() <= 1


def test_places_sizes_and_lines():
    for place in overlays.PLACES:
        rows, columns = np.nonzero(overlays.draw_text("HI", 100, 160, place=place).alpha)
        if "corner" not in place:
            assert abs(columns.mean() - 80) < 6
        assert (rows.mean() < 40) == ("top" in place) and (rows.mean() > 60) == ("bottom" in place)
        assert "corner" not in place or (columns.mean() < 80) == ("left" in place)
    small, large = (overlays.draw_text("HI", 100, 160, height=h).alpha.sum() for h in (0.1, 0.2))
    assert 2.5 < large / small < 6
    words = "We walked all the way home, but nobody believed it."
    rows, columns = np.nonzero(overlays.draw_subtitle(words, 240, 320).alpha)
    assert np.ptp(rows) > 24 and rows.min() > 150 and columns.min() >= 5 and columns.max() < 315
    boxed = overlays.draw_subtitle(words, 240, 320, is_boxed=True)
    assert 0.5 < np.median(boxed.alpha[boxed.footprint()]) < 0.7


def test_layers_may_change_from_frame_to_frame():
    first, second = (overlays.draw_subtitle(words, 60, 90) for words in ("Who is there?", "Look at that!"))
    covered = overlays.add_overlay(CLIP, [first, second, second])
    for k, layer in enumerate((first, second, second)):
        np.testing.assert_array_equal(covered[k], overlays.add_overlay(CLIP[k : k + 1], [layer])[0])


@pytest.mark.parametrize("name", registry.FAMILIES["overlays"])
def test_recipes_in_both_directions(name):
    pairs = pairs_of(generate.make_pair(seed, PairOptions(3, 64, 96, (name,), 0.0)) for seed in range(6))
    assert len(pairs) >= 3
    for pair in pairs:
        np.testing.assert_array_equal(pair.source[pair.mask == 0], pair.target[pair.mask == 0])
        clip = pair.target if name.startswith("remove-") else pair.source
        np.testing.assert_array_equal(clip, footage.render_clip(pair.seed, 3, 64, 96).video)
        assert pair.edit == name and len(set(pair.instructions)) == len(pair.instructions) >= 4
        assert not any("{" in text for text in (*pair.instructions, pair.source_caption, pair.target_caption))
        words = pair.provenance["slots"].get("words", "logo")
        assert name == "remove-subtitles" or any(words in text for text in pair.instructions)


def test_articles_are_mended_outside_of_quotes():
    slots = {"words": "a end", "colour": "orange", "at": "at the top"}
    sentences = language.sample_instructions("text", True, slots, np.random.default_rng(0), 9)
    assert 'add an orange title that says "a end" at the top' in sentences
