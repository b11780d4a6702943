"""Instructions for marking an object. mark, slots → **instructions**; {the_object} is the object, {colour} the color of the mark."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from data_synth.language import nouns
from data_synth.language.captions import add_state, add_thing
from data_synth.language.sentence_templates import fill_templates

TEMPLATES: dict[str, tuple[str, ...]] = {
    "highlight": (
        "highlight {the_object} in {colour}",
        "mark {the_object} in {colour}",
        "color {the_object} {colour} like a marker pen",
        "cover {the_object} with a transparent {colour} layer",
        "show where {the_object} is by tinting it {colour}",
        "lay a translucent {colour} highlight over {the_object} in every frame and leave all other pixels untouched",
        "find {the_object} and keep it marked in {colour} wherever it goes, like an annotation in a sports broadcast",
    ),
    "outline": (
        "outline {the_object} in {colour}",
        "draw a {colour} outline around {the_object}",
        "trace the contour of {the_object} in {colour}",
        "put a {colour} border around {the_object}",
        "draw a {colour} line along the silhouette of {the_object}",
        "trace {the_object} with an even {colour} line that follows its contour exactly while it moves",
        "segment {the_object} and show the boundary as a {colour} contour; the inside and the background stay as they are",
    ),
    "bounding-box": (
        "draw a {colour} box around {the_object}",
        "put a {colour} bounding box on {the_object}",
        "detect {the_object} with a {colour} rectangle",
        "frame {the_object} with a {colour} box",
        "mark {the_object} by a {colour} bounding box",
        "detect {the_object} in every frame and draw the tightest upright {colour} rectangle around it",
        "show what an object detector would: a thin {colour} rectangle that encloses {the_object} and follows it",
    ),
    "spotlight": (
        "put a spotlight on {the_object}",
        "darken everything except {the_object}",
        "dim the surroundings of {the_object}",
        "make {the_object} stand out by darkening the rest",
        "keep only {the_object} bright",
        "let everything around {the_object} sink into darkness while it keeps its full brightness and color",
        "draw the eye of the viewer to {the_object} by dimming all that doesn't belong to it, in every frame",
    ),
    "silhouette": (
        "show the mask of {the_object}",
        "segment {the_object}",
        "make {the_object} white and everything else black",
        "turn the video into a mask of {the_object}",
        "show {the_object} as a white silhouette on black",
        "produce the segmentation mask of {the_object} as a video, white inside its contour and black outside",
        "replace the picture by a matte for compositing: {the_object} in pure white, all the rest in pure black",
    ),
}  # fmt: skip
_STATES = {
    "highlight": "{the_object} marked in {colour}",
    "outline": "{the_object} outlined in {colour}",
    "spotlight": "all but {the_object} darkened",
}
ERASE_TEMPLATES: dict[str, tuple[str, ...]] = {
    "highlight": (
        "remove the {colour} highlight from {the_object}",
        "give {the_object} its natural colors back",
    ),
    "outline": ("remove the {colour} outline of {the_object}", "erase the contour drawn around {the_object}"),
    "bounding-box": ("remove the {colour} box", "erase the bounding box around {the_object}"),
    "spotlight": ("light the whole scene evenly again", "brighten what surrounds {the_object}"),
}


def format_caption(name: str, slots: Mapping[str, str], caption: str) -> str:
    """Format the caption of a clip with a mark.

    Args:
      name: Mark, of `TEMPLATES`.
      slots: Words for the placeholders.
      caption: Caption of the clip.
    """
    if name == "silhouette":
        return f"a white silhouette of {slots['the_object']} on black"
    if name == "bounding-box":
        return add_thing(
            caption, f"{nouns.with_article(slots['colour'] + ' box')} around {slots['the_object']}"
        )
    return add_state(caption, _STATES[name].format(**slots))


def sample_instructions(
    name: str, slots: Mapping[str, str], rng: np.random.Generator, count: int = 5
) -> tuple[str, ...]:
    """Sample different instructions for a mark.

    Args:
      name: Mark, of `TEMPLATES`.
      slots: Words for the placeholders.
      rng: Orders the templates.
      count: Largest number of instructions.
    """
    sentences = fill_templates(TEMPLATES[name], slots, rng, count)
    return tuple(sentence.replace(" a orange ", " an orange ") for sentence in sentences)
