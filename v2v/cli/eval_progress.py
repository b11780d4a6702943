"""Progress of `v2v eval`: bars on a terminal, elsewhere lines in the log."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from v2v.evaluation.sweep.sweep import SweepPlan

logger = logging.getLogger("v2v")
# Seconds between lines of progress where there is no terminal.
LINE_SECONDS = 60.0


class SweepProgress:
    """Progress bars, one for each phase of a run, or without a terminal lines in the log; as a context it gives the callback of `run_sweep`."""

    def __init__(self, plan: SweepPlan, visible: bool):
        self._totals = {"edit": plan.methods * plan.items}
        self._visible = visible
        self._bars: dict[str, Any] = {}
        self._counts: Counter[str] = Counter()
        self._next_line = time.monotonic() + LINE_SECONDS

    def __enter__(self) -> Callable[[str], None]:
        from tqdm import tqdm

        def tick(phase: str) -> None:
            if phase not in self._bars:
                total = self._totals.get(phase)
                self._bars[phase] = tqdm(total=total, unit=f" {phase}s", disable=not self._visible)
            self._bars[phase].update()
            self._counts[phase] += 1
            if not self._visible and time.monotonic() >= self._next_line:
                self._next_line = time.monotonic() + LINE_SECONDS
                total = self._totals.get(phase)
                logger.info("%ss: %d%s", phase, self._counts[phase], f" of {total}" if total else "")

        return tick

    def __exit__(self, *_: object) -> None:
        for bar in self._bars.values():
            bar.close()
