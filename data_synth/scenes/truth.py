"""Exact depth order, segmentation and motion of a rendered planar scene.

Scene → layers → **truth** → control videos. A pixel belongs to the frontmost object that covers at least half of it,
else to the hill there, else to the background; shadows do not change that.

    depth          gray level = 40 + 215 rank / (number of layers - 1): black far, white near
    segmentation   one saturated color a surface, the background black
    motion         frame k → k + 1 in pixels, by the scene's own camera and paths (the last frame repeats the one before)
"""

from __future__ import annotations

import numpy as np

from data_synth.scenes import render as rn
from data_synth.scenes import scene as sc

# Distinct in hue and brightness, none black; assigned by rank, so that they are independent of the objects' colors.
SEGMENT_COLORS = np.array(
    [
        (0, 0, 0),
        (230, 60, 60),
        (60, 200, 90),
        (70, 110, 240),
        (240, 210, 60),
        (190, 80, 220),
        (60, 210, 220),
        (245, 150, 60),
        (255, 255, 255),
    ],
    np.uint8,
)


def layer_ranks(scene: sc.Scene, layers: rn.Layers) -> np.ndarray:
    """Return uint8 [T, H, W]: 0 for the background, then hills and objects, back to front."""
    T, H, W, _ = layers.ground.shape
    out = np.zeros((T, H, W), np.uint8)
    to_world = rn.pixel_to_world(scene.camera, T, H, W)
    for j, hill in enumerate(scene.hills):
        out[rn.hill_coverage(hill, to_world, H, W) >= 0.5] = 1 + j
    for i in range(len(layers.sprites)):
        out[layers.coverage((i,)) >= 0.5] = 1 + len(scene.hills) + i
    return out


def render_depth(scene: sc.Scene, layers: rn.Layers) -> np.ndarray:
    """Render the depth order, uint8 [T, H, W, 3]."""
    max_rank = max(1, len(scene.hills) + len(scene.objects))
    gray = (40 + 215 * np.arange(max_rank + 1) / max_rank + 0.5).astype(np.uint8)
    return np.repeat(gray[layer_ranks(scene, layers)][..., None], 3, -1)


def render_segmentation(scene: sc.Scene, layers: rn.Layers) -> np.ndarray:
    """Render the segmentation, uint8 [T, H, W, 3]."""
    return SEGMENT_COLORS[layer_ranks(scene, layers) % len(SEGMENT_COLORS)]


def compute_motion(scene: sc.Scene, layers: rn.Layers) -> np.ndarray:
    """Compute float64 [T, H, W, 2]: (x, y) displacement of the visible surface, in pixels from one frame to the next."""
    T, H, W, _ = layers.ground.shape
    out = np.zeros((T, H, W, 2))
    if T == 1:
        return out
    rank_map, first_object = layer_ranks(scene, layers), 1 + len(scene.hills)
    pixels = np.stack(np.meshgrid(np.arange(W), np.arange(H)), -1).astype(float)
    to_world = rn.pixel_to_world(scene.camera, T, H, W)
    paths = [sc.frame_path(o, scene.camera, T) for o in scene.objects]
    for k in range(T - 1):
        if not scene.texture.is_canonical:  # canonical backgrounds are fixed to the frame
            out[k] = _map_pixels(to_world[k], to_world[k + 1], pixels) - pixels
        elif scene.hills:
            hill = (rank_map[k] > 0) & (rank_map[k] < first_object)
            out[k][hill] = (_map_pixels(to_world[k], to_world[k + 1], pixels) - pixels)[hill]
        for i, (center, radius, angle) in enumerate(paths):
            object_mask = rank_map[k] == first_object + i
            center_pixels = center[k : k + 2] * min(H, W) + np.array([W, H]) / 2 - 0.5
            rotation, growth = angle[k + 1] - angle[k], radius[k + 1] / radius[k]
            cos, sin = growth * np.cos(rotation), growth * np.sin(rotation)
            x, y = (pixels[object_mask] - center_pixels[0]).T
            out[k][object_mask] = (
                center_pixels[1] + np.stack([cos * x - sin * y, sin * x + cos * y], -1) - pixels[object_mask]
            )
    out[-1] = out[-2]
    return out


def _map_pixels(from_affine: np.ndarray, to_affine: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Map pixel positions [H, W, 2] of one frame to those of the same world points in another."""
    world = pixels @ from_affine[:, :2].T + from_affine[:, 2]
    return (world - to_affine[:, 2]) @ np.linalg.inv(to_affine[:, :2]).T
