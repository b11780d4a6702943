"""The recipes removal, insertion as removal backwards, and replacement (EasyV2V §4, object removal / insertion).

The paper inpaints with a network and has people discard artefacts; a static camera allows something exact wherever the object moves away
(`operators.median_removal`). What follows here serves rendered shots, and the replacement of an object by one of another shot; footage is the
matter of `footage_removal.py`, and what both have in common is in `shot_removal.py`.
"""

from __future__ import annotations

import dataclasses
import functools
import re

import cv2
import numpy as np

from data_synth.cutouts.library import read_cutout_folder
from data_synth.language import templates as templates_lib
from data_synth.operators.median_removal import is_static, remove_object
from data_synth.recipes import footage_removal
from data_synth.recipes.base import FunctionRecipe, Recipe, RecipeFamily, RecipeInfo
from data_synth.recipes.connections import find_experts
from data_synth.recipes.shot_removal import (
    RemovalMethod,
    Replacement,
    Replacer,
    ShotRemoval,
    removal_pair,
    replacement_pair,
)
from data_synth.recipes.shots import Shot, ShotSource, build_shot_source
from data_synth.recipes.sources import SourceKind, Sources
from data_synth.rejection import Rejected
from data_synth.rng import build_rng
from data_synth.scenes import scene as sc

# 2: judged before an edit that begins late does.
VERSION = "2"
_REMOVE = templates_lib.LOCAL_TEMPLATES["remove"]
_INSERT = (
    "add {a_object} to the video",
    "insert {a_object}",
    "put {a_object} into the scene",
    "place {a_object} in the video",
    "add {a_object}",
)


@dataclasses.dataclass(frozen=True)
class MedianRemoval:
    """Removal from shots of a camera that stands still (a `RemovalMethod`)."""

    is_reversible: bool = False

    def remove(self, shot: Shot, seed: int) -> ShotRemoval | Rejected:
        """Take the object out of a shot, or tell why that can't be done."""
        if not is_static(shot.video, shot.mask):
            return Rejected("the camera moves")
        target, mask = remove_object(shot.video, shot.mask)
        return ShotRemoval(target, mask, {"expert": {"name": "median", "version": VERSION}})

    def name_slots(self, shot: Shot) -> dict[str, str]:
        """Return the words for the object."""
        return {"object": shot.object_name}

    def sample_sentences(
        self, insert: bool, slots: dict[str, str], rng: np.random.Generator
    ) -> tuple[str, ...]:
        """Sample five sentences."""
        sentences = removal_sentences(insert, slots["object"])
        return tuple(sentences[i] for i in rng.permutation(len(sentences))[:5])

    def cut_out(self, shot: Shot) -> np.ndarray | None:
        """Return the object with what is around it, where most of it is seen."""
        return _cut_out(shot.video, shot.mask)


def removal_sentences(insert: bool, object_name: str) -> tuple[str, ...]:
    """Return all sentences that ask for the object to be put in, or taken out."""
    slots = {"object": object_name, "a_object": f"{sc.indefinite_article(object_name)} {object_name}"}
    return tuple(template.format(**slots) for template in (_INSERT if insert else _REMOVE))


@dataclasses.dataclass(frozen=True)
class DonorReplacer:
    """Exchanges an object for one cut out of another shot, which follows its path at its size (a `Replacer`).

    With c_k, h_k centre and height of the old mask in frame k, frame k of the new object is scaled so that its mask
    is max_k h_k high and centred at c_k; its rim is feathered over a pixel. Mask = old | new.

    Attributes:
      shots: Source of both shots.
    """

    shots: ShotSource

    def __call__(self, shot: Shot, removal: ShotRemoval, seed: int) -> Replacement | Rejected:
        """Return the shot with the other object, or why there is none."""
        donor = self._draw_donor(shot, build_rng(seed, "donor"))
        if donor is None:
            return Rejected("no other object to put there")
        if not shot.body_mask.any((1, 2)).all():
            return Rejected("the object leaves the frame")
        high = max(_bounding_box(m)[2] for m in shot.body_mask)
        target, mask = removal.target.copy(), removal.mask.copy()
        for k in range(len(target)):
            y, x, _, _ = _bounding_box(shot.body_mask[k])
            alpha = _paste(target[k], donor.video[k], donor.body_mask[k], y, x, high)
            mask[k] |= alpha > 0
        slots = {"object": shot.object_name, "new": donor.object_name}
        templates = templates_lib.LOCAL_TEMPLATES["replace"]
        order = build_rng(seed, "words").permutation(len(templates))[:5]
        return Replacement(
            target,
            mask,
            _cut_out(donor.video, donor.body_mask),
            tuple(re.sub(r"\ba (?=[aeiou])", "an ", templates[i].format(**slots)) for i in order),
            f"{sc.indefinite_article(donor.object_name)} {donor.object_name}",
            {
                "donor": donor.origin,
                "expert": {"name": "median and paste", "version": VERSION},
                "slots": slots,
            },
        )

    def _draw_donor(self, shot: Shot, rng: np.random.Generator) -> Shot | None:
        """Return another shot, of an object of another name that is in view in all frames; None where none of eight is."""
        for _ in range(8):
            donor = self.shots(int(rng.integers(1 << 31)), *shot.video.shape[:3])
            if (
                not isinstance(donor, Rejected)
                and donor.object_name != shot.object_name
                and donor.body_mask.any((1, 2)).all()
            ):
                return donor
        return None


def _bounding_box(mask: np.ndarray) -> tuple[float, float, int, int]:
    """Return centre (y, x), height and width of the bounding box of a mask that is not empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return (
        (rows[0] + rows[-1]) / 2,
        (columns[0] + columns[-1]) / 2,
        int(rows[-1] - rows[0] + 1),
        int(columns[-1] - columns[0] + 1),
    )


def _paste(
    frame: np.ndarray, donor_frame: np.ndarray, object_mask: np.ndarray, y: float, x: float, height: int
) -> np.ndarray:
    """Draw the masked object of another frame, `height` pixels high and centred at (y, x), into `frame`; return its opacity [H, W]."""
    H, W = object_mask.shape
    cy, cx, tall, _ = _bounding_box(object_mask)
    scale = height / tall
    shift = np.array([[scale, 0, x - scale * cx], [0, scale, y - scale * cy]], np.float32)
    soft_mask = cv2.GaussianBlur(cv2.erode(object_mask.astype(np.float32), np.ones((3, 3))), (3, 3), 0)
    alpha = cv2.warpAffine(soft_mask, shift, (W, H), flags=cv2.INTER_LINEAR)
    picture = cv2.warpAffine(
        donor_frame, shift, (W, H), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    frame[:] = (alpha[..., None] * picture + (1 - alpha[..., None]) * frame + 0.5).astype(np.uint8)
    return alpha


def _cut_out(video: np.ndarray, mask: np.ndarray) -> np.ndarray | None:
    """Return the object in the frame that shows most of it, with a margin of a sixth, as a reference picture."""
    k = int(mask.sum((1, 2)).argmax())
    if not mask[k].any():
        return None
    rows, columns = np.flatnonzero(mask[k].any(1)), np.flatnonzero(mask[k].any(0))
    margin = max(1, (rows[-1] - rows[0] + columns[-1] - columns[0]) // 12)
    top_edge, left_edge = max(0, rows[0] - margin), max(0, columns[0] - margin)
    return video[k, top_edge : rows[-1] + margin + 1, left_edge : columns[-1] + margin + 1].copy()


def _find_method(sources: Sources) -> RemovalMethod:
    if not sources.has_footage:
        return MedianRemoval()
    return footage_removal.FootageRemoval(
        footage_removal.build_inpainter(sources, find_experts(sources.experts, "remove"))
    )


def _build_removal(insert: bool, sources: Sources) -> Recipe:
    shots = build_shot_source(sources)
    return FunctionRecipe(functools.partial(removal_pair, _find_method(sources), insert, shots))


def _build_replacement(sources: Sources) -> Recipe:
    shots = build_shot_source(sources)
    method: RemovalMethod = MedianRemoval()
    replace: Replacer = DonorReplacer(shots)
    if sources.has_footage and sources.cutouts:
        method = _find_method(sources)
        replace = footage_removal.CutoutReplacer(read_cutout_folder(sources.cutouts))
    return FunctionRecipe(functools.partial(replacement_pair, method, replace, shots))


_READS: tuple[SourceKind, ...] = ("clips", "masks", "inpainter")
FAMILY = RecipeFamily(
    "removal, insertion, replacement",
    "an object taken out of, put into, or exchanged in a rendered shot, or in footage whose other frames show what is behind it",
    (
        RecipeInfo("removal", functools.partial(_build_removal, False), "removal", 10.0, _READS),
        RecipeInfo("insertion", functools.partial(_build_removal, True), "removal", 10.0, _READS),
        RecipeInfo("replacement", _build_replacement, "removal", 10.0, (*_READS, "cutouts")),
    ),
    renderer="removal",
    version=VERSION,
    footage_version=footage_removal.VERSION,
    phrasing="varied on footage",
)
