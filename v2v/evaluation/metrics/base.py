"""The interface of a metric, its columns and scores, and the case that it scores.

A metric is an object with a few fields and `score(case)`. It gives one or several columns; a column knows which way is better and what
an output that couldn't be made or scored counts as. Metrics that run somewhere else (a judge behind an endpoint) have `calls` above
zero and are run in parallel, the others one after another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from v2v.evaluation.items import Item
from v2v.evaluation.metrics.clips import Clip, MaskClip, ResizedClip, describe_mismatch


@dataclass(frozen=True)
class Column:
    """One number that a metric gives per output.

    Attributes:
      name: as in tables.
      better: "higher", "lower", or "neither" for a fact that is no merit.
      unit: shown behind it, such as "dB".
      worst: what a failed item counts as; None where the scale has no end, and failed items are then only counted and shown.
      rate: whether scores are 0 or 1, so that the interval is one of a rate.
      about: a sentence for the report.
    """

    name: str
    better: str = "higher"
    unit: str = ""
    worst: float | None = None
    rate: bool = False
    about: str = ""


@dataclass(frozen=True)
class Score:
    """Values by column name (a column that does not apply is absent), and notes stored verbatim."""

    values: dict[str, float]
    notes: dict = field(default_factory=dict)


class ScoringError(Exception):
    """An output that a metric could not score.

    Attributes:
      notes: kept in the results.
      final: trying again would give the same, so the failure is remembered like a score.
    """

    def __init__(self, reason: str, notes: dict | None = None, final: bool = False):
        super().__init__(reason)
        self.notes, self.final = notes or {}, final


class Metric(Protocol):
    """The interface that the runner uses.

    Attributes:
      name: unique in a sweep.
      columns: what it gives.
      required_fields: of "source", "truth", "mask", "reference", "target_prompt" those without which it doesn't apply to an item.
      identity: JSON-able; version, parameters and revision of weights: whatever changes its scores.
      calls: requests an item to something outside, 0 for most.
    """

    name: str
    columns: Sequence[Column]
    required_fields: Sequence[str]
    identity: dict
    calls: int

    def missing(self) -> str | None:
        """Return why the metric cannot run here (missing weights), or None. Cheap."""

    def score(self, case: Case) -> Score:
        """Score one output.

        Raises:
          ScoringError, InputError: the output can't be scored.
        """


@runtime_checkable
class SetMetric(Protocol):
    """A metric of all outputs of a method: scores keep features in `notes`, from which the column is computed."""

    def spread(self, column: Column, notes: Sequence[dict]) -> np.ndarray:
        """Return values [items] from the notes of every item in order; nan where failed, their mean is the number of the set."""


class Case:
    """One output and the clips it is compared with, decoded on first use and shared by all metrics."""

    def __init__(self, item: Item, output: Path):
        self.item, self.path = item, Path(output)
        self._masks: dict[tuple, MaskClip] = {}

    @cached_property
    def output(self) -> Clip:
        """Return the output as it is."""
        return Clip(self.path)

    @cached_property
    def source(self) -> Clip:
        """Return the source clip."""
        return Clip(self.item.source)

    @cached_property
    def truth(self) -> Clip:
        """Return the exact truth."""
        return Clip(self.item.truth)

    @cached_property
    def against_source(self) -> tuple[ResizedClip, ResizedClip]:
        """Return (output, source) at one length and size, by the rule of clips.py."""
        return self._pair(self.source)

    @cached_property
    def against_truth(self) -> tuple[ResizedClip, ResizedClip]:
        """Return (output, truth) at one length and size, by the rule of clips.py."""
        return self._pair(self.truth)

    def mask(self, like: ResizedClip) -> MaskClip:
        """Return the item's mask at the length and size of a clip; one object per length and size."""
        key = like.length, like.size
        if key not in self._masks:
            self._masks[key] = MaskClip(self._mask, *key)
        return self._masks[key]

    @property
    def rule(self) -> str:
        """Describe how the rule of clips.py was applied; empty where output, source and truth match."""
        parts = [describe_mismatch(self.output, self.source, "source")]
        if self.item.truth is not None:
            parts.append(describe_mismatch(self.output, self.truth, "truth"))
        return "; ".join(p for p in parts if p)

    @cached_property
    def _mask(self) -> Clip:
        return Clip(self.item.mask)

    def _pair(self, other: Clip) -> tuple[ResizedClip, ResizedClip]:
        length = min(len(self.output), len(other))
        return ResizedClip(self.output, length, other.size), ResizedClip(other, length, other.size)


def missing_fields(metric: Metric, item: Item) -> list[str]:
    """Return the metric's required fields that an item lacks."""
    return [need for need in metric.required_fields if getattr(item, need) in (None, "")]
