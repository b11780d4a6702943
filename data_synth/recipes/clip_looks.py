"""The recipes of looks on footage: those of the default mix on clips, and any look inside an object's mask or outside of it.

seed → clip or shot → **look** → Pair. Black and white, night, the seasons and so on are recipes of rendered scenes (`planar.py`); look-on-clip
draws them on footage, in the whole frame or in a half, look-on-object and look-on-background limit them, and the looks of `looks.py`, to what
a mask shows.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import cv2
import numpy as np

from data_synth import footage
from data_synth.language import clip_looks as language
from data_synth.operators.looks import LOOKS, apply_look, restrict_to_mask
from data_synth.operators.photometric import PHOTOMETRIC
from data_synth.recipes.base import FunctionRecipe, Recipe, RecipeFamily, RecipeInfo
from data_synth.recipes.planar import sample_half
from data_synth.recipes.shots import ShotSource, build_shot_source
from data_synth.recipes.sources import Sources
from data_synth.rejection import Rejected
from data_synth.rng import build_rng
from v2v.data.pair import Pair

# 2: seasons need something green. 3: captions say what looks otherwise.
VERSION = "3"
# Looks whose sentences speak of plants, and the least share of green pixels that they need.
_SEASONS, _MIN_GREEN = ("autumn", "winter", "spring"), 0.08
# Probability that a look on a clip is limited to one half of the frame.
_HALF_SHARE = 0.2
# Least root mean square of the change inside the mask, in grey levels.
MIN_CHANGE = 5.0
# Looks of the default mix that need no reference picture.
CLIP_LOOKS = tuple(name for name in PHOTOMETRIC if name != "palette")
# Looks that are recognized on a part of the frame.
PART_LOOKS = (*CLIP_LOOKS, *(name for name, look in LOOKS.items() if look.is_regional))


def clip_look_pair(clips: footage.ClipSource, seed: int, T: int, H: int, W: int) -> Pair | Rejected:
    """Return a pair of a clip and the clip with a look of the default mix, "palette" included.

    Args:
      clips: Source of footage.
      seed: Seed of the clip, the look, its half and the words.
      T: Number of frames.
      H: Frame height in pixels.
      W: Frame width in pixels.
    """
    clip = clips(seed, T, H, W)
    if isinstance(clip, Rejected):
        return clip
    rng = build_rng(seed, "clip look")
    names = tuple(PHOTOMETRIC)
    name, reference = names[int(rng.integers(len(names)))], None
    if name == "palette":
        other = clips(int(rng.integers(1 << 31)), 1, H, W)
        if isinstance(other, Rejected):
            return other
        reference = other.video[0]
    if name in _SEASONS and measure_green(clip.video) < _MIN_GREEN:
        return Rejected("no plants whose season could change")
    edited = PHOTOMETRIC[name](clip.video, reference)
    mask, region = np.full((H, W), 255, np.uint8), ""
    if name not in ("blur", "palette") and rng.random() < _HALF_SHARE:
        region, mask = sample_half(rng, H, W)
    return _assemble(name, clip, edited, np.repeat(mask[None], T, 0), region, seed, reference)


def part_look_pair(is_object: bool, shots: ShotSource, seed: int, T: int, H: int, W: int) -> Pair | Rejected:
    """Return a pair of a clip and the clip with a look on an object, or on everything else.

    Args:
      is_object: Whether the object gets the look; otherwise its surroundings do.
      shots: Source of footage with masks.
      seed: Seed of the shot, the look and the words.
      T: Number of frames.
      H: Frame height in pixels.
      W: Frame width in pixels.
    """
    shot = shots(seed, T, H, W)
    if isinstance(shot, Rejected):
        return shot
    rng = build_rng(seed, "clip look")
    name = PART_LOOKS[int(rng.integers(len(PART_LOOKS)))]
    if not is_object and rng.random() < 0.2:
        name = "blur"  # what people ask for most
    mask = np.where(shot.body_mask if is_object else ~shot.body_mask, 255, 0).astype(np.uint8)
    if name in _SEASONS and measure_green(shot.video, mask[len(mask) // 2] > 0) < _MIN_GREEN:
        return Rejected("no plants whose season could change")
    if name in LOOKS:
        edited = apply_look(name, shot.video, build_rng(seed, "look noise"))
    else:
        edited = PHOTOMETRIC[name](shot.video, None)
    words = language.sample_region(is_object, shot.object_name, rng)
    clip = footage.Clip(shot.video, shot.caption, shot.origin)
    return _assemble(name, clip, edited, mask, words, seed, None)


def measure_green(video: np.ndarray, where: np.ndarray | None = None) -> float:
    """Return the share of pixels of a clip's middle frame that are as green as plants.

    Args:
      video: uint8 [T, H, W, 3].
      where: bool [H, W], the pixels that count; None for all.
    """
    hue, saturation, value = cv2.split(cv2.cvtColor(video[len(video) // 2], cv2.COLOR_RGB2HSV))
    # OpenCV's hue counts in steps of two degrees.
    green = (hue > 28) & (hue < 85) & (saturation > 60) & (value > 40)
    return float(green[where].mean() if where is not None and where.any() else green.mean())


def _assemble(
    name: str,
    clip: footage.Clip,
    edited: np.ndarray,
    mask: np.ndarray,
    region: str,
    seed: int,
    reference: np.ndarray | None,
) -> Pair:
    slots = dict(LOOKS[name].slots) if name in LOOKS else {}
    caption = clip.caption or "a video"
    return Pair(
        source=clip.video,
        target=restrict_to_mask(clip.video, edited, mask),
        mask=mask,
        reference=reference,
        instructions=language.sample_instructions(name, slots, region, build_rng(seed, "words")),
        source_caption=caption,
        target_caption=language.format_caption(name, slots, clip.caption, region),
        edit=name,
        recipe="clip look",
        seed=seed,
        provenance={
            **clip.origin,
            "look": name,
            "slots": {**slots, **({"it": region} if region else {})},
            "version": VERSION,
        },
        active=(0, len(clip.video)),
    )


def _build_clip_looks(sources: Sources) -> Recipe:
    return FunctionRecipe(functools.partial(clip_look_pair, sources.clip_source()))


def _build_part_looks(is_object: bool, sources: Sources) -> Recipe:
    return FunctionRecipe(functools.partial(part_look_pair, is_object, build_shot_source(sources)))


_RECIPES: dict[str, Callable[[Sources], Recipe]] = {
    "look-on-clip": _build_clip_looks,
    "look-on-object": functools.partial(_build_part_looks, True),
    "look-on-background": functools.partial(_build_part_looks, False),
}
FAMILY = RecipeFamily(
    "clip-looks",
    "look-on-clip (a look of the default mix on footage, whole or in a half), look-on-object, look-on-background (any look, limited "
    "by a mask)",
    tuple(
        RecipeInfo(
            name,
            build,
            kind="clip look",
            min_change=MIN_CHANGE,
            reads=("clips",) if name == "look-on-clip" else ("clips", "masks"),
        )
        for name, build in _RECIPES.items()
    ),
    selectable=True,
    renderer="clip looks",
    version=VERSION,
    phrasing="varied",
)
