"""A planar scene as plain data: texture, hills, objects, camera and light; and the paths of objects in the frame.

seed → draw.py → **Scene** → render.py → video; edits.py turns one Scene into its edited twin. Everything is in unit
coordinates (1 = the frame's short side, origin = its center, y down; time u in [0, 1] over the clip), so a scene
has no resolution and no frame count.

Camera at time u: center c(u), zoom z(u), roll θ(u), each linear in a smooth s(u):
    frame = z R(-θ) (world - c)        world = R(θ) frame / z + c
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from data_synth.scenes import objects as ob
from data_synth.scenes import textures as tx


@dataclasses.dataclass(frozen=True)
class Camera:
    """Start and change over the clip of center (x, y), log-zoom and roll; `ease` in [-1, 1] bends time."""

    pan: tuple = (0.0, 0.0)
    zoom: tuple = (0.0, 0.0)
    roll: tuple = (0.0, 0.0)
    ease: float = 0.0


@dataclasses.dataclass(frozen=True)
class Light:
    """Gain of the picture: exposure, colour temperature (+ warm), gradient (x, y) across the frame, vignette.

    L_c(p) = exposure · (1 + gradient · p) · (1 - vignette |p|²) · (1 + temperature · (1, 0, -1)_c)
    """

    exposure: float = 1.0
    temperature: float = 0.0
    gradient: tuple = (0.0, 0.0)
    vignette: float = 0.0
    direction: tuple = (-0.6, -0.8)


@dataclasses.dataclass(frozen=True)
class Hill:
    """Ground below the skyline y = level + Σ a sin(2π f x + φ) over `waves` = ((f, a, φ), ...), in world units."""

    texture: tx.Texture
    level: float
    waves: tuple


@dataclasses.dataclass(frozen=True)
class Scene:
    """Everything that a clip shows, back to front.

    Attributes:
      texture: The background.
      ground_name: Words for the background in captions.
      objects: Objects, back to front.
      camera: Camera path.
      light: Light of the whole frame.
      hills: Hills in front of the background, back to front.
    """

    texture: tx.Texture
    ground_name: str
    objects: tuple[ob.Object, ...] = ()
    camera: Camera = Camera()
    light: Light = Light()
    hills: tuple[Hill, ...] = ()

    @property
    def textures(self) -> tuple[tx.Texture, ...]:
        """Return the textures of background and hills."""
        return (self.texture, *(hill.texture for hill in self.hills))


def format_caption(scene: Scene) -> str:
    """Format a caption such as "a red ball and a blue cube over a green leaf texture"."""
    names = [f"{indefinite_article(o.name)} {o.name}" for o in scene.objects]
    ground = f"{indefinite_article(scene.ground_name)} {scene.ground_name}"
    if not names:
        return ground if scene.texture.is_canonical else f"a moving {scene.ground_name}"
    object_phrase = names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]
    return f"{object_phrase} over {ground}"


def indefinite_article(words: str) -> str:
    """Return "a" or "an"."""
    return "an" if words[0] in "aeiou" else "a"


def frame_path(obj: ob.Object, camera: Camera, T: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute an object's path in the frame.

    Returns:
      center [T, 2] (x, y) in short sides from the frame's center; radius [T] in short sides; angle [T] in radians.
    """
    u, sway = _clip_clock(T)
    start, end, wobble = np.array((obj.start, obj.end, obj.wobble))
    position = start + u[:, None] * (end - start) + sway * wobble
    angle = obj.tilt + u * obj.spin
    if obj.pinned:
        return position, np.full(T, obj.size / 2), angle
    center, zoom, roll = camera_path(camera, T)
    cos, sin = _camera_rotation(camera, T)
    x, y = (position - center).T
    frame_center = np.empty((T, 2))
    frame_center[:, 0], frame_center[:, 1] = (x * cos + y * sin) * zoom, (y * cos - x * sin) * zoom
    return frame_center, obj.size / 2 * zoom, angle - roll


@functools.lru_cache(maxsize=64)
def camera_path(camera: Camera, T: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute center [T, 2], zoom [T] and roll [T] of T frames; changes are measured from the middle of the move."""
    u = clip_times(T)
    s = u + camera.ease * u * (1 - u) - 0.5
    (px, py), (zoom, dzoom), (roll, droll) = camera.pan, camera.zoom, camera.roll
    return np.stack([px * s, py * s], 1), np.exp(zoom + dzoom * s), roll + droll * s


@functools.lru_cache(maxsize=64)
def _camera_rotation(camera: Camera, T: int) -> tuple[np.ndarray, np.ndarray]:
    """Return cosine and sine of the camera's roll."""
    _, _, roll = camera_path(camera, T)
    return np.cos(roll), np.sin(roll)


@functools.lru_cache(maxsize=64)
def _clip_clock(T: int) -> tuple[np.ndarray, np.ndarray]:
    """Return clip times [T], and the sine [T, 1] that wobbles follow."""
    u = clip_times(T)
    return u, np.sin(2 * np.pi * u)[:, None]


def clip_times(T: int) -> np.ndarray:
    """Return [T] clip times from 0 to 1; a single frame is the middle of its clip."""
    return np.arange(T) / (T - 1) if T > 1 else np.full(1, 0.5)


def color_distance(a, b) -> float:
    """Return the distance of two RGB colors, 0..442, channels weighted 2 : 4 : 3 as an approximation of perception."""
    dr, dg, db = a[0] - b[0], a[1] - b[1], a[2] - b[2]
    return float(((2 * dr * dr + 4 * dg * dg + 3 * db * db) / 3) ** 0.5)


def is_visible_on(color: str, texture: tx.Texture) -> bool:
    """Return whether an object of this color stands out: far from the background's mean and from its variation."""
    return color in visible_colors(texture)


@functools.lru_cache(maxsize=64)  # every canonical background, and the last sampled textures
def visible_colors(texture: tx.Texture) -> frozenset[str]:
    """Return the names of `objects.COLORS` for which `is_visible_on` holds."""
    if texture.is_canonical:
        top, bottom = texture.ends
        steps = [
            tuple(t + f * (b - t) for t, b in zip(top, bottom, strict=True)) for f in (0, 0.25, 0.5, 0.75, 1)
        ]
        min_distance = 85.0
    else:
        steps, min_distance = [texture.base], 75 + float(np.linalg.norm(texture.mix)) * 0.5
    return frozenset(
        name
        for name, rgb in ob.COLORS.items()
        if all(color_distance(rgb, step) > min_distance for step in steps)
    )


def are_apart(a: tuple, b: tuple, gap: float = 0.95) -> bool:
    """Return whether two objects, given by their `frame_path`s, hardly ever touch, shadows included."""
    (ca, ra, _), (cb, rb, _) = a, b
    return bool((((ca - cb) ** 2).sum(1) > (gap * (ra + rb) + 0.03) ** 2).all())


def is_inside(path: tuple, half: np.ndarray, overhang: float = 0.15) -> bool:
    """Return whether at most `overhang` radii of the object ever leave the frame of half extent `half` (x, y)."""
    center, radius, _ = path
    return bool((np.abs(center) + (1 - overhang) * radius[:, None] <= half).all())


def half_extent(aspect: float) -> np.ndarray:
    """Return (x, y) from the frame's center to its border, in short sides, for width / height = `aspect`."""
    return np.array([max(aspect, 1.0), max(1 / aspect, 1.0)]) / 2
