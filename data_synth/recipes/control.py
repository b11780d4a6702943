"""The control recipes: one transformation, two pairs ("to-canny" and "from-canny").

seed → clip → control expert (or the renderer's own truth) → **Pair**. The mask is where the two sides may differ:
everything, or the rectangle, border or dropped frames.
"""

from __future__ import annotations

import functools

import numpy as np

from data_synth import footage as cl
from data_synth.language import control
from data_synth.operators import optical_flow
from data_synth.operators.control import CONTROLS, ControlVideo
from data_synth.recipes.base import (
    FunctionRecipe,
    RecipeFamily,
    RecipeInfo,
    join_names,
    on_clips,
    without_sources,
)
from data_synth.recipes.two_way import Side, build_two_way_pair
from data_synth.rejection import Rejected
from data_synth.rng import build_rng
from data_synth.scenes import draw, truth
from data_synth.scenes import render as rn
from data_synth.scenes import scene as sc
from v2v.data.pair import Pair

TRUTH_CONTROLS = ("depth", "segmentation", "motion")
# 3: edits that begin late are no cuts.
VERSION = "3"


def control_pair(
    name: str, forward: bool, clips: cl.ClipSource, seed: int, T: int, H: int, W: int
) -> Pair | Rejected:
    """Return a pair of a clip and one of the built-in control videos.

    Args:
      name: Control, of `operators.control.CONTROLS`.
      forward: Whether the clip is the source and the control video the target.
      clips: Source of footage.
      seed: Seed of the clip, the control's parameters and the words.
      T: Number of frames.
      H: Frame height in pixels.
      W: Frame width in pixels.
    """
    clip = clips(seed, T, H, W)
    if isinstance(clip, Rejected):
        return clip
    control_video = CONTROLS[name](clip.video, build_rng(seed, "control"))
    return assemble_pair(name, forward, clip, control_video, seed)


def truth_pair(name: str, forward: bool, seed: int, T: int, H: int, W: int) -> Pair | Rejected:
    """Return a pair of a rendered clip and what the renderer knows of it exactly.

    Args:
      name: Control, of TRUTH_CONTROLS.
      forward: Whether the clip is the source and the control video the target.
      seed: Seed of the scene and the words.
      T: Number of frames.
      H: Frame height in pixels.
      W: Frame width in pixels.
    """
    scene = draw.sample_scene(build_rng(seed, "footage"), aspect=W / H, objects=(1, 3), rich=True)
    layers = rn.render_layers(scene, T, H, W)
    if name == "motion":
        video = optical_flow.flow_colors(list(truth.compute_motion(scene, layers)))
    else:
        video = (truth.render_depth if name == "depth" else truth.render_segmentation)(scene, layers)
    clip = cl.Clip(
        rn.compose_layers(layers), sc.format_caption(scene), {"clip": "rendered", "license": "Apache-2.0"}
    )
    return assemble_pair(name, forward, clip, ControlVideo(video), seed)


def assemble_pair(
    name: str,
    forward: bool,
    clip: cl.Clip,
    control_video: ControlVideo,
    seed: int,
    *,
    noun: str = "",
    expert: dict | None = None,
) -> Pair:
    """Return the pair of a clip and its control video.

    Args:
      name: Name of the control.
      forward: Whether the clip is the source and the control video the target.
      clip: Footage.
      control_video: Control video with its mask, and values for the words.
      seed: Seed of the words.
      noun: Noun for the instructions; "" for that of the built-in control.
      expert: What is recorded as its maker, with name and version; None for the built-in control.
    """
    T, H, W, _ = clip.video.shape
    mask = (
        np.full((T, H, W), 255, np.uint8)
        if control_video.mask is None
        else np.where(control_video.mask, 255, 0).astype(np.uint8)
    )
    return build_two_way_pair(
        Side(clip.video, clip.caption),
        Side(control_video.video, control.format_caption(name, clip.caption, control_video.slots, noun)),
        forward,
        lambda is_forward: control.sample_instructions(
            name, is_forward, control_video.slots, clip.caption, build_rng(seed, "words"), noun
        ),
        edit=f"{'to' if forward else 'from'}-{name}",
        kind="control",
        seed=seed,
        mask=mask,
        provenance={
            **clip.origin,
            "slots": control_video.slots,
            "expert": expert or {"name": name, "version": VERSION},
            "direction": "to" if forward else "from",
        },
        is_reversible=False,
    )


def _declare_recipe(direction: str, name: str) -> RecipeInfo:
    forward = direction == "to"
    if name in CONTROLS:
        build = on_clips(functools.partial(control_pair, name, forward))
        return RecipeInfo(f"{direction}-{name}", build, kind="control", reads=("clips",))
    recipe = FunctionRecipe(functools.partial(truth_pair, name, forward))
    return RecipeInfo(f"{direction}-{name}", without_sources(recipe), kind="control")


FAMILY = RecipeFamily(
    "control",
    f"to-X and from-X for X in {join_names((*CONTROLS, *TRUTH_CONTROLS))}",
    tuple(
        _declare_recipe(direction, name)
        for direction in ("to", "from")
        for name in (*CONTROLS, *TRUTH_CONTROLS)
    ),
    selectable=True,
    renderer="control",
    version=VERSION,
)
