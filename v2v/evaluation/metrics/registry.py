"""All metrics that come with the package: a new one is a file beside this one and a line here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from v2v.evaluation.metrics.base import Metric
from v2v.evaluation.metrics.builtin import BUILTIN_METRICS
from v2v.evaluation.metrics.feature_distances import set_distance_metrics
from v2v.evaluation.metrics.learned import learned_metrics

# Without weights, by name.
METRICS: dict[str, Metric] = {metric.name: metric for metric in BUILTIN_METRICS}
# With weights: functions from a folder of weights to metrics.
WEIGHTED_METRICS = (learned_metrics, set_distance_metrics)


def iterate_metrics(weights: Path) -> Iterator[Metric]:
    """Iterate over all metrics; those with weights look for them in folders below `weights`."""
    yield from METRICS.values()
    for build in WEIGHTED_METRICS:
        yield from build(weights)
