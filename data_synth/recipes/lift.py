"""The recipes "lift", a local edit as a picture pair that one camera move lifts to a video, and "image", its still.

seed → scene, edited twin (one frame) → camera_move.py → **Pair**. The same function lifts the rows of an imported picture
set. "image" is the pair as a one-frame video: the paper trains on both (App. A).
"""

from __future__ import annotations

import numpy as np

from data_synth.operators import camera_move
from data_synth.recipes import planar
from data_synth.recipes.base import FunctionRecipe, RecipeFamily, RecipeInfo, without_sources
from data_synth.rejection import Rejected
from data_synth.rng import build_rng
from data_synth.scenes import edits as ed
from v2v.data.pair import Pair


def lift_pair(seed: int, T: int, H: int, W: int) -> Pair | Rejected:
    """Return a rendered picture pair as a T-frame video."""
    rng = build_rng(seed, "lift")
    name = ed.LOCAL_EDITS[int(rng.integers(len(ed.LOCAL_EDITS)))]
    still = planar.local_pair(
        name, seed, rng, 1, camera_move.PICTURE_SCALE * H, camera_move.PICTURE_SCALE * W
    )
    return still if isinstance(still, Rejected) else lift_still(still, build_rng(seed, "move"), T, H, W)


def image_pair(seed: int, T: int, H: int, W: int) -> Pair | Rejected:
    """Return a rendered picture pair as a video of one frame, whatever T."""
    rng = build_rng(seed, "lift")
    return planar.local_pair(ed.LOCAL_EDITS[int(rng.integers(len(ed.LOCAL_EDITS)))], seed, rng, 1, H, W)


def lift_still(still: Pair, rng: np.random.Generator, T: int, H: int, W: int) -> Pair:
    """Return the video pair that one random camera move makes of a picture pair.

    Args:
      still: Pair of one frame, of any size.
      rng: Draws the camera move and the variation of the reference picture.
      T: Number of frames.
      H: Frame height in pixels.
      W: Frame width in pixels.
    """
    height, width = still.source.shape[1:3]
    moves = camera_move.sample_trajectories(rng, 1, T, height, width)[0]
    source, target, mask = camera_move.lift_pictures(still.source[0], still.target[0], still.mask[0], moves)
    reference = still.reference
    if reference is not None:
        reference = camera_move.vary_reference(reference, rng)
    return Pair(
        source=camera_move.scale_down(source, H, W),
        target=camera_move.scale_down(target, H, W),
        reference=reference,
        mask=np.where(camera_move.scale_down(mask, H, W) > 0, 255, 0).astype(np.uint8),
        instructions=still.instructions,
        source_caption=still.source_caption,
        target_caption=still.target_caption,
        edit=still.edit,
        recipe="lift",
        seed=still.seed,
        active=(0, T),
        provenance={
            **still.provenance,
            "lifted": {"first": moves[0].round(6).tolist(), "last": moves[-1].round(6).tolist()},
        },
    )


FAMILY = RecipeFamily(
    "lift, image",
    "two rendered pictures under one camera move (lift), or still (image, with --frames 1)",
    (
        RecipeInfo("lift", without_sources(FunctionRecipe(lift_pair)), kind="lift", min_change=14.0),
        RecipeInfo("image", without_sources(FunctionRecipe(image_pair)), kind="local", min_change=20.0),
    ),
)
