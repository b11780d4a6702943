"""Distances between sets of clips in the features of DINOv2 and ViCLIP.

They take the place of FID and FVD, with features that rank pictures and motion better than Inception's and I3D's (Stein et al. 2023, "Exposing flaws
of generative model evaluation metrics"): DINOv2-base for frames, averaged over eight of them, and ViCLIP-L/14 for clips of eight frames.
Figures are comparable between sweeps with the same weights, not with published FID or FVD.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from v2v.evaluation.metrics import set_distances
from v2v.evaluation.metrics.base import Case, Column, Score, SetMetric
from v2v.evaluation.metrics.clips import ResizedClip
from v2v.evaluation.metrics.learned_metric import BATCH, LearnedMetric, compute_in_batches
from v2v.evaluation.metrics.models import loading

_DISTANCES = {"Frechet": set_distances.frechet_distance, "kernel": set_distances.kernel_distance}


@dataclass(frozen=True)
class FrameSetDistance(LearnedMetric, SetMetric):
    """Distance of the set of outputs from the set of truths (or sources) in DINOv2 features of frames.

    Attributes:
      required_fields: ("truth",) or ("source",), the set that outputs are compared with.
    """

    name: str = "DINO sets"
    about: str = "facebook/dinov2-base, pooled output, mean of 8 frames a clip"
    required_fields: Sequence[str] = ("truth",)

    @property
    def columns(self) -> Sequence[Column]:
        """Return one column per distance."""
        against = f"set of outputs against set of {self.required_fields[0]}s; one number a method, its interval by jackknife; {self.about}"
        return tuple(Column(f"{self.name}, {kind}", "lower", about=against) for kind in _DISTANCES)

    def score(self, case: Case) -> Score:
        """Return the features of both sides in the notes, as base64 of float16; `spread` computes the columns."""
        pair = case.against_truth if self.required_fields[0] == "truth" else case.against_source
        packed = [base64.b64encode(self.features(c).astype(np.float16).tobytes()).decode() for c in pair]
        return Score({}, {"features": packed})

    def spread(self, column: Column, notes: Sequence[dict]) -> np.ndarray:
        """Return the jackknife pseudo-values of the column's distance, nan for items without features."""
        scored_indices = [i for i, note in enumerate(notes) if "features" in note]
        values = np.full(len(notes), np.nan)
        if scored_indices:
            x, y = (
                np.stack(
                    [
                        np.frombuffer(base64.b64decode(notes[i]["features"][side]), np.float16)
                        for i in scored_indices
                    ]
                )
                for side in (0, 1)
            )
            values[scored_indices] = set_distances.jackknife_pseudo_values(
                _DISTANCES[column.name.rsplit(", ", 1)[1]], x, y
            )
        return values

    def features(self, clip: ResizedClip) -> np.ndarray:
        """Return the features [d] of a clip: the mean over 8 frames."""
        model = loading.load_dino(Path(self.folder))
        return compute_in_batches(
            model.pooled, [model.prepare(frame) for frame in evenly_spaced_frames(clip, BATCH)]
        ).mean(0)


@dataclass(frozen=True)
class ClipSetDistance(FrameSetDistance):
    """Distance of sets in ViCLIP features of clips, which hold look and motion."""

    name: str = "ViCLIP sets"
    about: str = "ViCLIP-L/14 (InternVid-10M-FLT), 8 frames a clip"
    required_files: ClassVar[tuple[str, ...]] = ()

    def features(self, clip: ResizedClip) -> np.ndarray:
        """Return the features [d] of a clip of 8 frames."""
        model = loading.load_viclip(Path(self.folder))
        frames = [model.prepare(frame) for frame in evenly_spaced_frames(clip, model.frames)]
        return model.video(np.stack(frames)[None])[0]


def evenly_spaced_frames(clip: ResizedClip, count: int) -> list[np.ndarray]:
    """Return the frames floor(k T / count), k = 0 .. count - 1."""
    frame_indices = [k * len(clip) // count for k in range(count)]
    frames_by_index = {k: frame for k, frame in enumerate(clip) if k in set(frame_indices)}
    return [frames_by_index[k] for k in frame_indices]


def set_distance_metrics(weights: Path) -> tuple[FrameSetDistance, ClipSetDistance]:
    """Build both metrics; `weights` holds the folders dinov2-base and viclip."""
    return FrameSetDistance(Path(weights) / "dinov2-base"), ClipSetDistance(Path(weights) / "viclip")
