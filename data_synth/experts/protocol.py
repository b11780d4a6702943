"""Use of an expert: batches, retries and checks, the same for every kind.

jobs → **run_expert**, **ask_expert** → `base.Expert` → clips, texts or failures → `recipes/external.py`, `recipes/text_experts.py` → Pair.

These two are the only way in which recipes use an expert: the first where it makes clips, the second where it writes. They send jobs in batches
and repeat failed requests; while a service says that it is busy they wait as long as the service asks. When a batch keeps failing they send its
jobs one by one, so that a single bad clip fails alone. Every failure has a reason.

`connect_expert` gives the expert that a TOML file describes (fields: `spec.py`), `FunctionExpert` wraps a Python function.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from data_synth.experts import chat, remote
from data_synth.experts.base import Answer, Expert, ExpertError, ExpertFunction, Failure, FailureKind
from data_synth.experts.spec import ExpertSpec
from data_synth.experts.wire import Job

# Seconds that one request waits, all told, for a service that says it is busy.
MAX_BUSY_SECONDS = 120.0

# The class behind each value of a TOML file's field `kind`.
EXPERT_KINDS: dict[str, Callable[[ExpertSpec], Expert]] = {
    "python": remote.ChildExpert,
    "command": remote.CommandExpert,
    "http": remote.HttpExpert,
    "chat": chat.ChatExpert,
}

Text = TypeVar("Text")


@dataclasses.dataclass
class FunctionExpert:
    """A trusted Python function as an expert: no time limit, and a crash of it ends this process.

    Attributes:
      name: Name, recorded in every pair.
      version: Version, recorded in every pair.
      function: Jobs to answers, in order.
      batch: Largest number of jobs in one call.
      retries: Number of further attempts after an exception.
    """

    name: str
    version: str
    function: ExpertFunction
    batch: int = 16
    retries: int = 0

    def __call__(self, jobs: Sequence[Job]) -> list[Answer]:
        """Call the function once.

        Raises:
          ExpertError: The function raised an exception.
        """
        try:
            return list(self.function(jobs))
        except Exception as error:  # whatever an expert's code may raise is this request's failure
            raise ExpertError(f"raised {type(error).__name__}: {error}", FailureKind.EXCEPTION) from error

    def close(self) -> None:
        """Do nothing: no process belongs to a function."""


def connect_expert(spec: ExpertSpec) -> Expert:
    """Return the expert that a TOML file describes; a process that it needs starts with its first request."""
    return EXPERT_KINDS[spec.kind](spec)


def run_expert(expert: Expert, jobs: Sequence[Job], *, pause: float = 0.2) -> list[np.ndarray | Failure]:
    """Run jobs of any number and return one clip or failure for each, in order.

    Args:
      expert: The expert to ask.
      jobs: Any number of jobs.
      pause: Seconds before the first retry, doubled for each further one.

    Returns:
      For each job a clip uint8 [T, H, W, 3] of the size of the job's, or the failure.
    """
    return [
        clip if isinstance(clip, Failure) else _check_clip(clip, job)
        for clip, job in zip(_run_batches(expert, jobs, pause), jobs, strict=True)
    ]


def ask_expert(
    expert: Expert, jobs: Sequence[Job], parse: Callable[[Answer], Text], *, pause: float = 0.2
) -> list[Text | Failure]:
    """Ask an expert that writes about jobs of any number and return one text or failure for each, in order.

    Args:
      expert: The expert to ask.
      jobs: Any number of jobs.
      parse: Reads an answer; raises ValueError for one of another form (`answers.py`).
      pause: Seconds before the first retry, doubled for each further one.
    """
    results: list[Text | Failure] = []
    for answer in _run_batches(expert, jobs, pause):
        try:
            results.append(answer if isinstance(answer, Failure) else parse(answer))
        except ValueError as error:
            results.append(Failure(str(error), FailureKind.ANSWER))
    return results


def _run_batches(expert: Expert, jobs: Sequence[Job], pause: float) -> list[Answer | Failure]:
    results: list[Answer | Failure] = []
    for start in range(0, len(jobs), expert.batch):
        batch = jobs[start : start + expert.batch]
        result = _attempt(expert, batch, pause)
        if isinstance(result, Failure):
            if len(batch) > 1 and not result.outage:
                results += _run_one_by_one(expert, batch, pause)
            else:
                results += [result] * len(batch)
        else:
            results += result
    return results


def _run_one_by_one(expert: Expert, batch: Sequence[Job], pause: float) -> list[Answer | Failure]:
    """Run each job in a request of its own; after two timeouts in a row the rest counts as timed out."""
    results: list[Answer | Failure] = []
    for job in batch:
        timeouts = [a for a in results[-2:] if isinstance(a, Failure) and a.kind is FailureKind.TIMEOUT]
        result = timeouts[0] if len(timeouts) == 2 else _attempt(expert, [job], pause)
        results.append(result if isinstance(result, Failure) else result[0])
    return results


def _attempt(expert: Expert, batch: Sequence[Job], pause: float) -> list[Answer] | Failure:
    """Send one request, with the expert's number of retries; waiting for a busy service is none of them."""
    retry_count = busy_count = 0
    waited = 0.0
    while True:
        try:
            clips = expert(batch)
            if len(clips) != len(batch):
                raise ExpertError(f"answered {len(clips)} clips for {len(batch)}", FailureKind.ANSWER)
            return list(clips)
        except ExpertError as error:
            failure, retry_after = error.failure, error.retry_after
        if failure.kind is FailureKind.BUSY:
            wait = max(retry_after, pause * 2**busy_count)
            busy_count, waited = busy_count + 1, waited + wait
            if waited > MAX_BUSY_SECONDS:
                return failure
        elif retry_count < expert.retries:
            wait = pause * 2**retry_count
            retry_count += 1
        else:
            return failure
        time.sleep(wait)


def _check_clip(clip: Answer, job: Job) -> np.ndarray | Failure:
    """Return the clip, or a failure where its type or size differs from the job's: that would shift every later pixel."""
    if not isinstance(clip, np.ndarray):
        return Failure("answered no clip", FailureKind.ANSWER)
    if clip.dtype != np.uint8 or clip.ndim != 4 or clip.shape[-1] != 3:
        return Failure(
            f"answered {clip.dtype} of {clip.ndim} dimensions, expected uint8 [T, H, W, 3]",
            FailureKind.ANSWER,
        )
    if clip.shape != job.clip.shape:
        return Failure(
            f"answered another size: {'x'.join(map(str, clip.shape[:3]))} "
            f"for {'x'.join(map(str, job.clip.shape[:3]))}",
            FailureKind.ANSWER,
        )
    return clip
