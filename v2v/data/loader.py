"""examples → batches, each a function of the seed and its number alone. transforms.py → **loader** → train/step.py

Three streams over the same records: `text_batches`, `base_batches` and `edit_batches`; the last draws from buckets, clips of one
size from one or more sets. What batch k holds, level by level, all of it random access:
    batches of every bucket, with a reference picture or without one, interleaved by how often each is to be seen
      clips of a bucket's sets, interleaved by their weights
        records of a set, shuffled anew every epoch, each seeded by its place
Process p of P reads rows p·b/P … of every global batch. So a position is one number, the same in every process, and any number
of processes walks through the same batches.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import grain
import numpy as np

from v2v.codec.text import Tokenizer
from v2v.config import DataConfig
from v2v.data.cache import facts
from v2v.data.transforms import Batch, Record, ToClip, ToEdit, ToSentence, frames_of
from v2v.errors import InputError


@dataclass(frozen=True)
class Cached:
    """Cached clips of one set and size.

    Attributes:
      shards: of data/cache.py. weight: how often its clips are drawn, against other sets and sizes (sets.shares).
      first: the number that error messages give to the set's first pair.
    """

    shards: list[str]
    weight: float = 1.0
    first: int = 0
    facts: list[dict] = field(init=False, repr=False)

    def __post_init__(self):
        object.__setattr__(self, "facts", facts(self.shards))


@dataclass(frozen=True)
class Bucket:
    """Clips of one size.

    Attributes:
      batch: clips a batch, over all processes. time_masks: of data/cache.py. sets: what clips are drawn from.
    """

    batch: int
    time_masks: np.ndarray
    sets: tuple[Cached, ...]

    @property
    def grid(self) -> tuple[int, int, int]:
        """Latent frames, height and width."""
        return self.time_masks.shape[2:5]


@dataclass(frozen=True)
class Stream:
    """Endless batches.

    Attributes:
      batches: this process's rows of every global batch, by number.
      kinds: of each shape of batch a dataset that has it, so that all may be compiled before the first step.
      recipes: the names that entry "recipe" of a batch counts off.
      report: what a run will see, for people; "" where there is nothing to tell.
    """

    batches: grain.MapDataset
    kinds: tuple[grain.MapDataset, ...]
    recipes: tuple[str, ...] = ()
    report: str = ""

    def __iter__(self) -> Iterator[Batch]:
        """With `get_state` and `set_state`, whose state is the number of the next batch."""
        return iter(self.batches.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=4)))


def text_batches(shards: list[str], batch: int, transform: ToSentence, seed: int = 0) -> Stream:
    """Sentences; `batch` rows over all processes."""
    return _plain(shards, batch, transform, seed)


def base_batches(shards: list[str], batch: int, transform: ToClip, seed: int = 0) -> Stream:
    """Clips with a sentence; `batch` rows over all processes."""
    return _plain(shards, batch, transform, seed)


def edit_batches(
    buckets: Sequence[Bucket],
    tokenizer: Tokenizer,
    seed: int = 0,
    data: DataConfig | None = None,
    mask_code: str = "vae",
) -> Stream:
    """Edits; of each bucket's batches a share `data.reference` shows references. Palette edits appear only there: without the image
    their sentence says nothing. Where a bucket has too few pairs of one kind for a batch, the other kind takes its share.
    `mask_code` is the model's (ConditionConfig).

    Raises:
      InputError: no bucket fills a batch of a kind asked for; a set or a bucket none of whose pairs would ever be seen.
    """
    data = data or DataConfig()
    kinds = [kind for bucket in buckets for kind in _kinds(bucket, data)]
    _check(kinds, data)
    recipes, datasets, rates, lines = _recipes(buckets), [], [], []
    for kind in kinds:
        what = f"pairs of {_size(kind.bucket)} with{'' if kind.reference else 'out'} a reference"
        if not kind.full:
            lines.append(f"{kind.count:>8}  {what}: left out, a batch is {kind.bucket.batch}")
            continue
        transform = ToEdit(
            tokenizer,
            kind.bucket.time_masks,
            kind.reference,
            recipes,
            mask_code,
            1 - data.drop_mask,
            data.drop_text,
        )
        sets = [
            (i, s, chosen)
            for i, (s, chosen) in enumerate(zip(kind.bucket.sets, kind.chosen, strict=True))
            if chosen
        ]
        records = [_records(s, chosen, transform, seed + kind.reference + 2 * i) for i, s, chosen in sets]
        datasets.append(_rows(_mixed(records, [s.weight for _, s, _ in sets]), kind.bucket.batch))
        rates.append(kind.rate)
        lines.append(f"{kind.count:>8}  {what}: batches of {kind.bucket.batch}, {{:.1%}} of all")
    shares = iter(rate / sum(rates) for rate in rates)
    lines = [line.format(next(shares)) if "{" in line else line for line in lines]
    report = "\n".join([_head(buckets, data), *lines, *_edits(buckets)])
    return Stream(_mixed(datasets, rates), tuple(datasets), recipes, report)


def held_out_batches(
    buckets: Sequence[Bucket],
    tokenizer: Tokenizer,
    data: DataConfig,
    seed: int = 0,
    most: int = 4,
    mask_code: str = "vae",
) -> list[Batch]:
    """At most `most` batches (this process's rows) of each bucket, of the pairs `edit_batches` leaves out, always the same."""
    out: list[Batch] = []
    for bucket in buckets:
        transform = ToEdit(
            tokenizer, bucket.time_masks, False, _recipes(buckets), mask_code, 1 - data.drop_mask, 0.0
        )
        held = [_held_out(len(s.facts), data.held_out) for s in bucket.sets]
        parts = [
            _records(s, chosen, transform, seed)
            for s, chosen in zip(bucket.sets, held, strict=True)
            if chosen
        ]
        if parts:
            batches = _rows(_mixed(parts, [len(part) for part in held if part]), bucket.batch)
            n = min(most, -(-sum(map(len, held)) // bucket.batch))
            out += [{k: v for k, v in batches[i].items() if k != "record"} for i in range(n)]
    if not out:
        raise InputError(
            f"held-out loss: none of {sum(len(s.facts) for b in buckets for s in b.sets)} pairs are held out; set data.held_out,"
            " such as 0.02"
        )
    return out


@dataclass(frozen=True)
class _Kind:
    """Batches of one bucket with a reference picture, or without: `share` of the bucket's, from `chosen` records of each set."""

    bucket: Bucket
    reference: bool
    share: float
    chosen: tuple[list[int], ...]

    @property
    def count(self) -> int:
        return sum(map(len, self.chosen))

    @property
    def full(self) -> bool:
        return self.count >= self.bucket.batch

    @property
    def rate(self) -> float:
        """How often such a batch comes, against others: clips drawn over clips a batch."""
        return self.share * sum(s.weight for s in self.bucket.sets) / self.bucket.batch


def _kinds(bucket: Bucket, data: DataConfig) -> list[_Kind]:
    made = []
    for ref, share in ((False, 1 - data.reference), (True, data.reference)):
        chosen = tuple(_chosen(s, ref, data.held_out) for s in bucket.sets)
        made += [_Kind(bucket, ref, share, chosen)] if share else []
    whole = sum(kind.share for kind in made if kind.full) or 1.0
    return [dataclasses.replace(kind, share=kind.share / whole) for kind in made]


def _chosen(cached: Cached, reference: bool, held_out: float) -> list[int]:
    kept = set(_held_out(len(cached.facts), held_out))
    good = (lambda fact: fact["reference"]) if reference else (lambda fact: fact["edit"] != "palette")
    return [i for i, fact in enumerate(cached.facts) if i not in kept and good(fact)]


def _check(kinds: list[_Kind], data: DataConfig) -> None:
    for ref, name in ((False, "no need of a reference"), (True, "a reference")):
        asked = [kind for kind in kinds if kind.reference == ref]
        if asked and not any(kind.full for kind in asked):
            most = max(asked, key=lambda kind: kind.count)
            raise InputError(
                f"edit_batches: expected at least {most.bucket.batch} pairs with {name}, got {most.count}; make more pairs or"
                f" change data.reference, now {data.reference}"
            )
    members = {id(s): (kind.bucket, s) for kind in kinds for s in kind.bucket.sets}
    used = {
        id(s) for kind in kinds if kind.full for s, c in zip(kind.bucket.sets, kind.chosen, strict=True) if c
    }
    empty = [
        f"{s.shards[0]} ({len(s.facts)} pairs of {_size(b)})"
        for key, (b, s) in members.items()
        if key not in used
    ]
    if empty:
        raise InputError(
            f"edit_batches: expected pairs to train on from every set and size, none are left of {', '.join(empty)}; make more"
            " pairs, or leave that set or size out"
        )


def _plain(shards: list[str], batch: int, transform: Any, seed: int) -> Stream:
    cached = Cached(shards)
    rows = _rows(_records(cached, range(len(cached.facts)), transform, seed), batch)
    return Stream(rows, (rows,))


def _records(cached: Cached, chosen: Sequence[int], transform: Any, seed: int) -> grain.MapDataset:
    """Examples, shuffled and drawn anew every epoch."""
    source = grain.sources.ArrayRecordDataSource(cached.shards)
    numbers = [cached.first + fact.get("pair", i) for i, fact in enumerate(cached.facts)]
    dataset = grain.MapDataset.source(np.asarray(chosen)).seed(seed).shuffle().map(_Pick(source, numbers))
    # Endless in practice; grain's own endless repeat overflows when it is cut into parts.
    return dataset.repeat(2**48 // len(chosen)).random_map(transform)


def _rows(dataset: grain.MapDataset, batch: int) -> grain.MapDataset:
    """This process's rows of the global batches."""
    import jax

    count = jax.process_count()
    if batch % count:
        raise InputError(f"batch: expected a multiple of the {count} processes, got {batch}; change it")
    return dataset.batch(batch // count)[jax.process_index() :: count]


def _mixed(datasets: list[grain.MapDataset], weights: Sequence[float]) -> grain.MapDataset:
    """Interleaved by weights, to a ten-thousandth, so that 0.8 and 0.2 mix exactly like 4 and 1."""
    if len(datasets) == 1:
        return datasets[0]
    return grain.MapDataset.mix(datasets, [max(1, round(10_000 * w / sum(weights))) for w in weights])


def _held_out(count: int, share: float) -> list[int]:
    """Evenly spread over the records, and the same for any number of processes."""
    return [] if share == 0 else list(range(0, count, max(1, round(1 / share))))


def _recipes(buckets: Sequence[Bucket]) -> tuple[str, ...]:
    return tuple(sorted({fact["recipe"] for b in buckets for s in b.sets for fact in s.facts}))


def _head(buckets: Sequence[Bucket], data: DataConfig) -> str:
    """Pairs in all, frames, held out, with a reference."""
    every = [(b, s) for b in buckets for s in b.sets]
    pairs, shards = sum(len(s.facts) for _, s in every), sum(len(s.shards) for _, s in every)
    held = sum(len(_held_out(len(s.facts), data.held_out)) for _, s in every)
    refs = sum(fact["reference"] for _, s in every for fact in s.facts)
    frames = sum(len(s.facts) * frames_of(b.grid[0]) for b, s in every)
    return (
        f"data: {pairs} pairs in {shards} shards, {frames} frames, {held} held out, {refs} with a reference, shown in"
        f" {data.reference:.0%} of the batches"
    )


def _edits(buckets: Sequence[Bucket]) -> list[str]:
    counts = Counter(fact["edit"] for b in buckets for s in b.sets for fact in s.facts)
    return [f"{n:>8}  {edit}" for edit, n in counts.most_common()]


def _size(bucket: Bucket) -> str:
    t, y, x = bucket.grid
    return f"{frames_of(t)} frames ({t}x{y}x{x} latents)"


@dataclass(frozen=True)
class _Pick(grain.transforms.Map):
    source: grain.sources.ArrayRecordDataSource
    numbers: list[int]  # what error messages call the records

    def map(self, index: np.ndarray) -> Record:
        return Record(np.int64(self.numbers[int(index)]), self.source[int(index)])
