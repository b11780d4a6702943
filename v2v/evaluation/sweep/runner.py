"""Execution of a sweep: the edits and scores that the cache lacks.

Edits come first (one editor is loaded at a time), then local metrics (one output at a time, its clips decoded once), then judges (in
parallel). Every edit and score is stored as soon as it is finished. A failure is recorded with its reason and tried again by the next run,
unless the metric declares it final.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from v2v.errors import InputError, collect_notes
from v2v.evaluation.cache import FinishedWork, StorageError, SweepCache
from v2v.evaluation.items import Item
from v2v.evaluation.metrics.base import Case, ItemClips, Metric, ScoringError, check_values, missing_fields
from v2v.evaluation.metrics.clips import editor_input
from v2v.evaluation.sweep.claims import WorkClaims, share_work
from v2v.evaluation.sweep.methods import EditingMethod, FinishedResults, Method, VideoEditor
from v2v.evaluation.sweep.sweep import (
    Sweep,
    describe_unsupported,
    find_edit,
    find_score,
    missing_files,
    score_key,
    score_work,
)


@dataclass
class EditOutput:
    """One output, or the reason why there is none.

    Attributes:
      path: the file; None where the edit failed.
      sha256: hash of the file.
      reason: why there is no file.
      rule: how it was made comparable (clips.py); "" where that was not needed.
      notes: warnings of the editor.
      ignored: what of the instruction the editor did not follow, as it says itself: words that it doesn't know, an end that is too long.
      seconds: time of the edit; None for a result folder.
      is_new: whether it was edited in this run.
      frames: number of frames; None where there is no output, or it wasn't read.
      is_refused: whether the editor refused the request, such as a sentence of which it knows no word.
      is_pending: whether the edit was left for a later run.
    """

    path: Path | None = None
    sha256: str = ""
    reason: str = ""
    rule: str = ""
    notes: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    seconds: float | None = None
    is_new: bool = False
    frames: int | None = None
    is_refused: bool = False
    is_pending: bool = False


@dataclass
class MetricResult:
    """The result of one metric on one output.

    Attributes:
      status: "n/a" where the metric does not apply, "failed" where there is no output that can be read, "unscored" where there is one that the
        metric or judge could not score.
      values: by column name.
      reason: why there are no values.
      notes: of the metric.
      is_new: whether it was computed in this run.
    """

    status: Literal["ok", "failed", "unscored", "n/a"]
    values: dict[str, float] = field(default_factory=dict)
    reason: str = ""
    notes: dict = field(default_factory=dict)
    is_new: bool = False


@dataclass
class SweepRun:
    """All results of a run.

    Attributes:
      sweep: what was run.
      outputs: by method and item.
      results: by method, item and metric.
      skipped_metrics: reasons of metrics that could not run here, by name.
      weights: hashes of the editors' files, by method.
    """

    sweep: Sweep
    outputs: dict[tuple[str, str], EditOutput] = field(default_factory=dict)
    results: dict[tuple[str, str, str], MetricResult] = field(default_factory=dict)
    skipped_metrics: dict[str, str] = field(default_factory=dict)
    weights: dict[str, dict] = field(default_factory=dict)


# The reason of work that a run with `only_finished` leaves out.
NOT_DONE = "not done yet"

# The reason of scores that a limit of the requests to judges left out.
NOT_ASKED = "not asked: the limit of judge calls was reached; the next run goes on"

# Receives "edit", "score" or "call" when one is finished, cached ones included.
ProgressCallback = Callable[[str], None]


def run_sweep(
    sweep: Sweep,
    cache: SweepCache,
    tick: ProgressCallback = lambda what: None,
    *,
    only_finished: bool = False,
    max_calls: int | None = None,
    claims: WorkClaims | None = None,
    open_editor: Callable[[EditingMethod], VideoEditor] = EditingMethod.open,
) -> SweepRun:
    """Compute all edits and scores that are not cached.

    Args:
      sweep: what to run.
      cache: finished edits and scores.
      tick: called when an edit, a score or a judge's score is finished.
      only_finished: compute none, but collect those that are cached; the others are unscored.
      max_calls: greatest number of requests to judges, repeated ones included; None for no limit. Items for which they don't suffice are
        unscored.
      claims: claims of this process, where several run the same sweep with one cache; each then returns the work of all. None where it is alone.
      open_editor: builds the editor of a method; of methods with one `editor_key` it is called for one of them.

    Raises:
      InputError: a model or adapter that isn't there. Failures of single items are recorded, not raised.
    """
    run = SweepRun(sweep)
    _run_edits(run, cache, tick, only_finished, claims, open_editor)
    active = []
    for metric in sweep.metrics:
        reason = metric.missing()
        if reason:
            run.skipped_metrics[metric.name] = reason
        else:
            active.append(metric)
    local = [m for m in active if not m.calls]
    if claims is None or only_finished:
        for item in sweep.benchmark.items:
            clips = ItemClips(item)
            for method in sweep.methods:
                _score_output(run, method, clips, local, cache, tick, only_finished)
    else:
        _share_scores(run, local, cache, tick, claims)
    # In the order of methods, whatever was done first.
    run.results = {
        (*_names(*pair), metric.name): run.results[*_names(*pair), metric.name]
        for pair in _method_items(sweep)
        for metric in local
    }
    budget = _CallBudget(max_calls)
    for metric in active:
        if metric.calls:
            _score_remotely(run, metric, cache, tick, only_finished, budget, claims)
    return run


class _CallBudget:
    """The number of requests to judges that may still be made; used by several threads."""

    def __init__(self, limit: int | None):
        self._remaining = math.inf if limit is None else limit
        self._lock = threading.Lock()

    def reserve(self, count: int) -> bool:
        """Take a number of requests; False where there are not as many."""
        with self._lock:
            if count > self._remaining:
                return False
            self._remaining -= count
            return True

    def give_back(self, count: int) -> None:
        """Return requests that were not made."""
        with self._lock:
            self._remaining += count


def _run_edits(
    run: SweepRun,
    cache: SweepCache,
    tick: ProgressCallback,
    only_finished: bool,
    claims: WorkClaims | None,
    open_editor: Callable[[EditingMethod], VideoEditor],
) -> None:
    sweep = run.sweep
    for method in sweep.methods:
        if isinstance(method, FinishedResults):
            for item in sweep.benchmark.items:
                run.outputs[method.name, item.id] = _find_output(method, item, cache)
                tick("edit")
    remaining: dict[tuple, list[tuple[EditingMethod, Item]]] = {}
    for method in sweep.methods:
        if not isinstance(method, EditingMethod):
            continue
        run.weights[method.name] = method.weights(cache)
        for item in sweep.benchmark.items:
            missing = missing_files(item)
            unsupported = describe_unsupported(item)
            edit = None if missing or unsupported else find_edit(method, item, cache)
            if unsupported:
                reason = f"the instruction {unsupported}, which no editor can be given here"
                output = EditOutput(reason=reason, is_refused=True)
            elif missing:
                output = EditOutput(reason=f"no such file: {', '.join(missing)}")
            elif edit:
                output = _cached_output(edit, cache)
            elif only_finished:
                output = EditOutput(reason=NOT_DONE, is_pending=True)
            else:
                remaining.setdefault(method.editor_key, []).append((method, item))
                continue
            run.outputs[method.name, item.id] = output
            tick("edit")
    for work in remaining.values():
        if claims is not None:
            _share_edits(run, work, cache, tick, claims, open_editor)
            continue
        editor = open_editor(work[0][0])
        for method, item in work:
            run.outputs[method.name, item.id] = _edit(editor, method, item, cache)
            tick("edit")
        del editor


def _share_edits(
    run: SweepRun,
    tasks: list[tuple[EditingMethod, Item]],
    cache: SweepCache,
    tick: ProgressCallback,
    claims: WorkClaims,
    open_editor: Callable[[EditingMethod], VideoEditor],
) -> None:
    """Do the edits of one editor together with other processes; it is loaded when there is one to do."""
    editors: list[VideoEditor] = []
    numbers = range(len(tasks))

    def key(number: int) -> Any:
        return edit_claim(*tasks[number], cache)

    def find(number: int) -> EditOutput | None:
        edit = find_edit(*tasks[number], cache)
        if edit is not None:
            return _cached_output(edit, cache)
        failure = claims.load_failure(key(number))
        return EditOutput(**failure) if failure else None

    def work(number: int) -> EditOutput:
        method, item = tasks[number]
        if not editors:
            editors.append(open_editor(method))
        output = _edit(editors[0], method, item, cache)
        if output.path is None:
            claims.store_failure(key(number), {"reason": output.reason, "is_refused": output.is_refused})
        return output

    for number, output in share_work(claims, numbers, key, find, work):
        method, item = tasks[number]
        run.outputs[method.name, item.id] = output
        tick("edit")


def edit_claim(method: EditingMethod, item: Item, cache: SweepCache) -> Any:
    """Return the name under which processes claim an edit, JSON-able."""
    return ["edit", method.key(item, cache), method.editor_code()]


def _share_scores(
    run: SweepRun, metrics: list[Metric], cache: SweepCache, tick: ProgressCallback, claims: WorkClaims
) -> None:
    """Compute the local scores together with other processes, an output at a time."""
    tasks = [(method, item) for item in run.sweep.benchmark.items for method in run.sweep.methods]
    last_clips = [ItemClips(item) for item in run.sweep.benchmark.items[:1]]
    names = [metric.name for metric in metrics]

    def key(number: int) -> Any:
        method, item = tasks[number]
        return ["scores", run.outputs[method.name, item.id].sha256, item.id, run.sweep.benchmark.name, names]

    def find(number: int) -> int | None:
        method, item = tasks[number]
        _score_output(run, method, ItemClips(item), metrics, cache, lambda what: None, only_finished=True)
        failure = claims.load_failure(key(number)) or {}
        results = _results_of(run, *tasks[number], metrics)
        for metric, result in results.items():
            if result.reason == NOT_DONE and metric in failure:
                results[metric] = MetricResult("unscored", **failure[metric])
        run.results.update({(*_names(*tasks[number]), metric): r for metric, r in results.items()})
        return None if any(r.reason == NOT_DONE for r in results.values()) else number

    def work(number: int) -> int:
        method, item = tasks[number]
        if last_clips[0].item is not item:
            last_clips[0] = ItemClips(item)
        _score_output(run, method, last_clips[0], metrics, cache, lambda what: None, only_finished=False)
        failures = {
            metric: {"reason": result.reason, "notes": result.notes}
            for metric, result in _results_of(run, *tasks[number], metrics).items()
            if result.status == "unscored"
        }
        if failures:
            claims.store_failure(key(number), failures)
        return number

    for _ in share_work(claims, range(len(tasks)), key, find, work):
        for _ in metrics:
            tick("score")


def _names(method: Method, item: Item) -> tuple[str, str]:
    return method.name, item.id


def _results_of(run: SweepRun, method: Method, item: Item, metrics: list[Metric]) -> dict[str, MetricResult]:
    """Return the results of one output by metric."""
    return {metric.name: run.results[method.name, item.id, metric.name] for metric in metrics}


def _edit(editor: VideoEditor, method: EditingMethod, item: Item, cache: SweepCache) -> EditOutput:
    inputs, code, begin = method.key(item, cache), method.editor_code(), time.perf_counter()
    key = {**inputs, "code": code}
    try:
        with collect_notes() as notes:
            source = editor_input(item.source)
            clip = editor.edit_video(
                source, item.instruction, **method.editor_arguments(item), **method.options
            )
        suffix = ".png" if len(clip.frames) == 1 else ".mp4"
        with cache.writing("edits", key, suffix) as partial:
            clip.save(partial)
    except StorageError:
        raise
    # Whatever an editor raises for one item, the others go on.
    except Exception as error:
        return EditOutput(reason=_format_error(error), is_refused=isinstance(error, InputError))
    path = cache.path("edits", key, suffix)
    record = {
        "suffix": suffix,
        "sha256": cache.hash_of(path),
        "seconds": round(time.perf_counter() - begin, 3),
        "notes": notes,
        "ignored": [*clip.report.get("unknown_words", ()), *filter(None, [clip.report.get("left_out")])],
    }
    output = _cached_output(cache.store_work("edits", inputs, code, record), cache)
    output.is_new = True
    return output


def _cached_output(edit: FinishedWork, cache: SweepCache) -> EditOutput:
    record = edit.record
    path = cache.path("edits", edit.key, record["suffix"])
    # Earlier records have notes only.
    ignored = record.get("ignored", [])
    return EditOutput(
        path, record["sha256"], notes=record["notes"], ignored=ignored, seconds=record["seconds"]
    )


def _find_output(method: FinishedResults, item: Item, cache: SweepCache) -> EditOutput:
    missing = missing_files(item)
    if missing:
        return EditOutput(reason=f"no such file: {', '.join(missing)}")
    path = method.path(item)
    return (
        EditOutput(reason="no output in the folder")
        if path is None
        else EditOutput(path, cache.hash_of(path))
    )


def _score_output(
    run: SweepRun,
    method: Method,
    clips: ItemClips,
    metrics: list[Metric],
    cache: SweepCache,
    tick: ProgressCallback,
    only_finished: bool,
) -> None:
    item = clips.item
    output = run.outputs[method.name, item.id]
    case = Case(item, output.path, clips) if output.path else None
    if case is not None:
        _check_output(output, case, cache)
        case = case if output.path else None
    for metric in metrics:
        run.results[method.name, item.id, metric.name] = _score(
            metric, item, output, case, cache, only_finished
        )
        tick("score")


def _check_output(output: EditOutput, case: Case, cache: SweepCache) -> None:
    """Read the output once: one that can't be read becomes a failed edit, one of another shape gets its rule."""
    key = {"check": 2, "output": output.sha256, "source": cache.hash_of(case.item.source)}
    key["truth"] = cache.hash_of(case.item.truth) if case.item.truth else None
    record = cache.load("checks", key)
    if record is None:
        try:
            record = {"rule": case.rule, "reason": "", "frames": len(case.output)}
        except InputError as error:
            record = {"rule": "", "reason": _format_error(error), "frames": None}
        cache.store("checks", key, record)
    output.rule, output.reason, output.frames = record["rule"], record["reason"], record["frames"]
    if output.reason:
        output.path = None


def _score(
    metric: Metric,
    item: Item,
    output: EditOutput,
    case: Case | None,
    cache: SweepCache,
    only_finished: bool,
) -> MetricResult:
    fields = missing_fields(metric, item)
    if fields:
        return MetricResult("n/a", reason=f"the item has no {' and no '.join(fields)}")
    if output.is_pending:
        return MetricResult("unscored", reason=NOT_DONE)
    if case is None:
        return MetricResult("failed", reason=f"no output: {output.reason}")
    cached_score = find_score(metric, item, output.sha256, cache)
    if cached_score is not None:
        record = cached_score.record
        # Before, an output without a score was called failed, like one that is missing.
        status = "unscored" if record["status"] == "failed" else record["status"]
        return MetricResult(status, record["values"], record["reason"], record["notes"])
    if only_finished:
        return MetricResult("unscored", reason=NOT_DONE)
    try:
        score = metric.score(case)
        values = check_values(metric, score.values)
    except ScoringError as error:
        result = MetricResult("unscored", reason=_format_error(error), notes=error.notes, is_new=True)
        if not error.final:
            return result
    except Exception as error:
        return MetricResult("unscored", reason=_format_error(error), is_new=True)
    else:
        result = MetricResult("ok" if values else "n/a", values, notes=score.notes, is_new=True)
    record = {
        "status": result.status,
        "values": result.values,
        "reason": result.reason,
        "notes": result.notes,
    }
    inputs = score_key(metric, item, output.sha256, cache)
    cache.store_work(score_work(metric), inputs, metric.code, record)
    return result


def _score_remotely(
    run: SweepRun,
    metric: Metric,
    cache: SweepCache,
    tick: ProgressCallback,
    only_finished: bool,
    budget: _CallBudget,
    claims: WorkClaims | None,
) -> None:

    def score(method: Method, item: Item) -> None:
        # The greatest number of its requests, with all repetitions.
        largest = (metric.most_calls or metric.calls) * metric.count_calls(item) // metric.calls
        output = run.outputs[method.name, item.id]
        case = Case(item, output.path) if output.path else None
        key = ["judge", metric.name, output.sha256, item.id, run.sweep.benchmark.name]

        def find(_: int) -> MetricResult | None:
            # Cached scores and failed edits ask nothing.
            result = _score(metric, item, output, case, cache, only_finished=True)
            failure = claims.load_failure(key) if claims and result.reason == NOT_DONE else None
            if failure:
                return MetricResult("unscored", **failure)
            return None if result.reason == NOT_DONE and not only_finished else result

        def ask(_: int) -> MetricResult:
            if not budget.reserve(largest):
                return MetricResult("unscored", reason=NOT_ASKED)
            result = _score(metric, item, output, case, cache, only_finished=False)
            budget.give_back(largest - int(result.notes.get("asked", largest)))
            if claims and result.status == "unscored":
                claims.store_failure(key, {"reason": result.reason, "notes": result.notes})
            return result

        if claims is None:
            result = find(0) or ask(0)
        else:
            result = next(answer for _, answer in share_work(claims, (0,), lambda _: key, find, ask))
        run.results[method.name, item.id, metric.name] = result
        tick("call")

    with ThreadPoolExecutor(metric.parallel) as pool:
        try:
            list(pool.map(lambda pair: score(*pair), _method_items(run.sweep)))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _method_items(sweep: Sweep) -> Iterator[tuple[Method, Item]]:
    return ((method, item) for method in sweep.methods for item in sweep.benchmark.items)


def _format_error(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, (InputError, ScoringError)) else f"{type(error).__name__}: {text}"[:500]
