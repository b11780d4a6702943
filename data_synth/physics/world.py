"""The room as plain data: surfaces, light, camera, things, and perhaps a person.

seed → draw.py → **World** → model.py. Metres, z up, the floor is z = 0; the room is the square |x|, |y| <= ROOM; time u in
[0, 1] runs over the clip. Edits make another World of one; nothing here knows MuJoCo.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from data_synth.scenes import objects as ob

ROOM_HALF_WIDTH, WALL_HEIGHT = 4.2, 3.2  # half width, height of the walls
SHAPES = ("ball", "box", "cylinder", "capsule", "egg", "cone", "pyramid")
COLORS = {name: rgb for name, rgb in ob.COLORS.items()}


@dataclasses.dataclass(frozen=True)
class Surface:
    """material: of surfaces.MATERIALS or "plain", with `colour` a name of COLOURS; `seed` is which piece of it."""

    material: str
    seed: int = 0
    color: str = "white"

    @property
    def rgb(self) -> tuple[int, int, int]:
        """Of a plain surface: walls are painted paler than things."""
        return tuple(int(0.55 * c + 0.45 * 190) for c in COLORS[self.color])


@dataclasses.dataclass(frozen=True)
class Body:
    """A rigid body.

    Attributes:
      key: names it through edits. shape: of SHAPES. colour: of COLOURS. coat: of surfaces.COATS, "" for paint.
      radius: half its width, metres. height: half its height.
      place: (x, y, z) of its centre at the start. yaw: radians. velocity: (x, y, z) m/s. spin: (x, y, z) rad/s.
    """

    key: int
    shape: str
    color: str
    radius: float
    height: float
    position: tuple[float, float, float]
    yaw: float = 0.0
    velocity: tuple[float, float, float] = (0.0, 0.0, 0.0)
    spin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    material: str = ""
    density: float = 500.0

    @property
    def name(self) -> str:
        return f"{self.color} {self.shape}"


@dataclasses.dataclass(frozen=True)
class Figure:
    """A person of capsules; what it does is a name of figure.ACTIONS. shirt, trousers: names of COLOURS."""

    action: str
    position: tuple[float, float]
    yaw: float
    shirt: str
    trousers: str
    phase: float = 0.0


@dataclasses.dataclass(frozen=True)
class Light:
    """Key light towards the middle of the room, and how bright everything is by itself.

    azimuth, elevation: radians, where it comes from. key, ambient: RGB gains. distance: metres. sky: the colours
    (top, bottom), RGB 0..255, above the walls. sun: parallel light, else a lamp at `distance`.
    """

    azimuth: float
    elevation: float
    key: tuple[float, float, float] = (0.75, 0.75, 0.75)
    ambient: tuple[float, float, float] = (0.36, 0.36, 0.36)
    distance: float = 5.0
    sky: tuple = ((120, 160, 210), (215, 225, 235))
    sun: bool = False


@dataclasses.dataclass(frozen=True)
class Camera:
    """Looks at `target` from azimuth, elevation (radians) and distance (metres), each [start, end], linear in a smooth
    step of u; `shift` moves eye and target sideways (metres, by the end). fovy: degrees."""

    azimuth: tuple[float, float]
    elevation: tuple[float, float]
    distance: tuple[float, float]
    shift: float = 0.0
    target: tuple[float, float, float] = (0.0, 0.0, 0.3)
    fovy: float = 42.0

    def poses(self, T: int) -> tuple[np.ndarray, np.ndarray]:
        """Eye [T, 3], and axes [T, 3, 3]: rows right, up, back (towards the viewer), as OpenGL has them."""
        u = np.linspace(0, 1, T) if T > 1 else np.zeros(1)
        s = u * u * (3 - 2 * u)
        az, el, distance = (a + (b - a) * s for a, b in (self.azimuth, self.elevation, self.distance))
        back = np.stack([np.sin(az) * np.cos(el), -np.cos(az) * np.cos(el), np.sin(el)], 1)
        right = np.stack([np.cos(az), np.sin(az), np.zeros_like(az)], 1)
        up = np.cross(back, right)
        eye = np.array(self.target) + back * distance[:, None] + right * (self.shift * s)[:, None]
        return eye, np.stack([right, up, back], 1)


@dataclasses.dataclass(frozen=True)
class Room:
    """Everything in the room. `walls` None: open air under `light.sky`. `kind`: which of draw.KINDS it is."""

    kind: str
    floor: Surface
    walls: Surface | None
    light: Light
    camera: Camera
    bodies: tuple[Body, ...]
    figure: Figure | None = None
    gravity: float = 9.81

    def body(self, key: int) -> Body:
        return next(body for body in self.bodies if body.key == key)

    def without(self, key: int) -> Room:
        return dataclasses.replace(self, bodies=tuple(body for body in self.bodies if body.key != key))

    def with_body(self, new: Body) -> Room:
        """With the thing of the same key replaced."""
        return dataclasses.replace(
            self, bodies=tuple(new if body.key == new.key else body for body in self.bodies)
        )
