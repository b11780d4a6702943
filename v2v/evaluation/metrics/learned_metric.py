"""The base class of metrics with weights: the folder of weights, its content hash, and computation in batches of one size.

Weights are local folders; nothing is downloaded. To add a metric with weights, write a frozen dataclass that subclasses `LearnedMetric` with
defaults of `name`, `about` and `required_fields`, implement `score`, and list it in `learned.learned_metrics`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from v2v.evaluation.cache import SweepCache
from v2v.evaluation.metrics.base import Column, Metric
from v2v.runtime.environment import cache_folder

# Frames in one call, so that one compilation serves all.
BATCH = 8


@dataclass(frozen=True)
class LearnedMetric(Metric):
    """A metric computed with a published network.

    Attributes:
      folder: the folder of weights.
      name: unique in a sweep; also the name of the only column unless `columns` is overridden.
      about: the network and the rule, for the report.
      version: raised when the definition changes.
      required_files: files that the folder must hold beside safetensors.
    """

    folder: Path
    name: str
    about: str

    version: ClassVar[int] = 1
    required_files: ClassVar[tuple[str, ...]] = ("config.json",)

    def missing(self) -> str | None:
        """Return the files of the weights that are missing, as a sentence, or None."""
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


def compute_in_batches(
    compute: Callable[[np.ndarray], np.ndarray], pictures: Iterable[np.ndarray], size: int = BATCH
) -> np.ndarray:
    """Apply a function of a batch to any number of pictures, at least one; the last batch is padded by repetition.

    Args:
      compute: maps [size, ...] to [size, ...].
      pictures: arrays of one shape.
      size: pictures per call.

    Returns:
      the results in order, [n, ...].
    """
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


def unit_vectors(x: np.ndarray) -> np.ndarray:
    """Return vectors scaled to length 1 along the last axis."""
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@functools.lru_cache(maxsize=32)
def _revision(folder: Path) -> str:
    """Return the content hash of a folder, remembered in the user cache; empty without a folder."""
    return SweepCache(cache_folder()).hash_of(folder) if folder.is_dir() else ""
