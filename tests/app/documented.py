"""What /openapi.json says of an answer."""

import re

import httpx


def read_routes(document):
    """Return (pattern of the path, operations), fixed paths first."""
    paths = document["paths"]
    patterns = {path: re.compile(re.sub(r"\{\w+\}", "[^/]+", path)) for path in paths}
    return [(patterns[path], paths[path]) for path in sorted(paths, key=lambda path: path.count("{"))]


def check_documented(routes, answer: httpx.Response) -> None:
    """Check that an answer's status and media type are those that its route may answer."""
    path, method = answer.request.url.path, answer.request.method.lower()
    found = next((operations for pattern, operations in routes if pattern.fullmatch(path)), None)
    operation = None if found is None else found.get("get" if method == "head" else method)
    if operation is None:  # the page, or no route
        return
    described = operation["responses"].get(str(answer.status_code))
    assert described is not None, f"{method} {path}: {answer.status_code} is not described"
    kind = answer.headers["content-type"].partition(";")[0]
    kinds = set(described["content"])
    assert kind in kinds or "application/octet-stream" in kinds, (path, kind, kinds)
