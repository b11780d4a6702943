"""`v2v synth`: pairs → a folder that training reads.

seeds → pipeline.make_block → shards → **array_record folder + report.json + report.html**

The folder is written beside its final name and renamed when complete, so it is either absent or whole. Asking again
for what is already there returns at once; asking for something else under the same name is refused. A build that was
stopped in any way goes on where it stood when the same request is made again (shards.py): its finished shards wait in a
hidden folder beside `out`, or where `--unfinished` says, and go away with the finished build.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from data_synth import generate, quality
from data_synth.dataset import beam as under_beam
from data_synth.dataset import request as request_lib
from data_synth.dataset import request as rq
from data_synth.dataset import shards
from data_synth.dataset.preview import write_preview as sheet
from data_synth.dataset.report import Report
from data_synth.generate import PairOptions
from data_synth.operators.transition import CLASSIC_OPERATORS
from data_synth.recipes import planar, registry
from data_synth.recipes.result import Rejected
from data_synth.recipes.sources import Sources
from data_synth.scenes import textures
from v2v.data import pair as pr
from v2v.errors import InputError, note

MAX_UNPRODUCTIVE_SEEDS = 500  # seeds after which fewer than one pair in fifty ends the build
MAX_CONSECUTIVE_FAILURES = 8  # failures of an expert in a row, all for one reason that may pass: it is down


def build_dataset(
    out: str | Path,
    pairs: int,
    seed: int = 0,
    workers: int = 1,
    *,
    edits: tuple[str, ...] = (),
    frames: int = 9,
    height: int = 64,
    width: int = 64,
    transition: float = 0.5,
    operators: Sequence[str] = CLASSIC_OPERATORS,
    clips: str = "",
    license: str = "unknown",
    experts: Sequence[str] = (),
    sets: Sequence[str] = (),
    writer: str = "",
    preview: str | Path = "",
    beam: Sequence[str] | None = None,
    unfinished: str = "",
    progress: Callable[[int], None] | None = None,
) -> dict:
    """Builds a folder of pairs, readable by `tfds.builder_from_directory(out).as_data_source("train")`.

    Args:
      out: folder to make. pairs: how many; fewer come when published sets or caption files run out.
      seed: first seed; for published sets the first row. workers: processes.
      edits: recipes, as `recipes.names` lists them; empty is the default mix.
      frames, height, width: size of the clips. transition: probability of an edit that begins inside the clip.
      operators: how it may begin there: of cut, blend, dissolve, wipe.
      clips: folder of videos that control and removal recipes work on; "" renders scenes. license: of those clips.
      experts: TOML files of external experts. sets: "NAME=PATH" for published sets and caption files.
      writer: TOML file of a caption writer; "" for the rules.
      beam: make the shards under Apache Beam with these options of its own; None: with processes of our own.
      unfinished: folder where shards wait, gs://... too, for Beam's workers that share no disk with this machine (Dataflow);
        "" for a hidden one beside `out`.
      preview: folder that gets a contact sheet, EDIT.png, for every edit made; "" for none.
      progress: called with 1 after every pair.

    Returns:
      The report, also at out/report.json (fields at `report.Report.table`).

    Raises:
      InputError: impossible request, or `out` exists with other contents.
    """
    out = Path(out)
    if out.is_symlink():  # nothing can be renamed onto a link
        out = out.resolve()
    sources = Sources(
        str(clips), license, tuple(map(str, experts)), tuple(map(rq.parse_set, sets)), str(writer)
    )
    request = {
        "pairs": int(pairs),
        "seed": int(seed),
        "edits": list(edits) or list(registry.DEFAULT_MIX),
        "frames": int(frames),
        "height": int(height),
        "width": int(width),
        "transition": float(transition),
        "version": planar.VERSION,
        "schema": pr.SCHEMA_VERSION,
    }
    if versions := registry.recipe_versions(request["edits"]):
        request["versions"] = versions
    if tuple(operators) != CLASSIC_OPERATORS:
        request["operators"] = list(operators)
    rq.check_request(request, sources)
    if workers < 1:
        raise InputError(f"workers: expected at least 1 process, got {workers}")
    if sources != Sources():
        request["sources"] = dataclasses.asdict(sources) | {"content": rq.fingerprint_sources(sources)}
    request = json.loads(json.dumps(request))  # as it will be read back and compared
    report = rq.find_finished(out, request)
    if preview:
        rq.create_preview_folder(Path(preview))
    if report is None:
        name = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()[:12]
        work_folder = out.parent / f".{out.name}.{name}.unfinished"
        shard_folder = (
            request_lib.create_shard_folder(unfinished, f"{out.name}.{name}")
            if unfinished
            else work_folder / "shards"
        )
        with request_lib.lock_work_folder(work_folder):
            report = _write_folder(out, work_folder, shard_folder, request, sources, workers, beam, progress)
    if preview:
        try:
            _write_sheets(out, Path(preview))
        except OSError as error:
            raise InputError(
                f"--preview {preview}: can't be written ({error.strerror.lower()}); the pairs in {out} are complete: run the same "
                "command again for their sheets"
            ) from None
    return report


def open_dataset(folder: str | Path):
    """The folder's pairs as a sequence of records (`pairs.decode` makes a Pair of one)."""
    import tensorflow_datasets as tfds

    if not (Path(folder) / "dataset_info.json").is_file():
        raise InputError(
            f"{folder}: expected a folder made by `v2v synth` (with dataset_info.json); "
            "make one or correct the path"
        )
    return tfds.builder_from_directory(folder).as_data_source("train")


def make_records(seeds: Sequence[int], options: PairOptions) -> list[dict | Rejected]:
    """Return the encoded results of `generate.make_block`: the work of one worker process for one shard.

    An exception that no recipe foresaw costs its seed alone: the block is made again seed by seed, and that seed's rejection is marked as
    an error.
    """
    try:
        return [
            outcome if isinstance(outcome, Rejected) else pr.encode_pair(outcome)
            for outcome in generate.make_block(seeds, options)
        ]
    except (InputError, MemoryError):  # of the request or the machine, not of one clip
        raise
    except Exception as error:
        if len(seeds) > 1:
            return [make_records([seed], options)[0] for seed in seeds]
        text = " ".join(str(error).split())[:200]
        return [Rejected(f"{type(error).__name__}: {text}", error=True)]


def _write_folder(
    out: Path,
    work_folder: Path,
    shard_folder: Path,
    request: dict,
    sources: Sources,
    workers: int,
    beam,
    progress,
) -> dict:
    from data_synth.v2v_pairs.v2v_pairs_dataset_builder import write_dataset  # TFDS: slow, so only here

    report = Report(request)
    set_folder = work_folder / "set"
    shutil.rmtree(set_folder, ignore_errors=True)  # of a run that was killed while it put shards together
    try:
        set_folder.mkdir(parents=True)
        with contextlib.redirect_stdout(sys.stderr):  # standard output is for --json
            write_dataset(
                set_folder,
                _iterate_records(
                    work_folder, shard_folder, request, sources, workers, beam, report, progress
                ),
            )
        (set_folder / "report.json").write_text(json.dumps(report.table(), indent=1, sort_keys=True) + "\n")
        (set_folder / "report.html").write_text(report.page())
        os.replace(set_folder, out)  # an empty `out` is replaced; one that filled meanwhile is an error
    except InputError as error:
        if not isinstance(error, shards.BuildStopped) or not any(shard_folder.glob("*.shard")):
            shutil.rmtree(
                work_folder, ignore_errors=True
            )  # the request itself is impossible, or nothing was done yet
        raise
    except OSError as error:
        if not shards.is_disk_full(error):
            raise
        shutil.rmtree(set_folder, ignore_errors=True)
        raise InputError(
            f"{work_folder}: the disk is full; finished shards are kept in {shard_folder}, "
            "free some space and run the same command again"
        ) from None
    except BaseException:
        if not any(shard_folder.glob("*.shard")):
            shutil.rmtree(work_folder, ignore_errors=True)
        raise
    shutil.rmtree(work_folder, ignore_errors=True)
    if shard_folder.parent != work_folder:
        shard_folder.rmtree()
    return report.table()


def _iterate_records(
    work_folder: Path,
    shard_folder: Path,
    request: dict,
    sources: Sources,
    workers: int,
    beam,
    report: Report,
    progress,
) -> Iterator[dict]:
    """The first kept records in seed order, and the drops before the last of them in the report."""
    size = request["frames"], request["height"], request["width"]
    options = PairOptions(
        *size,
        edits=tuple(request["edits"]),
        transition=request["transition"],
        operators=tuple(request.get("operators", CLASSIC_OPERATORS)),
        sources=sources,
    )
    make = functools.partial(make_records, options=options)
    last = generate.count_rows(request["edits"], sources)
    pair_count = seed_count = failure_count = 0
    previous_rejection: Rejected | None = None
    # Rendered pairs differ by their seeds; footage from outside comes with repetitions.
    fingerprints: set[str] | None = None if sources == Sources() else set()
    n = max(shards.seeds_per_shard(*size), registry.seeds_per_call(request["edits"], sources))
    shard_arguments = shard_folder, make, request["seed"], n, workers
    if beam is None:
        # Tiles of textures cost as much as some hundred pairs: drawn once for all workers, and anew in every run.
        shutil.rmtree(tiles := work_folder / "tiles", ignore_errors=True)
        shard_results = shards.iterate_shards(
            *shard_arguments, last, functools.partial(textures.share_tiles, tiles)
        )
    else:
        shard_results = under_beam.iterate_shards(*shard_arguments, request["pairs"], last, beam)
    for results in shard_results:
        for result in results:
            seed_count += 1
            outcome = result.outcome
            if not isinstance(outcome, Rejected) and fingerprints is not None:
                outcome = _reject_duplicate(outcome, fingerprints)
            if isinstance(outcome, Rejected):
                report.drop(result.seed, outcome)
                failure_count = failure_count + 1 if outcome == previous_rejection else 1
                previous_rejection = outcome
                if failure_count >= MAX_CONSECUTIVE_FAILURES and outcome.transient:
                    raise shards.BuildStopped(
                        f"{outcome}, {failure_count} times in a row; see that the expert of {', '.join(sources.experts)} works and "
                        f"run the same command again: the {pair_count} pairs so far are kept in {shard_folder}"
                    )
                if last is None and seed_count > MAX_UNPRODUCTIVE_SEEDS and pair_count * 50 < seed_count:
                    if not pair_count:
                        raise InputError(
                            f"pairs: expected most seeds to give one, got {pair_count} of {seed_count} from seed "
                            f"{request['seed']} on; the last was dropped because of '{outcome}'; "
                            "choose other edits or another size"
                        )
                    note(
                        f"pairs: {pair_count} of {request['pairs']} from {seed_count} seeds, hardly any gives one now; the last was dropped "
                        f"because of '{outcome}'; the set ends here"
                    )
                    return
                continue
            report.keep(outcome)
            pair_count += 1
            failure_count = 0
            yield outcome
            if progress:
                progress(1)
            if pair_count == request["pairs"]:
                return
    if not pair_count:
        reasons = ", ".join(f"{reason} ({n})" for reason, n in report.dropped.most_common(5))
        raise InputError(
            f"pairs: expected some from {', '.join(request['edits'])}, got none from seed {request['seed']} on; "
            f"dropped: {reasons or 'nothing, no row is left'}"
        )


def _reject_duplicate(record: dict, fingerprints: set[str]) -> dict | Rejected:
    """Return the record, or a rejection where one that looks alike went by; add its fingerprint."""
    if record["recipe"] in ("local", "photometric"):
        return record
    fingerprint = quality.fingerprint_pair(pr.decode_pair(record))
    if fingerprint in fingerprints:
        return Rejected("near-duplicate").within(record["edit"])
    fingerprints.add(fingerprint)
    return record


def _write_sheets(out: Path, folder: Path, max_pairs: int = 8) -> None:
    """A contact sheet of the first pairs of every edit."""
    pairs_by_edit: dict[str, list] = {}
    for record in open_dataset(out):
        edit = record["edit"].decode() if isinstance(record["edit"], bytes) else record["edit"]
        if len(pairs_by_edit.setdefault(edit, [])) < max_pairs:
            pairs_by_edit[edit].append(pr.decode_pair(record))
    for edit, examples in pairs_by_edit.items():
        sheet(examples, folder / f"{edit.replace('/', '-')}.png")
