"""Requests to OpenAI-compatible chat endpoints, with pictures or without.

messages → **post_chat** → the text of the answer, or an `ExpertError`. Keys come from the environment and are stored nowhere.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from data_synth.experts.base import ExpertError, FailureKind
from data_synth.experts.http_errors import find_http_failure, find_url_failure

# An answer longer than this is no text.
MAX_ANSWER_BYTES = 1 << 24
_JPEG_QUALITY = 90


def post_chat(
    url: str, model: str, messages: Sequence[dict[str, Any]], key: str = "", seconds: float = 60.0
) -> str:
    """Return the answer of a chat endpoint to some messages.

    Args:
      url: Address of the service up to and with /v1.
      model: Name of the model.
      messages: As the chat completions of OpenAI take them.
      key: Environment variable that holds the bearer token; "" for none.
      seconds: Time limit of the whole exchange.

    Raises:
      ExpertError: The service can't be reached, is busy, refuses, takes too long, or answers something else.
      KeyError: The environment variable is not set.
    """
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {os.environ[key]}"
    body = json.dumps({"model": model, "temperature": 0, "messages": list(messages)}).encode()
    request = urllib.request.Request(f"{url.rstrip('/')}/chat/completions", body, headers)
    deadline, data = time.monotonic() + seconds, bytearray()
    try:
        with urllib.request.urlopen(request, timeout=seconds) as answer:
            while part := answer.read1(1 << 16):
                data += part
                if time.monotonic() > deadline:
                    raise TimeoutError
                if len(data) > MAX_ANSWER_BYTES:
                    raise ExpertError("answered far more than a text", FailureKind.ANSWER)
    except urllib.error.HTTPError as error:
        raise find_http_failure(error) from None
    except (OSError, http.client.HTTPException) as error:
        raise find_url_failure(error, seconds) from None
    try:
        text = json.loads(data)["choices"][0]["message"]["content"]
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        text = None
    if not isinstance(text, str):
        raise ExpertError("answered no chat completion", FailureKind.ANSWER)
    return text


def find_json(text: str, brackets: str) -> Any:
    """Return the JSON in an answer, which models often wrap in words or a code fence.

    Args:
      text: The answer.
      brackets: First and last character of the JSON, "[]" or "{}".

    Raises:
      ValueError: There is none.
    """
    try:
        return json.loads(text[text.index(brackets[0]) : text.rindex(brackets[1]) + 1])
    except (ValueError, RecursionError):
        raise ValueError("no JSON") from None


def build_picture(frame: np.ndarray, longest: int = 512) -> dict[str, Any]:
    """Return a picture as part of a message.

    Args:
      frame: uint8 [H, W, 3].
      longest: Its longer side is scaled down to so many pixels.
    """
    height, width = frame.shape[:2]
    scale = min(1.0, longest / max(height, width))
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        frame = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(
        ".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), (cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY)
    )
    return {
        "type": "image_url",
        "image_url": {"url": f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}"},
    }
