"""Shots: footage with an object in it, rendered or from a folder of clips with masks.

seed → **shot** → removal, insertion, replacement. Footage from a folder brings its own masks: `walk.mask.mp4` (or .png for a still one)
beside `walk.mp4`, and the object's name in `walk.object.txt`. An expert of role mask makes those that are missing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from data_synth import footage as cl
from data_synth.experts.wire import Job
from data_synth.recipes import composition, connections
from data_synth.recipes.result import Rejected
from data_synth.recipes.sources import Sources
from data_synth.rng import build_rng
from data_synth.scenes import draw
from data_synth.scenes import render as rn
from data_synth.scenes import scene as sc
from v2v.errors import InputError
from v2v.runtime import text_files


@dataclasses.dataclass(frozen=True)
class Shot:
    """Footage with an object in it.

    Attributes:
      video: uint8 [T, H, W, 3].
      mask: bool [T, H, W], where the object and its shadow are.
      object_name: Name of the object, such as "red ball".
      caption: Caption of the video.
      caption_without: Caption of the video without the object.
      origin: What a pair's provenance records of the footage.
      body: bool [T, H, W], the mask without the shadow; None where it is not known.
    """

    video: np.ndarray
    mask: np.ndarray
    object_name: str
    caption: str
    caption_without: str
    origin: dict
    body: np.ndarray | None = None

    @property
    def body_mask(self) -> np.ndarray:
        """Return where the object alone is, as well as that is known: bool [T, H, W]."""
        return self.mask if self.body is None else self.body


# (seed, T, H, W) → shot or rejection.
ShotSource = Callable[[int, int, int, int], Shot | Rejected]
# Finds the object in a clip that carries no mask.
Masker = Callable[[cl.Clip], Shot | Rejected]


def render_shot(seed: int, T: int, H: int, W: int) -> Shot | Rejected:
    """Return a rendered scene under a static camera; the object's mask includes its shadow."""
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
    """Return a clip as a shot.

    Args:
      clip: The footage.
      mask: bool [T, H, W], where the object is.
      object_name: Name of the object.
      origin: What a pair's provenance records of the footage.
    """
    caption = clip.caption or f"a video with {sc.indefinite_article(object_name)} {object_name}"
    without = f"{clip.caption}, without the {object_name}" if clip.caption else "a video"
    return Shot(clip.video, mask, object_name, caption, without, origin)


def folder_shots(clips: cl.ClipFolder, masker: Masker | None = None) -> ShotSource:
    """Return the shots in a folder of clips.

    Args:
      clips: Clips with masks beside them.
      masker: Makes the masks of clips that have none; None to reject those.
    """

    def shot(seed: int, T: int, H: int, W: int) -> Shot | Rejected:
        name = clips.choose(seed)
        path = Path(clips.root) / name
        mask_path = _find_mask(path)
        if mask_path is None and not masker:  # known before the clip is decoded
            masks = " or ".join(mask.name for mask in _mask_candidates(path))
            return Rejected(f"clip {name} has no {masks} beside it")
        clip = clips(seed, T, H, W)
        if isinstance(clip, Rejected):
            return clip
        if mask_path is None:
            assert masker is not None
            return masker(clip)
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
        try:
            object_name = text_files.read_text(note).strip() if note.is_file() else ""
        except InputError as error:
            return Rejected(f"unreadable name {note.name}: {cl.short_cause(error)}, save it as UTF-8")
        object_name = object_name or "masked object"
        return build_shot(clip, frames[..., 0] > 127, object_name, clip.origin)

    return shot


def _mask_candidates(clip: Path) -> list[Path]:
    return [clip.with_suffix(f".mask{ending}") for ending in (".mp4", ".png")]


def _find_mask(clip: Path) -> Path | None:
    """Return the mask beside a clip, None without one."""
    return next((mask for mask in _mask_candidates(clip) if mask.is_file()), None)


def build_masker(experts: tuple[str, ...]) -> Masker | None:
    """Return a masker that asks the first expert of role mask; None without one.

    Args:
      experts: TOML files.
    """
    path = next((path for path in experts if is_mask_expert(path)), None)
    if path is None:
        return None
    connection = connections.connect(path)
    spec = connection.spec

    def find_object(clip: cl.Clip) -> Shot | Rejected:
        (answer,) = connection.run([Job(clip.video, spec.noun)], f"expert {spec.name}")
        if isinstance(answer, Rejected):
            return answer
        mask = answer.max(-1) > 127
        if not mask.any():
            return Rejected(f"expert {spec.name} found no {spec.noun}")
        return build_shot(clip, mask, spec.noun, {**clip.origin, "mask": connection.provenance})

    return find_object


def is_mask_expert(path: str) -> bool:
    """Return whether a TOML file describes an expert of role mask."""
    return not composition.load_composition(path) and connections.load_spec(path).role == "mask"


def build_shot_source(sources: Sources) -> ShotSource:
    """Return the shots of the request's clips, whose masks experts of role mask may make; rendered shots without clips.

    Raises:
      InputError: No clip has a mask, and no expert makes any.
    """
    clips = sources.clip_source()
    if not isinstance(clips, cl.ClipFolder):
        return render_shot
    masker = build_masker(sources.experts)
    if not masker and not any(_find_mask(Path(clips.root) / name) for name in clips.files):
        raise InputError(
            f"{clips.root}: expected masks beside clips (NAME.mask.mp4 or NAME.mask.png beside NAME.mp4), found none among "
            f"{len(clips.files)} clips; add some, or an expert of role mask by --expert"
        )
    return folder_shots(clips, masker)
