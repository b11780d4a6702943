"""Materials of rooms and bodies: small procedural pictures that repeat.

name, seed → **picture** → model.py (texture). Each is uint8 [n, n, 3]; u, v in [0, 1) are its coordinates, f a field
of `scenes.textures` in [-1, 1] (1/f noise or dead leaves), and every pattern closes at its border or is mirrored.

    wood      base + a sin(2 pi (3 v + 2.5 f)), grain along u          brick     running bond, 4 x 8, mortar 6 %
    marble    base + a |f|^1/2, veins where f crosses 0                tiles     4 x 4 squares, grout 3 %
    checker, stripes, dots    two colors                               carpet    dead leaves, low contrast
    metal     brushed: noise stretched along u, shiny                  gold      the same, yellow
    grass     dead leaves of greens                                    concrete  gray 1/f noise
    plain     one color, 2 % noise
"""

from __future__ import annotations

import cv2
import numpy as np

from data_synth.scenes import textures as tx

TEXELS = 256
# Name → words ("make the box {0}", "a {1} floor"), two colors, and (reflectance of a plane, specular, shininess).
MATERIALS = {
    "wood": ("wooden", "wooden", ((150, 104, 62), (104, 66, 36)), (0.05, 0.2, 0.3)),
    "marble": ("marble", "marble", ((226, 222, 216), (120, 118, 124)), (0.3, 0.6, 0.8)),
    "brick": ("brick", "brick", ((164, 78, 58), (196, 188, 176)), (0.0, 0.05, 0.1)),
    "tiles": ("tiled", "tiled", ((186, 200, 204), (92, 100, 108)), (0.25, 0.5, 0.7)),
    "checker": ("checkered", "checkered", ((214, 210, 200), (70, 74, 84)), (0.2, 0.4, 0.6)),
    "stripes": ("striped", "striped", ((230, 224, 208), (96, 120, 150)), (0.0, 0.3, 0.5)),
    "dots": ("dotted", "dotted", ((236, 232, 224), (196, 84, 96)), (0.0, 0.3, 0.5)),
    "metal": ("metallic", "steel", ((150, 156, 164), (208, 212, 220)), (0.35, 1.0, 0.9)),
    "gold": ("golden", "golden", ((190, 142, 44), (244, 208, 110)), (0.3, 1.0, 0.9)),
    "carpet": ("woollen", "carpeted", ((140, 96, 108), (110, 72, 88)), (0.0, 0.0, 0.0)),
    "grass": ("grassy", "grass", ((84, 128, 56), (56, 96, 40)), (0.0, 0.0, 0.0)),
    "concrete": ("concrete", "concrete", ((146, 146, 142), (120, 120, 118)), (0.04, 0.1, 0.2)),
}
FLOORS = ("wood", "marble", "tiles", "checker", "carpet", "concrete", "grass")
WALLS = ("plain", "brick", "wood", "concrete", "stripes", "tiles")
# Materials of bodies.
BODY_MATERIALS = (
    "wood",
    "marble",
    "brick",
    "checker",
    "stripes",
    "dots",
    "metal",
    "gold",
)


def render_material(material: str, seed: int, color: tuple[int, int, int] | None = None) -> np.ndarray:
    """Render a material to uint8 [TEXELS, TEXELS, 3], a function of the arguments alone.

    Args:
      material: A key of MATERIALS, or "plain".
      seed: Selects one piece of the material.
      color: RGB of "plain".
    """
    n = TEXELS
    v, u = (np.mgrid[:n, :n] + 0.5) / n
    noise_fields = tx.texture_tile("cloud", seed % tx.TILES_PER_KIND, n) / 127
    first, second = (np.array(c, np.float32) for c in _colors(material, color))
    if material == "plain":
        return _bytes(first + 4 * noise_fields[..., :1])
    if material == "wood":
        slow = cv2.resize(
            noise_fields[: n // 2, : n // 16], (n, n), interpolation=cv2.INTER_CUBIC
        )  # grain runs along u
        plank = np.floor(4 * v)
        seam = np.abs(4 * v % 1 - 0.5) > 0.485
        rings = 0.5 + 0.5 * np.sin(2 * np.pi * (3 * v + 2.5 * slow[..., 0] + 0.618 * plank))
        tone = (plank * 0.618 % 1 - 0.5) * 26 - 46 * seam + 10 * noise_fields[..., 2]
        return _bytes(_mix(first, second, 0.75 * rings) + tone[..., None])
    if material == "marble":
        return _bytes(
            _mix(second, first, np.abs(noise_fields[..., 0]) ** 0.5 * 0.8 + 0.2) + 6 * noise_fields[..., 1:2]
        )
    if material in ("brick", "tiles"):
        rows, columns, gap = (8, 4, 0.06) if material == "brick" else (4, 4, 0.03)
        y, row = rows * v % 1, np.floor(rows * v)
        x = columns * u + 0.5 * (row % 2) * (material == "brick")
        tone = np.sin(12.9898 * np.floor(x) % columns + 78.233 * row) * 43758.5453 % 1
        mortar = (y < 2 * gap) | (x % 1 < gap)
        return _bytes(
            np.where(mortar[..., None], second, first + 26 * (tone[..., None] - 0.5))
            + 8 * noise_fields[..., :1]
        )
    if material == "checker":
        return _bytes(
            _mix(first, second, (np.floor(4 * u) + np.floor(4 * v)) % 2) + 4 * noise_fields[..., :1]
        )
    if material == "stripes":
        return _bytes(_mix(first, second, (6 * u % 1 < 0.5) * 1.0) + 4 * noise_fields[..., :1])
    if material == "dots":
        return _bytes(_mix(first, second, np.hypot(5 * u % 1 - 0.5, 5 * v % 1 - 0.5) < 0.3))
    if material in ("metal", "gold"):
        brushed = np.repeat(noise_fields[:, :1, 0], n, 1) * 0.6 + 0.4 * noise_fields[..., 1]
        return _bytes(_mix(first, second, 0.5 + 0.5 * brushed))
    if material == "concrete":
        return _bytes(_mix(first, second, 0.5 + 0.7 * noise_fields[..., 0]) + 9 * noise_fields[..., 1:2])
    leaves = tx.texture_tile("leaves", seed % tx.TILES_PER_KIND, n) / 127
    contrast = 1.0 if material == "grass" else 0.5
    return _bytes(_mix(first, second, 0.5 + 0.5 * contrast * leaves[..., 0]) + 6 * leaves[..., 1:2])


def mean_color(material: str, color: tuple[int, int, int] | None = None) -> np.ndarray:
    """Return the mean RGB of the material, float [3], to decide whether a body stands out from it."""
    return np.mean(np.array(_colors(material, color), float), 0)


def _colors(material: str, color) -> tuple:
    return (color, color) if material == "plain" else MATERIALS[material][2]


def _mix(a: np.ndarray, b: np.ndarray, w: np.ndarray) -> np.ndarray:
    return a + (b - a) * np.clip(w, 0, 1)[..., None].astype(np.float32)


def _bytes(x: np.ndarray) -> np.ndarray:
    return np.clip(x + 0.5, 0, 255).astype(np.uint8)
