"""Random transforms of a cached record into a training example.

latent_cache.py -> **transforms** -> loader.py

    ToSentence  a sentence alone, to pretrain the text encoder
    ToClip      one clip and a sentence about it, for text-to-video and image-to-video pretraining
    ToEdit      source, target, mask, instruction and optionally a reference picture
An edit's mask (1 = edit here and now; no mask = all ones) is the exact mask half of the time; otherwise it covers the whole frames
in which the edit is active. All random draws use a generator seeded by the example's position in the stream.
"""

import json
from dataclasses import dataclass
from typing import cast

import grain
import numpy as np

from v2v.data.batch import ClipExample, EditExample, SentenceExample
from v2v.data.latent_cache import UNKNOWN_RECIPE, LatentRecord, RecordText, unpack_record, unpack_text
from v2v.models.text_encoder import Tokenizer
from v2v.video.mask import pool_mask


@dataclass(frozen=True)
class Record:
    """One record of the latent cache.

    Attributes:
      index: its number among the pairs of the run, for error messages.
      data: its bytes.
    """

    index: np.int64
    data: bytes


@dataclass(frozen=True)
class ToSentence(grain.transforms.RandomMap):
    """An instruction and the index of its edit, or a caption and -1.

    Attributes:
      tokenizer: tokenizer of the text encoder.
      edits: names of all edits, which the entry `edit` indexes.
      instructions: share of instructions; the others are captions.
    """

    tokenizer: Tokenizer
    edits: tuple[str, ...]
    instructions: float = 0.75

    def random_map(self, record: Record, rng: np.random.Generator) -> SentenceExample:
        """Draw an example of a record."""
        text = unpack_text(record.data)
        edit = self.edits.index(text["edit"])
        if rng.random() < self.instructions:
            sentence = str(rng.choice(_fitting_sentences(text["instructions"], self.tokenizer)))
        else:
            captions = (text["source_caption"], text["target_caption"])
            sentence, edit = captions[int(rng.integers(2))], -1
        ids, lengths = self.tokenizer.encode([sentence])
        return {
            "record": record.index, "ids": ids[0], "lengths": lengths[0], "edit": np.asarray(edit, np.int32),
        }  # fmt: skip


@dataclass(frozen=True)
class ToClip(grain.transforms.RandomMap):
    """One clip with a sentence that describes it.

    A share of the clips starts as the source and continues as the target, with a clean first frame and the instruction as sentence, like
    prompts of image-to-video models. The others are the source or the target with its caption. `area` is nonzero where a clip changes.

    Attributes:
      tokenizer: tokenizer of the text encoder.
      turning: share of clips that start as the source and continue as the target.
      image_to_video: share of the other clips that have a clean first frame.
      drop_text: share of clips without a sentence.
      stride_t: frames that one latent frame stands for, after the first (`VAEConfig.stride_t`).
    """

    tokenizer: Tokenizer
    turning: float = 0.5
    image_to_video: float = 0.5
    drop_text: float = 0.1
    stride_t: int = 4

    def random_map(self, record: Record, rng: np.random.Generator) -> ClipExample:
        """Draw an example of a record."""
        pair = unpack_record(record.data)
        text: RecordText = json.loads(str(pair["text"]))
        active_throughout = bool(
            pair["active"][1] - pair["active"][0] == frame_count(len(pair["source"]), self.stride_t)
        )
        clean, area = rng.random() < self.image_to_video, np.zeros_like(pair["area"])
        if rng.random() < self.turning:
            # When the edit starts at frame 0, the change comes after the first latent frame, which encodes a single image.
            video, clean = np.concatenate([pair["source"][:1], pair["target"][1:]]), True
            sentence = str(rng.choice(_fitting_sentences(text["instructions"], self.tokenizer)))
            area = pair["area"]
        elif active_throughout and rng.random() < 0.6:
            video, sentence = pair["target"], text["target_caption"]
        else:
            video, sentence = pair["source"], text["source_caption"]
        ids, lengths = self.tokenizer.encode(["" if rng.random() < self.drop_text else sentence])
        return {
            "record": record.index, "video": video, "area": area, "ids": ids[0], "lengths": lengths[0],
            "first_clean": np.asarray(clean),
        }  # fmt: skip


@dataclass(frozen=True)
class ToEdit(grain.transforms.RandomMap):
    """One edit with its instruction.

    Attributes:
      tokenizer: tokenizer of the text encoder.
      time_masks: latents of the masks of whole frames (latent_cache.py).
      with_reference: whether examples have a reference picture.
      recipes: names of all recipes, which the entry `recipe` indexes.
      mask_code: how the model encodes masks (`ConditionConfig.mask_code`).
      exact_mask: share of examples with the exact mask, where an edit has one.
      drop_text: share of examples without an instruction.
      stride_t: frames that one latent frame stands for, after the first (`VAEConfig.stride_t`).
      hidden: of "source" (with its mask) and "text", what no example has.
    """

    tokenizer: Tokenizer
    time_masks: np.ndarray
    with_reference: bool
    recipes: tuple[str, ...]
    mask_code: str = "vae"
    exact_mask: float = 0.5
    drop_text: float = 0.1
    stride_t: int = 4
    hidden: tuple[str, ...] = ()

    def random_map(self, record: Record, rng: np.random.Generator) -> EditExample:
        """Draw an example of a record."""
        pair = unpack_record(record.data)
        text: RecordText = json.loads(str(pair["text"]))
        exact = bool(pair["mask"].size) and rng.random() < self.exact_mask
        if self.mask_code == "pooled":
            mask = (pair["area"] if exact else _pool_time_mask(pair, self.stride_t))[..., None]
        else:
            mask = pair["mask"] if exact else self._time_mask(pair)
        sentences = text["instructions"]
        if "embeds" not in pair:
            sentences = _fitting_sentences(sentences, self.tokenizer)
        instruction = -1 if rng.random() < self.drop_text else int(rng.choice(len(sentences)))
        if "text" in self.hidden:
            instruction = -1
        visible: dict[str, np.ndarray] = (
            {} if "source" in self.hidden else {"source": pair["source"], "mask": mask}
        )
        example: EditExample = {
            "target": pair["target"], **cast(EditExample, visible), "area": pair["area"],
            "record": record.index, "recipe": np.asarray(self.recipes.index(text.get("recipe", UNKNOWN_RECIPE)), np.int32),
        }  # fmt: skip
        if "embeds" in pair and "embed_lengths" in pair:
            # The last embedding is that of the empty sentence.
            rows = np.split(pair["embeds"], np.cumsum(pair["embed_lengths"])[:-1])[instruction]
            example["text"] = np.pad(rows, ((0, self.tokenizer.text_len - len(rows)), (0, 0)))
        else:
            ids, lengths = self.tokenizer.encode(["" if instruction < 0 else sentences[instruction]])
            example["ids"], example["lengths"] = ids[0], lengths[0]
        if self.with_reference:
            example["reference"] = pair["reference"]
        return example

    def _time_mask(self, pair: LatentRecord) -> np.ndarray:
        """Return latents of the mask of the frames in which the edit is active."""
        if len(self.time_masks) > 1:
            return self.time_masks[tuple(pair["active"])]
        stored_mask = pair.get("when")
        return self.time_masks[0, 0] if stored_mask is None or not stored_mask.size else stored_mask


def _fitting_sentences(sentences: list[str], tokenizer: Tokenizer) -> list[str]:
    """Return the sentences that the tokenizer doesn't cut; all of them where it cuts each."""
    return [sentence for sentence in sentences if not tokenizer.truncated_end(sentence)] or sentences


def _pool_time_mask(pair: LatentRecord, stride_t: int) -> np.ndarray:
    """Return the share of each latent cell's frames in which the edit is active, float16 [t, y, x]."""
    grid = pair["area"].shape
    mask = np.zeros((frame_count(grid[0], stride_t), *grid[1:]), np.float32)
    mask[slice(*pair["active"])] = 1
    return pool_mask(mask, grid).astype(np.float16)


def frame_count(t: int, stride_t: int) -> int:
    """Return the number of frames of t latent frames: one for the first, `stride_t` for each later one."""
    return stride_t * (t - 1) + 1
