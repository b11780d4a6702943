"""What one pass of a DiT costs, without weights: traced, and counted by v2v/runtime/flops.py. dit.py, cache.py → **passes** → plan/report.py, tools"""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp

from v2v.array_types import Latents
from v2v.config import ConditionConfig, ModelConfig
from v2v.models import kv_cache
from v2v.models.transformer import DiT
from v2v.runtime import flops


def count_pass_flops(cfg: ModelConfig, reference: bool = False) -> dict[str, int]:
    """Operations of one pass (a step takes one a branch of guidance) on one clip of cfg.frames x height x width.

    Returns:
      t2v: the backbone alone; full: with source and mask (and reference) as tokens that all see one another; one_way: with
      conditions that don't look at the target; cached: the target's tokens of that; prefill: once a video, the conditions'.
    """
    one_way = dataclasses.replace(cfg.condition, layout="sequence", attention="one_way", time="zero")
    full = dataclasses.replace(one_way, attention="full")
    plain = dataclasses.replace(cfg.dit, backend="plain")  # what others pad would be counted
    t, y, x, c = cfg.vae.latent_shape(cfg.frames, cfg.height, cfg.width)
    z = jax.ShapeDtypeStruct((1, t, y, x, cfg.dit.in_channels), jnp.float32)
    shown = {name: jax.ShapeDtypeStruct((1, t, y, x, c), jnp.float32) for name in ("source", "mask")}
    if reference:
        shown["reference"] = jax.ShapeDtypeStruct((1, 1, y, x, c), jnp.float32)
    text = jax.ShapeDtypeStruct((1, cfg.dit.text_len, cfg.dit.text_width), jnp.float32)

    def count(condition: ConditionConfig, shown: dict[str, Latents], part: str = "all") -> int:
        dit, tau = DiT(plain, condition), jnp.ones((1,))
        weights = jax.eval_shape(dit.init, jax.random.key(0), z, tau, text, **shown)
        weights = {name: weights[name] for name in weights.keys() & {"params", "embed"}}
        if part == "target":
            weights |= {"cache": jax.eval_shape(partial(kv_cache.prefill, dit), weights, z, text, shown)}

        def run(weights, z, text, shown):
            return dit.apply(weights, z, tau, text, **shown, part=part)

        return flops.count(jax.make_jaxpr(run)(weights, z, text, shown))

    out = {
        "t2v": count(one_way, {}),
        "full": count(full, shown),
        "one_way": count(one_way, shown),
        "cached": count(one_way, shown, "target"),
    }
    return out | {"prefill": out["one_way"] - out["cached"]}
