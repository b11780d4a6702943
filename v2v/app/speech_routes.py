"""The route that writes down what is said, in the manner of OpenAI's.

    POST   /v1/audio/transcriptions           multipart: file (a WAV recording of 16-bit PCM): {"text"}, "" for nothing that could be understood
400 no such recording, 413 too large, 429 too many, 501 neither a service nor pocketsphinx is there, 502 the service doesn't answer.
"""

import collections
import threading
import time
from collections.abc import Callable
from typing import Any

import anyio.to_thread
from fastapi import FastAPI, Request

from v2v.app.api_error import ApiError
from v2v.app.interface import BINARY, Transcription, answers, form
from v2v.app.speech import MOST_BYTES, MOST_SECONDS, SpeechError, Transcriber, read_recording
from v2v.errors import InputError, install_hint

# Recordings of an owner within a minute, and recordings that are written down at the same time.
MOST_PER_MINUTE = 30
MOST_AT_ONCE = 4
_REMEDY = f"the server can't write down what is said; whoever started it may add --speech URL, or {install_hint('speech')}"


class SpeechService:
    """Writes down recordings, within limits."""

    def __init__(self, transcriber: Transcriber | None):
        """Take what writes them down; None for nothing."""
        self._transcriber = transcriber
        self._times: dict[str, collections.deque[float]] = {}
        self._lock = threading.Lock()
        self._free = threading.BoundedSemaphore(MOST_AT_ONCE)

    def describe(self) -> dict[str, Any]:
        """Return what a page is told: no address, no key."""
        name = "" if self._transcriber is None else self._transcriber.name
        return {"by": name, "seconds": MOST_SECONDS, "remedy": "" if name else _REMEDY}

    def check(self, owner: str, size: int) -> None:
        """Check that an owner may send a recording.

        Args:
          owner: whose.
          size: bytes of the request, as it says.

        Raises:
          ApiError: there is nothing that could write it down, it is too large, or too many came within a minute.
        """
        if self._transcriber is None:
            raise ApiError(501, "no_speech", _REMEDY)
        if size > MOST_BYTES:
            raise ApiError(
                413,
                "too_large",
                f"file: expected at most {MOST_BYTES >> 20} MiB, {MOST_SECONDS:g} s of speech",
            )
        moment = time.monotonic()
        with self._lock:
            times = self._times.setdefault(owner, collections.deque())
            while times and times[0] < moment - 60:
                times.popleft()
            if len(times) >= MOST_PER_MINUTE:
                raise ApiError(429, "too_fast", f"expected at most {MOST_PER_MINUTE} recordings a minute", 30)
            times.append(moment)

    def write_down(self, file: Any) -> str:
        """Return what is said in an upload.

        Raises:
          InputError: no such recording.
          ApiError: too many are written down already, or the service doesn't answer.
        """
        assert self._transcriber is not None, "checked before"
        samples = read_recording(file)
        if not self._free.acquire(blocking=False):
            raise ApiError(429, "busy", "other recordings are written down at present; speak again soon", 5)
        try:
            return self._transcriber.transcribe(samples)
        except SpeechError as error:
            raise ApiError(502, "speech_failed", str(error), 30) from None
        finally:
            self._free.release()


def add_speech_routes(app: FastAPI, service: SpeechService, identify: Callable[[Request], str]) -> None:
    """Add the route to an application.

    Args:
      app: the application.
      service: writes down recordings.
      identify: returns who sends a request.
    """

    @app.post(
        "/v1/audio/transcriptions",
        response_model=Transcription,
        responses=answers(400, 408, 413, 429, 501, 502),
        openapi_extra=form({"file": {**BINARY, "description": "a WAV recording of 16-bit PCM"}}, ["file"]),
    )
    async def transcribe(request: Request) -> dict[str, str]:
        """Write down what is said."""
        service.check(identify(request), int(request.headers.get("content-length") or 0))
        async with request.form(max_files=1, max_fields=8) as form:
            upload = form.get("file")
            if upload is None or isinstance(upload, str):
                raise InputError("file: expected a recording as a file, got none")
            if (upload.size or 0) > MOST_BYTES:
                raise ApiError(413, "too_large", f"file: expected at most {MOST_BYTES >> 20} MiB")
            return {"text": await anyio.to_thread.run_sync(service.write_down, upload.file)}
