"""The training loop: restore, then (batch, step, log, evaluate, save) until done.

train_step.py -> **loop** -> stage.py

The same loop trains the autoencoder, the base and the adapter. What happens between steps has a module each:
    step_window.py   metrics and times of the steps since the last row        metric_writer.py   where rows go
    callbacks.py     hooks: held-out losses, previews, files of adapters      checkpointing.py   saves of state and data position
    profiling.py     traces                                                   stop_signal.py     preemption
    attempts.py      restarts, and the time they cost                          spike_alarm.py    losses that jump
A save comes before the next batch is drawn, so that the saved position follows exactly the batches that the saved state has used. Metrics
are read once per interval, so that reading rarely stalls the device, and always before a save, so that a state with a non-finite loss is
never saved; the loss of a finished step is looked at as soon as the loop has waited for that step, so that one that is not finite ends the
run `STEPS_IN_FLIGHT` steps later at most. SIGTERM is obeyed after the step in work: hooks and the first compilation are given up for it. Several processes
obey it after the same step, `STEPS_IN_FLIGHT` steps after the one in work.
"""

import functools
import logging
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import jax
import numpy as np
from etils import epath
from jax.experimental import multihost_utils
from tqdm import tqdm

from v2v.config import LogConfig
from v2v.data.batch import BatchIterator, HostBatch, split_records
from v2v.errors import InputError, note
from v2v.runtime.interruptible import AbandonedCallError, run_interruptible
from v2v.train.attempts import AttemptLog, format_goodput
from v2v.train.checkpointing import CHECKPOINTS_FOLDER, Checkpoints
from v2v.train.metric_writer import LOG_FILE, MetricWriter
from v2v.train.objectives import Metrics
from v2v.train.profiling import Profiler, parse_steps
from v2v.train.spike_alarm import LossSpikeError, Spike, SpikeAlarm, describe_spike, read_losses
from v2v.train.state import TrainState
from v2v.train.step_window import ACTIVITIES, StepWindow
from v2v.train.stop_signal import StopSignal

logger = logging.getLogger(__name__)

DeviceBatch = TypeVar("DeviceBatch")
# Steps that the devices may be behind: a signal is obeyed, and a batch freed, so many steps later at most.
STEPS_IN_FLIGHT = 2


class Hook(Protocol):
    """A function that the loop calls between steps, such as a held-out loss or previews (callbacks.py)."""

    @property
    def every(self) -> int:
        """Steps between calls; 0 is never."""
        ...

    def __call__(self, state: TrainState, step: int, writer: MetricWriter) -> dict[str, float]:
        """Return scalars for the row of this step; pictures go to `writer`."""
        ...


@dataclass(frozen=True)
class StepCost(Generic[DeviceBatch]):
    """The cost of steps.

    Attributes:
      count: batch to (tokens, FLOPs) of its step (`flops.step_flops`).
      peak: FLOP/s of all devices together.
    """

    count: Callable[[DeviceBatch], tuple[int, float]]
    peak: float


@dataclass(frozen=True)
class Schedule:
    """The length of a run, and what happens at which steps.

    Attributes:
      steps: number of updates in total.
      save_every: steps between checkpoints.
      log: writers of the log, and steps between its rows.
      hooks: called between steps.
      learning_rate: of a step, to log it; None where there is none.
      save_minutes: minutes after which a checkpoint is saved in between, at the next row of the log; 0 for never.
    """

    steps: int
    save_every: int = 500
    log: LogConfig = field(default_factory=LogConfig)
    hooks: Sequence[Hook] = ()
    learning_rate: Callable[[int], float] | None = None
    save_minutes: float = 0.0


def fit(
    workdir: epath.PathLike,
    state: TrainState,
    step_fn: Callable[[TrainState, DeviceBatch], tuple[TrainState, Metrics]],
    batches: BatchIterator[HostBatch],
    schedule: Schedule,
    *,
    place: Callable[[HostBatch], DeviceBatch] = jax.device_put,
    cost: StepCost[DeviceBatch] | None = None,
) -> TrainState:
    """Train until `schedule.steps` updates have been done in total, resuming from `workdir` when it holds a checkpoint.

    Args:
      workdir: receives `checkpoints/`, `log.jsonl` and `attempts.json`; a local folder or gs://...
      state: the state at step 0; gives shapes and shardings when resuming.
      step_fn: jitted (state, batch) to (state, metrics); may donate the state.
      batches: batches of this process's rows; the position is saved and restored.
      schedule: number of steps, saves, log and hooks.
      place: puts a host batch, without its record numbers, on the devices.
      cost: cost of a step, to log tokens per second and model FLOP utilization.

    Returns:
      the final state. SIGTERM saves and exits with code 0.

    Raises:
      NonFiniteLossError: names the window of steps, the first bad step's records and the last good checkpoint, which stays.
      LossSpikeError: the loss jumped and `schedule.log.stop_on_spike` is set; nothing of it is saved.
      InputError: the checkpoint is of another configuration, the disk is too full for a save, or a save failed.
    """
    folder = epath.Path(workdir)
    profiler = Profiler(parse_steps(schedule.log.profile), folder / "profile")
    folder.mkdir(parents=True, exist_ok=True)
    checkpoints, stop = Checkpoints(folder / CHECKPOINTS_FOLDER), StopSignal(STEPS_IN_FLIGHT)
    attempts, cause, completed = None, "", False
    try:
        if checkpoints.latest() is not None:
            state = checkpoints.restore(state, batches)
        if int(state.step) < schedule.steps:
            checkpoints.check_room(state)
            attempts = AttemptLog(folder, int(state.step))
            if len(attempts.attempts) > 1 and jax.process_index() == 0:
                logger.info("%s: %s", folder.name, format_goodput(attempts.attempts))
        with MetricWriter(folder, schedule.log, first_step=int(state.step)) as writer:
            trainer = Trainer(
                step_fn,
                batches,
                schedule,
                place,
                cost,
                checkpoints,
                stop,
                writer,
                profiler,
                attempts,
                folder.name,
                SpikeAlarm(schedule.log.spike, read_losses(folder / LOG_FILE, int(state.step))),
            )
            state = trainer.train(state)
        completed = True
        cause = "signal" if stop.requested and int(state.step) < schedule.steps else "finished"
    except AbandonedCallError:
        cause = "signal"
        note("stopped by signal while the first step was compiled; run again to resume")
        sys.exit(0)
    except BaseException as error:
        cause = type(error).__name__
        raise
    finally:  # a save in progress is completed in any case
        stop.restore_handler()
        profiler.close()
        try:
            checkpoints.close()
        except InputError as error:
            cause = type(error).__name__
            if completed:
                raise
        finally:
            if attempts is not None:
                attempts.close(cause)
    if stop.requested and int(state.step) < schedule.steps:
        note(f"stopped by signal at step {int(state.step)}; run again to resume")
        sys.exit(0)
    return state


class Trainer(Generic[HostBatch, DeviceBatch]):
    """The steps of one call of `fit`, between restoring and the last save, and what is done between them."""

    def __init__(
        self,
        step_fn: Callable[[TrainState, DeviceBatch], tuple[TrainState, Metrics]],
        batches: BatchIterator[HostBatch],
        schedule: Schedule,
        place: Callable[[HostBatch], DeviceBatch],
        cost: StepCost[DeviceBatch] | None,
        checkpoints: Checkpoints,
        stop: StopSignal,
        writer: MetricWriter,
        profiler: Profiler,
        attempts: AttemptLog | None,
        name: str,
        alarm: SpikeAlarm,
    ):
        self._step_fn, self._batches, self._place = step_fn, batches, place
        self._schedule, self._cost, self._name = schedule, cost, name
        self._checkpoints, self._stop, self._writer = checkpoints, stop, writer
        self._profiler, self._attempts, self._alarm = profiler, attempts, alarm
        self._window = StepWindow(name, cost.peak if cost else 0.0)
        self._in_flight: deque[Metrics] = deque()
        self._compiled_shapes: set[tuple] = set()
        self._last_save = time.monotonic()

    def train(self, state: TrainState) -> TrainState:
        """Train from the state's step to the end of the schedule, or until a signal."""
        first, steps = int(state.step), self._schedule.steps
        hidden = jax.process_index() > 0
        with tqdm(
            total=steps, initial=first, unit="step", desc=self._name, dynamic_ncols=True, mininterval=2, disable=hidden
        ) as bar:  # fmt: skip
            for step in range(first + 1, steps + 1):
                state = self._train_step(state, step, is_first=step == first + 1)
                bar.update()
                stopping = self._stop.check()
                saving = step % self._schedule.save_every == 0 or step == steps or stopping
                due_hooks = [hook for hook in self._schedule.hooks if hook.every and step % hook.every == 0]
                logging_row = step % self._schedule.log.every == 0
                if saving or due_hooks:
                    self._stop.settle()
                if logging_row or saving or due_hooks:
                    row, seconds = self._summarize(step)
                    if self._schedule.learning_rate is not None:
                        row["learning_rate"] = self._schedule.learning_rate(step)
                    spike = self._alarm.check(row["loss"]) if logging_row else None
                    if spike is not None:
                        row["loss_spike"] = spike.deviations
                        self._tell_spike(spike, step, row)
                    if not stopping:
                        row |= self._call_hooks(due_hooks, state, step)
                        stopping = self._stop.is_requested()
                        saving = saving or stopping or self._is_save_overdue()
                    self._writer.write(step, row)
                    if self._attempts is not None:
                        self._attempts.update(step, seconds)
                    bar.set_postfix(_format_row(row))
                if saving:
                    with self._window.on("save"):
                        self._checkpoints.save(step, state, self._batches)
                    self._last_save = time.monotonic()
                if stopping:
                    break
        if self._attempts is not None:  # hooks and saves since the last row
            self._attempts.update(int(state.step), self._window.take_seconds())
        return state

    def _train_step(self, state: TrainState, step: int, is_first: bool) -> TrainState:
        """Do one step; wait for the one that was begun `STEPS_IN_FLIGHT` steps before."""
        start = time.perf_counter()
        with self._window.on("data"):
            arrays, records = split_records(next(self._batches))
            batch = self._place(arrays)
        shapes = batch_shapes(batch)
        is_compiled = shapes in self._compiled_shapes
        with self._window.on("step" if is_compiled else "compile"), self._profiler.step(step):
            if is_first:  # which may compile for minutes; later there would be a state to lose
                state, metrics = run_interruptible(
                    lambda: jax.block_until_ready(self._step_fn(state, batch)), self._stop.is_requested
                )
            else:
                state, metrics = self._step_fn(state, batch)
        self._profiler.end_step(step, metrics)
        self._compiled_shapes.add(shapes)
        self._in_flight.append(metrics)
        waited_metrics = None
        if len(self._in_flight) > STEPS_IN_FLIGHT:
            with self._window.on("step"):
                waited_metrics = jax.block_until_ready(self._in_flight.popleft())
        self._window.add(
            metrics,
            records,
            clips=len(jax.tree.leaves(arrays)[0]),
            cost=self._cost.count(batch) if self._cost else (0, 0.0),
            duration=time.perf_counter() - start if is_compiled else None,
        )
        if waited_metrics is not None and not np.isfinite(jax.device_get(waited_metrics["loss"])).all():
            self._summarize(step)  # raises
        return state

    def _call_hooks(self, hooks: Sequence[Hook], state: TrainState, step: int) -> dict[str, float]:
        """Return the scalars of hooks; a signal ends the one that runs, and none follows."""
        row: dict[str, float] = {}
        with self._window.on("eval"):
            for hook in hooks:
                try:
                    call = functools.partial(hook, state, step, self._writer)
                    row |= run_interruptible(call, self._stop.is_requested)
                except AbandonedCallError:
                    break
                if self._stop.is_requested():
                    break
        return row

    def _summarize(self, step: int) -> tuple[dict[str, float], Mapping[str, float]]:
        """Return the row of the steps since the last one and the seconds of its activities."""
        return self._window.summarize(step, self._checkpoints.latest())

    def _tell_spike(self, spike: Spike, step: int, row: Mapping[str, float]) -> None:
        """Tell a spike once, or end the run for it: all processes see the same loss."""
        log = self._schedule.log
        text = f"{self._name}: {describe_spike(spike, step, log.every, self._checkpoints.latest())}"
        if log.stop_on_spike:
            self._writer.write(step, row)
            raise LossSpikeError(
                f"{text}; stopped, as --log.stop-on-spike asks: look at the records of these steps, lower the learning rate (--adopt), or run"
                " again with --log.no-stop-on-spike"
            )
        if spike.is_first and jax.process_index() == 0:
            note(text)

    def _is_save_overdue(self) -> bool:
        """Return whether the last save is longer ago than `save_minutes`, by the clock of process 0."""
        minutes = self._schedule.save_minutes
        if not minutes:
            return False
        is_overdue = time.monotonic() - self._last_save > 60 * minutes
        if jax.process_count() > 1:
            is_overdue = bool(multihost_utils.broadcast_one_to_all(np.int32(is_overdue)))
        return is_overdue


def batch_shapes(batch: Any) -> tuple:
    """Return the shapes of a batch; a step is compiled once for each."""
    return tuple(np.shape(leaf) for leaf in jax.tree.leaves(batch))


def _format_row(row: dict[str, float]) -> dict[str, str]:
    """Return the fields of a row that the progress bar shows."""
    out = {"loss": f"{row['loss']:.4f}", "s/step": f"{row['seconds_per_step']:.3g}"}
    if "mfu" in row:
        out |= {"tok/s": f"{row['tokens_per_second']:.3g}", "mfu": f"{row['mfu']:.0%}"}
    times = {name: row[f"seconds_{name}"] for name in ACTIVITIES}
    return out | {name: f"{seconds:.2g}s" for name, seconds in times.items() if seconds >= 0.05}
