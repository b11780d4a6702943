"""Edit → sentences. A finite grammar, so that the embedded model's vocabulary is known in advance.

Edit (name, slots) → **instructions**: imperative, lower case, at most 22 words, each true of the pair by itself.
A template's {it} is what the edit applies to ("the video", "the left half", ...); {object}, {new}, {colour} and so on
are filled from the edit's slots. `vocabulary()` walks the same tables, so no sentence can hold a word outside it.
"""

from __future__ import annotations

import re

import numpy as np

from data_synth.scenes import draw
from data_synth.scenes import objects as ob
from data_synth.scenes import scene as sc
from data_synth.scenes import textures as tx
from data_synth.scenes.edits import PLACES, Edit

WHOLE = (
    "the video",
    "it",
    "this video",
    "the clip",
    "everything",
    "this clip",
    "the whole video",
    "the scene",
)
REGIONS = ("left half", "right half", "top half", "bottom half")

# Other words for the same edit: (template, ...). Every one must by itself say exactly which edit is meant.
PHOTOMETRIC_TEMPLATES = {
    "greyscale": (
        "make {it} black and white",
        "turn {it} grayscale",
        "convert {it} to greyscale",
        "change {it} to black and white",
        "remove all color from {it}",
        "make {it} monochrome",
        "turn {it} into black and white",
        "take the colour out of {it}",
        "make {it} gray",
        "render {it} in shades of grey",
        "desaturate {it} completely",
    ),
    "sepia": (
        "make {it} sepia",
        "apply a sepia tone to {it}",
        "give {it} a sepia look",
        "turn {it} sepia",
        "make {it} look like an old photo",
        "give {it} a vintage sepia tone",
        "make {it} look vintage",
        "add a sepia filter to {it}",
        "make {it} look old and brown",
    ),
    "night": (
        "make {it} look like night",
        "turn {it} into night",
        "change the time of day to night in {it}",
        "make it night in {it}",
        "change {it} to a night scene",
        "turn day into night in {it}",
        "make {it} look like it was filmed at night",
        "make {it} nighttime",
    ),
    "warmer": (
        "make {it} warmer",
        "make the colors of {it} warmer",
        "warm up {it}",
        "give {it} a warm tone",
        "make {it} look warmer",
        "give {it} warm colors",
        "shift {it} to warm tones",
        "add a warm filter to {it}",
    ),
    "colder": (
        "make {it} colder",
        "make {it} cooler",
        "cool down {it}",
        "give {it} a cold tone",
        "make {it} bluish",
        "give {it} cool colors",
        "shift {it} to cold tones",
        "make the colours of {it} cooler",
        "add a cool filter to {it}",
    ),
    "negative": (
        "invert the colors of {it}",
        "make {it} a negative",
        "turn {it} into a negative",
        "invert {it}",
        "show {it} as a photo negative",
        "make {it} look like a film negative",
        "invert all colours in {it}",
        "negate {it}",
    ),
    "brighter": (
        "make {it} brighter",
        "brighten {it}",
        "increase the brightness of {it}",
        "make {it} lighter",
        "lighten {it}",
        "add more light to {it}",
        "brighten up {it}",
        "raise the exposure of {it}",
    ),
    "darker": (
        "make {it} darker",
        "darken {it}",
        "decrease the brightness of {it}",
        "reduce the brightness of {it}",
        "dim {it}",
        "lower the exposure of {it}",
        "make {it} look darker",
        "lower the brightness of {it}",
    ),
    "more saturated": (
        "make {it} more saturated",
        "increase the saturation of {it}",
        "make {it} more colorful",
        "make the colors of {it} more vivid",
        "boost the colors of {it}",
        "make {it} vibrant",
        "saturate {it}",
        "make the colours of {it} stronger",
    ),
    "less saturated": (
        "make {it} less saturated",
        "reduce the saturation of {it}",
        "make {it} less colorful",
        "fade the colors of {it}",
        "make the colors of {it} pale",
        "mute the colours of {it}",
        "decrease the saturation of {it}",
        "make the colors of {it} duller",
    ),
    "posterise": (
        "posterize {it}",
        "posterise {it}",
        "reduce the number of colors in {it}",
        "make {it} look like a poster",
        "give {it} a poster effect",
        "apply a posterize effect to {it}",
        "make {it} look like a comic",
        "turn {it} into a poster",
    ),
    "blur": (
        "blur {it}",
        "make {it} blurry",
        "make {it} out of focus",
        "soften {it}",
        "apply a blur to {it}",
        "make {it} look blurred",
        "add blur to {it}",
        "defocus {it}",
    ),
    "autumn": (
        "make {it} look like autumn",
        "turn {it} into autumn",
        "change the season of {it} to autumn",
        "give {it} autumn colors",
        "make {it} look like fall",
        "change {it} to fall colors",
        "make it autumn in {it}",
        "give {it} an autumn look",
    ),
    "winter": (
        "make {it} look like winter",
        "turn {it} into winter",
        "change the season of {it} to winter",
        "give {it} winter colors",
        "make it winter in {it}",
        "give {it} a winter look",
        "make {it} look frozen",
        "change {it} to a winter scene",
    ),
    "spring": (
        "make {it} look like spring",
        "turn {it} into spring",
        "change the season of {it} to spring",
        "give {it} spring colors",
        "make it spring in {it}",
        "give {it} a spring look",
        "make {it} fresh and green",
        "change {it} to a spring scene",
    ),
    "palette": (
        "use the colors of the reference image in {it}",
        "give {it} the palette of the reference",
        "match the colors of {it} to the reference",
        "apply the palette of the reference image to {it}",
        "transfer the colours of the reference image to {it}",
        "recolor {it} like the reference image",
        "make the colors of {it} match the reference image",
        "apply the reference palette to {it}",
    ),
}
LOCAL_TEMPLATES = {
    "recolour": (
        "make the {object} {colour}",
        "turn the {object} {colour}",
        "change the {object} to {colour}",
        "recolor the {object} {colour}",
        "paint the {object} {colour}",
        "change the color of the {object} to {colour}",
        "recolour the {object} to {colour}",
        "the {object} should be {colour}",
        "turn the {object} into a {colour} {shape}",
        "color the {object} {colour}",
        "change the colour of the {object} into {colour}",
    ),
    "remove": (
        "remove the {object}",
        "delete the {object}",
        "erase the {object}",
        "take away the {object}",
        "get rid of the {object}",
        "remove the {object} from the video",
        "make the {object} disappear",
        "take the {object} out of the scene",
        "delete the {object} from the clip",
        "erase the {object} from the scene",
    ),
    "insert": (
        "add {a_new} {at}",
        "insert {a_new} {at}",
        "put {a_new} {at}",
        "place {a_new} {at}",
        "add {a_new} to the video {at}",
        "draw {a_new} {at}",
        "add {a_new} to the scene {at}",
        "insert {a_new} into the video {at}",
    ),
    "replace": (
        "replace the {object} with a {new}",
        "turn the {object} into a {new}",
        "change the {object} into a {new}",
        "swap the {object} for a {new}",
        "replace the {object} by a {new}",
        "swap the {object} with a {new}",
        "transform the {object} into a {new}",
        "make the {object} a {new}",
        "exchange the {object} for a {new}",
    ),
    "background": (
        "change the background to {ground}",
        "replace the background with {ground}",
        "set the background to {ground}",
        "put {ground} in the background",
        "use {ground} as the background",
        "turn the background into {ground}",
        "swap the background for {ground}",
        "make the background {ground}",
    ),
}
# Caption words for a styled clip: "a {style} video of ..."
STYLES = {
    "greyscale": "black and white",
    "sepia": "sepia",
    "night": "night",
    "warmer": "warm",
    "colder": "cold",
    "negative": "negative",
    "brighter": "bright",
    "darker": "dark",
    "more saturated": "saturated",
    "less saturated": "pale",
    "posterise": "posterized",
    "blur": "blurry",
    "autumn": "autumn",
    "winter": "winter",
    "spring": "spring",
}
_AT = {"center": ("in the center", "in the middle")}
_SYNONYMS = (
    "a an and another at away background backgrounds be by circle clips color colored colorful coloring "
    "colour coloured colours cooler crimson dark daytime delete desaturated dusk eliminate enhance film "
    "fix footage frame from gold gradient gray grayscale greyer hue image in inside into is less lighting "
    "lime magenta make me middle modify more movie navy new nicer no object of off old on only orange out "
    "over photo photograph picture pink please plus retro rid scenery screen shadow shade show side sky "
    "small some square style sun sunny tan teal that there this tint to tone top under up upper very "
    "violet washed white with without yellow"
)


def instructions(edit: Edit, rng: np.random.Generator, count: tuple[int, int] = (4, 8)) -> tuple[str, ...]:
    """Between count[0] and count[1] different sentences that each say the edit.

    For a photometric edit `slots["it"]` may name what it is limited to ("the left half"); otherwise the whole clip.
    """
    templates = _templates(edit.name)
    k = min(int(rng.integers(count[0], count[1] + 1)), len(templates))
    picked = rng.permutation(len(templates))[:k].tolist()
    return tuple(dict.fromkeys(_fill(templates[i], edit, rng) for i in picked))


def styled_caption(style: str, caption: str) -> str:
    """ "a sepia video of a red ball over a green leaf texture" """
    if style == "palette":
        return caption
    return f"{sc.article(STYLES[style])} {STYLES[style]} video of {caption}"


def vocabulary() -> list[str]:
    """Every word that captions and instructions can contain, and common synonyms, sorted."""
    texts = [
        *WHOLE,
        *REGIONS,
        *ob.COLOURS,
        *ob.SHAPES,
        *ob.SIZES,
        *PLACES,
        *tx.GRADIENTS,
        *draw.TEXTURE_WORDS.values(),
        *STYLES.values(),
        _SYNONYMS,
        "a an and over moving video of landscape with sky hills plain background",
    ]
    texts += [t for table in (PHOTOMETRIC_TEMPLATES, LOCAL_TEMPLATES) for row in table.values() for t in row]
    texts += [phrase for place in PLACES for phrase in _places(place)]
    texts += [phrase for name in draw.background_names() for phrase in _grounds(name)]
    return sorted({w for text in texts for w in words(re.sub(r"\{\w+\}", " ", text))})


def words(text: str) -> list[str]:
    """The words of a sentence: lower case, letters only."""
    return re.findall(r"[a-z]+", text.lower())


def _templates(name: str) -> tuple[str, ...]:
    return PHOTOMETRIC_TEMPLATES.get(name) or LOCAL_TEMPLATES[name]


def _fill(template: str, edit: Edit, rng: np.random.Generator) -> str:
    slots = dict(edit.slots)
    if "{it}" in template:
        slots["it"] = slots.get("it") or _pick(
            rng, WHOLE if "make it" not in template else WHOLE[:1] + WHOLE[2:4]
        )
    if edit.name == "insert":
        # The medium size is the default, so it may go unsaid.
        size = "" if slots["size"] == "medium" and rng.random() < 0.5 else slots["size"] + " "
        slots["a_new"] = (
            f"a {size}{slots['new']}" if size or slots["new"][0] not in "aeiou" else f"an {slots['new']}"
        )
        slots["at"] = _pick(rng, _places(slots["place"]))
    if edit.name == "background":
        slots["ground"] = _pick(rng, _grounds(slots["background"]))
    sentence = template.format(**slots)
    return re.sub(r"\ba (?=[aeiou])", "an ", sentence)


def _places(place: str) -> tuple[str, ...]:
    if place in _AT:
        return _AT[place]
    if " " in place:
        return f"in the {place} corner", f"at the {place}", f"in the {place}"
    if place in ("left", "right"):
        return f"on the {place}", f"on the {place} side", f"at the {place} edge"
    return f"at the {place}", f"at the {place} edge", f"in the {place} middle"


def _grounds(name: str) -> tuple[str, ...]:
    if name in tx.GRADIENTS:
        mass = name in ("snow", "night sky")  # "a snow" is not said; "the night sky" is
        plain = f"a {name}" if not mass else name if name == "snow" else f"the {name}"
        return plain, f"a {name} background", f"a {name} gradient"
    return f"plain {name}", name, f"solid {name}", f"a plain {name} background"


def _pick(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]
