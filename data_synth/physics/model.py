"""MuJoCo models of rooms: MJCF text with inline meshes, and textures written into the compiled model.

Room → **model** → simulate.py (free bodies) or render.py (placed bodies). No file is read. `build_model` compiles one of
two variants: for simulation every body has a free joint; for pictures bodies and limbs are mocap bodies with prescribed
poses. Statistics and clip planes are fixed and not derived from the contents, so that a Room and its edited twin are
rasterized alike.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import numpy as np

from data_synth.physics import figure as fg
from data_synth.physics import surfaces as sf
from data_synth.physics.world import COLORS, ROOM_HALF_WIDTH, WALL_HEIGHT, Body, Figure, Room, Surface
from v2v.errors import InputError

SKY, FLOOR, WALLS, PERSON, FIRST_BODY = (
    0,
    1,
    2,
    3,
    10,
)  # pixel owners; that of the body with key k is FIRST_BODY + k
ANTIALIASING_SAMPLES = 4  # of antialiasing


@dataclasses.dataclass(frozen=True)
class CompiledRoom:
    """A compiled room.

    Attributes:
      model: MjModel.
      geom_owners: uint8 [geoms], pixel owner of each geom (SKY, FLOOR, WALLS, PERSON, FIRST_BODY + key).
      body_ids: Body key → MuJoCo body id.
      limb_ids: Mocap ids in the order of `figure.LIMBS`, then the head.
    """

    model: Any
    geom_owners: np.ndarray
    body_ids: dict[int, int]
    limb_ids: tuple[int, ...]


def load_mujoco() -> Any:
    """Import MuJoCo, set up for rendering without a screen.

    Raises:
      InputError: MuJoCo is not installed, or finds no OpenGL.
    """
    os.environ.setdefault("MUJOCO_GL", "egl")
    os.environ.setdefault(
        "LP_NUM_THREADS", "0"
    )  # one thread for Mesa's software renderer: each worker uses one core
    try:
        import mujoco as package
    except ImportError as error:
        raise InputError(
            f"physics scenes: expected the package mujoco, got '{error}'; pip install 'v2v-edit[scenes]', and for "
            "OpenGL apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri (or set MUJOCO_GL=osmesa)"
        ) from None
    return package


def build_model(room: Room, H: int, W: int, *, has_free_joints: bool) -> CompiledRoom:
    """Compile the room.

    Args:
      room: The room.
      H: Picture height in pixels.
      W: Picture width in pixels.
      has_free_joints: Whether bodies obey physics; otherwise their poses are prescribed.
    """
    mj = load_mujoco()
    model = mj.MjModel.from_xml_string(_mjcf(room, H, W, has_free_joints))
    for name, picture in _material_images(room).items():
        _write_texture(mj, model, name, picture)
    geom_owners = np.zeros(model.ngeom, np.uint8)
    for g in range(model.ngeom):
        kind, _, key = model.geom(g).name.partition(" ")
        geom_owners[g] = {"floor": FLOOR, "wall": WALLS, "limb": PERSON}.get(kind) or FIRST_BODY + int(key)
    body_ids = {body.key: model.body(f"thing {body.key}").id for body in room.bodies}
    limb_ids = ()
    if room.figure and not has_free_joints:
        limb_ids = tuple(int(model.body(f"limb {i}").mocapid[0]) for i in range(len(fg.LIMBS) + 1))
    return CompiledRoom(model, geom_owners, body_ids, limb_ids)


def _mjcf(room: Room, H: int, W: int, has_free_joints: bool) -> str:
    light, is_outdoor = room.light, room.walls is None
    # Indoors, the lamp hangs between the walls, so that none of them shades the floor; outdoors it is the sun.
    direction = np.array(
        [
            np.sin(light.azimuth) * np.cos(light.elevation),
            -np.cos(light.azimuth) * np.cos(light.elevation),
            np.sin(light.elevation),
        ]
    )
    kind = 'type="directional"' if light.sun else 'type="spot" cutoff="62" exponent="0.6"'
    top, bottom = (_format_rgb(c) for c in light.sky)
    parts = [
        '<mujoco><compiler angle="radian"/>',
        f'<option timestep="0.004" integrator="implicitfast" cone="elliptic" gravity="0 0 {-room.gravity}"/>',
        '<statistic extent="4" center="0 0 0.4" meansize="0.3"/>',
        f'<visual><global offwidth="{W}" offheight="{H}" fovy="{room.camera.fovy}"/>',
        f'<quality shadowsize="{_shadow_map(H, W)}" offsamples="{ANTIALIASING_SAMPLES}"/>',
        '<map znear="0.02" zfar="10" shadowclip="0.6" shadowscale="0.45"/>',
        f'<headlight ambient="{_format_numbers(light.ambient)}" diffuse="0.06 0.06 0.06" specular="0 0 0"/></visual>',
        f'<asset><texture type="skybox" builtin="gradient" width="64" height="384" rgb1="{top}" rgb2="{bottom}"/>',
        _material("floor", room.floor, 0.5, "2d"),
        _material("walls", room.walls, 0.5, "2d") if room.walls else "",
    ]
    parts += [_body_assets(body) for body in room.bodies]
    parts.append("</asset><worldbody>")
    parts.append(
        f'<light {kind} pos="{_format_numbers(direction * light.distance)}" dir="{_format_numbers(-direction)}" diffuse="{_format_numbers(light.key)}" '
        f'specular="0.3 0.3 0.3" castshadow="true"/>'
    )
    # The plane is drawn as a grid of 1 m; a grid ten times as fine costs as much as the rest of the frame.
    # Floor and walls cast no shadow: nothing is behind them, and they would shade themselves.
    parts.append(
        '<geom name="floor" type="plane" size="30 30 1" castshadow="false" material="floor" friction="0.7 0.005 0.0005"/>'
    )
    if not is_outdoor:
        for i, (x, y) in enumerate(((0, 1), (1, 0), (-1, 0), (0, -1))):
            size = f"{ROOM_HALF_WIDTH if y else 0.05} {ROOM_HALF_WIDTH if x else 0.05} {WALL_HEIGHT / 2}"
            parts.append(
                f'<geom name="wall {i}" type="box" size="{size}" pos="{x * ROOM_HALF_WIDTH} {y * ROOM_HALF_WIDTH} {WALL_HEIGHT / 2}" '
                'castshadow="false" material="walls"/>'
            )
    parts += [_body_element(body, has_free_joints) for body in room.bodies]
    if room.figure and not has_free_joints:
        parts.append(_person_elements(room.figure))
    parts.append("</worldbody></mujoco>")
    return "".join(parts)


def _shadow_map(H: int, W: int) -> int:
    """Return the side of the shadow map, scaled with the picture as MuJoCo does not do it."""
    return 2048 if min(H, W) >= 256 else 1024 if min(H, W) >= 96 else 512


def _body_assets(body: Body) -> str:
    out = ""
    if body.material:
        out += _material(f"thing {body.key}", Surface(body.material, body.key), 0.0, "cube")
    else:
        out += f'<material name="thing {body.key}" rgba="{_format_rgb(COLORS[body.color])} 1" specular="0.4" shininess="0.5"/>'
    if body.shape in ("cone", "pyramid"):
        n = 40 if body.shape == "cone" else 4
        a = 2 * np.pi * (np.arange(n) + 0.5) / n
        r = body.radius * (1 if body.shape == "cone" else 2**0.5)
        rim = np.stack([r * np.cos(a), r * np.sin(a), np.full(n, -body.height)], 1)
        points = np.concatenate([rim, [[0, 0, body.height]]])
        out += f'<mesh name="mesh {body.key}" vertex="{_format_numbers(points.ravel())}"/>'
    return out


def _body_element(body: Body, has_free_joints: bool) -> str:
    r, h = body.radius, body.height
    geom_shape = {
        "ball": f'type="sphere" size="{r}"',
        "box": f'type="box" size="{r} {r} {h}"',
        "cylinder": f'type="cylinder" size="{r} {h}"',
        "capsule": f'type="capsule" size="{r} {max(h - r, 0.01)}"',
        "egg": f'type="ellipsoid" size="{r} {r} {h}"',
    }.get(body.shape, f'type="mesh" mesh="mesh {body.key}"')
    contact = (
        'condim="6" friction="0.7 0.01 0.002"'
        if body.shape in ("ball", "egg", "capsule")
        else 'friction="0.7 0.01 0.001"'
    )
    opening_tag = f'<body name="thing {body.key}" pos="{_format_numbers(body.position)}"' + (
        "><freejoint/>" if has_free_joints else ' mocap="true">'
    )
    return f'{opening_tag}<geom name="thing {body.key}" {geom_shape} density="{body.density}" {contact} material="thing {body.key}"/></body>'


def _person_elements(figure: Figure) -> str:
    colors = {
        "shirt": COLORS[figure.shirt],
        "trousers": COLORS[figure.trousers],
        "skin": fg.SKIN_COLOR,
    }
    initial_joints = fg.compute_joints(figure, 1, 1.0)[0]
    out = []
    for i, (a, b, radius, part) in enumerate(fg.LIMBS):
        half = np.linalg.norm(initial_joints[fg.JOINTS.index(a)] - initial_joints[fg.JOINTS.index(b)]) / 2
        out.append(
            f'<body name="limb {i}" mocap="true"><geom name="limb {i}" type="capsule" size="{radius} {half}" '
            f'rgba="{_format_rgb(colors[part])} 1"/></body>'
        )
    i = len(fg.LIMBS)
    out.append(
        f'<body name="limb {i}" mocap="true"><geom name="limb {i}" type="sphere" size="{fg.HEAD_RADIUS}" rgba="{_format_rgb(fg.SKIN_COLOR)} 1"/></body>'
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


def _material_images(room: Room) -> dict[str, np.ndarray]:
    """Return texture name → uint8 [n, n, 3]."""
    out = {"floor": sf.render_material(room.floor.material, room.floor.seed, room.floor.rgb)}
    if room.walls is not None:
        out["walls"] = sf.render_material(room.walls.material, room.walls.seed, room.walls.rgb)
    out |= {
        f"thing {body.key}": sf.render_material(body.material, body.key)
        for body in room.bodies
        if body.material
    }
    return out


def _write_texture(mj, model, name: str, picture: np.ndarray) -> None:
    i = model.texture(name).id
    start, count = model.tex_adr[i], model.tex_height[i] * model.tex_width[i] * model.tex_nchannel[i]
    faces = count // picture.size  # a cube's six faces follow one another
    model.tex_data[start : start + count] = np.tile(picture.ravel(), faces)


def _format_rgb(color) -> str:
    return _format_numbers(np.asarray(color) / 255)


def _format_numbers(values) -> str:
    return " ".join(f"{float(v):.6g}" for v in values)
