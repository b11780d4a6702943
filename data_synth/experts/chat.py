"""An expert that writes, behind an OpenAI-compatible endpoint that sees pictures.

jobs → frames as JPEG and a task in words → `chat_endpoint.post_chat` → what `answers.py` reads. One endpoint serves the roles caption, instruct and filter.
Answers are kept in a cache by model, task and pictures, so that a build that goes on asks nothing twice.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from data_synth.experts import chat_endpoint
from data_synth.experts.base import Answer, ExpertError, FailureKind
from data_synth.experts.spec import ExpertSpec
from data_synth.experts.wire import Job
from v2v.errors import InputError

_TASKS = {
    "caption": """You see frames of a video in their order. Answer with nothing but a JSON object: "caption" is one sentence that says what is seen and
what happens, without any introduction; "nouns" is a list of up to eight short names of single things in the video that an edit could change or remove,
such as "red car", most prominent first.""",
    "instruct": """You write instructions for a video editor. You see frames of a video in their order{target} Answer with nothing but a JSON list of five
different instructions. Each is in the imperative, names what the video really shows, can be followed without seeing anything else, and asks for one
edit only. Vary length, words and tone: some of fewer than eight words, some of more than twenty.""",
    "filter": """You check training examples of a video editor. You see frames of a video before an edit and then the same frames after it. Answer with
nothing but a JSON object: "keep" is true if the edit does what the instruction says, changes nothing else, and looks sound, otherwise false; "reason"
says in at most six words what is wrong, "" if nothing is.""",
}
_BRACKETS = {"caption": "{}", "instruct": "[]", "filter": "{}"}


class ChatExpert:
    """An OpenAI-compatible chat endpoint; the jobs of a batch are sent at the same time, each as a request of its own."""

    def __init__(self, spec: ExpertSpec):
        self.spec = spec
        self.name, self.version = spec.name, spec.version
        self.batch, self.retries = spec.batch, spec.retries

    def close(self) -> None:
        """Do nothing: no process belongs to a service."""

    def __call__(self, jobs: Sequence[Job]) -> list[Answer]:
        """Ask the service about each job that the cache has no answer for.

        Raises:
          ExpertError: A request failed; what was answered before stays in the cache.
          InputError: The environment variable of the key is not set.
        """
        if self.spec.token and self.spec.token not in os.environ:
            raise InputError(
                f"{self.spec.path}: token: expected an environment variable {self.spec.token}, which is not set; set it"
            )
        if len(jobs) == 1:
            return [self._answer(jobs[0])]
        with ThreadPoolExecutor(len(jobs)) as pool:
            futures = [pool.submit(self._answer, job) for job in jobs]
        return [future.result() for future in futures]

    def _answer(self, job: Job) -> Answer:
        role = str(job.about.get("role", self.spec.role))
        messages = build_messages(job, role, self.spec.frames)
        path = self._cache_path(messages)
        if path is not None and (cached := _read_cached(path)) is not None:
            return cached[0]
        text = chat_endpoint.post_chat(
            self.spec.url, self.spec.model, messages, self.spec.token, self.spec.seconds
        )
        try:
            answer = chat_endpoint.find_json(text, _BRACKETS[role])
        except ValueError:
            raise ExpertError("answered no JSON", FailureKind.ANSWER) from None
        if path is not None:
            _write_cached(path, answer)
        return answer

    def _cache_path(self, messages: list[dict[str, Any]]) -> Path | None:
        if not self.spec.cache:
            return None
        content = json.dumps([self.spec.model, self.spec.version, messages])
        name = hashlib.sha256(content.encode()).hexdigest()
        return self.spec.path.parent / self.spec.cache / name[:2] / f"{name}.json"


def build_messages(job: Job, role: str, frames: int) -> list[dict[str, Any]]:
    """Return the messages that ask about a job.

    Args:
      job: The clip, and its target for pairs.
      role: caption, instruct or filter.
      frames: Number of frames of each clip that are sent, evenly spaced.
    """
    target = (
        ""
        if job.target is None
        else ", and then the same frames after an edit: write what asks for exactly this edit."
    )
    task = _TASKS[role].replace("{target}", target or ": propose edits that suit it.")
    parts: list[dict[str, Any]] = []
    if words := _describe(job, role):
        parts.append({"type": "text", "text": words})
    sides = (
        [("Before:", job.clip), ("After:", job.target)] if job.target is not None else [("Frames:", job.clip)]
    )
    for title, clip in sides:
        assert clip is not None
        parts.append({"type": "text", "text": title})
        numbers = np.unique(np.linspace(0, len(clip) - 1, min(frames, len(clip))).round().astype(int))
        parts += [chat_endpoint.build_picture(clip[k]) for k in numbers]
    return [{"role": "system", "content": task}, {"role": "user", "content": parts}]


def _describe(job: Job, role: str) -> str:
    """Return what is known of a job, as lines of text."""
    lines = []
    if caption := job.about.get("source_caption"):
        lines.append(f"The video before the edit: {caption}.")
    if role == "instruct" and job.target is None and job.prompt:
        lines.append(f"Kind of edit, by examples: {job.prompt}")
    elif job.prompt:
        lines.append(f"Instruction: {job.prompt}")
    return "\n".join(lines)


def _read_cached(path: Path) -> list[Any] | None:
    """Return a list with the answer in a file; None where there is none."""
    try:
        return [json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError):
        return None


def _write_cached(path: Path, answer: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(f".{os.getpid()}.{id(answer)}")
    beside.write_text(json.dumps(answer), encoding="utf-8")
    beside.replace(path)
