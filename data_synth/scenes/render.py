"""Scene → pixels, with the exact footprint of every object.

Scene → **layers** → video, masks. Composition is ordinary alpha blending, back to front, in display space:

    F = B · L                                      background times light (canonical backgrounds are unlit)
    F ← (1 - alpha_i) (1 - shadow_i) F + alpha_i C_i · L      for each object i
    footprint_i = [alpha_i > 0 or shadow_i > 0]

An edit re-renders the same layers with some of them exchanged, so pixels outside the exchanged footprints are
computed by the same operations in the same order and come out equal bit for bit.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from data_synth.scenes import objects as ob
from data_synth.scenes import scene as sc
from data_synth.scenes import textures as tx


@dataclasses.dataclass(frozen=True)
class Layers:
    """A rasterised scene.

    Attributes:
      ground: float32 [T, H, W, 3], the lit background. light: float32 [H, W, 3].
      sprites: one per object, back to front.
    """

    ground: np.ndarray
    light: np.ndarray
    sprites: tuple[ob.Sprite, ...]

    def footprint(self, i: int, shadow: bool = True) -> np.ndarray:
        """bool [T, H, W]: pixels object i can touch, with or without its shadow."""
        T, H, W, _ = self.ground.shape
        out = np.zeros((T, H, W), bool)
        s = self.sprites[i]
        for t, (frame, window) in enumerate(_windows(s, H, W)):
            touched = s.alpha[t][window] > 0
            out[t][frame] = touched | (s.shadow[t][window] > 0) if shadow else touched
        return out

    def solid(self) -> np.ndarray:
        """bool [T, H, W]: pixels where some object hides the background completely."""
        T, H, W, _ = self.ground.shape
        out = np.zeros((T, H, W), bool)
        for s in self.sprites:
            for t, (frame, window) in enumerate(_windows(s, H, W)):
                out[t][frame] |= s.alpha[t][window] >= 1
        return out

    def coverage(self, indices: tuple[int, ...] | None = None) -> np.ndarray:
        """float32 [T, H, W] in [0, 1]: how much of a pixel the objects (all, or those named) cover."""
        T, H, W, _ = self.ground.shape
        out = np.zeros((T, H, W), np.float32)
        for i in range(len(self.sprites)) if indices is None else indices:
            s = self.sprites[i]
            for t, (frame, window) in enumerate(_windows(s, H, W)):
                out[t][frame] = np.maximum(out[t][frame], s.alpha[t][window])
        return out


def render_layers(scene: sc.Scene, T: int, H: int, W: int) -> Layers:
    """Rasterises background, light and objects for T frames of H x W pixels."""
    light = light_field(scene.light, H, W)
    return Layers(
        render_ground(scene, light, T), light, tuple(render_object(o, scene, T, H, W) for o in scene.objects)
    )


def render_scene(scene: sc.Scene, T: int, H: int, W: int) -> np.ndarray:
    """uint8 [T, H, W, 3] video of a scene, at any frame count and size."""
    return compose_layers(render_layers(scene, T, H, W))


def compose_layers(made: Layers) -> np.ndarray:
    """Blends the layers to uint8 [T, H, W, 3]."""
    video = made.ground.copy()
    _, H, W, _ = video.shape
    for s in made.sprites:
        # Three channels wide, so that products below run along whole rows and not three numbers at a time.
        kept, alpha = ob.merge_channels((1 - s.shadow) * (1 - s.alpha)), ob.merge_channels(s.alpha)
        for t, (frame, window) in enumerate(_windows(s, H, W)):
            pixels = video[t][frame]
            # Not F + alpha (C - F): with alpha = 1 this form leaves no rounding trace of what is behind.
            pixels *= kept[t][window]
            paint = s.colour[t][window] * made.light[frame]
            paint *= alpha[t][window]
            pixels += paint
    video += 0.5
    np.minimum(video, 255, out=video)  # never below 0: sums and products of what is not
    return video.astype(np.uint8)


def render_ground(scene: sc.Scene, light: np.ndarray, T: int) -> np.ndarray:
    """float32 [T, H, W, 3], the background as lit. Clipped here, so shadows darken what is seen."""
    H, W, _ = light.shape
    to_world = pixel_to_world(scene.camera, T, H, W)
    picture = tx.render_background(scene.texture, to_world, H, W)
    for hill in scene.hills:
        cover = hill_coverage(hill, to_world, H, W)[..., None]
        picture += cover * (tx.render_background(hill.texture, to_world, H, W) - picture)
    if not scene.texture.canonical:
        picture *= light
    return np.clip(picture, 0, 255, out=picture)


def render_object(obj: ob.Object, scene: sc.Scene, T: int, H: int, W: int) -> ob.Sprite:
    centre, radius, angle = sc.frame_path(obj, scene.camera, T)
    short = min(H, W)
    return ob.render_sprite(
        obj, centre * short + np.array([W, H]) / 2, radius * short, angle, scene.light.direction
    )


def light_field(light: sc.Light, H: int, W: int) -> np.ndarray:
    """float32 [H, W, 3] gains (formula at `scene.Light`)."""
    short = min(H, W)
    x = ((np.arange(W, dtype=np.float32) + 0.5 - W / 2) / short)[None]
    y = ((np.arange(H, dtype=np.float32) + 0.5 - H / 2) / short)[:, None]
    gain = (
        light.exposure
        * (1 + light.gradient[0] * x + light.gradient[1] * y)
        * (1 - light.vignette * (x * x + y * y))
    )
    gain = np.maximum(gain, 0.2).astype(np.float64)
    return cv2.merge(
        [(gain * (1 + light.temperature * warm)).astype(np.float32) for warm in (1.0, 0.0, -1.0)]
    )


def pixel_to_world(camera: sc.Camera, T: int, H: int, W: int) -> np.ndarray:
    """[T, 2, 3] affine maps from pixel index (x, y), centres at integers, to world coordinates."""
    centre, zoom, roll = sc.camera_path(camera, T)
    a, b = np.cos(roll) / zoom / min(H, W), np.sin(roll) / zoom / min(H, W)
    x0, y0 = 0.5 - W / 2, 0.5 - H / 2
    rows = np.array([[a, -b, a * x0 - b * y0 + centre[:, 0]], [b, a, b * x0 + a * y0 + centre[:, 1]]])
    return np.ascontiguousarray(rows.transpose(2, 0, 1))


def hill_coverage(hill: sc.Hill, to_world: np.ndarray, H: int, W: int) -> np.ndarray:
    """float32 [T, H, W] coverage of the ground under a skyline, antialiased over one pixel."""
    columns = np.arange(W)
    (a, b, tx0), (c, d, ty0) = to_world[:, 0].T[..., None], to_world[:, 1].T[..., None]
    # World x of a column is taken on the frame's middle row: exact but for the little the roll adds.
    x = a * columns + b * (H / 2) + tx0
    skyline = hill.level + sum(amount * np.sin(2 * np.pi * f * x + phase) for f, amount, phase in hill.waves)
    row = (skyline - c * columns - ty0) / d
    return np.clip(np.arange(H, dtype=np.float32)[:, None] - row[:, None].astype(np.float32) + 0.5, 0, 1)


def _windows(s: ob.Sprite, H: int, W: int):
    """Per frame: (slices of the frame, slices of the sprite's window), cut to the frame."""
    n = s.alpha.shape[1]
    for y, x in s.corner.tolist():
        top, left, bottom, right = max(y, 0), max(x, 0), min(y + n, H), min(x + n, W)
        bottom, right = max(bottom, top), max(right, left)
        yield (
            (slice(top, bottom), slice(left, right)),
            (slice(top - y, bottom - y), slice(left - x, right - x)),
        )
