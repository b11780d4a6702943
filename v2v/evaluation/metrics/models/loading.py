"""CLIP, DINOv2 and ViCLIP with their weights, as jitted functions.

Weights are read once a folder and are arguments of jitted functions. Pictures go in as `prepare` makes them.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

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


class _TwoTowers:
    """Text features and preprocessing shared by CLIP and ViCLIP."""

    side: int
    tokens: PromptTokenizer
    _tree: dict
    _text: Callable

    def text(self, sentences: list[str]) -> np.ndarray:
        """Return text features [b, e]."""
        return (
            np.asarray(self._text(self._tree["text"], self.tokens(sentences)))
            @ self._tree["project_text"]["kernel"]
        )

    def prepare(self, frame: np.ndarray) -> np.ndarray:
        """Preprocess one frame."""
        return preprocess(frame, self.side, self.side, CLIP_MEAN, CLIP_STD)


class ClipModel(_TwoTowers):
    """CLIP as two jitted towers; `scale` is exp of the stored logit scale."""

    def __init__(self, folder: Path):
        config = json.loads((folder / "config.json").read_text())
        tree = name_mapping.load_parameters(folder, name_mapping.CLIP)
        vision_config, text_config = config.get("vision_config") or {}, config.get("text_config") or {}
        vision_tower = VisionTower(
            _config(vision_config, tree["vision"], heads=12), len(tree["vision"]["position"])
        )
        # Published CLIP configs name 2 as end mark by mistake and mean the largest id.
        end = text_config.get("eos_token_id")
        text_tower = TextTower(
            _config(text_config, tree["text"], heads=8, end=None if end in (None, 2) else end),
            *_sizes(tree["text"]),
        )
        self.side, self.scale = vision_config.get("image_size", 224), float(np.exp(tree["logit_scale"]))
        self.tokens = PromptTokenizer(folder, len(tree["text"]["position"]), end)
        self._tree = tree
        self._pooled = jax.jit(lambda p, x: vision_tower.apply({"params": p}, x))
        self._text = jax.jit(lambda p, ids: text_tower.apply({"params": p}, ids))

    def pooled(self, pictures: np.ndarray) -> np.ndarray:
        """[b, side, side, 3] -> [b, d]: the class token after the last norm, before the projection."""
        return np.asarray(self._pooled(self._tree["vision"], pictures))

    def vision(self, pictures: np.ndarray) -> np.ndarray:
        """[b, side, side, 3] -> [b, e], in the space shared with text."""
        return self.pooled(pictures) @ self._tree["project_vision"]["kernel"]


class DinoModel:
    """DINOv2's vision tower: 224 pixels cropped from 256."""

    def __init__(self, folder: Path, side: int = 256, crop: int = 224):
        config = json.loads((folder / "config.json").read_text())
        self._tree = name_mapping.load_parameters(folder, name_mapping.DINOV2)["vision"]
        vision_tower = VisionTower(
            _config(config, self._tree, heads=12, eps=1e-6, act="gelu"), len(self._tree["position"])
        )
        self.side, self.crop = side, crop
        self._pooled = jax.jit(lambda p, x: vision_tower.apply({"params": p}, x))

    def pooled(self, pictures: np.ndarray) -> np.ndarray:
        """[b, H, W, 3] -> [b, d]."""
        return np.asarray(self._pooled(self._tree, pictures))

    def prepare(self, frame: np.ndarray) -> np.ndarray:
        """Preprocess one frame."""
        return preprocess(frame, self.side, self.crop, IMAGENET_MEAN, IMAGENET_STD)


class ViclipModel(_TwoTowers):
    """ViCLIP; heads are 64 wide by default, as in every CLIP of its family."""

    def __init__(self, folder: Path, head: int = 64):
        self._tree = tree = name_mapping.load_parameters(folder, name_mapping.VICLIP)
        self.frames = len(tree["vision"]["temporal"])
        widths = {k: tree[k]["position"].shape[-1] for k in ("vision", "text")}
        vision_tower = VisionTower(
            _config({}, tree["vision"], heads=widths["vision"] // head),
            len(tree["vision"]["position"]),
            self.frames,
        )
        text_tower = TextTower(_config({}, tree["text"], heads=widths["text"] // head), *_sizes(tree["text"]))
        grid = round((len(tree["vision"]["position"]) - 1) ** 0.5)
        self.side = grid * tree["vision"]["patch"]["kernel"].shape[0]
        self.tokens = PromptTokenizer(folder, len(tree["text"]["position"]), None, pad=0)
        self._video = jax.jit(lambda p, x: vision_tower.apply({"params": p}, x))
        self._text = jax.jit(lambda p, ids: text_tower.apply({"params": p}, ids))

    def video(self, clips: np.ndarray) -> np.ndarray:
        """[b, T, side, side, 3] -> [b, e]."""
        return np.asarray(self._video(self._tree["vision"], clips)) @ self._tree["project_vision"]["kernel"]


class PromptTokenizer:
    """Sentences to ids of one length: truncated before the end token, padded with `pad` (default: the end token)."""

    def __init__(self, folder: Path, length: int, end: int | None, pad: int | None = None):
        import tokenizers

        self._tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self.length, self.end, self.pad = length, end, pad

    def __call__(self, sentences: list[str]) -> np.ndarray:
        """Return ids [b, length], int32."""
        rows = []
        for text in sentences:
            ids = self._tokenizer.encode(text).ids
            if not ids:
                raise ScoringError("the target prompt holds no word", final=True)
            end = ids[-1]
            ids = ids if len(ids) <= self.length else [*ids[: self.length - 1], end]
            rows.append(ids + [end if self.pad is None else self.pad] * (self.length - len(ids)))
        return np.array(rows, np.int32)


def _config(
    config: dict,
    tree: dict,
    *,
    heads: int,
    eps: float = 1e-5,
    act: str = "quick_gelu",
    end: int | None = None,
) -> TowerConfig:
    """What the weights show, and of the rest what the file says."""
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


def _sizes(tree: dict) -> tuple[int, int]:
    return len(tree["token"]["embedding"]), len(tree["position"])
