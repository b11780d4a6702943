"""The command `v2v eval`: a sweep, a study page, or the evaluation of its votes.

Imports nothing heavy before it runs, as `v2v --help` reads `add_arguments`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from v2v.cli import user_module
from v2v.errors import InputError

if TYPE_CHECKING:
    from v2v.evaluation.sweep.sweep import Sweep

ABOUT = """\
examples:
  v2v eval experiments/sweep_embedded.py --out runs/sweep       run a sweep, or go on with it
  v2v eval ab "runs/s:guidance 2" "runs/s:guidance 4" --out study.html
                                                                blind page for people to vote on; its key is study.key.json
  v2v eval votes study.key.json votes-*.json --out votes.json   what the votes say
"""


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
    parser.add_argument("what", metavar="WHAT", nargs="+", help="what to run, as below")
    parser.add_argument(
        "--out",
        required=True,
        metavar="DIR",
        help="folder for results, report and cache; a file for ab and votes",
    )
    parser.add_argument(
        "--list-metrics", action=_ListMetrics, nargs=0, help="print the metrics and the rubrics of judges"
    )
    parser.add_argument("--cache", metavar="DIR", help="folder of finished work to share between sweeps (default: DIR/cache)")  # fmt: skip
    parser.add_argument("--plan", action="store_true", help="print what would be done and what it would cost, then stop")  # fmt: skip
    parser.add_argument("--strict", action="store_true", help="exit with 1 if anything failed, was skipped or didn't match")  # fmt: skip
    parser.add_argument("--compat", choices=("editverse",), help="judges of single frames repeat EditVerseBench's own sampling and channel order")  # fmt: skip
    parser.add_argument("--export", action="append", default=[], metavar="METHOD=DIR", help="also write a method's outputs in the benchmark's own layout; may be repeated")  # fmt: skip
    parser.add_argument("--pairs", type=int, metavar="N", help="ab: how many items (default: all)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="ab: of the shuffling (default: 0)")
    parser.add_argument("--report-mb", type=float, default=60, metavar="N", help="megabytes of clips in the report (default: 60)")  # fmt: skip


def run(args: argparse.Namespace, bars: bool) -> dict:
    """Run one call of `v2v eval`; returns what --json prints, with "output" and "exit"."""
    if args.what[0] == "ab":
        return _ab(args)
    return _votes(args) if args.what[0] == "votes" else _sweep(args, bars)


def _ab(args: argparse.Namespace) -> dict:
    if len(args.what) != 3:
        raise InputError(f"eval ab: expected two sides, FOLDER:method each, got {len(args.what) - 1}")
    from v2v.evaluation import study
    from v2v.evaluation.cache import SweepCache

    out = Path(args.out)
    if out.suffix != ".html":
        raise InputError(f"{out}: expected a name that ends in .html for the study page")
    cache = SweepCache(Path(args.cache) if args.cache else Path(args.what[1].rpartition(":")[0]) / "cache")
    return {
        "output": str(out),
        **study.write_study(*args.what[1:], out, cache, seed=args.seed, limit=args.pairs),
    }


def _votes(args: argparse.Namespace) -> dict:
    if len(args.what) < 3:
        raise InputError("eval votes: expected the study's key and at least one file of votes")
    from v2v.evaluation import study
    from v2v.evaluation.cache import write_text_atomically

    votes = study.score_votes(Path(args.what[1]), [Path(f) for f in args.what[2:]])
    write_text_atomically(Path(args.out), json.dumps(votes, indent=1))
    print(study.format_votes(votes), file=sys.stderr)
    return {"output": args.out, **votes}


def _sweep(args: argparse.Namespace, bars: bool) -> dict:
    if len(args.what) != 1:
        raise InputError(f"eval: expected one sweep, got {len(args.what)} words: {' '.join(args.what)}")
    from v2v.evaluation.cache import SweepCache, write_text_atomically
    from v2v.evaluation.sweep import report, results, runner, sweep

    begin, out = time.perf_counter(), Path(args.out)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: expected a folder for results, got a file; name another with --out")
    cache = SweepCache(Path(args.cache) if args.cache else out / "cache")
    requested = load(Path(args.what[0]), cache.folder / "benchmarks")
    if args.compat:
        requested = _compatible(requested, args.compat)
    exports = [e.partition("=") for e in args.export]
    for method, _, folder in exports:
        if not folder or method not in [m.name for m in requested.methods]:
            raise InputError(f"--export {method}={folder}: expected METHOD=DIR, METHOD one of {', '.join(m.name for m in requested.methods)}")  # fmt: skip
        if Path(folder).exists() and not Path(folder).is_dir():
            raise InputError(f"--export {method}={folder}: expected a folder, got a file; name another")
    plan = sweep.plan_sweep(requested, cache)
    print(plan.lines(), file=sys.stderr, flush=True)
    if args.plan:
        return {"output": f"{plan.edits} edits, {plan.calls} judge calls", "exit": 0, "plan": vars(plan)}
    with _Bars(plan, bars) as tick:
        sweep_run = runner.run_sweep(requested, cache, tick)
    sweep_run.notes = plan.notes
    document = results.build_document(sweep_run)
    document["plan"] = vars(plan)
    write_text_atomically(out / "results.json", json.dumps(document, indent=1, ensure_ascii=False))
    write_text_atomically(out / "scores.csv", results.format_scores_csv(document))
    write_text_atomically(out / "summary.csv", results.format_summary_csv(document))
    write_text_atomically(
        out / "report.html", report.build_report(document, sweep_run, cache, megabytes=args.report_mb)
    )
    for method, _, folder in exports:
        from v2v.evaluation.sweep.export import export_outputs

        export_outputs(sweep_run, method, Path(folder))
    for problem in document["problems"][:20]:
        print(f"v2v: note: {problem}", file=sys.stderr)
    if len(document["problems"]) > 20:
        print(f"v2v: note: {len(document['problems']) - 20} more in {out / 'results.json'}", file=sys.stderr)
    return {
        "output": str(out / "report.html"),
        "exit": 1 if args.strict and document["problems"] else 0,
        "edits": sum(m.is_new for m in sweep_run.outputs.values()),
        "scores": sum(j.is_new for j in sweep_run.results.values()),
        "problems": len(document["problems"]),
        "seconds": round(time.perf_counter() - begin, 2),
    }


def _compatible(requested, compat: str):
    """The sweep with its judges of single frames set to repeat a benchmark's own habits."""
    from v2v.evaluation.judge.judge_metric import JudgeMetric

    metrics = tuple(
        metric.with_compatibility(compat) if isinstance(metric, JudgeMetric) else metric
        for metric in requested.metrics
    )
    return dataclasses.replace(requested, metrics=metrics)


class _Bars:
    """One bar for each phase of a run."""

    def __init__(self, plan, visible: bool):
        pairs = plan.methods * plan.items
        self.totals = {"edit": pairs, "score": None, "call": None}
        self.visible, self.bars = visible, {}

    def __enter__(self):
        from tqdm import tqdm

        def tick(what: str) -> None:
            if what not in self.bars:
                self.bars[what] = tqdm(total=self.totals[what], unit=f" {what}s", disable=not self.visible)
            self.bars[what].update()

        return tick

    def __exit__(self, *_):
        for bar in self.bars.values():
            bar.close()


def load(path: Path, folder: Path) -> Sweep:
    """Load a sweep by calling `sweep(folder)` of a Python file.

    Raises:
      InputError: no such file, or not a sweep.
    """
    from v2v.evaluation.sweep.sweep import Sweep

    module = user_module.load_module(path, "sweep", "experiments/sweep_embedded.py")
    if not hasattr(module, "sweep"):
        raise InputError(f"{path}: not a sweep; expected a function sweep(folder) -> Sweep in it")
    value = module.sweep(Path(folder))
    if not isinstance(value, Sweep):
        raise InputError(f"{path}: expected sweep(folder) to return a Sweep, got {type(value).__name__}")
    return value
