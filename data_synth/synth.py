"""`v2v synth`: pairs → a folder that training reads.

seeds → pipeline.make_pair → encoded records → **array_record folder + report.json**

The folder is written beside its final name and renamed when complete, so it is either absent or whole. Asking again
for what is already there returns at once; asking for something else under the same name is refused.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from data_synth import pipeline
from v2v.data import pairs as pr
from v2v.data.pairs import InputError


def synth(out: str | Path, pairs: int, seed: int = 0, workers: int = 1, *, edits: tuple[str, ...] = (),
          frames: int = 9, height: int = 64, width: int = 64, transition: float = 0.5,
          progress: Callable[[int], None] | None = None) -> dict:
    """Builds a folder of pairs, readable by `tfds.builder_from_directory(out).as_data_source("train")`.

    Args:
      out: folder to make. pairs: how many. seed: first seed. workers: processes.
      edits: names or families as for `pipeline.make_pair`; empty is the default mix.
      frames, height, width: size of the clips. transition: probability of an edit that begins inside the clip.
      progress: called with 1 after every pair.

    Returns:
      The report, also at out/report.json: request, pairs, count per edit and per recipe, dropped per reason.

    Raises:
      InputError: impossible request, or `out` exists with other contents.
    """
    out = Path(out)
    request = {"pairs": int(pairs), "seed": int(seed), "edits": list(edits) or list(pipeline.FAMILIES),
               "frames": int(frames), "height": int(height), "width": int(width), "transition": float(transition),
               "version": pipeline.VERSION, "schema": pr.SCHEMA_VERSION}
    _check(request)
    done = _finished(out, request)
    if done:
        return done
    out.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        report = _build(beside, request, workers, progress)
        made = next(beside.glob("v2v_pairs/*"))
        (made / "report.json").write_text(json.dumps(report, indent=1, sort_keys=True) + "\n")
        os.replace(made, out)  # an empty `out` is replaced; one that filled meanwhile is an error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return report


def read(folder: str | Path):
    """The folder's pairs as a sequence of records (`pairs.decode` makes a Pair of one)."""
    import tensorflow_datasets as tfds

    if not (Path(folder) / "dataset_info.json").is_file():
        raise InputError(f"{folder}: expected a folder made by `v2v synth` (with dataset_info.json); "
                         "make one or correct the path")
    return tfds.builder_from_directory(folder).as_data_source("train")


def make_record(seed: int, **options) -> tuple[dict, None] | tuple[None, str]:
    """`pipeline.make_pair`, encoded: what a worker process sends back."""
    pair, reason = pipeline.make_pair(seed, **options)
    return (None, reason) if pair is None else (pr.encode(pair), None)


def _build(folder: Path, request: dict, workers: int, progress) -> dict:
    import tensorflow_datasets as tfds

    from data_synth.v2v_pairs.v2v_pairs_dataset_builder import Builder

    dropped, edits, recipes = Counter(), Counter(), Counter()

    def records() -> Iterator[dict]:
        make = functools.partial(make_record, T=request["frames"], H=request["height"], W=request["width"],
                                 edits=tuple(request["edits"]), transition=request["transition"])
        for record in pipeline.first_kept(make, request["pairs"], request["seed"], workers, dropped):
            edits[record["edit"]] += 1
            recipes[record["recipe"]] += 1
            yield record
            if progress:
                progress(1)

    tfds.disable_progress_bar()
    # Nothing is downloaded; without this TFDS looks for a prepared copy in a bucket of its own.
    config = tfds.download.DownloadConfig(try_download_gcs=False, num_shards=max(1, request["pairs"] // 4096))
    with contextlib.redirect_stdout(sys.stderr):  # standard output is for --json
        Builder(data_dir=folder, file_format="array_record", records=records()).download_and_prepare(
            download_config=config)
    return {"request": request, "pairs": sum(edits.values()), "edits": dict(sorted(edits.items())),
            "recipes": dict(sorted(recipes.items())), "dropped": dict(sorted(dropped.items()))}


def _check(request: dict) -> None:
    if request["pairs"] < 1:
        raise InputError(f"pairs: expected at least 1, got {request['pairs']}")
    if request["seed"] < 0:
        raise InputError(f"seed: expected a non-negative integer, got {request['seed']}")
    if min(request["height"], request["width"]) < 16 or request["frames"] < 1:
        raise InputError("clip size: expected at least 1 frame of 16 x 16 pixels, got "
                         f"{request['frames']} of {request['height']} x {request['width']}")
    if not 0 <= request["transition"] <= 1:
        raise InputError(f"transition: expected a probability between 0 and 1, got {request['transition']}")
    known = [*pipeline.FAMILIES, *pipeline.EDITS]
    wrong = [e for e in request["edits"] if e not in known]
    if wrong:
        raise InputError(f"edits: expected names among {', '.join(known)}; got {', '.join(wrong)}")


def _finished(out: Path, request: dict) -> dict | None:
    """The report of an identical finished build, None when `out` is free."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    try:
        report = json.loads((out / "report.json").read_text())
    except (OSError, ValueError):
        raise InputError(f"{out}: expected a new folder, got one with other contents; "
                         "choose another --out or remove it") from None
    if report.get("request") != request:
        raise InputError(f"{out}: holds pairs of another request ({json.dumps(report.get('request'))}); "
                         "choose another --out or remove it")
    return report
