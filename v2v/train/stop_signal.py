"""SIGTERM, heard between steps: the end of a run that its machine or its owner asks for.

loop.py -> **stop_signal**
"""

import signal
from typing import Any

import jax
from jax.experimental import multihost_utils


class StopSignal:
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
