"""Who does the edit: v2v in this process, or a server that runs `v2v serve`. To the nodes both are an `Editor`."""

import json
import os
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

import numpy as np

from .host import StopButton, raise_interruption
from .media import NodeInputError, decode_clip, encode_clip, encode_picture

# Seconds between questions to a server, and that one may be away, as while it is started again.
POLL, PATIENCE = 0.5, 120.0
# Shares of an edit in this process, by stage: where each begins and ends.
_STAGES = {"masks": (0.0, 0.1), "windows": (0.1, 0.8), "clips": (0.1, 0.8), "frames": (0.8, 1.0)}


class EditError(Exception):
    """An edit that can't be made: one line."""


class StoppedError(Exception):
    """The button to stop was pressed."""


@dataclass(frozen=True)
class Edit:
    """One edit.

    Attributes:
      frames: uint8 [T, H, W, 3].
      fps: frames per second.
      instruction: the sentence.
      mask: uint8 [T, H, W] or [H, W], white where to edit; or a name such as "person", or a box "x,y,w,h"; None for everywhere.
      reference: uint8 [H, W, 3], or None.
      settings: fields of v2v's `EditSettings`.
    """

    frames: np.ndarray
    fps: float
    instruction: str
    mask: np.ndarray | str | None = None
    reference: np.ndarray | None = None
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """What became of it.

    Attributes:
      frames: uint8 [T, H, W, 3].
      report: settings, measurements, and notes.
    """

    frames: np.ndarray
    report: dict[str, Any]


class Editor(Protocol):
    """Does edits."""

    def edit(self, edit: Edit, show: Callable[[float], None], stop: StopButton) -> Result:
        """Do one.

        Args:
          edit: the edit.
          show: is told the share that is done.
          stop: ends it.

        Raises:
          EditError: it can't be made.
          StoppedError: `stop` was pressed.
        """
        ...


@contextmanager
def told_in_one_line() -> Iterator[None]:
    """Turn errors of a block into one line, and a stop into ComfyUI's own."""
    try:
        yield
    except StoppedError:
        raise_interruption()
        raise
    except (EditError, NodeInputError) as error:
        raise RuntimeError(f"v2v: {' '.join(str(error).split())}") from None


class ProcessEditor:
    """A model in this process."""

    def __init__(self, model: str, adapter: str = "", weight: float = 1.0):
        """Load a model.

        Args:
          model: "embedded", a folder, or ORG/NAME on the Hugging Face Hub.
          adapter: a file, or its name on the hub; "" for none.
          weight: of the adapter.

        Raises:
          EditError: v2v is not installed, or there is no such model.
        """
        try:
            import v2v
            from v2v.errors import collect_notes
            from v2v.pipeline.progress import EditCanceledError
        except ImportError as error:
            raise EditError(
                f"the model is to run in this process, where v2v is not installed ({error}); pip install v2v-edit, or use the node V2V Server"
            ) from None
        self._input_error, self._canceled, self._collect_notes = (
            v2v.InputError,
            EditCanceledError,
            collect_notes,
        )
        with self._told():
            self._editor = v2v.EasyV2VEditor.from_pretrained(model)
            if adapter:
                self._editor.load_lora_weights(adapter, weight)

    def edit(self, edit: Edit, show: Callable[[float], None], stop: StopButton) -> Result:
        """Do an edit (see `Editor`)."""

        def report(progress: Any) -> None:
            low, high = _STAGES.get(progress.stage, (0.0, 1.0))
            show(low + (high - low) * progress.done / max(1, progress.total))

        with self._told(), self._collect_notes() as notes:
            video = self._editor.edit_video(
                edit.frames,
                edit.instruction,
                edit.mask,
                edit.reference,
                fps=edit.fps,
                progress=report,
                cancel=stop,
                **edit.settings,
            )
        return Result(video.frames, {**video.report, "notes": notes})

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except self._canceled:
            raise StoppedError from None
        except self._input_error as error:
            raise EditError(str(error)) from None


class ServerEditor:
    """A server that runs `v2v serve`, over HTTP."""

    def __init__(self, address: str, token: str = ""):
        """Find a server.

        Args:
          address: such as http://127.0.0.1:8080.
          token: what it knows the sender by; "" for a server that asks for none.

        Raises:
          EditError: no address, or no such server answers there.
        """
        parts = urlsplit(address.strip())
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise EditError(
                f"server: expected an address such as http://127.0.0.1:8080, got {address[:200]!r}"
            )
        self._address, self._token = address.strip().rstrip("/"), token
        health = self._ask("GET", "/healthz", patience=0)
        if health.get("status") != "ok":
            raise EditError(f"server: {self._address} is no v2v serve; see v2v serve --help")

    def edit(self, edit: Edit, show: Callable[[float], None], stop: StopButton) -> Result:
        """Do an edit (see `Editor`). The server's job is deleted in any case."""
        fields = {name: _to_text(value) for name, value in edit.settings.items()} | {
            "prompt": edit.instruction
        }
        files = {"video": ("clip.mkv", encode_clip(edit.frames, edit.fps))}
        if isinstance(edit.mask, str):
            fields["mask"] = edit.mask
        elif edit.mask is not None and edit.mask.ndim == 2:
            files["mask"] = ("mask.png", encode_picture(edit.mask))
        elif edit.mask is not None:
            files["mask"] = ("mask.mkv", encode_clip(edit.mask, edit.fps))
        if edit.reference is not None:
            files["reference"] = ("reference.png", encode_picture(edit.reference))
        body, kind = _build_form(fields, files)
        job = self._ask("POST", "/v1/videos", body, kind, patience=0)
        path = f"/v1/videos/{job['id']}"
        try:
            while job["status"] in ("queued", "in_progress"):
                if stop.is_set():
                    raise StoppedError
                show(job["progress"] / 100)
                time.sleep(POLL)
                job = self._ask("GET", path)
            if job["status"] != "completed":
                reason = (job["error"] or {}).get("message") or f"the job is {job['status']}"
                raise EditError(f"server: {reason}")
            frames = decode_clip(self._fetch("GET", f"{path}/content"))
        finally:
            self._delete(path)
        return Result(frames, {**(job["report"] or {}), "notes": job["notes"]})

    def _delete(self, path: str) -> None:
        try:
            self._ask("DELETE", path, patience=0)
        except EditError:
            pass  # it expires there

    def _ask(
        self, method: str, path: str, body: bytes | None = None, kind: str = "", patience: float = PATIENCE
    ) -> dict[str, Any]:
        data = self._fetch(method, path, body, kind, patience)
        try:
            answer = json.loads(data)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise EditError(
                f"server: expected JSON from {self._address}{path}, got something else; is it v2v serve?"
            )
        return answer

    def _fetch(
        self, method: str, path: str, body: bytes | None = None, kind: str = "", patience: float = PATIENCE
    ) -> bytes:
        """Return an answer; a server that is away is asked again for `patience` seconds."""
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        headers |= {"Content-Type": kind} if kind else {}
        end = time.monotonic() + patience
        while True:
            request = urllib.request.Request(self._address + path, body, headers, method=method)
            try:
                with urllib.request.urlopen(request, timeout=120) as answer:
                    return answer.read()
            except urllib.error.HTTPError as error:
                message = _read_error(error)
                if error.code < 500 or error.code == 507 or time.monotonic() >= end:
                    raise EditError(f"server: {message}") from None
            except OSError as error:
                if time.monotonic() >= end:
                    raise EditError(
                        f"server: {self._address} doesn't answer ({error}); is v2v serve running there?"
                    ) from None
            time.sleep(POLL)


def read_token(variable: str) -> str:
    """Return the token in an environment variable, so that it is in no workflow; "" where it is not set."""
    return os.environ.get(variable.strip(), "") if variable.strip() else ""


def _read_error(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.loads(error.read())["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"{error.code} {error.reason}"


def _to_text(value: Any) -> str:
    return json.dumps(value) if isinstance(value, bool | int | float) else str(value)


def _build_form(fields: dict[str, str], files: dict[str, tuple[str, bytes]]) -> tuple[bytes, str]:
    """Return the body of a multipart form, and its Content-Type."""
    boundary, parts = secrets.token_hex(16), []
    for name, text in fields.items():
        parts.append(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'.encode()
        )
    for name, (file, data) in files.items():
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{file}"\r\n\r\n'
        parts += [head.encode(), data, b"\r\n"]
    return b"".join([*parts, f"--{boundary}--\r\n".encode()]), f"multipart/form-data; boundary={boundary}"
