"""Captions inside other texts: templates fit them, and captions of targets say what is there after the edit."""

import dataclasses

import numpy as np
import pytest

from data_synth import generate
from data_synth.generate import PairOptions
from data_synth.language import captions, control, looks, phrasing
from data_synth.rng import build_rng

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
