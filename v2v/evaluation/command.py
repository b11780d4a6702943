"""`v2v eval`: a sweep, a study page, or its scoring. cli.py -> **command** -> sweep, runner, results, report

Imports nothing heavy before it runs, as `v2v --help` reads `add_arguments`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from v2v.errors import InputError

ABOUT = """\
  v2v eval experiments/sweep_embedded.py --out runs/sweep     run a sweep, or go on with it
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `v2v eval`."""
    parser.add_argument("what", metavar="SWEEP.py", nargs="+", help="what to run, as above")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for results, report and cache")
    parser.add_argument("--cache", metavar="DIR", help="folder of finished work to share between sweeps (default: DIR/cache)")  # fmt: skip
    parser.add_argument("--plan", action="store_true", help="print what would be done and what it would cost, then stop")  # fmt: skip
    parser.add_argument("--strict", action="store_true", help="exit with 1 if anything failed, was skipped or didn't match")  # fmt: skip
    parser.add_argument("--report-mb", type=float, default=60, metavar="N", help="megabytes of clips in the report (default: 60)")  # fmt: skip


def run(args: argparse.Namespace, bars: bool) -> dict:
    """One call of `v2v eval`; returns what --json prints, with "output" and "exit"."""
    return _sweep(args, bars)


def _sweep(args: argparse.Namespace, bars: bool) -> dict:
    if len(args.what) != 1:
        raise InputError(f"eval: expected one sweep, got {len(args.what)} words: {' '.join(args.what)}")
    from v2v.evaluation import report, results, runner, sweep
    from v2v.evaluation.cache import Cache, write_whole

    begin, out = time.perf_counter(), Path(args.out)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: expected a folder for results, got a file; name another with --out")
    cache = Cache(Path(args.cache) if args.cache else out / "cache")
    asked = sweep.load(Path(args.what[0]), cache.folder / "benchmarks")
    plan = sweep.plan(asked, cache)
    print(plan.lines(), file=sys.stderr, flush=True)
    if args.plan:
        return {"output": f"{plan.edits} edits, {plan.calls} judge calls", "exit": 0, "plan": vars(plan)}
    with _Bars(plan, bars) as tick:
        found = runner.run(asked, cache, tick)
    found.notes = plan.notes
    made = results.document(found)
    made["plan"] = vars(plan)
    write_whole(out / "results.json", json.dumps(made, indent=1, ensure_ascii=False))
    write_whole(out / "scores.csv", results.scores_csv(made))
    write_whole(out / "summary.csv", results.summary_csv(made))
    write_whole(out / "report.html", report.page(made, found, cache, megabytes=args.report_mb))
    for problem in made["problems"][:20]:
        print(f"v2v: note: {problem}", file=sys.stderr)
    if len(made["problems"]) > 20:
        print(f"v2v: note: {len(made['problems']) - 20} more in {out / 'results.json'}", file=sys.stderr)
    return {
        "output": str(out / "report.html"),
        "exit": 1 if args.strict and made["problems"] else 0,
        "edits": sum(m.fresh for m in found.made.values()),
        "scores": sum(j.fresh for j in found.judged.values()),
        "problems": len(made["problems"]),
        "seconds": round(time.perf_counter() - begin, 2),
    }


class _Bars:
    """One bar for each phase of a run."""

    def __init__(self, plan, shown: bool):
        pairs = plan.methods * plan.items
        self.totals = {"edit": pairs, "score": None, "call": None}
        self.shown, self.bars = shown, {}

    def __enter__(self):
        from tqdm import tqdm

        def tick(what: str) -> None:
            if what not in self.bars:
                self.bars[what] = tqdm(total=self.totals[what], unit=f" {what}s", disable=not self.shown)
            self.bars[what].update()

        return tick

    def __exit__(self, *_):
        for bar in self.bars.values():
            bar.close()
