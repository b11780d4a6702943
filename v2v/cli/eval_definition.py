"""The sweep that `v2v eval` runs: a Python file's, or one that comes with v2v, perhaps one part of its items or with a benchmark's own sampling."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from v2v.cli import user_module
from v2v.errors import InputError
from v2v.evaluation.counts import format_count

if TYPE_CHECKING:
    from v2v.evaluation.sweep.sweep import Sweep


def load_definition(file: Path, folder: Path, compat: Literal["", "editverse"]) -> Sweep:
    """Return the sweep of a request; workers of Beam call it too.

    Args:
      file: as `load_sweep` takes it.
      folder: where its benchmark may write items.
      compat: sampling that judges of single frames repeat; "" for their own.

    Raises:
      InputError: as `load_sweep`.
    """
    definition = load_sweep(file, folder)
    return _with_compatibility(definition, compat) if compat else definition


def load_sweep(path: Path, folder: Path) -> Sweep:
    """Load a sweep by calling `sweep(folder)` of a Python file.

    Args:
      path: the file, or the name of a sweep that comes with v2v.
      folder: where its benchmark may write items.

    Raises:
      InputError: no such file, or not a sweep.
    """
    from v2v.evaluation.sweep.sweep import Sweep

    module = user_module.load_module(user_module.find_sweep(path), "sweep", "sweep_embedded")
    if "sweep" not in vars(module):
        raise InputError(f"{path}: not a sweep; expected a function sweep(folder) -> Sweep in it")
    value = module.sweep(Path(folder))
    if not isinstance(value, Sweep):
        raise InputError(f"{path}: expected sweep(folder) to return a Sweep, got {type(value).__name__}")
    return value


def _with_compatibility(definition: Sweep, compat: Literal["", "editverse"]) -> Sweep:
    """Return the sweep with its judges of single frames set to repeat a benchmark's own sampling."""
    from v2v.evaluation.judge.judge_metric import JudgeMetric

    metrics = tuple(
        metric.with_compatibility(compat) if isinstance(metric, JudgeMetric) else metric
        for metric in definition.metrics
    )
    return dataclasses.replace(definition, metrics=metrics)


def take_shard(definition: Sweep, shard: str) -> Sweep:
    """Return the sweep over one part of its items.

    Raises:
      InputError: no "I/N" with 1 <= I <= N, or a part without items.
    """
    first, _, count = shard.partition("/")
    if not (first.isdigit() and count.isdigit() and 1 <= int(first) <= int(count)):
        raise InputError(f"--shard {shard}: expected I/N with I from 1 to N, such as 1/4")
    items = definition.benchmark.items[int(first) - 1 :: int(count)]
    if not items:
        count = format_count(len(definition.benchmark.items), "item")
        raise InputError(f"--shard {shard}: the benchmark has only {count}")
    return dataclasses.replace(definition, benchmark=dataclasses.replace(definition.benchmark, items=items))
