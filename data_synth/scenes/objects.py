"""Objects: eight shapes as signed distance functions, shaded, with a soft shadow.

**object** and its path in the frame → sprite (alpha, color, shadow in a small window) → scene render. All geometry is
analytic, in local coordinates where the object's radius is 1 (y down), so one description renders at any size:

    alpha  = clip(1/2 - d_px, 0, 1)                     d_px signed distance in pixels: one pixel of antialiasing
    shadow = strength * smoothstep(-d(p - o) / w + 1/2) shifted by o, soft over w, cut to exactly 0 at its rim

Alpha and shadow are exactly zero outside the sprite, so the geometry decides which pixels an object can change.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import cv2
import numpy as np

COLORS = {
    "red": (214, 38, 40),
    "orange": (242, 132, 26),
    "yellow": (246, 218, 48),
    "green": (46, 162, 60),
    "cyan": (48, 202, 212),
    "blue": (40, 78, 216),
    "purple": (134, 56, 190),
    "pink": (246, 130, 182),
    "white": (242, 242, 242),
    "black": (26, 26, 30),
    "brown": (122, 72, 38),
    "grey": (132, 132, 132),
}
SHAPES = ("ball", "cube", "triangle", "star", "ring", "diamond", "heart", "cross")
# Canonical diameters, in frame short sides.
SIZES = {"small": 0.20, "medium": 0.31, "large": 0.43}
PATTERNS = ("plain", "striped", "dotted")
# Share of the light that a shadow absorbs at its core.
SHADOW_STRENGTH = 0.45
# In radii of the object.
_SHADOW_OFFSET, _SHADOW_SOFTNESS = (0.16, 0.26), 0.35


@dataclasses.dataclass(frozen=True)
class Object:
    """An object and its path.

    Attributes:
      shape: A name of SHAPES.
      color: A name of COLORS.
      size: Diameter in frame short sides.
      size_name: Word for the size: "small", "medium" or "large".
      pattern: A name of PATTERNS.
      start: World coordinates at the first frame (origin = frame center, unit = short side).
      end: World coordinates at the last frame.
      wobble: Amplitude (x, y) of one sine period added to the straight path.
      tilt: Angle at the first frame, in radians.
      spin: Rotation over the clip, in radians.
      pinned: Whether the object is fixed to the frame, so that the camera does not move it (inserted objects).
    """

    shape: str
    color: str
    size: float
    size_name: str = "medium"
    pattern: str = "plain"
    start: tuple = (0.0, 0.0)
    end: tuple = (0.0, 0.0)
    wobble: tuple = (0.0, 0.0)
    tilt: float = 0.0
    spin: float = 0.0
    pinned: bool = False

    @property
    def name(self) -> str:
        """Return the words for the object in an instruction, such as "red ball"."""
        return f"{self.color} {self.shape}"


@dataclasses.dataclass(frozen=True)
class Sprite:
    """One object's pixels in a window of side n that follows it.

    Attributes:
      corner: int [T, 2], (y, x) of the window's corner in the frame; may lie outside.
      alpha: float32 [T, n, n].
      color: float32 [T, n, n, 3], unlit RGB 0..255.
      shadow: float32 [T, n, n].
    """

    corner: np.ndarray
    alpha: np.ndarray
    color: np.ndarray
    shadow: np.ndarray


def render_sprite(
    obj: Object, center: np.ndarray, radius: np.ndarray, angle: np.ndarray, light: tuple
) -> Sprite:
    """Rasterize an object along its path.

    Args:
      obj: The object to draw.
      center: [T, 2] pixel coordinates (x, y); pixel (0, 0) spans 0..1.
      radius: [T] in pixels.
      angle: [T] in radians.
      light: Direction (x, y) that the light comes from, y down.
    """
    reach = float(radius.max()) * (1.2 + max(_SHADOW_OFFSET) + _SHADOW_SOFTNESS / 2)
    n = int(np.ceil(2 * reach)) + 3
    corner = np.floor(center - n / 2).astype(int)
    steps = np.arange(n, dtype=np.float32) + np.float32(0.5)
    r = radius.astype(np.float32)[:, None]
    x = ((steps + (corner[:, 0] - center[:, 0]).astype(np.float32)[:, None]) / r)[:, None, :]
    y = ((steps + (corner[:, 1] - center[:, 1]).astype(np.float32)[:, None]) / r)[:, :, None]
    cos, sin = (f(angle).astype(np.float32)[:, None, None] for f in (np.cos, np.sin))
    u, v = x * cos + y * sin, y * cos - x * sin
    distance = _DISTANCE[obj.shape](u, v)
    alpha = np.clip(0.5 - distance * r[..., None], 0, 1)
    rgb = np.asarray(COLORS[obj.color], np.float32)
    shade, glint = _shade(
        obj.shape, u, v, distance, (light[0] * cos + light[1] * sin, light[1] * cos - light[0] * sin)
    )
    if obj.pattern != "plain":
        shade = shade * _pattern(obj.pattern, u, v, light=sum(COLORS[obj.color]) > 150)
    planes = [shade * c for c in rgb]
    if glint is not None:
        planes = [plane + glint for plane in planes]
    color = merge_channels(*planes)
    ou, ov = (
        _SHADOW_OFFSET[0] * cos + _SHADOW_OFFSET[1] * sin,
        _SHADOW_OFFSET[1] * cos - _SHADOW_OFFSET[0] * sin,
    )
    shadow_depth = np.clip(0.5 - _DISTANCE[obj.shape](u - ou, v - ov) / _SHADOW_SOFTNESS, 0, 1)
    shadow = SHADOW_STRENGTH * shadow_depth * shadow_depth * (3 - 2 * shadow_depth)
    shadow *= shadow >= 0.012  # below three gray levels it is cut, so that the mask ends with the change
    return Sprite(corner[:, ::-1], alpha, color, shadow)


def merge_channels(*planes: np.ndarray) -> np.ndarray:
    """Stack one plane [T, n, n] a channel, or one for all three, to [T, n, n, 3]; `cv2.merge` takes a fifth of `np.stack`'s time."""
    T, n, m = planes[0].shape
    rows = [np.ascontiguousarray(plane).reshape(T * n, m) for plane in planes]
    return cv2.merge(rows if len(rows) == 3 else rows * 3).reshape(T, n, m, 3)


def _ball(x, y):
    return np.sqrt(x * x + y * y) - 1


def _cube(x, y):  # a hexagon, shaded as the three visible faces
    x = np.abs(x)
    return np.maximum(x, 0.5 * x + 0.8660254 * np.abs(y)) - 0.9


def _triangle(x, y):
    y = y - 0.17
    return np.maximum(y, 0.8660254 * np.abs(x) - 0.5 * y) - 0.58


def _star(x, y):
    # Folded at its axes of symmetry until only half a ray is left: arctan2 would take a hundred times as long.
    half = math.pi / 5
    along, across = -y, np.abs(x)  # of the upper ray
    for turn in (2 * half, half):  # mirrors at these angles from it
        nx, ny = (
            math.cos(turn),
            -math.sin(turn),
        )  # normal of the mirror, as (across, along), towards the next ray
        beyond = 2 * np.clip(nx * across + ny * along, 0, np.inf)
        across, along = across - beyond * nx, along - beyond * ny
    across = np.abs(across)
    outer, inner = 1.12, 0.5
    ex, ey = inner * math.cos(half) - outer, inner * math.sin(half)  # edge from the tip to the notch
    length = math.hypot(ex, ey)
    return (along - outer) * (ey / length) - across * (ex / length)


def _ring(x, y):
    return np.abs(np.sqrt(x * x + y * y) - 0.72) - 0.3


def _diamond(x, y):
    return (np.abs(x) / 0.82 + np.abs(y) / 1.1 - 1) * np.float32(0.657)


def _heart(x, y):
    # Two discs and the wedge between their tangents from the tip.
    x = np.abs(x)
    cx, cy, radius, tip = 0.5, -0.3, 0.54, 1.0
    dx, dy = -cx, tip - cy
    reach = np.hypot(dx, dy)
    along = np.sqrt(reach**2 - radius**2)  # tip to tangent point
    bend = np.arctan2(radius, along)
    ux, uy = dx / reach, dy / reach  # disc center to tip
    tx, ty = (
        ux * np.cos(bend) - uy * np.sin(bend),
        ux * np.sin(bend) + uy * np.cos(bend),
    )  # tangent, towards the tip
    nx, ny = ty, -tx  # outward normal of that edge
    disc = np.sqrt((x - cx) ** 2 + (y - cy) ** 2) - radius
    wedge = np.maximum(nx * x + ny * (y - tip), np.maximum(-(tx * (x - cx) + ty * (y - cy)), cy - y))
    return np.minimum(disc, wedge).astype(np.float32)


def _cross(x, y):
    x, y = np.abs(x), np.abs(y)
    return np.maximum(np.maximum(x, y) - 0.95, np.minimum(x, y) - 0.36)


_DISTANCE: dict[str, Callable] = dict(
    zip(SHAPES, (_ball, _cube, _triangle, _star, _ring, _diamond, _heart, _cross), strict=True)
)


def _shade(shape: str, u, v, distance, light):
    """Return the multiplier of the color and an additive highlight or None; `light` is in the object's own axes."""
    lx, ly = light
    if shape == "ball":
        nz = np.sqrt(np.clip(1 - u * u - v * v, 0, np.inf))
        facing = np.clip(0.6 * (u * lx + v * ly) + 0.8 * nz, 0, np.inf)
        eighth_power = np.square(
            np.square(np.square(facing))
        )  # power of 24 by products; pow takes fifty times as long
        return 0.5 + 0.62 * facing, 90 * (eighth_power * eighth_power * eighth_power)
    if shape == "cube":
        top = v < -0.577 * np.abs(u)
        return np.where(top, np.float32(1.15), np.where(u < 0, np.float32(0.92), np.float32(0.68))), None
    if shape == "diamond":
        return 0.9 + 0.13 * np.sign(u) * lx + 0.13 * np.sign(v) * ly, None
    rim = np.clip(-distance / 0.2, 0, 1)  # 0 on the outline, 1 inside: a bevelled plate
    return (0.78 + 0.22 * rim) * (1 + 0.14 * (u * lx + v * ly)), None


def _pattern(pattern: str, u, v, light: bool):
    """Return a multiplier with darker marks, or lighter ones on dark colors, weak enough that the color keeps its name."""
    if pattern == "striped":
        marks = np.clip(np.sin(u * 9.0) * 3 + 0.5, 0, 1)
    else:
        marks = np.clip((np.cos(u * 8.0) + np.cos(v * 8.0) - 0.9) * 2.5, 0, 1)
    return 1 - 0.3 * marks if light else 1 + 1.8 * marks
