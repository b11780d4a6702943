"""Bounds of means, `v2v eval SWEEP --fail-under COLUMN=VALUE` and `--fail-over`: what is typed, and which means miss them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from v2v.errors import InputError

if TYPE_CHECKING:
    from v2v.evaluation.sweep.sweep import Sweep


@dataclass(frozen=True)
class Threshold:
    """An option `--fail-under COLUMN=VALUE` or `--fail-over`, which may name one method: METHOD:COLUMN=VALUE.

    Attributes:
      column: name of a column of scores, perhaps after a method's; read when the sweep is known.
      value: the bound.
      is_upper: whether means above it fail.
    """

    column: str
    value: float
    is_upper: bool

    def __str__(self) -> str:
        return f"--fail-{'over' if self.is_upper else 'under'} {self.column}={self.value:g}"


def parse_threshold(text: str, is_upper: bool) -> Threshold:
    """Return the threshold of an option's text.

    Raises:
      InputError: no COLUMN=VALUE.
    """
    column, _, value = text.rpartition("=")
    try:
        return Threshold(column.strip(), float(value), is_upper)
    except ValueError:
        name = "--fail-over" if is_upper else "--fail-under"
        raise InputError(f"{name} {text}: expected COLUMN=VALUE, such as success=0.8") from None


def check_thresholds(thresholds: Sequence[Threshold], definition: Sweep) -> None:
    """Check before any work that every bound names a column of the sweep.

    Raises:
      InputError: one that names none.
    """
    for threshold in thresholds:
        if not list(_threshold_scores(threshold, definition)):
            columns = [column.name for metric in definition.metrics for column in metric.columns]
            raise InputError(f"{threshold}: expected a column among {', '.join(columns)}, or METHOD:COLUMN")


def missed_thresholds(
    thresholds: Sequence[Threshold], definition: Sweep, means: dict[str, dict[str, float]]
) -> list[str]:
    """Return a line for every mean on the wrong side of a bound; one that is missing is on it."""
    lines = []
    for threshold in thresholds:
        for method, column in _threshold_scores(threshold, definition):
            value = means[method].get(column, math.nan)
            is_kept = value <= threshold.value if threshold.is_upper else value >= threshold.value
            if not is_kept:
                lines.append(
                    f"{threshold}: {method} has {'no score' if math.isnan(value) else f'{value:.4g}'}"
                )
    return lines


def _threshold_scores(threshold: Threshold, definition: Sweep) -> list[tuple[str, str]]:
    """Return the methods and columns whose means a bound is for."""
    columns = [column.name for metric in definition.metrics for column in metric.columns]
    return [
        (method.name, column)
        for method in definition.methods
        for column in columns
        if threshold.column in (column, f"{method.name}:{column}")
    ]
