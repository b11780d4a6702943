"""The recipes of looks beyond the default mix: sketch, cartoon, old film, tints and so on, and the ways back from some of them.

seed → clip → **look** → Pair. The clip is footage of people's own or a rendered scene; the operator is exact, and so are the pairs. A
look may be limited to one half of the frame, or to an area that only the mask shows.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable

import cv2
import numpy as np

from data_synth import footage
from data_synth.language import looks as language
from data_synth.operators.looks import LOOKS, apply_look
from data_synth.operators.pixel_math import noise_field
from data_synth.recipes.base import RecipeFamily, declare_family, join_names, on_clips
from data_synth.recipes.planar import sample_half
from data_synth.recipes.two_way import Side, build_two_way_pair
from data_synth.rejection import Rejected
from data_synth.rng import build_rng
from v2v.data.pair import Pair

# 2: varied instructions, and those of the way back. 3: captions of looks on a part of the frame name them.
VERSION = "3"
# Recipe → the looks among which it draws.
RECIPE_LOOKS: dict[str, tuple[str, ...]] = {}
for _look in LOOKS:
    _recipe_name = next((group for group in ("tint", "duotone") if _look.startswith(f"{group}-")), _look)
    RECIPE_LOOKS[_recipe_name] = (*RECIPE_LOOKS.get(_recipe_name, ()), _look)
# Recipes with a way back, undo-NAME.
UNDONE = tuple(name for name in RECIPE_LOOKS if language.undo_templates(name, ""))
# Probability of a limit to one half of the frame, and to an area that the mask shows.
_HALF_SHARE, _AREA_SHARE = 0.2, 0.1
# Least root mean square of the change inside the mask, in grey levels.
MIN_CHANGE = 5.0


def look_pair(
    name: str, forward: bool, clips: footage.ClipSource, seed: int, T: int, H: int, W: int
) -> Pair | Rejected:
    """Return a pair of a clip and the clip with a look.

    Args:
      name: Recipe, of `RECIPE_LOOKS`.
      forward: Whether the clip is the source and the clip with the look the target.
      clips: Source of footage.
      seed: Seed of the clip, the look, its region and the words.
      T: Number of frames.
      H: Frame height in pixels.
      W: Frame width in pixels.
    """
    clip = clips(seed, T, H, W)
    if isinstance(clip, Rejected):
        return clip
    rng = build_rng(seed, "look")
    look_name = RECIPE_LOOKS[name][int(rng.integers(len(RECIPE_LOOKS[name])))]
    look = LOOKS[look_name]
    region, mask = (
        _sample_region(rng, H, W) if forward and look.is_regional else ("", np.full((H, W), 255, np.uint8))
    )
    styled = apply_look(look_name, clip.video, build_rng(seed, "look noise"), mask)
    slots = dict(look.slots)
    words = build_rng(seed, "words")
    styled_caption = (
        language.format_part_caption(name, slots, clip.caption, region)
        if region
        else language.format_caption(name, slots, clip.caption)
    )
    return build_two_way_pair(
        Side(clip.video, clip.caption),
        Side(styled, styled_caption),
        forward,
        lambda is_forward: language.sample_instructions(name, is_forward, slots, clip.caption, words, region),
        edit=name if forward else f"undo-{name}",
        kind="look",
        seed=seed,
        mask=np.repeat(mask[None], T, 0),
        provenance={
            **clip.origin,
            "look": look_name,
            "slots": {**slots, **({"it": region} if region else {})},
            "version": VERSION,
            "direction": "to" if forward else "from",
        },
        is_reversible=(name in UNDONE or not forward) and not region,
    )


def _sample_region(rng: np.random.Generator, H: int, W: int) -> tuple[str, np.ndarray]:
    """Draw where a look is applied: its words, "" for everywhere, and the mask, uint8 [H, W]."""
    draw = rng.random()
    if draw < _HALF_SHARE:
        return sample_half(rng, H, W)
    if draw < _HALF_SHARE + _AREA_SHARE:
        return language.MASKED_AREA, _sample_area(rng, H, W)
    return "", np.full((H, W), 255, np.uint8)


def _sample_area(rng: np.random.Generator, H: int, W: int) -> np.ndarray:
    """Draw an area of 15 to 50 % of the frame, as somebody might paint or drag it: an ellipse, a box or a blob; uint8 [H, W]."""
    share, shape = rng.uniform(0.15, 0.5), int(rng.integers(3))
    if shape == 2:
        field = noise_field(rng, H, W, 1.5, 1)
        return np.where(field > np.quantile(field, 1 - share), 255, 0).astype(np.uint8)
    mask = np.zeros((H, W), np.uint8)
    ratio = np.exp(rng.uniform(-0.5, 0.5))
    half_height, half_width = (0.5 * np.sqrt(share) * side for side in (H * ratio, W / ratio))
    center_y, center_x = rng.uniform(0.3, 0.7) * H, rng.uniform(0.3, 0.7) * W
    if shape == 1:
        y, x = (
            slice(max(0, int(c - h)), max(1, int(c + h)))
            for c, h in ((center_y, half_height), (center_x, half_width))
        )
        mask[y, x] = 255
        return mask
    axes = (
        max(1, round(1.13 * half_width)),
        max(1, round(1.13 * half_height)),
    )  # the ellipse of the box's area
    return cv2.ellipse(mask, (round(center_x), round(center_y)), axes, 0, 0, 360, 255, -1)


def _declare_family(family: str, help: str, names: Iterable[str], forward: bool) -> RecipeFamily:
    return declare_family(
        family,
        help,
        {
            name if forward else f"undo-{name}": on_clips(functools.partial(look_pair, name, forward))
            for name in names
        },
        kind="look",
        renderer="looks",
        version=VERSION,
        min_change=MIN_CHANGE,
        reads=("clips",),
        phrasing="varied",
    )


FAMILY = _declare_family(
    "looks", f"{join_names(RECIPE_LOOKS)}: in the whole frame, a half or a masked area", RECIPE_LOOKS, True
)
UNDO_FAMILY = _declare_family("undo-looks", f"undo-X for these X: {join_names(UNDONE)}", UNDONE, False)
