"""The registry of the metrics that come with the package; a new one is listed here or in the tuples named here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from v2v.evaluation.metrics.base import Metric
from v2v.evaluation.metrics.builtin import BUILTIN_METRICS, OPTIONAL_METRICS
from v2v.evaluation.metrics.feature_distances import set_distance_metrics
from v2v.evaluation.metrics.learned import learned_metrics
from v2v.evaluation.metrics.text import TextKept
from v2v.evaluation.metrics.vmaf import Vmaf

# Metrics without weights, by name.
METRICS: dict[str, Metric] = {
    metric.name: metric for metric in (*BUILTIN_METRICS, *OPTIONAL_METRICS, Vmaf(), TextKept())
}
# Functions from a folder of weights to metrics.
METRIC_BUILDERS: tuple[Callable[[Path], Sequence[Metric]], ...] = (learned_metrics, set_distance_metrics)


def iterate_metrics(weights: Path) -> Iterator[Metric]:
    """Iterate over all metrics; `weights` holds a folder for each published model."""
    yield from METRICS.values()
    for build in METRIC_BUILDERS:
        yield from build(weights)
