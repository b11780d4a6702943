"""Pairs from procedural scenes: the two families of the default mix.

seed → scene → **edit** → Pair, before transition and gates. Source and target come from the same layers (local edits)
or from an exact formula (photometric ones), so masks are exact.
"""

from __future__ import annotations

import numpy as np

from data_synth.language import grammar, templates
from data_synth.operators.photometric import PHOTOMETRIC
from data_synth.recipes.result import Rejected
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
_WHOLE_FRAME_EDITS = ("blur", "palette")  # always of the whole frame
HALF_EDITS = tuple(name for name in PHOTOMETRIC if name not in _WHOLE_FRAME_EDITS)


def local_pair(name: str, seed: int, rng: np.random.Generator, T: int, H: int, W: int) -> Pair | Rejected:
    """A local edit of a random scene: (name of scenes.edits.LOCAL, seed, its choices, size) → Pair or a reason."""
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
    """A photometric edit of HALVES in one half of the frame: what teaches a model where left, right, top and bottom are."""
    return photometric_pair(name, seed, build_rng(seed, "pair"), T, H, W, within=1.0)


def photometric_pair(
    name: str, seed: int, rng: np.random.Generator, T: int, H: int, W: int, within: float = 0.12
) -> Pair | Rejected:
    """An exact photometric edit of a random scene, `within` of them limited to one half of the frame."""
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
        region = templates.REGIONS[int(rng.integers(4))]
        slots["it"] = f"the {region}"
        mask = np.zeros((T, H, W), np.uint8)
        mask[half_slices(region, H, W)] = 255
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


def half_slices(region: str, H: int, W: int) -> tuple[slice, slice, slice]:
    """Slices of [T, H, W] for one of instruct.REGIONS."""
    rows = {"top half": slice(0, H // 2), "bottom half": slice(H // 2, H)}.get(region, slice(None))
    columns = {"left half": slice(0, W // 2), "right half": slice(W // 2, W)}.get(region, slice(None))
    return slice(None), rows, columns


def _render_palette_picture(rng: np.random.Generator, side: int) -> np.ndarray:
    """A picture with colours worth taking: a texture frame, or a named gradient."""
    if rng.random() < 0.3:
        texture, words = draw.named_background(str(rng.choice(list(tx.GRADIENTS))))
        return rn.render_scene(sc.Scene(texture, words), 1, side, side)[0]
    return rn.render_scene(draw.sample_scene(rng, objects=(0, 1), rich=True), 1, side, side)[0]
