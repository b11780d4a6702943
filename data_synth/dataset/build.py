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
from data_synth.dataset.preview import preview as sheet
from data_synth.dataset.report import Report
from data_synth.operators.transition import CLASSIC
from data_synth.recipes import planar, registry
from data_synth.recipes.registry import Sources
from data_synth.scenes import textures
from v2v.data import pair as pr
from v2v.errors import InputError, note

FAILED = "failed: "  # how the reason of a seed begins whose clip raised an exception
HOPELESS = 500  # seeds after which fewer than one pair in fifty ends the build
FAILING = 8  # failures of an expert in a row, all for one reason that may pass: it is down


def synth(
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
    operators: Sequence[str] = CLASSIC,
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
    sources = Sources(str(clips), license, tuple(map(str, experts)), tuple(map(rq.named, sets)), str(writer))
    request = {
        "pairs": int(pairs),
        "seed": int(seed),
        "edits": list(edits) or list(generate.FAMILIES),
        "frames": int(frames),
        "height": int(height),
        "width": int(width),
        "transition": float(transition),
        "version": planar.VERSION,
        "schema": pr.SCHEMA_VERSION,
    }
    if versions := registry.versions(request["edits"]):
        request["versions"] = versions
    if tuple(operators) != CLASSIC:
        request["operators"] = list(operators)
    rq.check(request, sources)
    if workers < 1:
        raise InputError(f"workers: expected at least 1 process, got {workers}")
    if sources != Sources():
        request["sources"] = dataclasses.asdict(sources) | {"content": rq.fingerprint(sources)}
    request = json.loads(json.dumps(request))  # as it will be read back and compared
    done = rq.finished(out, request)
    if preview:
        rq.folder(Path(preview))
    if done is None:
        name = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()[:12]
        work = out.parent / f".{out.name}.{name}.unfinished"
        waiting = request_lib.elsewhere(unfinished, f"{out.name}.{name}") if unfinished else work / "shards"
        with request_lib.alone(work):
            done = _build(out, work, waiting, request, sources, workers, beam, progress)
    if preview:
        try:
            _sheets(out, Path(preview))
        except OSError as error:
            raise InputError(
                f"--preview {preview}: can't be written ({error.strerror.lower()}); the pairs in {out} are complete: run the same "
                "command again for their sheets"
            ) from None
    return done


def read(folder: str | Path):
    """The folder's pairs as a sequence of records (`pairs.decode` makes a Pair of one)."""
    import tensorflow_datasets as tfds

    if not (Path(folder) / "dataset_info.json").is_file():
        raise InputError(
            f"{folder}: expected a folder made by `v2v synth` (with dataset_info.json); "
            "make one or correct the path"
        )
    return tfds.builder_from_directory(folder).as_data_source("train")


def make_records(seeds: Sequence[int], **options) -> list[tuple[dict, None] | tuple[None, str]]:
    """`pipeline.make_block`, encoded: what a worker process does for one shard.

    A clip that no recipe foresaw (an exception of any kind) fails alone: the block is made again seed by seed, and that
    seed's reason begins with FAILED.
    """
    try:
        return [
            (None, reason) if pair is None else (pr.encode(pair), None)
            for pair, reason in generate.make_block(seeds, **options)
        ]
    except (InputError, MemoryError):  # of the request or the machine, not of one clip
        raise
    except Exception as error:
        if len(seeds) > 1:
            return [make_records([seed], **options)[0] for seed in seeds]
        return [(None, f"{FAILED}{type(error).__name__}: {' '.join(str(error).split())[:200]}")]


def _build(
    out: Path, work: Path, waiting: Path, request: dict, sources: Sources, workers: int, beam, progress
) -> dict:
    from data_synth.v2v_pairs.v2v_pairs_dataset_builder import write_set  # TFDS: slow, so only here

    report = Report(request)
    made = work / "set"
    shutil.rmtree(made, ignore_errors=True)  # of a run that was killed while it put shards together
    try:
        made.mkdir(parents=True)
        with contextlib.redirect_stdout(sys.stderr):  # standard output is for --json
            write_set(made, _records(work, waiting, request, sources, workers, beam, report, progress))
        (made / "report.json").write_text(json.dumps(report.table(), indent=1, sort_keys=True) + "\n")
        (made / "report.html").write_text(report.page())
        os.replace(made, out)  # an empty `out` is replaced; one that filled meanwhile is an error
    except InputError as error:
        if not isinstance(error, shards.Stopped) or not any(waiting.glob("*.shard")):
            shutil.rmtree(
                work, ignore_errors=True
            )  # the request itself is impossible, or nothing was done yet
        raise
    except OSError as error:
        if not shards.full(error):
            raise
        shutil.rmtree(made, ignore_errors=True)
        raise InputError(
            f"{work}: the disk is full; finished shards are kept in {waiting}, "
            "free some space and run the same command again"
        ) from None
    except BaseException:
        if not any(waiting.glob("*.shard")):
            shutil.rmtree(work, ignore_errors=True)
        raise
    shutil.rmtree(work, ignore_errors=True)
    if waiting.parent != work:
        waiting.rmtree()
    return report.table()


def _records(
    work: Path, waiting: Path, request: dict, sources: Sources, workers: int, beam, report: Report, progress
) -> Iterator[dict]:
    """The first kept records in seed order, and the drops before the last of them in the report."""
    size = request["frames"], request["height"], request["width"]
    make = functools.partial(
        make_records,
        T=size[0],
        H=size[1],
        W=size[2],
        edits=tuple(request["edits"]),
        transition=request["transition"],
        operators=tuple(request.get("operators", CLASSIC)),
        sources=sources,
    )
    last = generate.rows(request["edits"], sources)
    kept = tries = failing = 0
    before = ""  # the reason of the last drop
    # Rendered pairs differ by their seeds; footage from outside comes with repetitions.
    seen: set[str] | None = None if sources == Sources() else set()
    n = max(shards.seeds_per_shard(*size), registry.batch(request["edits"], sources))
    place = waiting, make, request["seed"], n, workers
    if beam is None:
        # Tiles of textures cost as much as some hundred pairs: drawn once for all workers, and anew in every run.
        shutil.rmtree(tiles := work / "tiles", ignore_errors=True)
        made = shards.shards(*place, last, functools.partial(textures.share_tiles, tiles))
    else:
        made = under_beam.made(*place, request["pairs"], last, beam)
    for results in made:
        for seed, record, reason in results:
            tries += 1
            if record is not None and seen is not None and record["recipe"] not in ("local", "photometric"):
                look = quality.fingerprint(pr.decode(record))
                if look in seen:
                    record, reason = None, f"{record['edit']}: near-duplicate"
                seen.add(look)
            if record is None:
                if reason.startswith(FAILED):
                    report.fail(seed, reason.removeprefix(FAILED))
                else:
                    report.drop(reason)
                failing, before = (failing + 1 if reason == before else 1), reason
                if failing >= FAILING and shards.PASSING.search(reason):
                    raise shards.Stopped(
                        f"{reason}, {failing} times in a row; see that the expert of {', '.join(sources.experts)} works and "
                        f"run the same command again: the {kept} pairs so far are kept in {waiting}"
                    )
                if last is None and tries > HOPELESS and kept * 50 < tries:
                    if not kept:
                        raise InputError(
                            f"pairs: expected most seeds to give one, got {kept} of {tries} from seed "
                            f"{request['seed']} on; the last was dropped because of '{reason}'; "
                            "choose other edits or another size"
                        )
                    note(
                        f"pairs: {kept} of {request['pairs']} from {tries} seeds, hardly any gives one now; the last was dropped "
                        f"because of '{reason}'; the set ends here"
                    )
                    return
                continue
            report.keep(record)
            kept += 1
            failing = 0
            yield record
            if progress:
                progress(1)
            if kept == request["pairs"]:
                return
    if not kept:
        reasons = ", ".join(f"{reason} ({n})" for reason, n in report.dropped.most_common(5))
        raise InputError(
            f"pairs: expected some from {', '.join(request['edits'])}, got none from seed {request['seed']} on; "
            f"dropped: {reasons or 'nothing, no row is left'}"
        )


def _sheets(out: Path, folder: Path, most: int = 8) -> None:
    """A contact sheet of the first pairs of every edit."""
    shown: dict[str, list] = {}
    for record in read(out):
        edit = record["edit"].decode() if isinstance(record["edit"], bytes) else record["edit"]
        if len(shown.setdefault(edit, [])) < most:
            shown[edit].append(pr.decode(record))
    for edit, pairs in shown.items():
        sheet(pairs, folder / f"{edit.replace('/', '-')}.png")
