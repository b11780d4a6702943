"""Shards: the unit of work that is done once, whatever happens to the process that does it.

seeds → **shard files** → assembly.py. A shard holds what seeds [start, end) gave, in two files named by these seeds: the records in
START-END.array_record, which may become a file of the set as it is, and the facts of pairs and rejections in START-END.jsonl. The second
is written last and holds the size and the SHA-256 of the first and of itself, so that a shard whose .jsonl is there is whole, and faults of
the disk are found. Both are written beside their names and renamed; in a bucket (gs://) an object is seen when it is whole. A run that was
killed is run again with the same request: finished shards are found, only the missing ones are made, and since a pair is a function of its
seed the result has the same bytes.

Lines of the .jsonl: {"records", "sha256"} of the array_record file; for each seed {"seed", "pair": `PairFacts`}, with "example" where the report may
show it, or for a rejection {"seed", "reason", "transient", "error", "outage", "recipe"}; {"sha256"} of all lines before. Older builds have one file START-END.shard of fewer seeds, which
is still read (old_shards.py).
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import errno
import hashlib
import itertools
import json
import multiprocessing
import os
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import pool as pool_lib
from multiprocessing import queues
from pathlib import Path
from typing import cast

from data_synth import worker
from data_synth.dataset import old_shards
from data_synth.dataset.facts import PairFacts, collect_record_facts
from data_synth.record_files import iterate_file, open_writer, serialize_record
from data_synth.rejection import Rejected
from v2v.errors import InputError

# Pixels of the clips that are made at once: bounds a worker's memory.
PIXELS_PER_BLOCK = 1 << 21
MAX_BLOCK = 32
# Bounds of one shard in a large build, and so what a kill can cost: pixels, and seeds.
PIXELS_PER_SHARD = 1 << 31
MAX_SEEDS = 512
# A build has at least so many shards, as far as each holds a block.
MIN_SHARDS = 64
# Shards in one folder.
FOLDER_SHARDS = 1000


@dataclasses.dataclass(frozen=True)
class EncodedPair:
    """A pair as it is stored.

    Attributes:
      record: As `v2v.data.pair.encode_pair` returns it.
      facts: What is known of it without decoding.
      example: The pair on the page of the report (`report.format_example`); "" where it is drawn when the page needs it.
    """

    record: dict
    facts: PairFacts
    example: str = ""


# Error numbers of a place where nothing more can be written, with what to say of them and the remedy.
_LACKS_OF_SPACE = {
    errno.ENOSPC: ("the disk is full", "free some space"),
    errno.EDQUOT: ("the disk is full", "free some space"),
    errno.EFBIG: ("a file is larger than the file system or ulimit -f allows", "raise the limit"),
}

# Seeds to one pair or rejection each, in order.
RecordMaker = Callable[[Sequence[int]], list[EncodedPair | Rejected]]


class BuildStoppedError(InputError):
    """The build could not go on, through no fault of the request: its finished shards are kept."""


class DiskFullError(BuildStoppedError):
    """There is no space left for a shard."""


@dataclasses.dataclass(frozen=True)
class SeedResult:
    """What one seed gave.

    Attributes:
      seed: The seed.
      outcome: Facts of a pair, or why there is none.
      example: As in `EncodedPair`.
    """

    seed: int
    outcome: PairFacts | Rejected
    example: str = ""


@dataclasses.dataclass(frozen=True)
class Shard:
    """A finished shard.

    Attributes:
      path: Its .jsonl file.
      results: What its seeds gave, in order.
    """

    path: Path
    results: list[SeedResult]

    @property
    def pair_count(self) -> int:
        """Return the number of pairs."""
        return sum(isinstance(result.outcome, PairFacts) for result in self.results)

    @property
    def record_file(self) -> Path:
        """Return the array_record file, which holds the records of the pairs in order; there is none without pairs."""
        return self.path.with_suffix(".array_record")


@dataclasses.dataclass(frozen=True)
class ShardPlan:
    """The division of a build into shards; picklable when `make` is.

    Attributes:
      folder: Folder of the shards, a Path or an epath one.
      make: Makes the pairs.
      first: First seed.
      length: Number of seeds of a shard.
      block: Number of seeds that are made at once.
      last: No shard begins at or after this seed; None for no end.
    """

    folder: Path
    make: RecordMaker
    first: int
    length: int
    block: int
    last: int | None = None

    @property
    def count(self) -> int | None:
        """Return the number of shards, None without end."""
        return None if self.last is None else -(-(self.last - self.first) // self.length)

    def seeds(self, number: int) -> range:
        """Return the seeds of a shard."""
        start = self.first + number * self.length
        stop = start + self.length
        return range(start, stop if self.last is None else min(stop, self.last))

    def path(self, number: int) -> Path:
        """Return the .jsonl file of a shard."""
        seeds = self.seeds(number)
        name = f"{seeds.start:012d}-{seeds.stop:012d}.jsonl"
        return self.folder / f"{number // FOLDER_SHARDS:06d}" / name

    def ensure(self, number: int) -> Path:
        """Make a shard unless it is there and final, and return its path; of one that is there only what failed is made again."""
        path, seeds = self.path(number), self.seeds(number)
        existing = _read_or_none(path)
        if existing is not None and not any(map(_is_transient, existing.results)):
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        write_shard(path, self._iterate_outcomes(seeds, existing))
        return path

    def _iterate_outcomes(
        self, seeds: range, existing: Shard | None
    ) -> Iterator[tuple[int, EncodedPair | Rejected | SerializedPair]]:
        """Yield what each seed gives: from the shard that is there, from those of an older build, or made now."""
        outcomes: dict[int, EncodedPair | SerializedPair | Rejected] = {}
        if existing is not None:
            records = _iterate_records(existing)
            for result in existing.results:
                if isinstance(result.outcome, PairFacts):
                    outcomes[result.seed] = SerializedPair(next(records), result.outcome)
                elif not result.outcome.transient:
                    outcomes[result.seed] = result.outcome
        else:
            for seed, outcome in old_shards.find_results(self.folder, seeds, self.first, self.block):
                if not isinstance(outcome, Rejected):
                    outcomes[seed] = EncodedPair(outcome, collect_record_facts(outcome))
                elif not outcome.transient:
                    outcomes[seed] = outcome
        for start in range(seeds.start, seeds.stop, self.block):
            block = range(start, min(start + self.block, seeds.stop))
            missing = [seed for seed in block if seed not in outcomes]
            new_outcomes = dict(zip(missing, self.make(missing), strict=True)) if missing else {}
            for seed in block:
                yield seed, new_outcomes[seed] if seed in new_outcomes else outcomes.pop(seed)


@dataclasses.dataclass(frozen=True)
class SerializedPair:
    """A pair as an array_record file holds it.

    Attributes:
      data: The serialized record.
      facts: What is known of it without decoding.
    """

    data: bytes
    facts: PairFacts


def block_length(T: int, H: int, W: int) -> int:
    """Return the number of seeds that are made at once, for clips of this size."""
    return max(1, min(MAX_BLOCK, PIXELS_PER_BLOCK // (T * H * W)))


def shard_length(T: int, H: int, W: int, block: int, pairs: int) -> int:
    """Return the number of seeds of a shard: whole blocks, more of them the more pairs are built.

    Args:
      T: Number of frames.
      H: Height in pixels.
      W: Width in pixels.
      block: Number of seeds that are made at once.
      pairs: Number of pairs of the build.
    """
    longest = max(1, min(MAX_SEEDS, PIXELS_PER_SHARD // (T * H * W)))
    return max(1, min(longest, pairs // MIN_SHARDS) // block) * block


def iterate_shards(
    plan: ShardPlan, workers: int, prepare: Callable[[], None] | None = None
) -> Iterator[Shard]:
    """Yield shards 0, 1, 2, ... in order, made now or found.

    Args:
      plan: The shards.
      workers: Number of processes.
      prepare: Called first in every worker process; picklable.
    """
    numbers = itertools.count() if plan.count is None else iter(range(plan.count))
    if workers <= 1:
        for number in numbers:
            yield read_shard(plan.ensure(number))
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy JAX's threads
    numbers_of_workers = context.SimpleQueue()
    for index in range(workers):
        numbers_of_workers.put(index)
    with context.Pool(workers, _start_worker, (prepare, numbers_of_workers)) as pool:
        ahead: list[pool_lib.AsyncResult[Path]] = []
        while True:
            while len(ahead) < workers + 2 and (number := next(numbers, None)) is not None:
                ahead.append(pool.apply_async(plan.ensure, (number,)))
            if not ahead:
                pool.close()  # the workers end by themselves; only those of a build that is given up are terminated
                pool.join()
                return
            yield read_shard(ahead.pop(0).get())


def _start_worker(prepare: Callable[[], None] | None, indices: queues.SimpleQueue[int]) -> None:
    """Set up a new worker. A pool ends its workers by SIGTERM: then what they started must be ended, too."""
    signal.signal(signal.SIGTERM, _end_worker)
    # A worker that takes the place of one that died finds no number left, and takes one by chance.
    worker.set_worker_index(os.getpid() if indices.empty() else indices.get())
    worker.end_with_parent()
    worker.reuse_memory()
    if prepare:
        prepare()


def _end_worker(*_) -> None:
    """End at once, after what was registered to be cleaned up: an exception could be lost in code that ignores it."""
    try:
        atexit._run_exitfuncs()  # noqa: SLF001
    finally:
        os._exit(1)


def write_shard(path: Path, outcomes: Iterator[tuple[int, EncodedPair | SerializedPair | Rejected]]) -> None:
    """Write a shard, whose pairs come one by one.

    Args:
      path: Its .jsonl file.
      outcomes: Seeds with what they give, in order.

    Raises:
      DiskFullError: The disk is full; the shards that were finished stay.
    """
    if "://" in str(path):
        from etils import epath

        with tempfile.TemporaryDirectory(prefix="v2v-shard-") as folder:
            local = Path(folder) / path.name
            write_shard(local, outcomes)
            for suffix in (".array_record", ".jsonl"):
                if local.with_suffix(suffix).exists():
                    epath.Path(local.with_suffix(suffix)).copy(path.with_suffix(suffix), overwrite=True)
        return
    record_file = path.with_suffix(".array_record")
    beside = [file.with_name(f"{file.name}.{os.getpid()}") for file in (record_file, path)]
    try:
        lines, count = _write_records(beside[0], outcomes)
        header = {"records": count, "sha256": _hash_file(beside[0]) if count else ""}
        text = json.dumps(header) + "\n" + "".join(lines)
        text += json.dumps({"sha256": hashlib.sha256(text.encode()).hexdigest()}) + "\n"
        with beside[1].open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        path.unlink(missing_ok=True)
        if count:
            beside[0].replace(record_file)
        else:
            record_file.unlink(missing_ok=True)
        beside[1].replace(path)
    except (OSError, RuntimeError) as error:  # array_record raises RuntimeError
        if (lack := find_lack_of_space(error)) is None:
            raise
        cause, remedy = lack
        raise DiskFullError(
            f"{path.parent}: {cause}; finished shards are kept there, {remedy} and run the same command again"
        ) from None
    finally:
        for file in beside:
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)


def _write_records(
    path: Path, outcomes: Iterator[tuple[int, EncodedPair | SerializedPair | Rejected]]
) -> tuple[list[str], int]:
    """Write records to an array_record file; return the lines of JSON, and the number of records."""
    lines: list[str] = []
    writer, count = None, 0
    try:
        for seed, outcome in outcomes:
            if isinstance(outcome, Rejected):
                lines.append(json.dumps({"seed": seed, **dataclasses.asdict(outcome)}) + "\n")
                continue
            data = outcome.data if isinstance(outcome, SerializedPair) else serialize_record(outcome.record)
            writer = writer or open_writer(path)
            writer.write(data)
            count += 1
            facts = dataclasses.replace(outcome.facts, size=len(data))
            example = outcome.example if isinstance(outcome, EncodedPair) else ""
            line = {"seed": seed, "pair": facts.to_json()} | ({"example": example} if example else {})
            lines.append(json.dumps(line) + "\n")
    finally:
        if writer is not None:
            writer.close()
    return lines, count


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find_lack_of_space(error: Exception) -> tuple[str, str] | None:
    """Return what keeps a file from growing, and the remedy, where that is the cause of an error; None elsewhere."""
    number = error.errno if isinstance(error, OSError) else None
    if number is None:  # array_record has only the text
        number = next((code for code in _LACKS_OF_SPACE if os.strerror(code) in str(error)), None)
    return None if number is None else _LACKS_OF_SPACE.get(number)


def read_shard(path: Path) -> Shard:
    """Read the facts in a shard's .jsonl file.

    Raises:
      ValueError: The file is damaged.
    """
    _, results = _read_lines(path)
    return Shard(path, results)


def _read_lines(path: Path) -> tuple[dict, list[SeedResult]]:
    """Return the first line and the results."""
    text = path.read_bytes()
    body, separator, last = text.removesuffix(b"\n").rpartition(b"\n")
    body += separator
    try:
        is_whole = json.loads(last)["sha256"] == hashlib.sha256(body).hexdigest()
    except (ValueError, KeyError, TypeError):
        is_whole = False
    if not is_whole:
        raise ValueError(f"{path}: damaged")
    header, *lines = map(json.loads, body.splitlines())
    return header, [_parse_line(line) for line in lines]


def _parse_line(line: dict) -> SeedResult:
    seed = line.pop("seed")
    if "pair" in line:
        return SeedResult(seed, PairFacts.from_json(line["pair"]), line.get("example", ""))
    return SeedResult(seed, Rejected(**line))


def _iterate_records(shard: Shard) -> Iterator[bytes]:
    """Yield the serialized records of a shard; one in a bucket is fetched first."""
    if not any(isinstance(result.outcome, PairFacts) for result in shard.results):
        return
    with local_file(shard.record_file) as path:
        yield from iterate_file(path)


@contextlib.contextmanager
def local_file(path: Path) -> Iterator[Path]:
    """Yield a file of this machine with the content of a file that may be in a bucket."""
    if "://" not in str(path):
        yield path
        return
    from etils import epath

    with tempfile.TemporaryDirectory(prefix="v2v-shard-") as folder:
        yield cast(Path, epath.Path(path).copy(Path(folder) / path.name))


def is_final(path: Path) -> bool:
    """Return whether the shard is sound, and its rejected seeds would be rejected again."""
    shard = _read_or_none(path)
    return shard is not None and not any(map(_is_transient, shard.results))


def _is_transient(result: SeedResult) -> bool:
    return isinstance(result.outcome, Rejected) and result.outcome.transient


def _read_or_none(path: Path) -> Shard | None:
    """Return a shard both of whose files are there and undamaged."""
    try:
        header, results = _read_lines(path)
        shard = Shard(path, results)
        if header["records"]:
            with local_file(shard.record_file) as file:
                if _hash_file(file) != header["sha256"]:
                    return None
        return shard
    except (OSError, ValueError, KeyError):
        return None
