"""The results of a sweep, and their forms as files: one JSON document and two CSV tables.

summary.py defines how failures count and what the intervals are of. The document is read by the report's scripts, by `v2v eval ab`, and by
people's own scripts: its keys stay.
"""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from v2v.evaluation import intervals
from v2v.evaluation.counts import format_count
from v2v.evaluation.items import Item
from v2v.evaluation.json_values import to_json_values
from v2v.evaluation.metrics.base import Column, Metric, SetMetric
from v2v.evaluation.sweep import published_tables
from v2v.evaluation.sweep.methods import EditingMethod
from v2v.evaluation.sweep.runner import NOT_ASKED, NOT_DONE, EditOutput, MetricResult, SweepRun
from v2v.evaluation.sweep.summary import (
    EditCost,
    MethodSummary,
    WinRate,
    build_table,
    compare_methods,
    summarize_costs,
    summarize_methods,
)
from v2v.evaluation.sweep.sweep import SweepPlan
from v2v.evaluation.sweep.version_stamp import version_stamp

SCHEMA = 1
# The name under which a calibration holds the agreement of people with each other.
PEOPLE = "people"


@dataclass(frozen=True)
class Problem:
    """What fails `--strict`: a failed edit or score, an output of another shape, a metric that was skipped, a surprise of the plan.

    Attributes:
      reason: what is wrong.
      method: the method that it concerns; "" for none.
      item: the item's id; "" for none.
      metric: the metric; "" for none.
    """

    reason: str
    method: str = ""
    item: str = ""
    metric: str = ""

    def __str__(self) -> str:
        if self.method:
            score = f", {self.metric}" if self.metric else ""
            return f"{self.method}, item {self.item}{score}: {self.reason}"
        return f"metric {self.metric} skipped: {self.reason}" if self.metric else self.reason


@dataclass(frozen=True)
class SweepResults:
    """The results of a sweep.

    Attributes:
      run: all edits and scores.
      plan: the plan of the run, or None where it was not made.
      columns: the columns that apply to some item, with their metrics.
      empty_columns: names of the columns that apply to no item.
      summary: by column and method.
      wins: by column, of method i against j; empty where no direction is better, and for metrics of sets.
      costs: time and price of an edit, by method that runs an editor.
      problems: what fails `--strict`.
      stamp: versions and time, JSON-able.
      calibration: agreement with people (calibration.py) of the columns that it was measured of, JSON-able; None where it wasn't.
    """

    run: SweepRun
    plan: SweepPlan | None
    columns: Sequence[tuple[Metric, Column]]
    empty_columns: Sequence[str]
    summary: dict[str, dict[str, MethodSummary]]
    wins: dict[str, list[list[WinRate | None]]]
    costs: dict[str, EditCost]
    problems: Sequence[Problem]
    stamp: dict[str, Any]
    calibration: dict[str, Any] | None = None

    @property
    def title(self) -> str:
        """Return the title of the report."""
        sweep = self.run.sweep
        return sweep.title or f"{sweep.benchmark.name}: {format_count(len(sweep.methods), 'method')}"

    def to_json(self) -> dict[str, Any]:
        """Return the document of plain JSON values.

        Returns:
          schema, title, stamp, benchmark, baseline, methods, columns, empty, kinds, items, edits, scores, published, skipped, notes,
          summary: {column: {method: {"all": cell, "kinds": {kind: cell}, "delta": difference}}}, wins: {column: [[win rate or
          null]]}, costs: {method: cost}, problems (texts), and plan and calibration where there is one. Floats have five digits.
        """
        run, sweep = self.run, self.run.sweep
        benchmark = sweep.benchmark
        document = {
            "schema": SCHEMA,
            "title": self.title,
            "stamp": self.stamp,
            "benchmark": {
                "name": benchmark.name,
                "version": benchmark.version,
                "about": benchmark.about,
                "items": len(benchmark.items),
                **({"contents": self.plan.contents} if self.plan else {}),
            },
            "baseline": sweep.reference,
            "methods": [
                {"name": m.name, "axes": m.axes, "settings": m.describe(), "weights": run.weights.get(m.name, {})}
                for m in sweep.methods
            ],
            "columns": [_column_json(metric, column) for metric, column in self.columns],
            "empty": list(self.empty_columns),
            "kinds": list(dict.fromkeys(item.kind for item in benchmark.items)),
            "items": [_item_json(item) for item in benchmark.items],
            "edits": [_edit_json(method, item, output) for (method, item), output in run.outputs.items()],
            "scores": [_score_json(*key, result) for key, result in run.results.items()],
            "published": [published_tables.read_table(name) for name in sweep.published],
            "skipped": run.skipped_metrics,
            "notes": self.plan.notes if self.plan else [],
            "summary": {
                column: {method: _summary_json(s) for method, s in by_method.items()}
                for column, by_method in self.summary.items()
            },
            "wins": {
                column: [[rate and dataclasses.asdict(rate) for rate in row] for row in rows]
                for column, rows in self.wins.items()
            },
            "costs": {method: dataclasses.asdict(cost) for method, cost in self.costs.items()},
            "problems": [str(problem) for problem in self.problems],
        }  # fmt: skip
        values = to_json_values(document)
        optional = {"plan": self.plan.to_json() if self.plan else None, "calibration": self.calibration}
        return values | {name: value for name, value in optional.items() if value}


def build_results(
    run: SweepRun, plan: SweepPlan | None = None, calibration: dict[str, Any] | None = None
) -> SweepResults:
    """Summarize a run.

    Args:
      run: all edits and scores.
      plan: the plan of the run, whose notes become problems.
      calibration: the document of `Calibration.to_json`. Of columns whose metric has changed since, it is left out.
    """
    sweep = run.sweep
    tables = {
        column.name: build_table(run, metric, column)
        for metric in sweep.metrics
        if metric.name not in run.skipped_metrics
        for column in metric.columns
    }
    empty_columns = [name for name, table in tables.items() if table.is_empty]
    columns = [
        (metric, column)
        for metric in sweep.metrics
        if metric.name not in run.skipped_metrics
        for column in metric.columns
        if column.name not in empty_columns
    ]
    methods = [method.name for method in sweep.methods]
    kinds = [item.kind for item in sweep.benchmark.items]
    return SweepResults(
        run=run,
        plan=plan,
        columns=columns,
        empty_columns=empty_columns,
        summary={
            c.name: summarize_methods(tables[c.name], methods, kinds, sweep.reference) for _, c in columns
        },
        wins={
            c.name: [] if isinstance(m, SetMetric) else compare_methods(tables[c.name]) for m, c in columns
        },
        costs=summarize_costs(run),
        problems=list_problems(run, plan),
        stamp=version_stamp(),
        calibration=_select_calibration(calibration, columns) if calibration else None,
    )


def _select_calibration(
    calibration: dict[str, Any], columns: Sequence[tuple[Metric, Column]]
) -> dict[str, Any]:
    """Return the agreement with people of the columns that are what they were when it was measured, and of people with each other."""
    identities = {column.name: to_json_values(metric.identity) for metric, column in columns}
    return {
        **calibration,
        "columns": [
            entry
            for entry in calibration["columns"]
            if entry["column"] == PEOPLE or identities.get(entry["column"]) == entry["identity"]
        ],
    }


def list_problems(run: SweepRun, plan: SweepPlan | None = None) -> list[Problem]:
    """List what fails `--strict`: the plan's notes, skipped metrics, failed items, outputs of another shape, ignored words, missing scores."""
    problems = [Problem(note) for note in (plan.notes if plan else [])]
    problems += [Problem(reason, metric=name) for name, reason in run.skipped_metrics.items()]
    pending = [
        ("edit", sum(output.is_pending for output in run.outputs.values())),
        ("score", sum(result.reason == NOT_DONE for result in run.results.values())),
    ]
    problems += [
        Problem(f"{format_count(count, f'{work} is', f'{work}s are')} not done yet")
        for work, count in pending
        if count
    ]
    unasked = sum(result.reason == NOT_ASKED for result in run.results.values())
    problems += [Problem(f"{format_count(unasked, 'score')} of judges: {NOT_ASKED}")] if unasked else []
    for (method, item), output in run.outputs.items():
        if output.is_pending:
            continue
        if output.path is None:
            problems.append(Problem(output.reason, method, item))
        elif output.rule:
            problems.append(Problem(output.rule, method, item))
        if output.path is not None and output.ignored:
            words = ", ".join(f'"{word}"' for word in output.ignored)
            problems.append(Problem(f"the editor ignored {words} of the instruction", method, item))
    problems += [
        Problem(result.reason, method, item, metric)
        for (method, item, metric), result in run.results.items()
        if result.status == "unscored" and result.reason not in (NOT_DONE, NOT_ASKED)
    ]
    return problems


def format_scores_csv(results: SweepResults) -> str:
    """Format one line per method, item and column; the value is empty where failed or not applicable."""
    out = io.StringIO()
    write = csv.writer(out, lineterminator="\n")
    write.writerow(("method", "item", "kind", "metric", "column", "status", "value", "reason"))
    kinds = {item.id: item.kind for item in results.run.sweep.benchmark.items}
    columns: dict[str, list[str]] = {}
    for metric, column in results.columns:
        columns.setdefault(metric.name, []).append(column.name)
    for (method, item, metric), result in results.run.results.items():
        for column in columns.get(metric, ()):
            value = to_json_values(result.values.get(column))
            status = "n/a" if result.status == "ok" and value is None else result.status
            write.writerow(
                (method, item, kinds[item], metric, column, status, _csv_value(value), result.reason)
            )
    return out.getvalue()


def format_summary_csv(results: SweepResults) -> str:
    """Format one line per method, column and kind, with interval and counts, and two per editor: the share of refused items, and its time.

    The time is the median of seconds with the quartiles in place of an interval.
    """
    out = io.StringIO()
    write = csv.writer(out, lineterminator="\n")
    write.writerow(("method", "column", "kind", "mean", "low", "high", "n", "scored", "failed", "unscored"))
    for column, by_method in results.summary.items():
        for method, summary in by_method.items():
            for kind, cell in {"all": summary.overall, **summary.by_kind}.items():
                interval = (_csv_value(to_json_values(x)) for x in (cell.mean, cell.low, cell.high))
                counts = (cell.n, cell.scored, cell.failed, cell.unscored)
                write.writerow((method, column, kind, *interval, *counts))
    for method, refused in _refusals(results.run).items():
        rate = (_csv_value(to_json_values(x)) for x in intervals.rate(refused))
        write.writerow((method, "refused", "all", *rate, len(refused), len(refused), 0, 0))
    for method, cost in results.costs.items():
        seconds = (_csv_value(to_json_values(x)) for x in (cost.median, cost.low, cost.high))
        write.writerow((method, "median seconds", "all", *seconds, cost.n, cost.n, 0, 0))
    return out.getvalue()


def _refusals(run: SweepRun) -> dict[str, list[bool]]:
    """Return whether each item was refused, by editor."""
    return {
        method.name: [run.outputs[method.name, item.id].is_refused for item in run.sweep.benchmark.items]
        for method in run.sweep.methods
        if isinstance(method, EditingMethod)
    }


def _csv_value(value: float | None) -> float | str:
    return "" if value is None else value


def _column_json(metric: Metric, column: Column) -> dict:
    return {
        "name": column.name, "metric": metric.name, "better": column.better, "unit": column.unit, "worst": column.worst,
        "rate": column.rate, "about": column.about, "identity": metric.identity,
    }  # fmt: skip


def _item_json(item: Item) -> dict:
    return {
        "id": item.id, "kind": item.kind, "instruction": item.instruction, "source": str(item.source.resolve()),
        "truth": item.truth is not None, "mask": item.mask is not None, "reference": item.reference is not None,
        "start": item.start, "end": item.end, "target_prompt": item.target_prompt,
    }  # fmt: skip


def _edit_json(method: str, item: str, output: EditOutput) -> dict:
    return {
        "method": method, "item": item, "status": "ok" if output.path else "failed", "reason": output.reason, "rule": output.rule,
        "path": str(output.path.resolve()) if output.path else "", "sha256": output.sha256, "seconds": output.seconds,
        "notes": output.notes, "ignored": output.ignored, "refused": output.is_refused, "frames": output.frames,
    }  # fmt: skip


def _score_json(method: str, item: str, metric: str, result: MetricResult) -> dict:
    # Features of set metrics are large, and of use to the cache only.
    notes = {name: value for name, value in result.notes.items() if name != "features"}
    return {
        "method": method, "item": item, "metric": metric, "status": result.status, "values": result.values,
        "reason": result.reason, "notes": notes,
    }  # fmt: skip


def _summary_json(summary: MethodSummary) -> dict:
    document: dict[str, Any] = {
        "all": dataclasses.asdict(summary.overall),
        "kinds": {kind: dataclasses.asdict(cell) for kind, cell in summary.by_kind.items()},
    }
    if summary.difference is not None:
        document["delta"] = dataclasses.asdict(summary.difference)
    return document
