"""Instructions for objects that are taken out of footage, or put in. direction, slots → **instructions**."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from data_synth.language.sentence_templates import fill_templates

REMOVE_TEMPLATES = (
    "remove {the_object}",
    "erase {the_object} {at}",
    "take {the_object} out of the video",
    "delete {the_object} {at}",
    "get rid of {the_object}",
    "make {the_object} vanish from the scene",
    "remove {the_object} that is first seen {at}, with everything it casts on the ground, in all frames",
    "show the place as if {the_object} had never come by, with the ground and whatever is behind fully visible",
    "erase {the_object} along the whole path through the picture and fill in the background that it covers",
    "I don't want {the_object} in this recording; take it away without touching anybody or anything else in the shot",
)
INSERT_TEMPLATES = (
    "add {a_object}",
    "put {a_object} into the scene",
    "insert {a_object} {at}",
    "let {a_object} appear {at}",
    "add the {object} of the reference picture to the video",
    "place {a_object} in the video, moving as it would in this place",
    "bring {a_object} into this empty spot {at}, with a natural motion and a shadow on the ground",
    "populate the scene with {a_object}, starting {at}, so that it fits the light and the perspective of the recording",
    "add {a_object} that looks like the one in the reference image and keep the rest of the recording as it is",
)


def sample_instructions(
    is_insertion: bool, slots: Mapping[str, str], rng: np.random.Generator, count: int = 5
) -> tuple[str, ...]:
    """Sample different instructions.

    Args:
      is_insertion: Whether the object is put in.
      slots: Words for the placeholders.
      rng: Orders the templates.
      count: Largest number of instructions.
    """
    rows = INSERT_TEMPLATES if is_insertion else REMOVE_TEMPLATES
    return fill_templates(rows, slots, rng, count)
