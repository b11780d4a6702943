"""The recipes of procedural scenes: local edits and looks, which are the default mix, and looks in one half of the frame.

seed → scene → **edit** → Pair, before transition and gates. Source and target come from the same layers (local edits)
or from an exact formula (photometric ones), so masks are exact.
"""

from __future__ import annotations

import functools

import numpy as np

from data_synth.language import grammar, templates
from data_synth.operators.photometric import PHOTOMETRIC
from data_synth.recipes.base import (
    FunctionRecipe,
    GeneratorRecipe,
    declare_family,
    join_names,
    without_sources,
)
from data_synth.rejection import Rejected
from data_synth.rng import build_rng
from data_synth.scenes import draw
from data_synth.scenes import edits as ed
from data_synth.scenes import render as rn
from data_synth.scenes import scene as sc
from data_synth.scenes import textures as tx
from v2v.data.pair import Pair

VERSION = "1"
# Edits that change little on a plain or grey clip: shown on photograph-like ones only.
_RICH_SCENE_EDITS = ("blur", "greyscale", "more saturated", "less saturated")
# Edits that are never limited to one half of the frame.
_WHOLE_FRAME_EDITS = ("blur", "palette")
HALF_EDITS = tuple(name for name in PHOTOMETRIC if name not in _WHOLE_FRAME_EDITS)


def local_pair(name: str, seed: int, rng: np.random.Generator, T: int, H: int, W: int) -> Pair | Rejected:
    """Return a local edit of a random scene.

    Args:
      name: Edit, of `scenes.edits.LOCAL_EDITS`.
      seed: Seed of the scene.
      rng: Draws the edit and its words.
      T: Number of frames.
      H: Frame height in pixels.
      W: Frame width in pixels.
    """
    scene = draw.sample_scene(
        build_rng(seed, "scene"), aspect=W / H, objects=(1, 2) if name == "insert" else (1, 3)
    )
    twin = ed.apply_local_edit(name, scene, rng, T, H, W)
    if isinstance(twin, Rejected):
        return twin
    return Pair(
        source=twin.source,
        target=twin.target,
        mask=twin.mask.astype(np.uint8) * 255,
        reference=twin.reference,
        instructions=grammar.sample_instructions(twin.edit, rng),
        source_caption=sc.format_caption(twin.source_scene),
        target_caption=sc.format_caption(twin.target_scene),
        edit=name,
        recipe="local",
        seed=seed,
        provenance={"slots": twin.edit.slots, "version": VERSION, "license": "Apache-2.0"},
        active=(0, T),
    )


def half_pair(name: str, seed: int, T: int, H: int, W: int) -> Pair | Rejected:
    """Return a photometric edit of HALF_EDITS in one half of the frame, which teaches where left, right, top and bottom are."""
    return photometric_pair(name, seed, build_rng(seed, "pair"), T, H, W, within=1.0)


def photometric_pair(
    name: str, seed: int, rng: np.random.Generator, T: int, H: int, W: int, within: float = 0.12
) -> Pair | Rejected:
    """Return an exact photometric edit of a random scene.

    Args:
      name: Edit, of `operators.photometric.PHOTOMETRIC`.
      seed: Seed of the scene and the reference picture.
      rng: Draws everything else.
      T: Number of frames.
      H: Frame height in pixels.
      W: Frame width in pixels.
      within: Probability that the edit is limited to one half of the frame.
    """
    bare = rng.random() < 0.35
    rich = bare or name in _RICH_SCENE_EDITS or rng.random() < 0.6
    scene = draw.sample_scene(
        build_rng(seed, "scene"), aspect=W / H, objects=(0, 0) if bare else (1, 3), rich=rich
    )
    source = rn.render_scene(scene, T, H, W)
    reference = (
        _render_palette_picture(build_rng(seed, "reference"), min(H, W)) if name == "palette" else None
    )
    target = PHOTOMETRIC[name](source, reference)
    mask = np.full((T, H, W), 255, np.uint8)
    slots = {}
    if name not in _WHOLE_FRAME_EDITS and rng.random() < within:
        slots["it"], half = sample_half(rng, H, W)
        mask = np.repeat(half[None], T, 0)
        target = np.where(mask[..., None] > 0, target, source)
    caption = sc.format_caption(scene)
    return Pair(
        source=source,
        target=target,
        mask=mask,
        reference=reference,
        instructions=grammar.sample_instructions(ed.Edit(name, slots), rng),
        source_caption=caption,
        target_caption=caption if slots else grammar.styled_caption(name, caption),
        edit=name,
        recipe="photometric",
        seed=seed,
        provenance={"slots": slots, "version": VERSION, "license": "Apache-2.0"},
        active=(0, T),
    )


def sample_half(rng: np.random.Generator, H: int, W: int) -> tuple[str, np.ndarray]:
    """Draw a half of the frame: its words, such as "the left half", and its mask, uint8 [H, W]."""
    region = templates.REGIONS[int(rng.integers(len(templates.REGIONS)))]
    mask = np.zeros((H, W), np.uint8)
    rows = {"top half": slice(0, H // 2), "bottom half": slice(H // 2, H)}.get(region, slice(None))
    columns = {"left half": slice(0, W // 2), "right half": slice(W // 2, W)}.get(region, slice(None))
    mask[rows, columns] = 255
    return f"the {region}", mask


def _render_palette_picture(rng: np.random.Generator, side: int) -> np.ndarray:
    """Return a picture with colours worth taking: a texture frame, or a named gradient; uint8 [side, side, 3]."""
    if rng.random() < 0.3:
        texture, words = draw.named_background(str(rng.choice(list(tx.GRADIENTS))))
        return rn.render_scene(sc.Scene(texture, words), 1, side, side)[0]
    return rn.render_scene(draw.sample_scene(rng, objects=(0, 1), rich=True), 1, side, side)[0]


LOCAL = declare_family(
    "local",
    f"{join_names(ed.LOCAL_EDITS)}: rendered scenes, exact truth",
    {name: without_sources(GeneratorRecipe(functools.partial(local_pair, name))) for name in ed.LOCAL_EDITS},
    kind="local",
    min_change=20.0,
    weight=1,
)
LOOKS = declare_family(
    "photometric",
    join_names(PHOTOMETRIC),
    {
        name: without_sources(GeneratorRecipe(functools.partial(photometric_pair, name)))
        for name in PHOTOMETRIC
    },
    kind="photometric",
    min_change=12.0,
    weight=1,
)
HALVES = declare_family(
    "halves",
    f"half-X for X in photometric but {' and '.join(_WHOLE_FRAME_EDITS)}: in the left, right, top or bottom half",
    {
        f"half-{name}": without_sources(FunctionRecipe(functools.partial(half_pair, name)))
        for name in HALF_EDITS
    },
    kind="photometric",
    min_change=12.0,
)
