"""The registry of recipes: one list of families, and what requests ask of it.

`--recipes NAME` → **recipe** (seed, T, H, W) → Pair or rejection → generate.py

A recipe declares everything that the engine knows of it in its own file (`base.RecipeFamily`); here it is only listed. The recipes of
external experts come with the request (`external.expert_recipes`).
"""

from __future__ import annotations

import functools
import math
import textwrap
from collections.abc import Iterator, Sequence
from fractions import Fraction

from data_synth.experts.spec import TEXT_ROLES
from data_synth.file_cache import FileStamp
from data_synth.language import phrasing
from data_synth.recipes import (
    camera_edits,
    captions,
    clip_looks,
    composition,
    compound,
    connections,
    control,
    cutouts,
    external,
    grounding,
    lift,
    looks,
    overlays,
    own_pairs,
    physics,
    picture_pairs,
    planar,
    published,
    removal,
    text_experts,
    time_edits,
    weather,
)
from data_synth.recipes.base import NO_BREAK, Recipe, RecipeFamily, RecipeInfo
from data_synth.recipes.sources import Sources
from v2v.errors import InputError, suggest

# In the order of the help and of the list of names in errors.
ALL_FAMILIES: tuple[RecipeFamily, ...] = (
    planar.LOCAL,
    planar.LOOKS,
    planar.HALVES,
    looks.FAMILY,
    looks.UNDO_FAMILY,
    weather.FAMILY,
    overlays.FAMILY,
    control.FAMILY,
    physics.FAMILY,
    physics.CONTROL_FAMILY,
    lift.FAMILY,
    removal.FAMILY,
    cutouts.FAMILY,
    clip_looks.FAMILY,
    camera_edits.FAMILY,
    time_edits.FAMILY,
    grounding.FAMILY,
    compound.FAMILY,
    picture_pairs.FAMILY,
    captions.FAMILY,
    own_pairs.FAMILY,
    published.FAMILY,
    external.FAMILY,
    composition.FAMILY,
)

# Family name in `--recipes` → names of its recipes.
FAMILIES: dict[str, tuple[str, ...]] = {
    family.name: tuple(recipe.name for recipe in family.recipes)
    for family in ALL_FAMILIES
    if family.selectable
}
# What is drawn from, evenly, where a request names no recipes.
DEFAULT_MIX = tuple(family.name for family in ALL_FAMILIES for _ in range(family.weight))
# `Pair.recipe` → least change of its pairs.
MIN_CHANGES = {recipe.kind: recipe.min_change for family in ALL_FAMILIES for recipe in family.recipes}

# `Pair.recipe` of pairs whose edit is on throughout: a transition would make them something else.
UNTIMED_KINDS = frozenset(
    recipe.kind for family in ALL_FAMILIES for recipe in family.recipes if not recipe.may_begin_late
)

# Recipe → how its instructions are varied, `RecipeFamily.phrasing`.
_PHRASINGS = {recipe.name: family.phrasing for family in ALL_FAMILIES for recipe in family.recipes}

# What `--import NAME=PATH` may name.
IMPORTS = tuple(recipe.name for family in ALL_FAMILIES for recipe in family.recipes if "set" in recipe.reads)

_RECIPES = {recipe.name: recipe for family in ALL_FAMILIES for recipe in family.recipes}
# Names that weights may be expanded to.
MAX_ENTRIES = 100_000
_HELP_WIDTH = 120
_HELP_INDENT = 22


def expand_weights(entries: Sequence[str]) -> tuple[str, ...]:
    """Return names of recipes and families, each as often as its weight says: "sepia=3", "canny=0.5"; 1 without one.

    Args:
      entries: Names, some with weights; what is drawn from evenly afterwards.

    Raises:
      InputError: A weight is no number above 0, or weights differ by more than 1 : 1000.
    """
    names, weights = [], []
    for entry in entries:
        name, separator, text = entry.partition("=")
        try:
            weight = Fraction(text) if separator else Fraction(1)
        except (ValueError, ZeroDivisionError):
            weight = Fraction(0)
        if weight <= 0 or not name:
            raise InputError(
                f"--recipes {entry}: expected NAME=WEIGHT with a number above 0, such as {name or 'sepia'}=3"
            )
        names.append(name)
        weights.append(weight.limit_denominator(1000))
    if len(set(weights)) <= 1:
        return tuple(names)
    scale = math.lcm(*(weight.denominator for weight in weights))
    counts = [int(weight * scale) for weight in weights]
    divisor = math.gcd(*counts)
    if not min(weights) or sum(counts) // divisor > MAX_ENTRIES:
        raise InputError(
            f"--recipes {','.join(entries)}: expected weights in a ratio of at most 1:1000 with up to three digits, got others"
        )
    return tuple(name for name, count in zip(names, counts, strict=True) for _ in range(count // divisor))


def recipe_names(sources: Sources) -> list[str]:
    """Return what `--recipes` accepts for these sources: families, then single recipes.

    Raises:
      InputError: An expert has the name of a recipe that is there already.
    """
    independent = [recipe.name for recipe in _RECIPES.values() if "set" not in recipe.reads]
    built_in = dict.fromkeys([*FAMILIES, *independent, *(name for name, _ in sources.sets)])
    expert_names = external.expert_recipe_names(sources.experts)
    if clashes := [name for name in expert_names if name in built_in]:
        raise InputError(
            f"--expert: {', '.join(clashes)}: expected names that no recipe of ours has; change `name` in its TOML file"
        )
    return [*built_in, *expert_names]


def build_recipe(name: str, sources: Sources, snapshot: str = "") -> Recipe:
    """Return the recipe of a name that is no family, which a process builds once for each state of its sources.

    Args:
      name: Name of the recipe.
      sources: Sources of the request.
      snapshot: Hash of what the sources hold, where one is known: files that change while a dataset is built do not change its recipes.
        Otherwise the stamps of the files tell whether they have changed.

    Raises:
      InputError: The name is unknown, or the recipe needs a source that the request does not bring.
    """
    return _build_recipe(name, sources, snapshot or sources.stamps())


@functools.lru_cache(maxsize=256)
def _build_recipe(name: str, sources: Sources, state: str | tuple[FileStamp, ...]) -> Recipe:
    return _find_recipe(name, sources).build(sources)


def _find_recipe(name: str, sources: Sources) -> RecipeInfo:
    accepted = recipe_names(sources)
    built_in = _RECIPES.get(name)
    if built_in and ("set" not in built_in.reads or name in dict(sources.sets)):
        return built_in
    for path in sources.experts:
        for recipe in external.expert_recipes(path):
            if recipe.name == name:
                return recipe
    if built_in:
        return built_in  # says which set it needs
    hint = suggest(name, accepted) or f"; expected names among {', '.join(accepted)}"
    raise InputError(f"--recipes {name}: no such recipe{hint}; v2v synth --help tells what each makes")


def reads_clips(name: str, sources: Sources) -> bool:
    """Return whether the recipe of a name that is no family takes its clips from the request's footage."""
    return "clips" in _find_recipe(name, sources).reads


def recipe_versions(edits: Sequence[str], has_footage: bool = False) -> dict[str, str]:
    """Return the version of each renderer that these recipes draw with, beside the default mix's own (`planar.VERSION`).

    Requests record them, so that what an older renderer made is not taken for what is asked for.

    Args:
      edits: Names of recipes and families.
      has_footage: Whether the request brings clips or pictures, for which some recipes have a version of their own.
    """
    names = set(iterate_members(edits))
    families = [f for f in ALL_FAMILIES if f.renderer and names & {recipe.name for recipe in f.recipes}]
    versions = {family.renderer: family.version for family in families}
    if has_footage:
        versions |= {f"{f.renderer} of footage": f.footage_version for f in families if f.footage_version}
    if names - _RECIPES.keys():
        versions["experts"] = external.VERSION
    phrasings = [f.phrasing for f in ALL_FAMILIES if names & {recipe.name for recipe in f.recipes}]
    if "varied" in phrasings or (has_footage and "varied on footage" in phrasings):
        versions["words"] = phrasing.VERSION
    return versions


def varies_words(name: str, is_wanted: bool, has_footage: bool) -> bool:
    """Return whether instructions of a recipe are varied by `language.phrasing`.

    Args:
      name: Recipe, of an expert too.
      is_wanted: Whether the request wants it for all recipes whose words aren't people's own.
      has_footage: Whether the request brings clips or pictures.
    """
    kind = _PHRASINGS.get(name, "own")
    if has_fixed_words(name):
        return False
    return is_wanted or kind == "varied" or (kind == "varied on footage" and has_footage)


def has_fixed_words(name: str) -> bool:
    """Return whether the instructions of a recipe are people's own, which nothing changes."""
    return _PHRASINGS.get(name) == "fixed"


def seeds_per_call(edits: Sequence[str], sources: Sources, snapshot: str = "") -> int:
    """Return the largest number of seeds that one of these recipes handles best at once; 1 without experts and caption writers.

    Args:
      edits: Names of recipes and families.
      sources: Sources of the request.
      snapshot: As for `build_recipe`.
    """
    batches = [
        build_recipe(name, sources, snapshot).batch for name in dict.fromkeys(edits) if name not in FAMILIES
    ]
    return max(batches, default=1)


def find_unused_sources(edits: Sequence[str], sources: Sources) -> list[str]:
    """Return the sources that none of these recipes would read, as the options that brought them."""
    names = set(iterate_members(edits))
    recipes = [recipe for recipe in _RECIPES.values() if recipe.name in names]
    used_experts = set()
    for path in sources.experts:
        chosen_recipes = [recipe for recipe in external.expert_recipes(path) if recipe.name in names]
        recipes += chosen_recipes
        if chosen_recipes:
            used_experts.add(path)
    kinds = {kind for recipe in recipes for kind in recipe.reads}
    if sources.has_footage and "masks" in kinds:
        used_experts |= set(connections.find_experts(sources.experts, "mask"))
    if sources.has_footage and "inpainter" in kinds:
        used_experts |= set(connections.find_experts(sources.experts, "remove"))
    for role in TEXT_ROLES:
        if role != "caption" or (sources.has_footage and "clips" in kinds):
            used_experts |= set(connections.find_experts(sources.experts, role))
    options = []
    if sources.clips and "clips" not in kinds:
        options.append("--clips")
    if sources.pictures and not kinds & {"clips", "picture pairs"}:
        options.append("--pictures")
    if sources.cutouts and "cutouts" not in kinds:
        options.append("--cutouts")
    if sources.license != "unknown" and not sources.has_footage and "license" not in kinds:
        options.append("--license")
    options += [f"--import {name}" for name, _ in sources.sets if name not in names]
    options += [f"--expert {path}" for path in sources.experts if path not in used_experts]
    if sources.writer and "writer" not in kinds:
        options.append("--writer")
    return options


def find_rendered(edits: Sequence[str], sources: Sources) -> list[str]:
    """Return the recipes that render scenes of their own although a request brings footage, which they can't take."""
    if not sources.has_footage:
        return []
    names = dict.fromkeys(name for name in iterate_members(edits) if name in _RECIPES)
    return [name for name in names if not {"clips", "set", "picture pairs"} & set(_RECIPES[name].reads)]


def count_requests(edits: Sequence[str], sources: Sources, pairs: int) -> list[tuple[str, int, float]]:
    """Return the name of each expert behind a chat endpoint, the least number of requests to it, and what they cost by its own price.

    Args:
      edits: Names of recipes and families.
      sources: Sources of the request.
      pairs: Number of pairs.
    """
    names = set(iterate_members(edits))
    asks_for_prompts = any(
        recipe.name in names and recipe.kind in ("expert", "composition")
        for path in sources.experts
        for recipe in external.expert_recipes(path)
    )
    return text_experts.count_requests(sources.experts, pairs, asks_for_prompts)


def format_help() -> str:
    """Return the list of recipes for `v2v synth --help`."""
    lines = [
        "recipes (a family gives its members, evenly; without --recipes: "
        f"{' and '.join(dict.fromkeys(DEFAULT_MIX))}):"
    ]
    for family in ALL_FAMILIES:
        if not family.help:
            continue
        paragraph = textwrap.wrap(
            family.help, _HELP_WIDTH - _HELP_INDENT, break_long_words=False, break_on_hyphens=False
        )
        heading = f"  {family.name}"
        if len(heading) < _HELP_INDENT:
            heading = f"{heading:<{_HELP_INDENT}}{paragraph.pop(0)}"
        lines += [heading, *(" " * _HELP_INDENT + line for line in paragraph)]
    return "\n".join(lines).replace(NO_BREAK, " ") + "\n"


def iterate_members(edits: Sequence[str]) -> Iterator[str]:
    """Yield the names of single recipes that these names stand for."""
    for name in edits:
        yield from FAMILIES.get(name, (name,))
