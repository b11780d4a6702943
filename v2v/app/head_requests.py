"""Middleware that answers HEAD as GET, with the same status and headers and without the body, which no file is read for."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

# With this extension of ASGI an answer names its file in place of reading it.
_PATH_SENT = "http.response.pathsend"


class HeadRequests:
    """Answers HEAD wherever GET is answered, as proxies, load balancers and download managers ask it."""

    def __init__(self, app: ASGIApp):
        """Wrap an application."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        extensions = {**(scope.get("extensions") or {}), _PATH_SENT: {}}

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(message)
            elif message["type"] == _PATH_SENT or not message.get("more_body", False):
                await send({"type": "http.response.body", "body": b""})

        await self._app({**scope, "method": "GET", "extensions": extensions}, receive, send_head)
