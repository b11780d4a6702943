"""The interface of recipes, and what a recipe declares of itself.

To add a recipe, write one file with a function (seed, T, H, W) → Pair or `Rejected` and a `RecipeFamily` that names it, and list the family
in `registry.ALL_FAMILIES`. Everything else (the command line's help, the checks of requests, the gates) reads the declaration.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from data_synth.footage import ClipSource
from data_synth.recipes.sources import SourceKind, Sources
from data_synth.rejection import Rejected
from data_synth.rng import build_rng
from v2v.data.pair import Pair

# Least change of targets that are not ours to choose: those of controls, experts, captions and published sets.
DEFAULT_MIN_CHANGE = 4.0
# A space at which help texts are not wrapped.
NO_BREAK = "\u00a0"


class Recipe(Protocol):
    """Turns seeds into pairs. A recipe is a value: the same seed and size give the same pair."""

    @property
    def batch(self) -> int:
        """Number of seeds that one call of `make_pairs` handles best."""
        ...

    @property
    def rows(self) -> int | None:
        """Number of rows of a finite dataset, which are seeds 0, 1, ...; None for recipes without an end."""
        ...

    def __call__(self, seed: int, T: int, H: int, W: int) -> Pair | Rejected:
        """Return the pair of a seed, or why it gives none.

        Args:
          seed: Any non-negative integer.
          T: Number of frames.
          H: Frame height in pixels.
          W: Frame width in pixels.
        """
        ...

    def make_pairs(self, seeds: Sequence[int], T: int, H: int, W: int) -> list[Pair | Rejected]:
        """Return what each seed gives, in order."""
        ...


class SingleSeedRecipe:
    """Base of recipes that handle one seed at a time; subclasses define `__call__`."""

    @property
    def batch(self) -> int:
        """Return 1."""
        return 1

    def __call__(self, seed: int, T: int, H: int, W: int) -> Pair | Rejected:
        """Return the pair of a seed, or why it gives none."""
        raise NotImplementedError

    def make_pairs(self, seeds: Sequence[int], T: int, H: int, W: int) -> list[Pair | Rejected]:
        """Return what each seed gives, in order."""
        return [self(seed, T, H, W) for seed in seeds]


class FileRecipe:
    """Base of recipes whose rows name files, by whose shapes requests of several sizes choose."""

    def source_file(self, row: int) -> Path | None:
        """Return the clip or picture before the edit, None where a row has none."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class FunctionRecipe(SingleSeedRecipe):
    """A recipe without an end, from a function (seed, T, H, W) → pair or rejection."""

    function: Callable[[int, int, int, int], Pair | Rejected]

    @property
    def rows(self) -> None:
        """Return None: every seed gives a pair of its own."""
        return

    def __call__(self, seed: int, T: int, H: int, W: int) -> Pair | Rejected:
        """Return the pair of a seed, or why it gives none."""
        return self.function(seed, T, H, W)


@dataclasses.dataclass(frozen=True)
class GeneratorRecipe(SingleSeedRecipe):
    """A recipe without an end that goes on with the generator by which it was drawn, as recipes of the default mix do.

    Attributes:
      function: (seed, generator, T, H, W) → pair or rejection.
    """

    function: Callable[[int, np.random.Generator, int, int, int], Pair | Rejected]

    @property
    def rows(self) -> None:
        """Return None: every seed gives a pair of its own."""
        return

    def __call__(self, seed: int, T: int, H: int, W: int) -> Pair | Rejected:
        """Return the pair of a seed with a generator that nothing was drawn from, or why it gives none."""
        return self.function(seed, build_rng(seed, "pair"), T, H, W)


@dataclasses.dataclass(frozen=True)
class RecipeInfo:
    """What a recipe declares of itself.

    Attributes:
      name: Name in `--recipes`.
      build: Returns the recipe for the sources of a request.
      kind: `Pair.recipe` of its pairs.
      min_change: Least root mean square of source - target inside the mask, in grey levels; the same for all recipes of a kind.
      reads: Sources that it reads where the request brings them. A recipe that reads a set exists only beside that set.
      may_begin_late: Whether its edits may begin or end inside the clip (`operators.transition`); the same for all recipes of a kind.
    """

    name: str
    build: Callable[[Sources], Recipe]
    kind: str
    min_change: float = DEFAULT_MIN_CHANGE
    reads: tuple[SourceKind, ...] = ()
    may_begin_late: bool = True


def join_names(names: Iterable[str]) -> str:
    """Return names with commas for a help text, which is then wrapped only between names."""
    return ", ".join(name.replace(" ", NO_BREAK) for name in names)


def without_sources(recipe: Recipe) -> Callable[[Sources], Recipe]:
    """Return a function for `RecipeInfo.build` that gives the same recipe whatever the sources."""
    return lambda sources: recipe


def on_clips(
    function: Callable[[ClipSource, int, int, int, int], Pair | Rejected],
) -> Callable[[Sources], Recipe]:
    """Return a function for `RecipeInfo.build`, from a function (source of clips, seed, T, H, W) → pair or rejection."""
    return lambda sources: FunctionRecipe(functools.partial(function, sources.clip_source()))


@dataclasses.dataclass(frozen=True)
class RecipeFamily:
    """Recipes that are drawn by the same code.

    Attributes:
      name: Heading in the help of `v2v synth`.
      help: One sentence for that help; "" leaves the family out of it.
      recipes: The recipes; none for families that come with the request (experts).
      selectable: Whether `--recipes` accepts `name` for an even draw among the recipes.
      weight: Number of entries in the default mix, which is drawn from evenly; selectable families only.
      renderer: Name under which requests record `version`; "" for none of its own.
      version: Version of the code that draws: pairs of another version are not taken for what a request asks for.
      phrasing: "own" sentences of the recipe, unless the request wants varied ones; "varied" always (`language.phrasing`); "varied on
        footage", "own" elsewhere; "fixed": sentences of people, which nothing changes.
      footage_version: Version of what is done with footage, where that is other code; recorded where a request brings footage.
    """

    name: str
    help: str
    recipes: tuple[RecipeInfo, ...] = ()
    selectable: bool = False
    weight: int = 0
    renderer: str = ""
    version: str = ""
    footage_version: str = ""
    phrasing: Literal["own", "varied", "varied on footage", "fixed"] = "own"

    def __post_init__(self):
        if self.weight and not self.selectable:
            raise ValueError(f"{self.name}: expected a selectable family for weight {self.weight}")


def declare_family(
    name: str,
    help: str,
    builders: Mapping[str, Callable[[Sources], Recipe]],
    *,
    kind: str,
    renderer: str = "",
    version: str = "",
    min_change: float = DEFAULT_MIN_CHANGE,
    reads: tuple[SourceKind, ...] = (),
    may_begin_late: bool = True,
    weight: int = 0,
    phrasing: Literal["own", "varied"] = "own",
) -> RecipeFamily:
    """Return a selectable family whose recipes differ only in name and in how they are built.

    Args:
      name: Its name in `--recipes`.
      help: As in `RecipeFamily`.
      builders: `RecipeInfo.build` of each recipe, by its name.
      kind: As in `RecipeInfo`.
      renderer: As in `RecipeFamily`.
      version: As in `RecipeFamily`.
      min_change: As in `RecipeInfo`.
      reads: As in `RecipeInfo`.
      may_begin_late: As in `RecipeInfo`.
      weight: As in `RecipeFamily`.
      phrasing: As in `RecipeFamily`.
    """
    recipes = tuple(
        RecipeInfo(recipe, build, kind, min_change, reads, may_begin_late)
        for recipe, build in builders.items()
    )
    return RecipeFamily(name, help, recipes, True, weight, renderer, version, phrasing=phrasing)
