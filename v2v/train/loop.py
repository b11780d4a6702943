"""restore → (batch → step → log → save)*. The same loop trains the VAE, the base and the adapter. step.py → **loop**

Order inside a turn, and why: save before the next batch is drawn, so that the saved position stands exactly after the batches the
saved state has seen; metrics are read once an interval, so that reading rarely stalls the device, and always before a save, so
that a state gone bad is never kept. Nothing here knows how many processes there are, but for who writes and how a signal is heard.
"""

import logging
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from etils import epath
from jax.experimental import multihost_utils
from tqdm import tqdm

from v2v.config import LogConfig
from v2v.errors import InputError
from v2v.train import metric_writer as logs
from v2v.train.checkpointing import Checkpoints
from v2v.train.state import TrainState
from v2v.train.timer import Clock

logger = logging.getLogger(__name__)

Step = Callable[[TrainState, Any], tuple[TrainState, dict[str, jax.Array]]]
RECORD = "record"  # entry of a batch that names its records; for error messages, never for the device


class NotFinite(InputError, FloatingPointError):
    """The loss became NaN or infinite."""


@dataclass(frozen=True)
class Watch:
    """Something done every so often, between steps: a held-out loss, previews.

    Attributes:
      every: steps between; 0 is never.
      run: (state, step, log) → scalars for the log.
    """

    every: int
    run: Callable[[TrainState, int, logs.Log], dict[str, float]]


@dataclass(frozen=True)
class Work:
    """What steps amount to.

    Attributes:
      of: batch → (tokens, FLOPs) of its step (clock.step_flops). peak: FLOP/s of all devices together.
    """

    of: Callable[[Any], tuple[int, float]]
    peak: float


def fit(
    workdir: str | Path,
    state: TrainState,
    step_fn: Step,
    batches: Iterator,
    *,
    steps: int,
    save_every: int = 500,
    log_every: int = 50,
    place: Callable[[Any], Any] = jax.device_put,
    log: LogConfig | None = None,
    watches: Sequence[Watch] = (),
    work: Work | None = None,
) -> TrainState:
    """Train until `steps` updates have been done in all, resuming from `workdir` when it holds a checkpoint.

    Args:
      workdir: receives `checkpoints/` and `log.jsonl`; a local folder or gs://…
      state: the state at step 0; tells shapes and shardings when resuming.
      step_fn: jitted (state, batch) → (state, metrics); may donate the state.
      batches: an iterator with `get_state` and `set_state`, such as grain's; its position is saved and restored.
      place: puts a host batch on the devices.
      work: to log tokens a second and model FLOP utilisation.

    Returns:
      the final state. SIGTERM saves and exits with code 0.

    Raises:
      NotFinite: names the window of steps, the first bad step's records and the last good checkpoint, which stays.
      InputError: a checkpoint of another configuration; no room for a save, or a save that failed.
    """
    workdir = epath.Path(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    checkpoints, stop = Checkpoints(workdir / "checkpoints"), _StopOnSignal()
    failed = True
    try:
        if checkpoints.latest() is not None:
            state = checkpoints.restore(state, batches)
        if int(state.step) < steps:
            checkpoints.check_room(state)
        with logs.Log(workdir, log) as writer:
            run = _Run(step_fn, batches, place, checkpoints, stop, writer, tuple(watches), work, workdir.name)
            state = run(state, steps, save_every, log_every)
        failed = False
    finally:  # whatever happened, a save that has begun is brought to its end
        stop.restore()
        try:
            checkpoints.close()
        except InputError:
            if not failed:
                raise
    if stop.asked and int(state.step) < steps:
        logger.info("stopped by signal at step %d; run again to resume", int(state.step))
        sys.exit(0)
    return state


@dataclass
class _Run:
    step_fn: Step
    batches: Iterator
    place: Callable[[Any], Any]
    checkpoints: Checkpoints
    stop: "_StopOnSignal"
    log: logs.Log
    watches: tuple[Watch, ...]
    work: Work | None
    name: str

    def __call__(self, state: TrainState, steps: int, save_every: int, log_every: int) -> TrainState:
        first = int(state.step)
        pending: list[dict[str, jax.Array]] = []
        records: list[Any] = []
        clock, known, self._done = Clock(), set(), np.zeros(2)
        hidden = jax.process_index() > 0
        with tqdm(
            total=steps, initial=first, unit="step", desc=self.name, dynamic_ncols=True, mininterval=2, disable=hidden
        ) as bar:  # fmt: skip
            for done in range(first + 1, steps + 1):
                with clock.on("data"):
                    batch, record = without_record(next(self.batches))
                    batch = self.place(batch)
                shapes = shapes_of(batch)
                with clock.on("step" if shapes in known else "compile"):
                    state, metrics = self.step_fn(state, batch)
                known.add(shapes)
                if self.work is not None:
                    self._done += self.work.of(batch)
                pending.append(metrics)
                records.append(record)
                bar.update()
                stopping = self.stop.at(done)
                save = done % save_every == 0 or done == steps or stopping
                due = [watch for watch in self.watches if watch.every and done % watch.every == 0]
                if done % log_every == 0 or save or due:
                    row = self._row(done, pending, records, clock)
                    with clock.on("eval"):
                        for watch in due:
                            row |= watch.run(state, done, self.log)
                    self.log.write(done, row)
                    bar.set_postfix(_shown(row))
                    pending, records = [], []
                if save:
                    with clock.on("save"):
                        self.checkpoints.save(done, state, self.batches)
                if stopping:
                    break
        return state

    def _row(self, done: int, pending: list, records: list, clock: Clock) -> dict[str, float]:
        rows = jax.device_get(pending)
        bad = next((i for i, row in enumerate(rows) if not np.isfinite(row["loss"])), None)
        if bad is not None:
            raise NotFinite(
                self._not_finite(done - len(rows), done, done - len(rows) + 1 + bad, records[bad])
            )
        elapsed, lost = clock.lap()
        each = elapsed / len(rows)
        row = logs.mean(rows) | {"step": done, "seconds_per_step": each}
        row |= {f"seconds_{name}": lost.get(name, 0.0) for name in ("compile", "data", "save", "eval")}
        row["data_wait"] = lost.get("data", 0.0) / elapsed
        if self.work is not None:
            busy = elapsed - lost.get("compile", 0.0) - lost.get("eval", 0.0)
            (tokens, flops), self._done = self._done, np.zeros(2)
            row["tokens_per_second"] = tokens / busy
            row["mfu"] = flops / busy / self.work.peak
        return row

    def _not_finite(self, before: int, done: int, first_bad: int, record: Any) -> str:
        last = self.checkpoints.latest()
        kept = (
            "there is no checkpoint yet"
            if last is None
            else f"the last good checkpoint, step {last}, is intact"
        )
        ids = "" if record is None else f", whose batch holds records {', '.join(map(str, record))}"
        return (
            f"{self.name}: the loss is not finite between steps {before} and {done}, first at step {first_bad}{ids}; {kept};"
            " lower the learning rate or look at those records"
        )


def shapes_of(batch: Any) -> tuple:
    """What decides whether a step must be compiled anew."""
    return tuple(np.shape(leaf) for leaf in jax.tree.leaves(batch))


def without_record(batch: Any) -> tuple[Any, Any]:
    """(what goes to the devices, numbers of its records or None)."""
    if isinstance(batch, dict) and RECORD in batch:
        return {k: v for k, v in batch.items() if k != RECORD}, np.ravel(batch[RECORD])
    return batch, None


def _shown(row: dict[str, float]) -> dict[str, str]:
    out = {"loss": f"{row['loss']:.4f}", "s/step": f"{row['seconds_per_step']:.3g}"}
    if "mfu" in row:
        out |= {"tok/s": f"{row['tokens_per_second']:.3g}", "mfu": f"{row['mfu']:.0%}"}
    lost = {name: row[f"seconds_{name}"] for name in ("compile", "data", "save", "eval")}
    return out | {name: f"{seconds:.2g}s" for name, seconds in lost.items() if seconds >= 0.05}


class _StopOnSignal:
    """SIGTERM, asked for once a step. Several processes agree on the step: a save needs all of them at the same one."""

    def __init__(self):
        self.asked = False
        self._alone = jax.process_count() == 1
        if self._alone:
            self._before = signal.signal(signal.SIGTERM, self._ask)

    def at(self, step: int) -> bool:
        if not self._alone:
            self.asked = multihost_utils.reached_preemption_sync_point(step)
        return self.asked

    def restore(self):
        if self._alone:
            signal.signal(signal.SIGTERM, self._before)

    def _ask(self, *_):
        self.asked = True
