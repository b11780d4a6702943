"""The interface of recipes, and the recipe made of one function."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Protocol

from data_synth.recipes.result import Rejected
from v2v.data.pair import Pair


class Recipe(Protocol):
    """Turns seeds into pairs. A recipe is a value: the same seed and size give the same pair."""

    @property
    def batch(self) -> int:
        """Number of seeds that one call of `many` handles best."""
        ...

    @property
    def rows(self) -> int | None:
        """Number of rows of a finite dataset, which are seeds 0, 1, ...; None for recipes without an end."""
        ...

    def __call__(self, seed: int, T: int, H: int, W: int) -> Pair | Rejected:
        """Return the pair of a seed, or the reason why it gives none."""
        ...

    def many(self, seeds: Sequence[int], T: int, H: int, W: int) -> list[Pair | Rejected]:
        """Return one pair or reason a seed, in order."""
        ...


class SingleSeedRecipe:
    """Base of recipes that handle one seed at a time; subclasses define `__call__`."""

    @property
    def batch(self) -> int:
        """Return 1."""
        return 1

    def __call__(self, seed: int, T: int, H: int, W: int) -> Pair | Rejected:
        """Return the pair of a seed, or the reason why it gives none."""
        raise NotImplementedError

    def many(self, seeds: Sequence[int], T: int, H: int, W: int) -> list[Pair | Rejected]:
        """Return one pair or reason a seed, in order."""
        return [self(seed, T, H, W) for seed in seeds]


@dataclasses.dataclass(frozen=True)
class FunctionRecipe(SingleSeedRecipe):
    """A recipe without an end, from a function (seed, T, H, W) → pair or reason."""

    function: Callable[[int, int, int, int], Pair | Rejected]
    rows = None

    def __call__(self, seed: int, T: int, H: int, W: int) -> Pair | Rejected:
        """Return the pair of a seed, or the reason why it gives none."""
        return self.function(seed, T, H, W)
