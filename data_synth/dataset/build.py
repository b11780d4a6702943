"""The build of a dataset: a request becomes a folder that training reads.

seeds → generate.make_block → shards → assembly.py → **array_record folder + pairs.jsonl + report.json + report.html**

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
import math
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from data_synth import generate
from data_synth.dataset import assembly, beam, folders, shards
from data_synth.dataset.facts import PairFacts, collect_facts
from data_synth.dataset.preview import write_preview
from data_synth.dataset.report import EXAMPLES_PER_EDIT, Report, format_example
from data_synth.dataset.request import SynthRequest, fingerprint_sources, parse_table
from data_synth.dataset.shards import EncodedPair
from data_synth.dataset.stored_set import StoredSet, open_set
from data_synth.generate import PairOptions
from data_synth.places import is_address, open_place
from data_synth.recipes import registry
from data_synth.recipes.sources import NO_SOURCES, Sources
from data_synth.rejection import Rejected
from data_synth.scenes import textures
from v2v.data import pair as pr
from v2v.errors import InputError, note
from v2v.runtime import text_files

# Seeds after which fewer than one pair in fifty ends the build.
MAX_UNPRODUCTIVE_SEEDS = 500
# Equal transient failures in a row after which an expert counts as down, or as wrongly connected.
MAX_CONSECUTIVE_FAILURES = 8
# Seeds without a pair after which the user is told that a recipe gives none.
MAX_FRUITLESS_SEEDS = 50

# Seeds for each recipe, at the beginning of a build, whose pairs the report may show; of later ones an example is decoded.
SEEDS_PER_MEMBER = 2 * EXAMPLES_PER_EDIT

# Called with 1 after every pair.
Progress = Callable[[int], object]


@dataclasses.dataclass(frozen=True)
class _Build:
    """A request under way.

    Attributes:
      request: What to build.
      snapshot: Hash of what its sources hold.
      out: Folder to write, links resolved.
      work_folder: Hidden folder beside it.
      shard_folder: Folder of the shards.
      earlier: A set of the same request with fewer pairs, with which the new one begins; None to begin with nothing.
    """

    request: SynthRequest
    snapshot: str
    out: Path
    work_folder: Path
    shard_folder: Path
    earlier: StoredSet | None = None

    @property
    def has_shards(self) -> bool:
        """Return whether any shard is finished."""
        return any(self.shard_folder.glob("*/*.jsonl")) or any(self.shard_folder.glob("*.shard"))


def extend_dataset(
    folder: str | Path, out: str | Path, pairs: int, workers: int = 1, progress: Progress | None = None
) -> dict:
    """Build a set of more pairs that begins with those of a finished one, as if all had been asked for at once.

    Args:
      folder: The finished set.
      out: Folder to write.
      pairs: Number of pairs, those of the finished set included.
      workers: Number of processes.
      progress: Called with 1 after every pair.

    Returns:
      The report, as `build_dataset`.

    Raises:
      InputError: The set was not made by one request, has as many pairs, or its sources have changed.
    """
    earlier = open_set(folder)
    table = earlier.report.get("request", {})
    if "frames" not in table:
        raise InputError(
            f"{folder}: expected a set that v2v synth made, got one of v2v pairs, which has no seeds to go on with"
        )
    if pairs <= len(earlier):
        raise InputError(f"--pairs {pairs}: expected more than the {len(earlier)} pairs of {folder}")
    return build_dataset(parse_table(table, out, pairs, workers), progress, earlier)


def build_dataset(
    request: SynthRequest, progress: Progress | None = None, earlier: StoredSet | None = None
) -> dict:
    """Build a folder of pairs, readable by `tfds.builder_from_directory(out).as_data_source("train")`.

    Args:
      request: What to build, and how.
      progress: Called with 1 after every pair.
      earlier: A set of the same request with fewer pairs, whose pairs are not made again; None without one.

    Returns:
      The report, also at out/report.json (fields at `report.Report.table`).

    Raises:
      InputError: The request is impossible, `out` exists with other contents, or the earlier set is of another request.
    """
    out = open_place(request.out)
    if not is_address(out) and out.is_symlink():  # nothing can be renamed onto a link
        out = out.resolve()
    request.check()
    content = fingerprint_sources(request.sources)
    snapshot = json.dumps(content, sort_keys=True) if content else ""
    request.check_recipes(snapshot)
    table = request.table(content)
    if earlier is not None and earlier.report["request"] | {"pairs": 0, "schema": 0} != table | {
        "pairs": 0,
        "schema": 0,
    }:
        raise InputError(
            f"{earlier.folder}: expected a set of the same request, got another one; its sources or the recipes' versions have changed since"
        )
    report = folders.find_finished(out, table)
    if report is None:
        _announce(request)
    if request.preview:
        folders.create_preview_folder(Path(request.preview))
    if report is None:
        name = hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()[:12]
        hidden = f".{out.name}.{name}.unfinished"
        # A set in a bucket is put together there; what is small, and one file at a time, waits on this machine.
        work_folder = (Path(tempfile.gettempdir()) / "v2v-synth" if is_address(out) else out.parent) / hidden
        if request.unfinished or is_address(out):
            place = (
                (request.unfinished, f"{out.name}.{name}")
                if request.unfinished
                else (str(out.parent), hidden)
            )
            shard_folder = folders.create_shard_folder(*place)
        else:
            shard_folder = work_folder / "shards"
        with folders.lock_work_folder(work_folder):
            build = _Build(request, snapshot, out, work_folder, shard_folder, earlier)
            report = _write_folder(build, Report(table), progress)
    if request.preview:
        try:
            _write_sheets(out, Path(request.preview))
        except OSError as error:
            cause = (error.strerror or str(error)).lower()
            raise InputError(
                f"--preview {request.preview}: can't be written ({cause}); the pairs in {out} are complete: run the same "
                "command again for their sheets"
            ) from None
    return report


def _announce(request: SynthRequest) -> None:
    """Tell what a build costs elsewhere, and which recipes leave the request's footage unused."""
    for name, count, cost in registry.count_requests(request.recipes, request.sources, request.pairs):
        price = f", which cost about {cost:,.2f} by its price" if cost else ""
        note(f"expert {name}: at least {count:,} requests to its endpoint{price}")
    if rendered := registry.find_rendered(request.recipes, request.sources):
        note(
            f"{', '.join(rendered)}: scenes are rendered for these, as they can't take footage; name other --recipes to leave them out"
        )


def open_dataset(folder: str | Path) -> Sequence[dict[str, Any]]:
    """Return the folder's pairs as a sequence of records, each of which `v2v.data.pair.decode_pair` takes.

    Raises:
      InputError: The folder was not made by `v2v synth`.
    """
    import tensorflow_datasets as tfds

    if not (Path(folder) / "dataset_info.json").is_file():
        raise InputError(
            f"{folder}: expected a folder made by `v2v synth` (with dataset_info.json); "
            "make one or correct the path"
        )
    # The hint is that of TFDS's decorator, which hides the arguments.
    return tfds.builder_from_directory(folder).as_data_source("train")  # pyright: ignore[reportCallIssue]


def make_records(
    seeds: Sequence[int], options: PairOptions, example_seeds: range = range(0)
) -> list[EncodedPair | Rejected]:
    """Return the encoded results of `generate.make_block`: the work of one worker process for a block of seeds.

    An exception that no recipe foresaw costs its seed alone: the block is made again seed by seed, and that seed's rejection is marked as
    an error.

    Args:
      seeds: The seeds.
      options: What their pairs depend on.
      example_seeds: Seeds whose pairs the page of the report may show: their examples are drawn, too.
    """
    try:
        return [
            outcome
            if isinstance(outcome, Rejected)
            else _encode_pair(outcome, options.storage, seed in example_seeds)
            for seed, outcome in zip(seeds, generate.make_block(seeds, options), strict=True)
        ]
    except (InputError, MemoryError):  # of the request or the machine, not of one clip
        raise
    except Exception as error:
        if len(seeds) > 1:
            return [make_records([seed], options, example_seeds)[0] for seed in seeds]
        text = " ".join(str(error).split())[:200]
        return [Rejected(f"{type(error).__name__}: {text}", error=True)]


def _encode_pair(pair: pr.Pair, storage: pr.Storage, has_example: bool) -> EncodedPair:
    record = pr.encode_pair(pair, storage)
    example = ""
    if has_example:  # of what the set holds
        example = format_example(pair if storage == "lossless" else pr.decode_pair(record))
    return EncodedPair(record, collect_facts(pair), example)


@dataclasses.dataclass(frozen=True)
class _Example:
    """A pair that the page of the report shows.

    Attributes:
      edit: Its edit.
      record_file: The array_record file that holds it.
      index: Its position there.
      text: As in `EncodedPair.example`.
    """

    edit: str
    record_file: Path
    index: int
    text: str = ""


def _draw_example(example: _Example) -> str:
    return format_example(assembly.read_pair(example.record_file, example.index))


def _write_folder(build: _Build, report: Report, progress: Progress | None) -> dict:
    """Write the set in the work folder, rename it to `out`, and return the report's table."""
    from data_synth.v2v_pairs.v2v_pairs_dataset_builder import (  # TFDS: slow, so only here
        Description,
        SetWriter,
    )

    work_folder, set_folder = build.work_folder, build.work_folder / "set"
    shutil.rmtree(set_folder, ignore_errors=True)  # of a run that was killed while it put shards together
    try:
        set_folder.mkdir(parents=True)
        selection = assembly.Selection(set_folder)
        with contextlib.closing(selection):
            examples = _select_pairs(build, selection, report, progress)
        for example in examples:
            report.add_example(example.edit, example.text or _draw_example(example))
        address = build.out if is_address(build.out) else None
        if address is not None:
            folders.clear(address)
            address.mkdir(parents=True, exist_ok=True)
        writer = SetWriter(set_folder, address)
        assembly.add_parts(writer, selection.parts)
        with contextlib.redirect_stdout(sys.stderr):  # standard output is for --json
            writer.close(Description(report.describe(), report.describe_license()))
        (set_folder / "report.json").write_text(json.dumps(report.table(), indent=1, sort_keys=True) + "\n")
        (set_folder / "report.html").write_text(text_files.escape_invalid(report.page()), encoding="utf-8")
        if address is not None:
            folders.publish(set_folder, address)
        else:
            os.replace(
                set_folder, build.out
            )  # an empty `out` is replaced; one that filled meanwhile is an error
    except InputError as error:
        # The request itself is impossible, or nothing was done yet.
        if not isinstance(error, shards.BuildStoppedError) or not build.has_shards:
            shutil.rmtree(work_folder, ignore_errors=True)
        raise
    except (OSError, RuntimeError) as error:  # array_record raises RuntimeError
        if (lack := shards.find_lack_of_space(error)) is None:
            raise
        shutil.rmtree(set_folder, ignore_errors=True)
        cause, remedy = lack
        raise InputError(
            f"{work_folder}: {cause}; finished shards are kept in {build.shard_folder}, {remedy} and run the same command again"
        ) from None
    except BaseException:
        if not build.has_shards:
            shutil.rmtree(work_folder, ignore_errors=True)
        raise
    shutil.rmtree(work_folder, ignore_errors=True)
    if build.shard_folder.parent != work_folder:
        folders.remove_shard_folder(build.shard_folder)
    return report.table()


def _iterate_shards(build: _Build, first: int, last: int | None) -> Iterator[shards.Shard]:
    """Yield the shards from seed `first` on, in order, that are there or are made now; no seed from `last` on."""
    request = build.request
    size = request.largest_size
    block = max(
        shards.block_length(*size),
        registry.seeds_per_call(request.recipes, request.sources, build.snapshot),
    )
    make = functools.partial(make_records, options=request.pair_options(build.snapshot))
    if 3 * math.prod(size) >= pr.LARGE:  # to decode a clip takes as long as to make it, but for small ones
        member_count = len(set(registry.iterate_members(request.recipes)))
        make = functools.partial(make, example_seeds=range(first, first + SEEDS_PER_MEMBER * member_count))
    plan = shards.ShardPlan(
        build.shard_folder,
        make,
        first,
        shards.shard_length(*size, block, request.pairs),
        block,
        last,
    )
    if request.beam is not None:
        return beam.iterate_shards(plan, request.workers, request.pairs, request.beam)
    # Tiles of textures cost as much as some hundred pairs: drawn once for all workers, and anew in every run.
    shutil.rmtree(tiles := build.work_folder / "tiles", ignore_errors=True)
    prepare = functools.partial(textures.share_tiles, tiles)
    return shards.iterate_shards(plan, request.workers, prepare)


def _select_pairs(
    build: _Build, selection: assembly.Selection, report: Report, progress: Progress | None
) -> list[_Example]:
    """Select the first pairs in seed order; count them, and the rejections before the last of them, in the report.

    Returns:
      The pairs that the report's page shows.
    """
    request = build.request
    last = generate.count_rows(request.recipes, request.sources, build.snapshot)
    # Rendered pairs differ by their seeds; footage from outside comes with repetitions.
    hashes: set[int] | None = None if request.sources == NO_SOURCES else set()
    endless_recipes = set(registry.iterate_members(request.recipes)) - dict(request.sources.sets).keys()
    fruitless_seeds: Counter[str] = Counter()
    examples: list[_Example] = []
    pair_count = seed_count = failure_count = 0
    previous_rejection: Rejected | None = None
    was_transient = False
    first = request.seed
    if build.earlier is not None:
        report.add_rejections(build.earlier.report)
        facts_of_set = build.earlier.iterate_facts()
        for file in build.earlier.files:
            selection.begin(file.path, file.length)
            for index, facts in zip(range(file.length), facts_of_set, strict=False):
                selection.keep(index, facts)
                if report.keep(facts):
                    examples.append(_Example(facts.edit, file.path, index))
                if hashes is not None:
                    _is_duplicate(facts, hashes)
                pair_count += 1
                first = facts.seed + 1
    for shard in _iterate_shards(build, first, last):
        selection.begin(shard.record_file, shard.pair_count)
        index = -1
        for result in shard.results:
            seed_count += 1
            outcome = result.outcome
            if isinstance(outcome, PairFacts):
                index += 1
                if not (hashes is not None and _is_duplicate(outcome, hashes)):
                    selection.keep(index, dataclasses.replace(outcome, seed=result.seed))
                    if report.keep(outcome):
                        examples.append(_Example(outcome.edit, shard.record_file, index, result.example))
                    pair_count += 1
                    failure_count, was_transient = 0, False
                    if progress:
                        progress(1)
                    if pair_count == request.pairs:
                        return examples
                    continue
                outcome = Rejected("near-duplicate").within(outcome.edit)
            report.drop(result.seed, outcome)
            # Sizes that are wrong each time in another way are one fault, whatever the words.
            is_same = outcome == previous_rejection or (outcome.transient and was_transient)
            failure_count = failure_count + 1 if is_same else 1
            previous_rejection, was_transient = outcome, outcome.transient
            if outcome.outage or (failure_count >= MAX_CONSECUTIVE_FAILURES and outcome.transient):
                times = f", {failure_count} times in a row" if failure_count > 1 else ""
                raise shards.BuildStoppedError(
                    f"{outcome}{times}; see that {_format_services(request.sources)} works and "
                    f"run the same command again: the {pair_count} pairs so far are kept in {build.shard_folder}"
                )
            fruitless_seeds[outcome.recipe] += 1
            if (
                fruitless_seeds[outcome.recipe] == MAX_FRUITLESS_SEEDS
                and outcome.recipe in endless_recipes - report.edits.keys()
            ):
                note(
                    f"{outcome.recipe}: {MAX_FRUITLESS_SEEDS} seeds and no pair yet; the last was dropped because of '{outcome}'"
                )
            if last is None and seed_count > MAX_UNPRODUCTIVE_SEEDS and pair_count * 50 < seed_count:
                if not pair_count:
                    raise InputError(
                        f"pairs: expected most seeds to give one, got {pair_count} of {seed_count} from seed "
                        f"{request.seed} on; the last was dropped because of '{outcome}'; "
                        "mend a file that this names, or choose other edits or another size"
                    )
                note(
                    f"pairs: {pair_count} of {request.pairs} from {seed_count} seeds, hardly any gives one now; the last was dropped "
                    f"because of '{outcome}'; the set ends here"
                )
                return examples
    if not pair_count:
        reasons = ", ".join(f"{reason} ({n})" for reason, n in report.reasons.most_common(5))
        raise InputError(
            f"pairs: expected some from {', '.join(dict.fromkeys(request.recipes))}, got none from seed {request.seed} on; "
            f"dropped: {reasons or 'nothing, no row is left'}"
        )
    if pair_count < request.pairs:
        note(f"pairs: {pair_count} of {request.pairs}, no further row is left")
    return examples


def _format_services(sources: Sources) -> str:
    """Return what may be down, by the files that describe it."""
    experts = [f"the expert of {', '.join(sources.experts)}"] if sources.experts else []
    writer = [f"the writer of {sources.writer}"] if sources.writer else []
    return " or ".join(experts + writer) or "what it needs"


def _is_duplicate(facts: PairFacts, hashes: set[int]) -> bool:
    """Return whether a pair that looks alike went by; add its hash."""
    if facts.recipe in ("local", "photometric"):
        return False
    value = int(facts.hash, 16)
    if value in hashes:
        return True
    hashes.add(value)
    return False


def _write_sheets(out: Path, folder: Path, max_pairs: int = 8) -> None:
    """Write a contact sheet of the first pairs of every edit."""
    pairs_by_edit: dict[str, list[pr.Pair]] = {}
    for record in open_dataset(out):
        edit = record["edit"].decode() if isinstance(record["edit"], bytes) else record["edit"]
        if len(pairs_by_edit.setdefault(edit, [])) < max_pairs:
            pairs_by_edit[edit].append(pr.decode_pair(record))
    for edit, examples in pairs_by_edit.items():
        write_preview(examples, folder / f"{edit.replace('/', '-')}.png")
