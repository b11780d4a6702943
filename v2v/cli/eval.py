"""`v2v eval`: a sweep, the difference between two, a study for people to vote on, its votes, or the agreement of scores with people.

`parse_request` turns the command line into one of five requests; nothing after it sees the parsed arguments. Nothing heavy is imported
before a request is run, because `v2v --help` calls `add_arguments`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from v2v.cli import eval_runs, eval_sweep, votes
from v2v.cli.eval_runs import CalibrateRequest, DiffRequest, StudyRequest
from v2v.cli.eval_sweep import SweepRequest
from v2v.errors import InputError

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
    eval_sweep.add_arguments(parser)
    eval_runs.add_arguments(parser)
    votes.add_arguments(parser)


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
    if command in ("ab", "diff", "calibrate"):
        return eval_runs.parse_request(args)
    return eval_sweep.parse_request(args, progress)


def run_eval(request: EvalRequest) -> dict[str, Any]:
    """Run a request and return what --json prints, with "output" and "exit".

    Raises:
      InputError: a request that can't be run as it is.
    """
    match request:
        case SweepRequest():
            return eval_sweep.run_sweep(request)
        case StudyRequest():
            return eval_runs.run_study(request)
        case DiffRequest():
            return eval_runs.run_diff(request)
        case CalibrateRequest():
            return eval_runs.run_calibrate(request)
        case votes.VoteRequest():
            return votes.run(request)
