"""Local edits: a scene, its edited twin, the exact mask and the reference picture.

Scene → **edit** → (source, target, mask). Each edit is a small intervention on the Scene. Both sides are composed from the
same layers, with only those of the edited object exchanged, so the mask follows from geometry and not from a threshold:

    recolour    mask = object                        replace   mask = old and new object with their shadows
    remove      mask = object and its shadow         insert    mask = new object and its shadow
    background  mask = everything but pixels that objects cover entirely

Conventions fix what an instruction leaves open, so that instruction and source determine the target: an inserted object is
plain, upright, of its size word's canonical diameter, and stands still in the frame at one of nine positions; a
replacement is plain and upright, with the center and diameter of the old object; a new background is canonical.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from data_synth.rejection import Rejected
from data_synth.scenes import draw
from data_synth.scenes import objects as ob
from data_synth.scenes import render as rn
from data_synth.scenes import scene as sc
from data_synth.scenes import textures as tx

LOCAL_EDITS = ("recolour", "remove", "insert", "replace", "background")
# Fractions of the frame's width and height from its center.
POSITIONS = {
    "top left": (-0.27, -0.27),
    "top": (0.0, -0.27),
    "top right": (0.27, -0.27),
    "left": (-0.27, 0.0),
    "center": (0.0, 0.0),
    "right": (0.27, 0.0),
    "bottom left": (-0.27, 0.27),
    "bottom": (0.0, 0.27),
    "bottom right": (0.27, 0.27),
}


@dataclasses.dataclass(frozen=True)
class Edit:
    """An edit in words.

    Attributes:
      name: Name of the edit.
      slots: Values for the fields of its instruction templates.
    """

    name: str
    slots: dict


@dataclasses.dataclass(frozen=True)
class Twin:
    """A scene and its edited version, rendered.

    Attributes:
      source: uint8 [T, H, W, 3].
      target: uint8 [T, H, W, 3].
      mask: bool [T, H, W].
      reference: uint8 [side, side, 3], or None for a removal.
      edit: The edit in words.
      source_scene: The scene of `source`.
      target_scene: The scene of `target`.
    """

    source: np.ndarray
    target: np.ndarray
    mask: np.ndarray
    reference: np.ndarray | None
    edit: Edit
    source_scene: sc.Scene
    target_scene: sc.Scene


def apply_local_edit(
    name: str, scene: sc.Scene, rng: np.random.Generator, T: int, H: int, W: int
) -> Twin | Rejected:
    """Apply a random edit of the named type.

    Args:
      name: A name of LOCAL_EDITS.
      scene: The scene to edit.
      rng: Source of randomness.
      T: Number of frames.
      H: Frame height in pixels.
      W: Frame width in pixels.

    Returns:
      The twin, or a rejection where this scene does not allow the edit.
    """
    if not scene.objects and name != "insert":
        return Rejected("no object to edit")
    proposal = _PROPOSE[name](scene, rng, W / H)
    if isinstance(proposal, Rejected):
        return proposal
    edit, edited_scene, index = proposal
    source_layers = rn.render_layers(scene, T, H, W)
    target_layers = _replace_layers(source_layers, scene, edited_scene, name, index, T, H, W)
    return Twin(
        rn.compose_layers(source_layers),
        rn.compose_layers(target_layers),
        _edit_mask(name, source_layers, target_layers, index),
        _render_reference(name, edited_scene, index, min(H, W)),
        edit,
        scene,
        edited_scene,
    )


def render_portrait(obj: ob.Object, side: int) -> np.ndarray:
    """Render the object by itself, upright, on a gray ground, as a uint8 [side, side, 3] reference picture."""
    upright_object = dataclasses.replace(
        obj, size=0.62, start=(0.0, 0.0), end=(0.0, 0.0), wobble=(0.0, 0.0), tilt=0.0, spin=0.0, pinned=True
    )
    shade = (196.0, 196.0, 200.0) if obj.color not in ("white", "grey") else (96.0, 100.0, 108.0)
    return rn.render_scene(sc.Scene(tx.Texture("plain", base=shade), "", (upright_object,)), 1, side, side)[0]


def _propose_recolor(scene, rng, aspect):
    index = int(rng.integers(len(scene.objects)))
    old = scene.objects[index]
    used_colors = {o.color for o in scene.objects}
    options = [
        c
        for c in ob.COLORS
        if c not in used_colors
        and sc.is_visible_on(c, scene.texture)
        and sc.color_distance(ob.COLORS[c], ob.COLORS[old.color]) > 110
    ]
    if not options:
        return Rejected("no colour differs enough")
    color = str(rng.choice(options))
    edited_scene = _with_object(scene, index, dataclasses.replace(old, color=color))
    return Edit("recolour", {"object": old.name, "shape": old.shape, "colour": color}), edited_scene, index


def _propose_removal(scene, rng, aspect):
    index = int(rng.integers(len(scene.objects)))
    remaining_objects = scene.objects[:index] + scene.objects[index + 1 :]
    edited_scene = dataclasses.replace(scene, objects=remaining_objects)
    return Edit("remove", {"object": scene.objects[index].name}), edited_scene, index


def _propose_insertion(scene, rng, aspect):
    colors = [
        c
        for c in ob.COLORS
        if sc.is_visible_on(c, scene.texture) and c not in {o.color for o in scene.objects}
    ]
    shapes = [s for s in ob.SHAPES if s not in {o.shape for o in scene.objects}]
    if not colors:
        return Rejected("no colour differs enough")
    color, shape = str(rng.choice(colors)), str(rng.choice(shapes))
    extent = 2 * sc.half_extent(aspect)
    size_names = [str(s) for s in rng.permutation(["medium", "medium", "small", "large"])]
    for size_name in dict.fromkeys(size_names):
        for place in (str(p) for p in rng.permutation(list(POSITIONS))):
            position = tuple(np.array(POSITIONS[place]) * extent)
            new = ob.Object(
                shape, color, ob.SIZES[size_name], size_name, "plain", position, position, pinned=True
            )
            if draw.is_free(new, scene):
                edited_scene = dataclasses.replace(scene, objects=(*scene.objects, new))
                slots = {"new": new.name, "size": size_name, "place": place}
                return Edit("insert", slots), edited_scene, len(scene.objects)
    return Rejected("no free place")


def _propose_replacement(scene, rng, aspect):
    index = int(rng.integers(len(scene.objects)))
    old = scene.objects[index]
    other_objects = [o for i, o in enumerate(scene.objects) if i != index]
    shapes = [s for s in ob.SHAPES if s != old.shape and s not in {o.shape for o in other_objects}]
    colors = [
        c
        for c in ob.COLORS
        if c not in {o.color for o in other_objects}
        and sc.is_visible_on(c, scene.texture)
        and (c == old.color or sc.color_distance(ob.COLORS[c], ob.COLORS[old.color]) > 90)
    ]
    shape = str(rng.choice(shapes))
    keep_color = old.color in colors and rng.random() < 0.35
    if not colors:
        return Rejected("no colour differs enough")
    color = old.color if keep_color else str(rng.choice(colors))
    new = dataclasses.replace(old, shape=shape, color=color, pattern="plain", tilt=0.0, spin=0.0)
    slots = {"object": old.name, "new": new.name, "shape": shape}
    return Edit("replace", slots), _with_object(scene, index, new), index


def _propose_background(scene, rng, aspect):
    options = []
    for name in draw.background_names():
        texture, _ = draw.named_background(name)
        if name != scene.texture.name and all(sc.is_visible_on(o.color, texture) for o in scene.objects):
            options.append(name)
    if not options:
        return Rejected("no background shows every object")
    gradients = [n for n in options if n in tx.GRADIENTS]
    name = str(rng.choice(gradients if gradients and rng.random() < 0.55 else options))
    texture, words = draw.named_background(name)
    edited_scene = dataclasses.replace(scene, texture=texture, ground_name=words, hills=())
    return Edit("background", {"background": name}), edited_scene, -1


_PROPOSE = {
    "recolour": _propose_recolor,
    "remove": _propose_removal,
    "insert": _propose_insertion,
    "replace": _propose_replacement,
    "background": _propose_background,
}


def _with_object(scene: sc.Scene, index: int, new: ob.Object) -> sc.Scene:
    return dataclasses.replace(scene, objects=scene.objects[:index] + (new,) + scene.objects[index + 1 :])


def _replace_layers(layers: rn.Layers, scene, edited_scene, name, index, T, H, W) -> rn.Layers:
    """Return the edited scene's layers, sharing every layer that the edit does not touch."""
    if name == "background":
        return dataclasses.replace(layers, ground=rn.render_ground(edited_scene, layers.light, T))
    if name == "remove":
        return dataclasses.replace(layers, sprites=layers.sprites[:index] + layers.sprites[index + 1 :])
    if name == "recolour":  # same geometry, other color: the shadow is the same array, hence the same pixels
        new = dataclasses.replace(
            rn.render_object(edited_scene.objects[index], edited_scene, T, H, W),
            alpha=layers.sprites[index].alpha,
            shadow=layers.sprites[index].shadow,
        )
        return dataclasses.replace(
            layers, sprites=layers.sprites[:index] + (new,) + layers.sprites[index + 1 :]
        )
    new = rn.render_object(edited_scene.objects[index], edited_scene, T, H, W)
    return dataclasses.replace(layers, sprites=layers.sprites[:index] + (new,) + layers.sprites[index + 1 :])


def _edit_mask(name: str, source_layers: rn.Layers, target_layers: rn.Layers, index: int) -> np.ndarray:
    if name == "recolour":
        return source_layers.footprint(index, shadow=False)
    if name == "remove":
        return source_layers.footprint(index)
    if name == "insert":
        return target_layers.footprint(index)
    if name == "replace":
        return source_layers.footprint(index) | target_layers.footprint(index)
    return ~source_layers.solid()


def _render_reference(name: str, edited_scene: sc.Scene, index: int, side: int) -> np.ndarray | None:
    if name == "remove":
        return None
    if name == "background":
        return rn.render_scene(dataclasses.replace(edited_scene, objects=()), 1, side, side)[0]
    return render_portrait(edited_scene.objects[index], side)
