"""Long instructions for the looks of the default mix on footage. Their words are not in the packaged model's vocabulary (`templates.py`)."""

from __future__ import annotations

LONG_TEMPLATES: dict[str, tuple[str, ...]] = {
    "greyscale": (
        "drain every trace of color from {it} so that only luminance remains, as on panchromatic film stock",
        "present {it} as a monochrome documentary would, in neutral tones from charcoal to silver",
        "convert {it} to black and white like a photograph by a reporter of the fifties, without changing brightness or contrast",
    ),
    "sepia": (
        "tone {it} in the warm brown of a nineteenth-century portrait that has been lying in a drawer for generations",
        "give {it} the nostalgic brownish coloring of an antique postcard, highlights cream-colored and shadows like chestnut",
        "make {it} look as if it had been printed on yellowed paper and toned with sepia ink by an itinerant photographer",
    ),
    "night": (
        "shoot {it} day for night: underexposed, bluish and dim, as if only the moon were shining on it",
        "let darkness fall over {it}, with a cold blue cast and shadows so deep that details barely emerge",
        "change the hour of {it} to long after dusk, lamps switched off, everything sunk into a bluish gloom",
    ),
    "warmer": (
        "shift the white balance of {it} towards amber, as if an old light bulb illuminated it",
        "add the cosy warmth of candlelight to {it}: more red and yellow, much less blue",
        "grade {it} with a warm palette that reminds one of late summer, honey and terracotta",
    ),
    "colder": (
        "shift the white balance of {it} towards blue, as under an overcast sky in January",
        "cool {it} down with a steely blue grade, as crime series from Scandinavia have it",
        "make {it} look clinical and chilly: less red, more blue, like the corridor of a hospital under neon tubes",
    ),
    "negative": (
        "turn {it} into its photographic negative, with dark skies, bright shadows and complementary colors",
        "show {it} as it would appear on an undeveloped strip of negative film held against a lamp",
        "swap light and dark in {it} and replace each hue by its opposite, like an x-ray in color",
    ),
    "brighter": (
        "open the aperture on {it}: lift the midtones strongly so that even dim corners become readable",
        "raise the exposure of {it} as though somebody had pulled the curtains aside and let daylight flood in",
        "make {it} considerably brighter, lifting shadows more than highlights so that nothing is burnt out",
    ),
    "darker": (
        "lower the exposure of {it} by about one stop so that it feels gloomy and heavy",
        "dim the light on {it} to half, like a cinema before the film begins",
        "make {it} considerably darker but leave the hues as they are, as if a thick cloud had covered the sun",
    ),
    "more saturated": (
        "push the colors of {it} until they are as vivid as in an advertisement for tropical fruit",
        "intensify all hues in {it} without altering brightness: greens lush, reds fiery, blues deep",
        "make {it} look as colorful as candy, with the saturation turned up to twice of what it is",
    ),
    "less saturated": (
        "mute the colors of {it} until just a hint is left, as in a melancholic arthouse film",
        "wash most of the color out of {it}, keeping the brightness, so that it looks pale and restrained",
        "turn the saturation of {it} down to a quarter; the hues should still be recognizable, though faint",
    ),
    "posterise": (
        "simplify {it} to a handful of flat tones per channel, like a screen print on a poster",
        "quantize the colors of {it} so coarsely that smooth gradients break into clearly visible steps",
        "render {it} as pop art would, with three levels of red, green and blue and nothing in between",
    ),
    "blur": (
        "throw {it} out of focus with a soft, creamy blur, so that shapes remain but details vanish",
        "blur {it} as if seen through frosted glass; contours should melt into one another",
        "defocus {it} strongly, like a lens set to the wrong distance, without shifting anything",
    ),
    "autumn": (
        "bring autumn to {it}: every green leaf and blade of grass turns rust, ochre or golden",
        "recolor the vegetation in {it} as in October, when foliage glows orange and brown before it drops",
        "let {it} play in the fall, with withered warm tones wherever plants were green",
    ),
    "winter": (
        "bring winter to {it}: pale cold light, frosty whites and hardly any green left",
        "let {it} play in the depth of January, bleached and icy as if hoarfrost covered everything",
        "take the warmth and the greenery out of {it} and give it the bluish pallor of a snowy morning",
    ),
    "spring": (
        "bring spring to {it}: fresh, juicy greens and a mild, friendly light on everything that grows",
        "let {it} play in May, when meadows and young leaves shine in their brightest green",
        "refresh the vegetation in {it} so that it sprouts in luminous green after the winter",
    ),
    "palette": (
        "transfer the palette of the reference picture to {it}, matching its mean color and its contrast in every channel",
        "grade {it} so that its overall mood and colors are those of the reference image, while the content stays the same",
        "take the reference picture as a color chart and make {it} share its tint, its brightness and its range of tones",
    ),
}  # fmt: skip
