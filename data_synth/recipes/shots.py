"""Shots: footage with an object in it, rendered or from a folder of clips with masks.

seed → **shot** → removal, insertion, replacement. Footage from a folder brings its own masks: `walk.mask.mp4` (or .png for a still one)
beside `walk.mp4`, and the object's name in `walk.object.txt`. An expert of role mask makes those that are missing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from data_synth import footage as cl
from data_synth.experts.wire import Job
from data_synth.language.captions import describe_without
from data_synth.pictures import PictureFolder
from data_synth.places import open_place
from data_synth.recipes import connections
from data_synth.recipes.sources import Sources
from data_synth.rejection import Rejected
from data_synth.rng import build_rng
from data_synth.scenes import draw
from data_synth.scenes import render as rn
from data_synth.scenes import scene as sc
from v2v.errors import InputError


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
      fps: Frames per second; 0 where they are not known.
    """

    video: np.ndarray
    mask: np.ndarray
    object_name: str
    caption: str
    caption_without: str
    origin: dict
    body: np.ndarray | None = None
    fps: float = 0.0

    @property
    def body_mask(self) -> np.ndarray:
        """Return where the object alone is, as well as that is known: bool [T, H, W]."""
        return self.mask if self.body is None else self.body


# (seed, T, H, W) → shot or rejection.
ShotSource = Callable[[int, int, int, int], Shot | Rejected]
FootageFolder = cl.ClipFolder | PictureFolder
# (seed, T, H, W) → clip and, where there is one, bool mask [T, H, W]; or rejection.
MaskedClipSource = Callable[[int, int, int, int], tuple[cl.Clip, np.ndarray | None] | Rejected]
# Finds the object in the clip of a seed that carries no mask.
Masker = Callable[[cl.Clip, int], Shot | Rejected]


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
    return Shot(
        clip.video,
        mask,
        object_name,
        caption,
        describe_without(clip.caption, object_name),
        origin,
        fps=clip.fps,
    )


def folder_shots(folders: Sequence[FootageFolder], masker: Masker | None = None) -> ShotSource:
    """Return the shots in folders of clips and pictures.

    Args:
      folders: Clips and pictures with masks beside them.
      masker: Makes the masks of those that have none; None to reject them.
    """

    def shot(seed: int, T: int, H: int, W: int) -> Shot | Rejected:
        folder = cl.draw_folder(folders, seed)
        name = folder.choose(seed)
        path = open_place(folder.root) / name
        if find_mask(folder, name) is None and not masker:  # known before the clip is decoded
            masks = " or ".join(path.with_suffix(ending).name for ending in _mask_endings(folder))
            kind = "picture" if isinstance(folder, PictureFolder) else "clip"
            return Rejected(f"{kind} {name} has no {masks} beside it")
        clip = folder(seed, T, H, W)
        if isinstance(clip, Rejected):
            return clip
        mask = read_mask(folder, clip, seed, T, H, W)
        if isinstance(mask, Rejected):
            return mask
        if mask is None:
            assert masker is not None
            return masker(clip, seed)
        return build_shot(clip, mask, clip.object_name or "masked object", clip.origin)

    return shot


def read_mask(
    folder: FootageFolder, clip: cl.Clip, seed: int, T: int, H: int, W: int
) -> np.ndarray | Rejected | None:
    """Return the mask beside a clip or picture along the frames of a seed, bool [T, H, W]; None without one.

    Args:
      folder: Where the clip comes from.
      clip: What the folder gave for this seed.
      seed: Seed of the clip.
      T: Number of frames.
      H: Frame height in pixels.
      W: Frame width in pixels.
    """
    name = folder.choose(seed)
    path, mask_path = open_place(folder.root) / name, find_mask(folder, name)
    if mask_path is None:
        return None
    try:
        mask, full_clip = cl.decode_clip(str(mask_path)), cl.decode_clip(str(path))
    except InputError as error:
        return Rejected(f"unreadable mask {mask_path.name}: {cl.short_cause(error)}")
    n, (h, w), (own_h, own_w) = len(mask.frames), mask.frames.shape[1:3], full_clip.frames.shape[1:3]
    if abs(h * own_w - w * own_h) > 0.01 * h * own_w:  # it would be cropped elsewhere than the clip
        return Rejected(f"mask {mask_path.name} is {w}x{h}, its clip {own_w}x{own_h}: not of one shape")
    if isinstance(folder, PictureFolder):
        return folder.lift_mask(seed, cl.select_frames(mask, [0], own_h, own_w)[0], T, H, W)
    is_still = mask_path.suffix != ".mp4"
    if not is_still and n <= clip.numbers[-1]:
        return Rejected(f"mask {mask_path.name} is shorter than its clip")
    frames = cl.select_frames(mask, [0] * T if is_still else clip.numbers, H, W)
    return frames[..., 0] > 127


def build_masked_clips(sources: Sources) -> MaskedClipSource:
    """Return the footage of a request with the masks that are beside it or that an expert makes; rendered scenes without footage.

    A clip without a mask comes with None.
    """
    folders, masker = sources.clip_folders(), build_masker(sources.experts)
    if not folders:
        return lambda seed, T, H, W: (cl.render_clip(seed, T, H, W), None)

    def masked_clip(seed: int, T: int, H: int, W: int) -> tuple[cl.Clip, np.ndarray | None] | Rejected:
        folder = cl.draw_folder(folders, seed)
        clip = folder(seed, T, H, W)
        if isinstance(clip, Rejected):
            return clip
        mask = read_mask(folder, clip, seed, T, H, W)
        if mask is None and masker:
            shot = masker(clip, seed)
            if not isinstance(shot, Rejected):
                mask = shot.mask
            elif shot.transient:
                return shot
        return mask if isinstance(mask, Rejected) else (clip, mask)

    return masked_clip


def find_mask(folder: FootageFolder, name: str) -> Path | None:
    """Return the mask beside a clip or picture, None without one."""
    path = open_place(folder.root) / name
    candidates = (path.with_suffix(ending) for ending in _mask_endings(folder))
    return next((mask for mask in candidates if mask.is_file()), None)


def _mask_endings(folder: FootageFolder) -> tuple[str, ...]:
    return (".mask.png",) if isinstance(folder, PictureFolder) else (".mask.mp4", ".mask.png")


def build_masker(experts: tuple[str, ...]) -> Masker | None:
    """Return a masker that asks the experts of role mask, in an order that the seed draws, until one finds its object; None without any.

    An expert is asked for the name in NAME.object.txt, else for its own noun, else for one of the clip's nouns.

    Args:
      experts: TOML files.
    """
    maskers = [connections.connect(path) for path in connections.find_experts(experts, "mask")]
    if not maskers:
        return None

    def find_object(clip: cl.Clip, seed: int) -> Shot | Rejected:
        rng = build_rng(seed, "masker")
        shot: Shot | Rejected = Rejected("no noun of the clip to look for")
        for i in rng.permutation(len(maskers)).tolist():
            shot = _find_object(maskers[i], clip, seed, rng)
            if isinstance(shot, Shot) or shot.transient:
                return shot
        return shot

    return find_object


def _find_object(
    connection: connections.Connection, clip: cl.Clip, seed: int, rng: np.random.Generator
) -> Shot | Rejected:
    """Return the shot of an object that an expert of role mask finds."""
    spec = connection.spec
    nouns = (clip.object_name,) if clip.object_name else (spec.noun,) if spec.noun else clip.nouns
    if not nouns:
        return Rejected("no noun of the clip to look for")
    noun = nouns[int(rng.integers(len(nouns)))]
    job = Job(clip.video, noun, seed=seed, fps=clip.fps, about={"role": "mask"})
    (answer,) = connection.run([job], f"expert {spec.name}")
    if isinstance(answer, Rejected):
        return answer
    mask = answer.max(-1) > 127
    if not mask.any():
        return Rejected(f"expert {spec.name} found no {noun}")
    return build_shot(clip, mask, noun, {**clip.origin, "mask": connection.provenance})


def build_shot_source(sources: Sources) -> ShotSource:
    """Return the shots of the request's footage, whose masks experts of role mask may make; rendered shots without footage.

    Raises:
      InputError: No clip or picture has a mask, and no expert makes any.
    """
    shots = find_shot_source(sources)
    if shots is None:
        folders = sources.clip_folders()
        roots = " and ".join(folder.root for folder in folders)
        raise InputError(
            f"{roots}: expected masks beside clips (NAME.mask.mp4 or NAME.mask.png beside NAME.mp4), found none among "
            f"{sum(len(folder.files) for folder in folders)} clips; add some, or an expert of role mask by --expert"
        )
    return shots


def find_shot_source(sources: Sources) -> ShotSource | None:
    """Return the shots of `build_shot_source`; None where no footage has a mask and no expert makes any."""
    folders = sources.clip_folders()
    if not folders:
        return render_shot
    masker = build_masker(sources.experts)
    if not masker and not any(find_mask(folder, name) for folder in folders for name in folder.files):
        return None
    return folder_shots(folders, masker)
