"""Connections of the HTTP server: at most so many, and none that is open without asking for something.

uvicorn closes a connection that is silent after an answer, but not one that never sends a whole request, and it accepts any number: a few thousand of
them take every file descriptor of the process, and then no clip can be stored, and no store be opened.
"""

import asyncio
import contextlib
import logging
import resource

from uvicorn.protocols.http.h11_impl import H11Protocol

logger = logging.getLogger(__name__)

# Seconds in which the head of a request must have come.
HEAD_SECONDS = 20.0
# Files that a process needs beside its connections: the store, clips that are read and written, children, the model.
_OTHER_FILES = 256


class LimitedConnection(H11Protocol):
    """A connection that is closed when its request's head is not complete in time.

    Attributes:
      head_seconds: the time.
      limit: connections beyond are closed at once; None for any number.
    """

    head_seconds: float = HEAD_SECONDS
    limit: int | None = None
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Take a new connection."""
        super().connection_made(transport)
        if self.limit is not None and len(self.connections) > self.limit:
            logger.debug("more than %d connections", self.limit)
            transport.abort()
            return
        self._head_timer = self.loop.call_later(self.head_seconds, self._close_idle)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take data; the clock runs while a head is incomplete."""
        super().data_received(data)
        if self._is_busy():
            self._stop_timer()
        elif self._head_timer is None and not self.transport.is_closing():
            self._head_timer = self.loop.call_later(self.head_seconds, self._close_idle)

    def on_response_complete(self) -> None:
        """Wait for the next request; uvicorn closes the connection if nothing at all comes."""
        super().on_response_complete()
        if self._is_busy():  # the next was there already
            self._stop_timer()

    def _is_busy(self) -> bool:
        """Return whether a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def _close_idle(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing() and not self._is_busy():
            self.transport.close()

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def most_connections() -> int | None:
    """Return how many connections this process can hold, after it has raised its limit on files as far as it may; None where there is no limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and (hard == resource.RLIM_INFINITY or soft < hard):
        target = 65536 if hard == resource.RLIM_INFINITY else hard
        with contextlib.suppress(OSError, ValueError):  # macOS has another limit above
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, target), hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return None
    return max(16, soft - _OTHER_FILES, soft // 2)
