"""The scene: texture, objects, camera and light as plain data, and the random draw of one.

seed → **Scene** → `render.py` → video; `edits.py` turns one Scene into its edited twin. Everything is in unit
coordinates (1 = the frame's short side, origin = its centre, y down; time u in [0, 1] over the clip), so a scene
has no resolution and no frame count.

Camera at time u: centre c(u), zoom z(u), roll θ(u), each linear in a smooth s(u):
    frame = z R(-θ) (world - c)        world = R(θ) frame / z + c
"""

from __future__ import annotations

import dataclasses

import numpy as np

from data_synth.scenes import objects as ob
from data_synth.scenes import textures as tx

TEXTURE_WORDS = {"leaves": "leaf texture", "cloud": "cloud texture", "gradient": "smooth background",
                 "stripes": "striped background", "checker": "checkered background", "plain": "background"}
_KIND_ODDS = {"leaves": 0.34, "cloud": 0.26, "gradient": 0.12, "stripes": 0.07, "checker": 0.05, "plain": 0.06,
              "named": 0.10}


@dataclasses.dataclass(frozen=True)
class Camera:
    """Start and change over the clip of centre (x, y), log-zoom and roll; `ease` in [-1, 1] bends time."""

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
class Scene:
    """Everything a clip shows. `texture_name` is how captions call the background."""

    texture: tx.Texture
    texture_name: str
    objects: tuple[ob.Object, ...] = ()
    camera: Camera = Camera()
    light: Light = Light()


def sample_scene(rng: np.random.Generator, *, aspect: float = 1.0, objects: tuple[int, int] = (1, 3),
                 rich: bool = False) -> Scene:
    """Draws a scene in which every object can be seen and named.

    Args:
      rng: source of randomness.
      aspect: width / height of the frames it will be rendered to (places objects inside).
      objects: least and greatest number of objects.
      rich: a photograph-like clip: textured, stronger contrast and more colours (for photometric edits).

    Returns:
      A scene whose objects differ in colour and in shape, differ from the background, and do not overlap.
    """
    texture, name = _draw_texture(rng, rich)
    camera = _draw_camera(rng)
    angle = rng.uniform(-2.4, -0.7)  # the light comes from above
    light = Light(exposure=rng.uniform(0.85, 1.12), temperature=rng.uniform(-0.07, 0.07),
                  gradient=tuple(rng.uniform(-0.22, 0.22, 2)), vignette=rng.uniform(0, 0.3) * (rng.random() < 0.6),
                  direction=(float(np.cos(angle)), float(np.sin(angle))))
    scene = Scene(texture, name, (), camera, light)
    colours = [c for c in ob.COLOURS if visible_on(c, texture)]
    rng.shuffle(colours)
    shapes = list(rng.permutation(ob.SHAPES))
    placed: list[ob.Object] = []
    for i in range(int(rng.integers(objects[0], objects[1] + 1))):
        if i >= len(colours):
            break
        thing = _place(rng, str(shapes[i]), colours[i], placed, scene, aspect)
        if thing is None:
            break
        placed.append(thing)
    return dataclasses.replace(scene, objects=tuple(placed))


def caption(scene: Scene) -> str:
    """ "a red ball and a blue cube over a green leaf texture" """
    names = [f"{article(o.name)} {o.name}" for o in scene.objects]
    where = scene.texture_name
    ground = f"{article(where)} {where}"
    if not names:
        return ground if scene.texture.canonical else f"a moving {where}"
    things = names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]
    return f"{things} over {ground}"


def article(words: str) -> str:
    return "an" if words[0] in "aeiou" else "a"


def frame_path(obj: ob.Object, camera: Camera, T: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The object's path as the camera sees it.

    Returns:
      centre [T, 2] (x, y) in short sides from the frame's centre; radius [T] in short sides; angle [T] in radians.
    """
    u = times(T)
    at = np.asarray(obj.start) + u[:, None] * (np.asarray(obj.end) - np.asarray(obj.start))
    at = at + np.sin(2 * np.pi * u)[:, None] * np.asarray(obj.wobble)
    angle = obj.tilt + u * obj.spin
    radius = np.full(T, obj.size / 2)
    if obj.pinned:
        return at, radius, angle
    centre, zoom, roll = camera_at(camera, u)
    cos, sin = np.cos(roll), np.sin(roll)
    x, y = (at - centre).T
    seen = np.stack([x * cos + y * sin, y * cos - x * sin], 1) * zoom[:, None]
    return seen, radius * zoom, angle - roll


def camera_at(camera: Camera, u: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centre [T, 2], zoom [T], roll [T] at times u [T]; all are 0, 1, 0 in the middle of their range."""
    s = u + camera.ease * u * (1 - u) - 0.5
    (px, py), (zoom, dzoom), (roll, droll) = camera.pan, camera.zoom, camera.roll
    return np.stack([px * s, py * s], 1), np.exp(zoom + dzoom * s), roll + droll * s


def times(T: int) -> np.ndarray:
    """[T] clip times from 0 to 1."""
    return np.linspace(0, 1, T) if T > 1 else np.full(1, 0.5)


def colour_distance(a, b) -> float:
    """Distance of two RGB colours, 0..~765, with the eye's weights (a "redmean" without its square)."""
    return float(np.sqrt((np.array([2.0, 4.0, 3.0]) * (np.asarray(a, float) - np.asarray(b, float)) ** 2).sum() / 3))


def visible_on(colour: str, texture: tx.Texture) -> bool:
    """True when an object of this colour stands out: far from the background's mean and from its variation."""
    rgb = ob.COLOURS[colour]
    if texture.canonical:
        top, bottom = (np.asarray(end, float) for end in texture.ends)
        return all(colour_distance(rgb, top + f * (bottom - top)) > 85 for f in (0, 0.25, 0.5, 0.75, 1))
    spread = float(np.linalg.norm(np.asarray(texture.mix)) * 0.5)
    return colour_distance(rgb, texture.base) > 75 + spread


def inside(centre: np.ndarray, radius: np.ndarray, aspect: float, overhang: float = 0.15) -> bool:
    """True when at most `overhang` radii of the object ever leave the frame."""
    half = np.array([max(aspect, 1.0), max(1 / aspect, 1.0)]) / 2
    return bool((np.abs(centre) + (1 - overhang) * radius[:, None] <= half).all())


def apart(a: ob.Object, b: ob.Object, camera: Camera, gap: float = 0.95) -> bool:
    """True when the two (with their shadows) hardly ever touch."""
    (ca, ra, _), (cb, rb, _) = frame_path(a, camera, 7), frame_path(b, camera, 7)
    return bool((np.linalg.norm(ca - cb, axis=1) > gap * (ra + rb) + 0.03).all())


def _place(rng, shape, colour, placed, scene, aspect) -> ob.Object | None:
    half = np.array([max(aspect, 1.0), max(1 / aspect, 1.0)]) / 2
    pattern = str(rng.choice(ob.PATTERNS, p=(0.7, 0.15, 0.15)))
    for attempt in range(24):
        size_name = str(rng.choice(list(ob.SIZES), p=(0.22, 0.48, 0.3) if attempt < 8 else (0.7, 0.3, 0.0)))
        size = ob.SIZES[size_name] * rng.uniform(0.9, 1.08)
        start = rng.uniform(-1, 1, 2) * (half - size * 0.55)
        move = rng.normal(size=2)
        move *= rng.uniform(0, 0.35) / (np.linalg.norm(move) + 1e-6)
        thing = ob.Object(shape, colour, size, size_name, pattern, tuple(start - move / 2), tuple(start + move / 2),
                          wobble=tuple(rng.uniform(-0.03, 0.03, 2)), tilt=rng.uniform(-0.3, 0.3),
                          spin=rng.uniform(-0.6, 0.6) * (rng.random() < 0.6))
        centre, radius, _ = frame_path(thing, scene.camera, 7)
        if inside(centre, radius, aspect) and all(apart(thing, other, scene.camera) for other in placed):
            return thing
    return None


def _draw_camera(rng: np.random.Generator) -> Camera:
    moving = rng.random() < 0.85
    pan = rng.normal(size=2)
    pan *= moving * rng.uniform(0.02, 0.3) / (np.linalg.norm(pan) + 1e-6)
    dzoom = rng.uniform(-0.18, 0.18) * (rng.random() < 0.4)
    droll = rng.uniform(-0.15, 0.15) * (rng.random() < 0.3)
    return Camera(tuple(pan), (0.0, dzoom), (0.0, droll), ease=rng.uniform(-0.5, 0.5))


def _draw_texture(rng: np.random.Generator, rich: bool) -> tuple[tx.Texture, str]:
    odds = dict(_KIND_ODDS)
    if rich:
        odds.update(leaves=0.5, cloud=0.3, gradient=0.06, plain=0.0, named=0.0)
    p = np.array(list(odds.values()))
    kind = str(rng.choice(list(odds), p=p / p.sum()))
    if kind == "named":
        return named_background(str(rng.choice(background_names())))
    colour = str(rng.choice(list(ob.COLOURS)))
    # Muted: between the pure colour and mid-grey, away from the ends so that light and texture do not clip.
    base = 128 + (np.asarray(ob.COLOURS[colour], float) - 128) * rng.uniform(0.55, 0.85) + rng.normal(size=3) * 8
    mix = np.zeros((3, 3))
    contrast = rng.uniform(35, 75) if rich else rng.uniform(16, 40)
    if kind in ("stripes", "checker") and not rich:
        contrast *= 0.8
    mix[:, 0] = contrast * (1 + 0.15 * rng.normal(size=3)) * rng.choice((-1, 1))
    for column in (1, 2):
        tint = rng.normal(size=3)
        tint -= tint.mean()
        mix[:, column] = tint / np.linalg.norm(tint) * (rng.uniform(25, 65) if rich else rng.uniform(10, 28))
    if kind == "plain":
        mix[:] = 0
    texture = tx.Texture(kind, int(rng.integers(tx.TILES_PER_KIND)), tuple(np.clip(base, 20, 236)),
                         tuple(map(tuple, mix)), scale=rng.uniform(1.3, 2.6), angle=rng.uniform(0, 2 * np.pi),
                         offset=tuple(rng.uniform(0.3, 0.7, 2)))
    return texture, f"{colour} {TEXTURE_WORDS[kind]}"


def background_names() -> list[str]:
    """Names of all canonical backgrounds: gradients, then colours."""
    return [*tx.GRADIENTS, *ob.COLOURS]


def named_background(name: str) -> tuple[tx.Texture, str]:
    """Canonical background and the words a caption uses for it."""
    return tx.canonical(name, ob.COLOURS), f"{name} background" if name in tx.GRADIENTS else f"plain {name} background"
