"""Random sampling of planar scenes.

seed → **Scene** → edits, render. Rejection sampling ensures that every object can be seen and named: objects differ in color
and shape from one another and in color from the background, have a diameter of 18 to 45 % of the frame's short side, do
not touch, and stay inside the frame.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from data_synth.scenes import objects as ob
from data_synth.scenes import textures as tx
from data_synth.scenes.scene import (
    Camera,
    Hill,
    Light,
    Scene,
    are_apart,
    frame_path,
    half_extent,
    is_inside,
    visible_colors,
)

TEXTURE_WORDS = {
    "leaves": "leaf texture",
    "cloud": "cloud texture",
    "gradient": "smooth background",
    "stripes": "striped background",
    "checker": "checkered background",
    "plain": "background",
}
_KIND_WEIGHTS = {
    "leaves": 0.34,
    "cloud": 0.26,
    "gradient": 0.12,
    "stripes": 0.07,
    "checker": 0.05,
    "plain": 0.06,
    "named": 0.10,
}
_RICH_KIND_WEIGHTS = {
    "leaves": 0.36,
    "cloud": 0.22,
    "gradient": 0.04,
    "stripes": 0.05,
    "checker": 0.04,
    "landscape": 0.29,
}
# Path samples for the tests of collision and border.
_CHECKED_TIMES = 7


def sample_scene(
    rng: np.random.Generator, *, aspect: float = 1.0, objects: tuple[int, int] = (1, 3), rich: bool = False
) -> Scene:
    """Sample a scene in which every object can be seen and named.

    Args:
      rng: Source of randomness.
      aspect: Width / height of the frames to be rendered; objects are placed inside them.
      objects: Least and greatest number of objects.
      rich: Whether to imitate a photograph: textures or a landscape, with more contrast, color and light.

    Returns:
      The scene. It may hold fewer objects than drawn when there is no room for them.
    """
    weights = _RICH_KIND_WEIGHTS if rich else _KIND_WEIGHTS
    kind = _sample_option(rng, list(weights), list(weights.values()))
    if kind == "landscape":
        scene = _sample_landscape(rng)
    elif kind == "named":
        scene = Scene(*named_background(_sample_option(rng, background_names())))
    else:
        scene = Scene(*_sample_texture(rng, kind, rich))
    scene = dataclasses.replace(scene, camera=_sample_camera(rng), light=_sample_light(rng, rich))
    visible_names = frozenset.intersection(*map(visible_colors, scene.textures))
    colors = [c for c in _shuffle(rng, tuple(ob.COLORS)) if c in visible_names]
    shapes = _shuffle(rng, ob.SHAPES)
    placed_objects, paths = [], []
    for shape, color in zip(shapes[: int(rng.integers(objects[0], objects[1] + 1))], colors, strict=False):
        obj = _place_object(rng, shape, color, paths, scene.camera, half_extent(aspect))
        if obj is None:
            break
        placed_objects.append(obj)
        paths.append(frame_path(obj, scene.camera, _CHECKED_TIMES))
    return dataclasses.replace(scene, objects=tuple(placed_objects))


def background_names() -> list[str]:
    """Return the names of all canonical backgrounds: gradients, then colors."""
    return [*tx.GRADIENTS, *ob.COLORS]


def named_background(name: str) -> tuple[tx.Texture, str]:
    """Return a canonical background and its words in a caption."""
    words = f"{name} background" if name in tx.GRADIENTS else f"plain {name} background"
    return tx.canonical_texture(name, ob.COLORS), words


def is_free(obj: ob.Object, scene: Scene) -> bool:
    """Return whether `obj` touches none of the scene's objects at any time."""
    path = frame_path(obj, scene.camera, _CHECKED_TIMES)
    return all(
        are_apart(path, frame_path(other, scene.camera, _CHECKED_TIMES), gap=1.0) for other in scene.objects
    )


def _place_object(rng, shape, color, paths, camera, frame_half) -> ob.Object | None:
    pattern = _sample_option(rng, ob.PATTERNS, (0.7, 0.15, 0.15))
    for attempt in range(24):
        size_name = _sample_option(rng, list(ob.SIZES), (0.22, 0.48, 0.3) if attempt < 8 else (0.7, 0.3, 0.0))
        size = ob.SIZES[size_name] * rng.uniform(0.9, 1.08)
        start = rng.uniform(-1, 1, 2) * (frame_half - size * 0.55)
        displacement = rng.normal(size=2)
        displacement *= rng.uniform(0, 0.35) / (np.hypot(*displacement) + 1e-6)
        obj = ob.Object(
            shape,
            color,
            size,
            size_name,
            pattern,
            _as_pair(start - displacement / 2),
            _as_pair(start + displacement / 2),
            wobble=_as_pair(rng.uniform(-0.03, 0.03, 2)),
            tilt=rng.uniform(-0.3, 0.3),
            spin=rng.uniform(-0.6, 0.6) * (rng.random() < 0.6),
        )
        path = frame_path(obj, camera, _CHECKED_TIMES)
        if is_inside(path, frame_half) and all(are_apart(path, other) for other in paths):
            return obj
    return None


def _sample_camera(rng: np.random.Generator) -> Camera:
    pan = rng.normal(size=2)
    pan *= (rng.random() < 0.85) * rng.uniform(0.02, 0.3) / (np.hypot(*pan) + 1e-6)
    zoom = rng.uniform(-0.18, 0.18) * (rng.random() < 0.4)
    roll = rng.uniform(-0.15, 0.15) * (rng.random() < 0.3)
    return Camera(_as_pair(pan), (0.0, zoom), (0.0, roll), ease=rng.uniform(-0.5, 0.5))


def _sample_light(rng: np.random.Generator, rich: bool) -> Light:
    angle = rng.uniform(-2.4, -0.7)  # from above
    exposure = rng.uniform(0.55, 1.3) if rich else rng.uniform(0.85, 1.12)
    return Light(
        exposure,
        temperature=rng.uniform(-0.07, 0.07) * (2 if rich else 1),
        gradient=_as_pair(rng.uniform(-0.22, 0.22, 2)),
        vignette=rng.uniform(0, 0.3) * (rng.random() < 0.6),
        direction=(float(np.cos(angle)), float(np.sin(angle))),
    )


def _sample_texture(
    rng: np.random.Generator, kind: str, rich: bool, color: str = ""
) -> tuple[tx.Texture, str]:
    color = color or _sample_option(rng, list(ob.COLORS))
    # Muted: between the pure color and mid-gray, away from the ends so that light and texture do not clip.
    base = 128 + (np.array(ob.COLORS[color], float) - 128) * rng.uniform(0.55, 0.85) + rng.normal(size=3) * 8
    mix = np.zeros((3, 3))
    contrast = rng.uniform(35, 75) if rich else rng.uniform(16, 40)
    if kind in ("stripes", "checker") and not rich:
        contrast *= 0.8
    if kind != "plain":
        mix[:, 0] = contrast * (1 + 0.15 * rng.normal(size=3)) * (1 if rng.random() < 0.5 else -1)
        for column in (1, 2):
            tint = rng.normal(size=3)
            tint -= tint.mean()
            mix[:, column] = (
                tint / np.linalg.norm(tint) * (rng.uniform(25, 65) if rich else rng.uniform(10, 28))
            )
    texture = tx.Texture(
        kind,
        int(rng.integers(tx.TILES_PER_KIND)),
        tuple(np.clip(base, 20, 236).tolist()),
        tuple(map(tuple, mix.tolist())),
        scale=rng.uniform(1.3, 2.6),
        angle=rng.uniform(0, 2 * np.pi),
        offset=_as_pair(rng.uniform(0.3, 0.7, 2)),
    )
    return texture, f"{color} {TEXTURE_WORDS[kind]}"


def _sample_landscape(rng: np.random.Generator) -> Scene:
    """Sample a sky over one or two rough hills, with the large light and dark parts and the horizon of outdoor footage."""
    sky_color = _sample_option(rng, ("blue", "cyan", "white", "grey", "orange", "pink"))
    sky, _ = _sample_texture(rng, _sample_option(rng, ("cloud", "gradient")), False, sky_color)
    hills, color, level = [], "", rng.uniform(-0.25, 0.15)
    for _ in range(int(rng.integers(1, 3))):
        color = _sample_option(rng, ("green", "brown", "grey", "yellow", "orange", "black"))
        texture, _ = _sample_texture(rng, _sample_option(rng, ("leaves", "cloud")), True, color)
        waves = [(f, rng.uniform(0.2, 1) * 0.07 / f, rng.uniform(0, 6.28)) for f in (0.6, 1.3, 2.9, 6.1)]
        hills.append(Hill(texture, level, tuple(waves)))
        level += rng.uniform(0.1, 0.25)
    return Scene(
        sky,
        f"landscape with a {sky_color} sky and {color} hills".replace("a orange", "an orange"),
        hills=tuple(hills),
    )


def _sample_option(rng: np.random.Generator, options, weights=None) -> str:
    """Choose an option by weight, about ten times as fast as `rng.choice`."""
    if weights is None:
        return options[int(rng.integers(len(options)))]
    remainder = rng.random() * sum(weights)
    for option, weight in zip(options, weights, strict=True):
        remainder -= weight
        if remainder < 0:
            return option
    return options[0]


def _shuffle(rng: np.random.Generator, names: tuple[str, ...]) -> list[str]:
    """Permute names by their indices: the same draw as `rng.permutation(names)`, without an array of strings."""
    return [names[i] for i in rng.permutation(len(names)).tolist()]


def _as_pair(xy: np.ndarray) -> tuple[float, float]:
    return float(xy[0]), float(xy[1])
