"""Batches, each a function of the seed and its number alone.

transforms.py -> **loader** -> train/train_step.py

`text_batches`, `base_batches` and `edit_batches` are streams over the same records; the last draws from buckets of one clip size each.
Every level has random access:
    batches of all buckets, with or without a reference picture, interleaved by their frequencies
      clips of a bucket's datasets, interleaved by their weights
        records of a dataset, shuffled again every epoch, each seeded by its position
Process p of P reads rows p*b/P ... of every global batch. A position is therefore one number that is the same in every process, and
any number of processes reads the same batches.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import grain
import jax
import numpy as np

from v2v.config import DataConfig
from v2v.data.batch import Batch
from v2v.data.buckets import (
    Bucket,
    CachedClips,
    build_batch_kinds,
    check_batch_kinds,
    format_report,
    held_out_indices,
    list_recipes,
)
from v2v.data.transforms import Record, ToClip, ToEdit, ToSentence
from v2v.errors import InputError
from v2v.models.text_encoder import Tokenizer


@dataclass(frozen=True)
class Stream:
    """Endless batches.

    Attributes:
      batches: this process's rows of every global batch, by index.
      kinds: one dataset for every shape of batch, so that all shapes can be compiled before the first step.
      recipes: the names that a batch's entry "recipe" indexes.
      report: summary for people, or "".
    """

    batches: grain.MapDataset
    kinds: tuple[grain.MapDataset, ...]
    recipes: tuple[str, ...] = ()
    report: str = ""

    def __iter__(self) -> Iterator[Batch]:
        """Iterate from batch 0; `get_state` and `set_state` hold the number of the next batch."""
        return iter(self.batches.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=4)))


def text_batches(shards: list[str], batch: int, transform: ToSentence, seed: int = 0) -> Stream:
    """Return a stream of sentences with `batch` rows over all processes."""
    return _plain(shards, batch, transform, seed)


def base_batches(shards: list[str], batch: int, transform: ToClip, seed: int = 0) -> Stream:
    """Return a stream of clips with a sentence, `batch` rows over all processes."""
    return _plain(shards, batch, transform, seed)


def edit_batches(
    buckets: Sequence[Bucket],
    tokenizer: Tokenizer,
    seed: int = 0,
    data: DataConfig | None = None,
    mask_code: str = "vae",
) -> Stream:
    """Return a stream of edits.

    A share `data.reference` of each bucket's batches has reference pictures. Palette edits occur only in these, since their instruction
    says nothing without the picture. When a bucket has too few pairs of one kind for a batch, the other kind takes its share.

    Args:
      buckets: cached clips by size.
      tokenizer: of the text encoder.
      seed: of shuffling and of the transforms.
      data: probabilities and shares.
      mask_code: how the model encodes masks (ConditionConfig).

    Raises:
      InputError: no bucket fills a batch of a requested kind, or no pair of a dataset or bucket would be used.
    """
    data = data or DataConfig()
    kinds = [kind for bucket in buckets for kind in build_batch_kinds(bucket, data)]
    check_batch_kinds(kinds, data)
    recipes, datasets, full = list_recipes(buckets), [], [kind for kind in kinds if kind.full]
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
        filled = [
            (s, part_seed, indices)
            for (s, part_seed), indices in zip(parts, kind.indices, strict=True)
            if indices
        ]
        records = [_records(s, indices, transform, part_seed) for s, part_seed, indices in filled]
        datasets.append(_rows(_mixed(records, [s.weight for s, _, _ in filled]), kind.bucket.batch))
    batches = _mixed(datasets, [kind.rate for kind in full])
    return Stream(batches, tuple(datasets), recipes, format_report(buckets, kinds, data))


def held_out_batches(
    buckets: Sequence[Bucket],
    tokenizer: Tokenizer,
    data: DataConfig,
    seed: int = 0,
    max_batches: int = 4,
    mask_code: str = "vae",
) -> list[Batch]:
    """Return fixed batches of the held-out pairs, which `edit_batches` never draws.

    Args:
      buckets: cached clips by size.
      tokenizer: of the text encoder.
      data: `held_out` is the share of held-out pairs.
      seed: of shuffling and of the transforms.
      max_batches: largest number of batches per bucket.
      mask_code: how the model encodes masks (ConditionConfig).

    Returns:
      this process's rows of every batch.

    Raises:
      InputError: no pairs are held out.
    """
    out: list[Batch] = []
    for bucket in buckets:
        transform = ToEdit(
            tokenizer,
            bucket.time_masks,
            False,
            list_recipes(buckets),
            mask_code,
            1 - data.drop_mask,
            0.0,
            bucket.stride_t,
        )
        held_out = [held_out_indices(len(s.facts), data.held_out) for s in bucket.sets]
        parts = [
            _records(s, indices, transform, seed)
            for s, indices in zip(bucket.sets, held_out, strict=True)
            if indices
        ]
        if parts:
            batches = _rows(_mixed(parts, [len(part) for part in held_out if part]), bucket.batch)
            n = min(max_batches, -(-sum(map(len, held_out)) // bucket.batch))
            out += [{k: v for k, v in batches[i].items() if k != "record"} for i in range(n)]
    if not out:
        raise InputError(
            f"held-out loss: none of {sum(len(s.facts) for b in buckets for s in b.sets)} pairs are held out; set data.held_out,"
            " such as 0.02"
        )
    return out


def _plain(shards: list[str], batch: int, transform: Any, seed: int) -> Stream:
    cached = CachedClips(shards)
    rows = _rows(_records(cached, range(len(cached.facts)), transform, seed), batch)
    return Stream(rows, (rows,))


def _records(cached: CachedClips, indices: Sequence[int], transform: Any, seed: int) -> grain.MapDataset:
    """Return examples of these records, shuffled and transformed again every epoch."""
    source = grain.sources.ArrayRecordDataSource(cached.shards)
    numbers = [cached.first + fact.get("pair", i) for i, fact in enumerate(cached.facts)]
    dataset = grain.MapDataset.source(np.asarray(indices)).seed(seed).shuffle().map(_Pick(source, numbers))
    # Endless in practice; grain's endless repeat overflows when it is sliced.
    return dataset.repeat(2**48 // len(indices)).random_map(transform)


def _rows(dataset: grain.MapDataset, batch: int) -> grain.MapDataset:
    """Return this process's rows of the global batches."""
    count = jax.process_count()
    if batch % count:
        raise InputError(f"batch: expected a multiple of the {count} processes, got {batch}; change it")
    return dataset.batch(batch // count)[jax.process_index() :: count]


def _mixed(datasets: list[grain.MapDataset], weights: Sequence[float]) -> grain.MapDataset:
    """Interleave datasets by weights, rounded to a ten-thousandth so that 0.8 and 0.2 mix exactly like 4 and 1."""
    if len(datasets) == 1:
        return datasets[0]
    return grain.MapDataset.mix(datasets, [max(1, round(10_000 * w / sum(weights))) for w in weights])


@dataclass(frozen=True)
class _Pick(grain.transforms.Map):
    source: grain.sources.ArrayRecordDataSource
    numbers: list[int]  # what error messages call the records

    def map(self, index: np.ndarray) -> Record:
        return Record(np.int64(self.numbers[int(index)]), self.source[int(index)])
