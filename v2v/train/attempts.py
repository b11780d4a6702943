"""Attempts at a stage, from start to end or kill, and how much of their time was training.

loop.py -> **attempts** -> evaluation/training_report.py

attempts.json in a stage's folder lists them, the last one brought up to date with every row of the log, so that one that was killed is known
up to its last row. Goodput is the share of the time since the first start in which steps were done that no later attempt did again.
"""

import dataclasses
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
from etils import epath

ATTEMPTS_FILE = "attempts.json"
# What ended an attempt that could not say so.
KILLED = "killed"

# When this process began, or a stage of it ended: the next stage's start.
_stage_start = time.time()


@dataclass(frozen=True)
class Attempt:
    """One attempt at a stage.

    Attributes:
      start: when its process began, seconds since 1970.
      end: when it ended, or was last heard of.
      first_step: the step that it went on from.
      last_step: the last step that it did and told of.
      cause: "finished", "signal", "killed" or the name of an error; "" while it runs.
      devices: number of devices.
      processes: number of processes.
      seconds: of its activities: start, step, compile, data, save and eval.
    """

    start: float
    end: float
    first_step: int
    last_step: int
    cause: str = ""
    devices: int = 1
    processes: int = 1
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Goodput:
    """Where the time since the first start went.

    Attributes:
      total: seconds from the first start to the last end.
      seconds: by cause: step, start, compile, data, save, eval, lost (steps done again), down (between attempts).
    """

    total: float
    seconds: dict[str, float]

    @property
    def share(self) -> float:
        """Return the share of steps that counted; 0 where no time has passed."""
        return self.seconds["step"] / self.total if self.total else 0.0


class AttemptLog:
    """The attempts of a stage, of which the last is running.

    Args:
      folder: folder of the stage; a local folder or gs://...
      first_step: the step that this attempt goes on from.
      clock: seconds since 1970.
    """

    def __init__(self, folder: epath.PathLike, first_step: int, clock: Callable[[], float] = time.time):
        self._path, self._clock = epath.Path(folder) / ATTEMPTS_FILE, clock
        earlier = [
            dataclasses.replace(attempt, cause=attempt.cause or KILLED) for attempt in read_attempts(folder)
        ]
        time_now = clock()
        current = Attempt(
            _stage_start, time_now, first_step, first_step, "", jax.device_count(), jax.process_count(),
            {"start": time_now - _stage_start},
        )  # fmt: skip
        self._attempts = [*earlier, current]
        self._write()

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """The attempts so far."""
        return tuple(self._attempts)

    def update(self, step: int, seconds: Mapping[str, float]) -> None:
        """Add the seconds of activities up to a step."""
        current = self._attempts[-1]
        total = {
            name: current.seconds.get(name, 0.0) + seconds.get(name, 0.0)
            for name in {**current.seconds, **seconds}
        }
        self._attempts[-1] = dataclasses.replace(current, last_step=step, seconds=total, end=self._clock())
        self._write()

    def close(self, cause: str) -> None:
        """End the attempt; time that nothing has claimed was spent waiting for the last save."""
        global _stage_start
        _stage_start = self._clock()
        current = self._attempts[-1]
        unclaimed = max(_stage_start - current.start - sum(current.seconds.values()), 0.0)
        seconds = current.seconds | {"save": current.seconds.get("save", 0.0) + unclaimed}
        self._attempts[-1] = dataclasses.replace(current, cause=cause, end=_stage_start, seconds=seconds)
        self._write()

    def _write(self) -> None:
        if jax.process_index() == 0:
            rows = [dataclasses.asdict(attempt) for attempt in self._attempts]
            text = "[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n"
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if "://" in str(self._path):  # objects of buckets are written whole, and renaming one copies it
                self._path.write_text(text)
                return
            partial = self._path.parent / f".{self._path.name}.partial"
            partial.write_text(text)
            partial.replace(self._path)


def read_attempts(folder: epath.PathLike) -> list[Attempt]:
    """Return the attempts at a stage; none where its folder tells of none, or an earlier version wrote something else."""
    path = epath.Path(folder) / ATTEMPTS_FILE
    try:
        rows: Any = json.loads(path.read_text())
        return [Attempt(**row) for row in rows]
    except (OSError, ValueError, TypeError):
        return []


def measure_goodput(attempts: Sequence[Attempt]) -> Goodput:
    """Sum up where the time of all attempts went."""
    names = ("step", "start", "compile", "data", "save", "eval")
    seconds = {name: sum(attempt.seconds.get(name, 0.0) for attempt in attempts) for name in names}
    seconds |= {"lost": 0.0, "down": 0.0}
    for attempt, following in zip(attempts, attempts[1:], strict=False):
        steps = attempt.last_step - attempt.first_step
        lost = min(max(attempt.last_step - following.first_step, 0), steps)
        if steps > 0:
            lost_seconds = attempt.seconds.get("step", 0.0) * lost / steps
            seconds["lost"] += lost_seconds
            seconds["step"] -= lost_seconds
        seconds["down"] += max(following.start - attempt.end, 0.0)
    return Goodput(attempts[-1].end - attempts[0].start if attempts else 0.0, seconds)


def format_goodput(attempts: Sequence[Attempt]) -> str:
    """Return what the attempts before the running one cost, for people."""
    goodput = measure_goodput(attempts)
    other = sorted(
        ((s, name) for name, s in goodput.seconds.items() if name != "step" and s >= 0.005 * goodput.total),
        reverse=True,
    )
    parts = ", ".join(f"{s / goodput.total:.1%} {name}" for s, name in other)
    causes = ", ".join(attempt.cause for attempt in attempts[-4:-1])
    return (
        f"attempt {len(attempts)} (before: {'..., ' if len(attempts) > 4 else ''}{causes}): {goodput.share:.1%} of {format_duration(goodput.total)} were steps"
        + (f"; {parts}" if parts else "")
    )


def format_duration(seconds: float) -> str:
    """Return a duration as text: 31.2 h, 4.0 min or 12 s."""
    if seconds >= 5400:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 90 else f"{seconds:.0f} s"
