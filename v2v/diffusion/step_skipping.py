"""Steps whose blocks are skipped: a cache over time, by magnitude (after MagCache, arXiv 2506.09045). **skip** → sampler.py

From one step to the next, what all blocks together add to the target's tokens, r_i, changes little in direction and, nearly the
same for every clip, in size: ratio g_i = mean |r_i| / |r_{i-1}|. A skipped row computes embedding and head and takes r from the
last row that was walked. Its error is estimated from the ratios alone,
    e = Σ |1 - Π g|        products and sum over the rows skipped in a run
so which rows are skipped is known before sampling: a vector of booleans, the same for all jobs of a batch, no program of its own.
Ratios belong to a model, a table and a guidance. `Skipping` measures them on a clip's first batch, samples that batch both ways,
tells what skipping costs there, and skips in all later batches. The next clip is measured anew: what it becomes must not depend on
which was edited before it.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from v2v.array_types import Array, Bool, Float, Tokens
from v2v.errors import InputError


class StepSkipper:
    """A sampler that skips.

    Attributes:
      report: of a clip's first batch, once there was one: `skipped`, share of rows; `skip_snr`, decibels of the edit's latents (their
        standard deviation) over the error that skipping makes.
    """

    def __init__(self, tolerance: float):
        select_evaluated_steps(np.ones(2), tolerance)  # refuses a bad tolerance before anything is loaded
        self.tolerance, self.report = tolerance, {}
        self._plans: dict[tuple, np.ndarray] = {}

    def forget(self) -> None:
        """Another clip begins."""
        self.report = {}
        self._plans.clear()

    def __call__(self, sampler: Callable, *args, **options):
        """sampler(*args, **options) of flow/sampler.py; a clip's first call with new steps, guidance or shapes is exact."""
        noise, (steps, guidance) = args[1], args[5:7]
        key = (noise.shape, steps, float(guidance), options.get("strength", 1.0))
        if key in self._plans:
            return sampler(*args, **options, fresh=self._plans[key])[0]
        exact, ratios = sampler(*args, **options, fresh=True)
        fresh = self._plans[key] = select_evaluated_steps(np.asarray(ratios), self.tolerance)
        quick, _ = sampler(*args, **options, fresh=fresh)
        a, b = (np.asarray(z[0] if options.get("links") is not None else z) for z in (exact, quick))
        error = max(1e-9, float(np.sqrt(((a - b) ** 2).mean())))
        self.report = {
            "skipped": round(1 - float(fresh.mean()), 3),
            "skip_snr": round(float(20 * np.log10(a.std() / error)), 1),
        }
        return exact


def select_evaluated_steps(
    ratios: Float[Array, "n"], tolerance: float, longest: int = 3, keep: float = 0.2
) -> Bool[Array, "n"]:
    """Which rows are walked (True) and which reuse the last walked one's sum (False).

    Args:
      ratios: as measured; the first row's is not looked at.
      tolerance: of e; 0 skips nothing.
      longest: run of skipped rows.
      keep: share of rows at the start, where the clip takes shape, that are always walked; so is the last row.

    Raises:
      InputError: a tolerance below 0 or not finite, or a longest run below 0.
    """
    if not 0 <= tolerance < np.inf or longest < 0:
        raise InputError(
            f"skip: expected a finite tolerance and a longest run of at least 0, got {tolerance} and {longest}"
        )
    ratios, fresh = np.asarray(ratios, np.float64), np.ones(len(ratios), bool)
    gone, run, product = 0.0, 0, 1.0
    for i in range(max(1, round(keep * len(ratios))), len(ratios) - 1):
        product *= ratios[i]
        gone, run = gone + abs(1 - product), run + 1
        fresh[i] = not (tolerance > 0 and gone <= tolerance and run <= longest)
        if fresh[i]:
            gone, run, product = 0.0, 0, 1.0
    return fresh


def magnitude_ratio(now: Tokens, before: Tokens) -> Float[Array, ""]:
    """Mean over tokens of |now| / |before|, vectors' lengths."""
    a, b = (jnp.linalg.norm(z.astype(jnp.float32), axis=-1) for z in (now, before))
    return (a / jnp.maximum(b, 1e-6)).mean()
