"""Sentences as people write them: what is read, and that nothing is left out in silence."""

from pathlib import Path

import pytest

from data_synth.language import looks as look_templates
from data_synth.language import templates
from data_synth.operators.looks import LOOKS
from v2v.language.lexicon import expand_phrase, load_lexicon
from v2v.language.places import REGIONS, Place, draw_region
from v2v.language.reading import read_instruction, split_place
from v2v.language.request import format_steps
from v2v.language.spelling import closest_word
from v2v.language.tokens import base_forms, split_sentence

THINGS = ("ball", "cube"), ("small", "leaf", "texture")


def read(sentence):
    return format_steps(read_instruction(sentence, *THINGS).steps)


def obstacle(sentence):
    found = read_instruction(sentence, *THINGS).obstacle
    return found and found.kind


@pytest.mark.parametrize(
    ("sentence", "steps"),
    [
        ("what does sepia mean?", "-"),
        ("why is the background so dark?", "-"),
        ("Did you know that oil painting on canvas is old?", "-"),
        ("i feel blue today", "-"),
        ("do you have fog?", "-"),
        ("what would it look like at night?", "night"),
        ("what about sepia?", "sepia"),
        ("why is it so dark? brighten it", "brighter"),
        ("I feel it should be warmer", "warmer"),
    ],
)
def test_questions_and_feelings_are_no_edits(sentence, steps):
    assert read(sentence) == steps


@pytest.mark.parametrize(
    ("sentence", "steps"),
    [
        ("MAKE IT NIGHT!!!", "night"),
        ("b&w", "greyscale"),
        ("Take the colours out of it, please.", "greyscale"),
        ("reduce it to black and white", "greyscale"),
        ("fall colors", "autumn"),
        ("posterise the image", "posterise"),
        ("darkish", "darker"),
        ("this is too dark, make it lighter", "brighter"),
        ("it isn't bright enough", "brighter"),
        ("less bright", "darker"),
        ("turn the brightness up a bit", "brighter*0.5"),
        ("increase the contrast a lot", "more-contrast*1.5"),
        ("much more black and white", "greyscale"),
        ("colder and darker", "colder + darker"),
        ("increase brightness and contrast", "brighter + more-contrast"),
        ("less bright and colorful", "darker + less saturated"),
        ("first darken it, then make it blue", "darker + tint-blue"),
        ("duotone in blue and pink", "duotone-blue-and-pink"),
        ("warmer but not brighter", "warmer"),
        ("darker without changing the colors", "darker"),
        ("sepia, not black and white", "sepia"),
        ("colder and darker in the left half", "colder@left half + darker@left half"),
        ("left half dark and right half bright", "darker@left half + brighter@right half"),
        ("invert everything outside the center", "negative@not center"),
        ("turn the left side to winter and leave the rest alone", "winter@left half"),
        ("make everything but the left half sepia", "sepia@right half"),
        ("make it sepia in the right half", "sepia@right half"),
        ("sepia on the right", "sepia@right half"),
        ("darker in the right third", "darker@right third"),
        ("darker in the right top corner", "darker@top right quarter"),
        ("blur the background", "blur@background"),
        ("turn the background into night", "night@background"),
        ("change the background to black and white", "greyscale@background"),
        ("black and white except for the man", "greyscale@not person"),
        ("make it night but keep the man as he is", "night@not person"),
        ("make it seppia", "sepia"),
        ("nigth", "night"),
        ("brigther", "brighter"),
        ("flip it", "mirror-image"),
    ],
)
def test_what_is_read(sentence, steps):
    assert read(sentence) == steps


@pytest.mark.parametrize(
    ("sentence", "kind"),
    [
        ("do not make it darker", "negation"),
        ("don't make it warmer or brighter", "negation"),
        ("make it neither dark nor cold", "negation"),
        ("no blur", "negation"),
        ("never make it night", "negation"),
        ("make it anything but sepia", "negation"),
        ("it is dark", "unclear"),
        ("make it nice", "unknown"),
        ("do something cool", "unknown"),
        ("make the video", "nothing"),
        ("make it ugly and dark", "unknown"),
        ("hazlo en blanco y negro", "unknown"),
        ("把它变成黑白", "unknown"),
        ("20% darker", "number"),
        ("sepia 1.5", "number"),
        ("make it sepia after 0.5 seconds", "time"),
        ("sepia from 0:00 to 0:01", "time"),
        ("night for 3s", "time"),
        ("make the second half of the clip night", "time"),
        ("zoom in", "elsewhere"),
        ("remove the fog", "undo"),
        ("less like night", "undo"),
        ("reduce the fog", "unclear"),
        ("brighter and darker", "contradiction"),
        ("make it night but not darker", "contradiction"),
        ("sepia without changing the colors", "contradiction"),
        ("contrast, sharpness", "unclear"),
        ("change the background to a beach", "unknown"),
        ("leaf", "unknown"),
    ],
)
def test_what_is_not_followed(sentence, kind):
    assert obstacle(sentence) == kind and read(sentence) == "-"


def test_edits_of_things_are_told_from_looks():
    for sentence, operation in (
        ("remove the small ball", "remove"),
        ("add a cube", "insert"),
        ("replace the ball with a cube", "replace"),
        ("make the ball blue", "recolor"),
        ("change the background to leaf texture", "background"),
    ):
        thing = read_instruction(sentence, *THINGS).thing
        assert thing is not None and (thing.operation, thing.sentence) == (operation, sentence)
    thing = read_instruction("Remove the blal!", *THINGS).thing
    assert thing is not None and thing.sentence == "remove the ball"
    assert obstacle("do not remove the ball") == "negation"
    assert read_instruction("remove the ball").obstacle is not None  # without names of things


def test_corrections_are_told_and_real_words_are_left_alone():
    assert read_instruction("seppia").corrections == {"seppia": "sepia"}
    words = load_lexicon().spellings
    assert closest_word("gryascale", words) == "grayscale" and closest_word("zzzz", words) is None
    for word in ("sight", "something", "plate", "beach", "tie"):
        request = read_instruction(f"make it {word}")
        assert request.obstacle is not None and request.obstacle.kind == "unknown" and not request.corrections


def test_related_words_lead_to_suggestions():
    found = read_instruction("make it ablaze").obstacle
    assert found is not None and "more saturated" in found.near


@pytest.mark.parametrize("name", list(templates.PHOTOMETRIC_TEMPLATES))
def test_every_phrasing_of_training_is_read_as_its_look(name):
    for template in templates.PHOTOMETRIC_TEMPLATES[name]:
        for it in ("the video", "it", "everything", "this clip"):
            assert read(template.format(it=it)) == name, template


def test_looks_have_the_names_of_the_operators():
    operators = {name.split("-")[0] if name.startswith("duotone") else name for name in LOOKS}
    names = load_lexicon().looks.keys() - {
        "summer",
        "day",
        "rain",
        "snow",
        "fog",
        "tint-brown",
        "tint-white",
        "tint-black",
        "tint-gray",
        "tint-silver",
    }
    assert names == operators | set(templates.PHOTOMETRIC_TEMPLATES)


def test_short_phrasings_of_the_other_looks_are_read():
    """Those whose words name the look; descriptions of many words are refused by name."""
    wrong, count = [], 0
    for name, rows in look_templates.TEMPLATES.items():
        slots = {"colour": "green", "colours": "blue and pink"}
        expected = {"tint": "tint-green", "duotone": "duotone-blue-and-pink"}.get(name, name)
        for template in (row for row in rows if len(row.split()) <= 9):
            count += 1
            if "black and white" in template or "washed-out" in template:
                continue  # these are edits of their own as well
            if read(template.format(it="the video", **slots)) not in (expected, "-"):
                wrong.append(template)
    assert not wrong and count > 150


def test_places():
    frame = draw_region(Place("region", "left half"), 4, 6)
    assert frame[:, :3].all() and not frame[:, 3:].any()
    inverted = draw_region(Place("region", "center", is_inverted=True), 8, 8)
    assert not inverted[2:6, 2:6].any() and (inverted > 0).sum() == 48
    assert all(draw_region(Place("region", name), 30, 30).any() for name in REGIONS)
    assert split_place("blur the background") == ("blur", Place("thing", "background", "background"))
    rest, place = split_place("make everything but the man darker")
    assert place == Place("thing", "person", "man", is_inverted=True) and read(rest) == "darker"
    assert split_place("make it night") == ("make it night", None)


def test_words_and_phrases():
    assert [token.word for token in split_sentence("Don’t BLUR the colour-film; it's b&w 🌙")] == [
        "do", "not", "blur", "the", "color", "film", ",", "it", "is", "black", "and", "white",
    ]  # fmt: skip
    assert "blur" in base_forms("blurrier") + base_forms("blurred") and "foggy" in base_forms("foggier")
    assert expand_phrase("a|b c?") == [("a", "c"), ("a",), ("b", "c"), ("b",)]


def test_hard_sentences():
    """Traps for half an understanding: negations, exceptions, descriptions, several places, verbs that mean something else."""
    rows = (Path(__file__).parent / "hard_sentences.tsv").read_text().splitlines()[1:]
    assert len(rows) > 140
    for row in rows:
        sentence, expected = row.split("\t")
        assert format_steps(read_instruction(sentence).steps) == expected, sentence


def test_the_table_of_sentences():
    """Written from the looks' names before the tables were; column 2 is what each means, column 3 what it is read as."""
    rows = [
        line.split("\t") for line in (Path(__file__).parent / "sentences.tsv").read_text().splitlines()[1:]
    ]
    assert len(rows) >= 230
    names = ("ball", "cube", "triangle", "star", "ring", "diamond", "heart", "cross")
    for sentence, meant, expected, *_ in rows:
        steps = format_steps(read_instruction(sentence, names, ("small", "leaf")).steps)
        assert steps == expected, sentence
        assert steps == "-" or set(steps.split(" + ")) == set(meant.split(" + ")), sentence


def test_free_sentences():
    """Four lists by people who had not seen the tables; of the fourth 61 % were as meant, 5.5 % wrong when first read, with tables done."""
    rows = [
        line.split("\t")
        for line in (Path(__file__).parent / "free_sentences.tsv").read_text().splitlines()[1:]
    ]
    for name, least_followed in (("first", 0.8), ("second", 0.8), ("third", 0.8), ("fourth", 0.6)):
        wishes = [row for row in rows if row[0] == name]
        assert len(wishes) == 200
        for _, sentence, _, expected in wishes:
            steps = format_steps(read_instruction(sentence).steps).replace("@background", "@not person")
            assert steps.replace("subtitles", "text") == expected, sentence
        looks = [row for row in wishes if row[2] != "-"]
        same = [row for row in looks if set(row[3].split(" + ")) == set(row[2].split(" + "))]
        others = [row for row in wishes if row not in same and row[3] not in ("-", row[2])]
        assert len(same) >= least_followed * len(looks) and len(others) <= 0.04 * len(wishes)


@pytest.mark.parametrize(
    "sentence, steps, passed",
    [
        ("make it sepia because that is when we got married", "sepia", 1),
        ("like the tapes my uncle had, VHS", "vhs", 1),
        ("it was cloudy the day we went, please give us back our summer", "summer", 1),
        ("the caption is hard to read, could it be brighter", "brighter@text", 1),
        ("make him darker but leave the window", "darker@person", 1),
        ("a cheesy saturday cartoon", "cartoon", 1),
        ("colder, WAY colder", "colder*1.5", 0),
        ("no wait, not black and white, sepia", "sepia", 0),
        ("my daughter wants it darker", "darker", 0),
        ("it was a cold winter day, make it warmer", "warmer", 1),
        ("it looks like winter, make it summer", "summer", 1),
        ("it's blurry af can u make it sharper", "sharpen", 1),
        ("LESS BRIGHT PLEASE MY EYES HURT", "darker", 1),
        ("spooky purple fog for halloween", "fog + tint-purple", 1),
        ("everywhere sepia but the woman", "sepia@not person", 0),
        ("sepia, no wait, black n white is nicer", "greyscale", 1),
        ("brighten it, actually no, the opposite", "darker", 0),
        ("sepia, actually no, the opposite", "-", 0),
        ("tint blue a bit, like under water", "tint-blue*0.5", 1),
        ("make it darker, like at night", "darker + night", 0),
        ("a bit of fog and a cold cast", "fog*0.5 + colder", 0),
        ("a bit brighter and blur the background", "brighter*0.5 + blur@background", 0),
        ("his hat is red, make it darker", "-", 0),
        ("make it sepia, i don't want the hat", "-", 0),
        ("make it sharper so that my dog is red", "-", 0),
        ("it looks so blue", "warmer", 0),
        ("put a hat on him like in a western", "-", 0),
        ("make it darker like a red car", "-", 0),
        ("his hat is red, make it green", "-", 0),
        ("make the winter coat darker", "-", 0),
        ("make the car neon", "-", 0),
    ],
)
def test_asides(sentence, steps, passed):
    request = read_instruction(sentence)
    places = format_steps(request.steps).replace("@subtitles", "@text")
    assert (places, len(request.passed_over)) == (steps, passed), request
