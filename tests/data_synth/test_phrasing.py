"""Varied instructions: many, long and short, true of the pair, and the same every time."""

import dataclasses
import re

import numpy as np
import pytest

from data_synth import generate
from data_synth.generate import PairOptions
from data_synth.language import nouns, phrases, phrasing
from data_synth.recipes import registry
from data_synth.rng import build_rng
from tests.data_synth.outcomes import pairs_of
from v2v.data.pair import Pair

NAMES = ("looks", "undo-looks", "weather", "overlays", "camera", "time", "look-on-clip", "grounding")


@pytest.fixture(scope="module")
def sentences():
    options = PairOptions(5, 24, 32, NAMES)
    return [
        s
        for pair in pairs_of(generate.make_pair(seed, options) for seed in range(120))
        for s in pair.instructions
    ]


def test_long_and_short_with_many_words(sentences):
    lengths = np.array([len(sentence.split()) for sentence in sentences])
    assert (lengths > 15).mean() > 0.35 and (lengths < 9).mean() > 0.1
    words = {word for sentence in sentences for word in re.findall(r"[a-z]+", sentence.lower())}
    assert len(words) > 900
    assert len(set(sentences)) > 0.9 * len(sentences)


def test_sentences_are_well_formed(sentences):
    for sentence in sentences:
        assert "{" not in sentence and "  " not in sentence and ".." not in sentence, sentence
        assert not re.search(r"\b(a [aeio]\w|please please|\?\.)", sentence.replace("a one", "")), sentence
        assert sentence == sentence.strip() and sentence[-1] != ","


def make(kind="look", mask=255, active=(0, 6), caption="a red ball", transition=True):
    video = np.zeros((6, 4, 4, 3), np.uint8)
    planes = np.zeros((6, 4, 4), np.uint8)
    planes[active[0] : active[1]] = 255
    planes[:, :2] = mask
    provenance = {"clip": "x.mp4", **({"transition": {"start": active[0]}} if transition else {})}
    return Pair(
        video, video, planes, None, ("make it night",), caption, "", "night", kind, 0, provenance, active
    )


def test_only_what_is_true_is_added():
    whole = [phrasing.vary_instructions(make(), build_rng(s, "p")) for s in range(40)]
    text = " ".join(" ".join(row) for row in whole)
    assert "a red ball" in text and not any(sentence in text for sentence in phrases.KEEP_REST)
    part = " ".join(" ".join(phrasing.vary_instructions(make(mask=0), build_rng(s, "p"))) for s in range(40))
    assert any(s in part for s in phrases.KEEP_REST) and not any(s in part for s in phrases.KEEP_MOTION)
    assert phrasing.describe_times(make()) == ""
    assert phrasing.describe_times(make(active=(3, 6))) == "from the middle on"
    assert phrasing.describe_times(make(active=(0, 3))) == "until the middle"
    assert phrasing.describe_times(make(active=(3, 6), transition=False)) == ""
    moving = " ".join(
        " ".join(phrasing.vary_instructions(make("camera"), build_rng(s, "p"))) for s in range(40)
    )
    assert any(s in moving for s in phrases.KEEP_LIGHT) and not any(s in moving for s in phrases.KEEP_MOTION)
    nameless = dataclasses.replace(make(), source_caption="a video")
    assert "a video" not in " ".join(phrasing.vary_instructions(nameless, build_rng(1, "p")))


def test_who_is_varied():
    assert registry.varies_words("sketch", False, False) and not registry.varies_words("sepia", False, True)
    assert registry.varies_words("sepia", True, False) and registry.varies_words("an-expert", True, False)
    assert not registry.varies_words("pairs", True, True) and not registry.varies_words(
        "before-after", True, True
    )
    assert registry.varies_words("removal", False, True) and not registry.varies_words(
        "removal", False, False
    )
    plain = generate.make_pair(4, PairOptions(5, 32, 48, ("to-canny",), 0.0))
    varied = generate.make_pair(4, PairOptions(5, 32, 48, ("to-canny",), 0.0, varied_phrasing=True))
    np.testing.assert_array_equal(plain.target, varied.target)
    assert plain.instructions != varied.instructions
    assert (
        varied.instructions
        == generate.make_pair(
            4, PairOptions(5, 32, 48, ("to-canny",), 0.0, varied_phrasing=True)
        ).instructions
    )


@pytest.mark.parametrize("name", ["vignette", "undo-vhs", "rain", "remove-fog", "text", "remove-logo"])
def test_ways_back(name):
    pair = next(iter(pairs_of(generate.make_pair(s, PairOptions(5, 48, 64, (name,), 0.0)) for s in range(8))))
    assert pair.provenance["reverse_instructions"]


def test_nouns():
    assert [
        nouns.with_article(n) for n in ("owl", "red apple", "cherries", "bread", "unicorn face", "hourglass")
    ] == [*("an owl", "a red apple", "cherries", "some bread", "a unicorn face", "an hourglass")]
    assert [
        nouns.pluralize(n) for n in ("fox", "red cherry", "wolf", "day", "sheep", "teacup without handle")
    ] == [*("foxes", "red cherries", "wolves", "days", "sheep", "teacups without handle")]
    assert nouns.count(1, "cat") == "one cat" and nouns.count(3, "goose") == "three geese"
    assert not nouns.is_countable("glasses") and not nouns.is_countable("rice") and nouns.is_countable("bus")
