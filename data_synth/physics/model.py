"""World → MuJoCo model: MJCF text with inline meshes, and textures written into the compiled model.

World → **model** → simulate.py (free bodies) or render.py (placed bodies). Nothing is read from disk. `build` makes one of
two variants: for simulation every thing has a free joint; for pictures things and limbs are mocap bodies, which stand where
they are put. Statistics and clip planes are fixed, not derived from the contents, so that a World and its edited twin are
rasterised alike.
"""

from __future__ import annotations

import dataclasses
import os

import numpy as np

from data_synth.physics import figure as fg
from data_synth.physics import surfaces as sf
from data_synth.physics.world import COLORS, ROOM_HALF_WIDTH, WALL_HEIGHT, Body, Room, Surface
from v2v.errors import InputError

SKY, FLOOR, WALLS, PERSON, FIRST_BODY = 0, 1, 2, 3, 10  # owners of pixels; thing k is THINGS + k
ANTIALIASING_SAMPLES = 4  # of antialiasing


@dataclasses.dataclass(frozen=True)
class CompiledRoom:
    """model: MjModel. owner: uint8 [geoms], whose each geom is. bodies: thing key → body id. limbs: mocap ids in the order
    of figure.LIMBS, then the head."""

    model: object
    owner: np.ndarray
    bodies: dict[int, int]
    limbs: tuple[int, ...]


def load_mujoco():
    """The package, set up for pictures without a screen.

    Raises:
      InputError: it is not installed, or finds no OpenGL.
    """
    os.environ.setdefault("MUJOCO_GL", "egl")
    os.environ.setdefault("LP_NUM_THREADS", "0")  # Mesa's software renderer: a worker is one core's work
    try:
        import mujoco as package
    except ImportError as error:
        raise InputError(
            f"physics scenes: expected the package mujoco, got '{error}'; pip install 'v2v-edit[scenes]', and for "
            "OpenGL apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri (or set MUJOCO_GL=osmesa)"
        ) from None
    return package


def build_model(world: Room, H: int, W: int, *, free: bool) -> CompiledRoom:
    """Compiles the world for pictures of H x W pixels; `free`: things obey physics, else they stand where they are put."""
    mj = load_mujoco()
    model = mj.MjModel.from_xml_string(_mjcf(world, H, W, free))
    for name, picture in _pictures(world).items():
        _paint(mj, model, name, picture)
    owner = np.zeros(model.ngeom, np.uint8)
    for g in range(model.ngeom):
        kind, _, key = model.geom(g).name.partition(" ")
        owner[g] = {"floor": FLOOR, "wall": WALLS, "limb": PERSON}.get(kind) or FIRST_BODY + int(key)
    bodies = {t.key: model.body(f"thing {t.key}").id for t in world.things}
    limbs = ()
    if world.figure and not free:
        limbs = tuple(int(model.body(f"limb {i}").mocapid[0]) for i in range(len(fg.LIMBS) + 1))
    return CompiledRoom(model, owner, bodies, limbs)


def _mjcf(world: Room, H: int, W: int, free: bool) -> str:
    light, air = world.light, world.walls is None
    # Inside, the lamp hangs between the walls, so that none of them shades the floor; in the open it is the sun.
    way = np.array(
        [
            np.sin(light.azimuth) * np.cos(light.elevation),
            -np.cos(light.azimuth) * np.cos(light.elevation),
            np.sin(light.elevation),
        ]
    )
    kind = 'type="directional"' if light.sun else 'type="spot" cutoff="62" exponent="0.6"'
    top, bottom = (_rgb(c) for c in light.sky)
    parts = [
        '<mujoco><compiler angle="radian"/>',
        f'<option timestep="0.004" integrator="implicitfast" cone="elliptic" gravity="0 0 {-world.gravity}"/>',
        '<statistic extent="4" center="0 0 0.4" meansize="0.3"/>',
        f'<visual><global offwidth="{W}" offheight="{H}" fovy="{world.camera.fovy}"/>',
        f'<quality shadowsize="{_shadow_map(H, W)}" offsamples="{ANTIALIASING_SAMPLES}"/>',
        '<map znear="0.02" zfar="10" shadowclip="0.6" shadowscale="0.45"/>',
        f'<headlight ambient="{_nums(light.ambient)}" diffuse="0.06 0.06 0.06" specular="0 0 0"/></visual>',
        f'<asset><texture type="skybox" builtin="gradient" width="64" height="384" rgb1="{top}" rgb2="{bottom}"/>',
        _material("floor", world.floor, 0.5, "2d"),
        "" if air else _material("walls", world.walls, 0.5, "2d"),
    ]
    parts += [_thing_assets(t) for t in world.things]
    parts.append("</asset><worldbody>")
    parts.append(
        f'<light {kind} pos="{_nums(way * light.distance)}" dir="{_nums(-way)}" diffuse="{_nums(light.key)}" '
        f'specular="0.3 0.3 0.3" castshadow="true"/>'
    )
    # A metre between the lines of the grid that a plane is drawn with: ten times as fine, it costs as much as all the rest.
    # Nothing is below the floor or behind the walls, and a surface that casts no shadow casts none on itself.
    parts.append(
        '<geom name="floor" type="plane" size="30 30 1" castshadow="false" material="floor" friction="0.7 0.005 0.0005"/>'
    )
    if not air:
        for i, (x, y) in enumerate(((0, 1), (1, 0), (-1, 0), (0, -1))):
            size = f"{ROOM_HALF_WIDTH if y else 0.05} {ROOM_HALF_WIDTH if x else 0.05} {WALL_HEIGHT / 2}"
            parts.append(
                f'<geom name="wall {i}" type="box" size="{size}" pos="{x * ROOM_HALF_WIDTH} {y * ROOM_HALF_WIDTH} {WALL_HEIGHT / 2}" '
                'castshadow="false" material="walls"/>'
            )
    parts += [_thing_body(t, free) for t in world.things]
    if world.figure and not free:
        parts.append(_person(world))
    parts.append("</worldbody></mujoco>")
    return "".join(parts)


def _shadow_map(H: int, W: int) -> int:
    """Side of the shadow map: its cost does not shrink with the picture by itself."""
    return 2048 if min(H, W) >= 256 else 1024 if min(H, W) >= 96 else 512


def _thing_assets(t: Body) -> str:
    out = ""
    if t.coat:
        out += _material(f"thing {t.key}", Surface(t.coat, t.key), 0.0, "cube")
    else:
        out += f'<material name="thing {t.key}" rgba="{_rgb(COLORS[t.colour])} 1" specular="0.4" shininess="0.5"/>'
    if t.shape in ("cone", "pyramid"):
        n = 40 if t.shape == "cone" else 4
        a = 2 * np.pi * (np.arange(n) + 0.5) / n
        r = t.radius * (1 if t.shape == "cone" else 2**0.5)
        rim = np.stack([r * np.cos(a), r * np.sin(a), np.full(n, -t.height)], 1)
        points = np.concatenate([rim, [[0, 0, t.height]]])
        out += f'<mesh name="mesh {t.key}" vertex="{_nums(points.ravel())}"/>'
    return out


def _thing_body(t: Body, free: bool) -> str:
    r, h = t.radius, t.height
    shape = {
        "ball": f'type="sphere" size="{r}"',
        "box": f'type="box" size="{r} {r} {h}"',
        "cylinder": f'type="cylinder" size="{r} {h}"',
        "capsule": f'type="capsule" size="{r} {max(h - r, 0.01)}"',
        "egg": f'type="ellipsoid" size="{r} {r} {h}"',
    }.get(t.shape, f'type="mesh" mesh="mesh {t.key}"')
    roll = (
        'condim="6" friction="0.7 0.01 0.002"'
        if t.shape in ("ball", "egg", "capsule")
        else 'friction="0.7 0.01 0.001"'
    )
    head = f'<body name="thing {t.key}" pos="{_nums(t.place)}"' + (
        "><freejoint/>" if free else ' mocap="true">'
    )
    return f'{head}<geom name="thing {t.key}" {shape} density="{t.density}" {roll} material="thing {t.key}"/></body>'


def _person(world: Room) -> str:
    colours = {
        "shirt": COLORS[world.figure.shirt],
        "trousers": COLORS[world.figure.trousers],
        "skin": fg.SKIN_COLOR,
    }
    first = fg.compute_joints(world.figure, 1, 1.0)[0]
    out = []
    for i, (a, b, radius, part) in enumerate(fg.LIMBS):
        half = np.linalg.norm(first[fg.JOINTS.index(a)] - first[fg.JOINTS.index(b)]) / 2
        out.append(
            f'<body name="limb {i}" mocap="true"><geom name="limb {i}" type="capsule" size="{radius} {half}" '
            f'rgba="{_rgb(colours[part])} 1"/></body>'
        )
    i = len(fg.LIMBS)
    out.append(
        f'<body name="limb {i}" mocap="true"><geom name="limb {i}" type="sphere" size="{fg.HEAD_RADIUS}" rgba="{_rgb(fg.SKIN_COLOR)} 1"/></body>'
    )
    return "".join(out)


def _material(name: str, surface: Surface, repeat: float, kind: str) -> str:
    reflectance, specular, shininess = (
        (0.0, 0.1, 0.1) if surface.material == "plain" else sf.MATERIALS[surface.material][3]
    )
    n = sf.TEXELS
    size = f'width="{n}" height="{6 * n if kind == "cube" else n}"'
    texture = f'<texture name="{name}" type="{kind}" builtin="flat" {size} rgb1="1 1 1"/>'
    tiled = f'texrepeat="{repeat} {repeat}" texuniform="true"' if repeat else ""
    return (
        f'{texture}<material name="{name}" texture="{name}" {tiled} reflectance="{reflectance if name == "floor" else 0}" '
        f'specular="{specular}" shininess="{shininess}"/>'
    )


def _pictures(world: Room) -> dict[str, np.ndarray]:
    """Texture name → uint8 [n, n, 3]."""
    out = {"floor": sf.render_material(world.floor.material, world.floor.seed, world.floor.rgb)}
    if world.walls is not None:
        out["walls"] = sf.render_material(world.walls.material, world.walls.seed, world.walls.rgb)
    out |= {f"thing {t.key}": sf.render_material(t.coat, t.key) for t in world.things if t.coat}
    return out


def _paint(mj, model, name: str, picture: np.ndarray) -> None:
    i = model.texture(name).id
    at, count = model.tex_adr[i], model.tex_height[i] * model.tex_width[i] * model.tex_nchannel[i]
    faces = count // picture.size  # a cube's six faces lie one after the other
    model.tex_data[at : at + count] = np.tile(picture.ravel(), faces)


def _rgb(colour) -> str:
    return _nums(np.asarray(colour) / 255)


def _nums(values) -> str:
    return " ".join(f"{float(v):.6g}" for v in values)
