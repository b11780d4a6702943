"""The files of an earlier run that say what this run would say again.

A run that did nothing anew has the same edits and scores as the one before, and its tables and its page would come out the same but for the
time in them. They are left as they are then: statistics, previews and page take longer than all the rest of such a run, and need packages that
nothing else of it needs. `fingerprint_results` names everything that the files are written from, the code of the evaluation included; a record in
the cache says of which fingerprint the files of a folder are, and what their contents are, so that a file which was changed or removed is
written again.

The files keep the plan and the time of the run that wrote them.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from v2v.evaluation.cache import SweepCache, digest
from v2v.evaluation.code_version import package_code
from v2v.evaluation.sweep import published_tables
from v2v.evaluation.sweep.runner import SweepRun
from v2v.evaluation.sweep.sweep import SweepPlan
from v2v.evaluation.sweep.version_stamp import code_stamp

# In the folder of a run.
FILES = ("results.json", "scores.csv", "summary.csv", "summary.md", "summary.tex", "report.html")
# Templates, styles and scripts of the page.
PAGE_FOLDER = Path(__file__).parents[1] / "page"


@dataclass(frozen=True)
class WrittenResults:
    """What the command says of results whose files are written.

    Attributes:
      problems: what fails `--strict`, a sentence each.
      means: mean by method and column; nan where nothing was scored.
    """

    problems: Sequence[str]
    means: dict[str, dict[str, float]]


def fingerprint_results(
    run: SweepRun, plan: SweepPlan, calibration: dict[str, Any] | None, megabytes: float, cache: SweepCache
) -> str:
    """Return the hash of everything that the files of a run are written from.

    Args:
      run: all edits and scores.
      plan: the plan of the run, of which the counts of work don't matter.
      calibration: agreement with people, or None.
      megabytes: limit of the page's clips.
      cache: where the hashes of files are remembered.
    """
    sweep = run.sweep
    benchmark = sweep.benchmark
    return digest(
        {
            "code": [code_stamp(), package_code("evaluation"), cache.hash_of(PAGE_FOLDER)],
            "title": [sweep.title, sweep.reference],
            "benchmark": [benchmark.name, benchmark.version, benchmark.about, plan.contents],
            "items": [
                # Files count by their contents, and by their place, which the results name.
                [item.id, item.kind, item.start, item.end, item.target_prompt, os.path.abspath(item.source)]
                for item in benchmark.items
            ],
            "methods": [[m.name, m.axes, m.describe(), run.weights.get(m.name, {})] for m in sweep.methods],
            "metrics": [
                [m.name, m.identity, m.code, [dataclasses.asdict(column) for column in m.columns]]
                for m in sweep.metrics
            ],
            "published": [published_tables.read_table(name) for name in sweep.published],
            "skipped": run.skipped_metrics,
            "notes": plan.notes,
            "calibration": calibration,
            "megabytes": megabytes,
            # What failed is tried again, and then comes last.
            "edits": [
                [*names, str(run.outputs[names].path), *_values(run.outputs[names])]
                for names in sorted(run.outputs)
            ],
            "scores": [[*names, *_values(run.results[names])] for names in sorted(run.results)],
        }
    )


def find_written(out: Path, fingerprint: str, cache: SweepCache) -> WrittenResults | None:
    """Return what files of a fingerprint say; None where a folder hasn't all of them as they were written."""
    record = cache.load("results", _key(out))
    if record is None or record["fingerprint"] != fingerprint or _hash_files(out, cache) != record["files"]:
        return None
    return WrittenResults(record["problems"], record["means"])


def store_written(out: Path, fingerprint: str, results: WrittenResults, cache: SweepCache) -> None:
    """Remember of which fingerprint the files of a folder are."""
    record = {
        "fingerprint": fingerprint,
        "files": _hash_files(out, cache),
        "problems": list(results.problems),
        "means": results.means,
    }
    cache.store("results", _key(out), record)


def _key(out: Path) -> dict[str, str]:
    return {"folder": os.path.abspath(out)}


def _hash_files(out: Path, cache: SweepCache) -> list[str | None]:
    return [cache.hash_of(out / name) if (out / name).is_file() else None for name in FILES]


def _values(value: Any) -> list[Any]:
    """Return the fields of an edit or a score but its path, and whether it is of this run."""
    return [getattr(value, f.name) for f in dataclasses.fields(value) if f.name not in ("path", "is_new")]
