"""The recipes of overlays: text, subtitles, logos and watermarks, put over a clip and removed from it.

seed → clip, words → **overlay** → Pair. The mask is the layer with a small margin, or the box around it, as a person would mark it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import cv2
import numpy as np

from data_synth import footage
from data_synth.language import overlays as language
from data_synth.operators import overlays
from data_synth.operators.overlays import Overlay
from data_synth.recipes.base import declare_family, join_names, on_clips
from data_synth.recipes.two_way import Side, build_two_way_pair
from data_synth.rejection import Rejected
from data_synth.rng import build_rng
from data_synth.scenes import objects as ob
from v2v.data.pair import Pair

# Letters depend on the fonts that OpenCV brings along. 2: varied instructions, and those of the way back. 3: captions as sentences; logos by shape and color.
VERSION = f"3-opencv{cv2.__version__.split('.')[0]}"
# (generator, T, H, W) → one overlay for all frames or one for each, and the words for its instructions.
OverlaySampler = Callable[[np.random.Generator, int, int, int], tuple[list[Overlay], dict[str, str]]]


def overlay_pair(
    name: str, forward: bool, clips: footage.ClipSource, seed: int, T: int, H: int, W: int
) -> Pair | Rejected:
    """Return a pair of a clip and the clip with an overlay.

    Args:
      name: Overlay, of `OVERLAYS`.
      forward: Whether the overlay is added; otherwise it is in the source and removed.
      clips: Source of footage.
      seed: Seed of the clip, the overlay and the words.
      T: Number of frames.
      H: Frame height in pixels.
      W: Frame width in pixels.
    """
    clip = clips(seed, T, H, W)
    if isinstance(clip, Rejected):
        return clip
    rng = build_rng(seed, "overlay")
    layers, slots = OVERLAYS[name](rng, T, H, W)
    covered = overlays.add_overlay(clip.video, layers)
    is_boxed = name != "watermark" and bool(rng.random() < 0.5)
    masks = [_mark(layer, is_boxed) for layer in layers]
    words = build_rng(seed, "words")
    return build_two_way_pair(
        Side(clip.video, clip.caption),
        Side(covered, language.format_caption(name, slots, clip.caption)),
        forward,
        lambda is_forward: language.sample_instructions(name, is_forward, slots, words),
        edit=name if forward else f"remove-{name}",
        kind="overlay",
        seed=seed,
        mask=np.stack([masks[k % len(masks)] for k in range(T)]),
        provenance={
            **clip.origin,
            "slots": slots,
            "version": VERSION,
            "direction": "to" if forward else "from",
        },
    )


def sample_text(rng: np.random.Generator, T: int, H: int, W: int) -> tuple[list[Overlay], dict[str, str]]:
    """Draw a title: its words, color, place, font and size."""
    words, color, place = (
        language.sample_title(rng),
        _choose(rng, tuple(ob.COLORS)),
        _choose(rng, tuple(overlays.PLACES)),
    )
    font, height = _choose(rng, tuple(overlays.FONTS)), rng.uniform(0.09, 0.2)
    layer = overlays.draw_text(words, H, W, ob.COLORS[color], place, height, font)
    return [layer], {"words": words, "colour": color, "at": place}


def sample_subtitles(
    rng: np.random.Generator, T: int, H: int, W: int
) -> tuple[list[Overlay], dict[str, str]]:
    """Draw a line of dialogue, its color and size. It stays: an edit that begins late must still be what the instruction says."""
    words, color = language.sample_subtitle(rng), "yellow" if rng.random() < 0.25 else "white"
    is_boxed, height = bool(rng.random() < 0.3), rng.uniform(0.042, 0.06)
    layer = overlays.draw_subtitle(words, H, W, ob.COLORS[color], is_boxed, height)
    return [layer], {"words": words, "colour": color}


def sample_logo(rng: np.random.Generator, T: int, H: int, W: int) -> tuple[list[Overlay], dict[str, str]]:
    """Draw a logo: its shape, letter, color, corner, size and opacity."""
    shape, color = _choose(rng, overlays.LOGO_SHAPES), _choose(rng, tuple(ob.COLORS))
    letter, corner = chr(ord("A") + int(rng.integers(26))), _choose(rng, overlays.CORNERS)
    height, opacity = rng.uniform(0.14, 0.24), rng.uniform(0.75, 1.0)
    layer = overlays.draw_logo(shape, letter, H, W, ob.COLORS[color], corner, height, opacity)
    return [layer], {"shape": shape, "letter": letter, "colour": color, "at": corner}


def sample_watermark(
    rng: np.random.Generator, T: int, H: int, W: int
) -> tuple[list[Overlay], dict[str, str]]:
    """Draw a watermark: its words, once or repeated, white or black, and its opacity."""
    words, is_tiled = language.sample_watermark(rng), bool(rng.random() < 0.5)
    color, opacity = ("white", "black")[int(rng.random() < 0.25)], rng.uniform(0.3, 0.5)
    layer = overlays.draw_watermark(words, H, W, ob.COLORS[color], is_tiled, opacity)
    return [layer], {"words": words, "at": "all over" if is_tiled else "across"}


OVERLAYS: dict[str, OverlaySampler] = {
    "text": sample_text,
    "subtitles": sample_subtitles,
    "logo": sample_logo,
    "watermark": sample_watermark,
}


def _mark(layer: Overlay, is_boxed: bool) -> np.ndarray:
    """Return the mask of a layer, uint8 [H, W]: its footprint with a margin of s / 100, or the box around that."""
    margin = max(1, round(min(layer.alpha.shape) / 100))
    kernel = np.ones((2 * margin + 1, 2 * margin + 1), np.uint8)
    mask = cv2.dilate(np.where(layer.footprint(), 255, 0).astype(np.uint8), kernel)
    rows, columns = np.nonzero(mask)
    if is_boxed and len(rows):
        mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = 255
    return mask


def _choose(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]


FAMILY = declare_family(
    "overlays",
    f"{join_names(OVERLAYS)}, and remove-X for each",
    {
        name if forward else f"remove-{name}": on_clips(functools.partial(overlay_pair, name, forward))
        for forward in (True, False)
        for name in OVERLAYS
    },
    kind="overlay",
    renderer="overlays",
    version=VERSION,
    min_change=8.0,
    reads=("clips",),
    phrasing="varied",
)
