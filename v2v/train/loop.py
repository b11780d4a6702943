"""restore → (batch → step → log → save)*. The same loop trains the VAE, the base and the adapter. step.py → **loop**

Order inside a turn, and why: save before the next batch is drawn, so that the saved iterator stands exactly after the batches
the saved state has seen; metrics are read one logging interval late, so that reading never stalls the device.
"""

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from v2v.train.checkpoint import Checkpoints
from v2v.train.state import TrainState

Step = Callable[[TrainState, Any], tuple[TrainState, dict[str, jax.Array]]]


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
) -> TrainState:
    """Train until `steps` updates have been done in all, resuming from `workdir` when it holds a checkpoint.

    Args:
      workdir: receives `checkpoints/` and `log.jsonl`.
      state: the state at step 0; tells shapes and shardings when resuming.
      step_fn: jitted (state, batch) → (state, metrics); may donate the state.
      batches: a grain iterator (its position is saved and restored).
      place: puts a host batch on the devices.

    Returns:
      the final state. SIGTERM saves and exits with code 0.

    Raises:
      FloatingPointError: the loss was not finite; names the window of steps. The last good checkpoint stays.
    """
    workdir = Path(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    checkpoints, stop = Checkpoints(workdir / "checkpoints"), _StopOnSignal()
    try:
        if checkpoints.latest() is not None:
            state = checkpoints.restore(state, batches)
        state = _run(workdir, state, step_fn, batches, checkpoints, stop, steps, save_every, log_every, place)
    finally:  # whatever happened, a save that has begun is brought to its end
        checkpoints.close()
        stop.restore()
    if stop.asked and int(state.step) < steps:
        print(f"stopped by signal at step {int(state.step)}; run again to go on", file=sys.stderr)
        sys.exit(0)
    return state


def _run(
    workdir, state, step_fn, batches, checkpoints, stop, steps, save_every, log_every, place
) -> TrainState:
    first = int(state.step)
    pending: list[dict[str, jax.Array]] = []
    clock, waited = time.perf_counter(), 0.0
    with (
        (workdir / "log.jsonl").open("a") as log,
        tqdm(
            total=steps, initial=first, unit="step", desc=workdir.name, dynamic_ncols=True, mininterval=2
        ) as bar,
    ):
        for done in range(first + 1, steps + 1):
            began = time.perf_counter()
            batch = place(next(batches))
            waited += time.perf_counter() - began
            state, metrics = step_fn(state, batch)
            pending.append(metrics)
            bar.update()
            save = done % save_every == 0 or done == steps or stop.asked
            if done % log_every == 0 or save:  # also before a save, so that a state gone bad is never kept
                row = _mean(pending, step_window=(done - len(pending), done))
                elapsed, clock = time.perf_counter() - clock, time.perf_counter()
                row |= {
                    "step": done,
                    "seconds_per_step": elapsed / len(pending),
                    "data_wait": waited / elapsed,
                }
                log.write(json.dumps(row) + "\n")
                log.flush()
                bar.set_postfix(loss=f"{row['loss']:.4f}")
                pending, waited = [], 0.0
            if save:
                checkpoints.save(done, state, batches)
            if stop.asked:
                break
    return state


def _mean(metrics: list[dict], step_window: tuple[int, int]) -> dict[str, float]:
    rows = jax.device_get(metrics)
    mean = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
    if not np.isfinite(mean["loss"]):
        raise FloatingPointError(
            f"train: the loss is not finite between steps {step_window[0]} and {step_window[1]}; the last checkpoint is"
            " intact; lower the learning rate or look at those batches"
        )
    return mean


class _StopOnSignal:
    def __init__(self):
        self.asked = False
        self._before = signal.signal(signal.SIGTERM, self._ask)

    def restore(self):
        signal.signal(signal.SIGTERM, self._before)

    def _ask(self, *_):
        self.asked = True
