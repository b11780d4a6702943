"""Instructions for looks on footage: templates of looks, of the default mix and beyond, for the clip, a half, an object or its surroundings."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from data_synth.language import grammar, looks, templates
from data_synth.language.captions import add_state, add_style
from data_synth.language.photometric_long import LONG_TEMPLATES

# How a part of the picture with a look of the default mix is described.
_STATES = {
    "greyscale": "in black and white",
    "sepia": "in sepia",
    "night": "at night",
    "warmer": "in warm colors",
    "colder": "in cold colors",
    "negative": "as a negative",
    "brighter": "brightened",
    "darker": "darkened",
    "more saturated": "in strong colors",
    "less saturated": "in pale colors",
    "posterise": "posterized",
    "blur": "blurred",
    "autumn": "in autumn",
    "winter": "in winter",
    "spring": "in spring",
}


def sample_region(is_object: bool, object_name: str, rng: np.random.Generator) -> str:
    """Return words for an object, or for everything else."""
    if is_object:
        return f"the {object_name}"
    words = ("the background", f"everything but the {object_name}", f"the surroundings of the {object_name}")
    return words[int(rng.integers(len(words)))]


def sample_instructions(
    name: str, slots: Mapping[str, str], region: str, rng: np.random.Generator, count: int = 5
) -> tuple[str, ...]:
    """Sample different instructions for a look.

    Args:
      name: Name of the look, of `operators.looks.LOOKS` or `operators.photometric.PHOTOMETRIC`.
      slots: Words from the look.
      region: What it is limited to; "" for the whole clip.
      rng: Orders the templates.
      count: Largest number of instructions.
    """
    if name in templates.PHOTOMETRIC_TEMPLATES:
        rows = (*templates.PHOTOMETRIC_TEMPLATES[name], *LONG_TEMPLATES[name])
    else:
        rows = looks.TEMPLATES[_recipe_name(name)]
    if region:
        rows = tuple(row for row in rows if "{it}" in row and "make it" not in row and "let it" not in row)
    order = rng.permutation(len(rows))[:count].tolist()
    sentences = []
    for i in order:
        words = {
            **slots,
            "it": region or ("the video", "the clip", "this clip", "the footage")[int(rng.integers(4))],
        }
        sentences.append(re.sub(r"\ba (?=[aeiou])", "an ", rows[i].format(**words)))
    return tuple(dict.fromkeys(sentences))


def format_caption(name: str, slots: Mapping[str, str], caption: str, region: str) -> str:
    """Format the caption of a clip with a look.

    Args:
      name: Name of the look.
      slots: Words from the look.
      caption: Caption of the clip, "" if unknown.
      region: What it is limited to; "" for the whole clip.
    """
    if region and name in _STATES:
        return add_state(caption, f"{region} {_STATES[name]}")
    if region:
        return looks.format_part_caption(_recipe_name(name), slots, caption, region)
    if name in templates.STYLES:
        return add_style(grammar.styled_caption(name, ""), caption)
    if name in templates.PHOTOMETRIC_TEMPLATES:  # "palette", whose look is that of another picture
        return caption or "a video"
    return looks.format_caption(_recipe_name(name), slots, caption)


def _recipe_name(look: str) -> str:
    return next((group for group in ("tint", "duotone") if look.startswith(f"{group}-")), look)
