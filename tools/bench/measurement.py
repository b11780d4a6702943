"""Clocks, medians and the description of a run, shared by the benchmarks. Imports JAX only where a function needs it."""

from __future__ import annotations

import datetime
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

Clock = Callable[[], float]


def pin_threads(threads: int) -> Clock:
    """Let this process use a number of cores, and return its clock. Call it before JAX counts the CPUs.

    Args:
      threads: Number of cores. With 1 the clock is the CPU time of the one thread, which other programs on the machine disturb little;
        otherwise it is the wall's.
    """
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])
    if threads == 1:  # a pool of one thread beside the main one would only wait, on the clock
        os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false " + os.environ.get("XLA_FLAGS", "")
        return time.process_time
    return time.perf_counter


def measure(run: Callable[[], Any], clock: Clock = time.process_time) -> float:
    """Return the seconds of one call, which has to wait for its result."""
    start = clock()
    run()
    return clock() - start


def median_seconds(run: Callable[[], Any], rounds: int = 7, limit: float = 60.0) -> float:
    """Return the median of the seconds of several calls, after two that compile and warm up.

    Args:
      run: Call that waits for its result.
      rounds: Number of calls.
      limit: Seconds after which no further call begins, once there are three.
    """
    run()
    run()
    seconds: list[float] = []
    while len(seconds) < rounds and (len(seconds) < 3 or sum(seconds) < limit):
        seconds.append(measure(run, time.perf_counter))
    return statistics.median(seconds)


def describe_run() -> dict[str, str]:
    """Return date, device and command of this process, for the file of its results."""
    import jax

    command = " ".join(["python", *sys.argv]).replace(f"{ROOT}/", "")
    return {
        "date": datetime.date.today().isoformat(),
        "device": jax.devices()[0].device_kind,
        "command": command,
    }
