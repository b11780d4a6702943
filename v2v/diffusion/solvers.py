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

import flax
import jax
import jax.numpy as jnp
import numpy as np

from v2v.array_types import Array, Float, Latents
from v2v.config import Solver
from v2v.errors import InputError

Velocity = Callable[[Latents, Float[Array, ""]], Latents]


@flax.struct.dataclass
class SolverTable:
    """One row an evaluation of the network; a pytree, so that it can be an argument of a jitted sampler."""

    sigma: Float[Array, "n"]
    tau: Float[Array, "n"]  # what the network is told
    correct: Float[Array, "n 5"]
    predict: Float[Array, "n 3"]


def build_solver_table(solver: Solver, sigma: np.ndarray, tau: np.ndarray | None = None) -> SolverTable:
    """The coefficients of `solver` on a schedule.

    Args:
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
    columns = SOLVERS[solver](sigma, tau)
    return SolverTable(*(np.asarray(c, np.float32) for c in columns))


def integrate(velocity: Velocity, x: Latents, steps: SolverTable) -> Latents:
    """Walk x (noise) along the table; `velocity(x, tau)` is the guided prediction. One scan, float32 state."""
    x = x.astype(jnp.float32)

    def body(carry, row):
        return advance_state(carry, row, velocity(carry[0], row.tau)), None

    (x, *_), _ = jax.lax.scan(body, initial_state(x), jax.tree.map(jnp.asarray, steps))
    return x


def initial_state(x: Latents) -> tuple[Latents, ...]:
    """The carry (x, x', m', m'') before the first row."""
    return x, x, jnp.zeros_like(x), jnp.zeros_like(x)


def advance_state(carry: tuple[Latents, ...], row: SolverTable, v: Latents) -> tuple[Latents, ...]:
    """One row: the carry after the network answered `v` at its x. For samplers that have more to carry than `integrate`."""
    x, before, m1, m2 = carry
    m = x - row.sigma * v
    c, p = row.correct, row.predict
    x = c[0] * x + c[1] * before + c[2] * m + c[3] * m1 + c[4] * m2
    return p[0] * x + p[1] * m + p[2] * m1, x, m, m1


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


# Each builds the columns (sigma, tau, correct, predict) of a `Table`; the names are those of `v2v.config.Solver`.
SOLVERS: dict[Solver, Callable] = {"euler": _euler, "heun": _heun, "unipc": _unipc}
