"""Drawing cut-outs into footage: objects with their shadows as layers, and clips composed of them.

picture, place, track → **CutoutLayer**; clip, layers → **compose** → clip. A layer holds, frame by frame, only the box that it changes. Where
its opacity and its shadow are 0 composing gives back the clip's levels exactly, so footprints of layers are exact masks. In every frame,
with alpha the opacity and s the shadow of a layer, from the farthest layer to the nearest,

    x ← (1 - alpha) (1 - s) x + alpha color
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np

from data_synth.cutouts.placement import Place
from data_synth.operators.camera_track import CameraTrack
from data_synth.operators.footage_appearance import FootageLook, draw_grain

# Sigma in pixels of the edges of a drawn picture, before it is blurred like the footage.
_OWN_BLUR = 0.45
# What is fainter is nothing, so that footprints stay small.
_MIN_ALPHA, _MIN_SHADOW = 0.01, 0.02
# Share of an object's height that counts as touching the ground.
_FOOT = 0.12
_EDGE = 3


@dataclasses.dataclass(frozen=True)
class Shadow:
    """How an object's shadow lies on the ground.

    Attributes:
      lean: How far the shadow of a point leans to the right, per height of the point.
      length: How far up the frame it goes, per height of the point.
      cast: Opacity of the cast shadow.
      contact: Opacity of the dark rim where the object touches the ground.
    """

    lean: float
    length: float
    cast: float
    contact: float


@dataclasses.dataclass(frozen=True)
class Patch:
    """What a layer changes in one frame.

    Attributes:
      top: First row.
      left: First column.
      alpha: float32 [h, w], opacity of the object.
      color: float32 [h, w, 3], its color times its opacity, 0..1.
      shadow: float32 [h, w], opacity of the shadow.
    """

    top: int
    left: int
    alpha: np.ndarray
    color: np.ndarray
    shadow: np.ndarray

    @property
    def area(self) -> tuple[slice, slice]:
        """Return the rows and columns of the frame."""
        return slice(self.top, self.top + self.alpha.shape[0]), slice(
            self.left, self.left + self.alpha.shape[1]
        )


@dataclasses.dataclass(frozen=True)
class CutoutLayer:
    """An object with its shadow in all frames.

    Attributes:
      depth: Row of its ground in the first frame: layers with a greater one are nearer.
      patches: One a frame; None where it is out of view.
    """

    depth: float
    patches: tuple[Patch | None, ...]

    def footprint(self, H: int, W: int, part: str = "object") -> np.ndarray:
        """Return where the object or its shadow is, bool [T, H, W].

        Args:
          H: Frame height in pixels.
          W: Frame width in pixels.
          part: "object" or "shadow".
        """
        mask = np.zeros((len(self.patches), H, W), bool)
        for k, patch in enumerate(self.patches):
            if patch:
                mask[k][patch.area] = (patch.alpha if part == "object" else patch.shadow) > 0
        return mask


def sample_shadow(rng: np.random.Generator) -> Shadow:
    """Draw the shadow that all objects of a clip have in common."""
    return Shadow(
        lean=float(rng.uniform(-0.6, 0.6)),
        length=float(rng.uniform(0.12, 0.3)),
        cast=float(rng.uniform(0.3, 0.5)),
        contact=float(rng.uniform(0.5, 0.7)),
    )


def draw_layer(
    picture: np.ndarray,
    place: Place,
    track: CameraTrack,
    shadow: Shadow,
    look: FootageLook,
    rng: np.random.Generator,
    size: tuple[int, int],
    hidden: np.ndarray | None = None,
) -> CutoutLayer:
    """Return an object that stands in a clip.

    Args:
      picture: float32 [h, w, 4], RGB and opacity 0..1, in the footage's light.
      place: Where it stands in the first frame.
      track: The camera's motion.
      shadow: How its shadow lies.
      look: Sharpness and grain of the footage.
      rng: Draws the grain.
      size: Height and width of the frames.
      hidden: bool [T, H, W], where something nearer hides it; None for nowhere.
    """
    poses = [matrix[:2] / matrix[2, 2] for matrix in track.matrices]
    zooms = [float(np.sqrt(abs(np.linalg.det(pose[:, :2])))) for pose in poses]
    shrunk = _shrink(picture, place.height * max(zooms))
    patches = []
    for k, (pose, zoom) in enumerate(zip(poses, zooms, strict=True)):
        visible = None if hidden is None else 1 - hidden[k].astype(np.float32)
        patches.append(_draw_patch(shrunk, place, pose, zoom, shadow, look, rng, size, visible))
    return CutoutLayer(place.y, tuple(patches))


def compose(video: np.ndarray, layers: Sequence[CutoutLayer]) -> np.ndarray:
    """Return the clip with layers drawn into it, the farthest first; uint8 [T, H, W, 3]."""
    ordered = sorted(layers, key=lambda layer: layer.depth)
    out = video.copy()
    for k in range(len(video)):
        patches = [patch for layer in ordered if (patch := layer.patches[k])]
        if not patches:
            continue
        top, left = min(p.area[0].start for p in patches), min(p.area[1].start for p in patches)
        rows = slice(top, max(p.area[0].stop for p in patches))
        columns = slice(left, max(p.area[1].stop for p in patches))
        canvas = video[k][rows, columns].astype(np.float32)
        for patch in patches:
            area = tuple(slice(s.start - o, s.stop - o) for s, o in zip(patch.area, (top, left), strict=True))
            dimmed = canvas[area] * (1 - patch.shadow[..., None])
            canvas[area] = dimmed * (1 - patch.alpha[..., None]) + 255 * patch.color
        out[k][rows, columns] = np.clip(np.rint(canvas), 0, 255).astype(np.uint8)
    return out


def _shrink(picture: np.ndarray, height: float) -> np.ndarray:
    """Return a picture times its opacity, at most as high as it is drawn, with a transparent rim."""
    flat = picture.copy()
    flat[..., :3] *= flat[..., 3:]
    scale = height / len(picture)
    if scale < 1:
        size = max(2, round(picture.shape[1] * scale)), max(2, round(height))
        flat = cv2.resize(flat, size, interpolation=cv2.INTER_AREA)
    return np.pad(flat, ((_EDGE, _EDGE), (_EDGE, _EDGE), (0, 0)))


def _draw_patch(
    flat: np.ndarray,
    place: Place,
    pose: np.ndarray,
    zoom: float,
    shadow: Shadow,
    look: FootageLook,
    rng: np.random.Generator,
    size: tuple[int, int],
    visible: np.ndarray | None,
) -> Patch | None:
    H, W = size
    h, w = flat.shape[0] - 2 * _EDGE, flat.shape[1] - 2 * _EDGE
    s = place.height / h
    to_square = np.vstack([pose, [0, 0, 1]])
    object_map = to_square @ np.array(
        [[s, 0, place.x - s * (w / 2 + _EDGE)], [0, s, place.y - s * (h + _EDGE)], [0, 0, 1]]
    )
    # A point of height z over the ground throws its shadow to (lean, -length) z.
    ground = np.array(
        [
            [s, -s * shadow.lean, place.x - s * (w / 2 + _EDGE) + s * shadow.lean * (h + _EDGE)],
            [0, s * shadow.length, place.y - s * shadow.length * (h + _EDGE)],
            [0, 0, 1],
        ]
    )
    shadow_map = to_square @ ground
    soft = 0.035 * place.height * zoom + look.blur
    corners = np.array(
        [[0, 0, 1], [flat.shape[1], 0, 1], [0, flat.shape[0], 1], [flat.shape[1], flat.shape[0], 1]]
    ).T
    points = np.concatenate([(object_map @ corners)[:2], (shadow_map @ corners)[:2]], 1)
    margin = 3 * soft + 2
    left, top = (max(0, int(np.floor(v - margin))) for v in points.min(1))
    right, bottom = (min(n, int(np.ceil(v + margin)) + 1) for v, n in zip(points.max(1), (W, H), strict=True))
    if right - left < 2 or bottom - top < 2:
        return None
    shift = np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1]])
    box = (right - left, bottom - top)
    object_pixels = cv2.warpAffine(flat, (shift @ object_map)[:2], box, flags=cv2.INTER_LINEAR)
    extra = np.sqrt(max(look.blur**2 - _OWN_BLUR**2, 0))
    if extra > 0.15:
        object_pixels = cv2.GaussianBlur(object_pixels, (0, 0), extra)
    cast = cv2.warpAffine(flat[..., 3], (shift @ shadow_map)[:2], box, flags=cv2.INTER_LINEAR)
    dark = 1 - (1 - shadow.cast * cv2.GaussianBlur(cast, (0, 0), soft)) * (
        1 - shadow.contact * _draw_contact(flat, shift @ object_map, box, 0.4 * soft)
    )
    alpha = np.where(object_pixels[..., 3] < _MIN_ALPHA, 0, object_pixels[..., 3])
    color = np.clip(object_pixels[..., :3] + draw_grain(rng, (box[1], box[0]), look) * alpha[..., None], 0, 1)
    color = np.where(alpha[..., None] > 0, np.minimum(color, alpha[..., None]), 0)
    dark = np.maximum(dark - _MIN_SHADOW, 0)
    if visible is not None:
        visibility = visible[top:bottom, left:right]
        alpha, color, dark = alpha * visibility, color * visibility[..., None], dark * visibility
    return Patch(top, left, alpha.astype(np.float32), color.astype(np.float32), dark.astype(np.float32))


def _draw_contact(flat: np.ndarray, to_box: np.ndarray, box: tuple[int, int], soft: float) -> np.ndarray:
    """Return the dark ellipse under what touches the ground, float32 [h, w] in 0..1."""
    h = flat.shape[0] - 2 * _EDGE
    foot = np.flatnonzero((flat[_EDGE + int((1 - _FOOT) * h) : _EDGE + h, :, 3] > 0.5).any(0))
    if not len(foot):
        return np.zeros(box[::-1], np.float32)
    middle, half = (foot[0] + foot[-1] + 1) / 2, (foot[-1] + 1 - foot[0]) / 2
    center = to_box @ np.array([middle, _EDGE + h, 1])
    zoom = float(np.sqrt(abs(np.linalg.det(to_box[:2, :2]))))
    tall = max(1.0, 0.22 * half * zoom, 0.03 * h * zoom)
    y, x = np.ogrid[: box[1], : box[0]]
    distance = ((x - center[0]) / max(1.0, 1.08 * half * zoom)) ** 2 + (
        (y - center[1] + 0.35 * tall) / tall
    ) ** 2
    return cv2.GaussianBlur((distance <= 1).astype(np.float32), (0, 0), max(0.6, soft))
