"""The registry: what recipes declare is consistent, and a declaration is all that a new recipe needs."""

import dataclasses

import numpy as np
import pytest

from data_synth import generate
from data_synth.dataset.build import build_dataset
from data_synth.dataset.request import SynthRequest
from data_synth.generate import PairOptions
from data_synth.recipes import base, lift, registry
from data_synth.recipes.sources import NO_SOURCES, Sources
from data_synth.rejection import Rejected
from tests.data_synth.outcomes import pairs_of
from v2v.errors import InputError

RECIPES = [recipe for family in registry.ALL_FAMILIES for recipe in family.recipes]


def test_names_are_unique_and_kinds_agree_on_the_least_change():
    names = [recipe.name for recipe in RECIPES]
    assert len(names) == len(set(names)) and not set(names) & set(registry.FAMILIES)
    assert all(registry.MIN_CHANGES[recipe.kind] == recipe.min_change for recipe in RECIPES)


@pytest.mark.parametrize(
    "name", ["recolour", "sepia", "half-sepia", "to-canny", "from-depth", "lift", "removal"]
)
def test_pairs_are_of_the_declared_kind(name):
    options = PairOptions(3, 32, 48, (name,), 0.0)
    pairs = pairs_of(generate.make_pair(seed, options) for seed in range(8))
    [recipe] = [recipe for recipe in RECIPES if recipe.name == name]
    assert pairs and {pair.recipe for pair in pairs} == {recipe.kind}


def test_the_default_mix_is_drawn_from_evenly_and_by_weight():
    assert registry.DEFAULT_MIX == ("local", "photometric")
    with pytest.raises(ValueError, match="selectable"):
        base.RecipeFamily("alone", "", weight=1)


def test_a_set_is_needed_unless_an_expert_brings_the_recipe(tmp_path):
    with pytest.raises(InputError, match="add --import ditto=PATH"):
        registry.build_recipe("ditto", NO_SOURCES)
    path = tmp_path / "e.toml"
    path.write_text(
        'name = "ditto"\nversion = "1"\nlicense = "MIT"\nrole = "edit"\nprompts = ["make it red"]\n'
        'kind = "python"\ncall = "a:f"\n'
    )
    sources = Sources(experts=(str(path),))
    assert "ditto" in registry.recipe_names(sources)
    assert registry.build_recipe("ditto", sources).batch == 1


def test_an_edited_description_is_read_again(tmp_path):
    path = tmp_path / "e.toml"
    text = (
        'name = "x"\nversion = "1"\nlicense = "MIT"\nrole = "edit"\nprompts = ["make it red"]\n'
        'kind = "python"\ncall = "a:f"\nbatch = 3\n'
    )
    path.write_text(text)
    sources = Sources(experts=(str(path),))
    recipe = registry.build_recipe("x", sources)
    assert recipe.batch == 3 and registry.build_recipe("x", sources) is recipe
    path.write_text(text.replace("batch = 3", "batch = 5").replace("make it red", "make it odd"))
    edited = registry.build_recipe("x", sources)
    assert edited.batch == 5 and edited.connection.spec.prompts == ("make it odd",)
    assert registry.recipe_names(sources)[-1] == "x"
    path.write_text(text.replace('"x"', '"y"'))
    assert registry.recipe_names(sources)[-1] == "y"


def test_a_build_is_not_disturbed_by_edits_of_its_sources(tmp_path):
    path = tmp_path / "e.toml"
    text = (
        'name = "x"\nversion = "1"\nlicense = "MIT"\nrole = "edit"\nprompts = ["make it red"]\n'
        'kind = "python"\ncall = "a:f"\n'
    )
    path.write_text(text)
    sources = Sources(experts=(str(path),))
    recipe = registry.build_recipe("x", sources, snapshot="one")
    path.write_text(text.replace('version = "1"', 'version = "2"'))
    assert registry.build_recipe("x", sources, snapshot="one") is recipe
    assert registry.build_recipe("x", sources, snapshot="two").connection.spec.version == "2"


def test_an_edited_caption_file_is_read_again(tmp_path):
    pytest.importorskip("scenedetect")
    path = tmp_path / "c.jsonl"
    line = '{"video": "a.mp4", "start": 1, "end": 4, "caption": "a man jumps"}\n'
    path.write_text(line)
    sources = Sources(sets=(("captions", str(path)),))
    assert registry.build_recipe("captions", sources).rows == 1
    path.write_text(line * 2)
    assert registry.build_recipe("captions", sources).rows == 2


def test_a_declaration_is_all_that_a_recipe_needs(monkeypatch):
    def mirrored_pair(seed: int, T: int, H: int, W: int):
        pair = lift.lift_pair(seed, T, H, W)
        if isinstance(pair, Rejected):
            return pair
        flipped = np.ascontiguousarray(pair.source[:, :, ::-1])
        mask = np.full_like(pair.mask, 255)
        return dataclasses.replace(
            pair, target=flipped, mask=mask, instructions=("mirror the clip",), edit="mirror", recipe="mirror"
        )

    family = base.RecipeFamily(
        "mirror",
        "the clip, left and right exchanged",
        (
            base.RecipeInfo(
                "mirror",
                base.without_sources(base.FunctionRecipe(mirrored_pair)),
                kind="mirror",
                min_change=5.0,
            ),
        ),
        renderer="mirror",
        version="7",
    )
    monkeypatch.setattr(registry, "ALL_FAMILIES", (*registry.ALL_FAMILIES, family))
    monkeypatch.setitem(registry._RECIPES, "mirror", family.recipes[0])
    assert "mirror" in registry.recipe_names(NO_SOURCES)
    assert registry.recipe_versions(["mirror", "sepia"]) == {"mirror": "7"}
    assert "  mirror              the clip, left and right exchanged\n" in registry.format_help()
    pairs = pairs_of(generate.make_pair(seed, PairOptions(4, 32, 48, ("mirror",), 0.0)) for seed in range(6))
    assert pairs and {pair.edit for pair in pairs} == {"mirror"}


def test_weights_repeat_names():
    assert registry.expand_weights(("sepia", "to-canny")) == ("sepia", "to-canny")
    assert registry.expand_weights(("sepia=3", "to-canny")) == ("sepia",) * 3 + ("to-canny",)
    assert registry.expand_weights(("a=0.5", "b=1.5")) == ("a", "b", "b", "b")
    assert registry.expand_weights(("a=1000", "b=2000")) == ("a", "b", "b")
    for wrong in ("a=0", "a=-1", "a=x", "a=", "=3", "a=nan", "a=1/0"):
        with pytest.raises(InputError, match="expected NAME=WEIGHT with a number above 0"):
            registry.expand_weights((wrong, "b"))
    with pytest.raises(InputError, match="ratio of at most 1:1000"):
        registry.expand_weights(("a=0.001", "b=1000"))


def test_weights_are_the_shares_of_a_set(tmp_path):
    report = build_dataset(
        SynthRequest(tmp_path / "set", 120, edits=("sepia=5", "night"), frames=1, height=16, width=16)
    )
    assert report["request"]["edits"] == ["sepia=5", "night"]
    assert 85 < report["edits"]["sepia"] < 115 and sum(report["edits"].values()) == 120


def test_finite_sets_are_gone_through_once_by_weight(monkeypatch):
    rows = {"ditto": 6, "openve": 3}

    class Rows:
        batch = 1

        def __init__(self, name):
            self.name, self.rows = name, rows[name]

        def make_pairs(self, seeds, T, H, W):
            return [Rejected(f"row {seed}") for seed in seeds]

    monkeypatch.setattr(registry, "build_recipe", lambda name, *_: Rows(name))
    options = generate.PairOptions(edits=registry.expand_weights(("ditto=2", "openve")))
    assert generate.count_rows(options.edits, options.sources) == 9
    found = [str(outcome) for outcome in generate.make_block(range(9), options)]
    assert sorted(found) == sorted(
        [*(f"ditto: row {i}" for i in range(6)), *(f"openve: row {i}" for i in range(3))]
    )
