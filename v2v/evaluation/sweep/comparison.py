"""What changed between two runs of a sweep, item by item, from their results.json.

Only items that both runs have, with the same id and instruction, are compared, as in a sweep: paired, with intervals, and left out where the two
outputs have different numbers of frames. Scores count as the runs stored them: an item without an output has the worst of a scale that has one.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from v2v.errors import InputError
from v2v.evaluation.counts import format_count
from v2v.evaluation.json_values import to_json_values
from v2v.evaluation.sweep.summary import Difference, paired_difference
from v2v.runtime.text_files import read_text


@dataclass(frozen=True)
class ColumnComparison:
    """One column of one method in two runs.

    Attributes:
      method: as in the second run.
      column: name of the column.
      better: "higher", "lower" or "neither".
      unit: of the scores; "%" for rates.
      difference: second run minus first.
      changed_items: ids of the items whose scores differ most, worst change first where one direction is better.
    """

    method: str
    column: str
    better: str
    unit: str
    difference: Difference
    changed_items: tuple[str, ...]


@dataclass(frozen=True)
class RunComparison:
    """Two runs.

    Attributes:
      first: the first run's results.json.
      second: the second run's.
      commits: of both.
      items: number of items that are compared.
      other_items: number of items that only one run has, or with another instruction.
      other_columns: names of columns that only one run has, or that were measured otherwise.
      columns: the comparisons.
    """

    first: str
    second: str
    commits: tuple[str, str]
    items: int
    other_items: int
    other_columns: tuple[str, ...]
    columns: tuple[ColumnComparison, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return to_json_values(dataclasses.asdict(self))

    def format(self) -> str:
        """Return a table of Markdown and what was left out."""
        lines = [
            f"{self.second} against {self.first}: {format_count(self.items, 'item')}",
            "",
            "| method | column | change | 95 % interval | items | verdict | items that changed most |",
            "|---|---|---|---|---|---|---|",
        ]
        for row in self.columns:
            d, scale = row.difference, 100 if row.unit == "%" else 1
            change = "–" if np.isnan(d.mean) else f"{scale * d.mean:+.3g} {row.unit}".strip()
            interval = "" if np.isnan(d.low) else f"[{scale * d.low:+.3g}, {scale * d.high:+.3g}]"
            lines.append(
                f"| {row.method} | {row.column} | {change} | {interval} | {d.n} | {_verdict(row)} | {', '.join(row.changed_items)} |"
            )
        unequal = sum(row.difference.unequal for row in self.columns)
        columns = f"in one run only: {', '.join(self.other_columns)}"
        left_out = (
            (self.other_items, "item is in one run only, or has another instruction", "items are in one run only, or have another instruction"),
            (len(self.other_columns), f"column is {columns}", f"columns are {columns}"),
            (unequal, "score is of outputs with different numbers of frames", "scores are of outputs with different numbers of frames"),
        )  # fmt: skip
        for count, one, several in left_out:
            if count:
                lines += ["", f"Not compared: {format_count(count, one, several)}."]
        if self.commits[0] != self.commits[1]:
            lines += ["", f"Commits: {self.commits[0] or 'unknown'} and {self.commits[1] or 'unknown'}."]
        return "\n".join(lines) + "\n"


def compare_runs(first: str, second: str, changed_items: int = 3) -> RunComparison:
    """Compare two runs.

    Args:
      first: folder of a run, or FOLDER:METHOD for one of its methods.
      second: likewise; runs of which a method is named are compared by these, others by methods of the same name.
      changed_items: how many of the items that changed most are listed for each column.

    Raises:
      InputError: no results there, no such method, or nothing in common.
    """
    runs = [_read_run(side) for side in (first, second)]
    pairs = _pair_methods(*runs)
    items = [
        name
        for name, instruction in runs[1].instructions.items()
        if runs[0].instructions.get(name) == instruction
    ]
    if not items:
        raise InputError(
            f"{second}: expected items of the same ids and instructions as in {first}, found none"
        )
    columns = [column for name, column in runs[1].columns.items() if runs[0].columns.get(name) == column]
    names = {column["name"] for column in columns}
    compared = tuple(
        _compare_column(runs[0], runs[1], pair, column, items, changed_items)
        for pair in pairs
        for column in columns
    )
    return RunComparison(
        str(first),
        str(second),
        (runs[0].commit, runs[1].commit),
        len(items),
        len(runs[0].instructions) + len(runs[1].instructions) - 2 * len(items),
        tuple(sorted((runs[0].columns.keys() | runs[1].columns.keys()) - names)),
        compared,
    )


@dataclass(frozen=True)
class _StoredRun:
    """A results.json; scores by method, item and metric; frames by method and item."""

    side: str
    method: str
    methods: tuple[str, ...]
    instructions: dict[str, str]
    columns: dict[str, dict[str, Any]]
    scores: dict[tuple[str, str, str], dict[str, Any]]
    frames: dict[tuple[str, str], int | None]
    commit: str


def _read_run(side: str) -> _StoredRun:
    folder, method = Path(side), ""
    if not folder.is_dir() and ":" in str(side):
        head, _, method = str(side).rpartition(":")
        folder = Path(head)
    file = folder / "results.json"
    if not file.is_file():
        raise InputError(f"{file}: no results there; expected the folder of a finished `v2v eval`")
    try:
        document = json.loads(read_text(file))
        run = _StoredRun(
            side=str(side),
            method=method,
            methods=tuple(m["name"] for m in document["methods"]),
            instructions={item["id"]: item["instruction"] for item in document["items"]},
            # A column whose metric has changed its meaning is another one, whatever its name.
            columns={
                c["name"]: {
                    k: c[k] for k in ("name", "metric", "better", "unit", "worst", "rate", "identity")
                }
                for c in document["columns"]
            },
            scores={(s["method"], s["item"], s["metric"]): s for s in document["scores"]},
            frames={(e["method"], e["item"]): e.get("frames") for e in document["edits"]},
            commit=str(document.get("stamp", {}).get("commit") or "")[:12],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{file}: expected the results of `v2v eval`, got something else ({error})"
        ) from None
    if method and method not in run.methods:
        raise InputError(f"{side}: expected a method among {', '.join(run.methods)}, got {method}")
    return run


def _pair_methods(first: _StoredRun, second: _StoredRun) -> list[tuple[str, str]]:
    if bool(first.method) != bool(second.method):
        specific, other = (first, second) if first.method else (second, first)
        if len(other.methods) != 1:
            raise InputError(
                f"{other.side}: expected FOLDER:METHOD, as {specific.side} names one; its methods are {', '.join(other.methods)}"
            )
    if first.method or second.method or len(first.methods) == len(second.methods) == 1:
        return [(first.method or first.methods[0], second.method or second.methods[0])]
    shared = [(name, name) for name in second.methods if name in first.methods]
    if not shared:
        raise InputError(
            f"{second.side}: expected methods of the same names as in {first.side}, found none; name one of each, FOLDER:METHOD"
        )
    return shared


def _compare_column(
    first: _StoredRun,
    second: _StoredRun,
    pair: tuple[str, str],
    column: dict[str, Any],
    items: list[str],
    changed_items: int,
) -> ColumnComparison:
    values = [
        np.array([_value(run, method, item, column) for item in items])
        for run, method in zip((first, second), pair, strict=True)
    ]
    frames = [
        np.array([run.frames.get((method, item)) or np.nan for item in items], float)
        for run, method in zip((first, second), pair, strict=True)
    ]
    unequal = np.isfinite(frames[0]) & np.isfinite(frames[1]) & (frames[0] != frames[1])
    change = np.where(unequal, np.nan, values[1] - values[0])
    # Worse first; where no direction is better, the largest change.
    badness = {"higher": -change, "lower": change, "neither": np.abs(change)}[column["better"]]
    order = [i for i in np.argsort(-np.nan_to_num(np.abs(badness))) if np.isfinite(change[i]) and change[i]]
    worst = sorted(order[:changed_items], key=lambda i: -badness[i])
    return ColumnComparison(
        pair[1],
        column["name"],
        column["better"],
        "%" if column["rate"] else column["unit"],
        paired_difference(values[1], values[0], unequal, column["rate"]),
        tuple(items[i] for i in worst),
    )


def _value(run: _StoredRun, method: str, item: str, column: dict[str, Any]) -> float:
    score = run.scores.get((method, item, column["metric"]))
    if score is None:
        return float("nan")
    if score["status"] == "failed":
        return float("nan") if column["worst"] is None else float(column["worst"])
    value = score["values"].get(column["name"])
    return float("nan") if value is None else float(value)


def _verdict(row: ColumnComparison) -> str:
    if not row.difference.clear:
        return "no clear change"
    if row.better == "neither":
        return "changed"
    return "better" if (row.difference.mean > 0) == (row.better == "higher") else "worse"
