"""The scores of a sweep as tables for papers: Markdown and LaTeX (booktabs)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from v2v.evaluation.counts import format_count
from v2v.evaluation.metrics.base import Column
from v2v.evaluation.sweep.results import SweepResults
from v2v.evaluation.sweep.summary import Cell

ARROWS = {"higher": "↑", "lower": "↓", "neither": ""}
LATEX_ARROWS = {"higher": r" $\uparrow$", "lower": r" $\downarrow$", "neither": ""}
LATEX_SPECIAL = {c: "\\" + c for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


@dataclass(frozen=True)
class _TextCell:
    """A mean with its interval, as text; `is_best` of its column."""

    mean: str
    interval: str
    is_best: bool = False


def format_markdown(results: SweepResults) -> str:
    """Return the means by method as a table of Markdown, the best of each column in bold, with intervals, time and counts."""
    columns, rows = _build_rows(results)
    heads = ["method", *(f"{_head(c)} {ARROWS[c.better]}".strip() for c in columns), "seconds"]
    lines = [_markdown_row(heads), "|" + "---|" * len(heads)]
    for method, cells, seconds in rows:
        texts = [
            " ".join(filter(None, (f"**{cell.mean}**" if cell.is_best else cell.mean, cell.interval)))
            for cell in cells
        ]
        lines.append(_markdown_row([method, *texts, seconds]))
    return f"{results.title}\n\n" + "\n".join(lines) + f"\n\n{_caption(results)}\n"


def format_latex(results: SweepResults) -> str:
    """Return the same table for LaTeX with the package booktabs; intervals stand in small type behind the means."""
    columns, rows = _build_rows(results)
    heads = [
        "method",
        *(f"{_escape(_head(c))}{LATEX_ARROWS[c.better]}" for c in columns),
        "seconds",
    ]
    lines = [r"\begin{tabular}{l" + "r" * (len(heads) - 1) + "}", r"\toprule", " & ".join(heads) + r" \\", r"\midrule"]  # fmt: skip
    for method, cells, seconds in rows:
        texts = []
        for cell in cells:
            mean = rf"\textbf{{{cell.mean}}}" if cell.is_best else cell.mean
            texts.append(mean + (rf" {{\scriptsize {cell.interval}}}" if cell.interval else ""))
        lines.append(" & ".join([_escape(method), *texts, seconds]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    return f"% {results.title}. {_caption(results)}\n" + "\n".join(lines) + "\n"


def _build_rows(results: SweepResults) -> tuple[list[Column], list[tuple[str, list[_TextCell], str]]]:
    """Return the columns, and of each method its name, cells and median of seconds."""
    columns = [column for _, column in results.columns]
    methods = [method.name for method in results.run.sweep.methods]
    best = {column.name: _find_best(results, column, methods) for column in columns}
    rows = []
    for method in methods:
        cells = [
            _format_cell(results.summary[c.name][method].overall, c, best[c.name] == method) for c in columns
        ]
        cost = results.costs.get(method)
        seconds = f"{cost.median:.3g}" if cost is not None and np.isfinite(cost.median) else "–"
        rows.append((method, cells, seconds))
    return columns, rows


def _find_best(results: SweepResults, column: Column, methods: Sequence[str]) -> str:
    """Return the method with the best mean; "" for one method alone, a tie, or where no direction is better."""
    means = {m: results.summary[column.name][m].overall.mean for m in methods}
    means = {m: mean for m, mean in means.items() if np.isfinite(mean)}
    if column.better == "neither" or len(means) < 2:
        return ""
    best = (max if column.better == "higher" else min)(means.values())
    names = [m for m, mean in means.items() if mean == best]
    return names[0] if len(names) == 1 else ""


def _format_cell(cell: Cell, column: Column, is_best: bool) -> _TextCell:
    if not np.isfinite(cell.mean):
        return _TextCell("–", "")
    interval = ""
    if np.isfinite(cell.low):
        interval = f"[{_number(cell.low, column)}, {_number(cell.high, column)}]"
    return _TextCell(_number(cell.mean, column), interval, is_best)


def _number(value: float, column: Column) -> str:
    """Return a number as the report shows it: rates as per cent, others with three digits that count."""
    if column.rate:
        return f"{100 * value:.0f}"
    size = abs(value)
    digits = 0 if size >= 100 else 1 if size >= 10 else 3 if 0 < size < 0.1 else 2
    return f"{value:.{digits}f}"


def _head(column: Column) -> str:
    unit = "%" if column.rate else column.unit
    return f"{column.name} {unit}".strip()


def _caption(results: SweepResults) -> str:
    benchmark = results.run.sweep.benchmark
    commit = str(results.stamp.get("commit") or "")[:12]
    return (
        f"{benchmark.name} {benchmark.version}".strip()
        + f", {format_count(len(benchmark.items), 'item')}; mean and 95 % interval; items without an output count as the worst of a scale that has one; "
        f"median seconds of an edit. v2v {commit}".rstrip()
    )


def _markdown_row(texts: Sequence[str]) -> str:
    return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"


def _escape(text: str) -> str:
    return "".join(LATEX_SPECIAL.get(character, character) for character in text)
