"""Batches, each a function of the seed and its number alone.

transforms.py -> **loader** -> train/loop.py

`text_batches`, `base_batches` and `edit_batches` are streams over the same records; the last draws from buckets of one clip size each.
Every level has random access:
    batches of all buckets, with or without a reference picture, interleaved by their frequencies
      clips of a bucket's datasets, interleaved by their weights
        records of a dataset, shuffled again every epoch, each seeded by its position
Process p of P reads rows p*b/P ... of every global batch. A position is therefore one number that is the same in every process, and
any number of processes reads the same batches.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, cast

import grain
import jax
import numpy as np

from v2v.config import DataConfig
from v2v.data.batch import BatchIterator, ClipExample, EditExample, HostBatch, SentenceExample
from v2v.data.buckets import (
    Bucket,
    CachedClips,
    build_batch_kinds,
    check_batch_kinds,
    format_report,
    list_recipes,
)
from v2v.data.shard_reader import ShardReader
from v2v.data.transforms import Record, ToClip, ToEdit, ToSentence
from v2v.errors import InputError
from v2v.models.text_encoder import Tokenizer

# Between the seeds of the parts of a stream whose mixture changes.
PART_SEED = 1_000_003
# Between the seeds of kinds of batches that show less and less.
HIDDEN_SEED = 10_007
# Most batches of a bucket that a held-out loss is measured on.
HELD_OUT_BATCHES = 4


@dataclass(frozen=True)
class Stream(Generic[HostBatch]):
    """Endless batches.

    Attributes:
      batches: this process's rows of every global batch, by index.
      kinds: one dataset for every shape of batch, so that all shapes can be compiled before the first step.
      recipes: the names that a batch's entry "recipe" indexes.
      report: summary for people, or "".
      threads: threads that read ahead; the batches are the same with any number.
    """

    batches: grain.MapDataset[HostBatch]
    kinds: tuple[grain.MapDataset[HostBatch], ...]
    recipes: tuple[str, ...] = ()
    report: str = ""
    threads: int = 1

    def __iter__(self) -> BatchIterator[HostBatch]:
        """Iterate from batch 0; `get_state` and `set_state` hold the number of the next batch."""
        options = grain.ReadOptions(num_threads=self.threads, prefetch_buffer_size=4 * self.threads)
        return iter(self.batches.to_iter_dataset(options))


def text_batches(
    shards: list[str], batch: int, transform: ToSentence, seed: int = 0
) -> Stream[SentenceExample]:
    """Return a stream of sentences.

    Args:
      shards: cached latents.
      batch: rows of a batch, over all processes.
      transform: makes an example of a record.
      seed: of shuffling and of the transform.
    """
    return _build_stream(shards, batch, transform, seed)


def base_batches(shards: list[str], batch: int, transform: ToClip, seed: int = 0) -> Stream[ClipExample]:
    """Return a stream of clips with a sentence; arguments as in `text_batches`."""
    return _build_stream(shards, batch, transform, seed)


def edit_batches(
    buckets: Sequence[Bucket],
    tokenizer: Tokenizer,
    seed: int = 0,
    data: DataConfig | None = None,
    mask_code: str = "vae",
) -> Stream[EditExample]:
    """Return a stream of edits.

    A share `data.reference` of each bucket's batches has reference pictures, and shares `data.drop_source` and so on have no source. Palette edits occur only in these, since their instruction
    says nothing without the picture. When a bucket has too few pairs of one kind for a batch, the other kind takes its share.

    Args:
      buckets: cached clips by size.
      tokenizer: tokenizer of the text encoder.
      seed: of shuffling and of the transforms.
      data: probabilities and shares.
      mask_code: how the model encodes masks (ConditionConfig).

    Raises:
      InputError: no bucket fills a batch of a requested kind, or no pair of a dataset or bucket would be used.
    """
    data = data or DataConfig()
    if data.changes and any(len(c.later_weights) != len(data.changes) for b in buckets for c in b.sets):
        raise InputError("data.mixture_changes: this experiment has no sets to mix; leave it out")
    parts = [
        _edit_part([b.after_change(k) for b in buckets], tokenizer, seed + k * PART_SEED, data, mask_code)
        for k in range(len(data.changes) + 1)
    ]
    if len(parts) == 1:
        return parts[0]
    # The batches of a part are drawn anew, so that a position stays one number.
    ends = [change.steps for change in data.changes]
    lengths = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    pieces = [part.batches[:length] for part, length in zip(parts, lengths, strict=False)]
    batches = grain.MapDataset.concatenate([*pieces, parts[-1].batches])
    reports = [
        parts[0].report,
        *(f"after {end} steps:\n{part.report}" for end, part in zip(ends, parts[1:], strict=True)),
    ]
    return Stream(batches, parts[0].kinds, parts[0].recipes, "\n".join(reports), data.threads)


def _edit_part(
    buckets: Sequence[Bucket], tokenizer: Tokenizer, seed: int, data: DataConfig, mask_code: str
) -> Stream[EditExample]:
    """Return a stream of edits of one mixture."""
    kinds = [kind for bucket in buckets for kind in build_batch_kinds(bucket, data)]
    check_batch_kinds(kinds, data)
    recipes, datasets, full_kinds = list_recipes(buckets), [], [kind for kind in kinds if kind.full]
    for kind in full_kinds:
        transform = ToEdit(
            tokenizer,
            time_masks=kind.bucket.time_masks,
            with_reference=kind.reference,
            recipes=recipes,
            mask_code=mask_code,
            exact_mask=1 - data.drop_mask,
            drop_text=data.drop_text,
            stride_t=kind.bucket.stride_t,
            hidden=kind.hidden,
        )
        examples, weights = [], []
        for i, (cached, indices) in enumerate(zip(kind.bucket.sets, kind.indices, strict=True)):
            if indices:
                set_seed = seed + kind.reference + 2 * i + HIDDEN_SEED * len(kind.hidden)
                examples.append(_build_examples(cached, indices, transform, set_seed))
                weights.append(cached.weight)
        datasets.append(_batch_rows(_interleave(examples, weights), kind.bucket.batch))
    batches = _interleave(datasets, [kind.rate for kind in full_kinds])
    return Stream(batches, tuple(datasets), recipes, format_report(buckets, kinds, data), data.threads)


def held_out_batches(
    buckets: Sequence[Bucket],
    tokenizer: Tokenizer,
    data: DataConfig,
    seed: int = 0,
    max_batches: int = HELD_OUT_BATCHES,
    mask_code: str = "vae",
) -> list[EditExample]:
    """Return fixed batches of the held-out pairs, which `edit_batches` never draws.

    Args:
      buckets: cached clips by size.
      tokenizer: tokenizer of the text encoder.
      data: `held_out` is the share of held-out pairs.
      seed: of shuffling and of the transforms.
      max_batches: largest number of batches per bucket.
      mask_code: how the model encodes masks (ConditionConfig).

    Returns:
      this process's rows of every batch, with the record numbers.

    Raises:
      InputError: no pairs are held out.
    """
    out: list[EditExample] = []
    for bucket in buckets:
        transform = ToEdit(
            tokenizer,
            time_masks=bucket.time_masks,
            with_reference=False,
            recipes=list_recipes(buckets),
            mask_code=mask_code,
            exact_mask=1 - data.drop_mask,
            drop_text=0.0,
            stride_t=bucket.stride_t,
        )
        held_out = [cached.held_out_indices(data.held_out) for cached in bucket.sets]
        examples = [
            _build_examples(cached, indices, transform, seed)
            for cached, indices in zip(bucket.sets, held_out, strict=True)
            if indices
        ]
        if examples:
            weights = [len(indices) for indices in held_out if indices]
            batches = _batch_rows(_interleave(examples, weights), bucket.batch)
            count = min(max_batches, -(-sum(weights) // bucket.batch))
            out += [cast(EditExample, batches[i]) for i in range(count)]
    if not out:
        raise InputError(
            f"held-out loss: none of {sum(len(s.facts) for b in buckets for s in b.sets)} pairs are held out; set data.held_out,"
            " such as 0.02"
        )
    return out


def _build_stream(
    shards: list[str], batch: int, transform: grain.transforms.RandomMap, seed: int
) -> Stream[Any]:
    """Build a stream of all records of the shards, in batches of one shape."""
    cached = CachedClips(shards)
    rows = _batch_rows(_build_examples(cached, range(len(cached.facts)), transform, seed), batch)
    return Stream(rows, (rows,))


def _build_examples(
    cached: CachedClips, indices: Sequence[int], transform: grain.transforms.RandomMap, seed: int
) -> grain.MapDataset[Any]:
    """Return examples of these records, shuffled and transformed again every epoch."""
    source = ShardReader(cached.shards, cached.counts)
    numbers = [cached.first + fact.get("pair", i) for i, fact in enumerate(cached.facts)]
    records = grain.MapDataset.source(indices).seed(seed).shuffle().map(_ReadRecord(source, numbers))
    # Endless in practice; grain's endless repeat overflows when it is sliced.
    return records.repeat(2**48 // len(indices)).random_map(transform)


def _batch_rows(examples: grain.MapDataset[HostBatch], batch: int) -> grain.MapDataset[HostBatch]:
    """Return this process's rows of the global batches, each entry stacked along a new leading axis."""
    count = jax.process_count()
    if batch % count:
        raise InputError(f"batch: expected a multiple of the {count} processes, got {batch}; change it")
    return examples.batch(batch // count)[jax.process_index() :: count]


def _interleave(
    datasets: list[grain.MapDataset[HostBatch]], weights: Sequence[float]
) -> grain.MapDataset[HostBatch]:
    """Interleave datasets by weights, rounded to a ten-thousandth so that 0.8 and 0.2 mix exactly like 4 and 1."""
    if len(datasets) == 1:
        return datasets[0]
    return grain.MapDataset.mix(datasets, [max(1, round(10_000 * w / sum(weights))) for w in weights])


@dataclass(frozen=True)
class _ReadRecord(grain.transforms.Map):
    """Index to the bytes of a record.

    Attributes:
      source: the records.
      numbers: numbers of the records in error messages.
    """

    source: ShardReader
    numbers: list[int]

    def map(self, element: int) -> Record:
        return Record(np.int64(self.numbers[element]), self.source[element])
