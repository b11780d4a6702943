"""The table of looks beyond `photometric.py`: one name, one operator, for recipes, references and contact sheets.

clip, name, generator → **apply_look** → edited clip. The operators are in `color_looks.py`, `lens_looks.py`, `stylized_looks.py` and
`film_looks.py`. A look takes RGB uint8 [T, H, W, 3] of any size and is exact: the same clip and generator give the same levels.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from data_synth.operators import color_looks, film_looks, lens_looks, stylized_looks
from data_synth.scenes import objects as ob

# (video, generator) → edited video.
LookFunction = Callable[[np.ndarray, np.random.Generator], np.ndarray]
# Colors by which clips are tinted; tints with the others are hardly seen as such.
TINT_COLORS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink")


@dataclasses.dataclass(frozen=True)
class Look:
    """A look and what may be done with it.

    Attributes:
      function: The operator.
      is_regional: Whether it makes sense in a part of the frame.
      is_static: Whether a frozen clip stays frozen: each frame depends on the same frame of the source alone.
      inverse: The operator that undoes it, up to rounding and clipping; None where nothing does.
      slots: Words for the placeholders of its instructions, such as the color of a tint.
    """

    function: LookFunction
    is_regional: bool = True
    is_static: bool = True
    inverse: LookFunction | None = None
    slots: tuple[tuple[str, str], ...] = ()


def restrict_to_mask(source: np.ndarray, edited: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the edited clip where the mask is above 0 and the source elsewhere, exactly.

    Args:
      source: uint8 [T, H, W, 3].
      edited: uint8 [T, H, W, 3].
      mask: [T, H, W] or, for all frames alike, [H, W].
    """
    return np.where((mask > 0)[..., None], edited, source)


def apply_look(
    name: str, video: np.ndarray, rng: np.random.Generator, mask: np.ndarray | None = None
) -> np.ndarray:
    """Return a clip with a look of `LOOKS`.

    Args:
      name: Name of the look.
      video: uint8 [T, H, W, 3].
      rng: Generator for looks that are not static; others draw nothing.
      mask: Where it is applied, as for `restrict_to_mask`; None for everywhere.
    """
    edited = LOOKS[name].function(video, rng)
    return edited if mask is None else restrict_to_mask(video, edited, mask)


def _ignore_generator(function: Callable[[np.ndarray], np.ndarray]) -> LookFunction:
    """Return a look from an operator that draws nothing."""
    return lambda video, rng: function(video)


def _contrast_look(factor: float) -> Look:
    change = functools.partial(color_looks.change_contrast, factor=factor)
    undo = functools.partial(color_looks.change_contrast, factor=1 / factor)
    return Look(_ignore_generator(change), inverse=_ignore_generator(undo))


def _flip_look(function: Callable[[np.ndarray], np.ndarray]) -> Look:
    return Look(_ignore_generator(function), is_regional=False, inverse=_ignore_generator(function))


def _tint_look(color: str) -> Look:
    function = functools.partial(color_looks.tint, color=ob.COLORS[color])
    return Look(_ignore_generator(function), slots=(("colour", color),))


def _duotone_look(words: str) -> Look:
    dark, light = color_looks.DUOTONES[words]
    function = functools.partial(color_looks.duotone, dark=dark, light=light)
    return Look(_ignore_generator(function), slots=(("colours", words),))


LOOKS: dict[str, Look] = {
    "more-contrast": _contrast_look(1.7),
    "less-contrast": _contrast_look(0.45),
    **{f"tint-{color}": _tint_look(color) for color in TINT_COLORS},
    **{f"duotone-{words.replace(' ', '-')}": _duotone_look(words) for words in color_looks.DUOTONES},
    "teal-and-orange": Look(_ignore_generator(color_looks.teal_and_orange)),
    "golden-hour": Look(_ignore_generator(color_looks.golden_hour)),
    "sunset": Look(_ignore_generator(color_looks.sunset)),
    "moonlight": Look(_ignore_generator(color_looks.moonlight)),
    "thermal": Look(_ignore_generator(color_looks.thermal)),
    "night-vision": Look(_ignore_generator(color_looks.night_vision)),
    "cyanotype": Look(_ignore_generator(color_looks.cyanotype)),
    "faded": Look(_ignore_generator(color_looks.faded)),
    "solarise": Look(_ignore_generator(color_looks.solarize)),
    "vignette": Look(
        _ignore_generator(color_looks.vignette),
        is_regional=False,
        inverse=_ignore_generator(color_looks.remove_vignette),
    ),
    "glow": Look(_ignore_generator(lens_looks.glow)),
    "tilt-shift": Look(_ignore_generator(lens_looks.tilt_shift), is_regional=False),
    "sharpen": Look(_ignore_generator(lens_looks.sharpen)),
    "colour-fringes": Look(_ignore_generator(lens_looks.color_fringes), is_regional=False),
    "mirror-image": _flip_look(lens_looks.mirror),
    "upside-down": _flip_look(lens_looks.flip_upside_down),
    "sketch": Look(_ignore_generator(stylized_looks.sketch)),
    "ink-drawing": Look(_ignore_generator(stylized_looks.ink_drawing)),
    "cartoon": Look(_ignore_generator(stylized_looks.cartoon)),
    "oil-painting": Look(_ignore_generator(stylized_looks.oil_painting)),
    "watercolour": Look(_ignore_generator(stylized_looks.watercolor)),
    "pixel-art": Look(_ignore_generator(stylized_looks.pixel_art)),
    "halftone": Look(_ignore_generator(stylized_looks.halftone)),
    "emboss": Look(_ignore_generator(stylized_looks.emboss)),
    "neon": Look(_ignore_generator(stylized_looks.neon)),
    "stained-glass": Look(_ignore_generator(stylized_looks.stained_glass)),
    "film-grain": Look(film_looks.film_grain, is_static=False),
    "old-film": Look(film_looks.old_film, is_regional=False, is_static=False),
    "vhs": Look(film_looks.vhs, is_regional=False, is_static=False),
}
