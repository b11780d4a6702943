"""SIGTERM, heard between steps: the end of a run that its machine or its owner asks for.

loop.py -> **stop_signal**

Several processes have to stop after the same step, since a save needs all of them. So with every step they exchange whether one has been asked: a maximum
over all devices of a number each, begun behind the step and read `lag` steps later, when the loop waits for that step anyway. All read the same answer at the
same step, whichever of them is ahead, and nobody waits for it. (JAX's preemption service needs about a second to tell the others: forty short steps.)
"""

import signal
from collections import deque
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec


class StopExchange:
    """The question of all processes whether one of them has been asked to stop, without waiting for the answer."""

    def __init__(self):
        mesh = Mesh(np.array(jax.devices()), ("device",))
        split = NamedSharding(mesh, PartitionSpec("device"))
        numbers = {value: np.full(jax.device_count(), value, np.int32) for value in (0, 1)}
        with jax.set_mesh(mesh):
            # Each process has its own parts alone, so what it passes is its own answer.
            self._answers = {
                value: jax.make_array_from_callback(x.shape, split, x.__getitem__)
                for value, x in numbers.items()
            }
            maximum = jax.jit(lambda x: x.max(), out_shardings=NamedSharding(mesh, PartitionSpec()))
            self._maximum = maximum.lower(self._answers[0]).compile()

    def begin(self, is_asked: bool) -> jax.Array:
        """Begin a round; all processes call this at the same place among their collective calls."""
        return self._maximum(self._answers[int(is_asked)])

    @staticmethod
    def read(answer: jax.Array) -> bool:
        """Wait for a round; return whether a process had been asked."""
        return bool(np.asarray(answer.addressable_data(0)))


class StopSignal:
    """A handler of SIGTERM that is polled once per step; several processes agree on the same step, as a save needs all of them.

    Attributes:
      requested: whether to stop: this process has been asked, or, of several, all know that one has.
    """

    def __init__(self, lag: int):
        """Install the handler.

        Args:
          lag: steps after which the answer of other processes is read; their devices should be done with it by then.
        """
        self.requested = False
        self._is_asked = False
        self._lag = lag
        self._exchange = StopExchange() if jax.process_count() > 1 else None
        self._rounds: deque[jax.Array] = deque()
        self._is_first = True
        self._previous_handler = signal.signal(signal.SIGTERM, self._request)

    def check(self) -> bool:
        """Return whether to stop after this step; called once a step, after it was begun."""
        if self._exchange is not None:
            self._rounds.append(self._exchange.begin(self._is_asked))
            # The first step may have compiled for minutes: what was asked during it is obeyed at once.
            while len(self._rounds) > (0 if self._is_first else self._lag):
                self.requested |= self._exchange.read(self._rounds.popleft())
            self._is_first = False
        return self.requested

    def settle(self) -> None:
        """Wait for the rounds in work, which must not overlap collective calls of another thread; their answers are read in turn."""
        jax.block_until_ready(list(self._rounds))

    def is_requested(self) -> bool:
        """Return whether this process has been asked to stop; several processes agree in `check` alone."""
        return self._exchange is None and self.requested

    def restore_handler(self) -> None:
        """Restore the previous handler."""
        signal.signal(signal.SIGTERM, self._previous_handler)

    def _request(self, *_: Any) -> None:
        self._is_asked = True
        self.requested |= self._exchange is None
