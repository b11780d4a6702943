"""latents on disk → batches. cache.py → **loader** → train/step.py

Two streams over the same records, both grain datasets, seeded record by record, sharded by process, resumable:
  base_batches  one clip and a sentence about it: text-to-video and image-to-video pretraining
  edit_batches  source, target, mask, instruction; one batch in `1/ref_every` consists of pairs with a reference image
Which mask an edit shows (DESIGN: 1 = edit here, now; no mask = all ones): half the time the exact mask; otherwise only *when*,
which is all ones if the edit lasts the whole clip.
"""

import json
from dataclasses import dataclass

import grain
import numpy as np

from v2v.codec.text import Tokenizer
from v2v.data.cache import unpack
from v2v.errors import InputError

Batch = dict[str, np.ndarray]


@dataclass(frozen=True)
class ToClip(grain.transforms.RandomMap):
    """record → {"video", "ids", "lengths", "first_clean"}: source or target with a sentence that is true of it."""

    tokenizer: Tokenizer
    image_to_video: float = 0.5  # share with a clean first frame
    drop_text: float = 0.1

    def random_map(self, record: bytes, rng: np.random.Generator) -> Batch:
        pair = unpack(record)
        text = json.loads(str(pair["text"]))
        whole = bool(pair["active"][1] - pair["active"][0] == _frames(pair))
        if whole and rng.random() < 0.6:
            video, sentence = pair["target"], text["target_caption"]
            if (
                rng.random() < 0.3
            ):  # so that the words of instructions mean something before any edit is asked for
                sentence = str(rng.choice(text["instructions"]))
        else:
            video, sentence = pair["source"], text["source_caption"]
        ids, lengths = self.tokenizer.ids(["" if rng.random() < self.drop_text else sentence])
        return {
            "video": video, "ids": ids[0], "lengths": lengths[0],
            "first_clean": np.asarray(rng.random() < self.image_to_video),
        }  # fmt: skip


@dataclass(frozen=True)
class ToEdit(grain.transforms.RandomMap):
    """record → {"source", "target", "mask", "area", "ids", "lengths"} and "reference" when asked for."""

    tokenizer: Tokenizer
    time_masks: np.ndarray  # [T+1, T+1, t, y, x, c]
    with_reference: bool
    exact_mask: float = 0.5
    drop_text: float = 0.1

    def random_map(self, record: bytes, rng: np.random.Generator) -> Batch:
        pair = unpack(record)
        text = json.loads(str(pair["text"]))
        start, end = pair["active"]
        mask = self.time_masks[start, end]
        if pair["mask"].size and rng.random() < self.exact_mask:
            mask = pair["mask"]
        sentence = "" if rng.random() < self.drop_text else str(rng.choice(text["instructions"]))
        ids, lengths = self.tokenizer.ids([sentence])
        out = {
            "source": pair["source"], "target": pair["target"], "mask": mask, "area": pair["area"],
            "ids": ids[0], "lengths": lengths[0],
        }  # fmt: skip
        return out | ({"reference": pair["reference"]} if self.with_reference else {})


def base_batches(shards: list[str], batch: int, transform: ToClip, seed: int = 0) -> grain.IterDataset:
    """Endless batches of clips."""
    source = grain.sources.ArrayRecordDataSource(shards)
    return _batches(grain.MapDataset.source(source), batch, transform, seed)


def edit_batches(
    shards: list[str],
    batch: int,
    tokenizer: Tokenizer,
    time_masks: np.ndarray,
    seed: int = 0,
    ref_every: int = 5,
) -> grain.IterDataset:
    """Endless batches of edits; every `ref_every`-th on average has references. Palette edits appear only there: without the
    image their sentence says nothing."""
    source = grain.sources.ArrayRecordDataSource(shards)
    with_ref, without = [], []
    for i in range(len(source)):
        pair = unpack(source[i])
        if pair["reference"].size:
            with_ref.append(i)
        if json.loads(str(pair["text"]))["edit"] != "palette":
            without.append(i)
    for name, chosen in (("a reference", with_ref), ("no need of a reference", without)):
        if len(chosen) < batch:
            raise InputError(
                f"edit_batches: expected at least {batch} pairs with {name}, got {len(chosen)}; make more pairs"
            )
    parts = []
    for chosen, ref in ((without, False), (with_ref, True)):
        dataset = grain.MapDataset.source(np.asarray(chosen)).map(_Pick(source))
        parts.append(_batches(dataset, batch, ToEdit(tokenizer, time_masks, ref), seed + ref))
    return grain.IterDataset.mix(parts, [ref_every - 1, 1])


def _batches(dataset: grain.MapDataset, batch: int, transform, seed: int) -> grain.IterDataset:
    import jax

    dataset = dataset.seed(seed).shuffle()[jax.process_index() :: jax.process_count()].repeat()
    dataset = dataset.random_map(transform)
    return dataset.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=4 * batch)).batch(
        batch
    )


@dataclass(frozen=True)
class _Pick(grain.transforms.Map):
    source: grain.sources.ArrayRecordDataSource

    def map(self, index: np.ndarray) -> bytes:
        return self.source[int(index)]


def _frames(pair: dict) -> int:
    return 4 * (pair["source"].shape[0] - 1) + 1
