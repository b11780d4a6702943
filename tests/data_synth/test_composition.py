"""Recipes of several experts: the shipped configs run, say that they stand in, and name what is wrong with a plan."""

from pathlib import Path

import numpy as np
import pytest

import data_synth
from data_synth import generate
from data_synth.generate import PairOptions
from data_synth.recipes import composition, registry
from data_synth.recipes.sources import NO_SOURCES, Sources
from tests.data_synth.outcomes import pairs_of, reasons_of
from v2v.errors import InputError

FOLDER = Path(data_synth.__file__).parent / "experts" / "standins"
SHIPPED = {
    "stylisation": True,
    "human-animation": True,
    "actor-transmutation": False,
}  # name: with a reference


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_compositions_run_and_say_that_they_stand_in(name):
    sources = Sources(experts=(str(FOLDER / f"{name.replace('-', '_')}.toml"),))
    outcomes = generate.make_block(range(4), PairOptions(3, 32, 48, (name,), 0.0, sources=sources))
    pairs = pairs_of(outcomes)
    assert pairs, reasons_of(outcomes)
    for pair in pairs:
        assert pair.edit == name and pair.provenance["stand_in"] is True
        assert all("stand-in" in e["version"] for e in pair.provenance["experts"])
        assert (pair.reference is not None) == SHIPPED[name] and (pair.mask == 255).all()
        assert pair.instructions[0] in composition.load_composition(sources.experts[0]).prompts
        assert np.abs(pair.target.astype(int) - pair.source).mean() > 5
    assert name not in registry.recipe_names(
        NO_SOURCES
    )  # never in the default mix, nor anywhere without its file


@pytest.mark.parametrize(
    "old, new, message",
    [
        ('clip = "control"', 'clip = "nowhere"', "step 3: expected one of.*got 'nowhere'"),
        ('makes = "target"', 'makes = "other"', "expected steps that make 'target'"),
        ("stand_in = true", 'stand_in = "yes"', "stand_in: expected"),
        ("[[step]]", "[[stage]]", "stage: expected"),
        ('clip = "control"', 'clip = ["control"]', "step 3: expected names as expert"),
        ('makes = "styled"', "makes = 3", "step 2: expected names as expert"),
        ("prompts = [", "prompts = [3,", "prompts: expected sentences, got 3 as number 1"),
        ("prompts = [", 'prompts = [" ",', "prompts: expected sentences, got ' ' as number 1"),
    ],
)
def test_a_wrong_plan_is_named(tmp_path, old, new, message):
    path = tmp_path / "plan.toml"
    path.write_text((FOLDER / "stylisation.toml").read_text().replace(old, new))
    with pytest.raises(InputError, match=message):
        composition.load_composition(str(path))
