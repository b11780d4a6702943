"""Noise and conditions → edited latents, under one jit. guidance.py, solvers.py → **sampler** → codec/vae.py

The sampler knows nothing of files or pixels: it walks a table of steps along the guided velocity of a DiT that sees source, mask
and reference as clean tokens. LoRA is merged into the weights beforehand.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from v2v.config import ModelConfig
from v2v.flow import windows
from v2v.flow.guidance import guided
from v2v.flow.schedule import sigmas
from v2v.flow.solvers import Table, integrate, table
from v2v.model.dit import DiT
from v2v.shapes import Latents, Text


def make_sampler(cfg: ModelConfig) -> Callable[..., Latents]:
    """sample(variables, noise, text, null, conditions, steps, guidance, links, begin, strength) → latents.

    variables: {"params", "embed"}; conditions: a dict of latents `source`, `mask`, `reference`, each optional; steps and guidance
    are plain numbers. One compilation serves every number of steps of the same count and every batch of the same size.
    links: the batch is windows of one clip (windows.py); then (latents, past) is returned, and `links.past` may be None at first.
    begin, strength: walk only the last `strength` of the schedule (in as many steps), from latents `begin` with noise on them.
    """
    dit = DiT(cfg.dit, cfg.condition)

    @partial(jax.jit, static_argnames="scale")
    def run(
        variables, noise: Latents, text: Text, null: Text, conditions: dict, steps: Table, scale: float, links
    ):
        def velocity(x, tau, prompt):
            return dit.apply(variables, x, jnp.full(x.shape[:1], tau), prompt, **conditions)

        walk = guided(velocity, text, null, scale)
        return (
            integrate(walk, noise, steps) if links is None else windows.integrate(walk, noise, steps, links)
        )

    def sample(
        variables, noise, text, null, conditions, steps, guidance, links=None, begin=None, strength=1.0
    ):
        levels = sigmas(cfg.flow.schedule, round(steps / strength), cfg.flow.shift)
        walk = table(cfg.flow.solver, *(level[-steps:] for level in levels))
        if begin is not None and strength < 1:
            noise = (1 - walk.sigma[0]) * begin + walk.sigma[0] * noise
        if links is not None and links.past is None:
            links = links.replace(past=np.zeros((len(walk.sigma), *noise.shape[1:]), np.float32))
        return run(variables, noise, text, null, conditions, walk, float(guidance), links)

    return sample
