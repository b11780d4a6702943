"""Published editing sets as recipes: `v2v synth --recipes NAME --import NAME=FOLDER`.

There is one file for each set, which says where its layout is documented and finds its rows. `rows.py` turns a row into a pair.
"""

import functools
from collections.abc import Callable

from data_synth.recipes.base import Recipe, RecipeFamily, RecipeInfo, join_names
from data_synth.recipes.published.ditto import ditto
from data_synth.recipes.published.gpt_image_edit import gpt_image_edit
from data_synth.recipes.published.insvie import insvie
from data_synth.recipes.published.openve import openve
from data_synth.recipes.published.refvie import refvie
from data_synth.recipes.published.rows import PublishedRecipe
from data_synth.recipes.published.senorita import senorita
from data_synth.recipes.sources import Sources

# 2: source and target are matched in time; damaged files give no pair. 3: the rate of clips is recorded. 4: captions of targets
# say what is there after the edit.
VERSION = "4"

# Recipe name → function (folder, rate of clips) → recipe.
PUBLISHED: dict[str, Callable[..., PublishedRecipe]] = {
    "senorita": senorita,
    "ditto": ditto,
    "insvie": insvie,
    "openve": openve,
    "refvie": refvie,
    "gpt-image-edit": gpt_image_edit,
}


def _build_published(name: str, sources: Sources) -> Recipe:
    return PUBLISHED[name](sources.set_path(name), sources.fps)


FAMILY = RecipeFamily(
    join_names(PUBLISHED),
    "published sets; need --import NAME=FOLDER",
    tuple(
        RecipeInfo(name, functools.partial(_build_published, name), kind="imported", reads=("set",))
        for name in PUBLISHED
    ),
    renderer="imported",
    version=VERSION,
)
