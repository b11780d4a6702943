"""Captions inside other texts: templates fit them, and captions of targets say what is there after the edit."""

import dataclasses

import numpy as np
import pytest

from data_synth import generate
from data_synth.generate import PairOptions
from data_synth.language import captions, clip_looks, control, looks, phrasing
from data_synth.operators.looks import LOOKS
from data_synth.operators.photometric import PHOTOMETRIC
from data_synth.rng import build_rng
from v2v.data.pair import Pair

CLAUSE = "a big grey rabbit stands on a green meadow and stretches"
NAME = "a big grey rabbit on a green meadow"


def test_a_caption_is_tidied():
    assert captions.tidy("A big grey rabbit stands on a\n green meadow and stretches. ") == CLAUSE
    assert captions.tidy("Anna jumps.") == "Anna jumps"
    assert captions.tidy("A") == "a" and captions.tidy("") == ""


@pytest.mark.parametrize("name", ["canny", "depth"])
def test_instructions_fit_captions_of_both_kinds(name):
    for seed in range(4):
        for sentence in control.sample_instructions(name, False, {}, CLAUSE, build_rng(seed, "w")):
            assert f"in which {CLAUSE}" in sentence or f': "{CLAUSE}"' in sentence, sentence
        for sentence in control.sample_instructions(name, False, {}, NAME, build_rng(seed, "w")):
            assert NAME in sentence and "in which" not in sentence, sentence
    assert control.format_caption(name, CLAUSE, {}).endswith(f"video in which {CLAUSE}")
    assert looks.format_caption("sketch", {}, NAME) == f"a pencil sketch video of {NAME}"
    words = looks.sample_instructions(
        "sketch", False, {}, f"{CLAUSE}. It runs away", build_rng(0, "w"), count=9
    )
    assert sum(f"in which {CLAUSE}" in sentence for sentence in words) >= 2 and not any(
        "runs away" in s for s in words
    )


@pytest.mark.parametrize(
    "caption, name, want",
    [
        (CLAUSE, "big grey rabbit", "a video"),
        (CLAUSE, "red car", f"{CLAUSE}, without the red car"),
        ("a street with a red car", "car", "a street"),
        ("a meadow with a tree and a rabbit", "rabbit", "a meadow with a tree"),
        ("", "car", "a video"),
    ],
)
def test_captions_without_an_object(caption, name, want):
    assert captions.describe_without(caption, name) == want


@pytest.mark.parametrize(
    "caption, instruction, want",
    [
        ("a horse on a field", "turn the horse into a zebra", "a zebra on a field"),
        ("a video", "Turn the horse into a zebra.", "a video with a zebra"),
        (CLAUSE, "turn the rabbit into a drawing", "a drawing stands on a green meadow and stretches"),
        ("a man on a brown horse", "turn the horse into a zebra", "a man on a zebra"),
        (
            "a cyclist rides a bike",
            "turn the horse into a zebra",
            "a cyclist rides a bike, with a zebra instead of the horse",
        ),
        ("a street", "add a red balloon", "a street, with a red balloon"),
        ("a street with a car", "remove the car", "a street"),
        ("a street", "make it snow", "a street, after this edit: make it snow"),
    ],
)
def test_captions_of_edited_clips(caption, instruction, want):
    assert captions.describe_target(caption, instruction) == want


def test_captions_of_rendered_scenes_name_what_is_there():
    """Their sentences are those of earlier versions, which took every caption for a name."""
    from data_synth.language import caption_rules
    from data_synth.scenes import draw
    from data_synth.scenes import scene as sc

    for seed in range(300):
        scene = draw.sample_scene(np.random.default_rng(seed), aspect=1.5, objects=(0, 3), rich=True)
        assert not caption_rules.is_clause(sc.format_caption(scene))
    pair = generate.make_pair(3, PairOptions(edits=("from-depth",), T=3, H=32, W=48, transition=0.0))
    assert any("showing" in s or " of " in s or " as " in s for s in pair.instructions)


def test_sentences_that_say_always_go_with_edits_that_begin_late():
    pair = generate.make_pair(3, PairOptions(edits=("to-canny",), T=8, H=32, W=48, transition=0.0))
    words = (
        "highlight the dog in every frame",
        "highlight the dog",
        "mark it from the first frame to the last",
    )
    late = dataclasses.replace(
        pair,
        instructions=words,
        active=(4, 8),
        provenance={**pair.provenance, "transition": {"start": "cut"}},
    )
    assert phrasing.drop_untrue_times(late) == ("highlight the dog",)
    assert phrasing.drop_untrue_times(dataclasses.replace(late, active=(0, 8))) == words
    assert phrasing.drop_untrue_times(dataclasses.replace(late, instructions=words[:1])) == words[:1]


def test_a_caption_that_names_nothing_is_no_description_of_the_footage():
    pair = generate.make_pair(3, PairOptions(edits=("to-canny",), T=3, H=32, W=48, transition=0.0))
    footage = dataclasses.replace(pair, provenance={"clip": "a.mp4"})
    for caption, want in (("a video, with two owls on the left", False), ("a red kite over a beach", True)):
        told = dataclasses.replace(footage, source_caption=caption)
        sentences = [phrasing.elaborate("show its edges", told, build_rng(seed, "w")) for seed in range(40)]
        assert any(caption in sentence for sentence in sentences) == want


@pytest.mark.parametrize(
    "caption, instruction, want",
    [
        ("a picture", "Turn the picture into a pencil sketch.", "a pencil sketch"),
        ("a cup on a table", "make it an oil painting", "an oil painting of a cup on a table"),
        (CLAUSE, "convert this video to a cartoon", f"a cartoon in which {CLAUSE}"),
        ("a picture", "make the photo black and white", "a picture in black and white"),
        ("a picture", "make it snow", "a picture after this edit: make it snow"),
        ("a picture", "add a red balloon", "a picture with a red balloon"),
    ],
)
def test_captions_of_pictures_in_another_style(caption, instruction, want):
    assert captions.describe_target(caption, instruction) == want


@pytest.mark.parametrize(
    "caption, want",
    [
        ("", "a foggy video"),
        ("a street, with a red ball on the left", "a foggy video of a street, with a red ball on the left"),
        ("a video with a red ball", "a foggy video with a red ball"),
        ("a rainy video in which a dog runs", "a rainy foggy video in which a dog runs"),
        ("a photo of a cat", "a foggy video of a cat"),
        ("a man watching a video", "a foggy video of a man watching a video"),
        ("a picture book", "a foggy video of a picture book"),
    ],
)
def test_a_style_joins_the_one_that_is_there(caption, want):
    assert looks.format_caption("fog", {}, caption) == want


def test_details_are_added_as_people_would():
    assert captions.add_thing("", "a red ball") == "a video with a red ball"
    assert captions.add_thing("a street", "a red ball") == "a street, with a red ball"
    both = captions.add_thing("a street, with a red ball on the left", 'the subtitle "Who is there?"')
    assert both == 'a street, with a red ball on the left, and the subtitle "Who is there?"'
    assert (
        captions.add_state("a video with a cat", "the cat in sepia") == "a video with a cat, the cat in sepia"
    )
    assert captions.add_manner("", "in slow motion") == "a video in slow motion"
    assert captions.add_manner(NAME, "in slow motion") == f"{NAME}, in slow motion"


def test_looks_on_a_part_are_in_the_caption():
    for name, look in LOOKS.items():
        recipe = next((group for group in ("tint", "duotone") if name.startswith(f"{group}-")), name)
        if look.is_regional:
            text = looks.format_part_caption(recipe, dict(look.slots), NAME, "the left half")
            assert text.startswith(f"{NAME}, with the left half ") and "{" not in text
            assert clip_looks.format_caption(name, dict(look.slots), NAME, "the left half") == text
    for name in PHOTOMETRIC:
        if name != "palette":
            assert clip_looks.format_caption(name, {}, "", "the cat").startswith("a video with the cat ")
    assert clip_looks.format_caption("palette", {}, "", "") == "a video"
    assert clip_looks.format_caption("sepia", {}, "", "") == "a sepia video"
    masked = looks.format_part_caption("sketch", {}, "", looks.MASKED_AREA)
    assert masked == "a video with a part of the picture as a pencil sketch"


@pytest.mark.parametrize(
    "name", ["to-canny", "compound", "sketch", "fog", "text", "slow-motion", "pan", "highlight"]
)
def test_no_caption_speaks_of_a_video_twice(name):
    options = PairOptions(edits=(name,), T=6, H=48, W=64, transition=0.0)
    for pair in (generate.make_pair(seed, options) for seed in range(12)):
        if isinstance(pair, Pair):
            for caption in (pair.source_caption, pair.target_caption):
                assert caption.count("video") < 2 and "with the look" not in caption, caption
                assert ", , " not in caption and " a a" not in caption, caption
