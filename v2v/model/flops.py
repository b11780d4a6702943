"""What one pass of a DiT costs, by the compiler's own count, without weights. dit.py, cache.py → **flops** → tools, `v2v plan`

XLA counts the body of a loop once, and all blocks are one loop's body. So, with R a pass whose blocks are skipped (flow/skip.py),
    pass = R + L (counted - R)
"""

import dataclasses
import math
from functools import partial

import jax
import jax.numpy as jnp

from v2v.config import ConditionConfig, ModelConfig
from v2v.model import cache
from v2v.model.dit import DiT
from v2v.shapes import Latents


def passes(cfg: ModelConfig, reference: bool = False) -> dict[str, float]:
    """FLOPs of one pass (a step takes one a branch of guidance) on one clip of cfg.frames x height x width.

    Returns:
      t2v: the backbone alone; full: with source and mask (and reference) as tokens that all see one another; one_way: with
      conditions that don't look at the target; cached: the target's tokens of that; prefill: once a video, the conditions'.
    """
    one_way = dataclasses.replace(cfg.condition, layout="sequence", attention="one_way", time="zero")
    full = dataclasses.replace(one_way, attention="full")
    plain = dataclasses.replace(
        cfg.dit, backend="plain"
    )  # other backends hide their work in loops or kernels
    t, y, x, c = cfg.vae.latent_shape(cfg.frames, cfg.height, cfg.width)
    z = jax.ShapeDtypeStruct((1, t, y, x, cfg.dit.in_channels), jnp.float32)
    shown = {name: jax.ShapeDtypeStruct((1, t, y, x, c), jnp.float32) for name in ("source", "mask")}
    if reference:
        shown["reference"] = jax.ShapeDtypeStruct((1, 1, y, x, c), jnp.float32)
    text = jax.ShapeDtypeStruct((1, cfg.dit.text_len, cfg.dit.text_width), jnp.float32)

    def count(condition: ConditionConfig, shown: dict[str, Latents], part: str = "all") -> float:
        dit = DiT(plain, condition)
        tau = jnp.ones((1,))
        weights = jax.eval_shape(dit.init, jax.random.key(0), z, tau, text, **shown)
        weights = {name: weights[name] for name in weights.keys() & {"params", "embed"}}
        if part == "target":
            weights |= {"cache": jax.eval_shape(partial(cache.prefill, dit), weights, z, text, shown)}

        def counted(weights):
            def run(weights, z, text, shown):
                return dit.apply(weights, z, tau, text, **shown, part=part)

            return jax.jit(run).lower(weights, z, text, shown).cost_analysis()["flops"]

        tokens = t * y * x // math.prod(cfg.dit.patch)
        added = jax.ShapeDtypeStruct((1, tokens, cfg.dit.width), jnp.float32)
        rest = counted(weights | {"added": {"sum": added}})
        return rest + cfg.dit.layers * (counted(weights) - rest)

    out = {
        "t2v": count(one_way, {}),
        "full": count(full, shown),
        "one_way": count(one_way, shown),
        "cached": count(one_way, shown, "target"),
    }
    return out | {"prefill": out["one_way"] - out["cached"]}
