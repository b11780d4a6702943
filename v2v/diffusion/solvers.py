"""From noise to data: Euler, Heun and UniPC-2 as tables of coefficients. schedule.py → **solvers** → sampler.py

Every step of each solver is linear in the state x, the state before it x', and the last three data predictions
m = x - sigma v  (v the velocity at x; on the straight path m is the network's guess of x0). So a solver is a table, computed once
in float64 on the host, and sampling is one scan over its rows that never asks which solver it runs:

    correct   x ← c0 x + c1 x' + c2 m + c3 m' + c4 m''
    predict   x' ← x,  x ← p0 x + p1 m + p2 m'
  Euler   x ← (s⁺/s) x + (1 - s⁺/s) m                                        one evaluation a step
  Heun    averages the velocities at both ends of a step; its last step, which ends at 0, is Euler's: 2N - 1 evaluations
  UniPC-2 with bh2 and data prediction (arXiv 2302.04867): in lambda = log((1-s)/s), h = lambda⁺ - lambda, phi = e^{-h} - 1,
          x⁺ = (s⁺/s) x - (1-s⁺) phi (m + (m' - m)/(2r)),  r = (lambda' - lambda)/h
          and, once the model has been evaluated there, the same step again with that evaluation as one more point (the
          corrector); the evaluation itself is kept, not repeated. Order 1 on the first and the last step.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from v2v.array_types import Array, Float, Latents
from v2v.errors import InputError

Velocity = Callable[[Latents, Float[Array, ""]], Latents]


class Solver(Protocol):
    """A solver: how noise levels become rows of a `Table`.

    To add one, write a class or a `LinearSolver` here, put it into `SOLVERS`, and its name into `v2v.config.SolverName`, which the
    command line shows. It may bring its own timesteps (rows at other levels than it is given) and may draw noise (`Table.noise`).
    """

    def table(self, sigma: np.ndarray, tau: np.ndarray) -> "SolverTable":
        """Return the rows.

        Args:
          sigma: decreasing noise levels in (0, 1], float64 [n], without the final 0.
          tau: flow time told to the network at each, float64 [n].
        """
        ...


@struct.dataclass
class SolverTable:
    """One row an evaluation of the network; a pytree, so that it can be an argument of a jitted sampler."""

    sigma: Float[Array, "n"]
    tau: Float[Array, "n"]  # what the network is told
    correct: Float[Array, "n 5"]
    predict: Float[Array, "n 3"]
    noise: Float[Array, "n"] | None = (
        None  # weight of fresh noise added after the row; None where none is drawn
    )


def build_solver_table(solver: str, sigma: np.ndarray, tau: np.ndarray | None = None) -> SolverTable:
    """Return the rows of a solver on a schedule.

    Args:
      solver: a name in `SOLVERS`.
      sigma: decreasing noise levels in (0, 1], without the final 0.
      tau: flow time told to the network at each; None takes sigma.

    Raises:
      InputError: sigma out of order or range, an unknown solver.
    """
    sigma = np.asarray(sigma, np.float32).astype(np.float64)
    tau = sigma if tau is None else np.asarray(tau, np.float64)
    if not (sigma[0] <= 1 and sigma[-1] > 0 and (np.diff(sigma) < 0).all()):
        raise InputError(f"sampling: noise levels must fall from at most 1 to above 0, got {sigma.tolist()}")
    if solver not in SOLVERS:
        raise InputError(f"sampling: solver must be one of {', '.join(SOLVERS)}, got {solver!r}")
    return SOLVERS[solver].table(sigma, tau)


def integrate(velocity: Velocity, x: Latents, steps: SolverTable, seeds: Array | None = None) -> Latents:
    """Solve from noise to data in one scan with a float32 state.

    Args:
      velocity: the guided prediction at (x, tau).
      x: noise.
      steps: the table.
      seeds: one a row of x, for tables that draw noise.
    """
    x = x.astype(jnp.float32)

    def body(carry, numbered):
        index, row = numbered
        fresh = None if row.noise is None else draw_noise(seeds, index, x.shape)
        return advance_state(carry, row, velocity(carry[0], row.tau), fresh), None

    rows = jnp.arange(len(steps.sigma)), jax.tree.map(jnp.asarray, steps)
    (x, *_), _ = jax.lax.scan(body, initial_state(x), rows)
    return x


def draw_noise(seeds: Array | None, index: Array, shape: tuple[int, ...]) -> Latents:
    """Return normal noise that depends on a job's seed and the row of the table alone, not on the jobs beside it.

    Args:
      seeds: uint32 [b].
      index: number of the row.
      shape: [b, ...].
    """
    if seeds is None:
        raise InputError("sampling: this solver draws noise and needs a seed for each job, got none")
    keys = jax.vmap(lambda seed: jax.random.fold_in(jax.random.key(seed), index))(jnp.asarray(seeds))
    return jax.vmap(lambda key: jax.random.normal(key, shape[1:]))(keys)


def initial_state(x: Latents) -> tuple[Latents, ...]:
    """The carry (x, x', m', m'') before the first row."""
    return x, x, jnp.zeros_like(x), jnp.zeros_like(x)


def advance_state(
    carry: tuple[Latents, ...], row: SolverTable, v: Latents, fresh: Latents | None = None
) -> tuple[Latents, ...]:
    """Return the carry after one row.

    Args:
      carry: (x, x', m', m'').
      row: of the table.
      v: the network's velocity at x.
      fresh: normal noise, where the table draws some.
    """
    x, previous, m1, m2 = carry
    m = x - row.sigma * v
    c, p = row.correct, row.predict
    x = c[0] * x + c[1] * previous + c[2] * m + c[3] * m1 + c[4] * m2
    following = p[0] * x + p[1] * m + p[2] * m1
    if fresh is not None:
        following = following + row.noise * fresh
    return following, x, m, m1


@dataclass(frozen=True)
class LinearSolver:
    """A deterministic solver whose steps are linear: its columns are computed on the host in float64.

    Attributes:
      columns: (sigma, tau) to (sigma, tau, correct, predict).
    """

    columns: Callable[[np.ndarray, np.ndarray], tuple]

    def table(self, sigma: np.ndarray, tau: np.ndarray) -> SolverTable:
        """Return the rows (see `Solver`)."""
        return SolverTable(*(np.asarray(column, np.float32) for column in self.columns(sigma, tau)))


def _euler(sigma, tau):
    ratio = np.append(sigma[1:], 0) / sigma
    return (
        sigma,
        tau,
        np.tile([1.0, 0, 0, 0, 0], (len(sigma), 1)),
        np.stack([ratio, 1 - ratio, 0 * ratio], -1),
    )


def _heun(sigma, tau):
    rows = []
    for i, s in enumerate(sigma):
        end = sigma[i + 1] if i + 1 < len(sigma) else 0.0
        rows.append((s, tau[i], (1, 0, 0, 0, 0), (end / s, 1 - end / s, 0)))
        if end > 0:
            half = (end - s) / 2
            average = (half / end, 1 + half / s, -half / end, -half / s, 0)
            rows.append((end, tau[i + 1], average, (1, 0, 0)))
    return tuple(map(list, zip(*rows, strict=True)))


def _unipc(sigma, tau):
    s = np.minimum(sigma, 1 - 1e-6)  # lambda must be finite
    n = len(s)
    lam = np.log((1 - s) / s)
    correct, predict = np.zeros((n, 5)), np.zeros((n, 3))
    correct[0, 0] = 1
    order = 0
    for i in range(n):
        if i > 0:  # redo the step that led here, knowing m
            h = lam[i] - lam[i - 1]
            phi = np.expm1(-h)
            gain = (1 - s[i]) * phi
            before, now = 0.0, 0.5
            if order == 2:
                r = (lam[i - 2] - lam[i - 1]) / h
                first = phi / -h - 1
                b1, b2 = first / phi, 2 * (first / -h - 0.5) / phi
                before = (b1 - b2) / (1 - r)
                now = b1 - before
                before /= r
            correct[i] = 0, s[i] / s[i - 1], -gain * now, gain * (now + before - 1), -gain * before
        order = min(2, n - i, i + 1)
        if i + 1 == n:
            predict[i] = 0, 1, 0
            break
        h = lam[i + 1] - lam[i]
        gain = (1 - s[i + 1]) * np.expm1(-h)
        half = 0.5 * h / (lam[i - 1] - lam[i]) if order == 2 else 0.0
        predict[i] = s[i + 1] / s[i], -gain * (1 - half), -gain * half
    return s, tau, correct, predict


SOLVERS: dict[str, Solver] = {
    "euler": LinearSolver(_euler),
    "heun": LinearSolver(_heun),
    "unipc": LinearSolver(_unipc),
}
