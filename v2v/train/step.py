"""batch → gradients → new state. loader.py → **step** → state.py

    x = (1 - tau) x0 + tau eps,   loss = |DiT(x, tau, text, conditions) - (eps - x0)|² on target tokens
Two of them: the backbone learns text- and image-to-video with everything trained; an edit trains only LoRA and the new
embeddings on a frozen base, which is an argument of its own and never part of the state.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from v2v.codec.text import TextEncoder
from v2v.config import ModelConfig
from v2v.flow.loss import velocity_loss
from v2v.flow.path import interpolate, sample_tau
from v2v.model import lora
from v2v.model.dit import DiT
from v2v.train.state import TrainState

Step = Callable[..., tuple[TrainState, dict[str, jax.Array]]]


def base_step(cfg: ModelConfig, optimizer: optax.GradientTransformation, ema: float, seed: int = 0) -> Step:
    """(state, batch of ToClip) → (state, metrics); the state holds {"dit", "text"}."""
    dit, encoder = DiT(cfg.dit, cfg.condition), TextEncoder(cfg.text)

    def loss_fn(trained, batch, key):
        x0 = batch["video"].astype(jnp.float32)
        tau, noise = _draw(key, x0, cfg)
        x, velocity = interpolate(x0, noise, tau)
        clean = batch["first_clean"]
        x = x.at[:, 0].set(jnp.where(clean[:, None, None, None], x0[:, 0], x[:, 0]))
        text = encoder.apply({"params": trained["text"]}, batch["ids"], batch["lengths"])
        out = dit.apply({"params": trained["dit"]}, x, tau, text, first_clean=clean)
        keep = jnp.ones(x0.shape[:2]).at[:, 0].set(1.0 - clean)
        loss = velocity_loss(out, velocity, keep=keep)
        return loss, {"loss": loss}

    @jax.jit(donate_argnames="state")
    def step(state: TrainState, batch):
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        grads, metrics = jax.grad(loss_fn, has_aux=True)(state.trained, batch, key)
        metrics["grad_norm"] = optax.global_norm(grads)
        return state.update(grads, optimizer, ema), metrics

    return step


def edit_step(
    cfg: ModelConfig, optimizer: optax.GradientTransformation, ema: float, region: float = 0.0, seed: int = 0
) -> Step:
    """(state, batch of ToEdit, base) → (state, metrics); the state holds {"lora", "embed"}, base {"dit", "text"}.

    `region` weighs the cells the edit changes (flow/loss.py). Metrics: the loss, its parts inside and outside the edit.
    """
    dit, encoder = DiT(cfg.dit, cfg.condition), TextEncoder(cfg.text)

    def loss_fn(trained, batch, base, key):
        x0 = batch["target"].astype(jnp.float32)
        tau, noise = _draw(key, x0, cfg)
        x, velocity = interpolate(x0, noise, tau)
        text = encoder.apply({"params": base["text"]}, batch["ids"], batch["lengths"])
        variables = {
            "params": base["dit"],
            "lora": lora.scaled(trained["lora"], cfg.lora.scale),
            "embed": trained["embed"],
        }
        conditions = {
            name: batch[name].astype(jnp.float32) for name in ("source", "mask", "reference") if name in batch
        }
        out = dit.apply(variables, x, tau, text, **conditions)
        area = batch["area"].astype(jnp.float32)
        loss = velocity_loss(out, velocity, area, region)
        x0_error = (((out - velocity) * tau[:, None, None, None, None]) ** 2).mean(-1)
        inside = (x0_error * area).sum() / jnp.maximum(area.sum(), 1e-6)
        outside = (x0_error * (1 - area)).sum() / jnp.maximum((1 - area).sum(), 1e-6)
        return loss, {"loss": loss, "inside": inside, "outside": outside}

    @jax.jit(donate_argnames="state")
    def step(state: TrainState, batch, base):
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        grads, metrics = jax.grad(loss_fn, has_aux=True)(state.trained, batch, base, key)
        for group, tree in grads.items():
            metrics[f"grad_norm_{group}"] = optax.global_norm(tree)
        return state.update(grads, optimizer, ema), metrics

    return step


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
    t, y, x, c = cfg.vae.latent_shape(cfg.frames, cfg.height, cfg.width)
    z = jnp.zeros((1, t, y, x, c))
    args = (z, jnp.ones((1,)), jnp.zeros((1, cfg.text.text_len, cfg.text.width)), z, z, z[:, :1])
    shapes = jax.eval_shape(DiT(cfg.dit, cfg.condition).init, key, *args)["embed"]
    return {
        "lora": lora.init(key, dit_params, cfg.lora),
        "embed": jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes),
    }


def _draw(key: jax.Array, x0: jax.Array, cfg: ModelConfig):
    tau_key, noise_key = jax.random.split(key)
    return sample_tau(tau_key, x0.shape[0], cfg.flow), jax.random.normal(noise_key, x0.shape)
