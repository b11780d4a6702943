"""The recipe "before-after": pictures before and after an edit, in the folder of `--pictures`, as clips under one camera move.

NAME_source.png, NAME.png, NAME.txt (, NAME_mask.png, NAME_reference.png) → seed draws a pair and a move → **Pair**. Every seed is another move over
one of the pairs, where `--import pairs=DIR` reads each once.
"""

from __future__ import annotations

import functools

from data_synth.recipes import own_pairs
from data_synth.recipes.base import FunctionRecipe, Recipe, RecipeFamily, RecipeInfo
from data_synth.recipes.own_pairs import OwnPairsRecipe
from data_synth.recipes.sources import Sources
from data_synth.rejection import Rejected
from data_synth.rng import build_rng
from v2v.data.pair import Pair
from v2v.data.pair_row import PairRow
from v2v.data.pair_table import PICTURE_SUFFIXES, read_table
from v2v.errors import InputError

NAME = "before-after"


def picture_pair(recipe: OwnPairsRecipe, seed: int, T: int, H: int, W: int) -> Pair | Rejected:
    """Return one pair of pictures as a pair of clips.

    Args:
      recipe: The pairs of pictures.
      seed: Seed of the pair and the camera move.
      T: Number of frames.
      H: Frame height in pixels.
      W: Frame width in pixels.
    """
    row = int(build_rng(seed, "row").integers(recipe.rows))
    return recipe.read_row(row, seed, T, H, W)


def _build_recipe(sources: Sources) -> Recipe:
    if not sources.pictures:
        raise InputError(
            f"recipe {NAME}: expected a folder of pictures, got none; add --pictures DIR with NAME_source.png, NAME.png and NAME.txt"
        )
    table = read_table(sources.pictures).select(_is_pictures)
    if not table.has_pairs:
        raise InputError(
            f"{sources.pictures}: expected pictures before and after an edit (NAME_source.png, NAME.png and NAME.txt), found none"
        )
    recipe = OwnPairsRecipe(table, sources.license)
    return FunctionRecipe(functools.partial(picture_pair, recipe))


def _is_pictures(row: PairRow) -> bool:
    return all(path.suffix.lower() in PICTURE_SUFFIXES for path in (row.source, row.target))


FAMILY = RecipeFamily(
    NAME,
    "pictures before and after an edit of --pictures DIR, under a camera move",
    (RecipeInfo(NAME, _build_recipe, kind=own_pairs.NAME, reads=("picture pairs", "license")),),
    renderer=own_pairs.NAME,
    version=own_pairs.VERSION,
    phrasing="fixed",
)
