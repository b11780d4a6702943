"""`v2v report`: the page of training runs."""

import argparse
from pathlib import Path

EXAMPLES = """examples:
  v2v report runs/mine                                   curves, previews and goodput in runs/mine/report.html
  v2v report runs/a runs/b runs/c -o compare.html        several runs side by side, and the settings that differ
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `v2v report`."""
    parser.add_argument(
        "folders", nargs="+", metavar="DIR", help="folder of a training run, or of one of its stages"
    )
    parser.add_argument(
        "-o", "--out", metavar="FILE", help="the page (default: report.html in the first folder)"
    )
    parser.add_argument(
        "--megabytes", type=float, default=60, metavar="N", help="most that previews take (default: 60)"
    )


def run(args: argparse.Namespace) -> dict:
    """Write the page; return its path and the table of runs for `--json`."""
    from v2v.errors import InputError
    from v2v.evaluation import training_report
    from v2v.evaluation.cache import write_text_atomically

    out = Path(args.out) if args.out else Path(args.folders[0]) / "report.html"
    if out.is_dir() or not out.parent.is_dir():
        raise InputError(f"--out {out}: expected a file in a folder that exists")
    if args.megabytes < 0:
        raise InputError(f"--megabytes: expected at least 0, got {args.megabytes:g}")
    runs = training_report.find_runs(args.folders)
    write_text_atomically(out, training_report.build_training_report(runs, megabytes=args.megabytes))
    return {"output": str(out), "runs": {run.name: training_report.summarize_run(run) for run in runs}}
