"""Instructions for looks and weather, in both directions.

look or weather, direction, slots, caption → **instructions**. A finite grammar beside grammar.py's. The packaged model was trained without
these words, so they are kept out of `grammar.vocabulary()`; `vocabulary()` holds those that it lacks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from data_synth.language import grammar, templates
from data_synth.language.captions import adapt_templates, add_state, add_style, first_sentence

# Recipe → instructions; {it} is the clip or a region of it, {colour} and {colours} come from the look. Each names the look by itself.
TEMPLATES: dict[str, tuple[str, ...]] = {
    "more-contrast": (
        "increase the contrast of {it}",
        "make {it} more contrasty",
        "boost the contrast in {it}",
        "give {it} a high-contrast look",
        "make the darks darker and the lights lighter in {it}",
        "add punch to {it} by raising the contrast a lot, so that shadows sink to black and highlights reach white",
    ),
    "less-contrast": (
        "reduce the contrast of {it}",
        "lower the contrast in {it}",
        "make {it} low-contrast and flat",
        "flatten the tones of {it}",
        "give {it} a washed-out, milky look with little contrast",
        "bring the shadows and the highlights of {it} closer together, so that everything looks hazy and flat",
    ),
    "tint": (
        "tint {it} {colour}",
        "give {it} a {colour} tint",
        "color {it} {colour}",
        "put a {colour} filter over {it}",
        "bathe {it} in {colour} light",
        "turn {it} {colour} all over",
        "wash {it} with {colour}",
        "replace all hues of {it} by shades of {colour}, from dark {colour} in the shadows to almost white in the highlights",
    ),
    "duotone": (
        "make {it} a {colours} duotone",
        "give {it} a duotone effect in {colours}",
        "apply a two-tone look of {colours} to {it}",
        "print {it} in two colors, {colours}",
        "map the shadows and highlights of {it} to {colours}",
        "reduce {it} to just {colours}: the first for everything dark, the second for everything bright",
    ),
    "teal-and-orange": (
        "give {it} a teal and orange grade",
        "apply a teal and orange look to {it}",
        "color grade {it} in teal and orange",
        "make {it} look like a blockbuster, teal and orange",
        "push the shadows of {it} to teal and the highlights to orange",
        "grade {it} like a modern action movie with cool teal shadows and warm orange skin and highlights",
    ),
    "golden-hour": (
        "make {it} look like golden hour",
        "relight {it} with golden hour sunlight",
        "give {it} the golden light of the late afternoon",
        "let warm evening sun fall on {it}",
        "add golden sunlight to {it}",
        "make {it} look as if it was filmed in the last hour before sunset, with soft golden light from the upper right",
    ),
    "sunset": (
        "make {it} look like sunset",
        "put {it} in the light of a sunset",
        "change the time of day to sunset in {it}",
        "give {it} sunset colors",
        "let the sun set over {it}",
        "show {it} at dusk with a glowing orange horizon and a violet sky",
    ),
    "moonlight": (
        "light {it} by the moon",
        "put {it} in moonlight",
        "make {it} look moonlit",
        "show {it} under a full moon",
        "give {it} pale silver moonlight",
        "relight {it} as on a clear night with a full moon: deep blue shadows, almost no color, silver highlights",
    ),
    "thermal": (
        "make {it} look like a thermal camera",
        "show {it} as a heat map",
        "turn {it} into thermal vision",
        "give {it} an infrared heat vision effect",
        "view {it} through a thermal imager",
        "show {it} as a thermal camera would, with cold areas in dark blue and hot ones in orange, yellow and white",
    ),
    "night-vision": (
        "show {it} through night vision goggles",
        "make {it} look like night vision",
        "give {it} a green night vision effect",
        "turn {it} into green night-scope footage",
        "view {it} through a military night scope, glowing green and dark towards the edges",
    ),
    "cyanotype": (
        "turn {it} into a cyanotype",
        "print {it} as a blueprint",
        "give {it} a cyanotype look",
        "make {it} prussian blue and white",
        "show {it} as an old cyanotype print in prussian blue on white paper",
    ),
    "faded": (
        "make {it} look like a faded photo",
        "give {it} faded film colors",
        "fade {it} like an old color print",
        "apply a faded retro filter to {it}",
        "make {it} look like a holiday snapshot from the seventies whose colors have faded to a pale, warm haze",
    ),
    "solarise": (
        "solarize {it}",
        "solarise {it}",
        "apply a solarization effect to {it}",
        "partly invert the bright tones of {it}",
        "give {it} a psychedelic solarized look in which everything bright is turned into its negative",
    ),
    "vignette": (
        "add a vignette to {it}",
        "darken the corners of {it}",
        "put a dark vignette around {it}",
        "fade the edges of {it} to black",
        "make the corners of {it} dark",
        "draw the eye to the middle of {it} by darkening the picture gradually towards all four corners",
    ),
    "glow": (
        "add a soft glow to {it}",
        "make {it} glow",
        "add bloom to the highlights of {it}",
        "give {it} a dreamy glow",
        "let the bright parts of {it} bloom",
        "make {it} dreamy, with light spilling softly from every highlight into its surroundings",
    ),
    "tilt-shift": (
        "give {it} a tilt-shift effect",
        "make {it} look like a miniature",
        "turn {it} into a toy model with tilt-shift",
        "blur the top and bottom of {it} like a tilt-shift lens",
        "make {it} look like a tiny model village: a narrow sharp band, blur above and below, and candy colors",
    ),
    "sharpen": (
        "sharpen {it}",
        "make {it} sharper",
        "make {it} crisp",
        "bring out the fine details of {it}",
        "add sharpness to {it}",
        "apply an unsharp mask to {it} so that every edge and texture becomes crisp",
    ),
    "colour-fringes": (
        "add chromatic aberration to {it}",
        "split the colors at the edges of {it}",
        "add red and blue color fringes to {it}",
        "make {it} look as if it was shot through a cheap lens with color fringes",
        "shift the red and blue channels of {it} apart towards the borders, like a poor lens does",
    ),
    "mirror-image": (
        "mirror {it}",
        "flip {it} horizontally",
        "swap left and right in {it}",
        "show {it} as in a mirror",
        "reflect {it} from left to right",
        "turn {it} around so that what was on the left is on the right, as if seen in a mirror",
    ),
    "upside-down": (
        "turn {it} upside down",
        "flip {it} vertically",
        "put {it} on its head",
        "swap top and bottom in {it}",
        "flip {it} so that the ground is at the top and the sky at the bottom",
    ),
    "sketch": (
        "turn {it} into a pencil sketch",
        "make {it} a pencil drawing",
        "sketch {it} in pencil",
        "draw {it} with a pencil",
        "give {it} a hand-drawn pencil look",
        "show {it} as a graphite sketch",
        "redraw {it} by hand with a soft graphite pencil on white paper, with fine shading along every contour",
    ),
    "ink-drawing": (
        "turn {it} into an ink drawing",
        "draw {it} in black ink",
        "make {it} a pen and ink drawing",
        "show {it} as black ink on white paper",
        "ink {it} like a manga page",
        "redraw {it} with a brush and black ink on white paper, solid black in the shadows and nothing in between",
    ),
    "cartoon": (
        "turn {it} into a cartoon",
        "cartoonize {it}",
        "make {it} look like a cartoon",
        "give {it} a cartoon style",
        "draw {it} as a cel-shaded cartoon",
        "make {it} an animated cartoon",
        "redraw {it} as a hand-inked cartoon with flat, bright areas of color and bold dark outlines",
    ),
    "oil-painting": (
        "turn {it} into an oil painting",
        "paint {it} in oil",
        "make {it} look like an oil painting",
        "give {it} the brush strokes of an oil painting",
        "render {it} as oil on canvas",
        "paint {it} with thick, visible strokes of oil paint and rich colors, as an impressionist would",
    ),
    "watercolour": (
        "turn {it} into a watercolor",
        "paint {it} in watercolours",
        "make {it} look like a watercolor painting",
        "give {it} a watercolour style",
        "render {it} as a watercolor on paper",
        "paint {it} with thin, pale washes of watercolor that run unevenly and dry darker at their rims on rough paper",
    ),
    "pixel-art": (
        "turn {it} into pixel art",
        "make {it} look like an old video game",
        "give {it} an eight-bit pixel look",
        "render {it} as retro pixel art",
        "draw {it} in chunky pixels",
        "redraw {it} like a game from the eighties, in large square pixels with few, bright colors",
    ),
    "halftone": (
        "give {it} a halftone effect",
        "print {it} in halftone dots",
        "make {it} look like newspaper print",
        "turn {it} into a dotted comic book print",
        "apply a color halftone to {it}",
        "print {it} as old comics were, with dots of cyan, magenta, yellow and black that merge from afar",
    ),
    "emboss": (
        "emboss {it}",
        "apply an emboss effect to {it}",
        "make {it} look like a metal relief",
        "turn {it} into a grey relief",
        "press {it} into metal",
        "turn {it} into a relief in grey metal, lit from the upper left so that only the contours stand out",
    ),
    "neon": (
        "turn {it} into neon lights",
        "make {it} look like neon signs",
        "draw {it} in glowing neon lines",
        "give {it} a neon outline effect",
        "trace the edges of {it} with neon tubes",
        "replace {it} by glowing neon tubes that follow every outline in its own color on a black background",
    ),
    "stained-glass": (
        "turn {it} into stained glass",
        "make {it} look like a church window",
        "give {it} a stained glass effect",
        "set {it} in stained glass",
        "render {it} as a leaded glass window",
        "rebuild {it} from small panes of colored glass that are held by dark lead, like a window in a cathedral",
    ),
    "film-grain": (
        "add film grain to {it}",
        "make {it} grainy",
        "give {it} the grain of analog film",
        "add heavy grain to {it}",
        "make {it} look like high-speed film",
        "make {it} look as if it was shot on fast analog film, with lively grain above all in the middle tones",
    ),
    "old-film": (
        "make {it} look like an old film",
        "turn {it} into a silent movie",
        "give {it} an old film look with scratches and dust",
        "age {it} like footage from the twenties",
        "make {it} look like a scratched, flickering old movie",
        "show {it} as a worn old film",
        "make {it} look like a reel from a silent cinema: brownish grey, flickering and shaking, with scratches, dust and dark corners",
    ),
    "vhs": (
        "make {it} look like VHS",
        "turn {it} into an old VHS tape",
        "give {it} a VHS effect",
        "play {it} from a worn video tape",
        "make {it} look like a home video from the eighties",
        "make {it} look like a copy of a copy on a worn VHS tape, with bleeding colors, noise and a torn lower edge",
    ),
    "rain": (
        "add rain to {it}",
        "make it rain in {it}",
        "let it rain in {it}",
        "turn {it} into a rainy scene",
        "put {it} in pouring rain",
        "change the weather in {it} to rain",
        "let heavy rain fall through {it}, with bright streaks, a grey veil in the distance and duller colors",
    ),
    "snow": (
        "add falling snow to {it}",
        "make it snow in {it}",
        "let it snow in {it}",
        "turn {it} into a snowy scene",
        "add a snowfall to {it}",
        "change the weather in {it} to snow",
        "let thick snowflakes drift slowly through {it}, large and soft near the camera, small and dense far away",
    ),
    "fog": (
        "add fog to {it}",
        "make {it} foggy",
        "fill {it} with fog",
        "put {it} in thick fog",
        "let mist drift through {it}",
        "change the weather in {it} to fog",
        "let dense grey fog drift through {it}, so that whatever is far away fades while near things stay visible",
    ),
}  # fmt: skip

# Recipe → instructions for the way back to the clip.
UNDO_TEMPLATES: dict[str, tuple[str, ...]] = {
    "more-contrast": (
        "reduce the harsh contrast of {it}",
        "soften the contrast of {it} to a natural level",
        "bring back the details in the shadows and highlights of {it}",
    ),
    "less-contrast": (
        "restore the contrast of {it}",
        "bring {it} back to full contrast",
        "remove the milky veil from {it} and restore deep blacks and clean whites",
    ),
    "tint": (
        "remove the {colour} tint from {it}",
        "take the {colour} cast out of {it}",
        "restore the natural colors under the {colour} tint of {it}",
    ),
    "faded": (
        "restore the faded colors of {it}",
        "bring the colors of this faded clip back to life",
        "repair the fading of {it}, so that blacks are black again and colors as strong as when it was shot",
    ),
    "vignette": (
        "remove the vignette from {it}",
        "brighten the dark corners of {it}",
        "even out the light of {it} by lifting the dark corners to the level of the middle",
    ),
    "colour-fringes": (
        "remove the chromatic aberration from {it}",
        "remove the color fringes from {it}",
        "correct the lens of {it}, so that edges have no red and blue fringes",
    ),
    "film-grain": (
        "remove the film grain from {it}",
        "denoise {it}",
        "clean the grain out of {it} without losing its details",
    ),
    "old-film": (
        "restore and colorize this old film",
        "remove the scratches and dust from this old film and give it natural color",
        "restore {it} from a worn silent reel to a clean modern color video, steady, without flicker, dust or scratches",
    ),
    "vhs": (
        "restore this VHS tape",
        "remove the VHS effect from {it}",
        "clean up {it}: remove tape noise, color bleeding and scan lines, and make it sharp",
    ),
    "rain": (
        "remove the rain from {it}",
        "stop the rain in {it}",
        "make {it} dry",
        "clear the rain streaks and the grey veil from {it}",
    ),
    "snow": (
        "remove the falling snow from {it}",
        "stop the snowfall in {it}",
        "take the snowflakes out of {it}",
        "clear {it} of all falling snow and restore what the flakes cover",
    ),
    "fog": (
        "remove the fog from {it}",
        "clear the mist from {it}",
        "dehaze {it}",
        "lift the fog from {it} and bring back contrast and color in the distance",
    ),
}
# Recipe → noun of a style whose way back is a new picture, as in "turn this {noun} into a real video".
NOUNS: dict[str, str] = {
    "sketch": "pencil sketch",
    "ink-drawing": "ink drawing",
    "cartoon": "cartoon",
    "oil-painting": "oil painting",
    "watercolour": "watercolor painting",
    "pixel-art": "pixel art",
    "halftone": "halftone print",
    "emboss": "embossed relief",
    "neon": "neon drawing",
    "stained-glass": "stained glass window",
}
_REAL_TEMPLATES = (
    "turn this {noun} into a realistic video",
    "make a real video from this {noun}",
    "render this {noun} with natural color and texture",
)
_REAL_TEMPLATES_CAPTIONED = (
    "turn this {noun} into a realistic video of {caption}",
    "make a real video from this {noun}, showing {caption}",
    "render this {noun} as a natural video in which one sees {caption}",
)
# Words before "video" in the caption of a clip with a look; a recipe's own name where it is missing.
_STYLES = {
    "more-contrast": "high-contrast",
    "less-contrast": "low-contrast",
    "tint": "{colour}-tinted",
    "duotone": "{colours} duotone",
    "golden-hour": "golden hour",
    "moonlight": "moonlit",
    "night-vision": "night vision",
    "solarise": "solarized",
    "vignette": "vignetted",
    "glow": "softly glowing",
    "sharpen": "sharpened",
    "colour-fringes": "color-fringed",
    "mirror-image": "mirrored",
    "film-grain": "grainy",
    "old-film": "scratched old",
    "vhs": "VHS",
    "rain": "rainy",
    "snow": "snowy",
    "fog": "foggy",
    **NOUNS,
}
# How a part of the picture with a look is described; nouns of styles stand after "as a".
_STATES = {
    "more-contrast": "in high contrast",
    "less-contrast": "in low contrast",
    "tint": "tinted {colour}",
    "duotone": "as a {colours} duotone",
    "teal-and-orange": "in teal and orange",
    "golden-hour": "in the light of the golden hour",
    "sunset": "in the light of a sunset",
    "moonlight": "in moonlight",
    "thermal": "as a thermal image",
    "night-vision": "in night vision",
    "cyanotype": "as a cyanotype",
    "faded": "in faded colors",
    "solarise": "solarized",
    "glow": "softly glowing",
    "sharpen": "sharpened",
    "film-grain": "grainy",
    **{name: f"as a {noun}" for name, noun in NOUNS.items()},
}
# How a region that the mask shows is called.
MASKED_AREA = "the masked area"


def undo_templates(name: str, caption: str) -> tuple[str, ...]:
    """Return the instructions for the way back from a look; empty where there is none.

    Args:
      name: Name of the recipe.
      caption: Caption of the clip, "" if unknown.
    """
    if name in NOUNS:
        return (
            adapt_templates(_REAL_TEMPLATES_CAPTIONED, caption) + _REAL_TEMPLATES
            if caption
            else _REAL_TEMPLATES
        )
    return UNDO_TEMPLATES.get(name, ())


def sample_instructions(
    name: str,
    forward: bool,
    slots: Mapping[str, str],
    caption: str,
    rng: np.random.Generator,
    region: str = "",
    count: int = 5,
) -> tuple[str, ...]:
    """Sample different instructions for a look or weather.

    Args:
      name: Name of the recipe, of `TEMPLATES`.
      forward: Whether the clip is the source; otherwise it is the target.
      slots: Words from the look.
      caption: Caption of the clip, "" if unknown.
      rng: Orders the templates and draws words for the clip.
      region: Where the look is limited to, such as "the left half"; "" for the whole clip.
      count: Largest number of instructions.
    """
    rows = TEMPLATES[name] if forward else undo_templates(name, caption)
    order = rng.permutation(len(rows))[:count]
    sentences = []
    for i in order.tolist():
        words = {
            **slots,
            "noun": NOUNS.get(name, ""),
            "caption": first_sentence(caption),
            "it": region or _sample_clip_word(rng, rows[i]),
        }
        sentences.append(re.sub(r"\ba (?=[aeiou])", "an ", rows[i].format(**words)))
    return tuple(dict.fromkeys(sentences))


def format_caption(name: str, slots: Mapping[str, str], caption: str) -> str:
    """Format the caption of a clip with a look, such as "a grainy video of a red ball".

    Args:
      name: Name of the recipe.
      slots: Words from the look.
      caption: Caption of the clip, "" if unknown.
    """
    style = _STYLES.get(name, name.replace("-", " ")).format(**slots)
    prefix = f"{'an' if style[0] in 'aeiou' else 'a'} {style} video"
    return add_style(prefix, caption)


def format_part_caption(name: str, slots: Mapping[str, str], caption: str, region: str) -> str:
    """Format the caption of a clip of which a part has a look, such as "a street, with the left half as a pencil sketch".

    Args:
      name: Name of the recipe; of looks that are regional.
      slots: Words from the look.
      caption: Caption of the clip, "" if unknown.
      region: The part, such as "the left half".
    """
    part = "a part of the picture" if region == MASKED_AREA else region
    state = re.sub(r"\ba (?=[aeiou])", "an ", _STATES[name].format(**slots))
    return add_state(caption, f"{part} {state}")


def vocabulary() -> list[str]:
    """Return the words of all instructions that `grammar.vocabulary()` lacks, sorted (words of captions excluded)."""
    rows = [*TEMPLATES.values(), *UNDO_TEMPLATES.values(), _REAL_TEMPLATES, _REAL_TEMPLATES_CAPTIONED]
    texts = [text for row in rows for text in row] + list(NOUNS.values()) + [MASKED_AREA]
    grammar_words = set(grammar.vocabulary())
    return sorted(
        {w for text in texts for w in grammar.split_words(re.sub(r"\{\w+\}", " ", text))} - grammar_words
    )


def _sample_clip_word(rng: np.random.Generator, template: str) -> str:
    """Draw a word for the whole clip; no second "it" beside that of "make it rain"."""
    words = templates.WHOLE_CLIP
    if re.search(r"\bit\b", template.replace("{it}", "")):
        words = tuple(word for word in words if word not in ("it", "everything"))
    return words[int(rng.integers(len(words)))]
