"""The control recipes: one transformation, two pairs ("to-canny" and "from-canny").

seed → clip → control expert (or the renderer's own truth) → **Pair**. The mask is where the two sides may differ:
everything, or the rectangle, border or dropped frames.
"""

from __future__ import annotations

import numpy as np

from data_synth import footage as cl
from data_synth.language import control
from data_synth.operators import optical_flow
from data_synth.operators.control import CONTROLS, ControlVideo
from data_synth.recipes.result import Rejected
from data_synth.rng import build_rng
from data_synth.scenes import draw, truth
from data_synth.scenes import render as rn
from data_synth.scenes import scene as sc
from v2v.data.pair import Pair

TRUTH_CONTROLS = ("depth", "segmentation", "motion")
VERSION = "3"  # 3: edits that begin late are no cuts


def control_pair(
    name: str, forward: bool, clips: cl.ClipSource, seed: int, T: int, H: int, W: int
) -> Pair | Rejected:
    """A pair from one of the built-in controls, either way.

    Args:
      name: one of `experts.control.CONTROLS`. forward: clip → control video; else back. clips: where footage is from.
    """
    clip = clips(seed, T, H, W)
    if isinstance(clip, Rejected):
        return clip
    control = CONTROLS[name](clip.video, build_rng(seed, "control"))
    return assemble_pair(name, forward, clip, control, seed)


def truth_pair(name: str, forward: bool, seed: int, T: int, H: int, W: int) -> Pair | Rejected:
    """A pair from what the renderer knows exactly: one of TRUTHS."""
    scene = draw.sample_scene(build_rng(seed, "footage"), aspect=W / H, objects=(1, 3), rich=True)
    layers = rn.render_layers(scene, T, H, W)
    if name == "motion":
        video = optical_flow.flow_colors(truth.compute_motion(scene, layers))
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
    made: ControlVideo,
    seed: int,
    *,
    noun: str = "",
    expert: dict | None = None,
) -> Pair:
    """Clip and control video → Pair in the asked direction. `expert` (name, version) is recorded in the provenance."""
    T, H, W, _ = clip.video.shape
    mask = (
        np.full((T, H, W), 255, np.uint8)
        if made.mask is None
        else np.where(made.mask, 255, 0).astype(np.uint8)
    )
    sides = [
        (clip.video, clip.caption or "a video"),
        (made.video, control.format_caption(name, clip.caption, made.slots, noun)),
    ]
    (source, source_caption), (target, target_caption) = sides if forward else sides[::-1]
    words = control.sample_instructions(
        name, forward, made.slots, clip.caption, build_rng(seed, "words"), noun
    )
    return Pair(
        source=source,
        target=target,
        mask=mask,
        reference=None,
        instructions=words,
        source_caption=source_caption,
        target_caption=target_caption,
        edit=f"{'to' if forward else 'from'}-{name}",
        recipe="control",
        seed=seed,
        provenance={
            **clip.origin,
            "slots": made.slots,
            "expert": expert or {"name": name, "version": VERSION},
            "direction": "to" if forward else "from",
        },
        active=(0, T),
    )
