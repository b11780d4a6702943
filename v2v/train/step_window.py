"""The steps since the last row of the log: their metrics, times and records, summed up for the next row.

loop.py -> **step_window** -> metric_writer.py

Metrics stay on the devices until a row is due, so that reading them rarely stalls a step.
"""

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager

import jax
import numpy as np

from v2v.errors import InputError
from v2v.runtime import host_memory
from v2v.train.metric_writer import mean_metrics
from v2v.train.objectives import Metrics
from v2v.train.timer import Timer

# Activities whose seconds are columns of the log; all others are steps.
ACTIVITIES = ("compile", "data", "save", "eval")


class NonFiniteLossError(InputError, FloatingPointError):
    """The loss became NaN or infinite."""


class StepWindow:
    """What the steps since the last row measured.

    Args:
      name: of the run, for messages.
      peak: FLOP/s of all devices together; 0 where the cost of steps is unknown.
    """

    def __init__(self, name: str, peak: float = 0.0):
        self._name, self._peak = name, peak
        self._timer = Timer()
        self._metrics: list[Metrics] = []
        self._records: list[np.ndarray | None] = []
        self._durations: list[float] = []
        self._clips = self._tokens = self._operations = 0.0

    def on(self, activity: str) -> AbstractContextManager[None]:
        """Count the time spent in a `with` block as that of an activity."""
        return self._timer.on(activity)

    def add(
        self,
        metrics: Metrics,
        records: np.ndarray | None,
        *,
        clips: int,
        cost: tuple[int, float] = (0, 0.0),
        duration: float | None = None,
    ) -> None:
        """Add a step.

        Args:
          metrics: its metrics, on the devices.
          records: numbers of its records, for messages.
          clips: examples of its batch, in this process.
          cost: its tokens and FLOPs.
          duration: seconds from its batch to the next; None for one that was compiled.
        """
        self._metrics.append(metrics)
        self._records.append(records)
        self._clips += clips * jax.process_count()
        self._tokens, self._operations = self._tokens + cost[0], self._operations + cost[1]
        if duration is not None:
            self._durations.append(duration)

    def summarize(self, step: int, last_good: int | None) -> tuple[dict[str, float], Mapping[str, float]]:
        """Return the row of these steps and the seconds of its activities, and start a new window.

        Args:
          step: number of the last of the steps.
          last_good: the newest checkpoint, for messages.

        Raises:
          NonFiniteLossError: a loss is not finite.
        """
        metrics, records = jax.device_get(self._metrics), self._records
        self._metrics, self._records = [], []
        bad = next((i for i, row in enumerate(metrics) if not np.isfinite(row["loss"])), None)
        if bad is not None:
            raise NonFiniteLossError(
                self._format_non_finite(step - len(metrics), step, bad + 1, records[bad], last_good)
            )
        seconds = self.take_seconds()
        elapsed = sum(seconds.values())
        row = mean_metrics(metrics) | {"step": step, "seconds_per_step": elapsed / len(metrics)}
        row |= {f"seconds_{name}": seconds[name] for name in ACTIVITIES}
        row["data_wait"] = seconds["data"] / elapsed
        row["time"] = round(time.time(), 3)
        busy = elapsed - seconds["compile"] - seconds["eval"]
        row["clips_per_second"] = self._clips / busy
        if self._durations:
            row["step_p50"], row["step_p90"], row["step_max"] = map(
                float, np.percentile(self._durations, (50, 90, 100))
            )
        if memory := host_memory.peak_device_bytes():
            row["device_gib"] = memory / 2**30
        if self._peak:
            row["tokens_per_second"] = self._tokens / busy
            row["mfu"] = self._operations / busy / self._peak
        self._clips = self._tokens = self._operations = 0.0
        self._durations = []
        return row, seconds

    def take_seconds(self) -> dict[str, float]:
        """Return the seconds of all activities since the last call; what none of them claims is "step"."""
        elapsed, by_activity = self._timer.lap()
        seconds = {name: by_activity.get(name, 0.0) for name in ACTIVITIES}
        return seconds | {"step": elapsed - sum(seconds.values())}

    def _format_non_finite(
        self, previous: int, step: int, position: int, records: np.ndarray | None, last_good: int | None
    ) -> str:
        remedy = (
            "there is no checkpoint yet"
            if last_good is None
            else f"the last good checkpoint, step {last_good}, is intact"
        )
        ids = "" if records is None else f", whose batch holds records {', '.join(map(str, records))}"
        return (
            f"{self._name}: the loss is not finite between steps {previous} and {step}, first at step {previous + position}{ids}; {remedy};"
            " lower the learning rate or look at those records"
        )
