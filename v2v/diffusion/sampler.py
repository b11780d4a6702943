"""Noise and conditions → edited latents, under one jit. guidance.py, solvers.py, models/kv_cache.py → **sampler** → models/autoencoder.py

The sampler knows nothing of files or pixels: it walks a table of steps along the guided velocity of a DiT that sees source, mask
and reference as clean tokens. One scan over the rows of the table:

    once    per branch of guidance, keys and values of all condition tokens, if the model is one_way        models/kv_cache.py
    a row   each branch's velocity at (x, tau) → their combination → agreement of windows → the solver's next x
The state x is float32 whatever the model computes in. What changes from call to call (weights, LoRA merged into them, table,
scale, links, rows to skip) is an argument, so one compilation serves all of it. Jobs are rows of a batch: lay the arguments out
over a mesh (`spread`) and the program follows them; no job's result depends on its neighbours.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.sharding import Mesh

from v2v.array_types import Array, Bool, Latents, Text
from v2v.config import ModelConfig
from v2v.diffusion import step_skipping, windows
from v2v.diffusion.guidance import Branch, combine_velocities, guidance_branches
from v2v.diffusion.schedule import noise_levels
from v2v.diffusion.solvers import SolverTable, advance_state, build_solver_table, draw_noise, initial_state
from v2v.errors import InputError
from v2v.models import kv_cache
from v2v.models.attention_kernels import parallel
from v2v.models.transformer import DiT
from v2v.runtime import progress, sharding


@struct.dataclass
class SampleOutput:
    """What sampling gives.

    Attributes:
      latents: the edited latents, float32, shaped like the noise.
      past: for batches of windows, each window's data predictions at every row, for the windows that follow (`windows.WindowLinks.past`).
      ratios: where steps may be skipped, what the blocks added at each row relative to the row before (step_skipping.py).
    """

    latents: Latents
    past: Array | None = None
    ratios: Array | None = None


class Sampler:
    """A jitted sampler of one model configuration.

    Attributes:
      program: the jitted function, for tools that count or time what is compiled.
    """

    def __init__(self, cfg: ModelConfig):
        self.cfg = cfg
        self.program = jax.jit(partial(_run, DiT(cfg.dit, cfg.condition)), static_argnames=("mode", "cached"))

    def __call__(
        self,
        variables: dict,
        noise: Latents,
        text: Text,
        null: Text,
        conditions: dict,
        steps: int,
        guidance: float | Array,
        *,
        links: windows.WindowLinks | None = None,
        begin: Latents | None = None,
        strength: float = 1.0,
        mode: str = "prompt",
        cached: bool | None = None,
        fresh: Any = None,
        seeds: Array | None = None,
    ) -> SampleOutput:
        """Sample edited latents.

        Args:
          variables: {"params", "embed"}.
          noise: [b, t, y, x, c].
          text: embeddings of the instruction.
          null: embeddings of the empty sentence.
          conditions: latents `source`, `mask`, `reference`, each optional.
          steps: number of steps.
          guidance: a number, or one for each job; 1 for none.
          links: the batch is windows of a clip, or of several (windows.py); `links.past` may be None at first.
          begin: latents to start from where strength is below 1.
          strength: 0 to 1; below 1 only the last part of the schedule is sampled, in as many steps, from `begin` with noise on it.
          mode: what guidance strengthens (guidance.py).
          cached: keep the conditions' keys and values; None does when the model allows it.
          fresh: bool, one a row of the table: where False, the row reuses what the blocks added at the row before (step_skipping.py).
            True measures the ratios and skips nothing.
          seeds: uint32 [b], for solvers that draw noise.

        Raises:
          InputError: `fresh` of another length than the table, an unknown solver, or a solver that needs seeds.
        """
        flow = self.cfg.flow
        levels = noise_levels(flow.schedule, round(steps / strength), flow.shift)
        rows = build_solver_table(flow.solver, *(level[-steps:] for level in levels))
        if begin is not None and strength < 1:
            noise = (1 - rows.sigma[0]) * begin + rows.sigma[0] * noise
        if links is not None and links.past is None:
            past = (len(rows.sigma), links.clips, *noise.shape[1:])
            links = links.replace(past=np.zeros(past, np.float32))
        fresh = np.ones(len(rows.sigma), bool) if fresh is True else fresh
        if fresh is not None and len(fresh) != len(rows.sigma):
            raise InputError(f"fresh: expected {len(rows.sigma)} rows as the table has, got {len(fresh)}")
        if np.ndim(guidance) == 0 and guidance == 1:
            mode = "none"
        if cached is None:  # cached keys lie whole on every device, so not where tokens are split
            cached = (
                bool(conditions)
                and kv_cache.is_cacheable(self.cfg.condition)
                and parallel.token_multiple() == 1
            )
        scale = np.asarray(guidance, np.float32)
        output, _ = self.program(
            variables,
            noise,
            text,
            null,
            conditions,
            rows,
            scale,
            links,
            fresh,
            seeds,
            mode=mode,
            cached=cached,
        )
        return output


def _run(
    dit,
    variables,
    noise,
    text,
    null,
    conditions,
    steps: SolverTable,
    scale,
    links,
    fresh,
    seeds,
    *,
    mode,
    cached,
):
    passes = guidance_branches(mode, text, null, conditions)
    networks = [_Pass(dit, variables, branch, noise, cached) for branch in passes]
    rows = jax.tree.map(jnp.asarray, steps)
    past = None if links is None else jnp.asarray(links.past, jnp.float32)

    def body(carry, row):
        state, sums = carry
        index, row, past, fresh = row
        results = [network(state[0], row.tau, a, fresh) for network, a in zip(networks, sums, strict=True)]
        v, guess = combine_velocities([v for v, _ in results], scale), None
        if links is not None:
            v, guess = windows.blend_windows(v, state[0], row.sigma, links, past)
        ratio = None if fresh is None else step_skipping.magnitude_ratio(results[0][1], sums[0])
        drawn = None if row.noise is None else draw_noise(seeds, index, noise.shape)
        state = advance_state(state, row, v, drawn)
        done = progress.report_progress(index, len(steps.sigma), state[0])
        return (state, [a for _, a in results]), (guess, ratio, done)

    state = initial_state(noise.astype(jnp.float32))
    sums = [None if fresh is None else jnp.zeros(network.width, jnp.float32) for network in networks]
    numbered = (jnp.arange(len(steps.sigma)), rows, past, fresh)
    ((x, *_), _), (guesses, ratios, done) = jax.lax.scan(body, (state, sums), numbered)
    return SampleOutput(x, guesses, ratios), done


def shard_jobs(mesh: Mesh, jobs: dict) -> dict:
    """A tree of arrays whose leading axis is jobs, laid out over the mesh's data and fsdp axes; weights are laid out by their owner.

    Raises:
      InputError: the number of jobs doesn't divide by the devices.
    """
    return jax.tree.map(lambda x: jax.device_put(x, sharding.batch_sharding(mesh, x.shape[0])), jobs)


class _Pass:
    """One branch of guidance: (x, tau) to (velocity, what the blocks added to the target's tokens).

    Attributes:
      width: the shape of what the blocks add.
    """

    def __init__(self, dit: DiT, variables: dict, branch: Branch, z: Latents, cached: bool):
        self.dit, self.branch = dit, branch
        self.part, self.variables = "all", variables
        if cached:
            self.part = "target"
            self.variables = variables | {"cache": kv_cache.prefill(dit, variables, z, *branch)}
        grid = [n // p for n, p in zip(z.shape[1:4], dit.cfg.patch, strict=True)]
        self.width = (z.shape[0], int(np.prod(grid)), dit.cfg.width)

    def _velocity(self, x, tau, more, mutable=False):
        tau = jnp.full(x.shape[:1], tau)
        return self.dit.apply(
            self.variables | more,
            x,
            tau,
            self.branch.text,
            **self.branch.conditions,
            part=self.part,
            mutable=mutable,
        )

    def __call__(self, x: Latents, tau, added: Array | None, fresh: Bool[Array, ""] | None):
        """Return the velocity and what the blocks added, None unless `fresh` is given; where it is False, `added` is reused."""
        if fresh is None:
            return self._velocity(x, tau, {}), None

        def compute(added):
            v, collections = self._velocity(x, tau, {}, ["added"])
            return v, collections["added"]["sum"]

        return jax.lax.cond(
            fresh, compute, lambda added: (self._velocity(x, tau, {"added": {"sum": added}}), added), added
        )
