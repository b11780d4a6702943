"""Sets that are there already: their facts, and new sets made of parts of them without encoding a pair again.

set folders → facts → **selection** → a new set folder
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from data_synth import record_files
from data_synth.dataset.assembly import SelectedShard, Selection, add_parts, read_pair
from data_synth.dataset.facts import PairFacts, collect_record_facts
from data_synth.dataset.report import Report, format_example
from v2v.data import pair as pr
from v2v.errors import InputError
from v2v.runtime import text_files

# (position in its set, facts) → whether a pair is taken.
Predicate = Callable[[int, PairFacts], bool]


@dataclasses.dataclass(frozen=True)
class RecordFile:
    """An array_record file of a set.

    Attributes:
      path: The file.
      length: Number of records in it.
    """

    path: Path
    length: int


@dataclasses.dataclass(frozen=True)
class StoredSet:
    """A folder that `v2v synth` or `v2v pairs` wrote.

    Attributes:
      folder: The folder.
      files: Its array_record files, in order.
      report: The content of report.json, {} where there is none.
    """

    folder: Path
    files: tuple[RecordFile, ...]
    report: dict[str, Any]

    def __len__(self) -> int:
        """Return the number of pairs."""
        return sum(file.length for file in self.files)

    def iterate_facts(self) -> Iterator[PairFacts]:
        """Yield the facts of every pair, from the index; a set made before there was one is decoded."""
        index = self.folder / pr.INDEX_FILE
        if not index.is_file():
            yield from (collect_record_facts(record) for record in self.iterate_records())
            return
        count = 0
        with index.open() as file:
            for line in file:
                count += 1
                yield PairFacts.from_json(json.loads(line))
        if count != len(self):
            raise InputError(
                f"{index}: expected a line for each of {len(self)} pairs, got {count}; remove the file"
            )

    def iterate_records(self) -> Iterator[dict]:
        """Yield every record, as `v2v.data.pair.decode_pair` takes it."""
        from data_synth.v2v_pairs import v2v_pairs_dataset_builder as store  # TFDS: slow, so only here

        for file in self.files:
            yield from map(store.parse_record, record_files.iterate_file(file.path))


def open_set(folder: str | Path) -> StoredSet:
    """Open a set.

    Raises:
      InputError: The folder holds none.
    """
    import tensorflow_datasets as tfds

    folder = Path(folder)
    try:
        builder: Any = tfds.builder_from_directory(str(folder))  # its decorators hide the parameters
        split = builder.info.splits["train"]
        paths, lengths = [Path(path) for path in split.filepaths], split.shard_lengths
    except Exception as error:  # TFDS raises many kinds
        raise InputError(
            f"{folder}: expected a folder of pairs that v2v synth wrote, got {pr.describe_unopened(folder, error)}"
        ) from None
    try:
        report = json.loads((folder / "report.json").read_text())
    except (OSError, ValueError):
        report = {}
    files = tuple(RecordFile(path, length) for path, length in zip(paths, lengths, strict=True))
    return StoredSet(folder, files, report if isinstance(report, dict) else {})


def write_subset(
    out: Path, parts: Sequence[tuple[StoredSet, Predicate]], origin: dict, drop_duplicates: bool = False
) -> dict:
    """Write a set of pairs of other sets, in their order, and return its report.

    Args:
      out: New folder.
      parts: Sets with what is taken of each.
      origin: What the report states instead of a request.
      drop_duplicates: Leave out pairs that look like an earlier one.

    Raises:
      InputError: `out` is there already, or no pair is taken.
    """
    report, hashes = Report(origin), set()

    def select(folder: Path) -> tuple[list[SelectedShard], list[tuple[Path, int]]]:
        selection, examples = Selection(folder), []
        for stored, predicate in parts:
            facts_of_set = stored.iterate_facts()
            position = -1
            for file in stored.files:
                selection.begin(file.path, file.length)
                for index, facts in zip(range(file.length), facts_of_set, strict=False):
                    position += 1
                    if not predicate(position, facts):
                        continue
                    if drop_duplicates and facts.hash in hashes:
                        report.reasons["near-duplicate"] += 1
                        continue
                    hashes.add(facts.hash)
                    selection.keep(index, facts)
                    if report.keep(facts):
                        examples.append((file.path, index))
        selection.close()
        return selection.parts, examples

    with new_folder(out) as folder:
        selected, examples = select(folder)
        if not selected:
            raise InputError(f"{out}: expected some pairs to take, none is left; change what is dropped")
        for record_file, index in examples:
            pair = read_pair(record_file, index)
            report.add_example(pair.edit, format_example(pair))
        _finish_set(folder, report, lambda writer: add_parts(writer, selected))
    return report.table()


def rewrite_set(out: Path, stored: StoredSet, change: Callable[[int, dict], dict], origin: dict) -> dict:
    """Write a set whose records are those of another one with other texts, and return its report.

    Args:
      out: New folder.
      stored: The other set.
      change: (position, record) → record with the same clips.
      origin: What the report states instead of a request.

    Raises:
      InputError: `out` is there already.
    """
    report = Report(origin)
    with new_folder(out) as folder:

        def write(writer: Any) -> None:
            with (folder / pr.INDEX_FILE).open("w") as index:
                pairs = zip(stored.iterate_facts(), stored.iterate_records(), strict=True)
                for position, (facts, record) in enumerate(pairs):
                    changed = change(position, record)
                    data = record_files.serialize_record(changed)
                    writer.write(data)
                    new_facts = dataclasses.replace(
                        facts, instructions=tuple(json.loads(changed["instructions"])), size=len(data)
                    )
                    index.write(json.dumps(new_facts.to_json()) + "\n")
                    if report.keep(new_facts):
                        report.add_example(new_facts.edit, format_example(pr.decode_pair(changed)))

        _finish_set(folder, report, write)
    return report.table()


def assign_part(facts: PairFacts, shares: dict[str, float], seed: int) -> str:
    """Return the part that a pair belongs to; pairs of one clip belong to the same.

    Args:
      facts: The pair.
      shares: Shares of the parts by name, of any sum.
      seed: Another seed is another division.
    """
    key = f"{seed} {facts.clip or facts.hash}"
    place = int.from_bytes(hashlib.blake2s(key.encode(), digest_size=8).digest(), "big") / 2**64
    total = sum(shares.values())
    for name, share in shares.items():
        place -= share / total
        if place < 0:
            return name
    return list(shares)[-1]


@contextlib.contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Give a hidden folder that gets the name `out` when all went well, and is removed otherwise.

    Raises:
      InputError: `out` is there already, or can't be made.
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise InputError(
            f"{out}: expected a new folder, got one with contents; choose another --out or remove it"
        )
    folder = out.parent / f".{out.name}.{os.getpid()}.partial"
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise InputError(
            f"{out}: expected a place where a folder can be made, got '{error.strerror}'; name another --out"
        ) from None
    try:
        yield folder
        os.replace(folder, out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _finish_set(folder: Path, report: Report, add: Callable[[Any], None]) -> None:
    """Write the files of a set, what TFDS needs, and the report."""
    from data_synth.v2v_pairs.v2v_pairs_dataset_builder import (  # TFDS: slow, so only here
        Description,
        SetWriter,
    )

    writer = SetWriter(folder)
    add(writer)
    writer.close(Description(report.describe(), report.describe_license()))
    (folder / "report.json").write_text(json.dumps(report.table(), indent=1, sort_keys=True) + "\n")
    (folder / "report.html").write_text(text_files.escape_invalid(report.page()), encoding="utf-8")
