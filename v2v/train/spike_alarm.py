"""An alarm for losses that jump: a row of the log far above the rows before it.

loop.py -> **spike_alarm**

A row is the mean loss of some steps. It is compared with the median of the rows before, in robust standard deviations: 1.4826 times the median
distance from that median, and a fiftieth of it at least. Both hardly move by a few spikes, while a level that stays becomes the usual one after
half a window. A resumed run goes on with the rows of its log.
"""

import json
import math
from collections import deque
from dataclasses import dataclass

import jax
import numpy as np
from etils import epath
from jax.experimental import multihost_utils

from v2v.errors import InputError

# Rows that a row is compared with, and as many as there must be.
WINDOW, LEAST = 20, 8
# Standard deviations in a median distance, of normal values; and the least deviation, as a share of the median.
NORMAL, FLOOR = 1.4826, 0.02


class LossSpikeError(InputError):
    """The loss jumped, and the run was asked to stop then."""


@dataclass(frozen=True)
class Spike:
    """A row far above the rows before it.

    Attributes:
      loss: of the row.
      median: of the rows before.
      deviations: distance of both in robust standard deviations.
      is_first: whether the row before was none.
    """

    loss: float
    median: float
    deviations: float
    is_first: bool


class SpikeAlarm:
    """The rows that the next one is compared with.

    Args:
      threshold: deviations from which on a row is a spike; 0 for never.
      history: losses of earlier rows.
    """

    def __init__(self, threshold: float, history: list[float] | None = None):
        self._threshold = threshold
        self._losses: deque[float] = deque(history or (), maxlen=WINDOW)
        self._is_raised = False

    def check(self, loss: float) -> Spike | None:
        """Return how far a row is above those before, where it is a spike; it counts among the rows before the next."""
        earlier = np.asarray(self._losses)
        self._losses.append(loss)
        if not self._threshold or len(earlier) < LEAST:
            return None
        median = float(np.median(earlier))
        deviation = max(NORMAL * float(np.median(np.abs(earlier - median))), FLOOR * abs(median))
        deviations = (loss - median) / deviation if deviation else 0.0
        was_raised, self._is_raised = self._is_raised, deviations >= self._threshold
        return Spike(loss, median, deviations, not was_raised) if self._is_raised else None


def describe_spike(spike: Spike, step: int, every: int, last_good: int | None) -> str:
    """Return a spike for people.

    Args:
      spike: the spike.
      step: last step of its row.
      every: steps between rows.
      last_good: the newest checkpoint.
    """
    saved = (
        "there is no checkpoint yet" if last_good is None else f"the newest checkpoint is of step {last_good}"
    )
    return (
        f"the loss of steps {max(1, step - every + 1)} to {step} is {spike.loss:.4g}, {spike.deviations:.0f} deviations above {spike.median:.4g}, the"
        f" median of the rows before; {saved}"
    )


def read_losses(log: epath.Path, step: int) -> list[float]:
    """Return the losses of the last rows of a log up to a step; the same in all processes.

    Args:
      log: log.jsonl, which the first process can read.
      step: the last step that counts.
    """
    losses: list[float] = []
    if jax.process_index() == 0 and log.exists():
        for line in log.read_text().splitlines():
            try:
                row = json.loads(line)
                if row["step"] <= step and math.isfinite(row["loss"]):
                    losses.append(float(row["loss"]))
            except (ValueError, KeyError, TypeError):  # a line that a killed run left
                continue
    losses = losses[-WINDOW:]
    if jax.process_count() > 1:
        padded = np.asarray(losses + [math.nan] * (WINDOW - len(losses)), np.float32)
        losses = [float(x) for x in multihost_utils.broadcast_one_to_all(padded) if math.isfinite(x)]
    return losses
