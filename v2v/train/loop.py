"""The training loop: restore, then (batch, step, log, save) until done.

train_step.py -> **loop** -> stage.py

The same loop trains the autoencoder, the base and the adapter. A save comes before the next batch is drawn, so that the saved position
follows exactly the batches that the saved state has used. Metrics are read once per interval, so that reading rarely stalls the device,
and always before a save, so that a state with a non-finite loss is never saved.
"""

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
from v2v.errors import InputError, note
from v2v.train import metric_writer as logs
from v2v.train.checkpointing import Checkpoints
from v2v.train.state import TrainState
from v2v.train.timer import Timer

Step = Callable[[TrainState, Any], tuple[TrainState, dict[str, jax.Array]]]
# Key of a batch that numbers its records: for error messages, not sent to the device.
RECORD = "record"


class NotFinite(InputError, FloatingPointError):
    """The loss became NaN or infinite."""


@dataclass(frozen=True)
class Hook:
    """A function that is called between steps, such as a held-out loss or previews.

    Attributes:
      every: steps between calls; 0 is never.
      run: (state, step, writer) to scalars for the log.
    """

    every: int
    run: Callable[[TrainState, int, logs.MetricWriter], dict[str, float]]


@dataclass(frozen=True)
class StepCost:
    """The cost of steps.

    Attributes:
      of: batch to (tokens, FLOPs) of its step (`flops.step_flops`).
      peak: FLOP/s of all devices together.
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
    watches: Sequence[Hook] = (),
    work: StepCost | None = None,
) -> TrainState:
    """Train until `steps` updates have been done in total, resuming from `workdir` when it holds a checkpoint.

    Args:
      workdir: receives `checkpoints/` and `log.jsonl`; a local folder or gs://...
      state: the state at step 0; gives shapes and shardings when resuming.
      step_fn: jitted (state, batch) to (state, metrics); may donate the state.
      batches: an iterator with `get_state` and `set_state`, such as grain's; its position is saved and restored.
      steps: number of updates in total.
      save_every: steps between checkpoints.
      log_every: steps between rows of the log.
      place: puts a host batch on the devices.
      log: writers of the log.
      watches: functions called between steps.
      work: cost of a step, to log tokens per second and model FLOP utilization.

    Returns:
      the final state. SIGTERM saves and exits with code 0.

    Raises:
      NotFinite: names the window of steps, the first bad step's records and the last good checkpoint, which stays.
      InputError: the checkpoint is of another configuration, the disk is too full for a save, or a save failed.
    """
    workdir = epath.Path(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    checkpoints, stop = Checkpoints(workdir / "checkpoints"), _StopOnSignal()
    error = True
    try:
        if checkpoints.latest() is not None:
            state = checkpoints.restore(state, batches)
        if int(state.step) < steps:
            checkpoints.check_room(state)
        with logs.MetricWriter(workdir, log) as writer:
            run = _Run(step_fn, batches, place, checkpoints, stop, writer, tuple(watches), work, workdir.name)
            state = run(state, steps, save_every, log_every)
        error = False
    finally:  # a save in progress is completed in any case
        stop.restore()
        try:
            checkpoints.close()
        except InputError:
            if not error:
                raise
    if stop.requested and int(state.step) < steps:
        note(f"stopped by signal at step {int(state.step)}; run again to resume")
        sys.exit(0)
    return state


@dataclass
class _Run:
    step_fn: Step
    batches: Iterator
    place: Callable[[Any], Any]
    checkpoints: Checkpoints
    stop: "_StopOnSignal"
    log: logs.MetricWriter
    watches: tuple[Hook, ...]
    work: StepCost | None
    name: str

    def __call__(self, state: TrainState, steps: int, save_every: int, log_every: int) -> TrainState:
        first = int(state.step)
        pending: list[dict[str, jax.Array]] = []
        records: list[Any] = []
        clock, compiled_shapes, self._done = Timer(), set(), np.zeros(2)
        hidden = jax.process_index() > 0
        with tqdm(
            total=steps, initial=first, unit="step", desc=self.name, dynamic_ncols=True, mininterval=2, disable=hidden
        ) as bar:  # fmt: skip
            for done in range(first + 1, steps + 1):
                with clock.on("data"):
                    batch, record = split_record(next(self.batches))
                    batch = self.place(batch)
                shapes = batch_shapes(batch)
                with clock.on("step" if shapes in compiled_shapes else "compile"):
                    state, metrics = self.step_fn(state, batch)
                compiled_shapes.add(shapes)
                if self.work is not None:
                    self._done += self.work.of(batch)
                pending.append(metrics)
                records.append(record)
                bar.update()
                stopping = self.stop.at(done)
                save = done % save_every == 0 or done == steps or stopping
                due = [hook for hook in self.watches if hook.every and done % hook.every == 0]
                if done % log_every == 0 or save or due:
                    row = self._row(done, pending, records, clock)
                    with clock.on("eval"):
                        for hook in due:
                            row |= hook.run(state, done, self.log)
                    self.log.write(done, row)
                    bar.set_postfix(_format_row(row))
                    pending, records = [], []
                if save:
                    with clock.on("save"):
                        self.checkpoints.save(done, state, self.batches)
                if stopping:
                    break
        return state

    def _row(self, done: int, pending: list, records: list, clock: Timer) -> dict[str, float]:
        rows = jax.device_get(pending)
        bad = next((i for i, row in enumerate(rows) if not np.isfinite(row["loss"])), None)
        if bad is not None:
            raise NotFinite(
                self._not_finite(done - len(rows), done, done - len(rows) + 1 + bad, records[bad])
            )
        elapsed, seconds = clock.lap()
        each = elapsed / len(rows)
        row = logs.mean_metrics(rows) | {"step": done, "seconds_per_step": each}
        row |= {f"seconds_{name}": seconds.get(name, 0.0) for name in ("compile", "data", "save", "eval")}
        row["data_wait"] = seconds.get("data", 0.0) / elapsed
        if self.work is not None:
            busy = elapsed - seconds.get("compile", 0.0) - seconds.get("eval", 0.0)
            (tokens, flops), self._done = self._done, np.zeros(2)
            row["tokens_per_second"] = tokens / busy
            row["mfu"] = flops / busy / self.work.peak
        return row

    def _not_finite(self, previous: int, done: int, first_bad: int, record: Any) -> str:
        last = self.checkpoints.latest()
        remedy = (
            "there is no checkpoint yet"
            if last is None
            else f"the last good checkpoint, step {last}, is intact"
        )
        ids = "" if record is None else f", whose batch holds records {', '.join(map(str, record))}"
        return (
            f"{self.name}: the loss is not finite between steps {previous} and {done}, first at step {first_bad}{ids}; {remedy};"
            " lower the learning rate or look at those records"
        )


def batch_shapes(batch: Any) -> tuple:
    """Return the shapes of a batch; a step is compiled once for each."""
    return tuple(np.shape(leaf) for leaf in jax.tree.leaves(batch))


def split_record(batch: Any) -> tuple[Any, Any]:
    """Return the part of a batch for the devices, and the numbers of its records or None."""
    if isinstance(batch, dict) and RECORD in batch:
        return {k: v for k, v in batch.items() if k != RECORD}, np.ravel(batch[RECORD])
    return batch, None


def _format_row(row: dict[str, float]) -> dict[str, str]:
    """Return the fields of a row that the progress bar shows."""
    out = {"loss": f"{row['loss']:.4f}", "s/step": f"{row['seconds_per_step']:.3g}"}
    if "mfu" in row:
        out |= {"tok/s": f"{row['tokens_per_second']:.3g}", "mfu": f"{row['mfu']:.0%}"}
    lost = {name: row[f"seconds_{name}"] for name in ("compile", "data", "save", "eval")}
    return out | {name: f"{seconds:.2g}s" for name, seconds in lost.items() if seconds >= 0.05}


class _StopOnSignal:
    """A handler of SIGTERM that is polled once per step; several processes agree on the same step, as a save needs all of them."""

    def __init__(self):
        self.requested = False
        self._single_process = jax.process_count() == 1
        if self._single_process:
            self._previous_handler = signal.signal(signal.SIGTERM, self._request)

    def at(self, step: int) -> bool:
        """Return whether to stop after this step."""
        if not self._single_process:
            self.requested = multihost_utils.reached_preemption_sync_point(step)
        return self.requested

    def restore(self):
        """Restore the previous handler."""
        if self._single_process:
            signal.signal(signal.SIGTERM, self._previous_handler)

    def _request(self, *_):
        self.requested = True
