"""The recipes of static shots: removal, insertion as removal backwards, and replacement (EasyV2V §4, object removal / insertion).

clip + object mask → **background plate** → Pair. The paper inpaints with a network and has people discard artefacts;
a static camera allows something exact wherever the object moves away: with M the mask grown by a few pixels,

    plate(p) = median of frame_k(p) over the k with p not in M_k
    where every frame hides p: plate(p) by Telea's inpainting from the plate around it
    removed_k(p) = plate(p) in M_k, frame_k(p) elsewhere

so nothing outside the mask changes. Footage is the matter of `footage_removal.py`; what follows here serves rendered shots, and the
replacement of an object by one of another shot.
"""

from __future__ import annotations

import functools
import re

import cv2
import numpy as np

from data_synth.cutouts.library import read_cutout_folder
from data_synth.language import templates as templates_lib
from data_synth.recipes import footage_removal
from data_synth.recipes.base import FunctionRecipe, Recipe, RecipeFamily, RecipeInfo
from data_synth.recipes.shots import ShotSource, build_shot_source, find_experts
from data_synth.recipes.sources import SourceKind, Sources
from data_synth.rejection import Rejected
from data_synth.rng import build_rng
from data_synth.scenes import scene as sc
from v2v.data.pair import Pair

# 2: judged before an edit that begins late does.
VERSION = "2"
# Grey levels: a static shot's background varies less than this about its median.
MAX_STATIC_DEVIATION = 6.0
_REMOVE = templates_lib.LOCAL_TEMPLATES["remove"]
_INSERT = (
    "add {a_object} to the video",
    "insert {a_object}",
    "put {a_object} into the scene",
    "place {a_object} in the video",
    "add {a_object}",
)


def removal_pair(insert: bool, shots: ShotSource, seed: int, T: int, H: int, W: int) -> Pair | Rejected:
    """Return a pair in which an object is taken out, or put in.

    Args:
      insert: Whether to exchange source and target.
      shots: Source of footage.
      seed: Seed of the shot and the words.
      T: Number of frames.
      H: Frame height in pixels.
      W: Frame width in pixels.
    """
    shot = shots(seed, T, H, W)
    if isinstance(shot, Rejected):
        return shot
    if not is_static(shot.video, shot.mask):
        return Rejected("the camera moves")
    removed, mask = remove_object(shot.video, shot.mask)
    rng = build_rng(seed, "words")
    templates = removal_sentences(insert, shot.object_name)
    words = tuple(templates[i] for i in rng.permutation(len(templates))[:5])
    source, target = (removed, shot.video) if insert else (shot.video, removed)
    source_caption, target_caption = (
        (shot.caption_without, shot.caption) if insert else (shot.caption, shot.caption_without)
    )
    return Pair(
        source=source,
        target=target,
        mask=np.where(mask, 255, 0).astype(np.uint8),
        reference=_cut_out(shot.video, shot.mask) if insert else None,
        instructions=words,
        source_caption=source_caption,
        target_caption=target_caption,
        edit="insertion" if insert else "removal",
        recipe="removal",
        seed=seed,
        active=(0, T),
        provenance={
            **shot.origin,
            "expert": {"name": "median", "version": VERSION},
            "slots": {"object": shot.object_name},
        },
    )


def removal_sentences(insert: bool, object_name: str) -> tuple[str, ...]:
    """Return all sentences that ask for the object to be put in, or taken out."""
    slots = {"object": object_name, "a_object": f"{sc.indefinite_article(object_name)} {object_name}"}
    return tuple(template.format(**slots) for template in (_INSERT if insert else _REMOVE))


def replacement_pair(shots: ShotSource, seed: int, T: int, H: int, W: int) -> Pair | Rejected:
    """Return a pair in which an object is exchanged for one cut out of another shot, which follows its path at its size.

    With c_k, h_k centre and height of the old mask in frame k, frame k of the new object is scaled so that its mask
    is max_k h_k high and centred at c_k; its rim is feathered over a pixel. Mask = old | new.

    Args:
      shots: Source of footage.
      seed: Seed of both shots and the words.
      T: Number of frames.
      H: Frame height in pixels.
      W: Frame width in pixels.
    """
    shot = shots(seed, T, H, W)
    if isinstance(shot, Rejected):
        return shot
    if not is_static(shot.video, shot.mask):
        return Rejected("the camera moves")
    donor, tries = None, build_rng(seed, "donor")
    for _ in range(8):
        other = shots(int(tries.integers(1 << 31)), T, H, W)
        if (
            not isinstance(other, Rejected)
            and other.object_name != shot.object_name
            and other.body_mask.any((1, 2)).all()
        ):
            donor = other
            break
    if donor is None:
        return Rejected("no other object to put there")
    if not shot.body_mask.any((1, 2)).all():
        return Rejected("the object leaves the frame")
    removed, mask = remove_object(shot.video, shot.mask)
    high = max(_bounding_box(m)[2] for m in shot.body_mask)
    target = removed.copy()
    for k in range(T):
        y, x, _, _ = _bounding_box(shot.body_mask[k])
        alpha = _paste(target[k], donor.video[k], donor.body_mask[k], y, x, high)
        mask[k] |= alpha > 0
    rng = build_rng(seed, "words")
    templates = templates_lib.LOCAL_TEMPLATES["replace"]
    words = tuple(
        re.sub(r"\ba (?=[aeiou])", "an ", templates[i].format(object=shot.object_name, new=donor.object_name))
        for i in rng.permutation(len(templates))[:5]
    )
    return Pair(
        source=shot.video,
        target=target,
        mask=np.where(mask, 255, 0).astype(np.uint8),
        reference=_cut_out(donor.video, donor.body_mask),
        instructions=words,
        source_caption=shot.caption,
        target_caption=f"{shot.caption_without}, with {sc.indefinite_article(donor.object_name)} {donor.object_name}",
        edit="replacement",
        recipe="removal",
        seed=seed,
        active=(0, T),
        provenance={
            **shot.origin,
            "donor": donor.origin,
            "expert": {"name": "median and paste", "version": VERSION},
            "slots": {"object": shot.object_name, "new": donor.object_name},
        },
    )


def remove_object(video: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Take the masked object out of a static shot.

    Args:
      video: uint8 [T, H, W, 3].
      mask: bool [T, H, W], the object with its shadow.

    Returns:
      The video without it, and the mask that was replaced (grown by 1 % of the shorter side, at least a pixel).
    """
    margin = max(1, round(0.01 * min(video.shape[1:3])))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin + 1, 2 * margin + 1))
    grown_mask = np.stack([cv2.dilate(m.astype(np.uint8), kernel) for m in mask]).astype(bool)
    plate, hole = background_plate(video, grown_mask)
    if hole.any():
        plate = cv2.inpaint(plate, hole.astype(np.uint8), 3, cv2.INPAINT_TELEA)
    return np.where(grown_mask[..., None], plate, video), grown_mask


def background_plate(video: np.ndarray, hidden: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the median of what is visible at each pixel, and where nothing ever is.

    Args:
      video: uint8 [T, H, W, 3].
      hidden: bool [T, H, W], pixels to leave out.

    Returns:
      uint8 [H, W, 3], and bool [H, W].
    """
    T, H, W, _ = video.shape
    plate, hole = np.empty((H, W, 3), np.uint8), np.asarray(hidden.all(0))
    # A row at a time: the masked array of a whole long clip would need several times its memory.
    for y in range(H):
        row = np.ma.masked_array(video[:, y], np.repeat(hidden[:, y, :, None], 3, -1))
        plate[y] = np.ma.median(row, axis=0).filled(0).astype(np.uint8)
    return plate, hole


def is_static(video: np.ndarray, mask: np.ndarray) -> bool:
    """Return whether the camera stands still: outside the mask three quarters of the deviations from the median are small."""
    plate = np.median(video, axis=0)
    deviations = np.abs(video.astype(np.float32) - plate).mean(-1)[~mask]
    return bool(deviations.size) and float(np.percentile(deviations, 75)) < MAX_STATIC_DEVIATION


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


def _build_removal(insert: bool, sources: Sources) -> Recipe:
    shots = build_shot_source(sources)
    if not sources.has_footage:
        return FunctionRecipe(functools.partial(removal_pair, insert, shots))
    inpainter = footage_removal.build_inpainter(sources, find_experts(sources.experts, "remove"))
    return FunctionRecipe(functools.partial(footage_removal.footage_removal_pair, insert, shots, inpainter))


def _build_replacement(sources: Sources) -> Recipe:
    shots = build_shot_source(sources)
    if not sources.has_footage or not sources.cutouts:
        return FunctionRecipe(functools.partial(replacement_pair, shots))
    inpainter = footage_removal.build_inpainter(sources, find_experts(sources.experts, "remove"))
    library = read_cutout_folder(sources.cutouts)
    return FunctionRecipe(
        functools.partial(footage_removal.footage_replacement_pair, shots, inpainter, library)
    )


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
