"""Seconds spent in the parts of a training loop.

loop.py -> **timer** -> metric_writer.py
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Timer:
    """Sums of seconds by name, reset at every lap."""

    def __init__(self):
        self._seconds: dict[str, float] = {}
        self._lap_start = time.perf_counter()

    @contextmanager
    def on(self, name: str) -> Iterator[None]:
        """Add the time spent in the `with` block to `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] = self._seconds.get(name, 0.0) + time.perf_counter() - start

    def lap(self) -> tuple[float, dict[str, float]]:
        """Return the seconds since the last lap, in total and by name, and start a new lap."""
        end = time.perf_counter()
        elapsed, seconds = end - self._lap_start, self._seconds
        self._lap_start, self._seconds = end, {}
        return elapsed, seconds
