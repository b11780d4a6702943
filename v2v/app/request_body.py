"""Middleware that limits the bodies of requests: their size, and how slowly they may come."""

import asyncio
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from v2v.app.api_error import ApiError

# Seconds that a sender may pause, and after which its speed matters, in bytes a second.
PAUSE, GRACE, LEAST_SPEED = 60.0, 60.0, 1024.0
# Digits of a length that is a number at all.
_MOST_DIGITS = 19


class LimitedBody:
    """Refuses requests whose body is too large, whether they say so or not, and those that never come to an end."""

    def __init__(
        self,
        app: ASGIApp,
        limit: int,
        pause: float = PAUSE,
        grace: float = GRACE,
        least_speed: float = LEAST_SPEED,
    ):
        """Wrap an application.

        Args:
          app: the application.
          limit: most bytes of a body.
          pause: most seconds between two parts of a body.
          grace: seconds after which its speed matters.
          least_speed: bytes a second, from its beginning.
        """
        self._app, self._limit = app, limit
        self._pause, self._grace, self._least_speed = pause, grace, least_speed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        too_large = ApiError(
            413, "too_large", f"expected at most {self._limit / 2**20:.0f} MiB in one request"
        )
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if not length.isdigit() or len(length) > _MOST_DIGITS or int(length) > self._limit:
            await too_large.answer()(scope, receive, send)
            return
        too_slow = ApiError(408, "too_slow", "the request came too slowly; send it again")
        begin, total, is_complete = time.monotonic(), 0, False

        async def receive_limited() -> Message:
            nonlocal total, is_complete
            if is_complete:  # waits for the end of the connection
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), self._pause)
            except TimeoutError:
                raise too_slow from None
            total += len(message.get("body", b""))
            is_complete = not message.get("more_body", False)
            if total > self._limit:
                raise too_large
            seconds = time.monotonic() - begin
            if not is_complete and seconds > self._grace and total < self._least_speed * seconds:
                raise too_slow
            return message

        await self._app(scope, receive_limited, send)
