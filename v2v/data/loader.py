"""examples → batches, each a function of the seed and its number alone. transforms.py → **loader** → train/step.py

Three streams over the same records: `text_batches`, `base_batches` and `edit_batches`; the last draws from buckets, clips of one
size from one or more sets. What batch k holds, level by level, all of it random access:
    batches of every bucket, with a reference picture or without one, interleaved by how often each is to be seen
      clips of a bucket's sets, interleaved by their weights
        records of a set, shuffled anew every epoch, each seeded by its place
Process p of P reads rows p·b/P … of every global batch. So a position is one number, the same in every process, and any number
of processes walks through the same batches.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import grain
import numpy as np

from v2v.config import DataConfig
from v2v.data.buckets import Bucket, Cached, check, held_out_of, kinds_of, recipes_of, report
from v2v.data.transforms import Batch, Record, ToClip, ToEdit, ToSentence
from v2v.errors import InputError
from v2v.models.text_encoder import Tokenizer


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
    kinds = [kind for bucket in buckets for kind in kinds_of(bucket, data)]
    check(kinds, data)
    recipes, datasets, full = recipes_of(buckets), [], [kind for kind in kinds if kind.full]
    for kind in full:
        transform = ToEdit(
            tokenizer,
            kind.bucket.time_masks,
            kind.reference,
            recipes,
            mask_code,
            1 - data.drop_mask,
            data.drop_text,
            kind.bucket.stride_t,
        )
        parts = [(s, seed + kind.reference + 2 * i) for i, s in enumerate(kind.bucket.sets)]
        filled = [(s, own, chosen) for (s, own), chosen in zip(parts, kind.indices, strict=True) if chosen]
        records = [_records(s, chosen, transform, own) for s, own, chosen in filled]
        datasets.append(_rows(_mixed(records, [s.weight for s, _, _ in filled]), kind.bucket.batch))
    batches = _mixed(datasets, [kind.rate for kind in full])
    return Stream(batches, tuple(datasets), recipes, report(buckets, kinds, data))


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
            tokenizer,
            bucket.time_masks,
            False,
            recipes_of(buckets),
            mask_code,
            1 - data.drop_mask,
            0.0,
            bucket.stride_t,
        )
        held = [held_out_of(len(s.facts), data.held_out) for s in bucket.sets]
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


@dataclass(frozen=True)
class _Pick(grain.transforms.Map):
    source: grain.sources.ArrayRecordDataSource
    numbers: list[int]  # what error messages call the records

    def map(self, index: np.ndarray) -> Record:
        return Record(np.int64(self.numbers[int(index)]), self.source[int(index)])
