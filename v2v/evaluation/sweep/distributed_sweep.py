"""A sweep under Apache Beam: its edits and the scores that are computed here, spread by a runner over processes or machines.

numbers of outputs -> `distributed_jobs.run_jobs` -> **edit an output and score it, into the cache** -> `run_sweep`, which finds all of it there

A worker loads the sweep file at its first job, and an editor when there is an edit to do; methods that one editor serves are run together, so that
a worker holds one at a time. Everything is done by `run_sweep` itself on a sweep of one method and one item: under the same keys, with the claims
of `v2v eval --shared`, so that a job which a runner calls twice is done once, and that a sweep begun on one machine goes on under Beam and the
other way round. Judges are asked by the process that collects, whose limit of requests is then one limit.

Workers see the cache, the sweep file and all that it names under the same paths, as on a network file system.
"""

from __future__ import annotations

import dataclasses
import threading
import uuid
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

from v2v.errors import InputError
from v2v.evaluation.cache import SweepCache
from v2v.evaluation.counts import format_count
from v2v.evaluation.sweep.claims import WorkClaims
from v2v.evaluation.sweep.methods import EditingMethod, VideoEditor
from v2v.evaluation.sweep.runner import NOT_DONE, SweepRun, edit_claim, run_sweep
from v2v.evaluation.sweep.sweep import Sweep
from v2v.runtime import distributed_jobs

# Sweeps of this process by run: a worker of a runner runs jobs in several threads, which share the devices.
_WORKERS: dict[str, _Worker] = {}
_DEVICES = threading.Lock()


def run_outputs(
    load_sweep: Callable[[], Sweep],
    cache: SweepCache,
    claims: WorkClaims,
    *,
    workers: int = 1,
    options: Sequence[str] = (),
) -> SweepRun:
    """Do the edits and local scores of a sweep that the cache lacks under Beam.

    Args:
      load_sweep: returns the sweep, here and in each worker; picklable.
      cache: finished work, in a folder that all workers see.
      claims: of this process; they begin the run, to which the workers' claims belong.
      workers: number of local processes.
      options: options of Beam, as on its command line.

    Returns:
      The work that was finished before.

    Raises:
      InputError: Beam is not installed or does not know an option, or the runner failed, or left outputs without a result; what it finished is
        kept.
    """
    sweep = load_sweep()
    earlier_run = run_sweep(sweep, cache, only_finished=True)
    local = [metric.name for metric in sweep.metrics if not metric.calls]
    groups: dict[Hashable, list[tuple[str, str]]] = {}
    for method in sweep.methods:
        group = method.editor_key if isinstance(method, EditingMethod) else ()
        for item in sweep.benchmark.items:
            names = method.name, item.id
            if (
                any(_is_pending(earlier_run, (*names, metric)) for metric in local)
                or earlier_run.outputs[names].is_pending
            ):
                groups.setdefault(group, []).append(names)
    run = uuid.uuid4().hex
    try:
        for outputs in groups.values():
            work = _OutputWork(load_sweep, cache.folder.absolute(), cache.any_code, run, tuple(outputs))
            distributed_jobs.run_jobs(work, [range(len(outputs))], workers, options)
    except distributed_jobs.RunnerFailedError as error:
        raise InputError(
            f"{error}; what was finished is in {cache.folder}: run the same command again, it does what is missing"
        ) from None
    finally:
        _WORKERS.pop(run, None)
    missing = _count_missing(sweep, cache, claims, earlier_run)
    if missing:
        raise InputError(
            f"--beam: the runner finished, but {format_count(missing, 'edit')} left no result in {cache.folder}; expected a folder that all workers share with "
            "this machine, under this path"
        )
    return earlier_run


@dataclass(frozen=True)
class _OutputWork:
    """Edits and scores outputs by number; picklable when `load_sweep` is.

    Attributes:
      load_sweep: returns the sweep.
      cache: folder of finished work, absolute.
      any_code: whether finished work of other code is used too.
      run: distinguishes this run.
      outputs: names of methods and ids of items.
    """

    load_sweep: Callable[[], Sweep]
    cache: Path
    any_code: bool
    run: str
    outputs: tuple[tuple[str, str], ...]

    def __call__(self, number: int) -> None:
        """Edit and score an output, unless that is done; failures are left for the process that collects."""
        with _DEVICES:
            if self.run not in _WORKERS:
                _WORKERS.clear()
                _WORKERS[self.run] = _Worker(
                    self.load_sweep(), SweepCache(self.cache, any_code=self.any_code)
                )
            _WORKERS[self.run].do(*self.outputs[number])


class _Worker:
    """The sweep in a worker's process, and the editor that was used last."""

    def __init__(self, sweep: Sweep, cache: SweepCache):
        self._sweep, self._cache = sweep, cache
        self._methods = {method.name: method for method in sweep.methods}
        self._items = {item.id: item for item in sweep.benchmark.items}
        self._key: Hashable = None
        self._editor: VideoEditor | None = None

    def do(self, method: str, item: str) -> None:
        """Edit and score an output; judges are not asked."""
        benchmark = dataclasses.replace(self._sweep.benchmark, items=(self._items[item],))
        part = dataclasses.replace(
            self._sweep, benchmark=benchmark, methods=(self._methods[method],), baseline=""
        )
        with WorkClaims(self._cache.folder / "claims") as claims:
            run_sweep(part, self._cache, max_calls=0, claims=claims, open_editor=self._open)

    def _open(self, method: EditingMethod) -> VideoEditor:
        if self._editor is None or self._key != method.editor_key:
            # Its memory is free before the other one is loaded.
            self._editor = None
            self._editor, self._key = method.open(), method.editor_key
        return self._editor


def _is_pending(run: SweepRun, names: tuple[str, str, str]) -> bool:
    return names in run.results and run.results[names].reason == NOT_DONE


def _count_missing(sweep: Sweep, cache: SweepCache, claims: WorkClaims, earlier_run: SweepRun) -> int:
    """Return how many edits have neither a result nor a reason for having none."""
    later_run = run_sweep(sweep, cache, only_finished=True)
    methods = {method.name: method for method in sweep.methods}
    items = {item.id: item for item in sweep.benchmark.items}
    count = 0
    for (name, item), output in later_run.outputs.items():
        method = methods[name]
        if (
            output.is_pending
            and earlier_run.outputs[name, item].is_pending
            and isinstance(method, EditingMethod)
        ):
            count += claims.load_failure(edit_claim(method, items[item], cache)) is None
    return count
