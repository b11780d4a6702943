"""A small Hugging Face Hub on 127.0.0.1 that serves local folders, and can fail in the ways that the real one fails.

It speaks what `huggingface_hub` uses of the protocol: `api/models/ORG/NAME[/revision/REV]` with sizes and hashes of all files,
`ORG/NAME/resolve/REV/FILE` by GET and HEAD with X-Repo-Commit, ETag, X-Linked-Etag and X-Linked-Size, redirects to another address for
large files, and ranges of bytes. Uploads: `api/repos/create`, `preupload`, the batches of Git LFS and `commit`, by those who show the token.

    with LoopbackHub({"org/tiny": folder}) as hub:
        hub.faults.cut_after = 1000      # the next answers with a file break off after 1000 bytes
"""

import base64
import hashlib
import json
import re
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

TOKEN = "hf_loopback"
# Files from this size on are served as Git LFS files are.
LARGE_BYTES = 4096


@dataclass
class Faults:
    """How the hub fails.

    Attributes:
      cut_after: answers with a file break off after so many bytes; 0 for never.
      cuts: number of answers that do.
      private: repositories that only a token shows.
      gated: repositories that are listed for all and opened by a token alone.
      denied: repositories that are gated and whose terms the token's owner has not accepted.
      busy: number of answers that are 429.
      wrong_bytes: file names whose content is not what their hash says.
      block_seconds: pause before every 10,000 bytes of a file.
      ignores_ranges: answer requests of a range with the whole file.
    """

    cut_after: int = 0
    cuts: int = 0
    private: set[str] = field(default_factory=set)
    gated: set[str] = field(default_factory=set)
    denied: set[str] = field(default_factory=set)
    busy: int = 0
    wrong_bytes: set[str] = field(default_factory=set)
    block_seconds: float = 0.0
    ignores_ranges: bool = False


@dataclass(frozen=True)
class Request:
    """A request that the hub has answered: method, path, and its Range header or ""."""

    method: str
    path: str
    range: str


class LoopbackHub:
    """The server, running between `with` and the end of its block.

    Attributes:
      repositories: folders by ORG/NAME.
      faults: how it fails from now on.
      requests: everything it was asked.
      sent_bytes: bytes of files sent.
      licence: of every repository's card.
      uploads: folder that repositories made by uploads lie in; None refuses uploads.
      messages: of the commits, in order.
    """

    def __init__(self, repositories: dict[str, Path], uploads: Path | None = None):
        self.repositories = dict(repositories)
        self.uploads, self.messages = uploads, []
        self.large_files: dict[str, bytes] = {}
        self.faults = Faults()
        self.requests: list[Request] = []
        self.sent_bytes = 0
        self.licence = "apache-2.0"
        self._lock = threading.Lock()

    def __enter__(self) -> "LoopbackHub":
        hub = self

        class Handler(_Handler):
            server_hub = hub

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """The value of HF_ENDPOINT."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def fetched(self) -> list[str]:
        """Return the files whose content was asked for, by their paths in the repositories."""
        names = (
            re.search(r"/(?:resolve|blobs)/[^/]+/(.+)", r.path) for r in self.requests if r.method == "GET"
        )
        return [match[1] for match in names if match]

    def commit(self, name: str) -> str:
        """Return the hash of a repository's only commit."""
        listing = sorted(
            (str(p), p.stat().st_size) for p in self.repositories[name].rglob("*") if p.is_file()
        )
        return hashlib.sha1(repr((name, listing)).encode()).hexdigest()

    def has_fault(self, kind: str) -> bool:
        """Take one of the failures "cuts" or "busy"; return whether there was one left."""
        with self._lock:
            count = getattr(self.faults, kind)
            if count:
                setattr(self.faults, kind, count - 1)
            return count > 0

    def count_sent(self, size: int) -> None:
        """Add to the bytes of files sent."""
        with self._lock:
            self.sent_bytes += size


def hashes(data: bytes) -> dict[str, str]:
    """Return the sha256 of a file and the hash that Git gives it."""
    blob = hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()
    return {"sha256": hashlib.sha256(data).hexdigest(), "blob": blob}


class _Server(ThreadingHTTPServer):
    def handle_error(self, request, client_address) -> None:
        """Keep silent about clients that hang up."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_hub: LoopbackHub

    def log_message(self, format, *args) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._receive()

    def do_PUT(self) -> None:
        self._receive()

    def _receive(self) -> None:
        """Answer a request that writes."""
        hub, path = self.server_hub, unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        hub.requests.append(Request(self.command, path, ""))
        if match := re.fullmatch(r"/large/([0-9a-f]{64})", path):
            hub.large_files[match[1]] = body
            return self._send(200, b"", {})
        if not self._has_token() or hub.uploads is None:
            return self._send_error(401, "", "Invalid username or password.")
        answer: dict = {}
        if path == "/api/repos/create":
            fields = json.loads(body)
            name = f"{fields.get('organization') or 'me'}/{fields['name']}"
            if name.partition("/")[0] == "others":
                return self._send_error(
                    403, "", "You don't have the rights to create a model under this namespace"
                )
            hub.repositories.setdefault(name, hub.uploads / name).mkdir(parents=True, exist_ok=True)
            answer = {"url": f"{hub.url}/{name}", "name": name}
        elif path == "/api/validate-yaml":
            head = json.loads(body)["content"].partition("---\n")[2].partition("\n---\n")[0]
            errors = [] if isinstance(yaml.safe_load(head), dict) else [{"message": "no metadata"}]
            answer = {"errors": errors, "warnings": []}
        elif re.fullmatch(r"/api/models/[^/]+/[^/]+/preupload/main", path):
            files = json.loads(body)["files"]
            modes = [{"path": f["path"], "uploadMode": "lfs" if f["size"] >= LARGE_BYTES else "regular", "shouldIgnore": False} for f in files]  # fmt: skip
            answer = {"files": modes}
        elif re.fullmatch(r"/[^/]+/[^/]+\.git/info/lfs/objects/batch", path):
            objects = [{"oid": o["oid"], "size": o["size"], "actions": {"upload": {"href": f"{hub.url}/large/{o['oid']}"}}} for o in json.loads(body)["objects"]]  # fmt: skip
            answer = {"transfer": "basic", "objects": objects}
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", path):
            for line in map(json.loads, body.splitlines()):
                value = line["value"]
                if line["key"] == "header":
                    hub.messages.append(value["summary"])
                    continue
                target = hub.repositories[match[1]] / value["path"]
                target.parent.mkdir(parents=True, exist_ok=True)
                large = line["key"] == "lfsFile"
                target.write_bytes(
                    hub.large_files[value["oid"]] if large else base64.b64decode(value["content"])
                )
            answer = {"success": True, "commitOid": hub.commit(match[1]), "commitUrl": f"{hub.url}/{match[1]}/commit/{hub.commit(match[1])}"}  # fmt: skip
        else:
            return self._send_error(404, "", "Not found")
        self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _answer(self) -> None:
        hub, url = self.server_hub, urlsplit(self.path)
        path = unquote(url.path)
        hub.requests.append(Request(self.command, path, self.headers.get("Range", "")))
        if hub.has_fault("busy"):
            return self._send_error(429, "", "Too many requests", {"Retry-After": "0"})
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            return self._send_listing(match[1], match[2] or "main", "blobs" in parse_qs(url.query))
        if match := re.fullmatch(r"/([^/]+/[^/]+)/(resolve|blobs)/([^/]+)/(.+)", path):
            return self._send_file(match[1], match[2], match[3], match[4])
        return self._send_error(404, "RepoNotFound", "Repository not found")

    def _has_token(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _refuses(self, name: str, revision: str, needs_files: bool) -> bool:
        """Answer with an error if the repository isn't there for this request; return whether it did."""
        hub = self.server_hub
        authorization = self.headers.get("Authorization")
        if authorization and not self._has_token():
            self._send_error(401, "", "Invalid credentials in Authorization header")
        elif name not in hub.repositories:
            # As the real hub, which doesn't tell strangers what exists.
            self._send_error(404 if self._has_token() else 401, "RepoNotFound", "Repository not found")
        elif name in hub.faults.private and not self._has_token():
            self._send_error(401, "RepoNotFound", "Repository not found")
        elif needs_files and name in hub.faults.gated and not self._has_token():
            self._send_error(401, "GatedRepo", f"Access to model {name} is restricted.")
        elif needs_files and name in hub.faults.denied:
            self._send_error(403, "GatedRepo", f"Access to model {name} is restricted.")
        elif revision not in ("main", "v1", hub.commit(name)):
            self._send_error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        else:
            return False
        return True

    def _send_listing(self, name: str, revision: str, with_hashes: bool) -> None:
        hub = self.server_hub
        if self._refuses(name, revision, False):
            return
        siblings = []
        for file in sorted(p for p in hub.repositories[name].rglob("*") if p.is_file()):
            data = file.read_bytes()
            entry: dict = {"rfilename": file.relative_to(hub.repositories[name]).as_posix()}
            if with_hashes:
                entry |= {"size": len(data), "blobId": hashes(data)["blob"]}
                if len(data) >= LARGE_BYTES:
                    lfs = {"size": len(data), "sha256": hashes(data)["sha256"], "pointerSize": 134}
                    entry["lfs"] = lfs
            siblings.append(entry)
        gated = "auto" if name in hub.faults.gated | hub.faults.denied else False
        info = {"id": name, "sha": hub.commit(name), "gated": gated, "private": False, "siblings": siblings}
        body = json.dumps(info | {"cardData": {"license": hub.licence}}).encode()
        self._send(200, body, {"Content-Type": "application/json"})

    def _send_file(self, name: str, kind: str, revision: str, path: str) -> None:
        hub = self.server_hub
        if self._refuses(name, revision, True):
            return
        file = hub.repositories[name] / path
        if not file.is_file():
            return self._send_error(
                404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": hub.commit(name)}
            )
        data = file.read_bytes()
        large, etags = len(data) >= LARGE_BYTES, hashes(data)
        headers = {"X-Repo-Commit": hub.commit(name), "Accept-Ranges": "bytes", "ETag": f'"{etags["blob"]}"'}
        if large:
            headers |= {"X-Linked-Etag": f'"{etags["sha256"]}"', "X-Linked-Size": str(len(data))}
            if kind == "resolve":
                location = f"{hub.url}/{name}/blobs/{revision}/{path}"
                return self._send(302, b"", headers | {"Location": location})
        if file.name in hub.faults.wrong_bytes:
            data = data[:-1] + bytes([data[-1] ^ 1])
        status, wanted_range = 200, re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted_range and not hub.faults.ignores_ranges:
            start, end = int(wanted_range[1]), min(int(wanted_range[2] or len(data) - 1), len(data) - 1)
            if start >= len(data):
                return self._send(416, b"", {"Content-Range": f"bytes */{len(data)}"})
            headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
            status, data = 206, data[start : end + 1]
        self._send(status, data, headers, is_file=True)

    def _send_error(
        self, status: int, code: str, message: str, headers: dict[str, str] | None = None
    ) -> None:
        codes = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        self._send(status, json.dumps({"error": message}).encode(), codes | (headers or {}))

    def _send(self, status: int, body: bytes, headers: dict[str, str], is_file: bool = False) -> None:
        hub = self.server_hub
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        cut = hub.faults.cut_after
        if is_file and 0 < cut < len(body) and hub.has_fault("cuts"):
            body, self.close_connection = body[:cut], True
        try:
            for start in range(0, len(body), 10_000):
                time.sleep(hub.faults.block_seconds if is_file else 0)
                self.wfile.write(body[start : start + 10_000])
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
            return
        if is_file:
            hub.count_sent(len(body))
