"""Solvers of the path from noise to data, as tables of coefficients: Euler, Heun, UniPC-2 and renoise.

Every step of each solver is linear in the state x, the state x' of the row before, the last three predictions of the data,
m = x - sigma v (v the velocity at x; on the straight path m is the network's prediction of x0), and fresh normal noise e. So a solver is
a table, computed once in float64 on the host, and sampling is one scan over its rows that doesn't depend on which solver it runs:

    correct   x ← c0 x + c1 x' + c2 m + c3 m' + c4 m''
    predict   x' ← x,  x ← p0 x + p1 m + p2 m' + w e

Euler:   x ← (s⁺/s) x + (1 - s⁺/s) m, one evaluation of the network a step.
Heun:    averages the velocities at both ends of a step; its last step, which ends at 0, is Euler's: 2N - 1 evaluations.
UniPC-2: with bh2 and data prediction (arXiv 2302.04867). In lambda = log((1-s)/s), h = lambda⁺ - lambda, phi = e^{-h} - 1:
         x⁺ = (s⁺/s) x - (1-s⁺) phi (m + (m' - m)/(2r)),  r = (lambda' - lambda)/h.
         Once the network has been evaluated there, the same step is computed again with that evaluation as one more point (the
         corrector); the evaluation itself is not repeated. Order 1 on the first and the last step.
Renoise: x ← (1 - s⁺) m + s⁺ e, one evaluation a step: how models distilled by distribution matching (DMD) or consistency are sampled,
         which know only clean predictions under new noise. It follows no path: with many steps it does not approach the others.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from numpy.typing import ArrayLike

from v2v.array_types import AnyArray, Array, Float, Latents, Seeds
from v2v.errors import InputError

# (state, flow time) to velocity, all of the state's shape.
Velocity = Callable[[Float[Array, "*z"], Float[Array, ""]], Float[Array, "*z"]]


class Solver(Protocol):
    """A solver: how noise levels become rows of a `SolverTable`.

    To add one, write a class or a `LinearSolver` here, put it into `SOLVERS`, and its name into `v2v.config.SolverName`, which the
    command line shows. It may bring its own timesteps (rows at other levels than it is given) and may draw noise
    (`SolverTable.noise`).
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
    """The rows of a solver, one for each evaluation of the network; a pytree, so that it can be an argument of a jitted sampler.

    Shapes are those of a table of n rows; a single row has no leading axis.

    Attributes:
      sigma: [n], noise level.
      tau: [n], flow time told to the network.
      correct: [n, 5], coefficients of the corrector.
      predict: [n, 3], coefficients of the predictor.
      noise: [n], weight of fresh noise added after the row; None where none is drawn.
    """

    sigma: Float[AnyArray, "*n"]
    tau: Float[AnyArray, "*n"]
    correct: Float[AnyArray, "*n 5"]
    predict: Float[AnyArray, "*n 3"]
    noise: Float[AnyArray, "*n"] | None = None


class SolverState(NamedTuple):
    """What a row of a table starts from; all of one shape.

    Attributes:
      x: the state.
      previous_x: the state of the row before, after its correction.
      previous_m: the prediction of the data one row before.
      earlier_m: the prediction of the data two rows before.
    """

    x: Float[Array, "*z"]
    previous_x: Float[Array, "*z"]
    previous_m: Float[Array, "*z"]
    earlier_m: Float[Array, "*z"]


def build_solver_table(
    solver: str, sigma: Sequence[float] | AnyArray, tau: Sequence[float] | AnyArray | None = None
) -> SolverTable:
    """Return the rows of a solver on a schedule.

    Args:
      solver: a name in `SOLVERS`.
      sigma: decreasing noise levels in (0, 1], [n], without the final 0.
      tau: flow time told to the network at each, [n]; None takes sigma.

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


def integrate(
    velocity: Velocity,
    x: Float[AnyArray, "*z"],
    steps: SolverTable,
    seeds: Seeds | None = None,
) -> Float[Array, "*z"]:
    """Solve from noise to data in one scan with a float32 state.

    Args:
      velocity: the guided prediction at (x, tau).
      x: noise.
      steps: the table.
      seeds: those of x's latent frames, for tables that draw noise; x is then [b, t, y, x, c].

    Raises:
      InputError: the table draws noise and there are no seeds.
    """
    x = jnp.asarray(x, jnp.float32)

    def step(state, numbered_row):
        index, row = numbered_row
        noise = None if row.noise is None else draw_noise(seeds, index, x.shape)
        return advance_state(state, row, velocity(state.x, row.tau), noise), None

    rows = jnp.arange(len(steps.sigma)), jax.tree.map(jnp.asarray, steps)
    state, _ = jax.lax.scan(step, initial_state(x), rows)
    return state.x


def draw_noise(seeds: Seeds | None, index: int | Array, shape: tuple[int, ...]) -> Latents:
    """Return normal noise, each cell's own: it depends on the seed of its latent frame, the row of the table, and its place in the frame.

    So it is the same whatever shares the batch, however the batch is split over devices, and in all windows and tiles that show the cell.

    Args:
      seeds: of each latent frame (`windows.noise_seeds`).
      index: number of the row.
      shape: [b, t, y, x, c].

    Raises:
      InputError: no seeds.
    """
    if seeds is None:
        raise InputError("sampling: this solver draws noise and needs a seed for each latent frame, got none")
    seeds = jnp.asarray(seeds)
    _, _, rows, columns, channels = shape

    def draw_frame(seed):
        key = jax.random.fold_in(jax.random.wrap_key_data(seed[:2], impl="threefry2x32"), index)

        def draw_cell(y, x):
            return jax.random.normal(
                jax.random.fold_in(jax.random.fold_in(key, seed[2] + y), seed[3] + x), (channels,)
            )

        draw_row = jax.vmap(draw_cell, (None, 0))
        ys, xs = jnp.arange(rows, dtype=jnp.uint32), jnp.arange(columns, dtype=jnp.uint32)
        return jax.vmap(draw_row, (0, None))(ys, xs)

    return jax.vmap(jax.vmap(draw_frame))(seeds)


def initial_state(x: Float[Array, "*z"]) -> SolverState:
    """Return the state before the first row."""
    return SolverState(x, x, jnp.zeros_like(x), jnp.zeros_like(x))


def advance_state(
    state: SolverState, row: SolverTable, v: Float[Array, "*z"], noise: Float[Array, "*z"] | None = None
) -> SolverState:
    """Return the state after one row.

    Args:
      state: the state before it.
      row: one row of the table.
      v: the network's velocity at `state.x`.
      noise: fresh normal noise, where the table draws some.
    """
    x, previous_x, m1, m2 = state
    m = x - row.sigma * v
    c, p = row.correct, row.predict
    x = c[0] * x + c[1] * previous_x + c[2] * m + c[3] * m1 + c[4] * m2
    following = p[0] * x + p[1] * m + p[2] * m1
    if noise is not None and row.noise is not None:
        following = following + row.noise * noise
    return SolverState(following, x, m, m1)


@dataclass(frozen=True)
class LinearSolver:
    """A deterministic solver whose steps are linear.

    Attributes:
      columns: (sigma, tau), float64 [n] each, to the columns (sigma, tau, correct, predict) of the table, computed in float64.
    """

    columns: Callable[[np.ndarray, np.ndarray], tuple[ArrayLike, ArrayLike, ArrayLike, ArrayLike]]

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
    levels, times, correct, predict = zip(*rows, strict=True)
    return levels, times, correct, predict


def _unipc(sigma, tau):
    s = np.minimum(sigma, 1 - 1e-6)  # lambda must be finite
    n = len(s)
    lam = np.log((1 - s) / s)
    correct, predict = np.zeros((n, 5)), np.zeros((n, 3))
    correct[0, 0] = 1
    order = 0
    for i in range(n):
        if i > 0:  # the step that led here, now that m is known
            h = lam[i] - lam[i - 1]
            phi = np.expm1(-h)
            gain = (1 - s[i]) * phi
            earlier_weight, weight = 0.0, 0.5
            if order == 2:
                r = (lam[i - 2] - lam[i - 1]) / h
                first = phi / -h - 1
                b1, b2 = first / phi, 2 * (first / -h - 0.5) / phi
                earlier_weight = (b1 - b2) / (1 - r)
                weight = b1 - earlier_weight
                earlier_weight /= r
            correct[i] = (
                0,
                s[i] / s[i - 1],
                -gain * weight,
                gain * (weight + earlier_weight - 1),
                -gain * earlier_weight,
            )
        order = min(2, n - i, i + 1)
        if i + 1 == n:
            predict[i] = 0, 1, 0
            break
        h = lam[i + 1] - lam[i]
        gain = (1 - s[i + 1]) * np.expm1(-h)
        half = 0.5 * h / (lam[i - 1] - lam[i]) if order == 2 else 0.0
        predict[i] = s[i + 1] / s[i], -gain * (1 - half), -gain * half
    return s, tau, correct, predict


class RenoiseSolver:
    """Jumps to the prediction of the data, then adds fresh noise of the next level."""

    def table(self, sigma: np.ndarray, tau: np.ndarray) -> SolverTable:
        """Return the rows (see `Solver`)."""
        following = np.append(sigma[1:], 0)
        correct = np.tile([1.0, 0, 0, 0, 0], (len(sigma), 1))
        predict = np.stack([0 * sigma, 1 - following, 0 * sigma], -1)
        return SolverTable(
            *(np.asarray(column, np.float32) for column in (sigma, tau, correct, predict, following))
        )


SOLVERS: dict[str, Solver] = {
    "euler": LinearSolver(_euler),
    "heun": LinearSolver(_heun),
    "unipc": LinearSolver(_unipc),
    "renoise": RenoiseSolver(),
}
