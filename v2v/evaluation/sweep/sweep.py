"""The definition of a sweep, and the plan of its work.

A sweep file has one function, which gets a folder where a benchmark may write its items:

    def sweep(folder: Path) -> Sweep:
        return Sweep(benchmark=build_benchmark(folder), methods=grid(guidance=(1, 2, 4)), metrics=BUILTIN_METRICS)
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from v2v.errors import InputError
from v2v.evaluation.cache import FinishedWork, SweepCache, Work, digest
from v2v.evaluation.counts import format_count
from v2v.evaluation.items import Benchmark, Item
from v2v.evaluation.metrics.base import Metric, RequestEstimate, missing_fields
from v2v.evaluation.metrics.clips import Clip
from v2v.evaluation.sweep.methods import EditingMethod, FinishedResults, Method


@dataclass(frozen=True)
class Sweep:
    """Methods, items and metrics to combine.

    Attributes:
      benchmark: the items to edit.
      methods: the editors; the others are compared with the first one unless `baseline` names another.
      metrics: the scores.
      baseline: name of a method; "" for the first.
      published: names of tables in `published/`, shown beside our own figures.
      title: title of the report; "" for one from the benchmark's name.
    """

    benchmark: Benchmark
    methods: Sequence[Method]
    metrics: Sequence[Metric]
    baseline: str = ""
    published: Sequence[str] = ()
    title: str = ""

    def __post_init__(self):
        if not self.methods or not self.metrics:
            raise InputError("sweep: expected at least one method and one metric, got none")
        for what, names in (
            ("method", [m.name for m in self.methods]),
            ("metric", [m.name for m in self.metrics]),
            ("column", [c.name for m in self.metrics for c in m.columns]),
        ):
            duplicates = [name for name, n in Counter(names).items() if n > 1]
            if duplicates:
                raise InputError(
                    f"sweep: expected every {what} to have a name of its own, got {', '.join(duplicates)} twice"
                )
        if self.baseline and self.baseline not in [m.name for m in self.methods]:
            raise InputError(f"sweep: baseline {self.baseline!r} is none of the methods; correct its name")

    @property
    def reference(self) -> str:
        """Return the name of the method that the others are compared with."""
        return self.baseline or self.methods[0].name


@dataclass
class SweepPlan:
    """Counts of the work of a run, without what is cached.

    Attributes:
      methods: number of methods.
      items: number of items.
      edits: edits to do.
      edits_cached: finished edits.
      outputs_present: outputs in result folders.
      outputs_missing: items without an output in a result folder.
      scores: scores to compute here.
      scores_cached: finished scores.
      calls: requests to judges to make.
      calls_cached: requests of finished scores.
      pictures: pictures in the requests, of judges that can tell.
      tokens_in: tokens of these requests, about.
      tokens_out: tokens of their answers, at most.
      prices: dollars for a million tokens of requests and of answers; None where they weren't stated.
      max_calls: limit of the requests; None for none.
      dollars: estimated price of the calls; None where there are calls of unknown price.
      edit_dollars: price of the edits to do, of methods that state one.
      skipped_metrics: reasons of metrics that cannot run here, by name.
      notes: what looks wrong beforehand, such as results of no item or items without a file.
      commits: number of finished edits, scores and judge scores by the commit or version of v2v that made them.
      contents: hash of the benchmark's instructions and of the contents of its files, missing ones left out.
      other_code: number of edits, scores and judge scores to do that other code has done before.
    """

    methods: int
    items: int
    edits: int = 0
    edits_cached: int = 0
    outputs_present: int = 0
    outputs_missing: int = 0
    scores: int = 0
    scores_cached: int = 0
    calls: int = 0
    calls_cached: int = 0
    pictures: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    prices: tuple[float, float] | None = None
    max_calls: int | None = None
    dollars: float | None = 0.0
    edit_dollars: float = 0.0
    skipped_metrics: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    contents: str = ""
    commits: dict[Work, dict[str, int]] = field(default_factory=dict)
    other_code: dict[Work, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON values; the keys are those of results.json."""
        names = {"outputs_present": "found", "outputs_missing": "absent", "skipped_metrics": "skipped"}
        return {names.get(name, name): value for name, value in dataclasses.asdict(self).items()}

    def format(self) -> str:
        """Return the plan for people, several lines."""
        text = [f"plan: {format_count(self.methods, 'method')} x {format_count(self.items, 'item')}"]
        if self.contents:
            text.append(f"  contents      {self.contents[:16]}, hash of the items' instructions and files")
        if self.edits or self.edits_cached:
            price = f" (about ${self.edit_dollars:.2f})" if self.edit_dollars else ""
            text.append(f"  edits         {self.edits} to do{price}, {self.edits_cached} cached")
        if self.outputs_present or self.outputs_missing:
            text.append(f"  result files  {self.outputs_present} found, {self.outputs_missing} absent")
        text.append(f"  local scores  {self.scores} to do, {self.scores_cached} cached")
        if self.calls or self.calls_cached:
            text.append(f"  judge calls   {self.calls} to do ({self._cost()}), {self.calls_cached} cached")
            if self.max_calls is not None and self.calls:
                text.append(
                    f"  at most       {format_count(self.max_calls, 'judge call')} in this run (--max-calls)"
                )
        text += [
            f"  cached {work:<7}{', '.join(f'{n} of {short_commit(commit)}' for commit, n in commits.items())}"
            for work, commits in self.commits.items()
        ]
        if self.other_code:
            counts = ", ".join(
                f"{n} {'judge scores' if work == 'judge' else work}" for work, n in self.other_code.items()
            )
            text.append(
                f"  done again    {counts}: finished before by other code or an earlier v2v, whose results may differ; "
                "--any-code uses those"
            )
        text += [f"  skipped       {name}: {reason}" for name, reason in self.skipped_metrics.items()]
        text += [f"  note          {note}" for note in self.notes]
        return "\n".join(text)

    def _cost(self) -> str:
        """Return what the judges are asked for, and the price."""
        parts = []
        if self.pictures:
            parts.append(
                f"{format_count(self.pictures, 'picture')}, about {self.tokens_in:,} tokens in, at most {self.tokens_out:,} out"
            )
        price = "price unknown" if self.dollars is None else f"about ${self.dollars:.2f}"
        if self.prices is not None:
            price += f" at ${self.prices[0]:g} and ${self.prices[1]:g} a million"
        return ", ".join([*parts, price])


def plan_sweep(
    sweep: Sweep,
    cache: SweepCache,
    *,
    prices: tuple[float, float] | None = None,
    max_calls: int | None = None,
) -> SweepPlan:
    """Count the work by looking into the cache; runs nothing.

    Args:
      sweep: what would be run.
      cache: finished work.
      prices: dollars for a million tokens of requests to judges and of their answers; None for the prices that judges state themselves.
      max_calls: limit of the requests, which the plan repeats.

    Raises:
      InputError: a model, adapter or source that isn't there.
    """
    plan = SweepPlan(len(sweep.methods), len(sweep.benchmark.items), prices=prices, max_calls=max_calls)
    plan.contents = hash_contents(sweep.benchmark, cache)
    missing = [i.id for i in sweep.benchmark.items if missing_files(i)]
    if missing:
        plan.notes.append(
            f"{format_count(len(missing), 'item lacks', 'items lack')} files and will fail: {format_names(missing)}"
        )
    unsupported = [
        f"{i.id} ({describe_unsupported(i)})" for i in sweep.benchmark.items if i.unsupported_inputs
    ]
    if unsupported:
        plan.notes.append(
            f"{format_count(len(unsupported), 'item has', 'items have')} inputs that are not passed on: {format_names(unsupported)}"
        )
    for metric in sweep.metrics:
        reason = metric.missing()
        if reason:
            plan.skipped_metrics[metric.name] = reason
    for method in sweep.methods:
        if isinstance(method, FinishedResults):
            absent = [i.id for i in sweep.benchmark.items if method.path(i) is None]
            extra = method.extra(sweep.benchmark.items)
            if absent:
                plan.notes.append(
                    f"{method.name}: no output for {format_count(len(absent), 'item')}: {format_names(absent)}"
                )
            if extra:
                plan.notes.append(
                    f"{method.name}: {format_count(len(extra), 'output belongs', 'outputs belong')} to no item: {format_names(extra)}"
                )
        for item in sweep.benchmark.items:
            _plan_item(plan, sweep, method, item, cache)
    return plan


def hash_contents(benchmark: Benchmark, cache: SweepCache) -> str:
    """Return the hash of what a benchmark's items ask and of the contents of their files, whatever their names and folders.

    Args:
      benchmark: the items; a missing file counts as none.
      cache: where the hashes of files are remembered.
    """
    rows = []
    for item in benchmark.items:
        paths = (item.source, item.truth, item.mask, item.reference)
        files = [cache.hash_of(path) if path is not None and path.exists() else "" for path in paths]
        rows.append([item.id, item.instruction, item.kind, item.start, item.end, files])
    return digest(rows)


def short_commit(commit: str) -> str:
    """Return the first digits of a commit, with the "+" of a checkout with changes."""
    return commit if len(commit) < 20 else commit[:12] + commit[40:]


def format_names(names: Sequence[str], limit: int = 8) -> str:
    """Format the first names and the number of the others."""
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")


def missing_files(item: Item) -> list[str]:
    """Return the files of an item that do not exist."""
    paths = (item.source, item.truth, item.mask, item.reference)
    return [str(p) for p in paths if p is not None and not p.exists()]


def describe_unsupported(item: Item) -> str:
    """Return why editors don't get an item; empty where they do."""
    return f"speaks of {', '.join(item.unsupported_inputs)}" if item.unsupported_inputs else ""


def find_edit(method: EditingMethod, item: Item, cache: SweepCache) -> FinishedWork | None:
    """Return a finished edit whose file exists, or None."""
    return cache.find_work("edits", method.key(item, cache), method.editor_code())


def find_score(metric: Metric, item: Item, output: str, cache: SweepCache) -> FinishedWork | None:
    """Return a finished score, or None.

    Args:
      metric: the metric.
      item: the item.
      output: hash of the scored file.
      cache: where to look.
    """
    inputs = score_key(metric, item, output, cache)
    old_inputs = partial(_old_score_key, metric, item, output, cache)
    cached_score = cache.find_work(score_work(metric), inputs, metric.code, old_inputs)
    # Unreadable answers were once stored as final.
    is_old_failure = cached_score and cached_score.record["status"] == "failed" and metric.calls
    return None if is_old_failure else cached_score


def score_work(metric: Metric) -> Work:
    """Return what kind of work the scores of a metric are."""
    return "judge" if metric.calls else "scores"


def score_key(metric: Metric, item: Item, output: str, cache: SweepCache) -> dict:
    """Return everything that a score depends on but the code, JSON-able; finished scores are stored under the hash of both.

    Args:
      metric: the metric.
      item: the item.
      output: hash of the scored file.
      cache: where the hashes of files are remembered.
    """
    return {**metric.identity, **metric.item_identity(item), **_scored_files(item, output, cache)}


def _old_score_key(metric: Metric, item: Item, output: str, cache: SweepCache) -> dict:
    return {**metric.old_identity, **_scored_files(item, output, cache)}


def _scored_files(item: Item, output: str, cache: SweepCache) -> dict:
    paths = {"source": item.source, "truth": item.truth, "mask": item.mask, "reference": item.reference}
    files = {name: cache.hash_of(path) for name, path in paths.items() if path}
    return {
        "output": output,
        "files": files,
        "instruction": item.instruction,
        "target_prompt": item.target_prompt,
        "kind": item.kind,
        "times": [item.start, item.end],
    }


def _plan_item(plan: SweepPlan, sweep: Sweep, method: Method, item: Item, cache: SweepCache) -> None:
    if missing_files(item):
        return
    if isinstance(method, FinishedResults):
        path = method.path(item)
        plan.outputs_present += path is not None
        plan.outputs_missing += path is None
        if path is None:
            return
        output = cache.hash_of(path)
    elif item.unsupported_inputs:
        return
    else:
        edit = find_edit(method, item, cache)
        plan.edits += edit is None
        plan.edit_dollars += (method.dollars or 0.0) if edit is None else 0.0
        plan.edits_cached += edit is not None
        _count_work(plan, "edits", edit)
        if edit is None and cache.has_other_work("edits", method.key(item, cache)):
            plan.other_code["edits"] = plan.other_code.get("edits", 0) + 1
        output = edit.record["sha256"] if edit else None
    for metric in sweep.metrics:
        if metric.name in plan.skipped_metrics or missing_fields(metric, item):
            continue
        work = score_work(metric)
        score = None if output is None else find_score(metric, item, output, cache)
        _count_work(plan, work, score)
        if output is not None and score is None:
            inputs = score_key(metric, item, output, cache)
            if cache.has_other_work(work, inputs, partial(_old_score_key, metric, item, output, cache)):
                plan.other_code[work] = plan.other_code.get(work, 0) + 1
        is_cached = score is not None
        if metric.calls:
            call_count = metric.count_calls(item)
            plan.calls += 0 if is_cached else call_count
            plan.calls_cached += call_count if is_cached else 0
            if not is_cached:
                estimate = _estimate_request(metric, item, cache)
                price = metric.dollars
                if estimate is not None:
                    plan.pictures += estimate.pictures
                    plan.tokens_in += estimate.tokens_in
                    plan.tokens_out += estimate.tokens_out
                    if plan.prices is not None:
                        counts = estimate.tokens_in, estimate.tokens_out
                        price = sum(c * p for c, p in zip(counts, plan.prices, strict=True)) / 1e6
                plan.dollars = None if price is None or plan.dollars is None else plan.dollars + price
        else:
            plan.scores += not is_cached
            plan.scores_cached += is_cached


def _estimate_request(metric: Metric, item: Item, cache: SweepCache) -> RequestEstimate | None:
    """Return what the requests about an output take; None where it is unknown or the source can't be read."""
    if type(metric).estimate_request is Metric.estimate_request:
        return None
    key = {"size": 1, "of": cache.hash_of(item.source)}
    record = cache.load("sizes", key)
    if record is None:
        try:
            clip = Clip(item.source)
        except InputError:
            return None
        record = {"height": clip.height, "width": clip.width}
        cache.store("sizes", key, record)
    return metric.estimate_request(item, (record["height"], record["width"]))


def _count_work(plan: SweepPlan, work: Work, work_record: FinishedWork | None) -> None:
    if work_record is not None:
        commits = plan.commits.setdefault(work, {})
        commits[work_record.commit] = commits.get(work_record.commit, 0) + 1
