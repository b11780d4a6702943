"""Looks: the same every time, exact outside a mask, at any size, undone where that is possible, seen, and without flicker."""

import re

import numpy as np
import pytest

from data_synth import footage, generate
from data_synth.generate import PairOptions
from data_synth.language import grammar, visible_words
from data_synth.language import looks as language
from data_synth.operators import color_looks
from data_synth.operators.looks import LOOKS, apply_look
from data_synth.recipes import looks, registry
from data_synth.rng import build_rng
from data_synth.scenes import objects as ob
from tests.data_synth.outcomes import pairs_of

CLIP = footage.render_clip(2, 3, 48, 70).video


@pytest.mark.parametrize("name", LOOKS)
def test_the_same_every_time_visible_and_exact_outside_the_mask(name):
    original = CLIP.copy()
    edited = apply_look(name, CLIP, build_rng(1, name))
    assert edited.shape == CLIP.shape and edited.dtype == np.uint8
    np.testing.assert_array_equal(CLIP, original)
    np.testing.assert_array_equal(apply_look(name, CLIP, build_rng(1, name)), edited)
    assert np.abs(edited.astype(int) - CLIP).mean() > 2.5
    mask = np.zeros(CLIP.shape[:3], np.uint8)
    mask[:, 10:30, 20:50] = 255
    masked = apply_look(name, CLIP, build_rng(1, name), mask)
    np.testing.assert_array_equal(masked[mask == 0], CLIP[mask == 0])
    np.testing.assert_array_equal(masked[mask > 0], edited[mask > 0])


@pytest.mark.parametrize("size", [(1, 1, 1), (2, 2, 3), (1, 3, 17), (2, 33, 5)])
def test_odd_and_tiny_sizes(size):
    video = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    for name in LOOKS:
        out = apply_look(name, video, build_rng(0, name))
        assert out.shape == video.shape and out.dtype == np.uint8, name


@pytest.mark.parametrize("name", LOOKS)
def test_a_frozen_clip_does_not_flicker_and_frames_do_not_depend_on_later_ones(name):
    look = LOOKS[name]
    frozen = np.repeat(CLIP[:1], 3, 0)
    edited = apply_look(name, frozen, build_rng(2, name))
    if look.is_static:
        np.testing.assert_array_equal(edited[1:], edited[:-1])
        np.testing.assert_array_equal(edited[:1], apply_look(name, CLIP[:1], build_rng(3, name)))
    else:
        assert (edited[1] != edited[0]).mean() > 0.2
        assert (apply_look(name, frozen, build_rng(3, name)) != edited).mean() > 0.2


@pytest.mark.parametrize("name", [name for name in LOOKS if LOOKS[name].is_static])
def test_noise_of_the_source_stays_noise(name):
    frame = CLIP[0].astype(int)
    noisy = np.clip(frame + np.random.default_rng(0).integers(-1, 2, frame.shape), 0, 255).astype(np.uint8)
    pair = apply_look(name, np.stack([CLIP[0], noisy]), build_rng(0, name)).astype(int)
    # The contours that ink, metal and neon amplify are the most sensitive.
    assert np.abs(pair[0] - pair[1]).mean() < 4, name


@pytest.mark.parametrize("name", [name for name in LOOKS if LOOKS[name].inverse])
def test_inverses(name):
    look = LOOKS[name]
    video = np.clip(CLIP, 60, 190)  # nothing is clipped
    back = look.inverse(look.function(video, build_rng(0, "a")), build_rng(0, "a"))
    assert np.abs(back.astype(int) - video).max() <= {"vignette": 3}.get(name, 2)
    assert name not in ("mirror-image", "upside-down") or np.array_equal(back, video)


def test_known_pixels():
    grey = np.full((1, 9, 9, 3), 51, np.uint8)  # luma 0.2
    assert color_looks.change_contrast(grey, 2.0)[0, 0, 0].tolist() == [0, 0, 0]
    assert color_looks.change_contrast(grey, 0.5)[0, 0, 0].tolist() == [89, 89, 89]  # 127.5 - 38.25
    assert color_looks.duotone(grey, (0, 100, 200), (100, 200, 0))[0, 0, 0].tolist() == [
        10,
        110,
        179,
    ]  # 0.2² (3 - 0.4) = 0.104
    red = np.array(ob.COLORS["red"])
    expected = 0.2 * 51 + 0.8 * 0.4 * red  # the ramp to red at 0.2 of 0.5
    assert np.abs(color_looks.tint(grey, red)[0, 0, 0] - expected).max() < 1.5
    assert color_looks.solarize(np.full((1, 1, 1, 3), 204, np.uint8))[0, 0, 0].tolist() == [102, 102, 102]
    assert color_looks.vignette(grey)[0, 4, 4].tolist() == [51, 51, 51]


def test_halftone_prints_the_tone_that_is_asked_for():
    for level in (40, 128, 215):
        flat = np.full((1, 160, 160, 3), level, np.uint8)
        printed = apply_look("halftone", flat, build_rng(0, "x"))
        assert abs(float(printed.mean()) - level) < 26 and printed.std() > 20


@pytest.mark.parametrize("family", ["looks", "undo-looks"])
def test_every_recipe_makes_exact_pairs(family):
    for name in registry.FAMILIES[family]:
        options = PairOptions(3, 48, 64, (name,), 0.0)
        outcomes = [generate.make_pair(seed, options) for seed in range(3)]
        pairs = pairs_of(outcomes)
        assert pairs, (name, outcomes)
        for pair in pairs:
            np.testing.assert_array_equal(pair.source[pair.mask == 0], pair.target[pair.mask == 0])
            assert pair.edit == name and pair.recipe == "look" and len(pair.instructions) >= 3
            assert not any("{" in text for text in (*pair.instructions, pair.target_caption))
            look = pair.provenance["look"]
            clip, styled = (pair.source, pair.target) if family == "looks" else (pair.target, pair.source)
            expected = apply_look(look, clip, build_rng(pair.seed, "look noise"), pair.mask)
            np.testing.assert_array_equal(expected, styled)
    second_pair = generate.make_pair(pairs[0].seed, options)
    np.testing.assert_array_equal(second_pair.target, pairs[0].target)
    assert second_pair.instructions == pairs[0].instructions


def test_regions_are_named_and_of_every_kind():
    outcomes = (generate.make_pair(seed, PairOptions(1, 24, 32, ("solarise",), 0.0)) for seed in range(80))
    pairs = pairs_of(outcomes)
    words = [pair.provenance["slots"].get("it", "") for pair in pairs]
    assert {"", language.MASKED_AREA} < set(words) and any("half" in word for word in words)
    for pair, word in zip(pairs, words, strict=True):
        assert (pair.mask > 0).all() == (word == "")
        assert word == "" or all(word in sentence for sentence in pair.instructions)


def test_every_recipe_has_phrasings_that_name_something_and_new_words_stay_out_of_the_packaged_vocabulary():
    assert set(looks.RECIPE_LOOKS) | {"rain", "snow", "fog"} == set(language.TEMPLATES)
    lengths = []
    for table in (language.TEMPLATES, language.UNDO_TEMPLATES):
        for name, row in table.items():
            assert len(row) == len(set(row)) >= 3
            for template in row:
                filled = re.sub(r"\{it\}", "the video", re.sub(r"\{(?!it)\w+\}", "red", template))
                assert set(grammar.split_words(filled)) - visible_words.INVISIBLE_WORDS, (name, template)
                lengths.append(len(filled.split()))
    assert np.mean(np.array(lengths) > 15) > 0.12
    extra = language.vocabulary()
    assert len(extra) > 300 and not set(extra) & set(grammar.vocabulary()) and "watercolor" in extra
