"""SIGTERM, heard between steps: the end of a run that its machine or its owner asks for.

loop.py -> **stop_signal**

A process of its own has a handler of Python. Several processes have to stop after the same step, since a save needs all of them: JAX's preemption
service tells the others, within a second, and agrees on the step after the last that any of them has begun. Its handler of the signal is installed
when it is made, and would be replaced by any that Python installs later; so it is made anew where the loop begins.
"""

import signal
from typing import Any

import jax
from jax._src import distributed
from jax.experimental import multihost_utils


class StopSignal:
    """A handler of SIGTERM that is polled once per step; several processes agree on the same step, as a save needs all of them.

    Attributes:
      requested: whether a signal has asked to stop.
    """

    def __init__(self):
        self.requested = False
        self._checks = 0
        self._single_process = jax.process_count() == 1
        if self._single_process:
            self._previous_handler = signal.signal(signal.SIGTERM, self._request)
        else:
            # What Python believes to be the handler, while the service's is.
            self._previous_handler = signal.getsignal(signal.SIGTERM)
            _install_preemption_service()

    def check(self) -> bool:
        """Return whether to stop after this step; called once a step."""
        self._checks += 1
        if not self._single_process:
            # The service compares for equality and counts from 0: steps of a resumed run would be beyond what it agrees on before the first.
            self.requested = self.requested or multihost_utils.reached_preemption_sync_point(self._checks)
        return self.requested

    def is_requested(self) -> bool:
        """Return whether this process has been asked to stop; several processes agree in `check` alone."""
        return self._single_process and self.requested

    def restore_handler(self) -> None:
        """Restore the previous handler."""
        signal.signal(signal.SIGTERM, self._previous_handler)

    def _request(self, *_: Any) -> None:
        self.requested = True


def _install_preemption_service() -> None:
    """Make JAX's preemption service anew, so that its handler of SIGTERM is the last that was installed."""
    job: Any = distributed.global_state
    if job.preemption_sync_manager is not None:
        job.preemption_sync_manager.shutdown()
        job.preemption_sync_manager = None
    job.initialize_preemption_sync_manager()
