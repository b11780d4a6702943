"""What a seed gives instead of a pair: the reason, and what follows from it.

Recipes, clip sources, quality gates and whatever they call return a `Rejected` where they have no result. Its fields decide whether the
seed is tried again, whether the build stops and how the report counts it; the text is only for people.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Rejected:
    """A seed that gives no pair.

    Attributes:
      reason: Short text for people, without paths or numbers that vary, so that equal reasons can be counted.
      transient: Whether the same seed may give a pair later, because something outside failed. A build that is resumed tries such seeds
        again, and one that meets many in a row stops.
      error: Whether the recipe raised an exception that nobody foresaw. The report lists such seeds one by one.
      outage: Whether no seed is to blame: a program or service that all seeds need can't be used at present, so that the build stops.
      recipe: Name of the recipe, "" where it is not known.
    """

    reason: str
    transient: bool = False
    error: bool = False
    outage: bool = False
    recipe: str = dataclasses.field(default="", compare=False)

    def __str__(self) -> str:
        return f"failed: {self.reason}" if self.error else self.reason

    def within(self, recipe: str) -> Rejected:
        """Return the same rejection as one of a recipe, whose name and a colon come before the reason."""
        return dataclasses.replace(self, reason=f"{recipe}: {self.reason}", recipe=recipe)
