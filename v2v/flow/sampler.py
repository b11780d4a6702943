"""Noise and conditions → edited latents, under one jit. guidance.py, solvers.py → **sampler** → codec/vae.py

The sampler knows nothing of files or pixels: it walks a table of steps along the guided velocity of a DiT that sees source, mask
and reference as clean tokens. LoRA is merged into the weights beforehand.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from v2v.config import ModelConfig
from v2v.flow.guidance import guided
from v2v.flow.schedule import sigmas
from v2v.flow.solvers import Table, integrate, table
from v2v.model.dit import DiT
from v2v.shapes import Latents, Text


def make_sampler(cfg: ModelConfig) -> Callable[..., Latents]:
    """sample(variables, noise, text, null, conditions, steps, guidance) → latents.

    variables: {"params", "embed"}; conditions: a dict of latents `source`, `mask`, `reference`, each optional; steps and guidance
    are plain numbers. One compilation serves every number of steps of the same count and every batch of the same size.
    """
    dit = DiT(cfg.dit, cfg.condition)

    @partial(jax.jit, static_argnames="scale")
    def run(variables, noise: Latents, text: Text, null: Text, conditions: dict, steps: Table, scale: float):
        def velocity(x, tau, prompt):
            return dit.apply(variables, x, jnp.full(x.shape[:1], tau), prompt, **conditions)

        return integrate(guided(velocity, text, null, scale), noise, steps)

    def sample(variables, noise, text, null, conditions, steps: int, guidance: float) -> Latents:
        walk = table(cfg.flow.solver, *sigmas(cfg.flow.schedule, steps, cfg.flow.shift))
        return run(variables, noise, text, null, conditions, walk, float(guidance))

    return sample
