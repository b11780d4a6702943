"""The items of a benchmark: clips to edit, and clips to compare the edits with.

A reader of `benchmarks/` turns the layout of its benchmark into `Item`s; everything else sees items only. Paths point at the benchmark's own
files; nothing is decoded here.
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
      instruction: the edit, as a sentence.
      kind: type of the edit, by which scores are broken down.
      truth: the exact result of the edit, or None where it is unknown.
      mask: clip or picture, white = edited here and now. Metrics always use it, an editor gets it if its method says so.
      reference: picture of the edit; an editor gets it if `reference_is_asked` or its method says so.
      reference_is_asked: whether the instruction speaks of the reference and cannot be followed without it.
      start: second at which the edit begins; an editor gets it unless it gets the mask, which says the same.
      end: second at which the edit ends, likewise.
      source_prompt: description of the clip before the edit, for alignment metrics.
      target_prompt: description after the edit.
      extra: further fields of the benchmark, for its exporter.
      unsupported_inputs: what the instruction speaks of and no editor of a sweep can be given, such as "<video2>"; editors don't get the item.
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
    unsupported_inputs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Benchmark:
    """A named list of items.

    Attributes:
      name: as in reports; selects the layout of exports.
      items: at least one, with unique ids.
      version: goes up when items change.
      about: a sentence for the report.
    """

    name: str
    items: tuple[Item, ...]
    version: str = ""
    about: str = ""

    def __post_init__(self):
        duplicates = [name for name, n in Counter(item.id for item in self.items).items() if n > 1]
        if not self.items or duplicates:
            raise InputError(
                f"benchmark {self.name}: expected items with ids of their own, got {', '.join(duplicates[:5]) + ' twice' if duplicates else 'none'}"
            )

    def take(self, *, kinds: tuple[str, ...] = (), per_kind: int | None = None) -> Benchmark:
        """Return a benchmark of some of the items.

        Args:
          kinds: kinds to include; all where empty.
          per_kind: number of items of each kind, from the first; None for all.

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
