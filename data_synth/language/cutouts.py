"""Instructions for edits of cut-out objects: insert, remove, replace, recolor, resize, move, count.

edit, slots → **instructions**. Slots: {object}, {the_object} and {a_object} the object, {new}, {a_new} and {the_new} what it becomes,
{at} its place, {colour}, {way} and {more} of a size, {where} of a move, {many}, {few} and {difference} of a count.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from data_synth.language.sentence_templates import fill_templates

TEMPLATES: dict[str, tuple[str, ...]] = {
    "cutout-insert": (
        "add {a_object} {at}",
        "put {a_object} {at}",
        "insert {a_object} into the scene",
        "place {a_object} {at} of the video",
        "let {a_object} stand {at}",
        "I would like to see {a_object} {at}",
        "set {a_object} down {at} so that it rests firmly on the ground and throws a soft shadow there",
        "insert {a_object} {at}, with the same light, sharpness and grain as the rest of the footage",
        "add {a_object} {at} that stays glued to its spot on the ground while the camera moves around it",
        "make it look as though somebody had left {a_object} {at} before the camera started rolling",
        "composite {a_object} into the shot {at}, matching perspective, brightness and shadow so convincingly that nobody suspects a trick",
    ),
    "cutout-remove": (
        "remove {the_object}",
        "erase {the_object} {at}",
        "delete {the_object} from the video",
        "take {the_object} out of the scene",
        "get rid of {the_object} {at}",
        "make {the_object} disappear",
        "remove {the_object} {at} together with the shadow, and show the ground that was hidden behind",
        "clean up the shot by taking away {the_object} {at}, leaving neither an outline nor a shadow on the ground",
        "make the place {at} look as if {the_object} had never been there, from the first frame to the last",
        "erase {the_object} {at} and reconstruct the background so that the empty spot blends in without any visible seam",
    ),
    "cutout-replace": (
        "replace {the_object} with {a_new}",
        "turn {the_object} into {a_new}",
        "swap {the_object} for {a_new}",
        "change {the_object} {at} to {a_new}",
        "put {a_new} where {the_object} is",
        "exchange {the_object} {at} for {a_new}",
        "take away {the_object} {at} and stand {a_new} in exactly the same spot, lit and shaded like everything around",
        "where there is {a_object} now, there should be {a_new} instead, standing on the same patch of ground",
        "substitute {a_new} for {the_object} {at}, keep the position on the ground, and let the shadow fit the new shape",
    ),
    "cutout-recolour": (
        "make {the_object} {colour}",
        "color {the_object} {colour}",
        "paint {the_object} {at} {colour}",
        "change the color of {the_object} to {colour}",
        "turn {the_object} {colour}",
        "give {the_object} a {colour} color",
        "repaint {the_object} {at} in {colour}, but keep the shape, the shading and the highlights as they are",
        "{the_object} {at} should be {colour} in every frame, while whatever surrounds it keeps its own colors",
        "imagine {the_object} {at} had been manufactured in {colour} and show it that way, with identical reflections and shadow",
    ),
    "cutout-resize": (
        "make {the_object} {more}",
        "{way} {the_object}",
        "{way} {the_object} {at}",
        "scale {the_object} so that it becomes much {more}",
        "change the size of {the_object}: it should be {more}",
        "{way} {the_object} {at} to about {percent} percent of its size and leave it standing on the same spot",
        "make {the_object} {at} clearly {more} than it is now, with a shadow of the new size",
        "{the_object} {at} looks wrong at this scale; {way} it until it is about {times} times as tall, without moving its foot",
    ),
    "cutout-move": (
        "move {the_object} {where}",
        "shift {the_object} {where}",
        "put {the_object} farther {where}",
        "place {the_object} {to}",
        "take {the_object} from where it is and put it {to}",
        "pick {the_object} up and set it down {to}",
        "move {the_object} {where}, shadow included, so that it stands {to} and the old spot is empty ground",
        "relocate {the_object} from its present spot {at} and have it stand {to}, without changing its size or color",
        "slide {the_object} {where} until it is {to}, then restore the ground that it covered before",
    ),
    "cutout-more": (
        "add {difference} more {difference_noun}",
        "there should be {many}",
        "make it {many} instead of {few}",
        "put {difference} more {difference_noun} into the scene",
        "increase the number of {plural} from {few_number} to {many_number}",
        "duplicate the {object} until there are {many} altogether",
        "I count {few} here and want {many}: place {difference} more on free ground, each with a shadow of its own",
        "let {many} stand in the scene rather than {few}, all of the same kind and in the same light",
        "complete the group with {difference} additional {difference_noun}, spread over the ground without touching one another",
    ),
    "cutout-fewer": (
        "remove {difference} of the {many}",
        "leave only {few}",
        "there should be just {few} instead of {many}",
        "reduce the number of {plural} from {many_number} to {few_number}",
        "take {difference} of the {plural} away",
        "delete {difference} of the {many} and keep the rest where they are",
        "of the {many} in this shot only {few} should remain; erase the others together with their shadows",
        "thin out the group of {plural} so that {few} can still be seen and the vacated ground looks untouched",
    ),
}  # fmt: skip


def sample_instructions(
    name: str, slots: Mapping[str, str], rng: np.random.Generator, count: int = 5
) -> tuple[str, ...]:
    """Sample different instructions for an edit of cut-outs.

    Args:
      name: Name of the edit, of `TEMPLATES`.
      slots: Words for the placeholders.
      rng: Orders the templates.
      count: Largest number of instructions.
    """
    sentences = fill_templates(TEMPLATES[name], slots, rng, count)
    return tuple(dict.fromkeys(" ".join(sentence.split()) for sentence in sentences))


def describe_place(x: float, y: float) -> str:
    """Return the words for a place on the ground, such as "in the foreground on the left".

    Args:
      x: Share of the frame's width from its left edge.
      y: Share of the frame's height from its top edge.
    """
    side = "on the left" if x < 0.37 else "on the right" if x > 0.63 else "in the middle"
    if y > 0.86:
        return f"in the foreground {side}"
    if y < 0.62:
        return f"in the background {side}"
    return side
