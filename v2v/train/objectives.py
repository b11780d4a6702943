"""Objectives of the train step: text-to-video for a backbone, and edits for an adapter or a whole editor.

    x = (1 - tau) x0 + tau eps,   loss = |DiT(x, tau, text, conditions) - (eps - x0)|^2 on the target's tokens
Losses of the parts of a batch add up to that of the batch (diffusion/flow_matching.py), so that gradients can be accumulated.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from v2v.config import ModelConfig
from v2v.diffusion.flow_matching import interpolate, sample_tau, tau_weight, total_weight, velocity_loss
from v2v.models import lora
from v2v.models.text_encoder import TextEncoder
from v2v.models.transformer import DiT

CONDITIONS = ("source", "mask", "reference")
# Ranges of tau whose losses are logged separately.
TAU_BUCKETS = 4


@dataclass(frozen=True)
class Objective:
    """The loss that a train step minimizes.

    Attributes:
      draw: (key, batch) to (rows, shared): the batch with noise and tau added, and sums over the batch that all rows share.
      loss: (trained, frozen, rows, shared) to (loss, metrics). Losses and metrics of the parts of a batch add up to the batch's.
    """

    draw: Callable[[jax.Array, dict], tuple[dict, Any]]
    loss: Callable[[Any, Any, dict, Any], tuple[jax.Array, dict]]


def text_to_video(cfg: ModelConfig, region: float = 0.0) -> Objective:
    """Return the objective of clips with a sentence; everything of the backbone, {"dit", "text"}, is trained.

    The first latent frame stays clean where the batch's `first_clean` is set and is then excluded from the loss.

    Args:
      cfg: the model.
      region: extra weight of the cells in which a clip changes, so that small objects count.
    """
    dit, encoder = DiT(cfg.dit, cfg.condition), TextEncoder(cfg.text)

    def loss_frames(rows):
        return jnp.ones(rows["video"].shape[:2]).at[:, 0].set(1.0 - rows["first_clean"])

    def draw(key, batch):
        rows = batch | _noise(key, batch["video"], cfg)
        return rows, total_weight(
            rows["video"].shape[:-1], rows["area"].astype(jnp.float32), region, loss_frames(rows)
        )

    def loss(trained, frozen, rows, total):
        del frozen
        x0, area = rows["video"].astype(jnp.float32), rows["area"].astype(jnp.float32)
        x, velocity = interpolate(x0, rows["noise"], rows["tau"])
        clean = rows["first_clean"]
        x = x.at[:, 0].set(jnp.where(clean[:, None, None, None], x0[:, 0], x[:, 0]))
        text = encoder.apply({"params": trained["text"]}, rows["ids"], rows["lengths"])
        out = dit.apply({"params": trained["dit"]}, x, rows["tau"], text, first_clean=clean)
        factor = tau_weight(rows["tau"], cfg.flow)
        value = velocity_loss(
            out, velocity, area, region, loss_frames(rows), sample_weight=factor, total=total
        )
        return value, {"loss": value} | _by_tau(out - velocity, rows["tau"])

    return Objective(draw, loss)


def edit(cfg: ModelConfig, region: float = 0.0, recipes: Sequence[str] = ()) -> Objective:
    """Return the objective of edits.

    The state holds {"lora", "embed"} with frozen {"dit", "text"}, or a whole editor, {"dit", "embed"}, with frozen {"text"}. Text comes
    as `text`, cached embeddings, or as `ids` and `lengths` for the frozen encoder. Metrics are the loss, the error inside and outside the
    edit, and losses by tau and by recipe.

    Args:
      cfg: the model.
      region: extra weight of the cells that an edit changes.
      recipes: names that the batch's entry `recipe` indexes (loader.Stream.recipes).
    """
    dit, encoder = DiT(cfg.dit, cfg.condition), TextEncoder(cfg.text)

    def draw(key, batch):
        rows = batch | _noise(key, batch["target"], cfg)
        area = batch["area"].astype(jnp.float32)
        sums = jnp.maximum(area.sum(), 1e-6), jnp.maximum((1 - area).sum(), 1e-6)
        return rows, (total_weight(area.shape, area, region), *sums)

    def loss(trained, frozen, rows, shared):
        total, inside, outside = shared
        x0, tau = rows["target"].astype(jnp.float32), rows["tau"]
        x, velocity = interpolate(x0, rows["noise"], tau)
        if "text" in rows:
            text = rows["text"].astype(jnp.float32)
        else:
            text = encoder.apply({"params": frozen["text"]}, rows["ids"], rows["lengths"])
        conditions = {name: rows[name].astype(jnp.float32) for name in CONDITIONS if name in rows}
        out = dit.apply(_variables(trained, frozen, cfg), x, tau, text, **conditions)
        area = rows["area"].astype(jnp.float32)
        value = velocity_loss(
            out, velocity, area, region, sample_weight=tau_weight(tau, cfg.flow), total=total
        )
        x0_error = (((out - velocity) * tau[:, None, None, None, None]) ** 2).mean(-1)
        metrics = {
            "loss": value,
            "inside": (x0_error * area).sum() / inside,
            "outside": (x0_error * (1 - area)).sum() / outside,
        }
        metrics |= _by_tau(out - velocity, tau)
        if recipes:
            each = ((out - velocity) ** 2).mean((1, 2, 3, 4))
            metrics |= _by_group(each, rows["recipe"], [f"loss_recipe_{name}" for name in recipes])
        return value, metrics

    return Objective(draw, loss)


def _variables(trained: dict, frozen: Any, cfg: ModelConfig) -> dict:
    if "dit" in trained:
        return {"params": trained["dit"], "embed": trained["embed"]}
    adapter = lora.scale_adapter(trained["lora"], cfg.lora.scale)
    return {"params": frozen["dit"], "lora": adapter, "embed": trained["embed"]}


def _noise(key: jax.Array, x0: jax.Array, cfg: ModelConfig) -> dict:
    tau_key, noise_key = jax.random.split(key)
    return {
        "tau": sample_tau(tau_key, x0.shape[0], cfg.flow),
        "noise": jax.random.normal(noise_key, x0.shape),
    }


def _by_tau(error: jax.Array, tau: jax.Array) -> dict[str, jax.Array]:
    """Return [sum, count] of the samples' mean squared errors in each quarter of tau."""
    bucket = jnp.minimum((tau * TAU_BUCKETS).astype(jnp.int32), TAU_BUCKETS - 1)
    names = [f"loss_tau_{i / TAU_BUCKETS:.2f}" for i in range(TAU_BUCKETS)]
    return _by_group((error**2).mean((1, 2, 3, 4)), bucket, names)


def _by_group(each: jax.Array, group: jax.Array, names: Sequence[str]) -> dict[str, jax.Array]:
    """Return [sum, count] of the values of each group, by name."""
    member = group[:, None] == jnp.arange(len(names))
    sums = jnp.stack([(each[:, None] * member).sum(0), member.sum(0).astype(jnp.float32)], -1)
    return dict(zip(names, sums, strict=True))
