"""A room as plain data: surfaces, light, camera, bodies, and perhaps a person.

seed → draw.py → **Room** → model.py. Meters, z up, the floor is z = 0; the room is the square |x|, |y| <= ROOM_HALF_WIDTH;
time u in [0, 1] runs over the clip. Edits derive another Room from one; this module does not depend on MuJoCo.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from data_synth.scenes import objects as ob

ROOM_HALF_WIDTH, WALL_HEIGHT = 4.2, 3.2  # meters
SHAPES = ("ball", "box", "cylinder", "capsule", "egg", "cone", "pyramid")
COLORS = {name: rgb for name, rgb in ob.COLORS.items()}


@dataclasses.dataclass(frozen=True)
class Surface:
    """Material of the floor or the walls.

    Attributes:
      material: A key of `surfaces.MATERIALS`, or "plain".
      seed: Selects one piece of the material.
      color: A name of COLORS, for "plain".
    """

    material: str
    seed: int = 0
    color: str = "white"

    @property
    def rgb(self) -> tuple[int, int, int]:
        """Return the RGB of a plain surface; walls are painted paler than bodies."""
        red, green, blue = (int(0.55 * c + 0.45 * 190) for c in COLORS[self.color])
        return red, green, blue


@dataclasses.dataclass(frozen=True)
class Body:
    """A rigid body.

    Attributes:
      key: Identifies the body through edits.
      shape: A name of SHAPES.
      color: A name of COLORS.
      radius: Half its width, in meters.
      height: Half its height, in meters.
      position: (x, y, z) of its center at the start, in meters.
      yaw: Radians.
      velocity: (x, y, z) in m/s.
      spin: (x, y, z) in rad/s.
      material: A name of `surfaces.BODY_MATERIALS`, "" for paint.
      density: kg/m³.
    """

    key: int
    shape: str
    color: str
    radius: float
    height: float
    position: tuple[float, float, float]
    yaw: float = 0.0
    velocity: tuple[float, ...] = (0.0, 0.0, 0.0)
    spin: tuple[float, ...] = (0.0, 0.0, 0.0)
    material: str = ""
    density: float = 500.0

    @property
    def name(self) -> str:
        """Return the words for the body in an instruction, such as "red ball"."""
        return f"{self.color} {self.shape}"


@dataclasses.dataclass(frozen=True)
class Figure:
    """A person of capsules.

    Attributes:
      action: A name of `figure.ACTIONS`.
      position: (x, y) on the floor, in meters.
      yaw: Radians.
      shirt: A name of COLORS.
      trousers: A name of COLORS.
      phase: Phase of the action at the start, in periods.
    """

    action: str
    position: tuple[float, float]
    yaw: float
    shirt: str
    trousers: str
    phase: float = 0.0


@dataclasses.dataclass(frozen=True)
class Light:
    """Key light towards the middle of the room, and ambient light.

    Attributes:
      azimuth: Direction that the light comes from, in radians.
      elevation: Direction that the light comes from, in radians.
      key: RGB gains of the key light.
      ambient: RGB gains of the ambient light.
      distance: Distance of a lamp, in meters.
      sky: (top, bottom) RGB 0..255 above the walls.
      sun: Whether the light is parallel; otherwise it is a lamp at `distance`.
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
    """A camera that looks at `target`; ranges are [start, end], linear in a smooth step of u.

    Attributes:
      azimuth: Radians.
      elevation: Radians.
      distance: Meters.
      shift: Sideways movement of eye and target by the end, in meters.
      target: Point in the room, in meters.
      fovy: Vertical field of view, in degrees.
    """

    azimuth: tuple[float, float]
    elevation: tuple[float, float]
    distance: tuple[float, float]
    shift: float = 0.0
    target: tuple[float, float, float] = (0.0, 0.0, 0.3)
    fovy: float = 42.0

    def poses(self, T: int) -> tuple[np.ndarray, np.ndarray]:
        """Return eye [T, 3] and axes [T, 3, 3]: rows right, up, back (towards the viewer), by OpenGL's convention."""
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
    """Everything in a room.

    Attributes:
      kind: A name of `draw.KINDS`.
      floor: Floor.
      walls: Walls; None for open air under `light.sky`.
      light: Light.
      camera: Camera path.
      bodies: Rigid bodies.
      figure: A person, or None.
      gravity: m/s².
    """

    kind: str
    floor: Surface
    walls: Surface | None
    light: Light
    camera: Camera
    bodies: tuple[Body, ...]
    figure: Figure | None = None
    gravity: float = 9.81

    def body(self, key: int) -> Body:
        """Return the body with this key."""
        return next(body for body in self.bodies if body.key == key)

    def without(self, key: int) -> Room:
        """Return the room without the body of this key."""
        return dataclasses.replace(self, bodies=tuple(body for body in self.bodies if body.key != key))

    def with_body(self, new: Body) -> Room:
        """Return the room with the body of the same key replaced."""
        return dataclasses.replace(
            self, bodies=tuple(new if body.key == new.key else body for body in self.bodies)
        )
