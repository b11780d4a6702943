"""The recipes of weather: rain, snow and fog, added to a clip and removed from it.

seed → clip (, depth) → **weather** → Pair. Half of the rendered clips come with their exact depth, so that things in front hide the
weather behind them; footage has none.
"""

from __future__ import annotations

import functools

import numpy as np

from data_synth import footage
from data_synth.language import looks as language
from data_synth.operators.weather import WEATHER
from data_synth.recipes.base import FunctionRecipe, Recipe, declare_family, join_names
from data_synth.recipes.sources import Sources
from data_synth.recipes.two_way import Side, build_two_way_pair
from data_synth.rejection import Rejected
from data_synth.rng import build_rng
from data_synth.scenes import draw, truth
from data_synth.scenes import render as rn
from data_synth.scenes import scene as sc
from v2v.data.pair import Pair

# 2: varied instructions, and those of the way back. 3: captions that speak of a video get the weather's word there.
VERSION = "3"
# Depth of the frontmost layer of a rendered scene; the background's is 1.
_NEAREST = 0.2


def weather_pair(
    name: str, forward: bool, clips: footage.ClipSource | None, seed: int, T: int, H: int, W: int
) -> Pair | Rejected:
    """Return a pair of a clip and the clip in other weather.

    Args:
      name: Weather, of `operators.weather.WEATHER`.
      forward: Whether the clip is the source and the weather in the target.
      clips: Source of footage; None for rendered scenes.
      seed: Seed of the clip, the weather and the words.
      T: Number of frames.
      H: Frame height in pixels.
      W: Frame width in pixels.
    """
    depth = None
    if clips is None:
        clip, depth = render_clip_with_depth(seed, T, H, W)
        if build_rng(seed, "depth").random() < 0.5:
            depth = None
    else:
        clip = clips(seed, T, H, W)
        if isinstance(clip, Rejected):
            return clip
    changed = WEATHER[name](clip.video, build_rng(seed, "weather"), depth)
    words = build_rng(seed, "words")
    return build_two_way_pair(
        Side(clip.video, clip.caption),
        Side(changed, language.format_caption(name, {}, clip.caption)),
        forward,
        lambda is_forward: language.sample_instructions(name, is_forward, {}, clip.caption, words),
        edit=name if forward else f"remove-{name}",
        kind="weather",
        seed=seed,
        mask=np.full((T, H, W), 255, np.uint8),
        provenance={
            **clip.origin,
            "depth": depth is not None,
            "version": VERSION,
            "direction": "to" if forward else "from",
        },
    )


def render_clip_with_depth(seed: int, T: int, H: int, W: int) -> tuple[footage.Clip, np.ndarray]:
    """Render the scene of `footage.render_clip` with its depth, float32 [T, H, W]: 1 for the background, 0.2 for what is in front."""
    rng = build_rng(seed, "footage")
    scene = draw.sample_scene(rng, aspect=W / H, objects=(0, 3), rich=True)
    layers = rn.render_layers(scene, T, H, W)
    ranks = truth.layer_ranks(scene, layers).astype(np.float32)
    last = max(1, len(scene.hills) + len(scene.objects))
    origin = {"clip": "rendered", "license": "Apache-2.0"}
    clip = footage.Clip(rn.compose_layers(layers), sc.format_caption(scene), origin)
    return clip, 1 - np.float32(1 - _NEAREST) * ranks / np.float32(last)


def _build_recipe(name: str, forward: bool, sources: Sources) -> Recipe:
    clips = sources.clip_source() if sources.has_footage else None
    return FunctionRecipe(functools.partial(weather_pair, name, forward, clips))


FAMILY = declare_family(
    "weather",
    f"{join_names(WEATHER)}, and remove-X for each: half of rendered scenes with their exact depth",
    {
        name if forward else f"remove-{name}": functools.partial(_build_recipe, name, forward)
        for forward in (True, False)
        for name in WEATHER
    },
    kind="weather",
    renderer="weather",
    version=VERSION,
    min_change=8.0,
    reads=("clips",),
    phrasing="varied",
)
