"""Items of a benchmark: what is edited, and what it is compared with.

A benchmark's reader (`benchmarks/`) turns its own layout into `Item`s; nothing after it knows which benchmark they came from. Paths
point at files as they lie; nothing is decoded here.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from v2v.errors import InputError


@dataclass(frozen=True)
class Item:
    """One edit of a benchmark.

    Attributes:
      id: unique within its benchmark; used in file names of exports.
      source: clip or picture to edit.
      instruction: what an editor is told.
      kind: type of edit, by which scores are broken down.
      truth: clip that the edit should give, where that is known.
      mask: clip or picture, white = edited here and now. Metrics always see it, an editor only if its method says so.
      reference: picture of what the edit should look like; given to an editor if `reference_is_asked` or its method says so.
      reference_is_asked: the instruction speaks of the reference, so that it can't be followed without.
      start, end: seconds of the edit; given to an editor unless it gets the mask, which says the same.
      source_prompt, target_prompt: descriptions of the clip before and after, for alignment metrics.
      extra: what else the benchmark says, for its exporter.
    """

    id: str
    source: Path
    instruction: str
    kind: str
    truth: Path | None = None
    mask: Path | None = None
    reference: Path | None = None
    reference_is_asked: bool = False
    start: float | None = None
    end: float | None = None
    source_prompt: str = ""
    target_prompt: str = ""
    extra: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Benchmark:
    """A named, versioned list of items; `about` is shown in the report."""

    name: str
    items: tuple[Item, ...]
    version: str = ""
    about: str = ""

    def __post_init__(self):
        twice = [name for name, n in Counter(item.id for item in self.items).items() if n > 1]
        if not self.items or twice:
            raise InputError(
                f"benchmark {self.name}: expected items with ids of their own, got {', '.join(twice[:5]) + ' twice' if twice else 'none'}"
            )

    def take(self, *, kinds: tuple[str, ...] = (), per_kind: int | None = None) -> Benchmark:
        """Return the items of some kinds (default: all), the first `per_kind` of each.

        Raises:
          InputError: a kind that the benchmark lacks.
        """
        available_kinds = dict.fromkeys(item.kind for item in self.items)
        unknown = [k for k in kinds if k not in available_kinds]
        if unknown:
            raise InputError(
                f"benchmark {self.name}: expected kinds among {', '.join(available_kinds)}; got {', '.join(unknown)}"
            )
        kind_counts: Counter[str] = Counter()
        selected_items = []
        for item in self.items:
            kind_counts[item.kind] += 1
            if (not kinds or item.kind in kinds) and (per_kind is None or kind_counts[item.kind] <= per_kind):
                selected_items.append(item)
        return Benchmark(self.name, tuple(selected_items), self.version, self.about)
