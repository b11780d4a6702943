"""Removal, insertion and replacement on footage (EasyV2V §4): what `removal.py` does with rendered shots, for cameras that people held.

shot → `operators.object_removal` → **Pair**. Rejected where the footage doesn't show what is behind, unless an expert of role remove fills it.
A replacement follows the path of what was removed: a cut-out of `--cutouts` drawn in the footage's light, or an object of another shot.
"""

from __future__ import annotations

import numpy as np

from data_synth.cutouts import render
from data_synth.cutouts.library import CutoutFolder
from data_synth.cutouts.placement import Place
from data_synth.experts.wire import Job
from data_synth.language import cutouts as cutout_language
from data_synth.language import nouns
from data_synth.language import removal as language
from data_synth.operators.camera_track import CameraTrack
from data_synth.operators.footage_appearance import match_picture, measure_look
from data_synth.operators.object_removal import Inpainter, Removal, remove_object
from data_synth.operators.pixel_math import luma_of
from data_synth.recipes import connections
from data_synth.recipes.cutouts import draw_reference
from data_synth.recipes.shots import Shot, ShotSource
from data_synth.recipes.sources import Sources
from data_synth.rejection import Rejected
from data_synth.rng import build_rng
from v2v.data.pair import Pair

VERSION = "3"
_TRIES = 12


def footage_removal_pair(
    insert: bool, shots: ShotSource, inpainter: Inpainter | None, seed: int, T: int, H: int, W: int
) -> Pair | Rejected:
    """Return a pair in which an object of a clip is taken out, or put in.

    Args:
      insert: Whether to exchange source and target.
      shots: Source of footage with masks.
      inpainter: Fills what no frame shows; None without one.
      seed: Seed of the shot and the words.
      T: Number of frames.
      H: Frame height in pixels.
      W: Frame width in pixels.
    """
    shot = shots(seed, T, H, W)
    if isinstance(shot, Rejected):
        return shot
    removal = remove_object(shot.video, shot.mask, build_rng(seed, "grain"), inpainter)
    if isinstance(removal, Rejected):
        return removal
    words = build_rng(seed, "words")
    slots = _name_slots(shot)
    sides = ((shot.video, shot.caption), (removal.target, shot.caption_without))
    (source, source_caption), (target, target_caption) = sides[::-1] if insert else sides
    return Pair(
        source=source,
        target=target,
        mask=np.where(removal.mask, 255, 0).astype(np.uint8),
        reference=cut_out(shot) if insert else None,
        instructions=language.sample_instructions(insert, slots, words),
        source_caption=source_caption,
        target_caption=target_caption,
        edit="insertion" if insert else "removal",
        recipe="removal",
        seed=seed,
        active=(0, T),
        provenance={
            **shot.origin,
            **_describe(removal),
            "slots": slots,
            "reverse_instructions": list(language.sample_instructions(not insert, slots, words)),
        },
        effect=np.where(removal.effect, 255, 0).astype(np.uint8),
    )


def footage_replacement_pair(
    shots: ShotSource, inpainter: Inpainter | None, library: CutoutFolder, seed: int, T: int, H: int, W: int
) -> Pair | Rejected:
    """Return a pair in which an object of a clip becomes a cut-out that goes where it went.

    Args:
      shots: Source of footage with masks.
      inpainter: Fills what no frame shows; None without one.
      library: Cut-outs.
      seed: Seed of the shot, the cut-out and the words.
      T: Number of frames.
      H: Frame height in pixels.
      W: Frame width in pixels.
    """
    shot = shots(seed, T, H, W)
    if isinstance(shot, Rejected):
        return shot
    removal = remove_object(shot.video, shot.mask, build_rng(seed, "grain"), inpainter)
    if isinstance(removal, Rejected):
        return removal
    rng = build_rng(seed, "donor")
    cutout = None
    for _ in range(_TRIES):
        candidate = library.load(int(rng.integers(len(library.files))))
        if not isinstance(candidate, Rejected) and candidate.name != shot.object_name:
            cutout = candidate
            break
    if cutout is None:
        return Rejected("no cut-out to put there")
    aspect = cutout.picture.shape[1] / cutout.picture.shape[0]
    path = follow_object(shot.body_mask, aspect)
    if path is None:
        return Rejected("the object leaves the frame")
    place, track = path
    look = measure_look(shot.video)
    luma = float(luma_of(shot.video[0].astype(np.float32) / 255).mean())
    lit = match_picture(cutout.picture, look, luma)
    layer = render.draw_layer(lit, place, track, render.sample_shadow(rng), look, rng, (H, W))
    target = render.compose(removal.target, [layer])
    solid, shadow = layer.footprint(H, W), layer.footprint(H, W, "shadow")
    words = build_rng(seed, "words")
    slots = _name_slots(shot) | {
        "new": cutout.name,
        "a_new": nouns.with_article(cutout.name),
        "the_new": f"the {cutout.name}",
    }
    mask = removal.mask | solid | shadow
    return Pair(
        source=shot.video,
        target=target,
        mask=np.where(mask, 255, 0).astype(np.uint8),
        reference=draw_reference(cutout, rng),
        instructions=cutout_language.sample_instructions("cutout-replace", slots, words),
        source_caption=shot.caption,
        target_caption=f"{shot.caption_without}, with {slots['a_new']}",
        edit="replacement",
        recipe="removal",
        seed=seed,
        active=(0, T),
        provenance={
            **shot.origin,
            **_describe(removal),
            "cutouts": {"new": {"file": cutout.file, "name": cutout.name}},
            "cutouts_license": library.license,
            "slots": slots,
        },
        effect=np.where((removal.effect | shadow) & ~solid, 255, 0).astype(np.uint8),
    )


def follow_object(mask: np.ndarray, aspect: float) -> tuple[Place, CameraTrack] | None:
    """Return where an object of a width to height of `aspect` stands in the first frame, and how it moves like a masked one.

    Args:
      mask: bool [T, H, W].
      aspect: Width divided by height.

    Returns:
      Place and motion; None where the mask is empty in some frame.
    """
    if not mask.any((1, 2)).all():
        return None
    boxes = []
    for plane in mask:
        rows, columns = np.flatnonzero(plane.any(1)), np.flatnonzero(plane.any(0))
        boxes.append(((columns[0] + columns[-1]) / 2, float(rows[-1]), float(rows[-1] - rows[0] + 1)))
    x, y, height = (_smooth(np.array(values)) for values in zip(*boxes, strict=True))
    matrices = np.zeros((len(mask), 3, 3))
    for k in range(len(mask)):
        scale = height[k] / height[0]
        matrices[k] = [[scale, 0, x[k] - scale * x[0]], [0, scale, y[k] - scale * y[0]], [0, 0, 1]]
    return Place(x[0], y[0], height[0] / max(1.0, aspect) ** 0.5, aspect), CameraTrack(matrices, 1.0)


def cut_out(shot: Shot) -> np.ndarray:
    """Return the object where most of it is seen, on a plain ground, uint8 [h, w, 3]."""
    k = int(shot.body_mask.sum((1, 2)).argmax())
    rows, columns = np.flatnonzero(shot.body_mask[k].any(1)), np.flatnonzero(shot.body_mask[k].any(0))
    area = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return np.where(shot.body_mask[k][area][..., None], shot.video[k][area], 232).astype(np.uint8)


def build_inpainter(sources: Sources, paths: tuple[str, ...]) -> Inpainter | None:
    """Return what fills gaps by the first expert of role remove; None without one.

    Args:
      sources: Sources of the request.
      paths: TOML files of its experts of role remove.
    """
    if not paths:
        return None
    connection = connections.connect(paths[0])

    def fill(video: np.ndarray, missing: np.ndarray) -> np.ndarray | Rejected:
        job = Job(video, "fill the hole with the background", np.where(missing, 255, 0).astype(np.uint8))
        (answer,) = connection.run([job], f"expert {connection.spec.name}")
        return answer

    return fill


def _smooth(values: np.ndarray) -> np.ndarray:
    """Return a path without the jitter of its mask."""
    radius = max(1, len(values) // 8)
    kernel = np.exp(-0.5 * (np.arange(-2 * radius, 2 * radius + 1) / radius) ** 2)
    padded = np.pad(values, 2 * radius, mode="reflect", reflect_type="odd")
    return np.convolve(padded, kernel / kernel.sum(), mode="valid")


def _describe(removal: Removal) -> dict:
    camera = "still" if removal.track.is_still else "moving"
    return {
        "expert": {"name": "background of other frames", "version": VERSION},
        "camera": camera,
        "unseen_share": round(removal.unseen_share, 4),
    }


def _name_slots(shot: Shot) -> dict[str, str]:
    """Return the words for an object, with the place where it is first seen."""
    H, W = shot.video.shape[1:3]
    k = int(np.flatnonzero(shot.body_mask.any((1, 2)))[0])
    rows, columns = np.nonzero(shot.body_mask[k])
    name = shot.object_name
    return {
        "object": name,
        "the_object": f"the {name}",
        "a_object": nouns.with_article(name),
        "at": cutout_language.describe_place(float(columns.mean()) / W, float(rows.max()) / H),
    }
