"""Results of a sweep as one JSON document and as CSV.

How failures count. A metric applies to the items that have what it needs; that number is the denominator `n` of every mean. An item that
applies and couldn't be made or scored counts as the worst of the column's scale (success 0, a judge's lowest). Columns without an end
of their scale (PSNR, flicker) have nothing to put in its place: their mean is over `scored` < n items, and both numbers are shown.
In comparisons a failed item loses against one that was scored.

Intervals are 95 % (intervals.py). A difference from the baseline is over items that both were scored on, resampled together.
"""

from __future__ import annotations

import csv
import io
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import numpy as np

from v2v.evaluation import intervals
from v2v.evaluation.intervals import Interval
from v2v.evaluation.json_values import to_json_values
from v2v.evaluation.metrics.base import Column, Metric, SetMetric
from v2v.evaluation.sweep import published_tables
from v2v.evaluation.sweep.runner import SweepRun

SCHEMA = 1


def build_document(run: SweepRun) -> dict:
    """Build the whole document of plain JSON values.

    Returns:
      schema, title, stamp (versions), benchmark, methods, columns, empty (names of columns that apply to no item), kinds, items, edits, scores, skipped, notes, problems (strings),
      summary: {column: {method: {"all": cell, "kinds": {kind: cell}, "delta": cell of the difference from the baseline}}},
      wins: {column: [[share of items on which row beats column, ties half, or None]], empty where neither way is better}; a cell is {mean, low, high, n, scored, failed}.
    """
    sweep = run.sweep
    names = [m.name for m in sweep.methods]
    columns = [(m, c) for m in sweep.metrics if m.name not in run.skipped_metrics for c in m.columns]
    table = {c.name: _matrix(run, metric, c) for metric, c in columns}
    empty = [c.name for _, c in columns if not (np.isfinite(table[c.name][0]) | table[c.name][1]).any()]
    columns = [(metric, c) for metric, c in columns if c.name not in empty]
    kinds = list(dict.fromkeys(i.kind for i in sweep.benchmark.items))
    where = {k: np.array([i.kind == k for i in sweep.benchmark.items]) for k in kinds}
    document = {
        "schema": SCHEMA,
        "title": sweep.title or f"{sweep.benchmark.name}: {len(names)} methods",
        "stamp": version_stamp(),
        "benchmark": {
            "name": sweep.benchmark.name,
            "version": sweep.benchmark.version,
            "about": sweep.benchmark.about,
            "items": len(sweep.benchmark.items),
        },
        "baseline": sweep.reference,
        "methods": [{"name": m.name, "axes": m.axes, "settings": m.describe(), "weights": run.weights.get(m.name, {})} for m in sweep.methods],
        "columns": [
            {
                "name": c.name, "metric": metric.name, "better": c.better, "unit": c.unit, "worst": c.worst,
                "rate": c.rate, "about": c.about, "identity": metric.identity,
            }
            for metric, c in columns
        ],
        "empty": empty,
        "kinds": kinds,
        "items": [
            {
                "id": i.id, "kind": i.kind, "instruction": i.instruction, "source": str(i.source.resolve()), "truth": i.truth is not None,
                "mask": i.mask is not None, "reference": i.reference is not None,
                "start": i.start, "end": i.end, "target_prompt": i.target_prompt,
            }
            for i in sweep.benchmark.items
        ],
        "edits": [_edit(name, item, e) for (name, item), e in run.outputs.items()],
        "scores": [
            {"method": m, "item": i, "metric": name, "status": s.status, "values": s.values, "reason": s.reason, "notes": {k: v for k, v in s.notes.items() if k != "features"}}
            for (m, i, name), s in run.results.items()
        ],
        "published": [published_tables.read_table(name) for name in sweep.published],
        "skipped": run.skipped_metrics,
        "notes": run.notes,
        "summary": {
            c.name: _summary(table[c.name], c, names, kinds, where, names.index(sweep.reference)) for _, c in columns
        },
        "wins": {c.name: [] if isinstance(m, SetMetric) else _wins(table[c.name], c) for m, c in columns},
    }  # fmt: skip
    document["problems"] = list_problems(document)
    return to_json_values(document)


def list_problems(document: dict) -> list[str]:
    """List what fails `--strict`: failed items and scores, outputs of another shape, skipped metrics, extra results."""
    lines = list(document["notes"])
    lines += [f"metric {name} skipped: {why}" for name, why in document["skipped"].items()]
    for e in document["edits"]:
        if e["status"] == "failed":
            lines.append(f"{e['method']}, item {e['item']}: {e['reason']}")
        elif e["rule"]:
            lines.append(f"{e['method']}, item {e['item']}: {e['rule']}")
    lines += [
        f"{s['method']}, item {s['item']}, {s['metric']}: {s['reason']}"
        for s in document["scores"]
        if s["status"] == "failed" and not s["reason"].startswith("no output")
    ]
    return lines


def format_scores_csv(document: dict) -> str:
    """Format one line per method, item and column; the value is empty where failed or not applicable."""
    out = io.StringIO()
    write = csv.writer(out, lineterminator="\n")
    write.writerow(("method", "item", "kind", "metric", "column", "status", "value", "reason"))
    kinds = {i["id"]: i["kind"] for i in document["items"]}
    columns: dict[str, list[str]] = {}
    for c in document["columns"]:
        columns.setdefault(c["metric"], []).append(c["name"])
    for s in document["scores"]:
        for name in columns.get(s["metric"], ()):
            value = s["values"].get(name)
            status = "n/a" if s["status"] == "ok" and value is None else s["status"]
            write.writerow(
                (s["method"], s["item"], kinds[s["item"]], s["metric"], name, status, "" if value is None else value, s["reason"])
            )  # fmt: skip
    return out.getvalue()


def format_summary_csv(document: dict) -> str:
    """Format one line per method, column and kind, with interval and counts."""
    out = io.StringIO()
    write = csv.writer(out, lineterminator="\n")
    write.writerow(("method", "column", "kind", "mean", "low", "high", "n", "scored", "failed"))
    for column, by_method in document["summary"].items():
        for method, cells in by_method.items():
            for kind, cell in {"all": cells["all"], **cells["kinds"]}.items():
                write.writerow(
                    (method, column, kind, *("" if cell[k] is None else cell[k] for k in ("mean", "low", "high")),
                     cell["n"], cell["scored"], cell["failed"])
                )  # fmt: skip
    return out.getvalue()


def version_stamp() -> dict:
    """Return versions, the commit if there is one, and the time."""
    versions = {}
    for name in ("v2v", "jax", "numpy", "opencv-python-headless", "av"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "commit": _commit(),
        "packages": versions,
    }


def _commit() -> str:
    """Of a checkout this package lies in; empty for an installed one."""
    root = Path(__file__).parents[3]
    try:
        if not (root / ".git").exists():
            return ""
        command = ["git", "-C", str(root), "rev-parse", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _edit(method: str, item: str, e) -> dict:
    return {
        "method": method, "item": item, "status": "ok" if e.path else "failed", "reason": e.reason, "rule": e.rule,
        "path": str(e.path.resolve()) if e.path else "", "sha256": e.sha256, "seconds": e.seconds, "notes": e.notes,
    }  # fmt: skip


def _matrix(run: SweepRun, metric: Metric, column: Column) -> tuple[np.ndarray, np.ndarray]:
    """(values [methods, items], nan where not applicable or failed; which failed, bool)."""
    sweep = run.sweep
    values = np.full((len(sweep.methods), len(sweep.benchmark.items)), np.nan)
    is_failed = np.zeros(values.shape, bool)
    for a, method in enumerate(sweep.methods):
        for b, item in enumerate(sweep.benchmark.items):
            result = run.results[method.name, item.id, metric.name]
            values[a, b] = result.values.get(column.name, np.nan)
            is_failed[a, b] = result.status == "failed"
        if isinstance(metric, SetMetric):  # one number a method, spread over its items
            values[a] = metric.spread(
                column, [run.results[method.name, i.id, metric.name].notes for i in sweep.benchmark.items]
            )
    # A column that left an item out for every method that was scored doesn't apply there: then nobody failed it.
    applies = np.isfinite(values).any(0) | is_failed.all(0)
    return values, is_failed & applies


def _summary(table, column: Column, names: Sequence[str], kinds, where, baseline: int) -> dict:
    values, is_failed = table
    counted_values = np.where(is_failed, np.nan if column.worst is None else column.worst, values)
    by_method = {}
    for row, name in enumerate(names):
        every = np.ones(values.shape[1], bool)
        by_method[name] = {
            "all": _cell(counted_values[row], is_failed[row], every, column),
            "kinds": {k: _cell(counted_values[row], is_failed[row], where[k], column) for k in kinds},
        }
        if row != baseline:
            shared = np.isfinite(counted_values[row]) & np.isfinite(counted_values[baseline])
            gap = (
                intervals.difference(counted_values[row][shared], counted_values[baseline][shared])
                if shared.any()
                else Interval(float("nan"), float("nan"), float("nan"))
            )
            by_method[name]["delta"] = {**gap._asdict(), "n": int(shared.sum())}
    return by_method


def _cell(counted_values: np.ndarray, is_failed: np.ndarray, selection: np.ndarray, column: Column) -> dict:
    scores = counted_values[selection & np.isfinite(counted_values)]
    lost = int((is_failed & selection).sum())
    n = len(scores) + (lost if column.worst is None else 0)
    if len(scores):
        interval = intervals.rate(scores) if column.rate else intervals.mean(scores)
    else:
        interval = Interval(float("nan"), float("nan"), float("nan"))
    return {**interval._asdict(), "n": n, "scored": n - lost, "failed": lost}


def _wins(table, column: Column) -> list[list[dict | None]]:
    """[i][j]: on which share of their shared items method i is better than j."""
    values, is_failed = table
    if column.better == "neither":
        return []
    sign = 1 if column.better == "higher" else -1
    ranked = np.where(is_failed, -np.inf, sign * values)  # a failed item loses; nan: doesn't apply
    rows: list[list[dict | None]] = []
    for i, a in enumerate(ranked):
        rows.append([])
        for j, b in enumerate(ranked):
            both = ~(np.isnan(a) | np.isnan(b))
            if i == j or not both.any():
                rows[-1].append(None)
                continue
            points = np.where(a[both] > b[both], 1.0, np.where(a[both] == b[both], 0.5, 0.0))
            wins, ties = int((points == 1).sum()), int((points == 0.5).sum())
            share = intervals.rate(points)
            rows[-1].append(
                {**share._asdict(), "wins": wins, "ties": ties, "losses": len(points) - wins - ties}
            )
    return rows
