"""Objectives of the train step: text-to-video for a backbone, and edits for an adapter or a whole editor.

loader.py -> **objectives** -> train_step.py

    x = (1 - tau) x0 + tau eps,   loss = |DiT(x, tau, text, conditions) - (eps - x0)|^2 on the target's tokens
Losses of the parts of a batch add up to that of the batch (diffusion/flow_matching.py), so that gradients can be accumulated.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar, cast

import jax
import jax.numpy as jnp

from v2v.array_types import Array, Float, Latents, Tau
from v2v.config import FlowConfig, ModelConfig
from v2v.data.batch import ClipBatch, EditBatch
from v2v.diffusion.flow_matching import interpolate, sample_tau, tau_weight, total_weight, velocity_loss
from v2v.models import lora
from v2v.models.text_encoder import TextEncoder
from v2v.models.transformer import DiT

# Ranges of tau whose losses are logged separately.
TAU_BUCKETS = 4

Batch = TypeVar("Batch")
Rows = TypeVar("Rows")
Sums = TypeVar("Sums")
# Scalars, or [sum, count] of metrics to which not every sample contributes, by name.
Metrics = dict[str, jax.Array]
# A tree of parameters whose top-level entries are groups, such as {"lora", "embed"}.
Parameters = dict[str, Any]


@dataclass(frozen=True)
class Objective(Generic[Batch, Rows, Sums]):
    """The loss that a train step minimizes.

    Attributes:
      draw: (key, batch) to (rows, sums): the batch with its random draws, such as noise and tau, and sums over the batch that the
        loss of every part of it is divided by.
      loss: (trained, frozen, rows, sums) to (loss, metrics). Losses and metrics of the parts of a batch add up to the batch's.
      draw_at: like `draw`, with one flow time for all rows; None where there are no flow times.
      tau_grid: flow times at which held-out losses are measured; () without them.
    """

    draw: Callable[[jax.Array, Batch], tuple[Rows, Sums]]
    loss: Callable[[Parameters, Parameters | None, Rows, Sums], tuple[jax.Array, Metrics]]
    draw_at: Callable[[jax.Array, Batch, jax.Array], tuple[Rows, Sums]] | None = None
    tau_grid: tuple[float, ...] = ()


class ClipRows(ClipBatch):
    """A ClipBatch with its random draws.

    Attributes:
      tau: flow times.
      noise: of the latents' shape.
    """

    tau: Tau
    noise: Latents


class EditRows(EditBatch):
    """An EditBatch with its random draws.

    Attributes:
      tau: flow times.
      noise: of the latents' shape.
    """

    tau: Tau
    noise: Latents


class EditSums(NamedTuple):
    """Sums over a batch of edits.

    Attributes:
      weight: weights of all latent cells in the loss.
      inside: area that is edited, in cells.
      outside: area that is not edited, in cells.
    """

    weight: Float[Array, ""]
    inside: Float[Array, ""]
    outside: Float[Array, ""]


def text_to_video(cfg: ModelConfig, region: float = 0.0) -> Objective[ClipBatch, ClipRows, jax.Array]:
    """Return the objective of clips with a sentence; everything of the backbone, {"dit", "text"}, is trained.

    The first latent frame stays clean where the batch's `first_clean` is set and is then excluded from the loss.

    Args:
      cfg: the model.
      region: extra weight of the cells in which a clip changes, so that small objects count.
    """
    dit, encoder = DiT(cfg.dit, cfg.condition), TextEncoder(cfg.text)

    def noisy_frames(batch: ClipBatch) -> Float[Array, "b t"]:
        return jnp.ones(batch["video"].shape[:2]).at[:, 0].set(1.0 - batch["first_clean"])

    def draw(key: jax.Array, batch: ClipBatch) -> tuple[ClipRows, jax.Array]:
        tau, noise = _draw_noise(key, batch["video"], cfg)
        rows: ClipRows = {**batch, "tau": tau, "noise": noise}
        b, t, y, x, _ = batch["video"].shape
        return rows, total_weight(
            (b, t, y, x), batch["area"].astype(jnp.float32), region, noisy_frames(batch)
        )

    def loss(
        trained: Parameters, frozen: Parameters | None, rows: ClipRows, total: jax.Array
    ) -> tuple[jax.Array, Metrics]:
        del frozen
        x0, area = rows["video"].astype(jnp.float32), rows["area"].astype(jnp.float32)
        x, velocity = interpolate(x0, rows["noise"], rows["tau"])
        clean = rows["first_clean"]
        x = x.at[:, 0].set(jnp.where(clean[:, None, None, None], x0[:, 0], x[:, 0]))
        text = encoder.apply({"params": trained["text"]}, rows["ids"], rows["lengths"])
        predicted = cast(
            jax.Array, dit.apply({"params": trained["dit"]}, x, rows["tau"], text, first_clean=clean)
        )
        factor = tau_weight(rows["tau"], cfg.flow)
        value = velocity_loss(
            predicted, velocity, area, region, noisy_frames(rows), sample_weight=factor, total=total
        )
        return value, {"loss": value} | _losses_by_tau(predicted - velocity, rows["tau"])

    return Objective(draw, loss)


def edit(
    cfg: ModelConfig, region: float = 0.0, recipes: Sequence[str] = (), streams: bool = False
) -> Objective[EditBatch, EditRows, EditSums]:
    """Return the objective of edits.

    The state holds {"lora", "embed"} with frozen {"dit", "text"}, or a whole editor, {"dit", "embed"}, with frozen {"text"}. Text comes
    as `text`, cached embeddings, or as `ids` and `lengths` for the frozen encoder. Metrics are the loss, the error inside and outside the
    edit, and losses by tau and by recipe.

    Args:
      cfg: the model.
      region: extra weight of the cells that an edit changes.
      recipes: names that the batch's entry `recipe` indexes (loader.Stream.recipes).
      streams: whether the kernels of the frozen transformer's blocks are in the host's memory (`DiT.streams`).
    """
    dit, encoder = DiT(cfg.dit, cfg.condition, streams), TextEncoder(cfg.text)

    def draw(key: jax.Array, batch: EditBatch) -> tuple[EditRows, EditSums]:
        tau, noise = _draw_noise(key, batch["target"], cfg)
        return prepare(batch, tau, noise)

    def draw_at(key: jax.Array, batch: EditBatch, tau: jax.Array) -> tuple[EditRows, EditSums]:
        shape = batch["target"].shape
        return prepare(batch, jnp.full(shape[:1], tau), jax.random.normal(key, shape))

    def prepare(batch: EditBatch, tau: Tau, noise: Latents) -> tuple[EditRows, EditSums]:
        rows: EditRows = {**batch, "tau": tau, "noise": noise}
        area = batch["area"].astype(jnp.float32)
        b, t, y, x = area.shape
        inside, outside = jnp.maximum(area.sum(), 1e-6), jnp.maximum((1 - area).sum(), 1e-6)
        return rows, EditSums(total_weight((b, t, y, x), area, region), inside, outside)

    def loss(
        trained: Parameters, frozen: Parameters | None, rows: EditRows, sums: EditSums
    ) -> tuple[jax.Array, Metrics]:
        x0, tau = rows["target"].astype(jnp.float32), rows["tau"]
        x, velocity = interpolate(x0, rows["noise"], tau)
        text = rows["text"].astype(jnp.float32) if "text" in rows else _encode_text(encoder, frozen, rows)
        variables = _model_variables(trained, frozen, cfg)
        source, mask = _as_float32(rows.get("source")), _as_float32(rows.get("mask"))
        reference = _as_float32(rows.get("reference"))
        predicted = cast(jax.Array, dit.apply(variables, x, tau, text, source, mask, reference))
        area = rows["area"].astype(jnp.float32)
        value = velocity_loss(
            predicted, velocity, area, region, sample_weight=tau_weight(tau, cfg.flow), total=sums.weight
        )
        x0_error = (((predicted - velocity) * tau[:, None, None, None, None]) ** 2).mean(-1)
        metrics = {
            "loss": value,
            "inside": (x0_error * area).sum() / sums.inside,
            "outside": (x0_error * (1 - area)).sum() / sums.outside,
        }
        metrics |= _losses_by_tau(predicted - velocity, tau)
        if recipes:
            errors = ((predicted - velocity) ** 2).mean((1, 2, 3, 4))
            metrics |= _losses_by_group(errors, rows["recipe"], [f"loss_recipe_{name}" for name in recipes])
        return value, metrics

    return Objective(draw, loss, draw_at, choose_tau_grid(cfg.flow.tau_range))


def choose_tau_grid(tau_range: tuple[float, float]) -> tuple[float, ...]:
    """Return the flow times at which held-out losses are measured: the middles of equal parts of a range, 0.125 to 0.875 of the whole."""
    low, high = tau_range
    return tuple(low + (high - low) * (i + 0.5) / TAU_BUCKETS for i in range(TAU_BUCKETS))


def _model_variables(trained: Parameters, frozen: Parameters | None, cfg: ModelConfig) -> Parameters:
    """Return the variables of the transformer: a whole trained one, or the frozen one with the trained adapter."""
    if "dit" in trained:
        return {"params": trained["dit"], "embed": trained["embed"]}
    if frozen is None:
        raise ValueError(
            "objectives.edit: an adapter needs the transformer it adapts; pass frozen={'dit': ...}"
        )
    adapter = lora.scale_adapter(trained["lora"], cfg.lora.scale)
    return {"params": frozen["dit"], "lora": adapter, "embed": trained["embed"]}


def _encode_text(encoder: TextEncoder, frozen: Parameters | None, rows: EditRows) -> jax.Array:
    """Return embeddings of the instructions from the frozen encoder."""
    if frozen is None or "ids" not in rows or "lengths" not in rows:
        raise ValueError(
            "objectives.edit: expected `text`, or `ids` and `lengths` with a frozen text encoder"
        )
    return cast(jax.Array, encoder.apply({"params": frozen["text"]}, rows["ids"], rows["lengths"]))


def _as_float32(latents: Latents | None) -> Latents | None:
    return None if latents is None else latents.astype(jnp.float32)


def _draw_noise(key: jax.Array, x0: Latents, cfg: ModelConfig) -> tuple[Tau, Latents]:
    """Draw flow times and noise for the latents of a batch."""
    tau_key, noise_key = jax.random.split(key)
    cells = zip(x0.shape[1:4], cfg.dit.patch, strict=True)
    flow = shift_for_tokens(cfg.flow, math.prod(n // p for n, p in cells))
    return sample_tau(tau_key, x0.shape[0], flow), jax.random.normal(noise_key, x0.shape)


def shift_for_tokens(flow: FlowConfig, tokens: int) -> FlowConfig:
    """Return flow settings whose shift is that for clips of so many tokens, and 1 at least."""
    if not flow.shift_tokens:
        return flow
    return dataclasses.replace(flow, shift=max(1.0, flow.shift * math.sqrt(tokens / flow.shift_tokens)))


def _losses_by_tau(error: Latents, tau: Tau) -> Metrics:
    """Return [sum, count] of the samples' mean squared errors in each quarter of tau."""
    bucket = jnp.minimum((tau * TAU_BUCKETS).astype(jnp.int32), TAU_BUCKETS - 1)
    names = [f"loss_tau_{i / TAU_BUCKETS:.2f}" for i in range(TAU_BUCKETS)]
    return _losses_by_group((error**2).mean((1, 2, 3, 4)), bucket, names)


def _losses_by_group(errors: Float[Array, "b"], group: jax.Array, names: Sequence[str]) -> Metrics:
    """Return [sum, count] of the errors of each group, by name."""
    member = group[:, None] == jnp.arange(len(names))
    sums = jnp.stack([(errors[:, None] * member).sum(0), member.sum(0).astype(jnp.float32)], -1)
    return dict(zip(names, sums, strict=True))
