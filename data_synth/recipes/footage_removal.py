"""Removal from footage, and cut-outs in place of what was removed (EasyV2V §4): what `removal.py` does with rendered shots, for cameras that people held.

shot → `operators.object_removal` → **ShotRemoval** → **Replacement**. Rejected where the footage doesn't show what is behind, unless an expert of role remove fills it.
A replacement follows the path of what was removed: a cut-out of `--cutouts` drawn in the footage's light, or an object of another shot.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from data_synth.cutouts import render
from data_synth.cutouts.library import Cutout, CutoutFolder
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
from data_synth.recipes.shot_removal import Replacement, ShotRemoval
from data_synth.recipes.shots import Shot
from data_synth.recipes.sources import Sources
from data_synth.rejection import Rejected
from data_synth.rng import build_rng

# 4: captions as sentences.
VERSION = "4"
_TRIES = 12


@dataclasses.dataclass(frozen=True)
class FootageRemoval:
    """Removal from footage (a `RemovalMethod`).

    Attributes:
      inpainter: Fills what no frame shows; None without one.
    """

    inpainter: Inpainter | None = None
    is_reversible: bool = True

    def remove(self, shot: Shot, seed: int) -> ShotRemoval | Rejected:
        """Take the object out of a shot, or tell why that can't be done."""
        removal = remove_object(shot.video, shot.mask, build_rng(seed, "grain"), self.inpainter)
        if isinstance(removal, Rejected):
            return removal
        return ShotRemoval(removal.target, removal.mask, _describe(removal), removal.effect)

    def name_slots(self, shot: Shot) -> dict[str, str]:
        """Return the words for the object, with the place where it is first seen."""
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

    def sample_sentences(
        self, insert: bool, slots: dict[str, str], rng: np.random.Generator
    ) -> tuple[str, ...]:
        """Sample five sentences."""
        return language.sample_instructions(insert, slots, rng)

    def cut_out(self, shot: Shot) -> np.ndarray:
        """Return the object where most of it is seen, on a plain ground."""
        return cut_out_object(shot)


@dataclasses.dataclass(frozen=True)
class CutoutReplacer:
    """Puts a cut-out where an object was, which goes where that went, in the footage's light (a `Replacer`).

    Attributes:
      library: Cut-outs.
    """

    library: CutoutFolder

    def __call__(self, shot: Shot, removal: ShotRemoval, seed: int) -> Replacement | Rejected:
        """Return the shot with a cut-out, or why there is none."""
        rng = build_rng(seed, "donor")
        cutout = self._draw_cutout(shot.object_name, rng)
        if cutout is None:
            return Rejected("no cut-out to put there")
        path = follow_object(shot.body_mask, cutout.picture.shape[1] / cutout.picture.shape[0])
        if path is None:
            return Rejected("the object leaves the frame")
        place, track = path
        look = measure_look(shot.video)
        luma = float(luma_of(shot.video[0].astype(np.float32) / 255).mean())
        lit = match_picture(cutout.picture, look, luma)
        H, W = shot.video.shape[1:3]
        layer = render.draw_layer(lit, place, track, render.sample_shadow(rng), look, rng, (H, W))
        solid, shadow = layer.footprint(H, W), layer.footprint(H, W, "shadow")
        assert removal.effect is not None, "footage tells shadows from objects"
        slots = FootageRemoval().name_slots(shot) | {
            "new": cutout.name,
            "a_new": nouns.with_article(cutout.name),
            "the_new": f"the {cutout.name}",
        }
        return Replacement(
            render.compose(removal.target, [layer]),
            removal.mask | solid | shadow,
            draw_reference(cutout, rng),
            cutout_language.sample_instructions("cutout-replace", slots, build_rng(seed, "words")),
            slots["a_new"],
            {
                "cutouts": {"new": {"file": cutout.file, "name": cutout.name}},
                "cutouts_license": self.library.license,
                "slots": slots,
            },
            (removal.effect | shadow) & ~solid,
        )

    def _draw_cutout(self, object_name: str, rng: np.random.Generator) -> Cutout | None:
        for _ in range(_TRIES):
            cutout = self.library.load(int(rng.integers(len(self.library.files))))
            if not isinstance(cutout, Rejected) and cutout.name != object_name:
                return cutout
        return None


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


def cut_out_object(shot: Shot) -> np.ndarray:
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
        holes = np.where(missing, 255, 0).astype(np.uint8)
        job = Job(video, "fill the hole with the background", holes, about={"role": "remove"})
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
