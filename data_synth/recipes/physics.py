"""The physics recipes: physics-NAME for every edit of `choose.EDIT_NAMES`, and the exact control videos both ways.

seed → room → **twin** → Pair (with its effect-only map). Cost: 13 core-seconds a pair at 480 x 832 x 81.
"""

from __future__ import annotations

import functools

import numpy as np

from data_synth import footage as cl
from data_synth.language import rooms
from data_synth.operators import optical_flow
from data_synth.operators.control import ControlVideo
from data_synth.physics import choose, draw, edits, simulate, truth
from data_synth.physics.render import RoomView, renderer_versions
from data_synth.recipes import control
from data_synth.recipes.base import FunctionRecipe, RecipeFamily, RecipeInfo, declare_family, without_sources
from data_synth.rejection import Rejected
from data_synth.rng import build_rng
from v2v.data.pair import Pair

# 2: replacements have their own height, and stand on the floor; 3: no dots of shadow on the floor; 4: judged before a late beginning;
# 5: both things of a replacement can be seen.
VERSION = "5"
EDITS = tuple(f"physics-{name}" for name in choose.EDIT_NAMES)
TRUTHS = ("physics-depth", "physics-motion", "physics-segmentation", "pose")
# Rooms drawn for one seed until one allows the edit.
TRIES = 6


def edit_pair(name: str, seed: int, T: int, H: int, W: int) -> Pair | Rejected:
    """Return a pair of twins.

    Args:
      name: Recipe, of EDITS.
      seed: Seed of the room, the edit and the words.
      T: Number of frames.
      H: Frame height in pixels.
      W: Frame width in pixels.
    """
    for attempt in range(TRIES):
        twin = edits.build_twin(name.removeprefix("physics-"), build_rng(seed, f"physics {attempt}"), T, H, W)
        if not isinstance(twin, Rejected):
            break
    else:
        return twin
    return Pair(
        source=twin.source,
        target=twin.target,
        mask=twin.mask.view(np.uint8) * np.uint8(255),
        effect=None if twin.effect is None else twin.effect.view(np.uint8) * np.uint8(255),
        reference=twin.reference,
        instructions=rooms.sample_instructions(twin.edit, build_rng(seed, "words")),
        source_caption=rooms.format_caption(twin.source_room),
        target_caption=rooms.format_target_caption(twin.edit),
        edit=name,
        recipe="physics",
        seed=seed,
        provenance={
            "slots": twin.edit.slots,
            "room": twin.source_room.kind,
            "seconds": simulate.duration(T),
            "simulated_again": twin.edit.is_resimulated,
            "renderer": renderer_versions(),
            "version": VERSION,
            "license": "Apache-2.0",
        },
        active=(0, T),
    )


def truth_pair(name: str, forward: bool, seed: int, T: int, H: int, W: int) -> Pair | Rejected:
    """Return a pair of footage of a room and what the renderer knows of it.

    Args:
      name: Control, of TRUTHS.
      forward: Whether the footage is the source and the control video the target.
      seed: Seed of the room and the words.
      T: Number of frames.
      H: Frame height in pixels.
      W: Frame width in pixels.
    """
    rng = build_rng(seed, "footage")
    kinds = ("person",) if name == "pose" else draw.KINDS
    room = draw.sample_room(rng, kinds[int(rng.integers(len(kinds)))], W / H)
    seconds = simulate.duration(T)
    with RoomView(room, simulate.simulate_paths(room, T, seconds), T, H, W, seconds) as view:
        video = view.video()
        if name == "pose":
            frames = truth.render_pose(view)
        elif name == "physics-segmentation":
            frames = truth.render_segmentation(view)
        elif name == "physics-depth":
            frames = truth.render_depth(view)
        else:
            frames = optical_flow.flow_colors(list(truth.compute_motion(view)))
    origin = {"clip": "physics", "renderer": renderer_versions(), "license": "Apache-2.0"}
    clip = cl.Clip(video, rooms.format_caption(room), origin)
    return control.assemble_pair(name, forward, clip, ControlVideo(frames), seed)


FAMILY = declare_family(
    "physics",
    "rooms, simulated and rendered twice; needs pip install 'v2v-edit[scenes]' and headless OpenGL: physics-X for X in insert, remove, "
    "recolour, retexture, replace, relight, background, floor, camera, action, collapse (take the support away), spare (take the "
    "striking ball away), float, and to-X, from-X for X in physics-depth, physics-motion, physics-segmentation, pose",
    {name: without_sources(FunctionRecipe(functools.partial(edit_pair, name))) for name in EDITS},
    kind="physics",
    renderer="physics",
    version=VERSION,
    min_change=8.0,
)
# Described in the help of FAMILY, which draws none of them.
CONTROL_FAMILY = RecipeFamily(
    "physics controls",
    "",
    tuple(
        RecipeInfo(
            f"{direction}-{name}",
            without_sources(FunctionRecipe(functools.partial(truth_pair, name, direction == "to"))),
            kind="control",
        )
        for direction in ("to", "from")
        for name in TRUTHS
    ),
    renderer="physics",
    version=VERSION,
)
