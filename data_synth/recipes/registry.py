"""Every recipe by name: one table, made from where the data comes from.

`--recipes NAME` → **recipe** (seed, T, H, W) → Pair, or the reason why this seed gives none → pipeline.py

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
from collections.abc import Callable, Sequence

from data_synth import footage as cl
from data_synth.operators.control import CONTROLS
from data_synth.operators.photometric import PHOTOMETRIC
from data_synth.recipes import captions, external, lift, physics, planar, removal
from data_synth.recipes import control as control_lib
from data_synth.recipes.published import IMPORTERS
from data_synth.scenes import edits as ed
from v2v.data.pair import Pair
from v2v.errors import InputError

Recipe = Callable[[int, int, int, int], "Pair | str"]


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
    "halves": tuple(f"half-{name}" for name in planar.HALVES),
    "control": tuple(f"{way}-{name}" for way in ("to", "from") for name in (*CONTROLS, *control_lib.TRUTHS)),
    "physics": physics.EDITS,
}
_ON_FOOTAGE = ("removal", "insertion", "replacement")
_SIMPLE = ("lift", "image", *_ON_FOOTAGE)


def names(sources: Sources) -> list[str]:
    """What `--recipes` accepts for these sources: families, then single recipes.

    Raises:
      InputError: an expert has the name of a recipe that is there already.
    """
    ours, theirs = _names(sources), external.names(sources.experts)
    if taken := [name for name in theirs if name in ours]:
        raise InputError(
            f"--expert: {', '.join(taken)}: expected names that no recipe of ours has; change `name` in its TOML file"
        )
    return [*ours, *theirs]


def _names(sources: Sources) -> list[str]:
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
                *_SIMPLE,
                *(name for name, _ in sources.sets),
            ]
        )
    )


@functools.lru_cache(maxsize=256)
def recipe(name: str, sources: Sources) -> Recipe:
    """The recipe of one name that is neither a family nor in the default mix (those live in `rendered.py`).

    Raises:
      InputError: unknown name, or one that needs a source that the request does not bring.
    """
    footage = _footage(sources)
    way, _, control = name.partition("-")
    if way == "half" and control in planar.HALVES:
        return functools.partial(planar.half_pair, control)
    if way in ("to", "from") and control in CONTROLS:
        return functools.partial(control_lib.control_pair, control, way == "to", footage)
    if way in ("to", "from") and control in control_lib.TRUTHS:
        return functools.partial(control_lib.truth_pair, control, way == "to")
    if way in ("to", "from") and control in physics.TRUTHS:
        return functools.partial(physics.truth_pair, control, way == "to")
    if name in physics.EDITS:
        return functools.partial(physics.edit_pair, name)
    shots = removal.beside(footage, external.masker(sources.experts)) if sources.clips else removal.rendered
    simple = {
        "lift": lift.lift_pair,
        "image": lift.image_pair,
        "removal": functools.partial(removal.removal_pair, False, shots),
        "insertion": functools.partial(removal.removal_pair, True, shots),
        "replacement": functools.partial(removal.replacement_pair, shots),
    }
    if name in simple:
        return simple[name]
    paths = dict(sources.sets)
    if name == "captions" and name in paths:
        return captions.recipe(paths[name], sources.writer)
    if name in IMPORTERS and name in paths:
        return IMPORTERS[name](paths[name])
    if name in external.names(sources.experts):
        return external.recipe(name, sources.experts, footage)
    if name in IMPORTERS or name == "captions":
        raise InputError(f"recipe {name}: expected the place of its data, got none; add --set {name}=PATH")
    raise InputError(f"edits: expected names among {', '.join(names(sources))}; got {name or 'none'!r}")


def versions(edits: Sequence[str]) -> dict[str, str]:
    """What these recipes draw with, and its version, beside the default mix's own (`pipeline.VERSION`): a request asks for these,
    so that what an older renderer made isn't taken for it."""
    singles = {single for name in edits for single in FAMILIES.get(name, (name,))}
    rooms = {*physics.EDITS, *(f"{way}-{name}" for way in ("to", "from") for name in physics.TRUTHS)}
    drawn = (
        ("control", control_lib.VERSION, {*FAMILIES["control"]}),
        ("physics", physics.VERSION, rooms),
        ("removal", removal.VERSION, {*_ON_FOOTAGE}),
    )
    return {name: version for name, version, recipes in drawn if singles & recipes}


def batch(edits: Sequence[str], sources: Sources) -> int:
    """Seeds that the experts and the caption writer of these recipes like to be asked for at once; 1 without any."""
    many = [
        recipe(name, sources)
        for name in edits
        if name in external.names(sources.experts) or name == "captions"
    ]
    return max((made.batch for made in many), default=1)


def unused(edits: tuple[str, ...], sources: Sources) -> list[str]:
    """Which of the request's sources no chosen recipe would look at, as the options that brought them."""
    singles = {single for name in edits for single in FAMILIES.get(name, (name,))}
    plug = {name: path for path in sources.experts for name in external.names((path,))}
    controls_of_clips = {f"{way}-{name}" for way in ("to", "from") for name in CONTROLS}
    out = []
    if sources.clips and not singles & (controls_of_clips | {*_ON_FOOTAGE, *plug}):
        out.append("--clips")
    if sources.license != "unknown" and not sources.clips:
        out.append("--license")
    out += [f"--set {name}" for name, _ in sources.sets if name not in singles]
    shown = sources.clips and singles & {*_ON_FOOTAGE, *external.removers(sources.experts)}
    out += [
        f"--expert {p}"
        for p in sources.experts
        if not any(plug.get(n) == p for n in singles) and not (shown and external.masker((p,)))
    ]
    if sources.writer and "captions" not in singles:
        out.append("--writer")
    return out


def _footage(sources: Sources) -> cl.Source:
    return cl.folder(sources.clips, sources.license) if sources.clips else cl.rendered
