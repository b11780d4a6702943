"""Base class of metrics with weights: the folder, its content hash, and calls in batches of one size."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from v2v.evaluation.cache import SweepCache
from v2v.evaluation.metrics.base import Column
from v2v.runtime.environment import cache_folder

# Frames in one call, so that one compilation serves all.
BATCH = 8


@dataclass(frozen=True)
class LearnedMetric:
    """A metric computed with a published network.

    Attributes:
      folder: local weights.
    """

    folder: Path

    calls = 0
    version = 1
    required_files = ("config.json",)

    def missing(self) -> str | None:
        """Return which files of the weights are missing, or None."""
        folder = Path(self.folder)
        missing_names = [name for name in self.required_files if not (folder / name).is_file()]
        if not any(folder.glob("*.safetensors*")):
            missing_names.append("*.safetensors")
        return (
            f"wants {self.about} in {folder}, missing {', '.join(missing_names)}" if missing_names else None
        )

    @property
    def identity(self) -> dict:
        """Return name, version and content hash of the weights."""
        return {"metric": self.name, "version": self.version, "weights": _revision(Path(self.folder))}

    @property
    def columns(self) -> Sequence[Column]:
        """Return the one column of the metric."""
        return (Column(self.name, about=self.about),)


def compute_in_batches(compute, pictures: Iterable[np.ndarray], size: int = BATCH) -> np.ndarray:
    """Apply compute [size, ...] -> [size, ...] to any number of pictures, padding the last batch."""
    results, batch = [], []

    def flush() -> None:
        full = np.stack(batch + batch[-1:] * (size - len(batch)))
        results.append(compute(full)[: len(batch)])
        batch.clear()

    for picture in pictures:
        batch.append(picture)
        if len(batch) == size:
            flush()
    if batch:
        flush()
    return np.concatenate(results)


def unit(x: np.ndarray) -> np.ndarray:
    """Normalize vectors along the last axis."""
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@functools.lru_cache(maxsize=32)
def _revision(folder: Path) -> str:
    """Return the content hash of a folder, remembered in the user cache; empty without a folder."""
    return SweepCache(cache_folder()).hash_of(folder) if folder.is_dir() else ""
