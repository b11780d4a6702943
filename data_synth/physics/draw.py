"""Random sampling of rooms.

seed, kind → **Room** → simulate.py, render.py. Every body can be seen and named: bodies differ in color and in shape
(towers: in color), stand out from the floor and the walls, and stand near the middle. Kinds:

    loose    two to four bodies on the floor, some of them rolling, sliding or falling
    tower    a support with one or two bodies on it, and one beside
    strike   a ball that rolls into a tower
    person   a person in motion, and one or two bodies
"""

from __future__ import annotations

import dataclasses

import numpy as np

from data_synth.physics import figure as fg
from data_synth.physics import surfaces as sf
from data_synth.physics.world import COLORS, SHAPES, Body, Camera, Figure, Light, Room, Surface

KINDS = ("loose", "tower", "strike", "person")
POSITIONS = {"left": (-0.95, 0.0), "center": (0.0, 0.0), "right": (0.95, 0.0), "foreground": (0.0, -0.62)}
# Half widths, in meters.
SIZES = {"small": 0.14, "large": 0.24}
# Shapes that neither roll nor tip over.
STABLE_SHAPES = ("box", "cylinder", "cone", "pyramid")
# Least RGB distance of a body's color from floor and walls.
MIN_COLOR_DISTANCE = 80.0


def sample_room(rng: np.random.Generator, kind: str, aspect: float) -> Room:
    """Sample a room of the given kind.

    Args:
      rng: Source of randomness.
      kind: A name of KINDS.
      aspect: Width / height of its pictures.
    """
    floor = Surface(_sample_option(rng, sf.FLOORS), int(rng.integers(1 << 16)))
    is_outdoor = floor.material == "grass" or rng.random() < 0.12
    walls = None
    if not is_outdoor:
        material = "plain" if rng.random() < 0.55 else _sample_option(rng, sf.WALLS)
        walls = Surface(material, int(rng.integers(1 << 16)), _sample_option(rng, tuple(COLORS)))
        if material == floor.material:
            walls = dataclasses.replace(walls, material="plain")
    room = Room(kind, floor, walls, sample_light(rng, is_outdoor), sample_camera(rng, kind, aspect), ())
    colors = [c for c in rng.permutation(list(COLORS)).tolist() if stands_out(c, room)]
    if kind == "loose":
        bodies = _sample_loose_bodies(rng, colors)
    elif kind == "person":
        bodies = _sample_loose_bodies(rng, colors, max_count=2, min_count=1, radius=(0.75, 1.1))
    else:
        bodies = _sample_tower(rng, colors, strike=kind == "strike")
    room = dataclasses.replace(room, bodies=tuple(bodies))
    if kind == "person":
        free_colors = [c for c in colors if c not in {body.color for body in bodies}] or list(COLORS)
        room = dataclasses.replace(
            room,
            figure=Figure(
                _sample_option(rng, tuple(fg.ACTIONS)),
                (float(rng.uniform(-0.35, 0.35)), float(rng.uniform(-0.1, 0.3))),
                -np.pi / 2 + float(rng.uniform(-0.9, 0.9)),
                free_colors[0],
                _sample_option(rng, tuple(free_colors[1:]) or ("black",)),
                float(rng.random()),
            ),
        )
    return room


def sample_light(rng: np.random.Generator, is_outdoor: bool) -> Light:
    """Sample daylight high enough to light the floor, and from the side, so that shadows are visible."""
    azimuth = rng.uniform(0.4, 1.3) * (1 if rng.random() < 0.5 else -1)
    key, tint = rng.uniform(0.55, 0.72), rng.uniform(-0.05, 0.05)
    # The order of the draws is part of the seed's meaning.
    azimuth = float(azimuth + (np.pi if rng.random() < 0.3 else 0))
    elevation = float(rng.uniform(0.95, 1.2))
    ambient = float(rng.uniform(0.28, 0.4))
    return Light(
        azimuth,
        elevation,
        (key + tint, key, key - tint),
        (ambient, ambient, ambient),
        distance=float(rng.uniform(3.4, 4.2)),
        sun=is_outdoor,
    )


def sample_camera(rng: np.random.Generator, kind: str, aspect: float) -> Camera:
    """Sample a camera near a person's eye height, most of the time on a slow arc, dolly or truck."""
    is_person = kind == "person"
    near = (3.2 if is_person else 2.3) * max(1.0, 1.15 / aspect)
    azimuth, elevation = (
        rng.uniform(-0.45, 0.45),
        rng.uniform(0.12, 0.3) if is_person else rng.uniform(0.25, 0.6),
    )
    distance = near * rng.uniform(1.0, 1.2)
    moves = rng.random(3) < (0.5, 0.35, 0.35)
    arc, dolly, truck = moves * rng.uniform(-1, 1, 3) * (0.35, 0.16, 0.3)
    if kind != "person" and not moves.any():
        arc = 0.2 * (1 if rng.random() < 0.5 else -1)
    return Camera(
        (float(azimuth), float(azimuth + arc)),
        (float(elevation), float(elevation)),
        (float(distance), float(distance * (1 + dolly))),
        float(truck),
        (0.0, 0.0, 0.85 if is_person else 0.28),
        40.0,
    )


def stands_out(color: str, room: Room) -> bool:
    """Return whether a body of this color is distinct from floor and walls."""
    ground_colors = [sf.mean_color(room.floor.material, room.floor.rgb)]
    if room.walls is not None:
        ground_colors.append(sf.mean_color(room.walls.material, room.walls.rgb))
    return all(np.linalg.norm(np.array(COLORS[color]) - g) > MIN_COLOR_DISTANCE for g in ground_colors)


def half_height(shape: str, radius: float) -> float:
    """Return half the height of a body of this shape, for half its width."""
    return {"capsule": 1.7, "egg": 1.35, "cone": 1.15, "pyramid": 1.0, "cylinder": 1.1}.get(
        shape, 1.0
    ) * radius


def is_free(position: tuple[float, float], radius: float, room: Room, paths: dict[int, np.ndarray]) -> bool:
    """Return whether no body ever comes near this position on the floor."""
    for body in room.bodies:
        distances = np.hypot(*(paths[body.key][:, :2] - position).T)
        if (distances < radius + max(body.radius, body.height) + 0.08).any():
            return False
    if not room.figure:
        return True
    x, y = room.figure.position
    return np.hypot(x - position[0], y - position[1]) > radius + 0.55


def _sample_loose_bodies(
    rng, colors, max_count: int = 4, min_count: int = 2, radius: tuple[float, float] = (0.0, 0.85)
) -> list[Body]:
    bodies: list[Body] = []
    shapes = rng.permutation(SHAPES).tolist()
    for key, (shape, color) in enumerate(
        zip(shapes[: int(rng.integers(min_count, max_count + 1))], colors, strict=False)
    ):
        size = float(rng.uniform(*SIZES.values()))
        for _ in range(20):
            distance, angle = rng.uniform(*radius), rng.uniform(0, 2 * np.pi)
            x, y = distance * np.cos(angle), 0.75 * distance * np.sin(angle)
            if all(
                np.hypot(x - body.position[0], y - body.position[1]) > 1.2 * (size + body.radius) + 0.1
                for body in bodies
            ):
                break
        else:
            continue
        height = half_height(shape, size)
        drop = float(rng.uniform(0.2, 0.7)) if rng.random() < 0.25 else 0.0
        velocity, spin = np.zeros(3), np.zeros(3)
        if rng.random() < 0.55:
            direction = -np.array([x, y]) + rng.normal(0, 0.3, 2)
            speed = rng.uniform(0.5, 1.3)
            velocity[:2] = speed * direction / (np.linalg.norm(direction) + 1e-6)
            if shape == "ball":  # rolling: omega = n x v / r
                spin[:] = np.cross((0, 0, 1), velocity) / size
        bodies.append(
            Body(
                key,
                shape,
                color,
                size,
                height,
                (float(x), float(y), height + drop),
                float(rng.uniform(-0.7, 0.7)),
                tuple(velocity.tolist()),
                tuple(spin.tolist()),
            )  # fmt: skip
        )
    return bodies


def _sample_tower(rng, colors, strike: bool) -> list[Body]:
    """Sample a support with key 0, the bodies on it with the next keys, and the striking ball or a body beside."""
    bodies, height = [], 0.0
    x, y = rng.uniform(-0.2, 0.2, 2)
    level_count = int(rng.integers(2, 4))
    size = float(rng.uniform(0.15, 0.22))
    for key in range(min(level_count, len(colors))):
        top = key == level_count - 1
        shape = _sample_option(rng, STABLE_SHAPES if top else ("box", "cylinder"))
        half = half_height(shape, size)
        shift = rng.uniform(-0.32, 0.32, 2) * size * (key > 0)
        position = (float(x + shift[0]), float(y + shift[1]), height + half)
        bodies.append(Body(key, shape, colors[key], size, half, position, float(rng.uniform(-0.6, 0.6))))
        height += 2 * half
        size *= float(rng.uniform(0.7, 0.95))
    if len(bodies) < len(colors):
        key, color = len(bodies), colors[len(bodies)]
        if strike:
            radius = float(rng.uniform(0.15, 0.2))
            side = 1.0 if rng.random() < 0.5 else -1.0
            start = np.array([x + side * rng.uniform(0.8, 1.0), y + rng.uniform(-0.3, 0.1)])
            direction = (np.array([x, y]) - start) / np.linalg.norm(np.array([x, y]) - start)
            velocity = np.array([*(direction * rng.uniform(1.9, 2.6)), 0.0])
            spin = np.cross((0, 0, 1), velocity) / radius
            bodies.append(
                Body(
                    key,
                    "ball",
                    color,
                    radius,
                    radius,
                    (*start.tolist(), radius),
                    0.0,
                    tuple(velocity.tolist()),
                    tuple(spin.tolist()),
                    density=1500.0,
                )  # fmt: skip
            )
        else:
            shape = _sample_option(rng, ("ball", "egg", "capsule"))
            radius = float(rng.uniform(0.13, 0.18))
            half = half_height(shape, radius)
            angle = rng.uniform(0, 2 * np.pi)
            position = (float(x + 0.75 * np.cos(angle)), float(y - 0.55 * abs(np.sin(angle))), half)
            bodies.append(Body(key, shape, color, radius, half, position))
    return bodies


def _sample_option(rng: np.random.Generator, options) -> str:
    return options[int(rng.integers(len(options)))]
