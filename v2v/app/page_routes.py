"""The page of `v2v app` and `v2v serve`: HTML, style and scripts that come with the package, a client of the jobs like any other.

Nothing of it is secret, so it is sent without a token; all that it asks for afterwards needs one, which is in the fragment of its address
(#token=...) and so never sent to a server or written to a log.
"""

import functools
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import Response

_FOLDER = Path(__file__).parent / "page"
_KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
# No script, style or picture of others, and no frame of others around it.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def read_page_files(folder: Path = _FOLDER) -> dict[str, tuple[bytes, str]]:
    """Return the files of the page, each with its media type, by name."""
    return {
        path.name: (path.read_bytes(), _KINDS[path.suffix])
        for path in sorted(folder.iterdir())
        if path.suffix in _KINDS
    }


def add_page_routes(app: FastAPI) -> None:
    """Add the routes to an application."""
    files = read_page_files()

    def send(name: str) -> Response:
        content, kind = files[name]
        return Response(content, media_type=kind, headers=_HEADERS)

    @app.get("/", include_in_schema=False)
    def show_page() -> Response:
        """Send the page."""
        return send("index.html")

    for name in files:
        # Names are those of the package; nothing that a sender writes becomes a path.
        app.add_api_route(
            f"/page/{name}", functools.partial(send, name), methods=["GET"], include_in_schema=False
        )
