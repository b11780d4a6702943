"""The recipes of grounding: an object that has a mask is highlighted, outlined, boxed, lit alone, or shown as a silhouette.

seed → shot (clip, mask, name) → **mark** → Pair. Targets show that an editor has found what a sentence names, and are exact where the mask is.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import cv2
import numpy as np

from data_synth.language import grounding as language
from data_synth.recipes.base import FunctionRecipe, Recipe, declare_family, join_names
from data_synth.recipes.shots import ShotSource, build_shot_source
from data_synth.recipes.sources import Sources
from data_synth.rejection import Rejected
from data_synth.rng import build_rng
from data_synth.scenes import objects as ob
from v2v.data.pair import Pair

# 2: captions as sentences.
VERSION = "2"
COLORS = ("red", "yellow", "green", "cyan", "blue", "purple", "orange")
# Opacity of a highlight, brightness of what a spotlight leaves dark.
_HIGHLIGHT, _DIM = 0.55, 0.25
# Width of lines, a share of the shorter side.
_LINE = 0.012
# (frame, mask, color, line width) → frame with the mark, and bool [H, W] where it may differ.
Mark = Callable[[np.ndarray, np.ndarray, np.ndarray, int], tuple[np.ndarray, np.ndarray]]


def grounding_pair(name: str, shots: ShotSource, seed: int, T: int, H: int, W: int) -> Pair | Rejected:
    """Return a pair of a clip and the clip with an object marked.

    Args:
      name: Mark, of `MARKS`.
      shots: Source of footage with masks.
      seed: Seed of the shot, the color and the words.
      T: Number of frames.
      H: Frame height in pixels.
      W: Frame width in pixels.
    """
    shot = shots(seed, T, H, W)
    if isinstance(shot, Rejected):
        return shot
    if not shot.body_mask.any():
        return Rejected("the object is never in view")
    color = COLORS[int(build_rng(seed, "mark").integers(len(COLORS)))]
    width = max(1, round(_LINE * min(H, W)))
    target, mask = np.empty_like(shot.video), np.zeros((T, H, W), bool)
    for k in range(T):
        level = np.array(ob.COLORS[color], np.float32)
        target[k], mask[k] = MARKS[name](shot.video[k], shot.body_mask[k], level, width)
    slots = {"the_object": f"the {shot.object_name}", "colour": color}
    words = build_rng(seed, "words")
    provenance = {**shot.origin, "slots": slots, "version": VERSION}
    if name in language.ERASE_TEMPLATES:
        back = [row.format(**slots) for row in language.ERASE_TEMPLATES[name]]
        provenance["reverse_instructions"] = back
    return Pair(
        source=shot.video,
        target=target,
        mask=np.where(mask, 255, 0).astype(np.uint8),
        reference=None,
        instructions=language.sample_instructions(name, slots, words),
        source_caption=shot.caption,
        target_caption=language.format_caption(name, slots, shot.caption),
        edit=name,
        recipe="grounding",
        seed=seed,
        provenance=provenance,
        active=(0, T),
    )


def highlight(
    frame: np.ndarray, mask: np.ndarray, color: np.ndarray, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mix the object with a color."""
    mixed = np.rint((1 - _HIGHLIGHT) * frame + _HIGHLIGHT * color).astype(np.uint8)
    return np.where(mask[..., None], mixed, frame), mask


def outline(
    frame: np.ndarray, mask: np.ndarray, color: np.ndarray, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a line around the object, half of it outside."""
    plane = mask.astype(np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * width + 1, 2 * width + 1))
    line = cv2.dilate(plane, kernel).astype(bool) & ~cv2.erode(plane, np.ones((3, 3), np.uint8)).astype(bool)
    return np.where(line[..., None], color.astype(np.uint8), frame), line


def draw_box(
    frame: np.ndarray, mask: np.ndarray, color: np.ndarray, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a rectangle around the object."""
    line = np.zeros(mask.shape, np.uint8)
    if mask.any():
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        corner = int(columns[0]) - width, int(rows[0]) - width
        cv2.rectangle(line, corner, (int(columns[-1]) + width, int(rows[-1]) + width), 1, width)
    return np.where(line[..., None] > 0, color.astype(np.uint8), frame), line > 0


def spotlight(
    frame: np.ndarray, mask: np.ndarray, color: np.ndarray, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Darken everything but the object."""
    return np.where(mask[..., None], frame, np.rint(_DIM * frame).astype(np.uint8)), ~mask


def draw_silhouette(
    frame: np.ndarray, mask: np.ndarray, color: np.ndarray, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Show the mask alone."""
    return np.repeat(np.where(mask, 255, 0).astype(np.uint8)[..., None], 3, -1), np.ones_like(mask)


MARKS: dict[str, Mark] = {
    "highlight": highlight,
    "outline": outline,
    "bounding-box": draw_box,
    "spotlight": spotlight,
    "silhouette": draw_silhouette,
}


def _build_recipe(name: str, sources: Sources) -> Recipe:
    return FunctionRecipe(functools.partial(grounding_pair, name, build_shot_source(sources)))


FAMILY = declare_family(
    "grounding",
    f"{join_names(MARKS)}: an object that has a mask (NAME.mask.mp4 or .png, NAME.object.txt, or an expert of role mask)",
    {name: functools.partial(_build_recipe, name) for name in MARKS},
    kind="grounding",
    renderer="grounding",
    version=VERSION,
    min_change=6.0,
    reads=("clips", "masks"),
    phrasing="varied",
)
