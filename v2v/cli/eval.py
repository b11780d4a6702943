"""`v2v eval`: a sweep, the difference between two, a study for people to vote on, its votes, or the agreement of scores with people.

`parse_request` turns the command line into one of five requests; nothing after it sees the parsed arguments. Nothing heavy is imported
before a request is run, because `v2v --help` calls `add_arguments`.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import json
import logging
import math
import shlex
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from v2v.cli import user_module, votes
from v2v.errors import InputError
from v2v.evaluation.cache import WORK, Work

if TYPE_CHECKING:
    from v2v.evaluation.cache import SweepCache
    from v2v.evaluation.sweep.runner import SweepRun
    from v2v.evaluation.sweep.sweep import Sweep, SweepPlan
    from v2v.evaluation.sweep.written_results import WrittenResults

ABOUT = """\
examples:
  v2v eval sweep_embedded --out runs/sweep                      run a sweep that comes with v2v, or a Python file of yours
  v2v eval ab "runs/s:guidance 2" "runs/s:guidance 4" --out study
                                                                a blind comparison for people to vote on
  v2v eval vote study --serve --raters ann,bob                  serve it: a link for each rater; stop and start it at any time
  v2v eval vote study --report                                  what the votes say: report.html, votes.json, ratings.csv
  v2v eval diff runs/before runs/after --out diff.md            what changed between two runs, item by item
  v2v eval calibrate study/ratings.csv --out runs/sweep         how far metrics and judges agree with people; reports say so
"""


logger = logging.getLogger("v2v")
# Seconds between lines of progress where there is no terminal.
LINE_SECONDS = 60.0
# In the folder of a run: its agreement with people.
CALIBRATION_FILE = "calibration.json"
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
      beam: options of Apache Beam, which then does the work; None for this process.
      workers: number of local processes of Beam.
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
    beam: tuple[str, ...] | None = None
    workers: int = 1


@dataclass(frozen=True)
class DiffRequest:
    """`v2v eval diff A B`: compare two runs.

    Attributes:
      first: folder of a run, or "FOLDER:method".
      second: likewise.
      out: file of the table.
    """

    first: str
    second: str
    out: Path


@dataclass(frozen=True)
class StudyRequest:
    """`v2v eval ab A B`: write a study.

    Attributes:
      a: first side, "FOLDER:method".
      b: second side.
      out: its folder.
      cache: folder of finished work; None for the one of the first side's sweep.
      pairs: number of items; None for all.
      seed: of the shuffling.
    """

    a: str
    b: str
    out: Path
    cache: Path | None = None
    pairs: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class CalibrateRequest:
    """`v2v eval calibrate RATINGS`: compare the scores of a run with ratings of people.

    Attributes:
      ratings: table of item, method, rater and score.
      run: folder of the run, where the result is written.
    """

    ratings: Path
    run: Path


EvalRequest = SweepRequest | DiffRequest | StudyRequest | votes.VoteRequest | CalibrateRequest


class _ListMetrics(argparse.Action):
    """Print the metrics and the rubrics of judges, and exit."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        from v2v.evaluation.judge.rubrics import RUBRICS
        from v2v.evaluation.metrics.registry import iterate_metrics

        for metric in iterate_metrics(Path("weights")):
            print(f"{metric.name:<24}{', '.join(column.name for column in metric.columns)}")
        print(f"{'judge rubrics':<24}{', '.join(RUBRICS)}")
        parser.exit()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `v2v eval`."""
    parser.add_argument(
        "what",
        metavar="WHAT",
        nargs="+",
        help="a sweep (its name or Python file), or ab, vote, diff or calibrate with its files: see the examples",
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="folder for results, report and cache, for ab of the study, for calibrate that of the run; a file for diff; vote needs none",
    )
    parser.add_argument(
        "--list-metrics", action=_ListMetrics, nargs=0, help="print the metrics and the rubrics of judges"
    )
    parser.add_argument("--cache", metavar="DIR", help="folder of finished work to share between sweeps (default: DIR/cache)")  # fmt: skip
    parser.add_argument("--fresh", action="append", default=[], choices=WORK, help="do finished work anew: edits, scores computed here, or answers of judges; may be repeated")  # fmt: skip
    parser.add_argument("--any-code", action="store_true", help="use finished work also where the code of editor or metric has changed since; the plan says of which commits it is")  # fmt: skip
    parser.add_argument("--shard", default="", metavar="I/N", help="do only the Ith of N parts of the items, 1/N to N/N, without results and report; N processes share one --cache, a last run without --shard collects")  # fmt: skip
    parser.add_argument("--shared", action="store_true", help="share the work with other processes, on this machine or others, that run the same command with the same folders: nothing is done twice, what a killed one left is taken over, and each ends with the whole result")  # fmt: skip
    parser.add_argument("--beam", nargs="?", const="", metavar="OPTIONS", help='do edits and local scores with Apache Beam: without OPTIONS in --workers local processes, or for example --beam="--runner=FlinkRunner --flink_master=HOST:PORT"; workers see the sweep file, what it names and the cache under the same paths')  # fmt: skip
    parser.add_argument("--workers", type=int, metavar="N", help="number of local processes with --beam (default: 1)")  # fmt: skip
    parser.add_argument("--report-only", action="store_true", help="do nothing anew: write results and report of what is finished, such as after a stop")  # fmt: skip
    parser.add_argument("--fail-under", action="append", default=[], metavar="COLUMN=VALUE", help="exit with 1 if the mean of a column is below the value for any method, such as success=0.8; METHOD:COLUMN=VALUE for one method; may be repeated")  # fmt: skip
    parser.add_argument("--fail-over", action="append", default=[], metavar="COLUMN=VALUE", help="likewise, if it is above the value")  # fmt: skip
    parser.add_argument("--max-calls", type=int, metavar="N", help="make at most N requests to judges in this run, repeated ones included; the next run goes on (default: no limit)")  # fmt: skip
    parser.add_argument("--price", default="", metavar="IN,OUT", help="dollars for a million tokens that judges are sent and that they answer, such as 2.5,10; the plan tells what the judges will cost")  # fmt: skip
    parser.add_argument("--plan", action="store_true", help="print what would be done and what it would cost, then stop")  # fmt: skip
    parser.add_argument("--strict", action="store_true", help="exit with 1 if anything failed, was skipped or didn't match")  # fmt: skip
    parser.add_argument("--compat", choices=("editverse",), help="judges of single frames repeat EditVerseBench's own sampling and channel order")  # fmt: skip
    parser.add_argument("--export", action="append", default=[], metavar="METHOD=DIR", help="also write a method's outputs in the benchmark's own layout; may be repeated")  # fmt: skip
    parser.add_argument("--pairs", type=int, metavar="N", help="ab: how many items (default: all)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="ab: of the shuffling (default: 0)")
    votes.add_arguments(parser)
    parser.add_argument("--report-mb", type=float, default=60, metavar="N", help="megabytes of clips in the report (default: 60)")  # fmt: skip


def parse_request(args: argparse.Namespace, progress: bool) -> EvalRequest:
    """Return the request of a command line.

    Args:
      args: the arguments of `add_arguments`.
      progress: whether to show progress bars.

    Raises:
      InputError: words that make no request, or an output of the wrong kind.
    """
    command = args.what[0]
    if command == "vote":
        return votes.parse_request(args)
    if not args.out:
        raise InputError(f"eval {command}: expected --out, where the result is written")
    out = Path(args.out)
    cache = Path(args.cache) if args.cache else None
    if command == "ab":
        if len(args.what) != 3:
            raise InputError(f"eval ab: expected two sides, FOLDER:method each, got {len(args.what) - 1}")
        if out.exists() and not out.is_dir():
            raise InputError(f"{out}: expected a folder for the study, got a file; name another with --out")
        return StudyRequest(args.what[1], args.what[2], out, cache, args.pairs, args.seed)
    if command == "diff":
        if len(args.what) != 3:
            raise InputError(f"eval diff: expected two folders of runs, got {len(args.what) - 1}")
        return DiffRequest(args.what[1], args.what[2], out)
    if command == "calibrate":
        if len(args.what) != 2:
            raise InputError(f"eval calibrate: expected one table of ratings, got {len(args.what) - 1}")
        return CalibrateRequest(Path(args.what[1]), out)
    if args.shared and args.fresh:
        raise InputError(
            "--shared: can't be combined with --fresh, as each process would do all anew; use another --cache"
        )
    _check_beam(args)
    if len(args.what) != 1:
        raise InputError(f"eval: expected one sweep, got {len(args.what)} words: {' '.join(args.what)}")
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: expected a folder for results, got a file; name another with --out")
    # Workers have working folders of their own.
    file = Path(command).absolute() if args.beam is not None and Path(command).exists() else Path(command)
    exports = [Export(method, folder) for method, _, folder in (e.partition("=") for e in args.export)]
    return SweepRequest(
        file,
        out,
        cache,
        args.plan,
        args.strict,
        args.compat or "",
        exports,
        args.report_mb,
        progress,
        args.any_code,
        frozenset(args.fresh),
        args.shard,
        args.report_only,
        (
            *(_parse_threshold(text, is_upper=False) for text in args.fail_under),
            *(_parse_threshold(text, is_upper=True) for text in args.fail_over),
        ),
        _parse_max_calls(args.max_calls),
        _parse_prices(args.price),
        args.shared,
        None if args.beam is None else tuple(shlex.split(args.beam)),
        args.workers or 1,
    )


def _check_beam(args: argparse.Namespace) -> None:
    """Check that options go with --beam.

    Raises:
      InputError: --workers without it, or options that divide the work or leave it undone in another way.
    """
    if args.beam is None:
        if args.workers is not None:
            raise InputError(
                "eval: --workers is the number of processes of --beam; add it, or leave --workers out"
            )
        return
    if args.workers is not None and args.workers < 1:
        raise InputError(f"--workers {args.workers}: expected a number from 1 on")
    others = (
        ("--shared", args.shared), ("--shard", args.shard), ("--fresh", args.fresh), ("--report-only", args.report_only),
    )  # fmt: skip
    for name, value in others:
        if value:
            raise InputError(f"--beam: can't be combined with {name}; leave one out")


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


def _parse_threshold(text: str, is_upper: bool) -> Threshold:
    column, _, value = text.rpartition("=")
    try:
        return Threshold(column.strip(), float(value), is_upper)
    except ValueError:
        name = "--fail-over" if is_upper else "--fail-under"
        raise InputError(f"{name} {text}: expected COLUMN=VALUE, such as success=0.8") from None


def run_eval(request: EvalRequest) -> dict[str, Any]:
    """Run a request and return what --json prints, with "output" and "exit".

    Raises:
      InputError: a request that can't be run as it is.
    """
    if isinstance(request, StudyRequest):
        return _write_study(request)
    if isinstance(request, votes.VoteRequest):
        return votes.run(request)
    if isinstance(request, DiffRequest):
        return _compare_runs(request)
    if isinstance(request, CalibrateRequest):
        return _calibrate(request)
    return _run_sweep(request)


def _write_study(request: StudyRequest) -> dict[str, Any]:
    from v2v.evaluation import study
    from v2v.evaluation.cache import SweepCache

    cache = SweepCache(request.cache or Path(request.a.rpartition(":")[0]) / "cache")
    result = study.write_study(
        request.a, request.b, request.out, cache, seed=request.seed, limit=request.pairs
    )
    return {"output": str(request.out), "pairs": len(result.pairs), "study": result.id}


def _compare_runs(request: DiffRequest) -> dict[str, Any]:
    from v2v.evaluation.cache import write_text_atomically
    from v2v.evaluation.sweep.comparison import compare_runs

    comparison = compare_runs(request.first, request.second)
    write_text_atomically(request.out, comparison.format())
    print(comparison.format(), file=sys.stderr)
    return {"output": str(request.out), **comparison.to_json()}


def _calibrate(request: CalibrateRequest) -> dict[str, Any]:
    from v2v.evaluation.cache import write_text_atomically
    from v2v.evaluation.calibration import calibrate, read_ratings
    from v2v.runtime import text_files

    file = request.run / "results.json"
    if not file.is_file():
        raise InputError(f"{request.run}: expected the folder of a run with results.json; name it with --out")
    calibration = calibrate(read_ratings(request.ratings), text_files.read_json(file))
    document, table = calibration.to_json(), calibration.format()
    write_text_atomically(request.run / CALIBRATION_FILE, json.dumps(document, indent=1))
    write_text_atomically(request.run / "calibration.md", table)
    print(table, file=sys.stderr)
    return {"output": str(request.run / CALIBRATION_FILE), **document}


def _read_calibration(folder: Path) -> dict[str, Any] | None:
    """Return what `v2v eval calibrate` wrote for a run, or None."""
    from v2v.runtime import text_files

    file = folder / CALIBRATION_FILE
    return text_files.read_json(file) if file.is_file() else None


def _run_sweep(request: SweepRequest) -> dict[str, Any]:
    from v2v.evaluation.cache import SweepCache
    from v2v.evaluation.json_values import to_json_values
    from v2v.evaluation.sweep import runner, sweep, written_results
    from v2v.evaluation.sweep.claims import WorkClaims

    begin, out = time.perf_counter(), request.out
    cache = SweepCache(request.cache or out / "cache", any_code=request.any_code, fresh=request.fresh)
    load_definition = functools.partial(
        _load_definition, request.file, cache.folder.absolute() / "benchmarks", request.compat
    )
    definition = load_definition()
    _check_exports(request.exports, definition)
    _check_thresholds(request.thresholds, definition)
    if request.shard:
        definition = _take_shard(definition, request.shard)
    plan = sweep.plan_sweep(definition, cache, prices=request.prices, max_calls=request.max_calls)
    print(plan.format(), file=sys.stderr, flush=True)
    if request.plan_only:
        output = f"{plan.edits} edits, {plan.calls} judge calls"
        return {"output": output, "exit": 0, "plan": plan.to_json()}
    is_divided = request.is_shared or request.beam is not None
    claims = WorkClaims(cache.folder.absolute() / "claims") if is_divided else None
    earlier_run: SweepRun | None = None
    with _Bars(plan, request.progress) as tick, claims or contextlib.nullcontext():
        if request.beam is not None and claims is not None:
            from v2v.evaluation.sweep import distributed_sweep

            earlier_run = distributed_sweep.run_outputs(
                load_definition, cache, claims, workers=request.workers, options=request.beam
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
    calibration = _read_calibration(out)
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
    missed = _missed_thresholds(request.thresholds, definition, outcome.means)
    for line in missed:
        print(f"v2v: {line}", file=sys.stderr)
    return {
        "output": str(out / "report.html"),
        # A sweep without a single output has failed, however little is asked of it.
        "exit": 1 if has_no_output or missed or (request.strict and problems) else 0,
        **_count_new(run, earlier_run),
        "problems": len(problems),
        "seconds": round(time.perf_counter() - begin, 2),
        "means": to_json_values(outcome.means),
        "missed": missed,
        "judges": usage,
    }


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
    sent, received = sum(u.tokens_in for u in usages), sum(u.tokens_out for u in usages)
    text = f"{answers} answers"
    document: dict[str, Any] = {"answers": answers}
    if all(usage.is_complete for usage in usages):
        document |= {"tokens_in": sent, "tokens_out": received}
        text += f", {sent:,} tokens in, {received:,} out"
        if prices:
            document["dollars"] = round((sent * prices[0] + received * prices[1]) / 1e6, 6)
            text += f", ${document['dollars']:.2f}"
    return document | {"text": text}


def _check_thresholds(thresholds: Sequence[Threshold], definition: Sweep) -> None:
    """Check before any work that every bound names a column of the sweep."""
    for threshold in thresholds:
        if not list(_threshold_scores(threshold, definition)):
            columns = [column.name for metric in definition.metrics for column in metric.columns]
            raise InputError(f"{threshold}: expected a column among {', '.join(columns)}, or METHOD:COLUMN")


def _threshold_scores(threshold: Threshold, definition: Sweep) -> list[tuple[str, str]]:
    """Return the methods and columns whose means a bound is for."""
    columns = [column.name for metric in definition.metrics for column in metric.columns]
    return [
        (method.name, column)
        for method in definition.methods
        for column in columns
        if threshold.column in (column, f"{method.name}:{column}")
    ]


def _missed_thresholds(
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


def _load_definition(file: Path, folder: Path, compat: Literal["", "editverse"]) -> Sweep:
    """Return the sweep of a request; workers of Beam call it too."""
    definition = load_sweep(file, folder)
    return _with_compatibility(definition, compat) if compat else definition


def _with_compatibility(definition: Sweep, compat: Literal["", "editverse"]) -> Sweep:
    """Return the sweep with its judges of single frames set to repeat a benchmark's own sampling."""
    from v2v.evaluation.judge.judge_metric import JudgeMetric

    metrics = tuple(
        metric.with_compatibility(compat) if isinstance(metric, JudgeMetric) else metric
        for metric in definition.metrics
    )
    return dataclasses.replace(definition, metrics=metrics)


def _take_shard(definition: Sweep, shard: str) -> Sweep:
    """Return the sweep over one part of its items.

    Raises:
      InputError: no "I/N" with 1 <= I <= N, or a part without items.
    """
    first, _, count = shard.partition("/")
    if not (first.isdigit() and count.isdigit() and 1 <= int(first) <= int(count)):
        raise InputError(f"--shard {shard}: expected I/N with I from 1 to N, such as 1/4")
    items = definition.benchmark.items[int(first) - 1 :: int(count)]
    if not items:
        raise InputError(f"--shard {shard}: the benchmark has only {len(definition.benchmark.items)} items")
    return dataclasses.replace(definition, benchmark=dataclasses.replace(definition.benchmark, items=items))


def _check_exports(exports: Sequence[Export], definition: Sweep) -> None:
    """Check that every export names a method and a folder."""
    methods = [method.name for method in definition.methods]
    for export in exports:
        typed = f"--export {export.method}={export.folder}"
        if not export.folder or export.method not in methods:
            raise InputError(f"{typed}: expected METHOD=DIR, METHOD one of {', '.join(methods)}")
        if Path(export.folder).exists() and not Path(export.folder).is_dir():
            raise InputError(f"{typed}: expected a folder, got a file; name another")


class _Bars:
    """Progress bars, one for each phase of a run, or without a terminal lines in the log; as a context it gives the callback of `run_sweep`."""

    def __init__(self, plan: SweepPlan, visible: bool):
        self._totals = {"edit": plan.methods * plan.items}
        self._visible = visible
        self._bars: dict[str, Any] = {}
        self._counts: Counter[str] = Counter()
        self._next_line = time.monotonic() + LINE_SECONDS

    def __enter__(self) -> Callable[[str], None]:
        from tqdm import tqdm

        def tick(phase: str) -> None:
            if phase not in self._bars:
                total = self._totals.get(phase)
                self._bars[phase] = tqdm(total=total, unit=f" {phase}s", disable=not self._visible)
            self._bars[phase].update()
            self._counts[phase] += 1
            if not self._visible and time.monotonic() >= self._next_line:
                self._next_line = time.monotonic() + LINE_SECONDS
                total = self._totals.get(phase)
                logger.info("%ss: %d%s", phase, self._counts[phase], f" of {total}" if total else "")

        return tick

    def __exit__(self, *_: object) -> None:
        for bar in self._bars.values():
            bar.close()


def load_sweep(path: Path, folder: Path) -> Sweep:
    """Load a sweep by calling `sweep(folder)` of a Python file.

    Args:
      path: the file, or the name of a sweep that comes with v2v.
      folder: where its benchmark may write items.

    Raises:
      InputError: no such file, or not a sweep.
    """
    from v2v.evaluation.sweep.sweep import Sweep

    module = user_module.load_module(user_module.find_sweep(path), "sweep", "sweep_embedded")
    if "sweep" not in vars(module):
        raise InputError(f"{path}: not a sweep; expected a function sweep(folder) -> Sweep in it")
    value = module.sweep(Path(folder))
    if not isinstance(value, Sweep):
        raise InputError(f"{path}: expected sweep(folder) to return a Sweep, got {type(value).__name__}")
    return value
