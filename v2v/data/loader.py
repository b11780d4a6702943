"""latents on disk → batches. cache.py → **loader** → train/step.py

Three streams over the same records, all grain datasets, seeded record by record, resumable:
  text_batches  sentences alone: pretraining of the text encoder
  base_batches  one clip and a sentence about it: text-to-video and image-to-video pretraining
  edit_batches  source, target, mask, instruction; a share of the batches consists of pairs with a reference image
Which mask an edit shows (DESIGN: 1 = edit here, now; no mask = all ones): half the time the exact mask; otherwise only *when*,
which is all ones if the edit lasts the whole clip.

Every stream is random access: global batch k is a function of the seed and k alone, and process p of P reads rows p·b/P … of it.
So a position is one number, the same in every process, and any number of processes walks through the same batches.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import grain
import numpy as np

from v2v.codec.text import Tokenizer
from v2v.config import DataConfig
from v2v.data.cache import facts, unpack
from v2v.errors import InputError

Batch = dict[str, np.ndarray]


@dataclass(frozen=True)
class Record:
    """Bytes of one record, and its number in the cache, which error messages name."""

    index: np.int64
    data: bytes


@dataclass(frozen=True)
class ToSentence(grain.transforms.RandomMap):
    """Record → {"record", "ids", "lengths", "edit"}: an instruction and the index of its edit, or a caption and -1."""

    tokenizer: Tokenizer
    edits: tuple[str, ...]
    instructions: float = 0.75  # share of instructions; the rest are captions

    def random_map(self, record: Record, rng: np.random.Generator) -> Batch:
        text = json.loads(str(unpack(record.data, "text")["text"]))
        edit = self.edits.index(text["edit"])
        if rng.random() < self.instructions:
            sentence = str(rng.choice(text["instructions"]))
        else:
            sentence, edit = text[("source_caption", "target_caption")[int(rng.integers(2))]], -1
        ids, lengths = self.tokenizer.ids([sentence])
        return {
            "record": record.index, "ids": ids[0], "lengths": lengths[0], "edit": np.asarray(edit, np.int32),
        }  # fmt: skip


@dataclass(frozen=True)
class ToClip(grain.transforms.RandomMap):
    """Record → {"record", "video", "ids", "lengths", "first_clean"}: one clip with a sentence that is true of it.

    `turning` of them turn: they begin as the source and go on as the target, first frame clean, told by the instruction, as
    prompts of image-to-video models tell what happens. The others are the source or the target with its caption.
    """

    tokenizer: Tokenizer
    turning: float = 0.5
    image_to_video: float = 0.5  # share of the others with a clean first frame
    drop_text: float = 0.1

    def random_map(self, record: Record, rng: np.random.Generator) -> Batch:
        pair = unpack(record.data)
        text = json.loads(str(pair["text"]))
        whole = bool(pair["active"][1] - pair["active"][0] == _frames(pair))
        clean = rng.random() < self.image_to_video
        if rng.random() < self.turning:
            # Where the edit lasts from the start, the cut is put behind the first latent frame, which is an image by itself.
            video, clean = np.concatenate([pair["source"][:1], pair["target"][1:]]), True
            sentence = str(rng.choice(text["instructions"]))
        elif whole and rng.random() < 0.6:
            video, sentence = pair["target"], text["target_caption"]
        else:
            video, sentence = pair["source"], text["source_caption"]
        ids, lengths = self.tokenizer.ids(["" if rng.random() < self.drop_text else sentence])
        return {
            "record": record.index, "video": video, "ids": ids[0], "lengths": lengths[0],
            "first_clean": np.asarray(clean),
        }  # fmt: skip


@dataclass(frozen=True)
class ToEdit(grain.transforms.RandomMap):
    """Record → {"record", "source", "target", "mask", "area"}, "text" or "ids" and "lengths", and "reference" when asked for."""

    tokenizer: Tokenizer
    time_masks: np.ndarray  # of data/cache.py
    with_reference: bool
    exact_mask: float = 0.5
    drop_text: float = 0.1

    def random_map(self, record: Record, rng: np.random.Generator) -> Batch:
        pair = unpack(record.data)
        text = json.loads(str(pair["text"]))
        mask = self._when(pair)
        if pair["mask"].size and rng.random() < self.exact_mask:
            mask = pair["mask"]
        said = -1 if rng.random() < self.drop_text else int(rng.choice(len(text["instructions"])))
        out = {
            "source": pair["source"], "target": pair["target"], "mask": mask, "area": pair["area"],
            "record": record.index, **self._text(pair, text["instructions"], said),
        }  # fmt: skip
        return out | ({"reference": pair["reference"]} if self.with_reference else {})

    def _when(self, pair: Batch) -> np.ndarray:
        """The mask of the frames in which the edit is on."""
        if len(self.time_masks) > 1:
            return self.time_masks[tuple(pair["active"])]
        return pair["when"] if pair["when"].size else self.time_masks[0, 0]

    def _text(self, pair: Batch, instructions: list[str], said: int) -> Batch:
        """Instruction `said`, or nothing for -1: embedded where the cache holds embeddings, else as tokens."""
        if "embeds" not in pair:
            ids, lengths = self.tokenizer.ids(["" if said < 0 else instructions[said]])
            return {"ids": ids[0], "lengths": lengths[0]}
        rows = np.split(pair["embeds"], np.cumsum(pair["embed_lengths"])[:-1])[
            said
        ]  # the last is the empty sentence's
        return {"text": np.pad(rows, ((0, self.tokenizer.text_len - len(rows)), (0, 0)))}


def text_batches(shards: list[str], batch: int, transform: ToSentence, seed: int = 0) -> grain.IterDataset:
    """Endless batches of sentences; `batch` rows over all processes."""
    source = grain.sources.ArrayRecordDataSource(shards)
    return _stream(_batches(source, range(len(source)), batch, transform, seed))


def base_batches(shards: list[str], batch: int, transform: ToClip, seed: int = 0) -> grain.IterDataset:
    """Endless batches of clips; `batch` rows over all processes."""
    source = grain.sources.ArrayRecordDataSource(shards)
    return _stream(_batches(source, range(len(source)), batch, transform, seed))


def edit_batches(
    shards: list[str],
    batch: int,
    tokenizer: Tokenizer,
    time_masks: np.ndarray,
    seed: int = 0,
    data: DataConfig | None = None,
) -> grain.IterDataset:
    """Endless batches of edits; a share `data.reference` of them has references. Palette edits appear only there: without the
    image their sentence says nothing.

    Raises:
      InputError: fewer pairs of a kind than a batch holds.
    """
    data = data or DataConfig()
    source = grain.sources.ArrayRecordDataSource(shards)
    kept, known = set(_held_out(len(source), data.held_out)), facts(shards)
    ours = [i for i in range(len(source)) if i not in kept]
    with_ref = [i for i in ours if known[i]["reference"]]
    without = [i for i in ours if known[i]["edit"] != "palette"]
    parts = []
    for chosen, ref, weight in ((without, False, 1 - data.reference), (with_ref, True, data.reference)):
        if weight == 0:
            continue
        if len(chosen) < batch:
            name = "a reference" if ref else "no need of a reference"
            raise InputError(
                f"edit_batches: expected at least {batch} pairs with {name}, got {len(chosen)}; make more pairs or"
                f" change data.reference, now {data.reference}"
            )
        transform = ToEdit(tokenizer, time_masks, ref, 1 - data.drop_mask, data.drop_text)
        parts.append((_batches(source, chosen, batch, transform, seed + ref), weight))
    datasets, weights = zip(*parts, strict=True)
    return _stream(datasets[0] if len(datasets) == 1 else grain.MapDataset.mix(datasets, _whole(weights)))


def describe(shards: list[str], data: DataConfig) -> str:
    """What a run will see, in a few lines: pairs, those held out, references, pairs of each edit."""
    known = facts(shards)
    edits = Counter(fact["edit"] for fact in known)
    with_ref = sum(fact["reference"] for fact in known)
    rows = [f"{n:>8}  {edit}" for edit, n in edits.most_common()]
    head = (
        f"data: {len(known)} pairs in {len(shards)} shards, {len(_held_out(len(known), data.held_out))} held out, {with_ref} with a"
        f" reference, shown in {data.reference:.0%} of the batches"
    )
    return "\n".join([head, *rows])


def held_out_batches(
    shards: list[str],
    batch: int,
    tokenizer: Tokenizer,
    time_masks: np.ndarray,
    data: DataConfig,
    seed: int = 0,
    most: int = 4,
) -> list[Batch]:
    """At most `most` batches (this process's rows) of the pairs `edit_batches` leaves out, always the same, nothing dropped."""
    source = grain.sources.ArrayRecordDataSource(shards)
    chosen = _held_out(len(source), data.held_out)
    if not chosen:
        raise InputError(
            f"held-out loss: none of {len(source)} pairs are held out; set data.held_out, such as 0.02"
        )
    transform = ToEdit(tokenizer, time_masks, False, 1 - data.drop_mask, 0.0)
    batches = _batches(source, chosen, batch, transform, seed)
    rows = [batches[k] for k in range(min(most, -(-len(chosen) // batch)))]
    return [{name: value for name, value in row.items() if name != "record"} for row in rows]


def _held_out(count: int, share: float) -> list[int]:
    """Evenly spread over the records, and the same for any number of processes."""
    return [] if share == 0 else list(range(0, count, max(1, round(1 / share))))


def _batches(source, chosen: Sequence[int], batch: int, transform, seed: int) -> grain.MapDataset:
    """This process's rows of the global batches."""
    import jax

    count = jax.process_count()
    if batch % count:
        raise InputError(f"batch: expected a multiple of the {count} processes, got {batch}; change it")
    dataset = grain.MapDataset.source(np.asarray(chosen)).seed(seed).shuffle().map(_Pick(source))
    epochs = 2**48 // len(
        chosen
    )  # endless in practice; grain's own endless repeat overflows when it is cut into parts
    dataset = dataset.repeat(epochs).random_map(transform)
    return dataset.batch(batch // count)[jax.process_index() :: count]


def _stream(dataset: grain.MapDataset) -> grain.IterDataset:
    return dataset.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=4))


def _whole(weights: Sequence[float]) -> list[int]:
    """Shares as whole percents, so that 0.8 and 0.2 mix exactly like 4 and 1."""
    return [max(1, round(100 * weight)) for weight in weights]


@dataclass(frozen=True)
class _Pick(grain.transforms.Map):
    source: grain.sources.ArrayRecordDataSource

    def map(self, index: np.ndarray) -> Record:
        return Record(np.int64(index), self.source[int(index)])


def _frames(pair: dict) -> int:
    return 4 * (pair["source"].shape[0] - 1) + 1
