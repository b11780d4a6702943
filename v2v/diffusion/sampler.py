"""The sampler: noise and conditions to edited latents, as one jitted program.

The sampler knows nothing of files or pixels. It follows a table of solver steps along the guided velocity of a transformer that sees
source, mask and reference as clean tokens; the program is one scan over the rows of the table:

    once    for each branch of guidance, keys and values of all condition tokens, if the model is one_way        models/kv_cache.py
    a row   each branch's velocity at (x, tau) → the guided velocity → blended with other windows → the solver's next x

The state x is float32 in whatever type the model computes. What changes from call to call (weights, LoRA merged into them, table,
guidance scale, links, rows to skip) is an argument, so one compilation serves all of it. Jobs are rows of a batch: if the arguments
are distributed over a mesh the program follows them, and no job's result depends on the others.

A model of two transformers is sampled by two calls of the program: the rows at and above the boundary with the high-noise transformer, the
others with the low-noise one. The solver's state goes from one to the other as it is; the weights of the second are asked for once the
first has finished, so that one can make room for the other.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from v2v.array_types import AnyArray, AnyLatents, Array, Bool, Conditions, Float, Latents, Seeds, Text, Tokens
from v2v.config import ModelConfig
from v2v.diffusion import windows
from v2v.diffusion.guidance import Branch, combine_velocities, guidance_branches
from v2v.diffusion.schedule import sampling_levels
from v2v.diffusion.solvers import (
    SolverState,
    SolverTable,
    advance_state,
    build_solver_table,
    draw_noise,
    initial_state,
)
from v2v.errors import InputError
from v2v.models import kv_cache
from v2v.models.attention_kernels import parallel
from v2v.models.conditioning import build_conditioning
from v2v.models.guidance_modes import NO_GUIDANCE, GuidanceAxis, GuidanceMode
from v2v.models.transformer import DiT
from v2v.runtime import progress, sharding


@struct.dataclass
class SampleOutput:
    """The result of sampling n rows of a solver's table.

    Attributes:
      latents: [b, t, y, x, c], the edited latents, float32.
      past: [n, j, t, y, x, c], for batches of windows of j clips: each clip's last window's predictions of the data at every row,
        for the windows that follow (`windows.WindowLinks.past`).
      ratios: [n], where steps may be skipped: magnitude of what the blocks added at each row relative to the row before
        (step_skipping.py).
    """

    latents: AnyArray
    past: AnyArray | None = None
    ratios: AnyArray | None = None


@dataclasses.dataclass(frozen=True)
class LowNoise:
    """The low-noise transformer of a model of two.

    Attributes:
      variables: returns {"params", "embed"} when they are needed.
      guidance: its guidance scale, a number or [b].
      factor: of its scales of guidance on references and on the source.
    """

    variables: Callable[[], dict[str, Any]]
    guidance: float | AnyArray
    factor: float = 1.0


@dataclasses.dataclass(frozen=True)
class SamplerStep:
    """A row of the table that has just been sampled.

    Attributes:
      index: its number, from 0.
      total: number of all rows.
      tau: flow time that the network was told, 0 to 1.
      latents: the state after it, float32 [b, t, y, x, c].
    """

    index: int
    total: int
    tau: float
    latents: Latents


# Is told of each row, and may return other latents to go on from; what it raises ends the sampling.
StepFunction = Callable[[SamplerStep], AnyLatents | None]


class Sampler:
    """A jitted sampler of one model configuration.

    Attributes:
      cfg: the configuration.
      program: the jitted function, for tools that count or time what is compiled.
    """

    def __init__(self, cfg: ModelConfig, streams: bool = False):
        """Make a sampler.

        Args:
          cfg: the configuration.
          streams: whether the blocks' kernels are in the host's memory (`DiT.streams`).
        """
        self.cfg = cfg
        self.conditioning = build_conditioning(cfg.dit, cfg.condition)
        self.program = jax.jit(
            functools.partial(_run, DiT(cfg.dit, cfg.condition, streams)),
            static_argnames=("mode", "cached", "row_count", "hands_over"),
        )

    def __call__(
        self,
        variables: dict[str, Any] | Callable[[], dict[str, Any]],
        noise: AnyLatents,
        text: Float[AnyArray, "b m w"],
        null: Float[AnyArray, "#b m w"],
        conditions: Conditions,
        steps: int,
        guidance: float | AnyArray,
        *,
        low: LowNoise | None = None,
        links: windows.WindowLinks | None = None,
        begin: AnyLatents | None = None,
        strength: float = 1.0,
        mode: str = "prompt",
        guidance_reference: float | None = None,
        guidance_source: float | None = None,
        cached: bool | None = None,
        evaluated: Bool[np.ndarray, "n"] | None = None,
        measure_ratios: bool = False,
        seeds: Seeds | None = None,
        first: AnyLatents | None = None,
        on_step: StepFunction | None = None,
    ) -> SampleOutput:
        """Sample edited latents.

        Args:
          variables: {"params", "embed"}, or what returns them, which lets those of the high-noise transformer go before the others are read.
          noise: initial state.
          text: embeddings of the instruction.
          null: embeddings of the empty sentence, for all jobs or for each.
          conditions: latents `source`, `mask`, `reference`, each optional.
          steps: number of steps (`schedule.sampling_levels`).
          guidance: guidance scale of the text, a number or [b]; 1 for none.
          low: the low-noise transformer, which takes the rows below `FlowConfig.boundary`; None for a model of one transformer.
          links: for windows of a clip or of several (windows.py); `links.past` may be None at first.
          begin: latents to start from where strength is below 1.
          strength: 0 to 1; below 1 only the last part of the schedule is sampled, from `begin` with noise on it.
          mode: what guidance strengthens (guidance.py).
          guidance_reference: scale on references, of modes that have one; None for the configuration's.
          guidance_source: scale on the source, the same.
          cached: compute the conditions' keys and values once; None does so when the model allows it.
          evaluated: one for each of the n rows of the table; where False, the row reuses what the blocks added at the last row that
            was evaluated (step_skipping.py). None evaluates all.
          measure_ratios: evaluate all rows and return `ratios`; they are also returned where `evaluated` is given.
          seeds: of each latent frame (`windows.noise_seeds`), for solvers that draw noise; others don't use them.
          first: clean latents of frame 0, [b, 1, y, x, c]: the network sees them in place of what it samples there, at flow time 0.
          on_step: called after each row. The program is then one row long and called once a row, on every kind of device: it is compiled
            once more, and cached keys and values of conditions are computed anew in each row.

        Raises:
          InputError: `evaluated` of another length than the table, an unknown solver, a solver that needs seeds, skipped rows together with
            `on_step`, or latents from it that don't fit.
        """
        flow = self.cfg.flow
        rows = build_solver_table(flow.solver, *sampling_levels(flow, steps, strength))
        if begin is not None and strength < 1:
            noise = (1 - rows.sigma[0]) * begin + rows.sigma[0] * noise
        if links is not None and links.past is None:
            shape = (len(rows.sigma), links.clips, *noise.shape[1:])
            links = dataclasses.replace(links, past=np.zeros(shape, np.float32))
        if measure_ratios:
            evaluated = np.ones(len(rows.sigma), bool)
        if evaluated is not None and len(evaluated) != len(rows.sigma):
            raise InputError(
                f"evaluated: expected {len(rows.sigma)} rows as the table has, got {len(evaluated)}"
            )
        if evaluated is not None and on_step is not None:
            raise InputError(
                "step callback: expected all steps to be computed, some are skipped; leave one out"
            )
        if cached is None:
            # Cached keys are replicated on all devices, so not where tokens are split.
            cached = bool(conditions) and self.conditioning.cacheable and parallel.token_multiple() == 1
        others: dict[GuidanceAxis, float | AnyArray] = {
            "reference": flow.guidance_reference if guidance_reference is None else guidance_reference,
            "source": flow.guidance_source if guidance_source is None else guidance_source,
        }
        guided = self.conditioning.guidance_mode(mode, conditions, noise.shape[1])
        count = len(rows.sigma)
        split = count if low is None else count_high_noise(rows, flow.boundary)
        if rows.noise is None:  # one program whether or not they are given
            seeds = None
        turns = [(slice(0, split), variables, guidance, 1.0)]
        if low is not None:
            turns.append((slice(split, count), low.variables, low.guidance, low.factor))
        turns = [turn for turn in turns if turn[0].stop > turn[0].start]
        outputs, state = [], None
        if on_step is not None:
            turns = [
                (slice(row, row + 1), turn_variables, scale, factor)
                for part, turn_variables, scale, factor in turns
                for row in range(part.start, part.stop)
            ]
            # The first row is then no other program than the rest.
            state = initial_state(jnp.asarray(noise, jnp.float32))
        for part, part_variables, scale, factor in turns:
            scales: dict[GuidanceAxis, float | AnyArray] = {
                "prompt": scale,
                **{axis: factor * other for axis, other in others.items()},
            }
            is_unguided = all(np.ndim(scales[axis]) == 0 and scales[axis] == 1 for axis in guided.axes)
            passes = NO_GUIDANCE if is_unguided else guided
            part_links = links
            if links is not None:
                part_links = dataclasses.replace(links, past=cast(Any, links.past)[part])
            output, _, state = self.program(
                part_variables() if callable(part_variables) else part_variables,
                noise,
                text,
                null,
                conditions,
                jax.tree.map(lambda column, part=part: column[part], rows),
                {axis: np.asarray(scales[axis], np.float32) for axis in passes.axes},
                part_links,
                None if evaluated is None else _evaluated_rows(evaluated, part),
                seeds,
                first,
                state,
                None if len(turns) == 1 and on_step is None else np.int32(part.start),
                mode=passes,
                cached=cached,
                row_count=count,
                hands_over=part.stop < count or on_step is not None,
            )
            if part.stop < count or on_step is not None:
                jax.block_until_ready(state)  # its weights may go
            if on_step is not None:
                state = _call_step_function(
                    on_step, SamplerStep(part.start, count, float(rows.tau[part.start]), state.x), state
                )
                output = output.replace(latents=_with_first(state.x, first))
            outputs.append(output)
        return outputs[0] if len(outputs) == 1 else _join_outputs(outputs)


def count_high_noise(rows: SolverTable, boundary: float) -> int:
    """Return how many of a table's rows, the first ones, are at or above the boundary between two transformers.

    Args:
      rows: the table.
      boundary: flow time.
    """
    # As published, in thousandths: a boundary of 0.9 is no number of float32.
    times = np.round(1000 * np.asarray(rows.tau, np.float64), 3)
    return int(np.argmin(np.append(times >= round(1000 * boundary, 3), False)))


def _call_step_function(on_step: StepFunction, step: SamplerStep, state: SolverState) -> SolverState:
    """Call a step function; return the state to go on from."""
    latents = on_step(step)
    if latents is None or latents is step.latents:
        return state
    x = check_step_latents(latents, state.x.shape)
    return state._replace(x=jax.device_put(x, state.x.sharding))


def check_step_latents(latents: AnyLatents, shape: tuple[int, ...]) -> Latents:
    """Return latents that a step function gave, as float32.

    Raises:
      InputError: they have another shape, or are no numbers.
    """
    if np.shape(latents) != shape:
        raise InputError(
            f"step callback: expected latents of shape {shape}, got {np.shape(latents)}; return them in the shape they came in"
        )
    x = jnp.asarray(latents, jnp.float32)
    if not bool(jnp.isfinite(x).all()):
        raise InputError("step callback: expected finite latents, got some that are no numbers")
    return x


def _evaluated_rows(evaluated: Bool[np.ndarray, "n"], part: slice) -> Bool[np.ndarray, "m"]:
    """Return which rows of a part are evaluated; the first of the second transformer in any case, which has no earlier sum."""
    rows = np.array(evaluated[part])
    rows[:1] |= part.start > 0
    return rows


def _join_outputs(outputs: list[SampleOutput]) -> SampleOutput:
    """Return the output of a table whose rows were sampled in several turns."""

    def join(arrays: list[Any]) -> AnyArray | None:
        return None if arrays[0] is None else jnp.concatenate(arrays)

    return SampleOutput(
        outputs[-1].latents, join([out.past for out in outputs]), join([out.ratios for out in outputs])
    )


def _run(
    dit: DiT,
    variables: dict[str, Any],
    noise: Latents,
    text: Text,
    null: Float[Array, "#b m w"],
    conditions: Conditions,
    steps: SolverTable,
    scales: dict[GuidanceAxis, Array],
    links: windows.WindowLinks | None,
    evaluated: Bool[Array, "n"] | None,
    seeds: Seeds | None,
    first: Latents | None,
    previous_state: SolverState | None = None,
    start: Array | None = None,
    *,
    mode: GuidanceMode,
    cached: bool,
    row_count: int | None = None,
    hands_over: bool = False,
) -> tuple[SampleOutput, Array, SolverState | None]:
    """Sample; return also the numbers of the rows, whose computation reports progress, and, if it `hands_over`, the solver's state.

    Of a table that is sampled in parts, `previous_state` is the state after the rows before, `start` the number of the first row of `steps` and
    `row_count` the number of all.
    """
    branches = guidance_branches(mode, text, null, conditions)
    networks = _Networks(dit, variables, branches, noise, cached, first)
    rows = jax.tree.map(jnp.asarray, steps)
    past = None if links is None or links.past is None else jnp.asarray(links.past, jnp.float32)

    def step(state_and_sums, numbered_row):
        state, sums = state_and_sums
        index, row, past, is_evaluated = numbered_row
        results = networks(state.x, row.tau, sums, is_evaluated)
        v, prediction = combine_velocities([v for v, _ in results], mode, scales, state.x, row.sigma), None
        if links is not None:
            v, prediction = windows.blend_windows(v, state.x, row.sigma, links, past)
        total, previous = results[0][1], sums[0]
        ratio = None if total is None or previous is None else _magnitude_ratio(total, previous)
        fresh_noise = None if row.noise is None else draw_noise(seeds, index, noise.shape)
        state = advance_state(state, row, v, fresh_noise)
        progress_index = progress.report_progress(index, row_count or len(steps.sigma), state.x)
        return (state, [total for _, total in results]), (prediction, ratio, progress_index)

    state = initial_state(noise.astype(jnp.float32)) if previous_state is None else previous_state
    sums = [None if evaluated is None else jnp.zeros(networks.sum_shape, jnp.float32) for _ in branches]
    numbers = jnp.arange(len(steps.sigma)) if start is None else start + jnp.arange(len(steps.sigma))
    numbered_rows = (numbers, rows, past, evaluated)
    (state, _), (predictions, ratios, indices) = jax.lax.scan(step, (state, sums), numbered_rows)
    output = SampleOutput(_with_first(state.x, first), predictions, ratios)
    return output, indices, state if hands_over else None


def _with_first(x: Latents, first: AnyLatents | None) -> Latents:
    """Return latents with a given frame 0."""
    return x if first is None else jnp.concatenate([jnp.asarray(first, x.dtype), x[:, 1:]], 1)


class _Networks:
    """The network in all branches of guidance: one after the other, or side by side where a mesh has devices for them.

    Where the rows of a batch don't divide over mesh axes data and fsdp, but the rows of all branches do, they are one batch: each group of
    devices computes a branch, and nothing but velocities is exchanged between groups.

    Attributes:
      sum_shape: (b, n, d), the shape of what the blocks add to the target's tokens in one branch.
    """

    def __init__(
        self,
        dit: DiT,
        variables: dict[str, Any],
        branches: list[Branch],
        z: Latents,
        cached: bool,
        first: Latents | None,
    ):
        self._count, self._rows = len(branches), len(z)
        condition_sets = {tuple(sorted(branch.conditions)) for branch in branches}
        self._joint = (
            self._count > 1 and len(condition_sets) == 1 and parallel.splits_copies(self._rows, self._count)
        )
        if self._joint:
            branches = [jax.tree.map(lambda *copies: _split_rows(jnp.concatenate(copies)), *branches)]
            z, first = self._repeat(z), None if first is None else self._repeat(first)
        self._networks = [_BranchNetwork(dit, variables, branch, z, cached, first) for branch in branches]
        self.sum_shape = (self._rows, *self._networks[0].sum_shape[1:])

    def __call__(
        self,
        x: Latents,
        tau: Float[Array, ""],
        totals: Sequence[Tokens | None],
        is_evaluated: Bool[Array, ""] | None,
    ) -> list[tuple[Latents, Tokens | None]]:
        """Return each branch's velocity and what its blocks added, as `_BranchNetwork` does."""
        if not self._joint:
            return [
                network(x, tau, total, is_evaluated)
                for network, total in zip(self._networks, totals, strict=True)
            ]
        total = None if totals[0] is None else jnp.concatenate([jnp.asarray(total) for total in totals])
        v, total = self._networks[0](self._repeat(x), tau, total, is_evaluated)
        totals = [None] * self._count if total is None else jnp.split(total, self._count)
        return list(zip(jnp.split(_split_rows(v), self._count), totals, strict=True))

    def _repeat(self, x: Array) -> Array:
        """Return the rows of a batch once for each branch."""
        return _split_rows(jnp.concatenate([jnp.asarray(x)] * self._count))


def _split_rows(x: Array) -> Array:
    """Return an array with its rows split over the mesh in use."""
    return sharding.constrain_activation(x, " ".join(["b", *"-" * (x.ndim - 1)]))


class _BranchNetwork:
    """The network in one branch of guidance, with the branch's conditions.

    Attributes:
      sum_shape: (b, n, d), the shape of what the blocks add to the target's tokens.
    """

    def __init__(
        self,
        dit: DiT,
        variables: dict[str, Any],
        branch: Branch,
        z: Latents,
        cached: bool,
        first: Latents | None,
    ):
        self._dit, self._branch, self._first = dit, branch, first
        self._part, self._variables = "all", variables
        if cached and branch.conditions:
            self._part = "target"
            self._variables = variables | {"cache": kv_cache.prefill(dit, variables, z, *branch)}
        grid = [n // p for n, p in zip(z.shape[1:4], dit.cfg.patch, strict=True)]
        self.sum_shape = (z.shape[0], int(np.prod(grid)), dit.cfg.width)

    def __call__(
        self, x: Latents, tau: Float[Array, ""], total: Tokens | None, is_evaluated: Bool[Array, ""] | None
    ) -> tuple[Latents, Tokens | None]:
        """Return the velocity and what the blocks added; where `is_evaluated` is False that is `total` again, where it is None nothing."""
        if is_evaluated is None:
            return self._velocity(x, tau, {}), None

        def evaluate(total):
            v, collections = self._apply(x, tau, {}, ["added"])
            return v, collections["added"]["sum"]

        def reuse(total):
            return self._velocity(x, tau, {"added": {"sum": total}}), total

        return jax.lax.cond(is_evaluated, evaluate, reuse, total)

    def _velocity(self, x: Latents, tau: Float[Array, ""], more: dict[str, Any]) -> Latents:
        return cast(Latents, self._apply(x, tau, more))

    def _apply(
        self, x: Latents, tau: Float[Array, ""], more: dict[str, Any], mutable: bool | list[str] = False
    ) -> Any:
        conditions: dict[str, Any] = {**self._branch.conditions}
        if self._first is not None:
            conditions["first_clean"] = jnp.ones(len(x), bool)
        return self._dit.apply(
            self._variables | more,
            _with_first(x, self._first),
            jnp.full(x.shape[:1], tau),
            self._branch.text,
            **conditions,
            part=self._part,
            mutable=mutable,
        )


def _magnitude_ratio(total: Tokens, previous: Tokens) -> Float[Array, ""]:
    """Return the mean over tokens of |total| / |previous|, the lengths of their vectors."""
    a, b = (jnp.linalg.norm(z.astype(jnp.float32), axis=-1) for z in (total, previous))
    return (a / jnp.maximum(b, 1e-6)).mean()
