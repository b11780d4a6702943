"""Choice of an intervention on a room.

Room → **Edit** (edited Room, words for the instruction, named pixels) → edits.py. There is one function an edit; each
returns a rejection when the room does not allow it. The instruction determines the result and the result is visible: new
colors differ from the old one, from those of the other bodies and from the background; positions are free.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from data_synth.physics import draw, figure, model, simulate
from data_synth.physics import surfaces as sf
from data_synth.physics.world import COLORS, SHAPES, Body, Camera, Light, Room, Surface
from data_synth.rejection import Rejected

LIGHTS = {
    "night": dict(key=(0.16, 0.2, 0.34), ambient=(0.07, 0.08, 0.14), sky=((6, 8, 26), (28, 32, 62))),
    "sunset": dict(
        key=(0.95, 0.5, 0.22), ambient=(0.3, 0.2, 0.2), elevation=0.8, sky=((88, 50, 130), (250, 140, 50))
    ),
    "red light": dict(key=(0.9, 0.12, 0.12), ambient=(0.2, 0.06, 0.06), sky=((60, 10, 14), (120, 24, 24))),
    "blue light": dict(key=(0.14, 0.26, 0.95), ambient=(0.06, 0.08, 0.22), sky=((10, 18, 70), (24, 40, 140))),
    "light from the left": dict(azimuth=-1.45, elevation=0.9),
    "light from the right": dict(azimuth=1.45, elevation=0.9),
}
SKIES = {"sunset": ((88, 50, 130), (250, 140, 50)), "blue sky": ((70, 130, 220), (190, 220, 245)),
         "night sky": ((8, 10, 32), (45, 40, 95)), "grey sky": ((120, 126, 132), (190, 194, 198))}  # fmt: skip
CAMERA_MOVES = ("left", "right", "closer", "away", "up", "down")
EDIT_NAMES = ("insert", "remove", "recolour", "retexture", "replace", "relight", "background", "floor", "camera", "action",
         "collapse", "spare", "float")  # fmt: skip
ROOM_KINDS = {
    "collapse": ("tower",),
    "spare": ("strike",),
    "float": ("loose", "tower"),
    "action": ("person",),
}
DEFAULT_ROOM_KINDS = ("loose", "loose", "tower", "strike", "person")


@dataclasses.dataclass(frozen=True)
class Edit:
    """An intervention on a room.

    Attributes:
      name: A name of EDIT_NAMES.
      target_room: The edited room.
      slots: Values for the fields of the instruction templates.
      body_keys: Keys of the bodies that the instruction names.
      pixel_owners: Further pixel owners (`model.FLOOR` etc.) that the instruction names.
      changes_everything: Whether every pixel may change.
      is_resimulated: Whether the paths of the edited room are simulated again.
      source_room: The source's room, where it differs from the room as sampled.
    """

    name: str
    target_room: Room
    slots: dict
    body_keys: tuple[int, ...] = ()
    pixel_owners: tuple[int, ...] = ()
    changes_everything: bool = False
    is_resimulated: bool = False
    source_room: Room | None = None


def choose_edit(
    name: str, room: Room, rng: np.random.Generator, paths: dict[int, np.ndarray]
) -> Edit | Rejected:
    """Choose a random edit of the named kind.

    Args:
      name: A name of EDIT_NAMES.
      room: The room as sampled.
      rng: Source of randomness.
      paths: Body key → path in `room`, see `simulate.simulate_paths`.

    Returns:
      The edit, or a rejection where this room does not allow it.
    """
    return _PROPOSE[name](room, rng, paths)


def _propose_recolor(room: Room, rng, paths) -> Edit | Rejected:
    old = _sample_body(room, rng)
    used_colors = {body.color for body in room.bodies}
    colors = [
        c
        for c in COLORS
        if c not in used_colors and draw.stands_out(c, room) and _is_distant_color(c, old.color)
    ]
    if not colors:
        return Rejected("no colour differs enough")
    new = dataclasses.replace(old, color=_sample_option(rng, colors))
    return Edit(
        "recolour",
        room.with_body(new),
        {"object": old.name, "shape": old.shape, "colour": new.color},
        (old.key,),
    )


def _propose_retexture(room: Room, rng, paths) -> Edit | Rejected:
    old = _sample_body(room, rng)
    materials = [
        c for c in sf.BODY_MATERIALS if np.linalg.norm(sf.mean_color(c) - np.array(COLORS[old.color])) > 60
    ]
    new = dataclasses.replace(old, material=_sample_option(rng, materials))
    slots = {"object": old.name, "shape": old.shape, "material": sf.MATERIALS[new.material][0]}
    return Edit("retexture", room.with_body(new), slots, (old.key,))


def _propose_removal(room: Room, rng, paths) -> Edit | Rejected:
    # Bodies that bear or strike another are left to the counterfactual edits: the others' paths depend on them.
    separate_bodies = [body for body in room.bodies if _is_isolated(body, room, paths)]
    if not separate_bodies:
        return Rejected("nothing stands alone")
    old = separate_bodies[int(rng.integers(len(separate_bodies)))]
    return Edit("remove", room.without(old.key), {"object": old.name}, (old.key,))


def _propose_insertion(room: Room, rng, paths) -> Edit | Rejected:
    used_colors = {body.color for body in room.bodies}
    colors = [c for c in COLORS if c not in used_colors and draw.stands_out(c, room)]
    shapes = [s for s in SHAPES if s not in {body.shape for body in room.bodies}]
    if not colors or not shapes:
        return Rejected("no colour differs enough")
    size = _sample_option(rng, tuple(draw.SIZES))
    radius = draw.SIZES[size]
    # Left and right are the picture's, at the first frame.
    cos, sin = np.cos(room.camera.azimuth[0]), np.sin(room.camera.azimuth[0])
    for place in rng.permutation(list(draw.POSITIONS)).tolist():
        x, y = draw.POSITIONS[place]
        position = (float(cos * x - sin * y), float(sin * x + cos * y))
        if draw.is_free(position, radius, room, paths):
            shape = _sample_option(rng, shapes)
            height = draw.half_height(shape, radius)
            key = 1 + max((body.key for body in room.bodies), default=-1)
            new = Body(
                key,
                shape,
                _sample_option(rng, colors),
                radius,
                height,
                (*position, height),
                room.camera.azimuth[0],
            )
            target_room = dataclasses.replace(room, bodies=(*room.bodies, new))
            return Edit("insert", target_room, {"new": new.name, "size": size, "place": place}, (key,))
    return Rejected("no free place")


def _propose_replacement(room: Room, rng, paths) -> Edit | Rejected:
    separate_bodies = [
        body
        for body in room.bodies
        if _is_isolated(body, room, paths) and abs(body.position[2] - body.height) < 0.01
    ]
    if not separate_bodies:
        return Rejected("nothing stands alone")
    old = separate_bodies[int(rng.integers(len(separate_bodies)))]
    shapes = [s for s in SHAPES if s not in {body.shape for body in room.bodies}]
    other_colors = {body.color for body in room.bodies if body is not old}
    colors = [c for c in COLORS if c not in other_colors and draw.stands_out(c, room)]
    if not shapes or not colors:
        return Rejected("no colour differs enough")
    shape, color = _sample_option(rng, shapes), _sample_option(rng, colors)
    height = draw.half_height(shape, old.radius)
    position = (*old.position[:2], old.position[2] - old.height + height)  # stands where the old one stood
    new = dataclasses.replace(old, shape=shape, color=color, height=height, position=position)
    return Edit("replace", room.with_body(new), {"object": old.name, "new": new.name}, (old.key,))


def _propose_relighting(room: Room, rng, paths) -> Edit | Rejected:
    name = _sample_option(rng, tuple(LIGHTS))
    change = dict(LIGHTS[name])
    if "azimuth" in change:
        if abs(room.light.azimuth - change["azimuth"]) < 0.6:
            return Rejected("the light comes from there already")
        change["azimuth"] += room.camera.azimuth[0]
    light: Light = dataclasses.replace(room.light, **change)
    return Edit("relight", dataclasses.replace(room, light=light), {"light": name}, changes_everything=True)


def _propose_background(room: Room, rng, paths) -> Edit | Rejected:
    pixel_owners = (model.WALLS, model.SKY)
    # Outdoors, walls would block the sun and change the light too.
    if room.light.sun or rng.random() < 0.5:
        name = _sample_option(rng, tuple(SKIES))
        # The lamp or sun stays: only the surfaces behind the bodies change.
        target_room = dataclasses.replace(
            room, walls=None, light=dataclasses.replace(room.light, sky=SKIES[name])
        )
        return Edit(
            "background",
            target_room,
            {"background": f"{'the' if name == 'night sky' else 'a'} {name}"},
            pixel_owners=pixel_owners,
        )
    materials = [m for m in sf.WALLS if m != "plain" and (room.walls is None or m != room.walls.material)]
    material = _sample_option(rng, [m for m in materials if m != room.floor.material])
    target_room = dataclasses.replace(room, walls=Surface(material, int(rng.integers(1 << 16))))
    return Edit(
        "background",
        target_room,
        {"background": f"{sf.MATERIALS[material][1]} walls"},
        pixel_owners=pixel_owners,
    )


def _propose_floor(room: Room, rng, paths) -> Edit | Rejected:
    options = [
        m for m in sf.FLOORS if m != room.floor.material and (room.walls is None or m != room.walls.material)
    ]
    target_room = dataclasses.replace(
        room, floor=Surface(_sample_option(rng, options), int(rng.integers(1 << 16)))
    )
    if not all(draw.stands_out(body.color, target_room) for body in room.bodies):
        return Rejected("a thing would not stand out")
    return Edit(
        "floor",
        target_room,
        {"floor": sf.MATERIALS[target_room.floor.material][1]},
        pixel_owners=(model.FLOOR,),
    )


def _propose_camera_move(room: Room, rng, paths) -> Edit | Rejected:
    """Hold the source's camera still and move the target's from the same start."""
    move = _sample_option(rng, CAMERA_MOVES)
    old = room.camera
    az, el, distance = old.azimuth[0], old.elevation[0], old.distance[0]
    changes = {
        "left": {"azimuth": (az, az - 0.55)},
        "right": {"azimuth": (az, az + 0.55)},
        "closer": {"distance": (distance, 0.62 * distance)},
        "away": {"distance": (distance, min(1.45 * distance, 3.95))},
        "up": {"elevation": (el, el + 0.5)},
        "down": {"elevation": (el, max(0.06, el - 0.4))},
    }[move]
    static_camera = Camera((az, az), (el, el), (distance, distance), 0.0, old.target, old.fovy)
    target_room = dataclasses.replace(room, camera=dataclasses.replace(static_camera, **changes))
    return Edit(
        "camera",
        target_room,
        {"way": move},
        changes_everything=True,
        source_room=dataclasses.replace(room, camera=static_camera),
    )


def _propose_action(room: Room, rng, paths) -> Edit | Rejected:
    if room.figure is None:
        return Rejected("no person")
    name = _sample_option(rng, [a for a in figure.ACTIONS if a != room.figure.action])
    target_room = dataclasses.replace(room, figure=dataclasses.replace(room.figure, action=name))
    slots = {
        "action": figure.ACTIONS[name][0],
        "doing": figure.ACTIONS[name][1],
        "old": figure.ACTIONS[room.figure.action][1],
    }
    return Edit("action", target_room, slots, pixel_owners=(model.PERSON,))


def _propose_collapse(room: Room, rng, paths) -> Edit | Rejected:
    if len(room.bodies) < 2:
        return Rejected("nothing stands on anything")
    support = room.bodies[0]
    above = room.bodies[1]
    return Edit(
        "collapse", room.without(0), {"object": support.name, "above": above.name}, (0,), is_resimulated=True
    )


def _propose_spare(room: Room, rng, paths) -> Edit | Rejected:
    striker = room.bodies[-1]
    strike_distance = max(simulate.max_displacement(paths[body.key]) for body in room.bodies[:-1])
    if striker.shape != "ball" or strike_distance < 0.1:
        return Rejected("the ball strikes nothing")
    return Edit(
        "spare", room.without(striker.key), {"object": striker.name}, (striker.key,), is_resimulated=True
    )


def _propose_float(room: Room, rng, paths) -> Edit | Rejected:
    """Turn gravity off, with a small push that sets bodies at rest in motion."""
    bodies = tuple(
        dataclasses.replace(
            body,
            velocity=(body.velocity[0], body.velocity[1], body.velocity[2] + float(rng.uniform(0.25, 0.55))),
            spin=tuple(np.add(body.spin, rng.uniform(-0.8, 0.8, 3)).tolist()),
        )
        for body in room.bodies
    )
    target_room = dataclasses.replace(room, bodies=bodies, gravity=0.0)
    return Edit("float", target_room, {}, tuple(body.key for body in bodies), is_resimulated=True)


_PROPOSE = {
    "insert": _propose_insertion,
    "remove": _propose_removal,
    "recolour": _propose_recolor,
    "retexture": _propose_retexture,
    "replace": _propose_replacement,
    "relight": _propose_relighting,
    "background": _propose_background,
    "floor": _propose_floor,
    "camera": _propose_camera_move,
    "action": _propose_action,
    "collapse": _propose_collapse,
    "spare": _propose_spare,
    "float": _propose_float,
}


def _is_isolated(body: Body, room: Room, paths: dict) -> bool:
    """Return whether the body never comes near another."""
    a = paths[body.key]
    for other in room.bodies:
        if other is body:
            continue
        distances = np.linalg.norm(a[:, :3] - paths[other.key][:, :3], axis=1)
        if (distances < 1.1 * (max(body.radius, body.height) + max(other.radius, other.height))).any():
            return False
    return True


def _is_distant_color(a: str, b: str) -> bool:
    return float(np.linalg.norm(np.subtract(COLORS[a], COLORS[b]))) > 110


def _sample_body(room: Room, rng) -> Body:
    return room.bodies[int(rng.integers(len(room.bodies)))]


def _sample_option(rng, options):
    return options[int(rng.integers(len(options)))]
