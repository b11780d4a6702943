"""Removal and replacement in static shots, and insertion as removal backwards (EasyV2V §4, object removal / insertion).

clip + object mask → **background plate** → Pair. The paper inpaints with a network and has people discard artefacts;
a static camera allows something exact wherever the object moves away: with M the mask grown by a few pixels,

    plate(p) = median of frame_k(p) over the k with p not in M_k
    where every frame hides p: plate(p) by Telea's inpainting from the plate around it
    removed_k(p) = plate(p) in M_k, frame_k(p) elsewhere

so nothing outside the mask changes. Moving cameras need an external expert (`experts.protocol`, role "remove").
Footage from a folder brings its own masks: `walk.mask.mp4` (or .png for a still one) beside `walk.mp4`, and the
object's name in `walk.object.txt`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from data_synth import footage as cl
from data_synth.language import templates as templates_lib
from data_synth.recipes.result import Rejected
from data_synth.rng import build_rng
from data_synth.scenes import draw
from data_synth.scenes import render as rn
from data_synth.scenes import scene as sc
from v2v.data.pair import Pair
from v2v.errors import InputError

VERSION = "2"  # 2: judged before an edit that begins late does
MAX_STATIC_DEVIATION = 6.0  # grey levels: a static shot's background varies less than this about its median
_REMOVE = templates_lib.LOCAL_TEMPLATES["remove"]
_INSERT = (
    "add {a_object} to the video",
    "insert {a_object}",
    "put {a_object} into the scene",
    "place {a_object} in the video",
    "add {a_object}",
)


def removal_pair(insert: bool, footage, seed: int, T: int, H: int, W: int) -> Pair | Rejected:
    """A removal pair, or its reverse.

    Args:
      insert: give the reverse. footage: (seed, T, H, W) → Shot or rejection.
    """
    shot = footage(seed, T, H, W)
    if isinstance(shot, Rejected):
        return shot
    if not is_static(shot.video, shot.mask):
        return Rejected("the camera moves")
    removed, mask = remove_object(shot.video, shot.mask)
    rng = build_rng(seed, "words")
    templates = removal_sentences(insert, shot.thing)
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
            "slots": {"object": shot.thing},
        },
    )


def removal_sentences(insert: bool, object_name: str) -> tuple[str, ...]:
    """All ways of asking for `thing` to be put in, or taken out."""
    slots = {"object": object_name, "a_object": f"{sc.indefinite_article(object_name)} {object_name}"}
    return tuple(template.format(**slots) for template in (_INSERT if insert else _REMOVE))


def replacement_pair(footage, seed: int, T: int, H: int, W: int) -> Pair | Rejected:
    """An object exchanged for one cut out of another shot, which rides along its path at its size.

    With c_k, h_k centre and height of the old mask in frame k, the new object's own frame k is scaled so that its mask
    is max_k h_k high and centred at c_k; its rim is feathered over a pixel. Mask = old | new.
    """
    shot = footage(seed, T, H, W)
    if isinstance(shot, Rejected):
        return shot
    if not is_static(shot.video, shot.mask):
        return Rejected("the camera moves")
    donor, tries = None, build_rng(seed, "donor")
    for _ in range(8):
        other = footage(int(tries.integers(1 << 31)), T, H, W)
        if not isinstance(other, Rejected) and other.thing != shot.thing and other.own.any((1, 2)).all():
            donor = other
            break
    if donor is None:
        return Rejected("no other object to put there")
    if not shot.own.any((1, 2)).all():
        return Rejected("the object leaves the frame")
    removed, mask = remove_object(shot.video, shot.mask)
    high = max(_box(m)[2] for m in shot.own)
    target = removed.copy()
    for k in range(T):
        y, x, _, _ = _box(shot.own[k])
        alpha = _paste(target[k], donor.video[k], donor.own[k], y, x, high)
        mask[k] |= alpha > 0
    rng = build_rng(seed, "words")
    templates = templates_lib.LOCAL_TEMPLATES["replace"]
    words = tuple(
        re.sub(r"\ba (?=[aeiou])", "an ", templates[i].format(object=shot.thing, new=donor.thing))
        for i in rng.permutation(len(templates))[:5]
    )
    return Pair(
        source=shot.video,
        target=target,
        mask=np.where(mask, 255, 0).astype(np.uint8),
        reference=_cut_out(donor.video, donor.own),
        instructions=words,
        source_caption=shot.caption,
        target_caption=f"{shot.caption_without}, with {sc.indefinite_article(donor.thing)} {donor.thing}",
        edit="replacement",
        recipe="removal",
        seed=seed,
        active=(0, T),
        provenance={
            **shot.origin,
            "donor": donor.origin,
            "expert": {"name": "median and paste", "version": VERSION},
            "slots": {"object": shot.thing, "new": donor.thing},
        },
    )


@dataclasses.dataclass(frozen=True)
class Shot:
    """Footage with an object in it: video uint8 [T, H, W, 3], mask bool [T, H, W], the object's name, captions; `body`
    is the mask without the shadow, where it is known."""

    video: np.ndarray
    mask: np.ndarray
    thing: str
    caption: str
    caption_without: str
    origin: dict
    body: np.ndarray | None = None

    @property
    def own(self) -> np.ndarray:
        """bool [T, H, W]: the object alone, as well as it is known."""
        return self.mask if self.body is None else self.body


def render_shot(seed: int, T: int, H: int, W: int) -> Shot | Rejected:
    """A scene under a camera that stands still; the object's mask includes its shadow."""
    rng = build_rng(seed, "footage")
    scene = dataclasses.replace(
        draw.sample_scene(rng, aspect=W / H, objects=(1, 3), rich=True), camera=sc.Camera()
    )
    if not scene.objects:
        return Rejected("no object to remove")
    layers = rn.render_layers(scene, T, H, W)
    index = int(rng.integers(len(scene.objects)))
    scene_without = dataclasses.replace(scene, objects=scene.objects[:index] + scene.objects[index + 1 :])
    return Shot(
        rn.compose_layers(layers),
        layers.footprint(index),
        scene.objects[index].name,
        sc.format_caption(scene),
        sc.format_caption(scene_without),
        {"clip": "rendered", "license": "Apache-2.0"},
        layers.coverage((index,)) >= 0.5,
    )


def build_shot(clip: cl.Clip, mask: np.ndarray, object_name: str, origin: dict) -> Shot:
    """A clip as a shot of `thing`, where `mask` bool [T, H, W] is."""
    caption = clip.caption or f"a video with {sc.indefinite_article(object_name)} {object_name}"
    without = f"{clip.caption}, without the {object_name}" if clip.caption else "a video"
    return Shot(clip.video, mask, object_name, caption, without, origin)


Masker = Callable[[cl.Clip], Shot | Rejected]


def folder_shots(
    clips: cl.ClipFolder, masker: Masker | None = None
) -> Callable[[int, int, int, int], Shot | Rejected]:
    """Shots from a folder of clips that carry masks beside them; of those that carry none the expert `masker` makes them."""

    def shot(seed: int, T: int, H: int, W: int) -> Shot | Rejected:
        clip = clips(seed, T, H, W)
        if isinstance(clip, Rejected):
            return clip
        path = Path(clips.root) / clip.origin["clip"]
        masks = [path.with_suffix(f".mask{ending}") for ending in (".mp4", ".png")]
        mask_path = next((m for m in masks if m.is_file()), None)
        if mask_path is None and masker:
            return masker(clip)
        if mask_path is None:
            return Rejected(f"clip {clip.origin['clip']} has no {masks[0].name} or {masks[1].name} beside it")
        try:
            mask, full_clip = cl.decode_clip(str(mask_path)), cl.decode_clip(str(path))
        except InputError as error:
            return Rejected(f"unreadable mask {mask_path.name}: {cl.short_cause(error)}")
        n, (h, w), (own_h, own_w) = len(mask.frames), mask.frames.shape[1:3], full_clip.frames.shape[1:3]
        if abs(h * own_w - w * own_h) > 0.01 * h * own_w:  # it would be cropped elsewhere than the clip
            return Rejected(f"mask {mask_path.name} is {w}x{h}, its clip {own_w}x{own_h}: not of one shape")
        first = clip.origin["first_frame"]
        if mask_path.suffix == ".mp4" and n < first + T:
            return Rejected(f"mask {mask_path.name} is shorter than its clip")
        frames = cl.select_frames(
            mask, range(first, first + T) if mask_path.suffix == ".mp4" else [0] * T, H, W
        )
        note = path.with_suffix(".object.txt")
        object_name = note.read_text().strip() if note.is_file() else "masked object"
        return build_shot(clip, frames[..., 0] > 127, object_name, clip.origin)

    return shot


def remove_object(video: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Takes the masked thing out of a static shot.

    Args:
      video: uint8 [T, H, W, 3]. mask: bool [T, H, W], the object with its shadow.

    Returns:
      The video without it, and the mask actually replaced (grown by 1 % of the shorter side, at least a pixel).
    """
    grow = max(1, round(0.01 * min(video.shape[1:3])))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * grow + 1, 2 * grow + 1))
    wide = np.stack([cv2.dilate(m.astype(np.uint8), kernel) for m in mask]) > 0
    plate, hole = background_plate(video, wide)
    if hole.any():
        plate = cv2.inpaint(plate, hole.astype(np.uint8), 3, cv2.INPAINT_TELEA)
    return np.where(wide[..., None], plate, video), wide


def background_plate(video: np.ndarray, hidden: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median of what is seen at each pixel: uint8 [H, W, 3], and bool [H, W] where nothing ever is."""
    T, H, W, _ = video.shape
    plate, hole = np.empty((H, W, 3), np.uint8), hidden.all(0)
    for y in range(
        H
    ):  # a row at a time: the masked array of a whole long clip would need several times its memory
        row = np.ma.masked_array(video[:, y], np.repeat(hidden[:, y, :, None], 3, -1))
        plate[y] = np.ma.median(row, axis=0).filled(0).astype(np.uint8)
    return plate, hole


def is_static(video: np.ndarray, mask: np.ndarray) -> bool:
    """Whether what lies outside the mask stands still: the middle half of its deviations from the median is small."""
    plate = np.median(video, axis=0)
    away = np.abs(video.astype(np.float32) - plate).mean(-1)[~mask]
    return bool(away.size) and float(np.percentile(away, 75)) < MAX_STATIC_DEVIATION


def _box(mask: np.ndarray) -> tuple[float, float, int, int]:
    """Centre (y, x), height and width of a non-empty mask's box."""
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
    """Draws the other frame's masked thing, `high` pixels high, centred at (y, x), into `frame`; float32 [H, W] opacity."""
    H, W = object_mask.shape
    cy, cx, tall, _ = _box(object_mask)
    scale = height / tall
    shift = np.float32([[scale, 0, x - scale * cx], [0, scale, y - scale * cy]])
    soft = cv2.GaussianBlur(cv2.erode(object_mask.astype(np.float32), np.ones((3, 3))), (3, 3), 0)
    alpha = cv2.warpAffine(soft, shift, (W, H), flags=cv2.INTER_LINEAR)
    picture = cv2.warpAffine(
        donor_frame, shift, (W, H), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    frame[:] = (alpha[..., None] * picture + (1 - alpha[..., None]) * frame + 0.5).astype(np.uint8)
    return alpha


def _cut_out(video: np.ndarray, mask: np.ndarray) -> np.ndarray | None:
    """The object in the frame that shows most of it, with a margin of a sixth: a reference picture."""
    k = int(mask.sum((1, 2)).argmax())
    if not mask[k].any():
        return None
    rows, columns = np.flatnonzero(mask[k].any(1)), np.flatnonzero(mask[k].any(0))
    margin = max(1, (rows[-1] - rows[0] + columns[-1] - columns[0]) // 12)
    top_edge, left_edge = max(0, rows[0] - margin), max(0, columns[0] - margin)
    return video[k, top_edge : rows[-1] + margin + 1, left_edge : columns[-1] + margin + 1].copy()
