"""Metrics computed with published models: CLIP, PickScore, DINOv2 and ViCLIP.

    frame text alignment   mean over frames of 100 cos(picture, target prompt)      CLIP ViT-L/14: "CLIP frame-text"; PickScore_v1: "PickScore"
    temporal consistency   mean over neighbours of 100 max(0, cos)                  CLIP ViT-L/14 or DINOv2-base, their pooled output
    consistency            mean over frames of 50 (max(0, cos to the first) + max(0, cos to the one before)), VBench's formula of subject and
                           background consistency: "background consistency" with its CLIP ViT-B/32; "subject consistency (DINOv2)" with
                           DINOv2-base, where VBench has the first DINO, so that its figures can't stand beside ours
    video text alignment   100 cos(clip of 8 frames, target prompt)                 ViCLIP-L/14

These are the definitions of EditVerseBench's own scripts, with figures times 100 as papers print them. The logit scale of the published CLIP
and PickScore weights is 100; the stored one is used.

Weights are local folders with `model.safetensors`, `config.json` and `tokenizer.json` as Hugging Face distributes them. A metric whose folder
lacks a file names it and is skipped. Nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from v2v.evaluation.metrics.base import Case, Score
from v2v.evaluation.metrics.learned_metric import LearnedMetric, compute_in_batches, unit_vectors
from v2v.evaluation.metrics.lpips import Lpips
from v2v.evaluation.metrics.models import loading
from v2v.evaluation.metrics.models.preprocessing import resize_bicubic

# Longest side of PickScore's frames in pixels.
PICKSCORE_SIDE = 672


@dataclass(frozen=True)
class FrameTextAlignment(LearnedMetric):
    """Alignment of frames with the target prompt by CLIP or PickScore.

    Attributes:
      longest: longest side of a frame in pixels; larger frames are reduced first. None for no limit.
    """

    name: str = "CLIP frame-text"
    about: str = "openai/clip-vit-large-patch14, mean over frames of scale x cosine with the target prompt"
    required_fields: Sequence[str] = ("target_prompt",)
    longest: int | None = None
    required_files: ClassVar[tuple[str, ...]] = ("config.json", "tokenizer.json")

    def score(self, case: Case) -> Score:
        """Compute the mean over frames of scale times cosine."""
        model = loading.load_clip(Path(self.folder))
        text = unit_vectors(model.text([case.item.target_prompt]))[0]
        frames = (_shrink(f, self.longest) for f in case.output)
        pictures = unit_vectors(compute_in_batches(model.vision, map(model.prepare, frames)))
        return Score({self.name: float(model.scale * (pictures @ text).mean())})


def pick_score(folder: Path) -> FrameTextAlignment:
    """Build PickScore_v1, with CLIP-H's tokenizer.json beside its weights."""
    return FrameTextAlignment(
        folder, "PickScore", "yuvalkirstain/PickScore_v1, mean over frames of scale x cosine with the target prompt", longest=PICKSCORE_SIDE
    )  # fmt: skip


@dataclass(frozen=True)
class TemporalConsistency(LearnedMetric):
    """Similarity of neighboring frames in the features of a model.

    Attributes:
      dino: whether the folder holds DINOv2; else CLIP.
    """

    name: str = "CLIP consistency"
    about: str = "openai/clip-vit-large-patch14, pooled output, mean over neighbouring frames of 100 x cosine"
    required_fields: Sequence[str] = ()
    dino: bool = False

    def score(self, case: Case) -> Score:
        """Compute the mean over neighboring frames of 100 times cosine."""
        if len(case.output) < 2:
            return Score({})
        model = loading.load_dino(Path(self.folder)) if self.dino else loading.load_clip(Path(self.folder))
        features = unit_vectors(compute_in_batches(model.pooled, map(model.prepare, case.output)))
        return Score({self.name: 100 * float(np.maximum(0, (features[1:] * features[:-1]).sum(-1)).mean())})


def dino_consistency(folder: Path) -> TemporalConsistency:
    """Build temporal consistency with facebook/dinov2-base."""
    return TemporalConsistency(
        folder, "DINO consistency", "facebook/dinov2-base, pooled output, mean over neighbouring frames of 100 x cosine", dino=True
    )  # fmt: skip


@dataclass(frozen=True)
class ClipConsistency(LearnedMetric):
    """Similarity of every frame to the first one and to the one before, in the features of a model, as VBench defines consistency.

    Attributes:
      dino: whether the folder holds DINOv2; else CLIP, whose projected features are compared.
    """

    name: str = "background consistency"
    about: str = "openai/clip-vit-base-patch32, VBench's formula: mean of cosines to the first frame and to the one before, x 100"
    required_fields: Sequence[str] = ()
    dino: bool = False

    def score(self, case: Case) -> Score:
        """Compute the mean over all frames but the first; no value of a single frame."""
        if len(case.output) < 2:
            return Score({})
        folder = Path(self.folder)
        if self.dino:
            dino = loading.load_dino(folder)
            features = compute_in_batches(dino.pooled, map(dino.prepare, case.output))
        else:
            clip = loading.load_clip(folder)
            features = compute_in_batches(clip.vision, map(clip.prepare, case.output))
        return Score({self.name: 100 * clip_consistency(unit_vectors(features))})


def clip_consistency(features: np.ndarray) -> float:
    """Return VBench's consistency of unit vectors [frames, d], at least two: the mean over frames from the second on."""
    to_first = np.maximum(0, features[1:] @ features[0])
    to_previous = np.maximum(0, (features[1:] * features[:-1]).sum(-1))
    return float((to_first + to_previous).mean() / 2)


def subject_consistency(folder: Path) -> ClipConsistency:
    """Build subject consistency with facebook/dinov2-base."""
    return ClipConsistency(
        folder, "subject consistency (DINOv2)", "facebook/dinov2-base, VBench's formula with another network than its own: mean of cosines to the first frame and to the one before, x 100", dino=True
    )  # fmt: skip


@dataclass(frozen=True)
class VideoTextAlignment(LearnedMetric):
    """Alignment of eight frames floor(k L / 8) with the target prompt by ViCLIP."""

    name: str = "ViCLIP video-text"
    about: str = "ViCLIP-L/14 (InternVid-10M-FLT), 8 frames, 100 x cosine with the target prompt"
    required_fields: Sequence[str] = ("target_prompt",)
    required_files: ClassVar[tuple[str, ...]] = ("tokenizer.json",)

    def score(self, case: Case) -> Score:
        """Compute 100 times the cosine with the prompt."""
        model = loading.load_viclip(Path(self.folder))
        length = len(case.output)
        frame_indices = [int(k * length / model.frames) for k in range(model.frames)]
        frames_by_index = {k: frame for k, frame in enumerate(case.output) if k in set(frame_indices)}
        clip = np.stack([model.prepare(frames_by_index[k]) for k in frame_indices])[None]
        cosine = (unit_vectors(model.video(clip)) * unit_vectors(model.text([case.item.target_prompt]))).sum()
        return Score({self.name: 100 * float(cosine)})


def learned_metrics(weights: Path) -> tuple[LearnedMetric, ...]:
    """Build all metrics of this module and LPIPS.

    Args:
      weights: holds the folders clip-vit-large-patch14, clip-vit-base-patch32, dinov2-base, PickScore_v1, viclip and lpips.
    """
    weights = Path(weights)
    return (
        FrameTextAlignment(weights / "clip-vit-large-patch14"),
        TemporalConsistency(weights / "clip-vit-large-patch14"),
        dino_consistency(weights / "dinov2-base"),
        ClipConsistency(weights / "clip-vit-base-patch32"),
        subject_consistency(weights / "dinov2-base"),
        pick_score(weights / "PickScore_v1"),
        VideoTextAlignment(weights / "viclip"),
        Lpips(weights / "lpips"),
    )


def _shrink(frame: np.ndarray, longest: int | None) -> np.ndarray:
    largest = max(frame.shape[:2])
    if longest is None or largest <= longest:
        return frame
    return resize_bicubic(frame, *(int(longest / largest * n) for n in frame.shape[:2]))
