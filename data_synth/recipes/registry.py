"""Every recipe by name: one table, made from where the data comes from.

`--recipes NAME` → **recipe** (seed, T, H, W) → Pair, or the reason why this seed gives none → generate.py

    local, photometric     rendered scenes, exact (the default mix)            recolour, sepia, ... name one edit
    halves                 photometric ones in one half of the frame            half-sepia, ... name one
    control                to-NAME and from-NAME for every control expert      to-canny, from-noise, ... name one
    physics                rooms, simulated and rendered, exact                 physics-remove, physics-collapse, ... name one
    lift, image            picture pairs, moved and still
    removal, insertion     an object taken out of, or put into, a static shot
    replacement            an object exchanged for another shot's
    captions               events of a captioned long video, continued          needs --set captions=FILE
    senorita, ditto, ...   published sets                                       need --set NAME=FOLDER
    to-X, from-X, X        external experts                                     need --expert FILE.toml
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

from data_synth import footage as cl
from data_synth.operators.control import CONTROLS
from data_synth.operators.photometric import PHOTOMETRIC
from data_synth.recipes import captions, external, lift, physics, planar, removal
from data_synth.recipes import control as control_lib
from data_synth.recipes.base import FunctionRecipe, Recipe
from data_synth.recipes.published import PUBLISHED
from data_synth.scenes import edits as ed
from v2v.errors import InputError


@dataclasses.dataclass(frozen=True)
class Sources:
    """What a request brings along; empty is nothing but the renderer.

    Attributes:
      clips: folder of videos that control and removal recipes use as footage instead of rendered scenes.
      license: of those clips, for the provenance.
      experts: TOML files that describe external experts (`experts.protocol`).
      sets: (recipe name, path) of published sets and caption files.
      writer: TOML file of a caption writer (`captions_writer`); "" is the rule-based one.
    """

    clips: str = ""
    license: str = "unknown"
    experts: tuple[str, ...] = ()
    sets: tuple[tuple[str, str], ...] = ()
    writer: str = ""


FAMILIES = {
    "local": ed.LOCAL_EDITS,
    "photometric": tuple(PHOTOMETRIC),
    "halves": tuple(f"half-{name}" for name in planar.HALF_EDITS),
    "control": tuple(
        f"{way}-{name}" for way in ("to", "from") for name in (*CONTROLS, *control_lib.TRUTH_CONTROLS)
    ),
    "physics": physics.EDITS,
}
_FOOTAGE_RECIPES = ("removal", "insertion", "replacement")
_SINGLE_RECIPES = ("lift", "image", *_FOOTAGE_RECIPES)


def recipe_names(sources: Sources) -> list[str]:
    """What `--recipes` accepts for these sources: families, then single recipes.

    Raises:
      InputError: an expert has the name of a recipe that is there already.
    """
    built_in, expert_names = _built_in_names(sources), external.expert_recipe_names(sources.experts)
    if clashes := [name for name in expert_names if name in built_in]:
        raise InputError(
            f"--expert: {', '.join(clashes)}: expected names that no recipe of ours has; change `name` in its TOML file"
        )
    return [*built_in, *expert_names]


def _built_in_names(sources: Sources) -> list[str]:
    return list(
        dict.fromkeys(
            [
                *FAMILIES,
                *ed.LOCAL_EDITS,
                *PHOTOMETRIC,
                *FAMILIES["halves"],
                *FAMILIES["control"],
                *physics.EDITS,
                *(f"{way}-{name}" for way in ("to", "from") for name in physics.TRUTHS),
                *_SINGLE_RECIPES,
                *(name for name, _ in sources.sets),
            ]
        )
    )


@functools.lru_cache(maxsize=256)
def build_recipe(name: str, sources: Sources) -> Recipe:
    """The recipe of one name that is neither a family nor in the default mix (those live in `planar.py`).

    Raises:
      InputError: unknown name, or one that needs a source that the request does not bring.
    """
    footage = _footage(sources)
    direction, _, control = name.partition("-")
    if direction == "half" and control in planar.HALF_EDITS:
        return FunctionRecipe(functools.partial(planar.half_pair, control))
    if direction in ("to", "from") and control in CONTROLS:
        return FunctionRecipe(
            functools.partial(control_lib.control_pair, control, direction == "to", footage)
        )
    if direction in ("to", "from") and control in control_lib.TRUTH_CONTROLS:
        return FunctionRecipe(functools.partial(control_lib.truth_pair, control, direction == "to"))
    if direction in ("to", "from") and control in physics.TRUTHS:
        return FunctionRecipe(functools.partial(physics.truth_pair, control, direction == "to"))
    if name in physics.EDITS:
        return FunctionRecipe(functools.partial(physics.edit_pair, name))
    shots = (
        removal.folder_shots(footage, external.build_masker(sources.experts))
        if sources.clips
        else removal.render_shot
    )
    simple = {
        "lift": lift.lift_pair,
        "image": lift.image_pair,
        "removal": functools.partial(removal.removal_pair, False, shots),
        "insertion": functools.partial(removal.removal_pair, True, shots),
        "replacement": functools.partial(removal.replacement_pair, shots),
    }
    if name in simple:
        return FunctionRecipe(simple[name])
    paths = dict(sources.sets)
    if name == "captions" and name in paths:
        return captions.build_caption_recipe(paths[name], sources.writer)
    if name in PUBLISHED and name in paths:
        return PUBLISHED[name](paths[name])
    if name in external.expert_recipe_names(sources.experts):
        return external.build_expert_recipe(name, sources.experts, footage)
    if name in PUBLISHED or name == "captions":
        raise InputError(f"recipe {name}: expected the place of its data, got none; add --set {name}=PATH")
    raise InputError(
        f"edits: expected names among {', '.join(recipe_names(sources))}; got {name or 'none'!r}"
    )


def recipe_versions(edits: Sequence[str]) -> dict[str, str]:
    """What these recipes draw with, and its version, beside the default mix's own (`pipeline.VERSION`): a request asks for these,
    so that what an older renderer made isn't taken for it."""
    singles = {single for name in edits for single in FAMILIES.get(name, (name,))}
    rooms = {*physics.EDITS, *(f"{way}-{name}" for way in ("to", "from") for name in physics.TRUTHS)}
    versioned = (
        ("control", control_lib.VERSION, {*FAMILIES["control"]}),
        ("physics", physics.VERSION, rooms),
        ("removal", removal.VERSION, {*_FOOTAGE_RECIPES}),
    )
    return {name: version for name, version, recipes in versioned if singles & recipes}


def seeds_per_call(edits: Sequence[str], sources: Sources) -> int:
    """Seeds that the experts and the caption writer of these recipes like to be asked for at once; 1 without any."""
    batched_recipes = [
        build_recipe(name, sources)
        for name in edits
        if name in external.expert_recipe_names(sources.experts) or name == "captions"
    ]
    return max((recipe_object.batch for recipe_object in batched_recipes), default=1)


def find_unused_sources(edits: tuple[str, ...], sources: Sources) -> list[str]:
    """Which of the request's sources no chosen recipe would look at, as the options that brought them."""
    singles = {single for name in edits for single in FAMILIES.get(name, (name,))}
    expert_paths = {name: path for path in sources.experts for name in external.expert_recipe_names((path,))}
    controls_of_clips = {f"{direction}-{name}" for direction in ("to", "from") for name in CONTROLS}
    options = []
    if sources.clips and not singles & (controls_of_clips | {*_FOOTAGE_RECIPES, *expert_paths}):
        options.append("--clips")
    if sources.license != "unknown" and not sources.clips:
        options.append("--license")
    options += [f"--set {name}" for name, _ in sources.sets if name not in singles]
    masks_used = sources.clips and singles & {
        *_FOOTAGE_RECIPES,
        *external.removal_recipe_names(sources.experts),
    }
    options += [
        f"--expert {p}"
        for p in sources.experts
        if not any(expert_paths.get(n) == p for n in singles)
        and not (masks_used and external.build_masker((p,)))
    ]
    if sources.writer and "captions" not in singles:
        options.append("--writer")
    return options


def _footage(sources: Sources) -> cl.ClipSource:
    return cl.read_clip_folder(sources.clips, sources.license) if sources.clips else cl.render_clip
