"""The recipes of cut-out objects on footage: insert, remove, replace, recolor, resize, move, and change how many there are.

seed → clip, cut-outs → ground → layers of source and target → **Pair**. Both sides are drawn by one renderer (`cutouts.render`) into the same
clip, so the mask (object and shadow of every layer that only one side has), the effect (the shadow) and what it has in common with the
object are exact. The reference of what is new is the cut-out itself.
"""

from __future__ import annotations

import dataclasses
import functools

import cv2
import numpy as np

from data_synth import footage
from data_synth.cutouts import placement, render
from data_synth.cutouts.library import Cutout, CutoutFolder, read_cutout_folder
from data_synth.cutouts.placement import Ground, Place
from data_synth.cutouts.render import CutoutLayer
from data_synth.language import cutouts as language
from data_synth.language import nouns
from data_synth.language.captions import add_thing
from data_synth.operators.footage_appearance import FootageLook, match_picture, measure_look
from data_synth.recipes.base import FunctionRecipe, Recipe, declare_family, join_names
from data_synth.recipes.shots import MaskedClipSource, build_masked_clips
from data_synth.recipes.sources import Sources
from data_synth.rejection import Rejected
from data_synth.rng import build_rng
from data_synth.scenes import objects as ob
from v2v.data.pair import OVERLAP, Pair
from v2v.errors import InputError

# 2: objects cross nothing that is in front of them and no other object; captions as sentences.
VERSION = "2"
# Hues that a recolored object may get; the others are no hues.
HUES = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink")
# Least share of an object's pixels that has a color, and least distance in degrees between its hue and the new one.
_MIN_COLORED, _MIN_HUE_STEP = 0.45, 50.0
# Probability of a second object that stays as it is.
_BYSTANDER_SHARE = 0.3
_OBJECT_TRIES, _MOVE_TRIES = 12, 60


@dataclasses.dataclass(frozen=True)
class Backdrop:
    """A clip in which cut-outs can stand, and how they are drawn there.

    Attributes:
      clip: The footage.
      hidden: bool [T, H, W], what is nearer than objects behind it; None where that is unknown.
      ground: Where objects can stand.
      look: How the footage looks.
      shadow: The shadows of all objects.
      seed: Seed of the grain.
    """

    clip: footage.Clip
    hidden: np.ndarray | None
    ground: Ground
    look: FootageLook
    shadow: render.Shadow
    seed: int

    def draw(self, picture: np.ndarray, place: Place, number: int) -> CutoutLayer:
        """Return a cut-out as a layer.

        Args:
          picture: float32 [h, w, 4].
          place: Where it stands.
          number: Of the object; it keys the grain.
        """
        H, W = self.clip.video.shape[1:3]
        lit = match_picture(picture, self.look, self.ground.surrounding_luma(place))
        hidden = self.hidden if self.ground.hides(place) else None
        rng = build_rng(self.seed, f"grain {number}")
        return render.draw_layer(lit, place, self.ground.track, self.shadow, self.look, rng, (H, W), hidden)


@dataclasses.dataclass(frozen=True)
class Change:
    """One edit of cut-outs.

    Attributes:
      common: Layers that are in source and target.
      source_layers: Layers of the source alone.
      target_layers: Layers of the target alone.
      slots: Words for the instructions.
      objects: Pictures by their role in provenance.
      reference: What the reference shows; None for no reference.
      parts: Parts of layers that change: recoloring leaves the shadow as it is.
    """

    common: tuple[CutoutLayer, ...]
    source_layers: tuple[CutoutLayer, ...]
    target_layers: tuple[CutoutLayer, ...]
    slots: dict[str, str]
    objects: dict[str, Cutout]
    reference: np.ndarray | None = None
    parts: tuple[str, ...] = ("object", "shadow")


@dataclasses.dataclass(frozen=True)
class PlacedObjects:
    """An object in a clip, and what stands there beside it.

    Attributes:
      cutout: The object.
      place: Where it stands.
      bystanders: Other objects, which stay as they are, as layers.
      other_places: Where those stand.
    """

    cutout: Cutout
    place: Place
    bystanders: tuple[CutoutLayer, ...] = ()
    other_places: tuple[Place, ...] = ()


def cutout_pair(
    name: str, clips: MaskedClipSource, library: CutoutFolder, seed: int, T: int, H: int, W: int
) -> Pair | Rejected:
    """Return a pair of a clip with cut-outs before and after an edit of them.

    Args:
      name: Edit, of `EDITS`.
      clips: Source of footage, with masks of what is in front.
      library: The cut-outs.
      seed: Seed of the clip, the objects, their places and the words.
      T: Number of frames.
      H: Frame height in pixels.
      W: Frame width in pixels.
    """
    masked_clip = clips(seed, T, H, W)
    if isinstance(masked_clip, Rejected):
        return masked_clip
    clip, hidden = masked_clip
    ground = placement.survey_ground(clip.video, hidden)
    if isinstance(ground, Rejected):
        return ground
    rng = build_rng(seed, "cutouts")
    backdrop = Backdrop(clip, hidden, ground, measure_look(clip.video), render.sample_shadow(rng), seed)
    change = _EDITS[name](backdrop, library, rng)
    if isinstance(change, Rejected):
        return change
    edit = change.slots.get("edit", name)
    words = build_rng(seed, "words")
    object_footprint, shadow_footprint = (
        _join_footprints((*change.source_layers, *change.target_layers), part, (T, H, W))
        for part in ("object", "shadow")
    )
    changed = object_footprint | shadow_footprint if "shadow" in change.parts else object_footprint
    effect = None
    if "shadow" in change.parts:
        effect = np.where(shadow_footprint, np.where(object_footprint, OVERLAP, 255), 0).astype(np.uint8)
    captions = [
        add_thing(clip.caption, things) if things else clip.caption or "a video"
        for things in _describe_sides(edit, change.slots)
    ]
    return Pair(
        source=render.compose(clip.video, (*change.common, *change.source_layers)),
        target=render.compose(clip.video, (*change.common, *change.target_layers)),
        mask=np.where(changed, 255, 0).astype(np.uint8),
        reference=change.reference,
        instructions=language.sample_instructions(edit, change.slots, words),
        source_caption=captions[0],
        target_caption=captions[1],
        edit=edit,
        recipe="cutout",
        seed=seed,
        provenance={
            **clip.origin,
            "cutouts": {role: {"file": c.file, "name": c.name} for role, c in change.objects.items()},
            "cutouts_license": library.license,
            "slots": change.slots,
            "version": VERSION,
            **_reverse(edit, change.slots, words),
        },
        active=(0, T),
        effect=effect,
    )


def insert_or_remove(
    is_insertion: bool, backdrop: Backdrop, library: CutoutFolder, rng: np.random.Generator
) -> Change | Rejected:
    """Add an object, or take it away."""
    objects = _draw_objects(backdrop, library, rng)
    if isinstance(objects, Rejected):
        return objects
    cutout, place = objects.cutout, objects.place
    layer = backdrop.draw(cutout.picture, place, 0)
    source_layers, target_layers = ((), (layer,)) if is_insertion else ((layer,), ())
    reference = draw_reference(cutout, rng) if is_insertion else None
    return Change(
        objects.bystanders,
        source_layers,
        target_layers,
        _name_slots(cutout, place, backdrop),
        {"object": cutout},
        reference,
    )


def replace(backdrop: Backdrop, library: CutoutFolder, rng: np.random.Generator) -> Change | Rejected:
    """Exchange an object for another."""
    objects = _draw_objects(backdrop, library, rng)
    if isinstance(objects, Rejected):
        return objects
    cutout, place = objects.cutout, objects.place
    for _ in range(_OBJECT_TRIES):
        new = _draw_cutout(library, rng)
        if isinstance(new, Rejected) or new.name == cutout.name:
            continue
        aspect = new.picture.shape[1] / new.picture.shape[0]
        scale = np.sqrt(place.aspect / aspect)  # of the same area
        new_place = Place(place.x, place.y, place.height * float(np.clip(scale, 0.7, 1.4)), aspect)
        if backdrop.ground.is_free(new_place, objects.other_places):
            layers = backdrop.draw(cutout.picture, place, 0), backdrop.draw(new.picture, new_place, 1)
            slots = _name_slots(cutout, place, backdrop) | {
                "new": new.name,
                "a_new": nouns.with_article(new.name),
                "the_new": f"the {new.name}",
            }
            pictures = {"object": cutout, "new": new}
            reference = draw_reference(new, rng)
            return Change(objects.bystanders, layers[:1], layers[1:], slots, pictures, reference)
    return Rejected("no other object fits there")


def recolor(backdrop: Backdrop, library: CutoutFolder, rng: np.random.Generator) -> Change | Rejected:
    """Give an object another color."""
    for _ in range(_OBJECT_TRIES):
        cutout = _draw_cutout(library, rng)
        if isinstance(cutout, Rejected):
            continue
        hue = find_hue(cutout.picture)
        if hue is None:
            continue
        colors = [c for c in HUES if _hue_step(_hue_of(c), hue) >= _MIN_HUE_STEP]
        color = colors[int(rng.integers(len(colors)))]
        place = backdrop.ground.find_place(rng, cutout.picture.shape[1] / cutout.picture.shape[0])
        if place is None:
            return Rejected("no calm place for an object")
        painted = paint(cutout.picture, _hue_of(color))
        slots = _name_slots(cutout, place, backdrop) | {"colour": color}
        layers = backdrop.draw(cutout.picture, place, 0), backdrop.draw(painted, place, 0)
        return Change((), layers[:1], layers[1:], slots, {"object": cutout}, parts=("object",))
    return Rejected("no object with a color of its own")


def resize(backdrop: Backdrop, library: CutoutFolder, rng: np.random.Generator) -> Change | Rejected:
    """Make an object larger or smaller on its spot."""
    objects = _draw_objects(backdrop, library, rng)
    if isinstance(objects, Rejected):
        return objects
    cutout, place = objects.cutout, objects.place
    is_larger = bool(rng.random() < 0.5)
    factor = float(rng.uniform(1.45, 1.9))
    other = place.scaled(1 / factor if is_larger else factor)
    if not is_larger and not backdrop.ground.is_free(other, objects.other_places):
        return Rejected("no room for a larger object")
    small, large = (place, other) if place.height < other.height else (other, place)
    layers = backdrop.draw(cutout.picture, small, 0), backdrop.draw(cutout.picture, large, 0)
    source_layers, target_layers = (layers[:1], layers[1:]) if is_larger else (layers[1:], layers[:1])
    ratio = large.height / small.height if is_larger else small.height / large.height
    slots = _name_slots(cutout, small if is_larger else large, backdrop) | {
        "way": _choose(rng, ("enlarge", "scale up") if is_larger else ("shrink", "scale down")),
        "more": _choose(rng, ("bigger", "larger", "taller") if is_larger else ("smaller", "tinier")),
        "percent": f"{100 * ratio:.0f}",
        "times": f"{ratio:.1f}",
        "back": "shrink" if is_larger else "enlarge",
    }
    return Change(objects.bystanders, source_layers, target_layers, slots, {"object": cutout})


def move(backdrop: Backdrop, library: CutoutFolder, rng: np.random.Generator) -> Change | Rejected:
    """Put an object elsewhere at the same distance from the camera."""
    rejection = Rejected("no other place for the object")
    for _ in range(_OBJECT_TRIES):
        objects = _draw_objects(backdrop, library, rng)
        if isinstance(objects, Rejected):
            rejection = objects
        elif (new := _find_elsewhere(objects.place, objects.other_places, backdrop, rng)) is not None:
            return _draw_move(objects, new, backdrop)
    return rejection


def _find_elsewhere(
    place: Place, others: tuple[Place, ...], backdrop: Backdrop, rng: np.random.Generator
) -> Place | None:
    """Return a free place beside another, at the same distance from the camera."""
    H, W = backdrop.clip.video.shape[1:3]
    here = language.describe_place(place.x / W, place.y / H)
    for _ in range(_MOVE_TRIES):
        x = place.x + rng.uniform(0.25, 0.6) * W * (1 if rng.random() < 0.5 else -1)
        new = dataclasses.replace(place, x=x, y=place.y + rng.uniform(-0.03, 0.03) * H)
        is_elsewhere = language.describe_place(new.x / W, new.y / H) != here
        if is_elsewhere and backdrop.ground.is_free(new, others):
            return new
    return None


def _draw_move(objects: PlacedObjects, new: Place, backdrop: Backdrop) -> Change:
    H, W = backdrop.clip.video.shape[1:3]
    cutout, place = objects.cutout, objects.place
    layers = backdrop.draw(cutout.picture, place, 0), backdrop.draw(cutout.picture, new, 0)
    slots = _name_slots(cutout, place, backdrop) | {
        "where": "to the right" if new.x > place.x else "to the left",
        "back": "to the left" if new.x > place.x else "to the right",
        "to": language.describe_place(new.x / W, new.y / H),
    }
    return Change(objects.bystanders, layers[:1], layers[1:], slots, {"object": cutout})


def change_count(backdrop: Backdrop, library: CutoutFolder, rng: np.random.Generator) -> Change | Rejected:
    """Add some of what is there already, or take some away."""
    is_more = bool(rng.random() < 0.5)
    low_count = int(rng.integers(1, 4))
    high_count = low_count + int(rng.integers(1, 4 - low_count // 2))
    cutout = next(
        (
            c
            for _ in range(_OBJECT_TRIES)
            if not isinstance(c := _draw_cutout(library, rng), Rejected) and nouns.is_countable(c.name)
        ),
        None,
    )
    if cutout is None:
        return Rejected("no object that can be counted")
    H, W = backdrop.clip.video.shape[1:3]
    height = rng.uniform(0.14, 0.24) * H
    places: list[Place] = []
    for _ in range(high_count):
        object_height = height * rng.uniform(0.92, 1.08)
        place = backdrop.ground.find_place(
            rng, cutout.picture.shape[1] / cutout.picture.shape[0], tuple(places), object_height
        )
        if place is None:
            return Rejected("no room for as many objects")
        places.append(place)
    layers = tuple(backdrop.draw(cutout.picture, place, i) for i, place in enumerate(places))
    difference = high_count - low_count
    slots = _name_slots(cutout, places[0], backdrop) | {
        "edit": "cutout-more" if is_more else "cutout-fewer",
        "plural": nouns.pluralize(cutout.name),
        "many": nouns.count(high_count, cutout.name),
        "few": nouns.count(low_count, cutout.name),
        "many_number": nouns.NUMBERS[high_count],
        "few_number": nouns.NUMBERS[low_count],
        "difference": nouns.NUMBERS[difference],
        "difference_noun": cutout.name if difference == 1 else nouns.pluralize(cutout.name),
    }
    source_layers, target_layers = ((), layers[low_count:]) if is_more else (layers[low_count:], ())
    return Change(layers[:low_count], source_layers, target_layers, slots, {"object": cutout})


def draw_reference(cutout: Cutout, rng: np.random.Generator) -> np.ndarray:
    """Return a cut-out on a plain ground of a random light color, uint8 [h, w, 3]."""
    color = np.float32(rng.uniform(0.75, 1.0, 3))
    margin = max(2, round(0.08 * max(cutout.picture.shape[:2])))
    padded = np.pad(cutout.picture, ((margin, margin), (margin, margin), (0, 0)))
    alpha = padded[..., 3:]
    return np.rint(255 * (alpha * padded[..., :3] + (1 - alpha) * color)).astype(np.uint8)


def find_hue(picture: np.ndarray) -> float | None:
    """Return the main hue of a cut-out in degrees; None where most of it has none."""
    hsv = cv2.cvtColor(np.ascontiguousarray(picture[..., :3]), cv2.COLOR_RGB2HSV)
    solid = picture[..., 3] > 0.5
    colored = solid & (hsv[..., 1] > 0.3) & (hsv[..., 2] > 0.2)
    if not colored.any() or colored.sum() < _MIN_COLORED * solid.sum():
        return None
    angles = np.deg2rad(hsv[..., 0][colored])
    weights = hsv[..., 1][colored]
    mean = np.sum(weights * np.exp(1j * angles)) / weights.sum()
    # Many colors at once have no main one.
    return None if abs(mean) < 0.75 else float(np.rad2deg(np.angle(mean)) % 360)


def paint(picture: np.ndarray, hue: float) -> np.ndarray:
    """Return a cut-out with another main hue, in degrees; small differences of hue, saturation and brightness stay."""
    picture_hue = find_hue(picture)
    hsv = cv2.cvtColor(np.ascontiguousarray(picture[..., :3]), cv2.COLOR_RGB2HSV)
    difference = (hsv[..., 0] - (picture_hue or 0.0) + 180) % 360 - 180
    hsv[..., 0] = (hue + 0.25 * difference) % 360
    painted = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    return np.concatenate([painted, picture[..., 3:]], -1)


def _hue_of(color: str) -> float:
    rgb = np.array([[ob.COLORS[color]]], np.float32) / 255
    return float(cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV)[0, 0, 0])


def _hue_step(a: float, b: float) -> float:
    return abs((a - b + 180) % 360 - 180)


def _draw_cutout(library: CutoutFolder, rng: np.random.Generator) -> Cutout | Rejected:
    return library.load(int(rng.integers(len(library.files))))


def _draw_objects(
    backdrop: Backdrop, library: CutoutFolder, rng: np.random.Generator
) -> PlacedObjects | Rejected:
    """Return an object, its place, and perhaps another one."""
    rejection = Rejected("no calm place for an object")
    for _ in range(_OBJECT_TRIES):
        cutout = _draw_cutout(library, rng)
        if isinstance(cutout, Rejected):
            rejection = cutout
            continue
        place = backdrop.ground.find_place(rng, cutout.picture.shape[1] / cutout.picture.shape[0])
        if place is None:
            return Rejected("no calm place for an object")
        return _add_bystander(backdrop, library, rng, PlacedObjects(cutout, place))
    return rejection


def _add_bystander(
    backdrop: Backdrop, library: CutoutFolder, rng: np.random.Generator, objects: PlacedObjects
) -> PlacedObjects:
    """Return an object beside another one that stays as it is, or without one."""
    if rng.random() >= _BYSTANDER_SHARE:
        return objects
    other, place = _draw_cutout(library, rng), objects.place
    if isinstance(other, Rejected) or other.name == objects.cutout.name:
        return objects
    # Wherever the main object may grow or go, there is room left for it.
    wide = dataclasses.replace(place, height=1.9 * place.height)
    beside = backdrop.ground.find_place(rng, other.picture.shape[1] / other.picture.shape[0], (wide,))
    if beside is None:
        return objects
    layer = backdrop.draw(other.picture, beside, 9)
    return PlacedObjects(objects.cutout, place, (layer,), (beside,))


def _name_slots(cutout: Cutout, place: Place, backdrop: Backdrop) -> dict[str, str]:
    H, W = backdrop.clip.video.shape[1:3]
    return {
        "object": cutout.name,
        "a_object": nouns.with_article(cutout.name),
        "the_object": f"the {cutout.name}",
        "at": language.describe_place(place.x / W, place.y / H),
    }


def _describe_sides(edit: str, slots: dict[str, str]) -> tuple[str, str]:
    """Return the cut-outs that source and target show; "" for none."""
    words = f"{slots['a_object']} {slots['at']}"
    if edit == "cutout-insert":
        return "", words
    if edit == "cutout-remove":
        return words, ""
    if edit == "cutout-replace":
        return words, f"{slots['a_new']} {slots['at']}"
    if edit == "cutout-recolour":
        return words, f"{nouns.with_article(slots['colour'] + ' ' + slots['object'])} {slots['at']}"
    if edit == "cutout-move":
        return words, f"{slots['a_object']} {slots['to']}"
    if edit == "cutout-more":
        return slots["few"], slots["many"]
    if edit == "cutout-fewer":
        return slots["many"], slots["few"]
    return words, f"{nouns.with_article(slots['more'] + ' ' + slots['object'])} {slots['at']}"


# Edit → the edit that undoes it, and slots that take other values on the way back.
_REVERSES: dict[str, tuple[str, dict[str, str]]] = {
    "cutout-insert": ("cutout-remove", {}),
    "cutout-remove": ("cutout-insert", {}),
    "cutout-replace": (
        "cutout-replace",
        {"object": "new", "a_object": "a_new", "the_object": "the_new", "new": "object", "a_new": "a_object", "the_new": "the_object"},
    ),
    "cutout-move": ("cutout-move", {"at": "to", "to": "at", "where": "back", "back": "where"}),
    "cutout-more": ("cutout-fewer", {}),
    "cutout-fewer": ("cutout-more", {}),
}  # fmt: skip


def _reverse(edit: str, slots: dict[str, str], rng: np.random.Generator) -> dict[str, list[str]]:
    """Return the instructions that lead from target to source, where the words can say it."""
    if edit not in _REVERSES:
        return {}
    name, exchanged = _REVERSES[edit]
    other = slots | {slot: slots[value] for slot, value in exchanged.items()}
    return {"reverse_instructions": list(language.sample_instructions(name, other, rng))}


def _join_footprints(layers: tuple[CutoutLayer, ...], part: str, size: tuple[int, int, int]) -> np.ndarray:
    T, H, W = size
    joint = np.zeros(size, bool)
    for layer in layers:
        joint |= layer.footprint(H, W, part)
    return joint


def _choose(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]


_EDITS = {
    "cutout-insert": functools.partial(insert_or_remove, True),
    "cutout-remove": functools.partial(insert_or_remove, False),
    "cutout-replace": replace,
    "cutout-recolour": recolor,
    "cutout-resize": resize,
    "cutout-move": move,
    "cutout-count": change_count,
}
EDITS = tuple(_EDITS)


def _build_recipe(name: str, sources: Sources) -> Recipe:
    if not sources.cutouts:
        raise InputError(
            f"recipe {name}: expected a folder of cut-outs, got none; add --cutouts DIR, pictures of objects with a "
            "transparent background that are named like the objects"
        )
    library = read_cutout_folder(sources.cutouts)
    return FunctionRecipe(functools.partial(cutout_pair, name, build_masked_clips(sources), library))


FAMILY = declare_family(
    "cutouts",
    f"{join_names(EDITS)}: objects of --cutouts DIR on footage, with tracked motion, light, grain and shadow",
    {name: functools.partial(_build_recipe, name) for name in EDITS},
    kind="cutout",
    renderer="cutouts",
    version=VERSION,
    min_change=8.0,
    reads=("clips", "masks", "cutouts"),
    phrasing="varied",
)
