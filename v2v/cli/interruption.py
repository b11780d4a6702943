"""Ctrl-C and SIGTERM as exceptions that can't be lost.

A signal's handler runs between two instructions of the main thread, wherever it is. In a callback of the garbage collector, such as JAX's,
Python prints an exception and drops it, and the program would go on. So the handler raises again until the exception is on its way out.
"""

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

# Seconds after which an exception that was not seen is raised again.
RETRY_SECONDS = 0.2


@contextlib.contextmanager
def raised_signals() -> Iterator[None]:
    """Turn SIGTERM into SystemExit(143) and SIGINT into KeyboardInterrupt for the duration of a `with` block, so that unfinished files are removed.

    A signal that is ignored stays so. In another than the main thread, where Python allows no handlers, it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pending: BaseException | None = None

    def request(number: int, frame: FrameType | None) -> None:
        nonlocal pending
        if pending is None:
            pending = KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)
        insist(number, frame)

    def insist(number: int, frame: FrameType | None) -> None:
        if pending is None:
            return
        signal.setitimer(signal.ITIMER_REAL, RETRY_SECONDS)
        if not _is_handled(pending):
            raise pending

    handlers: dict[int, Callable] = {signal.SIGTERM: request, signal.SIGINT: request, signal.SIGALRM: insist}
    # What runs in the background of a shell, or under nohup, ignores signals that aren't for it.
    handlers = {k: handler for k, handler in handlers.items() if signal.getsignal(k) != signal.SIG_IGN}
    previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        pending = None
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in previous.items():
            signal.signal(number, handler)


def _is_handled(error: BaseException) -> bool:
    """Return whether the interrupted code is a clean-up that the exception has begun."""
    current = sys.exc_info()[1]
    while current is not None:
        if current is error:
            return True
        current = current.__context__
    return False
