"""Rendering of planar scenes, with the exact footprint of every object.

Scene → **layers** → video, masks. Composition is ordinary alpha blending, back to front, in display space:

    F = B · L                                      background times light (canonical backgrounds are unlit)
    F ← (1 - alpha_i) (1 - shadow_i) F + alpha_i C_i · L      for each object i
    footprint_i = [alpha_i > 0 or shadow_i > 0]

An edit composes the same layers with some of them exchanged, so pixels outside the exchanged footprints are computed by the
same operations in the same order and are equal bit for bit.
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
    """A rasterized scene.

    Attributes:
      ground: float32 [T, H, W, 3], the lit background.
      light: float32 [H, W, 3].
      sprites: One per object, back to front.
    """

    ground: np.ndarray
    light: np.ndarray
    sprites: tuple[ob.Sprite, ...]

    def footprint(self, i: int, shadow: bool = True) -> np.ndarray:
        """Return bool [T, H, W]: the pixels that object i can touch, with or without its shadow."""
        T, H, W, _ = self.ground.shape
        out = np.zeros((T, H, W), bool)
        sprite = self.sprites[i]
        for t, (frame, window) in enumerate(_iterate_windows(sprite, H, W)):
            touched = sprite.alpha[t][window] > 0
            out[t][frame] = touched | (sprite.shadow[t][window] > 0) if shadow else touched
        return out

    def solid(self) -> np.ndarray:
        """Return bool [T, H, W]: the pixels where some object hides the background completely."""
        T, H, W, _ = self.ground.shape
        out = np.zeros((T, H, W), bool)
        for sprite in self.sprites:
            for t, (frame, window) in enumerate(_iterate_windows(sprite, H, W)):
                out[t][frame] |= sprite.alpha[t][window] >= 1
        return out

    def coverage(self, indices: tuple[int, ...] | None = None) -> np.ndarray:
        """Return float32 [T, H, W] in [0, 1]: the share of a pixel that the objects (all, or those of `indices`) cover."""
        T, H, W, _ = self.ground.shape
        out = np.zeros((T, H, W), np.float32)
        for i in range(len(self.sprites)) if indices is None else indices:
            sprite = self.sprites[i]
            for t, (frame, window) in enumerate(_iterate_windows(sprite, H, W)):
                out[t][frame] = np.maximum(out[t][frame], sprite.alpha[t][window])
        return out


def render_layers(scene: sc.Scene, T: int, H: int, W: int) -> Layers:
    """Rasterize background, light and objects for T frames of H x W pixels."""
    light = light_field(scene.light, H, W)
    return Layers(
        render_ground(scene, light, T), light, tuple(render_object(o, scene, T, H, W) for o in scene.objects)
    )


def render_scene(scene: sc.Scene, T: int, H: int, W: int) -> np.ndarray:
    """Render a scene to a video, uint8 [T, H, W, 3], at any frame count and size."""
    return compose_layers(render_layers(scene, T, H, W))


def compose_layers(layers: Layers) -> np.ndarray:
    """Blend the layers to uint8 [T, H, W, 3]."""
    video = layers.ground.copy()
    _, H, W, _ = video.shape
    for sprite in layers.sprites:
        # Three channels wide, so that the products below run along whole rows.
        transmittance, alpha = (
            ob.merge_channels((1 - sprite.shadow) * (1 - sprite.alpha)),
            ob.merge_channels(sprite.alpha),
        )
        for t, (frame, window) in enumerate(_iterate_windows(sprite, H, W)):
            pixels = video[t][frame]
            # Not F + alpha (C - F): with alpha = 1 this form leaves no rounding trace of the layers behind.
            pixels *= transmittance[t][window]
            object_light = sprite.color[t][window] * layers.light[frame]
            object_light *= alpha[t][window]
            pixels += object_light
    video += 0.5
    np.minimum(video, 255, out=video)  # never below 0: sums and products of non-negative values
    return video.astype(np.uint8)


def render_ground(scene: sc.Scene, light: np.ndarray, T: int) -> np.ndarray:
    """Render the lit background, float32 [T, H, W, 3], clipped to 0..255 so that shadows darken visible values."""
    H, W, _ = light.shape
    to_world = pixel_to_world(scene.camera, T, H, W)
    background = tx.render_background(scene.texture, to_world, H, W)
    for hill in scene.hills:
        coverage = hill_coverage(hill, to_world, H, W)[..., None]
        background += coverage * (tx.render_background(hill.texture, to_world, H, W) - background)
    if not scene.texture.is_canonical:
        background *= light
    return np.clip(background, 0, 255, out=background)


def render_object(obj: ob.Object, scene: sc.Scene, T: int, H: int, W: int) -> ob.Sprite:
    """Rasterize one object of a scene for T frames of H x W pixels."""
    center, radius, angle = sc.frame_path(obj, scene.camera, T)
    short = min(H, W)
    return ob.render_sprite(
        obj, center * short + np.array([W, H]) / 2, radius * short, angle, scene.light.direction
    )


def light_field(light: sc.Light, H: int, W: int) -> np.ndarray:
    """Return float32 [H, W, 3] gains, by the formula of `scene.Light`."""
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
    """Return [T, 2, 3] affine maps from pixel index (x, y), centers at integers, to world coordinates."""
    center, zoom, roll = sc.camera_path(camera, T)
    a, b = np.cos(roll) / zoom / min(H, W), np.sin(roll) / zoom / min(H, W)
    x0, y0 = 0.5 - W / 2, 0.5 - H / 2
    rows = np.array([[a, -b, a * x0 - b * y0 + center[:, 0]], [b, a, b * x0 + a * y0 + center[:, 1]]])
    return np.ascontiguousarray(rows.transpose(2, 0, 1))


def hill_coverage(hill: sc.Hill, to_world: np.ndarray, H: int, W: int) -> np.ndarray:
    """Return float32 [T, H, W]: coverage by the ground under a skyline, antialiased over one pixel."""
    columns = np.arange(W)
    (a, b, tx0), (c, d, ty0) = to_world[:, 0].T[..., None], to_world[:, 1].T[..., None]
    # World x of a column is taken on the frame's middle row: exact but for the little the roll adds.
    x = a * columns + b * (H / 2) + tx0
    skyline = hill.level + sum(amount * np.sin(2 * np.pi * f * x + phase) for f, amount, phase in hill.waves)
    row = (skyline - c * columns - ty0) / d
    return np.clip(np.arange(H, dtype=np.float32)[:, None] - row[:, None].astype(np.float32) + 0.5, 0, 1)


def _iterate_windows(sprite: ob.Sprite, H: int, W: int):
    """Yield per frame (slices of the frame, slices of the sprite's window), cut to the frame."""
    n = sprite.alpha.shape[1]
    for y, x in sprite.corner.tolist():
        y_start, x_start, y_end, x_end = max(y, 0), max(x, 0), min(y + n, H), min(x + n, W)
        y_end, x_end = max(y_end, y_start), max(x_end, x_start)
        yield (
            (slice(y_start, y_end), slice(x_start, x_end)),
            (slice(y_start - y, y_end - y), slice(x_start - x, x_end - x)),
        )
