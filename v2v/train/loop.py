"""The training loop: restore, then (batch, step, log, save) until done.

train_step.py -> **loop** -> stage.py

The same loop trains the autoencoder, the base and the adapter. A save comes before the next batch is drawn, so that the saved position
follows exactly the batches that the saved state has used. Metrics are read once per interval, so that reading rarely stalls the device,
and always before a save, so that a state with a non-finite loss is never saved; the loss of a finished step is looked at as soon as the
loop has waited for that step, so that one that is not finite ends the run `STEPS_IN_FLIGHT` steps later at most. SIGTERM is obeyed after
the step in work: hooks and the first compilation are given up for it.
"""

import functools
import signal
import sys
from collections import deque
from collections.abc import Callable, Sequence
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
from v2v.runtime import host_memory
from v2v.runtime.interruptible import AbandonedCallError, run_interruptible
from v2v.train.checkpointing import CHECKPOINTS_FOLDER, Checkpoints
from v2v.train.metric_writer import MetricWriter, mean_metrics
from v2v.train.objectives import Metrics
from v2v.train.profiling import Profiler, parse_steps
from v2v.train.state import TrainState
from v2v.train.timer import Timer

DeviceBatch = TypeVar("DeviceBatch")
# Steps that the devices may be behind: a signal is obeyed, and a batch freed, so many steps later at most.
STEPS_IN_FLIGHT = 2
# Activities whose seconds are columns of the log.
ACTIVITIES = ("compile", "data", "save", "eval")


class NonFiniteLossError(InputError, FloatingPointError):
    """The loss became NaN or infinite."""


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
    """

    steps: int
    save_every: int = 500
    log: LogConfig = field(default_factory=LogConfig)
    hooks: Sequence[Hook] = ()
    learning_rate: Callable[[int], float] | None = None


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
      workdir: receives `checkpoints/` and `log.jsonl`; a local folder or gs://...
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
      InputError: the checkpoint is of another configuration, the disk is too full for a save, or a save failed.
    """
    folder = epath.Path(workdir)
    profiler = Profiler(parse_steps(schedule.log.profile), folder / "profile")
    folder.mkdir(parents=True, exist_ok=True)
    checkpoints, stop = Checkpoints(folder / CHECKPOINTS_FOLDER), _StopOnSignal()
    completed = False
    try:
        if checkpoints.latest() is not None:
            state = checkpoints.restore(state, batches)
        if int(state.step) < schedule.steps:
            checkpoints.check_room(state)
        with MetricWriter(folder, schedule.log, first_step=int(state.step)) as writer:
            run = _Run(
                step_fn, batches, schedule, place, cost, checkpoints, stop, writer, profiler, folder.name
            )
            state = run.train(state)
        completed = True
    except AbandonedCallError:
        note("stopped by signal while the first step was compiled; run again to resume")
        sys.exit(0)
    finally:  # a save in progress is completed in any case
        stop.restore_handler()
        profiler.close()
        try:
            checkpoints.close()
        except InputError:
            if completed:
                raise
    if stop.requested and int(state.step) < schedule.steps:
        note(f"stopped by signal at step {int(state.step)}; run again to resume")
        sys.exit(0)
    return state


class _Run(Generic[HostBatch, DeviceBatch]):
    """One call of `fit`, between restoring and the last save."""

    def __init__(
        self,
        step_fn: Callable[[TrainState, DeviceBatch], tuple[TrainState, Metrics]],
        batches: BatchIterator[HostBatch],
        schedule: Schedule,
        place: Callable[[HostBatch], DeviceBatch],
        cost: StepCost[DeviceBatch] | None,
        checkpoints: Checkpoints,
        stop: "_StopOnSignal",
        writer: MetricWriter,
        profiler: Profiler,
        name: str,
    ):
        self._step_fn, self._batches, self._place = step_fn, batches, place
        self._schedule, self._cost, self._name = schedule, cost, name
        self._checkpoints, self._stop, self._writer = checkpoints, stop, writer
        self._profiler = profiler
        self._timer = Timer()
        # Of the steps since the last row: metrics, record numbers, tokens and FLOPs.
        self._pending: list[Metrics] = []
        self._records: list[np.ndarray | None] = []
        self._work = np.zeros(2)
        self._in_flight: deque[Metrics] = deque()

    def train(self, state: TrainState) -> TrainState:
        """Train from the state's step to the end of the schedule, or until a signal."""
        first, steps = int(state.step), self._schedule.steps
        compiled_shapes: set[tuple] = set()
        hidden = jax.process_index() > 0
        with tqdm(
            total=steps, initial=first, unit="step", desc=self._name, dynamic_ncols=True, mininterval=2, disable=hidden
        ) as bar:  # fmt: skip
            for step in range(first + 1, steps + 1):
                with self._timer.on("data"):
                    arrays, records = split_records(next(self._batches))
                    batch = self._place(arrays)
                shapes = batch_shapes(batch)
                activity = "step" if shapes in compiled_shapes else "compile"
                with self._timer.on(activity), self._profiler.step(step):
                    if (
                        step == first + 1
                    ):  # which may compile for minutes; later there would be a state to lose
                        state, metrics = run_interruptible(
                            functools.partial(self._step_fn, state, batch), self._stop.is_requested
                        )
                    else:
                        state, metrics = self._step_fn(state, batch)
                self._profiler.end_step(step, metrics)
                compiled_shapes.add(shapes)
                if self._cost is not None:
                    self._work += self._cost.count(batch)
                self._pending.append(metrics)
                self._records.append(records)
                self._in_flight.append(metrics)
                if len(self._in_flight) > STEPS_IN_FLIGHT:
                    with self._timer.on("step"):
                        step_metrics = jax.block_until_ready(self._in_flight.popleft())
                    if not np.isfinite(jax.device_get(step_metrics["loss"])).all():
                        self._summarize(step)  # raises
                bar.update()
                stopping = self._stop.check(step)
                saving = step % self._schedule.save_every == 0 or step == steps or stopping
                due_hooks = [hook for hook in self._schedule.hooks if hook.every and step % hook.every == 0]
                if step % self._schedule.log.every == 0 or saving or due_hooks:
                    row = self._summarize(step)
                    if not stopping:
                        row |= self._call_hooks(due_hooks, state, step)
                        stopping = self._stop.is_requested()
                        saving = saving or stopping
                    self._writer.write(step, row)
                    bar.set_postfix(_format_row(row))
                if saving:
                    with self._timer.on("save"):
                        self._checkpoints.save(step, state, self._batches)
                if stopping:
                    break
        return state

    def _call_hooks(self, hooks: Sequence[Hook], state: TrainState, step: int) -> dict[str, float]:
        """Return the scalars of hooks; a signal ends the one that runs, and none follows."""
        row: dict[str, float] = {}
        with self._timer.on("eval"):
            for hook in hooks:
                try:
                    call = functools.partial(hook, state, step, self._writer)
                    row |= run_interruptible(call, self._stop.is_requested)
                except AbandonedCallError:
                    break
                if self._stop.is_requested():
                    break
        return row

    def _summarize(self, step: int) -> dict[str, float]:
        """Return the row of the steps since the last one, and start a new window."""
        metrics, records = jax.device_get(self._pending), self._records
        self._pending, self._records = [], []
        bad = next((i for i, row in enumerate(metrics) if not np.isfinite(row["loss"])), None)
        if bad is not None:
            first_bad = step - len(metrics) + 1 + bad
            raise NonFiniteLossError(
                self._format_non_finite(step - len(metrics), step, first_bad, records[bad])
            )
        elapsed, seconds = self._timer.lap()
        row = mean_metrics(metrics) | {"step": step, "seconds_per_step": elapsed / len(metrics)}
        row |= {f"seconds_{name}": seconds.get(name, 0.0) for name in ACTIVITIES}
        row["data_wait"] = seconds.get("data", 0.0) / elapsed
        if self._schedule.learning_rate is not None:
            row["learning_rate"] = self._schedule.learning_rate(step)
        if memory := host_memory.peak_device_bytes():
            row["device_gib"] = memory / 2**30
        if self._cost is not None:
            busy = elapsed - seconds.get("compile", 0.0) - seconds.get("eval", 0.0)
            (tokens, flops), self._work = self._work, np.zeros(2)
            row["tokens_per_second"] = tokens / busy
            row["mfu"] = flops / busy / self._cost.peak
        return row

    def _format_non_finite(self, previous: int, step: int, first_bad: int, records: np.ndarray | None) -> str:
        last = self._checkpoints.latest()
        remedy = (
            "there is no checkpoint yet"
            if last is None
            else f"the last good checkpoint, step {last}, is intact"
        )
        ids = "" if records is None else f", whose batch holds records {', '.join(map(str, records))}"
        return (
            f"{self._name}: the loss is not finite between steps {previous} and {step}, first at step {first_bad}{ids}; {remedy};"
            " lower the learning rate or look at those records"
        )


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


class _StopOnSignal:
    """A handler of SIGTERM that is polled once per step; several processes agree on the same step, as a save needs all of them.

    Attributes:
      requested: whether a signal has asked to stop.
    """

    def __init__(self):
        self.requested = False
        self._single_process = jax.process_count() == 1
        if self._single_process:
            self._previous_handler = signal.signal(signal.SIGTERM, self._request)

    def check(self, step: int) -> bool:
        """Return whether to stop after this step."""
        if not self._single_process:
            self.requested = multihost_utils.reached_preemption_sync_point(step)
        return self.requested

    def is_requested(self) -> bool:
        """Return whether this process has been asked to stop; several processes agree in `check` alone."""
        return self._single_process and self.requested

    def restore_handler(self) -> None:
        """Restore the previous handler."""
        if self._single_process:
            signal.signal(signal.SIGTERM, self._previous_handler)

    def _request(self, *_: Any) -> None:
        self.requested = True
