"""The recipe "compound": two exact edits of one clip, one after the other, and one instruction for both.

seed → clip → first edit → second edit on its target → **Pair**. Each step is a recipe of this package that is handed its footage instead of a
folder, so any that turn a clip into an edited clip can be chained. Objects come first, then looks and weather, then what lies over the
picture, as in a cutting room. With masks m1 and m2 of the steps the pair's is m1 | m2.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import cv2
import numpy as np

from data_synth import footage
from data_synth.cutouts.library import CutoutFolder, read_cutout_folder
from data_synth.language import compound as language
from data_synth.recipes import clip_looks, cutouts, grounding, looks, overlays, weather
from data_synth.recipes.base import FunctionRecipe, Recipe, RecipeFamily, RecipeInfo
from data_synth.recipes.shots import MaskedClipSource, Shot, ShotSource, build_masked_clips, find_shot_source
from data_synth.recipes.sources import Sources
from data_synth.rejection import Rejected
from data_synth.rng import build_rng
from v2v.data.pair import Pair

NAME = "compound"
# 2: pairs whose second edit hides the first are left out. 3: captions as sentences; cut-outs as in their version 2.
VERSION = "3"
# Grey levels that the first edit must still make a difference of after the second.
_MIN_TRACE = 8.0
# Steps that change what stands in the scene; each with its cut-outs.
OBJECT_STEPS = ("cutout-insert", "cutout-remove", "cutout-replace", "cutout-recolour", "cutout-count")
# Looks that leave enough to see of a change before them, and of one after them.
GENTLE_LOOKS = (
    *("more-contrast", "golden-hour", "sunset", "moonlight", "teal-and-orange", "faded", "vignette", "glow"),
    *("cyanotype", "mirror-image", "film-grain", "old-film", "vhs", "oil-painting", "watercolour", "cartoon"),
)
# First step → steps that may follow: what was seen of the first one must stay visible.
_SECOND_STEPS = {
    "cutout": ("look", "weather", "overlay"),
    "object look": ("weather", "overlay"),
    "mark": ("overlay",),
    "look": ("overlay",),
    "weather": ("look", "overlay"),
}
# (clip source, seed, T, H, W) → pair.
Step = Callable[[footage.ClipSource, int, int, int, int], Pair | Rejected]


def compound_pair(
    clips: MaskedClipSource,
    shots: ShotSource | None,
    library: CutoutFolder | None,
    seed: int,
    T: int,
    H: int,
    W: int,
) -> Pair | Rejected:
    """Return a pair of a clip and the clip after two edits.

    Args:
      clips: Source of footage.
      shots: The same footage with masks, for edits of objects in it, where it has any; None where nothing has.
      library: Cut-outs, for edits of objects that are put into it; None without any.
      seed: Seed of the clip, both edits and the words.
      T: Number of frames.
      H: Frame height in pixels.
      W: Frame width in pixels.
    """
    rng = build_rng(seed, "compound")
    shot = shots(seed, T, H, W) if shots else None
    if isinstance(shot, Rejected) and shot.transient:
        return shot
    kinds = ["look", "weather", *(("cutout",) * 3 if library else ())]
    if isinstance(shot, Shot):
        kinds += ["object look", "mark"]
    kind = _choose(rng, tuple(kinds))
    if kind == "cutout":
        assert library
        first = cutouts.cutout_pair(_choose(rng, OBJECT_STEPS), clips, library, seed, T, H, W)
    elif kind == "mark":
        assert shot
        mark = _choose(rng, ("highlight", "outline", "bounding-box"))
        first = grounding.grounding_pair(mark, functools.partial(_take, shot), seed, T, H, W)
    elif kind == "object look":
        assert shot
        first = clip_looks.part_look_pair(
            bool(rng.random() < 0.5), functools.partial(_take, shot), seed, T, H, W
        )
    else:
        first = _draw_step(kind, rng)(_without_masks(clips), seed, T, H, W)
    if isinstance(first, Rejected):
        return first
    between = footage.Clip(first.target, first.target_caption, {})
    second_kind = _choose(rng, _SECOND_STEPS[kind])
    step = _draw_step(second_kind, rng)
    second = step(lambda *_: between, seed, T, H, W)
    if isinstance(second, Rejected):
        return second
    if second_kind != "overlay":
        second_only = step(lambda *_: footage.Clip(first.source, first.source_caption, {}), seed, T, H, W)
        if (
            isinstance(second_only, Pair)
            and _measure_trace(second_only.target, second.target, first.mask) < _MIN_TRACE
        ):
            return Rejected("the second edit hides the first")
    return join_pairs(first, second, build_rng(seed, "words"))


def _measure_trace(without: np.ndarray, both: np.ndarray, mask: np.ndarray) -> float:
    """Return what is left of a first edit after a second one: the root mean square of the difference it makes, over the size of its mask.

    The sum runs over whole frames, as the second edit may have mirrored them.

    Args:
      without: uint8 [T, H, W, 3], the second edit alone.
      both: The same after both.
      mask: uint8 [T, H, W] of the first edit.
    """
    change = sum(cv2.norm(a, b, cv2.NORM_L2SQR) for a, b in zip(without, both, strict=True))
    return float(np.sqrt(change / (3 * max(1, np.count_nonzero(mask)))))


def join_pairs(first: Pair, second: Pair, rng: np.random.Generator) -> Pair:
    """Return the pair of two edits of which the second begins with the first one's target.

    Args:
      first: From the clip to what is between.
      second: From there to the target; its source is the first one's target.
      rng: Draws the words.
    """
    T = len(first.source)
    reverse = [pair.provenance.get("reverse_instructions") for pair in (second, first)]
    backwards = (
        {"reverse_instructions": list(language.join_sentences(reverse[0] or (), reverse[1] or (), rng))}
        if all(reverse)
        else {}
    )
    steps = [
        {"edit": p.edit, "recipe": p.recipe, "slots": p.provenance.get("slots", {})} for p in (first, second)
    ]
    facts = {
        name: value
        for name, value in first.provenance.items()
        if name not in ("slots", "version", "direction")
    }
    return Pair(
        source=first.source,
        target=second.target,
        mask=first.mask | second.mask,
        reference=first.reference,
        instructions=language.join_sentences(first.instructions, second.instructions, rng),
        source_caption=first.source_caption,
        target_caption=second.target_caption,
        edit=f"{first.edit} + {second.edit}",
        recipe=NAME,
        seed=first.seed,
        provenance={**facts, "steps": steps, "version": VERSION, **backwards},
        active=(0, T),
    )


def _draw_step(kind: str, rng: np.random.Generator) -> Step:
    if kind == "look":
        return functools.partial(looks.look_pair, _choose(rng, GENTLE_LOOKS), True)
    if kind == "weather":
        return functools.partial(weather.weather_pair, _choose(rng, tuple(weather.WEATHER)), True)
    return functools.partial(overlays.overlay_pair, _choose(rng, tuple(overlays.OVERLAYS)), True)


def _take(shot: Shot | Rejected, seed: int, T: int, H: int, W: int) -> Shot | Rejected:
    """Return a shot whatever the seed."""
    return shot


def _without_masks(clips: MaskedClipSource) -> footage.ClipSource:
    def draw(seed: int, T: int, H: int, W: int) -> footage.Clip | Rejected:
        masked = clips(seed, T, H, W)
        return masked if isinstance(masked, Rejected) else masked[0]

    return draw


def _choose(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]


def _build_recipe(sources: Sources) -> Recipe:
    library = read_cutout_folder(sources.cutouts) if sources.cutouts else None
    shots = find_shot_source(sources)
    return FunctionRecipe(functools.partial(compound_pair, build_masked_clips(sources), shots, library))


FAMILY = RecipeFamily(
    NAME,
    "two exact edits of one clip in one instruction: objects (--cutouts, masks), looks, weather, overlays",
    (RecipeInfo(NAME, _build_recipe, kind=NAME, min_change=5.0, reads=("clips", "masks", "cutouts")),),
    renderer=NAME,
    version=VERSION,
    phrasing="varied",
)
