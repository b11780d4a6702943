"""One record of the cache → one example, random where training wants it so. cache.py → **transforms** → loader.py

  ToSentence  a sentence alone: pretraining of the text encoder
  ToClip      one clip and a sentence about it: text-to-video and image-to-video pretraining
  ToEdit      source, target, mask, instruction and, when asked for, a reference picture
Which mask an edit shows (DESIGN: 1 = edit here, now; no mask = all ones): half the time the exact mask; otherwise only *when*,
which is all ones if the edit lasts the whole clip. Every draw comes from a generator seeded by the record's place in the stream.
"""

import json
from dataclasses import dataclass

import grain
import numpy as np

from v2v.data.latent_cache import UNKNOWN, unpack
from v2v.models.text_encoder import Tokenizer
from v2v.video.mask import pooled

Batch = dict[str, np.ndarray]


@dataclass(frozen=True)
class Record:
    """Bytes of one record, and its number among the run's pairs, which error messages name."""

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
    """Record → {"record", "video", "area", "ids", "lengths", "first_clean"}: one clip with a sentence that is true of it.

    `turning` of them turn: they begin as the source and go on as the target, first frame clean, told by the instruction, as
    prompts of image-to-video models tell what happens. The others are the source or the target with its caption. `area` is
    where a clip turns, zero in the others.
    """

    tokenizer: Tokenizer
    turning: float = 0.5
    image_to_video: float = 0.5  # share of the others with a clean first frame
    drop_text: float = 0.1
    stride_t: int = 4  # of VAEConfig

    def random_map(self, record: Record, rng: np.random.Generator) -> Batch:
        pair = unpack(record.data)
        text = json.loads(str(pair["text"]))
        whole = bool(pair["active"][1] - pair["active"][0] == frames_of(len(pair["source"]), self.stride_t))
        clean, area = rng.random() < self.image_to_video, np.zeros_like(pair["area"])
        if rng.random() < self.turning:
            # Where the edit lasts from the start, the cut is put behind the first latent frame, which is an image by itself.
            video, clean = np.concatenate([pair["source"][:1], pair["target"][1:]]), True
            sentence, area = str(rng.choice(text["instructions"])), pair["area"]
        elif whole and rng.random() < 0.6:
            video, sentence = pair["target"], text["target_caption"]
        else:
            video, sentence = pair["source"], text["source_caption"]
        ids, lengths = self.tokenizer.ids(["" if rng.random() < self.drop_text else sentence])
        return {
            "record": record.index, "video": video, "area": area, "ids": ids[0], "lengths": lengths[0],
            "first_clean": np.asarray(clean),
        }  # fmt: skip


@dataclass(frozen=True)
class ToEdit(grain.transforms.RandomMap):
    """Record → {"record", "recipe", "source", "target", "mask", "area"}, "text" or "ids" and "lengths", and "reference" when asked
    for. `recipe` is an index into `recipes`."""

    tokenizer: Tokenizer
    time_masks: np.ndarray  # of data/cache.py
    with_reference: bool
    recipes: tuple[str, ...]
    mask_code: str = "vae"  # of ConditionConfig
    exact_mask: float = 0.5
    drop_text: float = 0.1
    stride_t: int = 4  # of VAEConfig

    def random_map(self, record: Record, rng: np.random.Generator) -> Batch:
        pair = unpack(record.data)
        text = json.loads(str(pair["text"]))
        exact = bool(pair["mask"].size) and rng.random() < self.exact_mask
        if self.mask_code == "pooled":
            mask = (pair["area"] if exact else _when_pooled(pair, self.stride_t))[..., None]
        else:
            mask = pair["mask"] if exact else self._when(pair)
        said = -1 if rng.random() < self.drop_text else int(rng.choice(len(text["instructions"])))
        out = {
            "source": pair["source"], "target": pair["target"], "mask": mask, "area": pair["area"],
            "record": record.index, "recipe": np.asarray(self.recipes.index(text.get("recipe", UNKNOWN)), np.int32),
            **self._text(pair, text["instructions"], said),
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


def _when_pooled(pair: Batch, stride_t: int) -> np.ndarray:
    """Share of each latent cell's frames in which the edit is on, float16 [t, y, x]."""
    grid = pair["area"].shape
    on = np.zeros((frames_of(grid[0], stride_t), *grid[1:]), np.float32)
    on[slice(*pair["active"])] = 1
    return pooled(on, grid).astype(np.float16)


def frames_of(t: int, stride_t: int) -> int:
    """Return the pixel frames of t latent ones: the first stands for itself, each later one for `stride_t`."""
    return stride_t * (t - 1) + 1
