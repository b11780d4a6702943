"""`v2v eval diff`, `ab` and `calibrate`: two runs compared in a table or by people who vote, and a run's scores compared with ratings of people.

Imports nothing heavy before a request is run, because `v2v --help` calls `add_arguments`.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from v2v.errors import InputError

# In the folder of a run: its agreement with people.
CALIBRATION_FILE = "calibration.json"


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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `v2v eval ab`; --out and --cache are those of `v2v eval`."""
    parser.add_argument("--pairs", type=int, metavar="N", help="ab: how many items (default: all)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="ab: of the shuffling (default: 0)")


def parse_request(args: argparse.Namespace) -> DiffRequest | StudyRequest | CalibrateRequest:
    """Return the request of a command line whose first word is diff, ab or calibrate.

    Raises:
      InputError: words that make no request, or an output of the wrong kind.
    """
    command, out = args.what[0], Path(args.out)
    if command == "ab":
        if len(args.what) != 3:
            raise InputError(f"eval ab: expected two sides, FOLDER:method each, got {len(args.what) - 1}")
        if out.exists() and not out.is_dir():
            raise InputError(f"{out}: expected a folder for the study, got a file; name another with --out")
        cache = Path(args.cache) if args.cache else None
        return StudyRequest(args.what[1], args.what[2], out, cache, args.pairs, args.seed)
    if command == "diff":
        if len(args.what) != 3:
            raise InputError(f"eval diff: expected two folders of runs, got {len(args.what) - 1}")
        return DiffRequest(args.what[1], args.what[2], out)
    if len(args.what) != 2:
        raise InputError(f"eval calibrate: expected one table of ratings, got {len(args.what) - 1}")
    return CalibrateRequest(Path(args.what[1]), out)


def run_diff(request: DiffRequest) -> dict[str, Any]:
    """Write what differs between two runs; return what --json prints."""
    from v2v.evaluation.cache import write_text_atomically
    from v2v.evaluation.sweep.comparison import compare_runs

    comparison = compare_runs(request.first, request.second)
    write_text_atomically(request.out, comparison.format())
    print(comparison.format(), file=sys.stderr)
    return {"output": str(request.out), **comparison.to_json()}


def run_study(request: StudyRequest) -> dict[str, Any]:
    """Write a study of two sides; return what --json prints."""
    from v2v.evaluation import study
    from v2v.evaluation.cache import SweepCache

    cache = SweepCache(request.cache or Path(request.a.rpartition(":")[0]) / "cache")
    result = study.write_study(
        request.a, request.b, request.out, cache, seed=request.seed, limit=request.pairs
    )
    return {"output": str(request.out), "pairs": len(result.pairs), "study": result.id}


def run_calibrate(request: CalibrateRequest) -> dict[str, Any]:
    """Write how far the scores of a run agree with ratings; return what --json prints.

    Raises:
      InputError: no run in the folder, or no table of ratings.
    """
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


def read_calibration(folder: Path) -> dict[str, Any] | None:
    """Return what `v2v eval calibrate` wrote for a run, or None."""
    from v2v.runtime import text_files

    file = folder / CALIBRATION_FILE
    return text_files.read_json(file) if file.is_file() else None
