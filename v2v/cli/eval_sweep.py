"""`v2v eval SWEEP`: run a sweep, or go on with it, and write its results and report.

Imports nothing heavy before a request is run, because `v2v --help` calls `add_arguments`.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from v2v.cli import eval_definition, eval_thresholds
from v2v.cli.beam_arguments import BeamOptions, add_beam, add_workers, read_beam
from v2v.cli.eval_progress import SweepProgress
from v2v.cli.eval_runs import read_calibration
from v2v.cli.eval_thresholds import Threshold
from v2v.errors import InputError
from v2v.evaluation.cache import WORK, Work
from v2v.evaluation.counts import format_count

if TYPE_CHECKING:
    from v2v.evaluation.cache import SweepCache
    from v2v.evaluation.sweep.runner import SweepRun
    from v2v.evaluation.sweep.sweep import Sweep, SweepPlan
    from v2v.evaluation.sweep.written_results import WrittenResults

# Problems printed after a run; results.json holds all.
MAX_PROBLEMS = 20


@dataclass(frozen=True)
class Export:
    """An option `--export METHOD=DIR`, as it was typed.

    Attributes:
      method: name of a method.
      folder: where its outputs are written; "" where it was left out.
    """

    method: str
    folder: str


@dataclass(frozen=True)
class SweepRequest:
    """`v2v eval FILE`: run a sweep, or go on with it.

    Attributes:
      file: the sweep file.
      out: folder for results and report.
      cache: folder of finished work; None for one in `out`.
      plan_only: print what would be done, and stop.
      strict: whether problems fail the command.
      compat: sampling that judges of single frames repeat; "" for their own.
      exports: outputs to write in the benchmark's layout.
      report_mb: megabytes of clips in the report.
      progress: whether to show progress bars.
      any_code: whether to use finished work of other code too.
      fresh: finished work to do anew.
      shard: "I/N": do only every Nth item's work from the Ith on, into the cache, and write no results; "" for everything.
      only_finished: write results and report of the work that is finished, and do none.
      thresholds: bounds of means that fail the command.
      max_calls: greatest number of requests to judges; None for no limit.
      prices: dollars for a million tokens of requests to judges and of their answers; None where not stated.
      is_shared: whether other processes run the same sweep with the same cache, and do their part of the work.
      beam: how Apache Beam does the work; None for this process.
    """

    file: Path
    out: Path
    cache: Path | None = None
    plan_only: bool = False
    strict: bool = False
    compat: Literal["", "editverse"] = ""
    exports: Sequence[Export] = ()
    report_mb: float = 60
    progress: bool = False
    any_code: bool = False
    fresh: frozenset[Work] = frozenset()
    shard: str = ""
    only_finished: bool = False
    thresholds: Sequence[Threshold] = ()
    max_calls: int | None = None
    prices: tuple[float, float] | None = None
    is_shared: bool = False
    beam: BeamOptions | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of a sweep; WHAT and --out are those of `v2v eval`."""
    parser.add_argument("--cache", metavar="DIR", help="folder of finished work to share between sweeps (default: DIR/cache)")  # fmt: skip
    parser.add_argument("--fresh", action="append", default=[], choices=WORK, help="do finished work anew: edits, scores computed here, or answers of judges; may be repeated")  # fmt: skip
    parser.add_argument("--any-code", action="store_true", help="use finished work also where the code of editor or metric has changed since; the plan says of which commits it is")  # fmt: skip
    parser.add_argument("--shard", default="", metavar="I/N", help="do only the Ith of N parts of the items, 1/N to N/N, without results and report; N processes share one --cache, a last run without --shard collects")  # fmt: skip
    parser.add_argument("--shared", action="store_true", help="share the work with other processes, on this machine or others, that run the same command with the same folders: nothing is done twice, what a killed one left is taken over, and each ends with the whole result")  # fmt: skip
    add_beam(parser, "do edits and local scores", "the sweep file, what it names and the cache")
    add_workers(parser)
    parser.add_argument("--report-only", action="store_true", help="do nothing anew: write results and report of what is finished, such as after a stop")  # fmt: skip
    parser.add_argument("--fail-under", action="append", default=[], metavar="COLUMN=VALUE", help="exit with 1 if the mean of a column is below the value for any method, such as success=0.8; METHOD:COLUMN=VALUE for one method; may be repeated")  # fmt: skip
    parser.add_argument("--fail-over", action="append", default=[], metavar="COLUMN=VALUE", help="likewise, if it is above the value")  # fmt: skip
    parser.add_argument("--max-calls", type=int, metavar="N", help="make at most N requests to judges in this run, repeated ones included; the next run goes on (default: no limit)")  # fmt: skip
    parser.add_argument("--price", default="", metavar="IN,OUT", help="dollars for a million tokens that judges are sent and that they answer, such as 2.5,10; the plan tells what the judges will cost")  # fmt: skip
    parser.add_argument("--plan", action="store_true", help="print what would be done and what it would cost, then stop")  # fmt: skip
    parser.add_argument("--strict", action="store_true", help="exit with 1 if anything failed, was skipped or didn't match")  # fmt: skip
    parser.add_argument("--compat", choices=("editverse",), help="judges of single frames repeat EditVerseBench's own sampling and channel order")  # fmt: skip
    parser.add_argument("--export", action="append", default=[], metavar="METHOD=DIR", help="also write a method's outputs in the benchmark's own layout; may be repeated")  # fmt: skip
    parser.add_argument("--report-mb", type=float, default=60, metavar="N", help="megabytes of clips in the report (default: 60)")  # fmt: skip


def parse_request(args: argparse.Namespace, progress: bool) -> SweepRequest:
    """Return the request of a command line that names a sweep.

    Args:
      args: the arguments of `v2v eval`.
      progress: whether to show progress bars.

    Raises:
      InputError: options that don't go together, no number where one is expected, or an output of the wrong kind.
    """
    out = Path(args.out)
    if args.shared and args.fresh:
        raise InputError(
            "--shared: can't be combined with --fresh, as each process would do all anew; use another --cache"
        )
    beam = _read_beam(args)
    if len(args.what) != 1:
        raise InputError(f"eval: expected one sweep, got {len(args.what)} words: {' '.join(args.what)}")
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: expected a folder for results, got a file; name another with --out")
    # Workers have working folders of their own.
    file = Path(args.what[0])
    return SweepRequest(
        file.absolute() if beam is not None and file.exists() else file,
        out,
        cache=Path(args.cache) if args.cache else None,
        plan_only=args.plan,
        strict=args.strict,
        compat=args.compat or "",
        exports=[Export(method, folder) for method, _, folder in (e.partition("=") for e in args.export)],
        report_mb=args.report_mb,
        progress=progress,
        any_code=args.any_code,
        fresh=frozenset(args.fresh),
        shard=args.shard,
        only_finished=args.report_only,
        thresholds=(
            *(eval_thresholds.parse_threshold(text, is_upper=False) for text in args.fail_under),
            *(eval_thresholds.parse_threshold(text, is_upper=True) for text in args.fail_over),
        ),
        max_calls=_parse_max_calls(args.max_calls),
        prices=_parse_prices(args.price),
        is_shared=args.shared,
        beam=beam,
    )


def _read_beam(args: argparse.Namespace) -> BeamOptions | None:
    """Return how Beam does the work; None without --beam.

    Raises:
      InputError: --workers without it, or options that divide the work or leave it undone in another way.
    """
    beam = read_beam(args, "eval")
    if beam is None:
        return None
    others = (
        ("--shared", args.shared), ("--shard", args.shard), ("--fresh", args.fresh), ("--report-only", args.report_only),
    )  # fmt: skip
    for name, value in others:
        if value:
            raise InputError(f"--beam: can't be combined with {name}; leave one out")
    return beam


def _parse_max_calls(limit: int | None) -> int | None:
    if limit is not None and limit < 0:
        raise InputError(f"--max-calls {limit}: expected a number from 0 on")
    return limit


def _parse_prices(text: str) -> tuple[float, float] | None:
    """Return the two prices, or None without the option."""
    if not text:
        return None
    try:
        first, second = (float(part) for part in text.split(","))
    except ValueError:
        first = second = math.nan
    if not (0 <= first < math.inf and 0 <= second < math.inf):
        raise InputError(
            f"--price {text}: expected IN,OUT, dollars for a million tokens sent and answered, such as 2.5,10"
        )
    return first, second


def run_sweep(request: SweepRequest) -> dict[str, Any]:
    """Run a sweep and write its results; return what --json prints, with "output" and "exit".

    Raises:
      InputError: no such sweep, or options that don't fit it.
    """
    from v2v.evaluation.cache import SweepCache
    from v2v.evaluation.json_values import to_json_values
    from v2v.evaluation.sweep import runner, sweep, written_results
    from v2v.evaluation.sweep.claims import WorkClaims

    begin, out = time.perf_counter(), request.out
    cache = SweepCache(request.cache or out / "cache", any_code=request.any_code, fresh=request.fresh)
    load_definition = functools.partial(
        eval_definition.load_definition, request.file, cache.folder.absolute() / "benchmarks", request.compat
    )
    definition = load_definition()
    _check_exports(request.exports, definition)
    eval_thresholds.check_thresholds(request.thresholds, definition)
    if request.shard:
        definition = eval_definition.take_shard(definition, request.shard)
    plan = sweep.plan_sweep(definition, cache, prices=request.prices, max_calls=request.max_calls)
    print(plan.format(), file=sys.stderr, flush=True)
    if request.plan_only:
        output = f"{format_count(plan.edits, 'edit')}, {format_count(plan.calls, 'judge call')}"
        return {"output": output, "exit": 0, "plan": plan.to_json()}
    is_divided = request.is_shared or request.beam is not None
    claims = WorkClaims(cache.folder.absolute() / "claims") if is_divided else None
    earlier_run: SweepRun | None = None
    with SweepProgress(plan, request.progress) as tick, claims or contextlib.nullcontext():
        if request.beam is not None and claims is not None:
            from v2v.evaluation.sweep import distributed_sweep

            earlier_run = distributed_sweep.run_outputs(
                load_definition, cache, claims, workers=request.beam.workers, options=request.beam.options
            )
        run = runner.run_sweep(
            definition,
            cache,
            tick,
            only_finished=request.only_finished,
            max_calls=request.max_calls,
            claims=claims,
        )
    usage = _judge_usage(definition, request.prices)
    has_no_output = all(output.path is None for output in run.outputs.values())
    if request.shard:
        return {
            "output": f"part {request.shard} in {cache.folder}",
            "exit": 1 if has_no_output else 0,
            "edits": sum(output.is_new for output in run.outputs.values()),
            "scores": sum(result.is_new for result in run.results.values()),
            "seconds": round(time.perf_counter() - begin, 2),
        }
    calibration = read_calibration(out)
    fingerprint = written_results.fingerprint_results(run, plan, calibration, request.report_mb, cache)
    outcome = written_results.find_written(out, fingerprint, cache)
    if outcome is None:
        outcome = _write_results(run, plan, calibration, request, cache)
        written_results.store_written(out, fingerprint, outcome, cache)
    for export in request.exports:
        from v2v.evaluation.sweep.export import export_outputs

        export_outputs(run, export.method, Path(export.folder))
    problems = outcome.problems
    for problem in problems[:MAX_PROBLEMS]:
        print(f"v2v: note: {problem}", file=sys.stderr)
    if len(problems) > MAX_PROBLEMS:
        print(f"v2v: note: {len(problems) - MAX_PROBLEMS} more in {out / 'results.json'}", file=sys.stderr)
    if usage:
        print(f"judges: {usage['text']}", file=sys.stderr)
    failures = eval_thresholds.missed_thresholds(request.thresholds, definition, outcome.means)
    for line in failures:
        print(f"v2v: {line}", file=sys.stderr)
    return {
        "output": str(out / "report.html"),
        # A sweep without a single output has failed, however little is asked of it.
        "exit": 1 if has_no_output or failures or (request.strict and problems) else 0,
        **_count_new(run, earlier_run),
        "problems": len(problems),
        "seconds": round(time.perf_counter() - begin, 2),
        "means": to_json_values(outcome.means),
        "missed": failures,
        "judges": usage,
    }


def _check_exports(exports: Sequence[Export], definition: Sweep) -> None:
    """Check that every export names a method and a folder."""
    methods = [method.name for method in definition.methods]
    for export in exports:
        typed = f"--export {export.method}={export.folder}"
        if not export.folder or export.method not in methods:
            raise InputError(f"{typed}: expected METHOD=DIR, METHOD one of {', '.join(methods)}")
        if Path(export.folder).exists() and not Path(export.folder).is_dir():
            raise InputError(f"{typed}: expected a folder, got a file; name another")


def _count_new(run: SweepRun, earlier_run: SweepRun | None) -> dict[str, int]:
    """Return the edits and scores that a run has made, by itself or, after what was there before, by its workers."""
    outputs, scores = run.outputs, run.results
    if earlier_run is None:
        edit_count = sum(output.is_new for output in outputs.values())
        return {"edits": edit_count, "scores": sum(result.is_new for result in scores.values())}
    old_scores = {names for names, result in earlier_run.results.items() if result.status == "ok"}
    return {
        "edits": sum(
            o.path is not None and earlier_run.outputs[names].is_pending for names, o in outputs.items()
        ),
        "scores": sum(s.status == "ok" and names not in old_scores for names, s in scores.items()),
    }


def _write_results(
    run: SweepRun,
    plan: SweepPlan,
    calibration: dict[str, Any] | None,
    request: SweepRequest,
    cache: SweepCache,
) -> WrittenResults:
    """Write the files of a run, and return what the command says of them."""
    from v2v.evaluation.cache import write_text_atomically
    from v2v.evaluation.sweep import report, results, text_tables
    from v2v.evaluation.sweep.written_results import WrittenResults

    out, sweep_results = request.out, results.build_results(run, plan, calibration)
    document = json.dumps(sweep_results.to_json(), indent=1, ensure_ascii=False)
    write_text_atomically(out / "results.json", document)
    write_text_atomically(out / "scores.csv", results.format_scores_csv(sweep_results))
    write_text_atomically(out / "summary.csv", results.format_summary_csv(sweep_results))
    write_text_atomically(out / "summary.md", text_tables.format_markdown(sweep_results))
    write_text_atomically(out / "summary.tex", text_tables.format_latex(sweep_results))
    page = report.build_report(sweep_results, cache, megabytes=request.report_mb)
    write_text_atomically(out / "report.html", page)
    means = {
        method.name: {
            column: float(by_method[method.name].overall.mean)
            for column, by_method in sweep_results.summary.items()
        }
        for method in run.sweep.methods
    }
    return WrittenResults([str(problem) for problem in sweep_results.problems], means)


def _judge_usage(definition: Sweep, prices: tuple[float, float] | None) -> dict[str, Any]:
    """Return what the judges of a sweep were asked in this run, as their servers count; empty where none was."""
    if not any(metric.calls for metric in definition.metrics):
        return {}
    from v2v.evaluation.judge.checklist import ChecklistMetric
    from v2v.evaluation.judge.endpoint import EndpointJudge
    from v2v.evaluation.judge.judge_metric import JudgeMetric

    judges = [
        metric.judge for metric in definition.metrics if isinstance(metric, (JudgeMetric, ChecklistMetric))
    ]
    endpoints = {id(j.endpoint): j.endpoint for j in judges if isinstance(j, EndpointJudge)}
    usages = [endpoint.usage for endpoint in endpoints.values()]
    answers = sum(usage.answers for usage in usages)
    if not answers:
        return {}
    tokens_in, tokens_out = sum(u.tokens_in for u in usages), sum(u.tokens_out for u in usages)
    text = format_count(answers, "answer")
    document: dict[str, Any] = {"answers": answers}
    if all(usage.is_complete for usage in usages):
        document |= {"tokens_in": tokens_in, "tokens_out": tokens_out}
        text += f", {tokens_in:,} tokens in, {tokens_out:,} out"
        if prices:
            document["dollars"] = round((tokens_in * prices[0] + tokens_out * prices[1]) / 1e6, 6)
            text += f", ${document['dollars']:.2f}"
    return document | {"text": text}
