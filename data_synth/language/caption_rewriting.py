"""Rewriting of captions to instructions: "A man jumps over the fence." becomes "make a man jump over the fence".

captions → **writer** → instructions ("" means: none, drop the event) or rejections → recipes/captions.py. There are two writers:
rules, the offline default, and any OpenAI-compatible endpoint (the EasyV2V paper used Qwen3-4B), described by a TOML file:

    url = "http://localhost:8000/v1"      # requests go to .../chat/completions
    model = "Qwen3-4B-Instruct"
    key = "OPENAI_API_KEY"                # environment variable with the bearer token; leave out for none
    cache = "writer-cache"                # folder, relative to the TOML file; instructions are cached by model and caption
    batch = 16                            # captions in one request
    retries = 3                           # further attempts, with growing pauses
    seconds = 60.0                        # time limit of one attempt
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from data_synth.experts import chat_endpoint
from data_synth.experts.base import ExpertError, FailureKind
from data_synth.experts.protocol import MAX_BUSY_SECONDS
from data_synth.language.caption_rules import rewrite_as_imperative
from data_synth.rejection import Rejected
from v2v.errors import InputError
from v2v.runtime import text_files

PROMPT = """You turn captions of what happens in a video into instructions that ask for it. Each instruction is one
imperative sentence that begins with make, let or have, keeps every detail of its caption and adds none. When a caption
describes no event that could be asked for, its instruction is an empty string. You get a JSON list of captions and
answer with nothing but a JSON list of as many strings, in the same order."""

_TYPES = {"url": str, "model": str, "key": str, "cache": str, "batch": int, "retries": int, "seconds": float}


class Writer(Protocol):
    """A rewriter of captions as instructions."""

    @property
    def version(self) -> str:
        """Version, recorded in every pair."""
        ...

    @property
    def batch(self) -> int:
        """Number of captions that one call handles best."""
        ...

    def __call__(self, captions: Sequence[str]) -> list[str | Rejected]:
        """Return one instruction a caption: "" where it describes no event, a rejection where the request failed."""
        ...


@dataclasses.dataclass(frozen=True)
class RuleWriter:
    """A writer by the rules of `caption_rules`, which gives "" for what they are not sure of."""

    version: str = "rules-2"
    batch: int = 1

    def __call__(self, captions: Sequence[str]) -> list[str | Rejected]:
        """Rewrite captions by rule."""
        return [rewrite_as_imperative(caption) for caption in captions]


def load_endpoint_writer(path: str | Path) -> EndpointWriter:
    """Load the writer that a TOML file describes.

    Raises:
      InputError: The file is unreadable, a field is missing, unknown or of the wrong type, or the key is not in the environment.
    """
    path = Path(path)
    table = text_files.read_toml(path, "a caption writer")
    if type(table.get("seconds")) is int:
        table["seconds"] = float(table["seconds"])
    wrong = [key for key, value in table.items() if type(value) is not _TYPES.get(key)]
    if wrong:
        raise InputError(
            f"{path}: {wrong[0]}: expected one of {', '.join(f'{k} ({t.__name__})' for k, t in _TYPES.items())}; "
            f"got {table[wrong[0]]!r}"
        )
    if not table.get("url") or not table.get("model"):
        raise InputError(f"{path}: expected url and model; add them")
    if table.get("key") and table["key"] not in os.environ:
        raise InputError(
            f"{path}: key: expected an environment variable {table['key']}, which is not set; set it"
        )
    return EndpointWriter(**{**table, "cache": str(path.parent / table.get("cache", "writer-cache"))})


@dataclasses.dataclass(frozen=True)
class EndpointWriter:
    """An OpenAI-compatible chat endpoint; the fields are those of the TOML file in the module docstring."""

    url: str
    model: str
    cache: str
    key: str = ""
    batch: int = 16
    retries: int = 3
    seconds: float = 60.0
    pause: float = 0.5

    @property
    def version(self) -> str:
        """Return the model and the hash of the prompt, for caching and provenance."""
        return f"{self.model}, prompt {hashlib.sha256(PROMPT.encode()).hexdigest()[:8]}"

    def __call__(self, captions: Sequence[str]) -> list[str | Rejected]:
        """Request the instructions that are not in the cache."""
        cached = [self._read_cached(caption) for caption in captions]
        out: list[str | Rejected] = [text or "" for text in cached]
        missing = [i for i, text in enumerate(cached) if text is None]
        for start in range(0, len(missing), self.batch):
            batch_indices = missing[start : start + self.batch]
            instructions = self._request_instructions([captions[i] for i in batch_indices])
            for i, answer in zip(batch_indices, instructions, strict=True):
                out[i] = answer
                if isinstance(answer, str):
                    self._write_cached(captions[i], answer)
        return out

    def _request_instructions(self, captions: list[str]) -> list[str | Rejected]:
        messages = [
            {"role": "system", "content": PROMPT},
            {"role": "user", "content": json.dumps(captions)},
        ]
        rejection, retry_after = Rejected(""), 0.0
        for attempt in range(self.retries + 1):
            if attempt:
                time.sleep(max(min(retry_after, MAX_BUSY_SECONDS), self.pause * 2 ** (attempt - 1)))
                retry_after = 0.0
            try:
                text = chat_endpoint.post_chat(self.url, self.model, messages, self.key, self.seconds)
                instructions = _parse_strings(text)
            except ExpertError as error:
                rejection, retry_after = _build_rejection(error), error.retry_after
                if error.failure.kind in (FailureKind.ACCESS, FailureKind.REQUEST):  # a retry would not help
                    break
            except ValueError:
                rejection = Rejected("writer answered no list of strings")
            else:
                if len(instructions) == len(captions):
                    return [answer.strip() for answer in instructions]
                rejection = Rejected("writer answered another number of sentences")
        return [rejection] * len(captions)

    def _cache_path(self, caption: str) -> Path:
        name = hashlib.sha256(json.dumps([self.version, caption]).encode()).hexdigest()
        return Path(self.cache) / name[:2] / f"{name}.json"

    def _read_cached(self, caption: str) -> str | None:
        try:
            text = json.loads(self._cache_path(caption).read_text())
        except (OSError, ValueError):
            return None
        return text if isinstance(text, str) else None

    def _write_cached(self, caption: str, text: str) -> None:
        path = self._cache_path(caption)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary_path = path.with_suffix(f".{os.getpid()}")
        temporary_path.write_text(json.dumps(text))
        temporary_path.replace(path)


def _build_rejection(error: ExpertError) -> Rejected:
    """Return a failed request as the reason of its captions."""
    kind = error.failure.kind
    if kind is FailureKind.TIMEOUT:
        return Rejected("writer took too long", transient=True, outage=True)
    if kind is FailureKind.ANSWER:
        return Rejected("writer answered no list of strings")
    if kind is FailureKind.CRASH and "HTTP" not in error.failure.reason:
        return Rejected("writer cannot be reached", transient=True, outage=True)
    # The captions may be to blame for a refusal alone; a key that is wrong or a model that isn't loaded is mended.
    return Rejected(
        f"writer {error.failure.reason}", kind is not FailureKind.REQUEST, outage=error.failure.outage
    )


def _parse_strings(content: str) -> list[str]:
    """Return the list in a response.

    Raises:
      ValueError: There is none.
    """
    out = chat_endpoint.find_json(content, "[]")
    if not isinstance(out, list) or not all(
        isinstance(text, str) and text_files.is_unicode(text) for text in out
    ):
        raise ValueError("not a list of strings")
    return out
