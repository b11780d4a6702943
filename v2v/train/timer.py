"""Where a run's time goes, and how much of the hardware's arithmetic it uses. loop.py → **clock** → log.py

    model FLOP utilisation = FLOPs the model needs a step / (seconds a step · devices · peak FLOP/s of one)
What it needs are the matmuls of the DiT's blocks, full attention, and nothing that is recomputed: remat lowers the figure, as it
should. This is the closed form of what v2v/runtime/flops.py counts in a traced program; embeddings, text and time layers, head and the
text encoder are left out (0.03 % of the 5B's forward pass).
"""

import time
from contextlib import contextmanager


class Clock:
    """Adds up seconds by name; `lap` gives and forgets them."""

    def __init__(self):
        self._seconds: dict[str, float] = {}
        self._began = time.perf_counter()

    @contextmanager
    def on(self, name: str):
        began = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] = self._seconds.get(name, 0.0) + time.perf_counter() - began

    def lap(self) -> tuple[float, dict[str, float]]:
        """(seconds since the last lap, seconds by name)."""
        now = time.perf_counter()
        elapsed, lost = now - self._began, self._seconds
        self._began, self._seconds = now, {}
        return elapsed, lost
