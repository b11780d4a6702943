"""Long calls that a signal can interrupt.

Python runs the handler of a signal in the main thread, between two of its own instructions. While that thread compiles a program or waits
for a device, it is not heard: minutes with a large model, when a preempted machine has thirty seconds. So the call is made in another
thread, and the main thread waits for it in short sleeps. A call that is given up goes on until the process ends.
"""

import contextvars
import os
import sys
import threading
from collections.abc import Callable
from typing import TypeVar

import jax

Result = TypeVar("Result")

# Seconds between two looks at whether to stop.
POLL_SECONDS = 0.05

# Set when calls that were given up return. (A thread counts as ended once an exception of a signal's handler has interrupted its join.)
_abandoned: list[threading.Event] = []


class AbandonedCallError(Exception):
    """A call was given up because a stop was requested; it still runs."""


def run_interruptible(
    function: Callable[[], Result], is_stop_requested: Callable[[], bool] = lambda: False
) -> Result:
    """Return what a function returns; it runs in another thread, so that the main thread stays able to handle signals.

    Elsewhere than in the main thread the function is called as it is. In a job of several processes, which all have to make the same collective
    calls, only a call without any may be given up.

    Args:
      function: reads and writes nothing that the caller changes after an exception.
      is_stop_requested: asked every `POLL_SECONDS`.

    Raises:
      AbandonedCallError: a stop was requested before the function returned.
    """
    if threading.current_thread() is not threading.main_thread():
        return function()
    results: list[Result] = []
    errors: list[BaseException] = []
    mesh, context, has_returned = jax.sharding.get_mesh(), contextvars.copy_context(), threading.Event()

    def call() -> None:
        try:
            if mesh.empty:
                results.append(context.run(function))
            else:
                with jax.set_mesh(mesh):
                    results.append(context.run(function))
        except BaseException as error:
            errors.append(error)
        finally:
            has_returned.set()

    try:
        threading.Thread(target=call, daemon=True).start()
        while not has_returned.wait(POLL_SECONDS):
            if is_stop_requested():
                raise AbandonedCallError
    except BaseException:  # that of a signal's handler too
        _abandoned.append(has_returned)
        raise
    if errors:
        raise errors[0]
    return results[0]


def leave(code: int, message: str = "") -> None:
    """End the process at once if a call that was given up still runs: it can't be stopped, and must not see the interpreter go.

    Args:
      code: the exit code.
      message: printed on stderr before.
    """
    if not all(has_returned.is_set() for has_returned in _abandoned):
        if message:
            print(message, file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
