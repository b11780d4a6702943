"""Noise and conditions → edited latents, under one jit. guidance.py, solvers.py, model/cache.py → **sampler** → codec/vae.py

The sampler knows nothing of files or pixels: it walks a table of steps along the guided velocity of a DiT that sees source, mask
and reference as clean tokens. One scan over the rows of the table:

    once    per branch of guidance, keys and values of all condition tokens, if the model is one_way        model/cache.py
    a row   each branch's velocity at (x, tau) → their combination → agreement of windows → the solver's next x
The state x is float32 whatever the model computes in. What changes from call to call (weights, LoRA merged into them, table,
scale, links, rows to skip) is an argument, so one compilation serves all of it. Jobs are rows of a batch: lay the arguments out
over a mesh (`spread`) and the program follows them; no job's result depends on its neighbours.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from v2v.array_types import Array, Bool, Latents
from v2v.config import ModelConfig
from v2v.diffusion import step_skipping, windows
from v2v.diffusion.guidance import Branch, combine_velocities, guidance_branches
from v2v.diffusion.schedule import noise_levels
from v2v.diffusion.solvers import SolverTable, advance_state, build_solver_table, initial_state
from v2v.errors import InputError
from v2v.models import kv_cache
from v2v.models.attention_kernels import parallel
from v2v.models.transformer import DiT
from v2v.runtime import progress, sharding


def build_sampler(cfg: ModelConfig) -> Callable[..., Latents]:
    """sample(variables, noise, text, null, conditions, steps, guidance, ...) → latents, float32.

    variables: {"params", "embed"}; conditions: a dict of latents `source`, `mask`, `reference`, each optional; steps a number;
    guidance a number or one for each job, 1 for none.
    links: the batch is windows of a clip, or of several (windows.py); then (latents, past) is returned, and `links.past` may be None at first.
    begin, strength: walk only the last `strength` of the schedule (in as many steps), from latents `begin` with noise on them.
    mode: what guidance strengthens (guidance.py). cached: keep the conditions' keys and values; None does when the model allows it.
    fresh: bool, one a row of the table: where False, the row reuses what the blocks added at the row before (skip.py); then what
    they added is measured, and (result, ratios) is returned. True measures and skips nothing.
    """
    dit = DiT(cfg.dit, cfg.condition)

    @partial(jax.jit, static_argnames=("mode", "cached"))
    def run(
        variables, noise, text, null, conditions, steps: SolverTable, scale, links, fresh, *, mode, cached
    ):
        passes = guidance_branches(mode, text, null, conditions)
        asks = [_pass(dit, variables, branch, noise, cached) for branch in passes]
        rows = jax.tree.map(jnp.asarray, steps)
        past = None if links is None else jnp.asarray(links.past, jnp.float32)

        def body(carry, row):
            walk, added = carry
            index, row, past, fresh = row
            replies = [ask(walk[0], row.tau, a, fresh) for ask, a in zip(asks, added, strict=True)]
            v, guess = combine_velocities([v for v, _ in replies], scale), None
            if links is not None:
                v, guess = windows.align_windows(v, walk[0], row.sigma, links, past)
            ratio = None if fresh is None else step_skipping.magnitude_ratio(replies[0][1], added[0])
            walk = advance_state(walk, row, v)
            done = progress.report_progress(index, len(steps.sigma), walk[0])
            return (walk, [a for _, a in replies]), (guess, ratio, done)

        state = initial_state(noise.astype(jnp.float32))
        added = [None if fresh is None else jnp.zeros(ask.width, jnp.float32) for ask in asks]
        numbered = (jnp.arange(len(steps.sigma)), rows, past, fresh)
        ((x, *_), _), (guesses, ratios, done) = jax.lax.scan(body, (state, added), numbered)
        out = x if links is None else (x, guesses)
        return (out if fresh is None else (out, ratios)), done

    def sample(
        variables, noise, text, null, conditions, steps, guidance, links=None, begin=None, strength=1.0,
        *, mode="prompt", cached=None, fresh=None,
    ):  # fmt: skip
        levels = noise_levels(cfg.flow.schedule, round(steps / strength), cfg.flow.shift)
        walk = build_solver_table(cfg.flow.solver, *(level[-steps:] for level in levels))
        if begin is not None and strength < 1:
            noise = (1 - walk.sigma[0]) * begin + walk.sigma[0] * noise
        if links is not None and links.past is None:
            past = (len(walk.sigma), links.clips, *noise.shape[1:])
            links = links.replace(past=np.zeros(past, np.float32))
        fresh = np.ones(len(walk.sigma), bool) if fresh is True else fresh
        if fresh is not None and len(fresh) != len(walk.sigma):
            raise InputError(f"fresh: expected {len(walk.sigma)} rows as the table has, got {len(fresh)}")
        if np.ndim(guidance) == 0 and guidance == 1:
            mode = "none"
        if cached is None:  # cached keys lie whole on every device, so not where tokens are split
            cached = (
                bool(conditions) and kv_cache.is_cacheable(cfg.condition) and parallel.token_multiple() == 1
            )
        scale = np.asarray(guidance, np.float32)
        out, _ = run(
            variables, noise, text, null, conditions, walk, scale, links, fresh, mode=mode, cached=cached
        )
        return out

    sample.compiled = run
    return sample


def shard_jobs(mesh: Mesh, jobs: dict) -> dict:
    """A tree of arrays whose leading axis is jobs, laid out over the mesh's data and fsdp axes; weights are laid out by their owner.

    Raises:
      InputError: the number of jobs doesn't divide by the devices.
    """
    return jax.tree.map(lambda x: jax.device_put(x, sharding.batch_sharding(mesh, x.shape[0])), jobs)


def _pass(dit: DiT, variables: dict, branch: Branch, z: Latents, cached: bool) -> Callable:
    """ask(x, tau, added, fresh) → (velocity, what the blocks added to the target's tokens, None unless `fresh` is given)."""
    part, shown = "all", variables
    if cached:
        part = "target"
        shown = variables | {"cache": kv_cache.prefill(dit, variables, z, *branch)}

    def velocity(x, tau, more, mutable=False):
        tau = jnp.full(x.shape[:1], tau)
        return dit.apply(shown | more, x, tau, branch.text, **branch.conditions, part=part, mutable=mutable)

    def ask(x: Latents, tau, added: Array | None, fresh: Bool[Array, ""] | None):
        if fresh is None:
            return velocity(x, tau, {}), None

        def walked(added):
            v, made = velocity(x, tau, {}, ["added"])
            return v, made["added"]["sum"]

        return jax.lax.cond(
            fresh, walked, lambda added: (velocity(x, tau, {"added": {"sum": added}}), added), added
        )

    grid = [n // p for n, p in zip(z.shape[1:4], dit.cfg.patch, strict=True)]
    ask.width = (z.shape[0], int(np.prod(grid)), dit.cfg.width)
    return ask
