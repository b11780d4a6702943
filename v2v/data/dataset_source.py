"""The interface of training data: pairs with random access, whatever they are stored in.

`v2v synth` folders (`datasets.RecordDataset`) and tables of people's own pairs (`table_dataset.TableDataset`) implement it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from v2v.data.buckets import Size
from v2v.data.latent_cache import RecordFacts
from v2v.data.pair import Pair


@dataclass(frozen=True)
class ClipMeasurement:
    """What is known of a pair before it is read.

    Attributes:
      size: frames, height and width of its clip; None where it can't be used.
      reason: why it can't be used, or "".
      notes: what may surprise.
    """

    size: Size | None
    reason: str = ""
    notes: tuple[str, ...] = ()


class PairDataset(Protocol):
    """Pairs with random access."""

    def __len__(self) -> int:
        """Return the number of pairs, unusable ones included."""
        ...

    def measure(self, index: int) -> ClipMeasurement:
        """Return the size of a pair's clip, or why it can't be used, without reading the pair."""
        ...

    def read_pair(self, index: int, size: Size) -> Pair:
        """Return a pair, shrunk and cropped to a size that it fills."""
        ...

    def facts(self, index: int) -> RecordFacts | None:
        """Return what the loader needs to know of a pair (`latent_cache.RecordFacts`), without reading it; None where that isn't known."""
        ...

    def instructions(self, index: int) -> Sequence[str]:
        """Return the instructions of a pair without reading it; () where they aren't known."""
        ...

    def weight(self, index: int) -> float:
        """Return how often a pair is drawn, relative to the others of the dataset."""
        ...
