"""The numbers of a sweep: one column of scores over methods and items, summarized by method and compared between methods.

How failures count. A metric applies to the items that have what it requires; their number is the denominator `n` of every mean. An item to
which it applies and whose output is missing or broken counts as the worst of the column's scale (success 0, a judge's lowest grade). A
column without an end of its scale (PSNR, flicker) has no such number: its mean is over `scored` < n items, and both numbers are shown. In
comparisons a failed item loses against one that was scored. An output that is there but could not be scored (a judge that is down, a metric that
raised an error) is no fault of the editor: it is `unscored`, in no mean and no comparison, and its number is shown. Failed items keep their share
of the mean beside unscored ones, which are taken to be like the scored ones; where nothing was scored there is no mean.

Intervals are 95 % (intervals.py). A difference from the baseline is over items on which both methods were scored, resampled together. Outputs of
different numbers of frames were scored on different frames, and are not compared: neither in differences nor in win rates, which count them. Win
rates, and differences of rates, which are the same thing, have an interval from `FEWEST_COMPARED` items on. A difference or win rate is
`clear`, and coloured in the report, where its interval leaves out "no difference" and there are enough items for a verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from v2v.evaluation import intervals
from v2v.evaluation.intervals import Interval
from v2v.evaluation.metrics.base import Column, Metric, SetMetric
from v2v.evaluation.sweep.methods import EditingMethod
from v2v.evaluation.sweep.runner import SweepRun

# Items from which a win rate with ties has an interval that covers what it says.
FEWEST_COMPARED = 24
NO_INTERVAL = Interval(float("nan"), float("nan"), float("nan"))


@dataclass(frozen=True)
class ScoreTable:
    """All scores of one column.

    Attributes:
      column: the column.
      values: float64 [methods, items]; nan where it does not apply or failed.
      is_failed: bool [methods, items]: there is no output.
      is_unscored: bool [methods, items]: there is one, but no score.
      lengths: float64 [methods, items]: frames of the outputs; nan where there is none.
    """

    column: Column
    values: np.ndarray
    is_failed: np.ndarray
    is_unscored: np.ndarray
    lengths: np.ndarray

    @property
    def is_empty(self) -> bool:
        """Return whether the column applies to no item."""
        return not (np.isfinite(self.values) | self.is_failed | self.is_unscored).any()


@dataclass(frozen=True)
class Cell:
    """The mean of a column over some items; the field names are keys of results.json.

    Attributes:
      mean: nan where nothing was scored.
      low: lower end of its interval.
      high: upper end.
      n: items to which the column applies.
      scored: items that were scored.
      failed: items without an output.
      unscored: items with an output that could not be scored.
    """

    mean: float
    low: float
    high: float
    n: int
    scored: int
    failed: int
    unscored: int = 0


@dataclass(frozen=True)
class Difference:
    """The mean difference from the baseline; the field names are keys of results.json.

    Attributes:
      mean: nan where no item was scored for both.
      low: lower end of its interval.
      high: upper end.
      n: items scored for both.
      clear: whether it is a verdict: the interval leaves out 0 and there are enough items.
      unequal: items left out because the two outputs have different numbers of frames.
    """

    mean: float
    low: float
    high: float
    n: int
    clear: bool = False
    unequal: int = 0


@dataclass(frozen=True)
class WinRate:
    """The share of items on which one method beats another; the field names are keys of results.json.

    Attributes:
      mean: the share, ties counting half.
      low: lower end of its interval; nan below FEWEST_COMPARED items.
      high: upper end.
      wins: items on which it is better.
      ties: items on which both are equal.
      losses: items on which it is worse.
      clear: whether it is a verdict: the interval leaves out one half.
      unequal: items left out because the two outputs have different numbers of frames.
    """

    mean: float
    low: float
    high: float
    wins: int
    ties: int
    losses: int
    clear: bool = False
    unequal: int = 0


@dataclass(frozen=True)
class MethodSummary:
    """One column of one method.

    Attributes:
      overall: over all items.
      by_kind: over the items of each kind.
      difference: from the baseline; None for the baseline itself.
    """

    overall: Cell
    by_kind: dict[str, Cell]
    difference: Difference | None = None


@dataclass(frozen=True)
class EditCost:
    """What an edit of a method takes; the field names are keys of results.json.

    Attributes:
      median: seconds, whatever the machine that measured them; nan where no edit was timed. The first edit of a process also loads and
        compiles, which a median leaves out.
      low: lower quartile.
      high: upper quartile.
      n: edits that were timed.
      dollars: price of an edit; None where unknown.
    """

    median: float
    low: float
    high: float
    n: int
    dollars: float | None = None


def summarize_costs(run: SweepRun) -> dict[str, EditCost]:
    """Return the cost of the methods that run an editor."""
    costs = {}
    for method in run.sweep.methods:
        if isinstance(method, EditingMethod):
            outputs = [run.outputs[method.name, item.id] for item in run.sweep.benchmark.items]
            seconds = [output.seconds for output in outputs if output.seconds is not None]
            low, median, high = np.percentile(seconds, (25, 50, 75)) if seconds else [float("nan")] * 3
            costs[method.name] = EditCost(
                float(median), float(low), float(high), len(seconds), method.dollars
            )
    return costs


def build_table(run: SweepRun, metric: Metric, column: Column) -> ScoreTable:
    """Collect the scores of a column."""
    items = run.sweep.benchmark.items
    values = np.full((len(run.sweep.methods), len(items)), np.nan)
    is_failed, is_unscored = np.zeros(values.shape, bool), np.zeros(values.shape, bool)
    for row, method in enumerate(run.sweep.methods):
        item_results = [run.results[method.name, item.id, metric.name] for item in items]
        is_failed[row] = [result.status == "failed" for result in item_results]
        is_unscored[row] = [result.status == "unscored" for result in item_results]
        if isinstance(metric, SetMetric):
            values[row] = metric.spread(column, [result.notes for result in item_results])
        else:
            values[row] = [result.values.get(column.name, np.nan) for result in item_results]
    outputs = [[run.outputs[method.name, item.id].frames for item in items] for method in run.sweep.methods]
    # Where no method that was scored has a value, the column does not apply to the item, and no method failed it.
    applies = np.isfinite(values).any(0) | (is_failed | is_unscored).all(0)
    return ScoreTable(column, values, is_failed & applies, is_unscored & applies, np.array(outputs, float))


def summarize_methods(
    table: ScoreTable, methods: Sequence[str], item_kinds: Sequence[str], baseline: str
) -> dict[str, MethodSummary]:
    """Summarize a column by method.

    Args:
      table: its scores.
      methods: names of the rows.
      item_kinds: kinds of the items, in order.
      baseline: name of the method that others are compared with.
    """
    column, is_failed, is_unscored = table.column, table.is_failed, table.is_unscored
    values = np.where(is_failed, np.nan if column.worst is None else column.worst, table.values)
    kinds = {kind: np.array([k == kind for k in item_kinds]) for kind in dict.fromkeys(item_kinds)}
    everything = np.ones(values.shape[1], bool)
    base = methods.index(baseline)
    unequal = _differ(table.lengths, table.lengths[base])
    return {
        name: MethodSummary(
            overall=_summarize_items(values[row], is_failed[row], is_unscored[row], everything, column),
            by_kind={
                kind: _summarize_items(values[row], is_failed[row], is_unscored[row], selection, column)
                for kind, selection in kinds.items()
            },
            difference=None
            if name == baseline
            else paired_difference(values[row], values[base], unequal[row], column.rate),
        )
        for row, name in enumerate(methods)
    }


def compare_methods(table: ScoreTable) -> list[list[WinRate | None]]:
    """Compare all pairs of methods in a column.

    Returns:
      [i][j]: the share of their common items on which method i is better than j; None on the diagonal and without such items.
      Empty where no direction is better.
    """
    column = table.column
    if column.better == "neither":
        return []
    sign = 1 if column.better == "higher" else -1
    # A failed item loses; nan does not apply.
    ranks = np.where(table.is_failed, -np.inf, sign * table.values)
    unequal = [_differ(table.lengths, lengths) for lengths in table.lengths]
    return [
        [None if i == j else _win_rate(a, b, unequal[i][j]) for j, b in enumerate(ranks)]
        for i, a in enumerate(ranks)
    ]


def _summarize_items(
    values: np.ndarray, is_failed: np.ndarray, is_unscored: np.ndarray, selection: np.ndarray, column: Column
) -> Cell:
    scores = values[selection & np.isfinite(values)]
    failure_count, unscored = int((is_failed & selection).sum()), int((is_unscored & selection).sum())
    scored = len(scores) - (0 if column.worst is None else failure_count)
    estimate = intervals.rate if column.rate else intervals.mean
    interval = NO_INTERVAL
    if failure_count and unscored and column.worst is not None:
        outputs = values[selection & np.isfinite(values) & ~is_failed]
        if len(outputs):
            share, worst = failure_count / (scored + failure_count + unscored), column.worst
            interval = Interval(*((1 - share) * x + share * worst for x in estimate(outputs)))
    elif len(scores):
        interval = estimate(scores)
    return Cell(
        *interval, n=scored + failure_count + unscored, scored=scored, failed=failure_count, unscored=unscored
    )


def _differ(lengths: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return where both outputs are there and have different numbers of frames."""
    return np.isfinite(lengths) & np.isfinite(others) & (lengths != others)


def paired_difference(
    values: np.ndarray, reference: np.ndarray, unequal: np.ndarray, is_rate: bool
) -> Difference:
    """Return the mean difference of two rows of scores over the items that both have.

    Args:
      values: [items]; nan where there is no score.
      reference: [items], what is subtracted.
      unequal: bool [items]: items that are left out, since their outputs have different numbers of frames.
      is_rate: whether scores are 0 or 1.
    """
    both = np.isfinite(values) & np.isfinite(reference)
    shared, left_out = both & ~unequal, int((both & unequal).sum())
    n = int(shared.sum())
    if not n:
        return Difference(*NO_INTERVAL, n=0, unequal=left_out)
    changes = values[shared] - reference[shared]
    if is_rate:
        # From -1, 0, 1 to lost, tied, won.
        half = _share((changes + 1) / 2)
        interval = Interval(2 * half.mean - 1, 2 * half.low - 1, 2 * half.high - 1)
    else:
        interval = intervals.mean(changes)
    is_clear = n >= intervals.FEWEST_RESAMPLED and (interval.low > 0 or interval.high < 0)
    return Difference(*interval, n=n, clear=bool(is_clear), unequal=left_out)


def _win_rate(a: np.ndarray, b: np.ndarray, unequal: np.ndarray) -> WinRate | None:
    both = ~(np.isnan(a) | np.isnan(b))
    shared, left_out = both & ~unequal, int((both & unequal).sum())
    if not shared.any():
        return None
    points = np.where(a[shared] > b[shared], 1.0, np.where(a[shared] == b[shared], 0.5, 0.0))
    wins, ties = int((points == 1).sum()), int((points == 0.5).sum())
    interval = _share(points)
    is_clear = bool(interval.low > 0.5 or interval.high < 0.5)
    losses = len(points) - wins - ties
    return WinRate(*interval, wins=wins, ties=ties, losses=losses, clear=is_clear, unequal=left_out)


def _share(points: np.ndarray) -> Interval:
    """Return the mean of points of 0, 1/2 and 1, with its interval where there are enough of them."""
    if len(points) < FEWEST_COMPARED:
        return NO_INTERVAL._replace(mean=float(points.mean()))
    return intervals.share(points)
