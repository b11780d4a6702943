"""Step skipping: some steps reuse what the transformer's blocks computed at an earlier one (after MagCache, arXiv 2506.09045).

From one step to the next, the sum r_i of what all blocks add to the target's tokens changes little in direction, and its magnitude
changes by nearly the same ratio for every clip, g_i = mean |r_i| / |r_{i-1}|. A skipped row of the solver's table computes embedding
and head only and takes r from the last row that was evaluated. Its error is estimated from the ratios alone,

    e = Σ |1 - Π g|        products and sum over consecutive skipped rows

so the rows to skip are known before sampling: one vector of booleans for all jobs of a batch, no program of its own. Ratios belong to
a model, a table and a guidance scale. `StepSkipper` measures them on a clip's first batch, samples that batch both ways, reports
the difference, and skips in all later batches. Every clip is measured anew: a result must not depend on the clips edited before.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass

import numpy as np

from v2v.diffusion.sampler import SampleOutput
from v2v.errors import InputError


@dataclass(frozen=True)
class SkipReport:
    """What skipping saves and costs, measured on a clip's first batch.

    Attributes:
      share: of the rows that are skipped.
      snr: standard deviation of the edit's latents over the error that skipping makes, in decibels.
    """

    share: float
    snr: float


class StepSkipper:
    """Samples with skipped steps.

    Attributes:
      tolerance: largest estimated error of consecutive skipped rows; 0 skips nothing.
      report: of a clip's first batch; None before it.
    """

    def __init__(self, tolerance: float):
        select_evaluated_steps(np.ones(2), tolerance)  # refuses a bad tolerance before anything is loaded
        self.tolerance = tolerance
        self.report: SkipReport | None = None
        self._evaluated: dict[Hashable, np.ndarray] = {}

    def forget(self) -> None:
        """Begin another clip."""
        self.report = None
        self._evaluated.clear()

    def run(self, sample: Callable[..., SampleOutput], key: Hashable) -> SampleOutput:
        """Sample a batch: a clip's first batch with a new key exactly, later ones with skipped steps.

        Args:
          sample: calls a `sampler.Sampler` with the batch and takes its options `measure_ratios` and `evaluated`.
          key: whatever the ratios depend on: shape, number of steps, guidance scale, strength.
        """
        if key in self._evaluated:
            return sample(evaluated=self._evaluated[key])
        exact = sample(measure_ratios=True)
        evaluated = self._evaluated[key] = select_evaluated_steps(np.asarray(exact.ratios), self.tolerance)
        approximate = sample(evaluated=evaluated)
        a, b = np.asarray(exact.latents), np.asarray(approximate.latents)
        error = max(1e-9, float(np.sqrt(((a - b) ** 2).mean())))
        self.report = SkipReport(
            share=round(1 - float(evaluated.mean()), 3), snr=round(float(20 * np.log10(a.std() / error)), 1)
        )
        return exact


def select_evaluated_steps(
    ratios: np.ndarray, tolerance: float, longest_run: int = 3, start_share: float = 0.2
) -> np.ndarray:
    """Return which rows are evaluated, bool [n]; the others reuse the sum of the last evaluated one.

    Args:
      ratios: as measured, [n]; the first row's is not used.
      tolerance: largest e; 0 skips nothing.
      longest_run: largest number of consecutive skipped rows.
      start_share: share of rows at the start, where the clip takes shape, that are always evaluated; so is the last row.

    Raises:
      InputError: a tolerance below 0 or not finite, or a longest run below 0.
    """
    if not 0 <= tolerance < np.inf or longest_run < 0:
        raise InputError(
            f"skip: expected a finite tolerance and a longest run of at least 0, got {tolerance} and {longest_run}"
        )
    ratios = np.asarray(ratios, np.float64)
    evaluated = np.ones(len(ratios), bool)
    error, run, product = 0.0, 0, 1.0
    for i in range(max(1, round(start_share * len(ratios))), len(ratios) - 1):
        product *= ratios[i]
        error, run = error + abs(1 - product), run + 1
        evaluated[i] = not (tolerance > 0 and error <= tolerance and run <= longest_run)
        if evaluated[i]:
            error, run, product = 0.0, 0, 1.0
    return evaluated
