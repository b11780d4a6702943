"""How a generator that is not ours takes part: one protocol, three kinds.

jobs → **expert** → clips or named failures → plugged.py → Pair. A TOML file describes an external expert:

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
import re
import time
import tomllib
import urllib.parse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from data_synth.experts.wire import Job
from v2v.errors import InputError

ROLES = ("control", "edit", "remove", "mask")
KINDS = {"python": "call", "command": "command", "http": "url"}
_TYPES = {
    "name": str,
    "version": str,
    "license": str,
    "role": str,
    "noun": str,
    "prompts": list,
    "kind": str,
    "call": str,
    "command": list,
    "url": str,
    "token": str,
    "batch": int,
    "seconds": float,
    "retries": int,
}


class ExpertError(Exception):
    """One request failed; the message is the reason, short and without paths or numbers that vary."""


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
class InProcess:
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


@dataclasses.dataclass(frozen=True)
class Spec:
    """A checked TOML file; fields as in the module docstring."""

    path: Path
    name: str
    version: str
    license: str
    role: str
    kind: str
    noun: str = ""
    prompts: tuple[str, ...] = ()
    call: str = ""
    command: tuple[str, ...] = ()
    url: str = ""
    token: str = ""
    batch: int = 1
    seconds: float = 120.0
    retries: int = 1


def load(path: str | Path) -> Spec:
    """Reads and checks a TOML file.

    Raises:
      InputError: unreadable, or a field is missing, unknown, or of the wrong type.
    """
    path = Path(path)
    try:
        table = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: expected a TOML file that describes an expert, got {error}") from None
    for key, value in table.items():
        if key not in _TYPES:
            raise InputError(
                f"{path}: {key}: expected one of {', '.join(_TYPES)}; remove it or correct its name"
            )
        if _TYPES[key] is float and type(value) is int:
            table[key] = value = float(value)
        if (
            type(value) is not _TYPES[key]
            or isinstance(value, list)
            and not all(isinstance(v, str) for v in value)
        ):
            raise InputError(
                f"{path}: {key}: expected {_TYPES[key].__name__}"
                f"{' of strings' if _TYPES[key] is list else ''}, got {value!r}"
            )
    needed = ["name", "version", "license", "role", "kind"]
    if table.get("kind") in KINDS:
        needed.append(KINDS[table["kind"]])
    if table.get("role") == "edit":
        needed.append("prompts")
    if table.get("role") == "mask":
        needed.append("noun")
    missing = [key for key in needed if not table.get(key)]
    if missing:
        raise InputError(f"{path}: expected {', '.join(missing)}; add {'them' if len(missing) > 1 else 'it'}")
    for key, allowed in (("role", ROLES), ("kind", KINDS)):
        if table[key] not in allowed:
            raise InputError(f"{path}: {key}: expected one of {', '.join(allowed)}, got {table[key]!r}")
    if not re.fullmatch(r"[a-z0-9-]+", table["name"]):
        raise InputError(
            f"{path}: name: expected lower-case letters, digits and dashes, got {table['name']!r}"
        )
    spec = Spec(path, **{k: tuple(v) if isinstance(v, list) else v for k, v in table.items()})
    if spec.batch < 1 or spec.retries < 0 or not spec.seconds > 0:
        raise InputError(
            f"{path}: expected batch >= 1, retries >= 0 and seconds > 0, "
            f"got {spec.batch}, {spec.retries} and {spec.seconds}"
        )
    _check_kind(path, table)
    prompts(path, spec.prompts)
    return spec


def prompts(path: str | Path, given: Sequence) -> tuple[str, ...]:
    """Instructions as a file gives them. Raises InputError where one says nothing."""
    for i, prompt in enumerate(given):
        if not isinstance(prompt, str) or not re.search(r"\w", prompt):
            raise InputError(f"{path}: prompts: expected sentences, got {prompt!r} as number {i + 1}")
    return tuple(given)


def _check_kind(path: Path, table: dict) -> None:
    """Raises InputError where a request could not even be sent."""
    if table["kind"] == "python" and not re.fullmatch(r"[\w.]+:\w+", table["call"]):
        raise InputError(f"{path}: call: expected package.module:function, got {table['call']!r}")
    if table["kind"] == "command":
        words = " ".join(table["command"])
        pairs = (("{jobs}", "{answers}"), ("{clip}", "{answer}"))
        if not any(all(place in words for place in pair) for pair in pairs):
            raise InputError(
                f"{path}: command: expected {{jobs}} and {{answers}}, or {{clip}} and {{answer}}, in it, got {table['command']!r}"
            )
    if table["kind"] == "http":
        try:
            parts = urllib.parse.urlsplit(table["url"])
            good = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1)
        except ValueError:  # a port that is no number
            good = False
        if not good:
            raise InputError(f"{path}: url: expected http://HOST:PORT/PATH, got {table['url']!r}")


def connect(spec: Spec) -> Expert:
    """The expert a TOML file describes; a process it needs starts with its first request."""
    from data_synth.experts import remote

    return {"python": remote.Child, "command": remote.Command, "http": remote.Http}[spec.kind](spec)


def run(expert: Expert, jobs: Sequence[Job], *, pause: float = 0.2) -> list[np.ndarray | Failure]:
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
