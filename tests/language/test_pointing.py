"""Words that point at a masked place are taken out of a sentence; others stay."""

from pathlib import Path

import pytest

import v2v.assets
from v2v import InputError
from v2v.language.abilities import load_abilities
from v2v.language.pointing import take_out_pointing
from v2v.pipeline.instruction import plan_instruction


@pytest.mark.parametrize(
    ("sentence", "plain"),
    [
        ("make this black and white", "make it black and white"),
        ("Blur that.", "Blur it."),
        ("make it night here", "make it night"),
        ("sepia over there, please", "sepia, please"),
        ("make it warmer in this area", "make it warmer"),
        ("make the marked area sepia", "make it sepia"),
        ("make the stuff here look like winter", "make it look like winter"),
        ("remove this", "remove the object"),
        ("get rid of that thing", "get rid of the object"),
        ("replace this with a red cube", "replace the object with a red cube"),
        ("make this blue", "make the object blue"),
        ("make this red ball blue", "make the red ball blue"),
        ("turn this flower into a rose", "turn the flower into a rose"),
        ("make these brighter", "make it brighter"),
        ("make this a bit warmer", "make it a bit warmer"),
        # These don't point at a place.
        ("make this video sepia", "make this video sepia"),
        ("make it look like this", "make it look like this"),
        ("remove the ball that is red", "remove the ball that is red"),
        ("there is too much red, make it colder", "there is too much red, make it colder"),
        ("make it  sepia", "make it  sepia"),
        ("here", "here"),
    ],
)
def test_words_that_point(sentence, plain):
    assert take_out_pointing(sentence) == plain


def test_a_model_reads_the_sentence_without_them_where_there_is_a_mask():
    abilities = load_abilities(Path(v2v.assets.__file__).parent / "embedded")
    (step,) = plan_instruction("make this area darker", abilities, has_mask=True)
    assert step.title == "darker"
    with pytest.raises(InputError, match="area"):
        plan_instruction("make this area darker", abilities)
    (step,) = plan_instruction("remove this", abilities, has_mask=True)
    assert step.sentence == "remove the object"
    (step,) = plan_instruction("add a hat here", None, has_mask=True)
    assert step.sentence == "add a hat"
    (step,) = plan_instruction("add a hat here", None)
    assert step.sentence == "add a hat here"
