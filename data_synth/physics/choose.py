"""Which intervention: a room, and what a seed decides to do with it.

World → **Edit** (edited World, words for the sentence, what it names) → edits.py. One function an edit; each returns the
reason when this room does not allow it. The choices see to it that the sentence fixes the outcome and the outcome can be
seen: colours differ from the old one, from the other things' and from what they stand before; places are free.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from data_synth.physics import draw, figure, model, simulate
from data_synth.physics import surfaces as sf
from data_synth.physics.world import COLORS, SHAPES, Body, Camera, Light, Room, Surface

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
    """name: of TURNS. slots: words for the sentence. own: keys of the things it names; `surface`: pixels' owners it
    names besides; whole: it changes everything. again: the paths must be simulated again.
    before: the source, where it is not the room as drawn."""

    name: str
    after: Room
    slots: dict
    own: tuple[int, ...] = ()
    surface: tuple[int, ...] = ()
    whole: bool = False
    again: bool = False
    before: Room | None = None


def choose_edit(name: str, room: Room, rng: np.random.Generator, paths: dict[int, np.ndarray]) -> Edit | str:
    """A random edit of the named kind, or why there is none; `paths`: of the room's things."""
    return _CHOOSE[name](room, rng, paths)


def _recolour(room: Room, rng, paths) -> Edit | str:
    old = _any(room, rng)
    taken = {t.colour for t in room.things}
    colours = [c for c in COLORS if c not in taken and draw.stands_out(c, room) and _far(c, old.colour)]
    if not colours:
        return "no colour differs enough"
    new = dataclasses.replace(old, colour=_pick(rng, colours))
    return Edit(
        "recolour",
        room.exchanged(new),
        {"object": old.name, "shape": old.shape, "colour": new.colour},
        (old.key,),
    )


def _retexture(room: Room, rng, paths) -> Edit | str:
    old = _any(room, rng)
    coats = [c for c in sf.COATS if np.linalg.norm(sf.mean_color(c) - np.array(COLORS[old.colour])) > 60]
    new = dataclasses.replace(old, coat=_pick(rng, coats))
    slots = {"object": old.name, "shape": old.shape, "material": sf.MATERIALS[new.coat][0]}
    return Edit("retexture", room.exchanged(new), slots, (old.key,))


def _remove(room: Room, rng, paths) -> Edit | str:
    # What bears or strikes another is for the counterfactual edits: without it the others could not do what they do.
    apart = [t for t in room.things if _alone(t, room, paths)]
    if not apart:
        return "nothing stands alone"
    old = apart[int(rng.integers(len(apart)))]
    return Edit("remove", room.without(old.key), {"object": old.name}, (old.key,))


def _insert(room: Room, rng, paths) -> Edit | str:
    taken = {t.colour for t in room.things}
    colours = [c for c in COLORS if c not in taken and draw.stands_out(c, room)]
    shapes = [s for s in SHAPES if s not in {t.shape for t in room.things}]
    if not colours or not shapes:
        return "no colour differs enough"
    size = _pick(rng, tuple(draw.SIZES))
    radius = draw.SIZES[size]
    # Left and right are the picture's, at the first frame.
    cos, sin = np.cos(room.camera.azimuth[0]), np.sin(room.camera.azimuth[0])
    for place in rng.permutation(list(draw.POSITIONS)).tolist():
        x, y = draw.POSITIONS[place]
        at = (float(cos * x - sin * y), float(sin * x + cos * y))
        if draw.is_free(at, radius, room, paths):
            shape = _pick(rng, shapes)
            high = draw.half_height(shape, radius)
            key = 1 + max((t.key for t in room.things), default=-1)
            new = Body(key, shape, _pick(rng, colours), radius, high, (*at, high), room.camera.azimuth[0])
            after = dataclasses.replace(room, things=(*room.things, new))
            return Edit("insert", after, {"new": new.name, "size": size, "place": place}, (key,))
    return "no free place"


def _replace(room: Room, rng, paths) -> Edit | str:
    apart = [t for t in room.things if _alone(t, room, paths) and abs(t.place[2] - t.height) < 0.01]
    if not apart:
        return "nothing stands alone"
    old = apart[int(rng.integers(len(apart)))]
    shapes = [s for s in SHAPES if s not in {t.shape for t in room.things}]
    others = {t.colour for t in room.things if t is not old}
    colours = [c for c in COLORS if c not in others and draw.stands_out(c, room)]
    if not shapes or not colours:
        return "no colour differs enough"
    shape, colour = _pick(rng, shapes), _pick(rng, colours)
    high = draw.half_height(shape, old.radius)
    place = (*old.place[:2], old.place[2] - old.height + high)  # its foot where the old one's was
    new = dataclasses.replace(old, shape=shape, colour=colour, height=high, place=place)
    return Edit("replace", room.exchanged(new), {"object": old.name, "new": new.name}, (old.key,))


def _relight(room: Room, rng, paths) -> Edit | str:
    name = _pick(rng, tuple(LIGHTS))
    change = dict(LIGHTS[name])
    if "azimuth" in change:
        if abs(room.light.azimuth - change["azimuth"]) < 0.6:
            return "the light comes from there already"
        change["azimuth"] += room.camera.azimuth[0]
    light: Light = dataclasses.replace(room.light, **change)
    return Edit("relight", dataclasses.replace(room, light=light), {"light": name}, whole=True)


def _background(room: Room, rng, paths) -> Edit | str:
    owners = (model.WALLS, model.SKY)
    # In the open, walls would stand in the sun's way and change the light too.
    if room.light.sun or rng.random() < 0.5:
        name = _pick(rng, tuple(SKIES))
        # The lamp or sun stays what it was: only what is behind the things changes.
        after = dataclasses.replace(room, walls=None, light=dataclasses.replace(room.light, sky=SKIES[name]))
        return Edit(
            "background",
            after,
            {"background": f"{'the' if name == 'night sky' else 'a'} {name}"},
            surface=owners,
        )
    materials = [m for m in sf.WALLS if m != "plain" and (room.walls is None or m != room.walls.material)]
    material = _pick(rng, [m for m in materials if m != room.floor.material])
    after = dataclasses.replace(room, walls=Surface(material, int(rng.integers(1 << 16))))
    return Edit("background", after, {"background": f"{sf.MATERIALS[material][1]} walls"}, surface=owners)


def _floor(room: Room, rng, paths) -> Edit | str:
    options = [
        m for m in sf.FLOORS if m != room.floor.material and (room.walls is None or m != room.walls.material)
    ]
    after = dataclasses.replace(room, floor=Surface(_pick(rng, options), int(rng.integers(1 << 16))))
    if not all(draw.stands_out(t.colour, after) for t in room.things):
        return "a thing would not stand out"
    return Edit("floor", after, {"floor": sf.MATERIALS[after.floor.material][1]}, surface=(model.FLOOR,))


def _camera(room: Room, rng, paths) -> Edit | str:
    """The source's camera stands still; the twin's begins there and moves."""
    way = _pick(rng, CAMERA_MOVES)
    old = room.camera
    az, el, far = old.azimuth[0], old.elevation[0], old.distance[0]
    ends = {
        "left": {"azimuth": (az, az - 0.55)},
        "right": {"azimuth": (az, az + 0.55)},
        "closer": {"distance": (far, 0.62 * far)},
        "away": {"distance": (far, min(1.45 * far, 3.95))},
        "up": {"elevation": (el, el + 0.5)},
        "down": {"elevation": (el, max(0.06, el - 0.4))},
    }[way]
    still = Camera((az, az), (el, el), (far, far), 0.0, old.target, old.fovy)
    after = dataclasses.replace(room, camera=dataclasses.replace(still, **ends))
    return Edit("camera", after, {"way": way}, whole=True, before=dataclasses.replace(room, camera=still))


def _action(room: Room, rng, paths) -> Edit | str:
    name = _pick(rng, [a for a in figure.ACTIONS if a != room.figure.action])
    after = dataclasses.replace(room, figure=dataclasses.replace(room.figure, action=name))
    slots = {
        "action": figure.ACTIONS[name][0],
        "doing": figure.ACTIONS[name][1],
        "old": figure.ACTIONS[room.figure.action][1],
    }
    return Edit("action", after, slots, surface=(model.PERSON,))


def _collapse(room: Room, rng, paths) -> Edit | str:
    if len(room.things) < 2:
        return "nothing stands on anything"
    support = room.things[0]
    above = room.things[1]
    return Edit("collapse", room.without(0), {"object": support.name, "above": above.name}, (0,), again=True)


def _spare(room: Room, rng, paths) -> Edit | str:
    striker = room.things[-1]
    hit = max(simulate.max_displacement(paths[t.key]) for t in room.things[:-1])
    if striker.shape != "ball" or hit < 0.1:
        return "the ball strikes nothing"
    return Edit("spare", room.without(striker.key), {"object": striker.name}, (striker.key,), again=True)


def _float(room: Room, rng, paths) -> Edit | str:
    """Gravity off, and a small push, without which nothing would happen to what is at rest."""
    things = tuple(
        dataclasses.replace(
            t,
            velocity=(t.velocity[0], t.velocity[1], t.velocity[2] + float(rng.uniform(0.25, 0.55))),
            spin=tuple(np.add(t.spin, rng.uniform(-0.8, 0.8, 3)).tolist()),
        )
        for t in room.things
    )
    after = dataclasses.replace(room, things=things, gravity=0.0)
    return Edit("float", after, {}, tuple(t.key for t in things), again=True)


_CHOOSE = {name: globals()[f"_{name}"] for name in EDIT_NAMES}


def _alone(t: Body, room: Room, paths: dict) -> bool:
    """Whether it never comes near another thing."""
    a = paths[t.key]
    for other in room.things:
        if other is t:
            continue
        away = np.linalg.norm(a[:, :3] - paths[other.key][:, :3], axis=1)
        if (away < 1.1 * (max(t.radius, t.height) + max(other.radius, other.height))).any():
            return False
    return True


def _far(a: str, b: str) -> bool:
    return float(np.linalg.norm(np.subtract(COLORS[a], COLORS[b]))) > 110


def _any(room: Room, rng) -> Body:
    return room.things[int(rng.integers(len(room.things)))]


def _pick(rng, options):
    return options[int(rng.integers(len(options)))]
