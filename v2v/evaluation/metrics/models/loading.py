"""CLIP, DINOv2 and ViCLIP with their weights, as jitted functions.

Weights are read once per folder and are arguments of jitted functions. Pictures are those that `prepare` returns.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from v2v.errors import InputError
from v2v.evaluation.metrics.base import ScoringError
from v2v.evaluation.metrics.models import name_mapping
from v2v.evaluation.metrics.models.preprocessing import (
    CLIP_MEAN,
    CLIP_STD,
    IMAGENET_MEAN,
    IMAGENET_STD,
    preprocess,
)
from v2v.evaluation.metrics.models.towers import TextTower, TowerConfig, VisionTower
from v2v.runtime import text_files


@functools.lru_cache(maxsize=2)
def load_clip(folder: Path) -> ClipModel:
    """Load CLIP or PickScore from a folder."""
    return ClipModel(folder)


@functools.lru_cache(maxsize=1)
def load_dino(folder: Path) -> DinoModel:
    """Load DINOv2 from a folder."""
    return DinoModel(folder)


@functools.lru_cache(maxsize=1)
def load_viclip(folder: Path) -> ViclipModel:
    """Load ViCLIP from a folder."""
    return ViclipModel(folder)


def _read_config(folder: Path) -> dict[str, Any]:
    """Return the object in a folder's config.json."""
    config = text_files.read_json(folder / "config.json", "fetch it again")
    if not isinstance(config, dict):
        raise InputError(
            f"{folder / 'config.json'}: expected a JSON object, got {type(config).__name__}; fetch it again"
        )
    return config


class _TwoTowers:
    """Text features and preprocessing that CLIP and ViCLIP have in common.

    Attributes:
      side: pixels of a side of a prepared picture.
      tokens: the tokenizer.
    """

    side: int
    tokens: PromptTokenizer
    _tree: dict
    _text: Callable

    def text(self, sentences: list[str]) -> np.ndarray:
        """Return the features [b, e] of sentences, in the space shared with pictures."""
        return (
            np.asarray(self._text(self._tree["text"], self.tokens(sentences)))
            @ self._tree["project_text"]["kernel"]
        )

    def prepare(self, frame: np.ndarray) -> np.ndarray:
        """Return a frame, uint8 [H, W, 3], as the network's input, float32 [side, side, 3]."""
        return preprocess(frame, self.side, self.side, CLIP_MEAN, CLIP_STD)


class ClipModel(_TwoTowers):
    """CLIP as two jitted towers.

    Attributes:
      scale: exp of the stored logit scale.
    """

    def __init__(self, folder: Path):
        config = _read_config(folder)
        tree = name_mapping.load_parameters(folder, name_mapping.CLIP)
        vision_config, text_config = config.get("vision_config") or {}, config.get("text_config") or {}
        vision_tower = VisionTower(
            _tower_config(vision_config, tree["vision"], heads=12), len(tree["vision"]["position"])
        )
        # Published CLIP configs name 2 as end mark by mistake and mean the largest id.
        end = text_config.get("eos_token_id")
        text_tower = TextTower(
            _tower_config(text_config, tree["text"], heads=8, end=None if end in (None, 2) else end),
            *_text_sizes(tree["text"]),
        )
        self.side, self.scale = vision_config.get("image_size", 224), float(np.exp(tree["logit_scale"]))
        self.tokens = PromptTokenizer(folder, len(tree["text"]["position"]), end)
        self._tree = tree
        self._pooled = jax.jit(lambda p, x: vision_tower.apply({"params": p}, x))
        self._text = jax.jit(lambda p, ids: text_tower.apply({"params": p}, ids))

    def pooled(self, pictures: np.ndarray) -> np.ndarray:
        """Return the class tokens [b, d] after the last norm and before the projection, of pictures [b, side, side, 3]."""
        return np.asarray(self._pooled(self._tree["vision"], pictures))

    def vision(self, pictures: np.ndarray) -> np.ndarray:
        """Return the features [b, e] of pictures [b, side, side, 3], in the space shared with text."""
        return self.pooled(pictures) @ self._tree["project_vision"]["kernel"]


class DinoModel:
    """DINOv2's vision tower on pictures of 224 pixels cropped from 256.

    Attributes:
      side: pixels to which the shorter side is resized.
      crop: pixels of the crop.
    """

    def __init__(self, folder: Path, side: int = 256, crop: int = 224):
        config = _read_config(folder)
        self._tree = name_mapping.load_parameters(folder, name_mapping.DINOV2)["vision"]
        vision_tower = VisionTower(
            _tower_config(config, self._tree, heads=12, eps=1e-6, act="gelu"), len(self._tree["position"])
        )
        self.side, self.crop = side, crop
        self._pooled = jax.jit(lambda p, x: vision_tower.apply({"params": p}, x))

    def pooled(self, pictures: np.ndarray) -> np.ndarray:
        """Return the class tokens [b, d] of pictures [b, crop, crop, 3]."""
        return np.asarray(self._pooled(self._tree, pictures))

    def prepare(self, frame: np.ndarray) -> np.ndarray:
        """Return a frame, uint8 [H, W, 3], as the network's input, float32 [crop, crop, 3]."""
        return preprocess(frame, self.side, self.crop, IMAGENET_MEAN, IMAGENET_STD)


class ViclipModel(_TwoTowers):
    """ViCLIP as two jitted towers; heads are 64 wide by default, as in every CLIP of its family.

    Attributes:
      frames: frames of a clip.
    """

    def __init__(self, folder: Path, head: int = 64):
        self._tree = tree = name_mapping.load_parameters(folder, name_mapping.VICLIP)
        self.frames = len(tree["vision"]["temporal"])
        widths = {k: tree[k]["position"].shape[-1] for k in ("vision", "text")}
        vision_tower = VisionTower(
            _tower_config({}, tree["vision"], heads=widths["vision"] // head),
            len(tree["vision"]["position"]),
            self.frames,
        )
        text_tower = TextTower(
            _tower_config({}, tree["text"], heads=widths["text"] // head), *_text_sizes(tree["text"])
        )
        grid = round((len(tree["vision"]["position"]) - 1) ** 0.5)
        self.side = grid * tree["vision"]["patch"]["kernel"].shape[0]
        self.tokens = PromptTokenizer(folder, len(tree["text"]["position"]), None, pad=0)
        self._video = jax.jit(lambda p, x: vision_tower.apply({"params": p}, x))
        self._text = jax.jit(lambda p, ids: text_tower.apply({"params": p}, ids))

    def video(self, clips: np.ndarray) -> np.ndarray:
        """Return the features [b, e] of clips [b, T, side, side, 3], in the space shared with text."""
        return np.asarray(self._video(self._tree["vision"], clips)) @ self._tree["project_vision"]["kernel"]


class PromptTokenizer:
    """A tokenizer that gives ids of one length.

    Attributes:
      length: number of ids; longer sentences are truncated before the end token.
      end: id of the end token, or None.
      pad: id of the padding; None for each sentence's own end token.
    """

    def __init__(self, folder: Path, length: int, end: int | None, pad: int | None = None):
        import tokenizers

        self._tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self.length, self.end, self.pad = length, end, pad

    def __call__(self, sentences: list[str]) -> np.ndarray:
        """Return ids, int32 [b, length].

        Raises:
          ScoringError: a sentence without a token.
        """
        rows = []
        for text in sentences:
            ids = self._tokenizer.encode(text).ids
            if not ids:
                raise ScoringError("the target prompt holds no word", final=True)
            end = ids[-1]
            ids = ids if len(ids) <= self.length else [*ids[: self.length - 1], end]
            rows.append(ids + [end if self.pad is None else self.pad] * (self.length - len(ids)))
        return np.array(rows, np.int32)


def _tower_config(
    config: dict,
    tree: dict,
    *,
    heads: int,
    eps: float = 1e-5,
    act: str = "quick_gelu",
    end: int | None = None,
) -> TowerConfig:
    """Build a tower's configuration from the shapes of its weights, then from its config.json, then from the defaults."""
    patch = tree.get("patch", {})
    return TowerConfig(
        width=tree["position"].shape[-1],
        layers=sum(name.startswith("block") for name in tree),
        heads=config.get("num_attention_heads", heads),
        mlp=tree["block0"]["fc1"]["kernel"].shape[-1],
        act=config.get("hidden_act", act),
        eps=config.get("layer_norm_eps", eps),
        patch=patch["kernel"].shape[0] if patch else 0,
        norm_in_front="pre" in tree,
        scaled="scale1" in tree["block0"],
        patch_bias="bias" in patch,
        end=end,
    )


def _text_sizes(tree: dict) -> tuple[int, int]:
    """Return the size of the vocabulary and the length of sentences."""
    return len(tree["token"]["embedding"]), len(tree["position"])
