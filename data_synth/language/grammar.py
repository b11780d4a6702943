"""Instructions for planar scenes: a finite grammar, so that the packaged model's vocabulary is known in advance.

Edit (name, slots) → **instructions**: imperative, lower case, at most 22 words, each true of the pair by itself.
The tables are in templates.py; `vocabulary()` covers all of them, so every word of an instruction is in it.
"""

from __future__ import annotations

import re

import numpy as np

from data_synth.language.captions import join_video
from data_synth.language.templates import (
    CENTER_PHRASES,
    LOCAL_TEMPLATES,
    PHOTOMETRIC_TEMPLATES,
    REGIONS,
    STYLES,
    SYNONYMS,
    WHOLE_CLIP,
)
from data_synth.scenes import draw
from data_synth.scenes import objects as ob
from data_synth.scenes import scene as sc
from data_synth.scenes import textures as tx
from data_synth.scenes.edits import POSITIONS, Edit


def sample_instructions(
    edit: Edit, rng: np.random.Generator, count: tuple[int, int] = (4, 8)
) -> tuple[str, ...]:
    """Sample between count[0] and count[1] different instructions that each describe the whole edit.

    For a photometric edit `slots["it"]` may name the region it is limited to ("the left half"); otherwise it is the whole clip.
    """
    templates = _templates(edit.name)
    k = min(int(rng.integers(count[0], count[1] + 1)), len(templates))
    template_indices = rng.permutation(len(templates))[:k].tolist()
    return tuple(dict.fromkeys(_fill(templates[i], edit, rng) for i in template_indices))


def styled_caption(style: str, caption: str) -> str:
    """Format the caption of a styled clip, such as "a sepia video of a red ball over a green leaf texture"."""
    if style == "palette":
        return caption
    return join_video(f"{sc.indefinite_article(STYLES[style])} {STYLES[style]} video", caption)


def vocabulary() -> list[str]:
    """Return every word that captions and instructions can contain, and common synonyms, sorted."""
    texts = [
        *WHOLE_CLIP,
        *REGIONS,
        *ob.COLORS,
        *ob.SHAPES,
        *ob.SIZES,
        *POSITIONS,
        *tx.GRADIENTS,
        *draw.TEXTURE_WORDS.values(),
        *STYLES.values(),
        SYNONYMS,
        "a an and over moving video of landscape with sky hills plain background",
    ]
    texts += [t for table in (PHOTOMETRIC_TEMPLATES, LOCAL_TEMPLATES) for row in table.values() for t in row]
    texts += [phrase for place in POSITIONS for phrase in _position_phrases(place)]
    texts += [phrase for name in draw.background_names() for phrase in _background_phrases(name)]
    return sorted({w for text in texts for w in split_words(re.sub(r"\{\w+\}", " ", text))})


def split_words(text: str) -> list[str]:
    """Split a sentence into words: lower case, letters only."""
    return re.findall(r"[a-z]+", text.lower())


def _templates(name: str) -> tuple[str, ...]:
    return PHOTOMETRIC_TEMPLATES.get(name) or LOCAL_TEMPLATES[name]


def _fill(template: str, edit: Edit, rng: np.random.Generator) -> str:
    slots = dict(edit.slots)
    if "{it}" in template:
        slots["it"] = slots.get("it") or _sample_option(
            rng, WHOLE_CLIP if "make it" not in template else WHOLE_CLIP[:1] + WHOLE_CLIP[2:4]
        )
    if edit.name == "insert":
        # The medium size is the default and may be left out.
        size = "" if slots["size"] == "medium" and rng.random() < 0.5 else slots["size"] + " "
        slots["a_new"] = (
            f"a {size}{slots['new']}" if size or slots["new"][0] not in "aeiou" else f"an {slots['new']}"
        )
        slots["at"] = _sample_option(rng, _position_phrases(slots["place"]))
    if edit.name == "background":
        slots["ground"] = _sample_option(rng, _background_phrases(slots["background"]))
    sentence = template.format(**slots)
    return re.sub(r"\ba (?=[aeiou])", "an ", sentence)


def _position_phrases(place: str) -> tuple[str, ...]:
    if place in CENTER_PHRASES:
        return CENTER_PHRASES[place]
    if " " in place:
        return f"in the {place} corner", f"at the {place}", f"in the {place}"
    if place in ("left", "right"):
        return f"on the {place}", f"on the {place} side", f"at the {place} edge"
    return f"at the {place}", f"at the {place} edge", f"in the {place} middle"


def _background_phrases(name: str) -> tuple[str, ...]:
    if name in tx.GRADIENTS:
        mass = name in ("snow", "night sky")  # mass noun: "snow"; unique: "the night sky"
        plain = f"a {name}" if not mass else name if name == "snow" else f"the {name}"
        return plain, f"a {name} background", f"a {name} gradient"
    return f"plain {name}", name, f"solid {name}", f"a plain {name} background"


def _sample_option(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]
