"""How a generator that is not ours takes part: one protocol, three kinds.

jobs → **expert** → clips or named failures → external.py → Pair. A TOML file describes an external expert:

    name = "depth"                       # [a-z0-9-]: recipes to-depth and from-depth
    version = "depth-anything-v2-small"  # recorded in every pair
    license = "Apache-2.0"               # of what it makes, recorded too
    role = "control"                     # control: clip -> control video, used both ways
                                         # edit: needs prompts, source -> target
                                         # remove: clip + mask -> clip without the thing; NAME and NAME-insertion
                                         # mask: clip -> mask video, white = the thing; no recipe of its own: it serves
                                         #       removal, insertion, replacement and role remove on --clips
    noun = "depth"                       # control: "turn this {noun} video into ..."; mask: the thing, sent as prompt
    prompts = ["make it snow", ...]      # edit: the instructions, one drawn for each clip
    kind = "python"                      # python: call = "package.module:function" in a process of its own
                                         # command: command = ["prog", "{jobs}", "{answers}"] (.npz, a batch) or
                                         #          ["prog", "{clip}", "{answer}", "{prompt}"] (.mp4, one clip;
                                         #          also {mask} and {reference})
                                         # http: url = "http://host:port/path", POST .npz -> .npz;
                                         #       token = "NAME" sends that environment variable as a bearer token
    batch = 4                            # jobs in one request
    seconds = 120.0                      # time limit of one request
    retries = 1                          # further attempts after a failed request

`run` is the one way to use an expert: it batches, retries, and when a batch keeps failing asks for its clips one by one,
so that a poisoned clip fails alone. An expert that hangs is killed with all it started. Every failure has a reason.
The arrays in a request are described in `wire.py`. A plain Python function becomes an expert by `InProcess`.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from data_synth.experts import remote
from data_synth.experts.spec import ExpertError, ExpertSpec
from data_synth.experts.wire import Job


class Expert(Protocol):
    """Anything that turns jobs into clips.

    Calling it with at most `batch` jobs gives one uint8 [T, H, W, 3] for each, in order, or raises ExpertError.
    """

    name: str
    version: str
    batch: int
    retries: int

    def __call__(self, jobs: Sequence[Job]) -> list[np.ndarray]: ...

    def close(self) -> None: ...


@dataclasses.dataclass(frozen=True)
class Failure:
    """What `run` gives in place of a clip."""

    reason: str


@dataclasses.dataclass
class FunctionExpert:
    """A Python function on lists of jobs as an expert. It is trusted: no time limit, and a crash of it is ours."""

    name: str
    version: str
    function: Callable[[Sequence[Job]], Sequence[np.ndarray]]
    batch: int = 16
    retries: int = 0

    def __call__(self, jobs: Sequence[Job]) -> list[np.ndarray]:
        try:
            return list(self.function(jobs))
        except Exception as error:  # whatever an expert's code may raise is this request's failure
            raise ExpertError(f"raised {type(error).__name__}: {error}") from error

    def close(self) -> None:
        pass


def connect_expert(spec: ExpertSpec) -> Expert:
    """The expert a TOML file describes; a process it needs starts with its first request."""

    return {"python": remote.ChildExpert, "command": remote.CommandExpert, "http": remote.HttpExpert}[
        spec.kind
    ](spec)


def run_expert(expert: Expert, jobs: Sequence[Job], *, pause: float = 0.2) -> list[np.ndarray | Failure]:
    """One clip or failure for every job, in order.

    Args:
      expert: any. jobs: any number.
      pause: seconds before the first retry, doubled for each further one.
    """
    out: list[np.ndarray | Failure] = []
    for start in range(0, len(jobs), expert.batch):
        batch = jobs[start : start + expert.batch]
        answer = _attempt(expert, batch, pause)
        if isinstance(answer, Failure) and len(batch) > 1 and not answer.reason.startswith("cannot be"):
            answer = _one_by_one(expert, batch, pause)
        out += [answer] * len(batch) if isinstance(answer, Failure) else answer
    return [
        clip if isinstance(clip, Failure) else _checked(clip, job)
        for clip, job in zip(out, jobs, strict=True)
    ]


def _one_by_one(expert: Expert, batch: Sequence[Job], pause: float) -> list[np.ndarray | Failure]:
    """A poisoned clip fails alone; but after two in a row that took too long the expert hangs, and isn't waited for again."""
    out: list[np.ndarray | Failure] = []
    for job in batch:
        late = [a for a in out[-2:] if isinstance(a, Failure) and a.reason.startswith("took more than")]
        answer = late[0] if len(late) == 2 else _attempt(expert, [job], pause)
        out.append(answer if isinstance(answer, Failure) else answer[0])
    return out


def _attempt(expert: Expert, batch: Sequence[Job], pause: float) -> list[np.ndarray] | Failure:
    for attempt in range(expert.retries + 1):
        try:
            clips = expert(batch)
            if len(clips) != len(batch):
                raise ExpertError(f"answered {len(clips)} clips for {len(batch)}")
            return clips
        except ExpertError as error:
            failure = Failure(str(error))
        if attempt < expert.retries:
            time.sleep(pause * 2**attempt)
    return failure


def _checked(clip: np.ndarray, job: Job) -> np.ndarray | Failure:
    """The clip, unless it is of another kind or size than what was sent: that would shift every later pixel."""
    if clip.dtype != np.uint8 or clip.ndim != 4 or clip.shape[-1] != 3:
        return Failure(f"answered {clip.dtype} of {clip.ndim} dimensions, expected uint8 [T, H, W, 3]")
    if clip.shape != job.clip.shape:
        return Failure(
            f"answered another size: {'x'.join(map(str, clip.shape[:3]))} "
            f"for {'x'.join(map(str, job.clip.shape[:3]))}"
        )
    return clip
