"""Requests to an OpenAI-compatible chat server, with retries.

Works with any server that has POST /chat/completions: OpenAI's, Gemini's compatible one, vLLM, SGLang, llama.cpp on this machine. The key
comes from an environment variable and goes nowhere else; without one none is sent, as local servers want none.

What is tried again: no connection, time-outs, 408, 409, 429 and 5xx, `tries` times in all, waiting 1, 2, 4, ... times `pause` seconds plus
up to a quarter at random, or as long as the server asks for in Retry-After, but never longer than `longest`. Anything else is told at once. After
`patience` questions in a row that ended so, the server counts as down and the rest fail without waiting.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field

from v2v.evaluation.metrics.base import ScoringError

RETRIED_STATUSES = (408, 409, 429, 500, 502, 503, 504, 529)


@dataclass
class Endpoint:
    """A chat server, its key and its retry limits.

    Attributes:
      url: up to and including the version, such as https://api.openai.com/v1 or http://localhost:8000/v1.
      key: name of the environment variable that holds the key.
      timeout: seconds for one answer.
      tries: requests a question, at most.
      pause, longest: seconds between them.
      patience: questions in a row without an answer, after which the server counts as down.
    """

    url: str = "https://api.openai.com/v1"
    key: str = "OPENAI_API_KEY"
    timeout: float = 120.0
    tries: int = 5
    pause: float = 1.0
    longest: float = 60.0
    patience: int = 3
    _unanswered_count: int = field(default=0, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def ask(self, question: dict) -> dict:
        """Return the server's JSON answer to a chat completion request.

        Raises:
          ScoringError: no answer; says why and after how many tries. Never final: the next run asks again.
        """
        reason = ""
        for attempt in range(self.tries):
            if self._unanswered_count >= self.patience:
                raise ScoringError(
                    f"judge down: {self.url} gave no answer to {self._unanswered_count} questions in a row"
                )
            wait = self.pause * 2**attempt * random.uniform(1, 1.25)
            try:
                answer = self._post(question)
                with self._lock:
                    self._unanswered_count = 0
                return answer
            except urllib.error.HTTPError as error:
                reason = f"HTTP {error.code} {_error_text(error)}"
                if error.code not in RETRIED_STATUSES:
                    raise ScoringError(f"judge at {self.url}: {reason}") from None
                wait = _retry_delay(error, wait)
            except (OSError, http.client.HTTPException, ValueError) as error:
                reason = str(getattr(error, "reason", "") or error) or type(error).__name__
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
            answer = json.loads(response.read())
        if not isinstance(answer, dict):
            raise ValueError("an answer that is no JSON object")
        return answer


def _error_text(error: urllib.error.HTTPError) -> str:
    try:
        return " ".join(error.read(300).decode(errors="replace").split())
    except (OSError, http.client.HTTPException):
        return ""


def _retry_delay(error: urllib.error.HTTPError, wait: float) -> float:
    """Seconds the server asks for; ours where it says nothing we understand."""
    try:
        return max(0.0, float(error.headers.get("Retry-After", "")))
    except ValueError:
        return wait
