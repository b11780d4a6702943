"""batch → gradients → new state: the one train step. loader.py → **step** → state.py

    x = (1 - tau) x0 + tau eps,   loss = |DiT(x, tau, text, conditions) - (eps - x0)|² on target tokens
The step knows an `Objective`: what is drawn for a whole batch, and the loss of its rows. Three of them: `text_to_video` trains
everything of a backbone; `edit` trains what the state holds of an editor, {"lora", "embed"} or, all of it, {"dit", "embed"}, and
reads the rest from `frozen`, an argument of its own that is never part of the state; train/vae.py has the third. One step serves
the embedded model and the 5B alike: arrays come sharded, the table of v2v/sharding.py holds them there.

Gradient accumulation cuts a batch into `micro` parts, adds their gradients and divides by nothing: Σ w in the loss is the whole
batch's, and noise and tau are drawn for all of it, so the parts together are the whole batch up to rounding.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from v2v import sharding
from v2v.codec.text import TextEncoder
from v2v.config import ModelConfig
from v2v.errors import InputError
from v2v.flow.loss import total_weight, velocity_loss
from v2v.flow.path import interpolate, sample_tau, tau_weight
from v2v.model import lora
from v2v.model.dit import DiT
from v2v.train.state import TrainState

Step = Callable[..., tuple[TrainState, dict[str, jax.Array]]]
CONDITIONS = ("source", "mask", "reference")
BUCKETS = 4  # of tau, in the log


@dataclass(frozen=True)
class Objective:
    """What a step minimises.

    Attributes:
      draw: (key, batch) → (rows, shared): the batch with what is random added, and what all its rows share (sums of weights).
      loss: (trained, frozen, rows, shared) → (loss, metrics). Losses and metrics of parts of a batch add up to the batch's.
    """

    draw: Callable[[jax.Array, dict], tuple[dict, Any]]
    loss: Callable[[Any, Any, dict, Any], tuple[jax.Array, dict]]


def train_step(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    ema: float,
    *,
    seed: int = 0,
    micro: int = 1,
    places: Any = None,
) -> Step:
    """Jitted (state, batch, frozen) → (state, metrics); the state's memory is given up to the new one.

    `places` holds the state's shardings (sharding.shardings), from one step to the next; without them the compiler may move it.
    A metric is a scalar, or [sum, count] where not every batch has a say. Gradient norms are by group, before clipping.

    Raises:
      InputError: when traced, if the batch doesn't divide into `micro` parts.
    """

    kept = {} if places is None else {"out_shardings": (places, None)}

    @partial(jax.jit, donate_argnames="state", **kept)
    def step(state: TrainState, batch: dict, frozen: Any = None):
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        rows, shared = objective.draw(key, batch)
        grads, metrics = _gradients(objective, state.trained, frozen, rows, shared, micro)
        for group, tree in grads.items():
            metrics[f"grad_norm_{group}"] = optax.global_norm(tree)
        return sharding.constrain_params(state.update(grads, optimizer, ema)), metrics

    return step


def evaluate(objective: Objective, seed: int = 0) -> Callable[..., dict[str, jax.Array]]:
    """Jitted (trained, batch, frozen) → metrics, with the same tau and noise at every call."""

    @jax.jit
    def run(trained, batch, frozen=None):
        rows, shared = objective.draw(jax.random.key(seed), batch)
        return objective.loss(trained, frozen, rows, shared)[1]

    return run


def text_to_video(cfg: ModelConfig, region: float = 0.0) -> Objective:
    """Clips with a sentence; the first latent frame stays clean where `first_clean` says so and is then not in the loss.
    `region` weighs the cells in which a clip turns (flow/loss.py), or a small object that changes would hardly count."""
    dit, encoder = DiT(cfg.dit, cfg.condition), TextEncoder(cfg.text)

    def keep(rows):
        return jnp.ones(rows["video"].shape[:2]).at[:, 0].set(1.0 - rows["first_clean"])

    def draw(key, batch):
        rows = batch | _noise(key, batch["video"], cfg)
        return rows, total_weight(
            rows["video"].shape[:-1], rows["area"].astype(jnp.float32), region, keep(rows)
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
        value = velocity_loss(out, velocity, area, region, keep(rows), sample=factor, total=total)
        return value, {"loss": value} | _by_tau(out - velocity, rows["tau"])

    return Objective(draw, loss)


def edit(cfg: ModelConfig, region: float = 0.0, recipes: Sequence[str] = ()) -> Objective:
    """Edits: the state holds {"lora", "embed"} and frozen {"dit", "text"}, or all of an editor, {"dit", "embed"}, and frozen {"text"}.

    Args:
      region: weighs the cells an edit changes (flow/loss.py).
      recipes: what the batch's entry `recipe` counts off, for losses by recipe (loader.Stream.recipes).

    Text comes as `text`, embeddings made beforehand, or as `ids` and `lengths` for the encoder in `frozen`. Metrics: the loss, its
    parts inside and outside the edit, by tau, by recipe.
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
        value = velocity_loss(out, velocity, area, region, sample=tau_weight(tau, cfg.flow), total=total)
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


def init_base(key: jax.Array, cfg: ModelConfig) -> dict:
    """Fresh {"dit", "text"}."""
    t, y, x, c = cfg.vae.latent_shape(cfg.frames, cfg.height, cfg.width)
    keys = jax.random.split(key)
    text = jnp.zeros((1, cfg.text.text_len, cfg.text.width))
    z = jnp.zeros((1, t, y, x, cfg.dit.in_channels))
    ids, lengths = jnp.zeros((1, cfg.text.text_len), jnp.int32), jnp.ones((1,), jnp.int32)
    return {
        "dit": jax.jit(DiT(cfg.dit, cfg.condition).init)(keys[0], z, jnp.ones((1,)), text)["params"],
        "text": jax.jit(TextEncoder(cfg.text).init)(keys[1], ids, lengths)["params"],
    }


def init_adapter(key: jax.Array, cfg: ModelConfig, dit_params: dict) -> dict:
    """A fresh adapter {"lora", "embed"}: with it the model equals its base bit for bit until the first update."""
    return {"lora": lora.init(key, dit_params, cfg.lora), "embed": init_embed(key, cfg)}


def init_embed(key: jax.Array, cfg: ModelConfig) -> dict:
    """The new embeddings of source, mask and reference, all zero."""
    t, y, x, c = cfg.vae.latent_shape(cfg.frames, cfg.height, cfg.width)
    z = jnp.zeros((1, t, y, x, c))
    mask = z if cfg.condition.mask_code == "vae" else z[..., :1]
    args = (z, jnp.ones((1,)), jnp.zeros((1, cfg.text.text_len, cfg.text.width)), z, mask, z[:, :1])
    shapes = jax.eval_shape(DiT(cfg.dit, cfg.condition).init, key, *args)["embed"]
    return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)


def _gradients(objective: Objective, trained, frozen, rows: dict, shared, micro: int):
    grad = jax.grad(objective.loss, has_aux=True)
    if micro == 1:
        return grad(trained, frozen, rows, shared)
    b = len(jax.tree.leaves(rows)[0])
    if b % micro:
        raise InputError(f"batch: {b} doesn't divide into {micro} micro-batches; change one of them")
    # part i takes rows i, i + micro, ...: a batch split over devices stays where it is
    parts = jax.tree.map(lambda x: x.reshape(b // micro, micro, *x.shape[1:]).swapaxes(0, 1), rows)

    def add(total, part):
        return jax.tree.map(jnp.add, total, grad(trained, frozen, part, shared)), None

    shapes = jax.eval_shape(grad, trained, frozen, jax.tree.map(lambda x: x[0], parts), shared)
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    return jax.lax.scan(add, zeros, parts)[0]


def _variables(trained: dict, frozen: Any, cfg: ModelConfig) -> dict:
    if "dit" in trained:
        return {"params": trained["dit"], "embed": trained["embed"]}
    adapter = lora.scaled(trained["lora"], cfg.lora.scale)
    return {"params": frozen["dit"], "lora": adapter, "embed": trained["embed"]}


def _noise(key: jax.Array, x0: jax.Array, cfg: ModelConfig) -> dict:
    tau_key, noise_key = jax.random.split(key)
    return {
        "tau": sample_tau(tau_key, x0.shape[0], cfg.flow),
        "noise": jax.random.normal(noise_key, x0.shape),
    }


def _by_tau(error: jax.Array, tau: jax.Array) -> dict[str, jax.Array]:
    """[sum, count] of the samples' mean squared errors in each quarter of tau."""
    bucket = jnp.minimum((tau * BUCKETS).astype(jnp.int32), BUCKETS - 1)
    names = [f"loss_tau_{i / BUCKETS:.2f}" for i in range(BUCKETS)]
    return _by_group((error**2).mean((1, 2, 3, 4)), bucket, names)


def _by_group(each: jax.Array, group: jax.Array, names: Sequence[str]) -> dict[str, jax.Array]:
    """name → [sum, count] of the values of group 0, 1, ..."""
    member = group[:, None] == jnp.arange(len(names))
    sums = jnp.stack([(each[:, None] * member).sum(0), member.sum(0).astype(jnp.float32)], -1)
    return dict(zip(names, sums, strict=True))
