"""LoRA training with the conditionings of published editors: the loss is of their velocity, step 0 is the base, and the adapter learns."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from v2v.config import ConditionConfig, debug
from v2v.models import initialization
from v2v.models.transformer import DiT
from v2v.train import objectives

LAYOUTS = {
    "segments": ConditionConfig(layout="segments", time="same"),
    "scaled_add": ConditionConfig(layout="scaled_add", time="same", context="stored"),
    "channel": ConditionConfig(layout="channel", time="same"),
}


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_adapter_learns_from_the_base(layout):
    cfg = debug()
    dit = dataclasses.replace(cfg.dit, in_channels=cfg.dit.out_channels * (2 if layout == "channel" else 1))
    cfg = dataclasses.replace(cfg, dit=dit, condition=LAYOUTS[layout])
    base = initialization.init_base(jax.random.key(0), cfg)["dit"]
    base = jax.tree.map(lambda x: x + 0.1 * normal(x.size, *x.shape), base)
    adapter = initialization.init_adapter(jax.random.key(1), cfg, base)
    adapter["embed"] = jax.tree.map(lambda x: 0.1 * normal(3, *x.shape), adapter["embed"])
    shape = (2, *cfg.vae.latent_shape(cfg.frames, cfg.height, cfg.width))
    width = cfg.dit.width if layout == "scaled_add" else cfg.dit.text_width
    batch = {
        "source": normal(4, *shape), "target": normal(5, *shape), "mask": normal(6, *shape), "reference": normal(7, 2, 1, *shape[2:]),
        "area": jnp.ones(shape[:4]), "text": normal(8, 2, cfg.dit.text_len, width), "recipe": jnp.zeros(2, jnp.int32),
    }  # fmt: skip
    if layout == "channel":
        del batch["mask"], batch["reference"]
    objective = objectives.edit(cfg)
    rows, sums = objective.draw(jax.random.key(2), batch)
    grads, metrics = jax.grad(objective.loss, has_aux=True)(adapter, {"dit": base}, rows, sums)
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(grads))
    assert any(bool((leaf != 0).any()) for leaf in jax.tree.leaves(grads["lora"]))
    # Step 0 is the base: the loss by hand, without the adapter's low-rank part.
    tau = rows["tau"][:, None, None, None, None]
    x = (1 - tau) * batch["target"] + tau * rows["noise"]
    conditions = {name: batch[name] for name in ("source", "mask", "reference") if name in batch}
    variables = {"params": base, "embed": adapter["embed"]}
    v = DiT(cfg.dit, cfg.condition).apply(variables, x, rows["tau"], batch["text"], **conditions)
    loss = jnp.mean((v - (rows["noise"] - batch["target"])) ** 2)
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-5)
    conditions["source"] = 0 * batch["source"]
    without = DiT(cfg.dit, cfg.condition).apply(variables, x, rows["tau"], batch["text"], **conditions)
    assert float(jnp.abs(v - without).max()) > 1e-3, "the source has an effect"
