"""The base class of metrics, their columns and scores, and the case that a metric scores.

A metric gives one or several columns. A column knows which direction is better and what an output that could not be made or scored
counts as. Metrics that ask a service outside (a judge behind an endpoint) have `calls` above zero and are run in parallel, the others
one after another.

To add a metric that is a function of one output, write the function and a `FunctionMetric` in builtin.py. To add one with weights, subclass
`LearnedMetric` (learned_metric.py). Anything else subclasses `Metric`; a metric of all outputs of a method subclasses `SetMetric`. The
ones that come with the package are listed in registry.py; a sweep file may use its own without listing it.

A metric of one's own for a sweep file, in ten lines:

    import numpy as np
    from v2v.evaluation.metrics.base import Column
    from v2v.evaluation.metrics.builtin import FunctionMetric

    def contrast(case):
        return {"contrast": float(np.mean([frame.std() for frame in case.output]))}

    CONTRAST = FunctionMetric("contrast", (Column("contrast", "higher", "levels"),), (), contrast)

`case` also has `source`, `truth` and `mask`, and pairs of one length and size (`against_source`, `against_truth`); a metric that reads one names it
in the third argument, such as ("truth", "mask"), and applies to items that have it. Its code is part of the key of its scores: change it, and the
next run scores again.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from numbers import Real
from pathlib import Path
from typing import Any, Literal

import numpy as np

from v2v.evaluation.code_version import SCORING, object_code, package_code
from v2v.evaluation.items import Item
from v2v.evaluation.metrics.clips import Clip, MaskClip, ResizedClip, describe_mismatch


@dataclass(frozen=True)
class Column:
    """One number that a metric gives per output.

    Attributes:
      name: as in tables; unique in a sweep.
      better: the better direction; "neither" for a description that is no merit.
      unit: shown after the number, such as "dB".
      worst: what a failed item counts as; None where the scale has no end, and failed items are then only counted and shown.
      rate: whether scores are 0 or 1, so that the interval is one of a rate.
      about: a sentence for the report.
    """

    name: str
    better: Literal["higher", "lower", "neither"] = "higher"
    unit: str = ""
    worst: float | None = None
    rate: bool = False
    about: str = ""


@dataclass(frozen=True)
class Score:
    """The result of scoring one output.

    Attributes:
      values: by column name; a column that does not apply is absent.
      notes: JSON-able, stored verbatim in the results.
    """

    values: dict[str, float]
    notes: dict = field(default_factory=dict)


@dataclass(frozen=True)
class RequestEstimate:
    """What the questions about one output take, estimated before they are asked.

    Attributes:
      pictures: pictures sent.
      tokens_in: tokens of texts and pictures sent.
      tokens_out: greatest number of tokens of the answers.
    """

    pictures: int
    tokens_in: int
    tokens_out: int


class ScoringError(Exception):
    """An output that a metric could not score.

    Attributes:
      notes: JSON-able, stored verbatim in the results.
      final: whether another attempt would give the same; the failure is then stored like a score.
    """

    def __init__(self, reason: str, notes: dict | None = None, final: bool = False):
        super().__init__(reason)
        self.notes, self.final = notes or {}, final


class Metric(ABC):
    """A metric of single outputs.

    Attributes:
      name: unique in a sweep.
      columns: the numbers it gives.
      required_fields: fields of `Item` without which the metric does not apply: of "source", "truth", "mask", "reference",
        "target_prompt", "start".
      calls: requests to a service outside per item; 0 for a metric that is computed here.
      parallel: items scored at a time; read where `calls` is above 0.
      dollars: estimated price of one item, None where unknown; read where `calls` is above 0.
      most_calls: requests per item with all repetitions; 0 for `calls`.
    """

    name: str
    columns: Sequence[Column]
    required_fields: Sequence[str]
    calls: int = 0
    parallel: int = 4
    dollars: float | None = None
    most_calls: int = 0

    @property
    @abstractmethod
    def identity(self) -> dict:
        """Return whatever changes the scores beside the code, JSON-able: name, version, parameters, revision of weights."""

    @property
    def code(self) -> str:
        """Return the hash of the code that scores: of the package's metrics, and of the metric's own class and functions."""
        return f"{package_code(*SCORING)[:32]}{object_code(self)[:32]}"

    @property
    def old_identity(self) -> dict:
        """Return the identity as it was before the code was stored beside it; work from then is found by it."""
        return self.identity

    def item_identity(self, item: Item) -> dict:
        """Return what changes the scores of an item beside its files, instruction, prompt, kind and times, JSON-able."""
        return {}

    def count_calls(self, item: Item) -> int:
        """Return the requests to a service outside for an item, each made once; at most `calls`."""
        return self.calls

    def missing(self) -> str | None:
        """Return why the metric cannot run here (such as missing weights), or None; must be cheap."""
        return None

    def estimate_request(self, item: Item, size: tuple[int, int]) -> RequestEstimate | None:
        """Return what the requests about one output take; None where that is unknown or nothing.

        Args:
          item: the item.
          size: (height, width) of its source.
        """
        return None

    @abstractmethod
    def score(self, case: Case) -> Score:
        """Score one output.

        Raises:
          ScoringError: the output can't be scored.
          InputError: a clip can't be read, or clips don't match.
        """


class SetMetric(Metric):
    """A metric of all outputs of a method: `score` stores features in the notes, from which `spread` computes the columns."""

    @abstractmethod
    def spread(self, column: Column, notes: Sequence[dict]) -> np.ndarray:
        """Return one value per item, whose mean is the number of the set.

        Args:
          column: one of `columns`.
          notes: the notes of every item's score, in the order of items.

        Returns:
          float [items], nan for items that failed.
        """


class ItemClips:
    """The clips of an item, decoded on first use and shared by the outputs of all methods.

    Attributes:
      item: the item of the benchmark.
    """

    def __init__(self, item: Item):
        self.item = item
        self._masks: dict[tuple[int, tuple[int, int]], MaskClip] = {}

    @cached_property
    def source(self) -> Clip:
        """Return the source clip."""
        return Clip(self.item.source)

    @cached_property
    def truth(self) -> Clip:
        """Return the exact truth; for items that have one."""
        assert self.item.truth is not None, f"item {self.item.id} has no truth"
        return Clip(self.item.truth)

    def mask(self, length: int, size: tuple[int, int]) -> MaskClip:
        """Return the mask at a length and size; one object per length and size."""
        key = length, size
        if key not in self._masks:
            self._masks[key] = MaskClip(self._mask, *key)
        return self._masks[key]

    @cached_property
    def _mask(self) -> Clip:
        assert self.item.mask is not None, f"item {self.item.id} has no mask"
        return Clip(self.item.mask)


class Case:
    """One output and the clips it is compared with, decoded on first use and shared by all metrics.

    Attributes:
      item: the item of the benchmark.
      path: the output's file or folder of frames.
    """

    def __init__(self, item: Item, output: Path, item_clips: ItemClips | None = None):
        """Decode nothing yet.

        Args:
          item: the item of the benchmark.
          output: the output's file or folder of frames.
          item_clips: the item's own clips, where further outputs are compared with them; None for ones of this case alone.
        """
        self.item, self.path = item, Path(output)
        self._item_clips = item_clips or ItemClips(item)

    @cached_property
    def output(self) -> Clip:
        """Return the output at its own length and size."""
        return Clip(self.path)

    @property
    def source(self) -> Clip:
        """Return the source clip."""
        return self._item_clips.source

    @property
    def truth(self) -> Clip:
        """Return the exact truth; for items that have one."""
        return self._item_clips.truth

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
        return self._item_clips.mask(like.length, like.size)

    @property
    def rule(self) -> str:
        """Describe how the rule of clips.py was applied; empty where output, source and truth match."""
        parts = [describe_mismatch(self.output, self.source, "source")]
        if self.item.truth is not None:
            parts.append(describe_mismatch(self.output, self.truth, "truth"))
        return "; ".join(p for p in parts if p)

    def _pair(self, other: Clip) -> tuple[ResizedClip, ResizedClip]:
        length = min(len(self.output), len(other))
        return ResizedClip(self.output, length, other.size), ResizedClip(other, length, other.size)


def check_values(metric: Metric, values: Any) -> dict[str, float]:
    """Return the values of a score as floats; one that is nan does not apply, and is left out.

    Args:
      metric: what computed them.
      values: by column name.

    Raises:
      ScoringError: no values by column, a name that is none of the metric's columns, or what is no finite number.
    """
    columns = [column.name for column in metric.columns]
    if not isinstance(values, Mapping):
        raise ScoringError(
            f'expected values by column, such as {{"{columns[0]}": 0.5}}, got {type(values).__name__}'
        )
    numbers = {}
    for name, value in values.items():
        if name not in columns:
            raise ScoringError(
                f"expected values of {', '.join(columns)}, got one of {name!r}; list it among the metric's columns"
            )
        # NumPy's numbers are none to Python.
        if not isinstance(value, (Real, np.bool_)) or math.isinf(value):
            raise ScoringError(
                f"{name}: expected a finite number, or nan where it doesn't apply, got {value!r:.80}"
            )
        if not math.isnan(value):
            numbers[name] = float(value)
    return numbers


def missing_fields(metric: Metric, item: Item) -> list[str]:
    """Return the metric's required fields that an item lacks."""
    return [name for name in metric.required_fields if getattr(item, name) in (None, "")]
