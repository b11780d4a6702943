"""Runs what a sweep asks for and the cache lacks. sweep.py -> **runner** -> results.py

Edits first (one editor loaded at a time), then local metrics (one output at a time, its clips decoded once), then judges (in parallel).
Every edit and score is written down the moment it is there. What fails is kept with its reason and is tried again by the next run,
unless the metric says that trying again would give the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from v2v.errors import InputError, collect_notes
from v2v.evaluation.cache import SweepCache
from v2v.evaluation.items import Item
from v2v.evaluation.metrics.base import Case, Metric, ScoringError, missing_fields
from v2v.evaluation.metrics.clips import editor_input
from v2v.evaluation.sweep.methods import EditingMethod, Method, ResultFolder
from v2v.evaluation.sweep.sweep import Sweep, find_edit_record, missing_files, score_key


@dataclass
class EditOutput:
    """One output, or why there is none.

    Attributes:
      path: the file; None where it failed. sha256: of the file.
      reason: why there is none. rule: how it had to be made comparable (clips.py). notes: warnings of the editor.
      seconds: what the edit took, when it was done. fresh: done in this run.
    """

    path: Path | None = None
    sha256: str = ""
    reason: str = ""
    rule: str = ""
    notes: list[str] = field(default_factory=list)
    seconds: float | None = None
    fresh: bool = False


@dataclass
class MetricResult:
    """One metric's word on one output. status: "ok", "failed" or "n/a" (doesn't apply)."""

    status: str
    values: dict[str, float] = field(default_factory=dict)
    reason: str = ""
    notes: dict = field(default_factory=dict)
    fresh: bool = False


@dataclass
class SweepRun:
    """Everything a run found, by names of method, item and metric."""

    sweep: Sweep
    made: dict[tuple[str, str], EditOutput] = field(default_factory=dict)
    judged: dict[tuple[str, str, str], MetricResult] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    weights: dict[str, dict] = field(default_factory=dict)  # hashes of the editors' files, by method
    notes: list[str] = field(default_factory=list)


ProgressCallback = Callable[[str], None]


def run_sweep(sweep: Sweep, cache: SweepCache, tick: ProgressCallback = lambda what: None) -> SweepRun:
    """Does what isn't done yet.

    Args:
      sweep: what to run. cache: where everything is kept.
      tick: called with "edit", "score" or "call" when one is done, cached ones included.

    Raises:
      InputError: a model or adapter that isn't there. Nothing that concerns single items is raised.
    """
    found = SweepRun(sweep)
    _edits(found, cache, tick)
    active = []
    for metric in sweep.metrics:
        why = metric.missing()
        if why:
            found.skipped[metric.name] = why
        else:
            active.append(metric)
    for method in sweep.methods:
        for item in sweep.benchmark.items:
            _local(found, method, item, [m for m in active if not m.calls], cache, tick)
    for metric in active:
        if metric.calls:
            _remote(found, metric, cache, tick)
    return found


def _edits(found: SweepRun, cache: SweepCache, tick: ProgressCallback) -> None:
    sweep = found.sweep
    for method in sweep.methods:
        if isinstance(method, ResultFolder):
            for item in sweep.benchmark.items:
                found.made[method.name, item.id] = _found(method, item, cache)
                tick("edit")
    waiting: dict[tuple, list[tuple[EditingMethod, Item]]] = {}
    for method in sweep.methods:
        if not isinstance(method, EditingMethod):
            continue
        found.weights[method.name] = method.weights(cache)
        for item in sweep.benchmark.items:
            lost = missing_files(item)
            record = None if lost else find_edit_record(method, item, cache)
            if lost:
                made = EditOutput(reason=f"no such file: {', '.join(lost)}")
            elif record:
                made = _recorded(method, item, record, cache)
            else:
                waiting.setdefault(method.same_editor, []).append((method, item))
                continue
            found.made[method.name, item.id] = made
            tick("edit")
    for work in waiting.values():
        editor = work[0][0].open()
        for method, item in work:
            found.made[method.name, item.id] = _edit(editor, method, item, cache)
            tick("edit")
        del editor


def _edit(editor, method: EditingMethod, item: Item, cache: SweepCache) -> EditOutput:
    key, begin = method.key(item, cache), time.perf_counter()
    try:
        with collect_notes() as notes:
            source = editor_input(item.source)
            clip = editor.edit_video(source, item.instruction, **method.given(item), **method.options)
        suffix = ".png" if len(clip.frames) == 1 else ".mp4"
        with cache.writing("edits", key, suffix) as partial:
            clip.save(partial)
    except Exception as error:  # whatever an editor throws at one item, the others go on
        return EditOutput(reason=_words(error))
    path = cache.path("edits", key, suffix)
    record = {
        "suffix": suffix,
        "sha256": cache.hash_of(path),
        "seconds": round(time.perf_counter() - begin, 3),
        "notes": notes,
    }
    cache.store("edits", key, record)
    made = _recorded(method, item, record, cache)
    made.fresh = True
    return made


def _recorded(method: EditingMethod, item: Item, record: dict, cache: SweepCache) -> EditOutput:
    path = cache.path("edits", method.key(item, cache), record["suffix"])
    return EditOutput(path, record["sha256"], notes=record["notes"], seconds=record["seconds"])


def _found(method: ResultFolder, item: Item, cache: SweepCache) -> EditOutput:
    lost = missing_files(item)
    if lost:
        return EditOutput(reason=f"no such file: {', '.join(lost)}")
    path = method.path(item)
    return (
        EditOutput(reason="no output in the folder")
        if path is None
        else EditOutput(path, cache.hash_of(path))
    )


def _local(
    found: SweepRun,
    method: Method,
    item: Item,
    metrics: list[Metric],
    cache: SweepCache,
    tick: ProgressCallback,
) -> None:
    made = found.made[method.name, item.id]
    case = Case(item, made.path) if made.path else None
    if made.path:
        _check(made, case, cache)
    for metric in metrics:
        found.judged[method.name, item.id, metric.name] = _judge(metric, item, made, case, cache)
        tick("score")


def _check(made: EditOutput, case: Case, cache: SweepCache) -> None:
    """Reads the output once: one that can't be read is a failed edit, one of another shape gets its note."""
    key = {"check": 1, "output": made.sha256, "source": cache.hash_of(case.item.source)}
    key["truth"] = cache.hash_of(case.item.truth) if case.item.truth else None
    record = cache.load("checks", key)
    if record is None:
        try:
            record = {"rule": case.rule, "reason": ""}
        except InputError as error:
            record = {"rule": "", "reason": _words(error)}
        cache.store("checks", key, record)
    made.rule, made.reason = record["rule"], record["reason"]
    if made.reason:
        made.path = None


def _judge(
    metric: Metric, item: Item, made: EditOutput, case: Case | None, cache: SweepCache
) -> MetricResult:
    without = missing_fields(metric, item)
    if without:
        return MetricResult("n/a", reason=f"the item has no {' and no '.join(without)}")
    if made.path is None:
        return MetricResult("failed", reason=f"no output: {made.reason}")
    key = score_key(metric, item, made.sha256, cache)
    record = cache.load("scores", key)
    if record is not None:
        return MetricResult(record["status"], record["values"], record["reason"], record["notes"])
    try:
        score = metric.score(case)
    except ScoringError as error:
        judged = MetricResult("failed", reason=_words(error), notes=error.notes, fresh=True)
        if not error.final:
            return judged
    except Exception as error:
        return MetricResult("failed", reason=_words(error), fresh=True)
    else:
        judged = MetricResult("ok" if score.values else "n/a", score.values, notes=score.notes, fresh=True)
    cache.store(
        "scores",
        key,
        {
            "status": judged.status,
            "values": judged.values,
            "reason": judged.reason,
            "notes": judged.notes,
        },
    )
    return judged


def _remote(found: SweepRun, metric: Metric, cache: SweepCache, tick: ProgressCallback) -> None:
    def one(method: Method, item: Item) -> None:
        made = found.made[method.name, item.id]
        case = Case(item, made.path) if made.path else None
        found.judged[method.name, item.id, metric.name] = _judge(metric, item, made, case, cache)
        tick("call")

    with ThreadPoolExecutor(getattr(metric, "parallel", 4)) as pool:
        try:
            list(pool.map(lambda pair: one(*pair), _pairs(found.sweep)))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _pairs(sweep: Sweep) -> Iterator[tuple[Method, Item]]:
    return ((method, item) for method in sweep.methods for item in sweep.benchmark.items)


def _words(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, (InputError, ScoringError)) else f"{type(error).__name__}: {text}"[:500]
