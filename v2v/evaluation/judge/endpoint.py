"""The judge behind an OpenAI-compatible chat server, and its requests with retries.

It works with any server that has POST /chat/completions: OpenAI's, Gemini's compatible one, vLLM, SGLang, llama.cpp on this machine. The key
comes from an environment variable and is sent to that server only; without the variable no key is sent, as local servers want none.

A request is repeated after a failed connection, a time-out, and the statuses 408, 409, 429 and 5xx, up to `tries` times in all. The wait
is 1, 2, 4, ... times `pause` seconds plus up to a quarter at random, or what the server asks for in Retry-After, but at most `longest`.
Any other status fails at once. After `patience` questions in a row without an answer the server counts as down, and the remaining
questions fail without waiting.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import random
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from v2v.errors import InputError
from v2v.evaluation.counts import format_count
from v2v.evaluation.judge.judge import Question
from v2v.evaluation.metrics.base import ScoringError
from v2v.runtime import text_files

# Bytes of an answer that are read.
LARGEST_ANSWER = 1 << 24
RETRIED_STATUSES = (408, 409, 429, 500, 502, 503, 504, 529)


@dataclass
class Usage:
    """What a server says that its answers took.

    Attributes:
      answers: answers received.
      tokens_in: tokens of the questions.
      tokens_out: tokens of the answers.
      is_complete: whether every answer said so.
    """

    answers: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    is_complete: bool = True

    def add(self, usage: Any) -> None:
        """Add the field "usage" of an answer."""
        self.answers += 1
        counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")] if isinstance(usage, dict) else []  # fmt: skip
        numbers = [count for count in counts if isinstance(count, int)]
        if len(numbers) == 2:
            self.tokens_in, self.tokens_out = self.tokens_in + numbers[0], self.tokens_out + numbers[1]
        else:
            self.is_complete = False


@dataclass
class Endpoint:
    """A chat server, its key and its retry limits.

    Attributes:
      url: up to and including the version, such as https://api.openai.com/v1 or http://localhost:8000/v1.
      key: name of the environment variable that holds the key.
      timeout: seconds for one answer.
      tries: largest number of requests per question.
      pause: seconds before the first repetition.
      longest: largest number of seconds between two requests.
      patience: questions in a row without an answer after which the server counts as down.
      usage: of all its answers to this process.
    """

    url: str = "https://api.openai.com/v1"
    key: str = "OPENAI_API_KEY"
    timeout: float = 120.0
    tries: int = 5
    pause: float = 1.0
    longest: float = 60.0
    patience: int = 3
    usage: Usage = field(default_factory=Usage, repr=False, compare=False)
    _unanswered_count: int = field(default=0, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def __post_init__(self):
        if not self.url.startswith(("http://", "https://")):
            raise InputError(
                f"judge: expected an address that begins with http:// or https://, got {self.url!r}; such as http://localhost:8000/v1"
            )

    def ask(self, question: dict) -> dict:
        """Send a chat completion request and return the server's JSON answer.

        Args:
          question: the body of the request.

        Raises:
          ScoringError: no answer, with the reason and the number of tries. Never final: the next run asks again.
        """
        reason = ""
        for attempt in range(self.tries):
            if self._unanswered_count >= self.patience:
                raise ScoringError(
                    f"judge down: {self.url} gave no answer to {format_count(self._unanswered_count, 'question')} in a row"
                )
            wait = self.pause * 2**attempt * random.uniform(1, 1.25)
            try:
                answer = self._post(question)
                with self._lock:
                    self._unanswered_count = 0
                    self.usage.add(answer.get("usage"))
                return answer
            except urllib.error.HTTPError as error:
                reason = f"HTTP {error.code} {_error_text(error)}"
                if error.code not in RETRIED_STATUSES:
                    raise ScoringError(f"judge at {self.url}: {reason}") from None
                wait = _retry_delay(error, wait)
            except urllib.error.URLError as error:
                reason = str(error.reason) or type(error).__name__
            except (OSError, http.client.HTTPException, ValueError) as error:
                reason = str(error) or type(error).__name__
            if attempt + 1 < self.tries:
                time.sleep(min(wait, self.longest))
        with self._lock:
            self._unanswered_count += 1
        raise ScoringError(f"judge at {self.url}: no answer after {self.tries} tries, last: {reason}")

    def _post(self, question: dict) -> dict:
        headers = {"Content-Type": "application/json"}
        if os.environ.get(self.key):
            headers["Authorization"] = f"Bearer {os.environ[self.key]}"
        request = urllib.request.Request(
            f"{self.url.rstrip('/')}/chat/completions", json.dumps(question).encode(), headers, method="POST"
        )
        with urllib.request.urlopen(request, timeout=self.timeout) as response:
            answer = text_files.parse_json(response.read(LARGEST_ANSWER))
        if not isinstance(answer, dict):
            raise ValueError("an answer that is no JSON object")
        return answer


@dataclass(frozen=True)
class EndpointJudge:
    """A `Judge` behind a chat server.

    Attributes:
      model: name that the server knows it by.
      endpoint: the server.
      dollars_per_call: estimated price of one question; None is "unknown".
      parallel: items scored at a time.
      max_tokens: largest length of an answer.
      temperature: of sampling.
      revision: distinguishes what servers have under one name, such as quantized weights; the server's address does not count, as the same
        model often moves.
    """

    model: str
    endpoint: Endpoint = field(default_factory=Endpoint)
    dollars_per_call: float | None = None
    parallel: int = 8
    max_tokens: int = 512
    temperature: float = 0.0
    revision: str = ""

    @property
    def identity(self) -> dict[str, Any]:
        """Return the model and what changes its answers."""
        return {
            "model": self.model,
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "revision": self.revision,
        }

    @property
    def old_identity(self) -> dict[str, Any]:
        """Return the identity as it was when the server's address was part of it."""
        return {"model": self.model, "server": self.endpoint.url}

    def answer(self, question: Question) -> str:
        """Send the question with its pictures as JPEG and return the text of the first choice; an answer without one as it is.

        Raises:
          ScoringError: the server gave no answer.
        """
        pictures = [
            {"type": "image_url", "image_url": {"url": _encode_jpeg(frame)}} for frame in question.pictures
        ]
        message = {"role": "user", "content": [{"type": "text", "text": question.prompt}, *pictures]}
        answer = self.endpoint.ask(
            {
                "model": self.model,
                "temperature": self.temperature,
                "max_tokens": self.max_tokens,
                "messages": [message],
            }
        )
        try:
            text = answer["choices"][0]["message"]["content"] or ""
        except (KeyError, IndexError, TypeError):
            return str(answer)
        if isinstance(text, str):
            return text
        # Some servers answer with a list of parts.
        return "\n".join(str(part.get("text", "")) for part in text if isinstance(part, dict))


def _encode_jpeg(frame: np.ndarray) -> str:
    # OpenCV expects BGR.
    _, data = cv2.imencode(".jpg", np.ascontiguousarray(frame[..., ::-1]))
    return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}"


def _error_text(error: urllib.error.HTTPError) -> str:
    try:
        return " ".join(error.read(300).decode(errors="replace").split())
    except (OSError, http.client.HTTPException):
        return ""


def _retry_delay(error: urllib.error.HTTPError, wait: float) -> float:
    """Return the seconds that the server asks for; `wait` where it asks for none that can be read."""
    try:
        return max(0.0, float(error.headers.get("Retry-After", "")))
    except ValueError:
        return wait
