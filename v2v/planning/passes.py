"""Operations of one pass of the transformer, traced without weights and counted by runtime/flops.py."""

import dataclasses
from collections.abc import Mapping
from functools import partial

import jax
import jax.numpy as jnp

from v2v.config import ConditionConfig, ModelConfig
from v2v.models import kv_cache
from v2v.models.transformer import DiT
from v2v.runtime import flops


def count_pass_flops(cfg: ModelConfig, reference: bool = False) -> dict[str, int]:
    """Count the operations of one pass on one clip of the model's size; a sampling step takes one per guidance branch.

    Args:
      cfg: the model.
      reference: count a reference image too.

    Returns:
      operations by kind: "t2v" the backbone alone; "full" with source, mask (and reference) as tokens that all attend to one
      another; "one_way" with conditions that do not attend to the target; "cached" the target's tokens of that; "prefill" the
      conditions' tokens, once per video.
    """
    one_way = dataclasses.replace(
        cfg.condition, layout="sequence", attention="one_way", time="zero", context="text"
    )
    full = dataclasses.replace(one_way, attention="full")
    # Other backends pad, and padding would be counted.
    plain = dataclasses.replace(cfg.dit, backend="plain")
    t, y, x, c = cfg.vae.latent_shape(cfg.frames, cfg.height, cfg.width)
    z = jax.ShapeDtypeStruct((1, t, y, x, cfg.dit.in_channels), jnp.float32)
    conditions = {name: jax.ShapeDtypeStruct((1, t, y, x, c), jnp.float32) for name in ("source", "mask")}
    if reference:
        conditions["reference"] = jax.ShapeDtypeStruct((1, 1, y, x, c), jnp.float32)
    text = jax.ShapeDtypeStruct((1, cfg.dit.text_len, cfg.dit.text_width), jnp.float32)

    def count(
        condition: ConditionConfig, conditions: Mapping[str, jax.ShapeDtypeStruct], part: str = "all"
    ) -> int:
        dit, tau = DiT(plain, condition), jnp.ones((1,))
        weights = jax.eval_shape(dit.init, jax.random.key(0), z, tau, text, **conditions)
        weights = {name: weights[name] for name in weights.keys() & {"params", "embed"}}
        if part == "target":
            weights |= {"cache": jax.eval_shape(partial(kv_cache.prefill, dit), weights, z, text, conditions)}

        def run(weights, z, text, conditions):
            return dit.apply(weights, z, tau, text, **conditions, part=part)

        return flops.count_flops(jax.make_jaxpr(run)(weights, z, text, conditions))

    out = {
        "t2v": count(one_way, {}),
        "full": count(full, conditions),
        "one_way": count(one_way, conditions),
        "cached": count(one_way, conditions, "target"),
    }
    return out | {"prefill": out["one_way"] - out["cached"]}
