"""A trace of some steps for xprof or TensorBoard: `--log.profile 20:25`.

loop.py -> **profiling**
"""

from collections.abc import Iterator
from contextlib import contextmanager

import jax
from etils import epath

from v2v.errors import InputError


def parse_steps(text: str) -> range:
    """Return the steps of "FIRST:LAST", both included; "" is none.

    Raises:
      InputError: something else.
    """
    if not text:
        return range(0)
    first, _, last = text.partition(":")
    if not (first.isdecimal() and last.isdecimal()) or not 1 <= int(first) <= int(last):
        raise InputError(f"--log.profile: expected the first and the last step, such as 20:25, got {text!r}")
    return range(int(first), int(last) + 1)


class Profiler:
    """Traces a range of steps into a folder, once.

    Args:
      steps: the steps; those before a resumed run's first are left out.
      folder: receives the trace; a local folder or gs://...
    """

    def __init__(self, steps: range, folder: epath.PathLike):
        self._steps, self._folder, self._running = steps, folder, False

    @contextmanager
    def step(self, number: int) -> Iterator[None]:
        """Trace what is dispatched in the `with` block, if the step is one of those."""
        if number not in self._steps:
            yield
            return
        if not self._running:
            jax.profiler.start_trace(str(self._folder))
            self._running = True
        with jax.profiler.StepTraceAnnotation("train", step_num=number):
            yield

    def end_step(self, number: int, result: object) -> None:
        """End the trace after its last step, when its result is there."""
        if self._running and number >= self._steps[-1]:
            jax.block_until_ready(result)
            self.close()

    def close(self) -> None:
        """End a trace that is running."""
        if self._running:
            self._running = False
            jax.profiler.stop_trace()
