"""The interface of experts: external programs that make data for the recipes.

jobs → **Expert** → clips, or an `ExpertError`. `protocol.run_expert` is the only caller: it splits jobs into batches, retries failed
requests and checks every clip, so an implementation handles one request and nothing else.

Most programs need no code here: a TOML file (fields: `spec.py`) describes a Python callable, a command or an HTTP service. To
add another kind of connection:

1. Write a class in `remote.py` with the members of `Expert`. Its constructor takes an `ExpertSpec` and starts nothing; what it needs
   is started by the first request.
2. Enforce `ExpertSpec.seconds` for each request and leave no process behind, also after a timeout or `close`.
3. Raise `ExpertError` with the `FailureKind` that applies for everything that goes wrong with a request.
4. Add the kind with its required field to `spec.KINDS`, the field to `ExpertSpec`, and the class to `protocol.EXPERT_KINDS`.
5. Add a case to `tests/data_synth/test_expert_interface.py`, which runs the same checks on every implementation.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from data_synth.experts.wire import Job

# What an expert gives for a job: a clip, uint8 [T, H, W, 3], or, of roles that write, what JSON holds.
Answer = Any
# A plain Python function that edits clips or writes: jobs to one answer a job, in order.
ExpertFunction = Callable[[Sequence[Job]], Sequence[Answer]]


class FailureKind(enum.Enum):
    """The cause of a failed request, which decides what is tried next."""

    UNREACHABLE = "unreachable"
    """The program cannot be started, or the service cannot be reached: other clips would fail alike."""
    TIMEOUT = "timeout"
    """The request took longer than its limit."""
    CRASH = "crash"
    """The program ended, or the service reported an internal error (HTTP 5xx)."""
    BUSY = "busy"
    """The service is there and asks to come back later (HTTP 429, 502, 503, 504)."""
    ACCESS = "access"
    """The service refuses every request alike: a wrong token or address (HTTP 401, 403, 404, 405)."""
    EXCEPTION = "exception"
    """The expert's code raised an exception."""
    ANSWER = "answer"
    """The answer is unusable: no clips, or clips of another number, type or size."""
    REQUEST = "request"
    """The service refused this request (another HTTP 4xx)."""


# Kinds that no clip is to blame for: the program as a whole can't be used at present.
OUTAGES = frozenset({FailureKind.UNREACHABLE, FailureKind.BUSY, FailureKind.ACCESS})


@dataclasses.dataclass(frozen=True)
class Failure:
    """A failed job.

    Attributes:
      reason: Short text for users, without paths or numbers that vary, so that equal failures can be counted.
      kind: Cause.
    """

    reason: str
    kind: FailureKind = FailureKind.REQUEST

    @property
    def outage(self) -> bool:
        """Return whether every other job would fail alike at present."""
        return self.kind in OUTAGES


class ExpertError(Exception):
    """A failed request; `str` gives the reason.

    Args:
      reason: As in `Failure`.
      kind: As in `Failure`.
      retry_after: Seconds after which the service asks to be tried again; 0 where it states none.
    """

    def __init__(self, reason: str, kind: FailureKind = FailureKind.REQUEST, retry_after: float = 0.0):
        super().__init__(reason)
        self.failure = Failure(reason, kind)
        self.retry_after = retry_after


@runtime_checkable
class Expert(Protocol):
    """An external program that turns clips into clips, or writes about them."""

    @property
    def name(self) -> str:
        """Name, recorded in every pair."""
        ...

    @property
    def version(self) -> str:
        """Version, recorded in every pair."""
        ...

    @property
    def batch(self) -> int:
        """Largest number of jobs in one request."""
        ...

    @property
    def retries(self) -> int:
        """Number of further attempts after a failed request."""
        ...

    def __call__(self, jobs: Sequence[Job]) -> list[Answer]:
        """Run one request.

        Args:
          jobs: At most `batch` jobs.

        Returns:
          One answer a job, in order: a clip, uint8 [T, H, W, 3] of the size of the job's, or what the role writes (`answers.py`).

        Raises:
          ExpertError: The request failed. The expert stays usable: the next request starts again what has ended.
          InputError: The user has to change something before any request can be sent, such as an unset variable.
        """
        ...

    def close(self) -> None:
        """Stop what the expert has started. May be called repeatedly; a later request starts it again."""
        ...
