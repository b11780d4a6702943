"""Flow matching: the straight path between data and noise, training's draws of flow time, and the loss on the velocity.

The path, at flow time tau from 0 (data) to 1 (noise):

    x_tau = (1 - tau) x0 + tau eps        velocity = d x_tau / d tau = eps - x0

Training draws tau where sampling evaluates the network: u uniform, then tau = s u / (1 + (s - 1) u) with shift s, or logit-normal.

The loss is the squared error of the velocity on the target's latent cells:

    L = Σ w f |v - (eps - x0)|² / (c Σ w)        w = 1 + region · area / mean(area), 0 on frames left out

`area` is the share of a cell that the edit changes, and its mean is the clip's. Most of a clip is to be copied: without `region` the
few cells of a small object's edit would count little beside an edit of the whole frame. With region = 0 the loss is the plain mean.

The factor f of a sample, if any, is the bell over tau with which DiffSynth-Studio trains the Wan backbones (`tau_weight`):

    f(tau) = (exp(-2 (tau - 1/2)²) - e^(-1/2)) / its mean over the shifted grid of 1000 steps

A batch may come in parts whose losses are added up: Σ w is then that of the whole batch (`total_weight`).
"""

from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from v2v.array_types import Array, Float, Latents, Tau
from v2v.config import FlowConfig

# Edits of a smaller share of a clip get no more weight.
MIN_EDITED_SHARE = 1 / 32

# Steps of the grid over which `tau_weight` has mean 1.
TAU_GRID = 1000

T = TypeVar("T", jax.Array, np.ndarray)


def interpolate(x0: Latents, noise: Latents, tau: Tau) -> tuple[Latents, Latents]:
    """Return the point of the path at tau, and the velocity there."""
    t = tau[:, None, None, None, None]
    return (1 - t) * x0 + t * noise, noise - x0


def shift_tau(tau: T, s: float) -> T:
    """Move flow times of any shape towards noise by the shift s; s = 1 changes nothing."""
    return s * tau / (1 + (s - 1) * tau)


def unshift_tau(tau: float, s: float) -> float:
    """Return the flow time that `shift_tau` moves to `tau`."""
    return tau / (s - (s - 1) * tau)


def sample_tau(key: jax.Array, batch: int, cfg: FlowConfig) -> Tau:
    """Draw the flow times of a training batch.

    Uniform draws are stratified: one draw is spread over the batch, which lowers the variance of the loss.

    Args:
      key: random key.
      batch: number of flow times.
      cfg: distribution, shift and range.
    """
    low, high = (unshift_tau(tau, cfg.shift) for tau in cfg.tau_range)
    if cfg.sampling == "logit_normal":
        if (low, high) == (0, 1):
            normal = jax.random.normal(key, (batch,))
        else:
            with np.errstate(divide="ignore"):
                logits = np.log([low, high]) - np.log1p([-low, -high])
            ends = (logits - cfg.logit_mean) / cfg.logit_std
            normal = jax.random.truncated_normal(key, float(ends[0]), float(ends[1]), (batch,))
        return shift_tau(jax.nn.sigmoid(cfg.logit_mean + cfg.logit_std * normal), cfg.shift)
    offset = jax.random.uniform(key, ())
    u = (jnp.arange(batch) / batch + offset) % 1.0
    if (low, high) != (0, 1):
        u = low + (high - low) * u
    return shift_tau(jax.random.permutation(jax.random.fold_in(key, 1), u), cfg.shift)


def tau_weight(tau: Tau, cfg: FlowConfig) -> Float[Array, "b"] | None:
    """Return the factor of each sample's loss by its flow time; None where all are 1."""
    if cfg.weighting == "none":
        return None
    grid = shift_tau(np.linspace(1, 0, TAU_GRID, endpoint=False), cfg.shift)
    mean = (np.exp(-2 * (grid - 0.5) ** 2) - np.exp(-0.5)).mean()
    return ((jnp.exp(-2 * (tau - 0.5) ** 2) - np.exp(-0.5)) / mean).astype(jnp.float32)


def velocity_loss(
    predicted: Latents,
    velocity: Latents,
    area: Float[Array, "b t y x"] | None = None,
    region: float = 0.0,
    frame_mask: Float[Array, "b t"] | None = None,
    *,
    sample_weight: Float[Array, "b"] | None = None,
    total: Float[Array, ""] | None = None,
) -> Float[Array, ""]:
    """Return the weighted mean squared error, float32.

    Args:
      predicted: the network's velocity.
      velocity: the path's velocity.
      area: share of each cell that the edit changes; None for a plain mean.
      region: extra weight of the edit.
      frame_mask: 0 on latent frames left out of the loss, 1 elsewhere; None for all frames.
      sample_weight: factor of each sample's error (`tau_weight`); None for 1. Not counted in Σ w.
      total: Σ w of all parts of the batch (`total_weight`); None where this is the whole batch.
    """
    error = ((predicted - velocity) ** 2).mean(-1)
    weight = _cell_weights(error.shape, area, region, frame_mask)
    if total is None:
        total = jnp.maximum(weight.sum(), 1e-6)
    if sample_weight is not None:
        error = error * sample_weight[:, None, None, None]
    return (error * weight).sum() / total


def total_weight(
    shape: tuple[int, ...],
    area: Float[Array, "b t y x"] | None = None,
    region: float = 0.0,
    frame_mask: Float[Array, "b t"] | None = None,
) -> Float[Array, ""]:
    """Return Σ w of a batch.

    Args:
      shape: (b, t, y, x).
      area: as for `velocity_loss`.
      region: as for `velocity_loss`.
      frame_mask: as for `velocity_loss`.
    """
    return jnp.maximum(_cell_weights(shape, area, region, frame_mask).sum(), 1e-6)


def _cell_weights(
    shape: tuple[int, ...],
    area: Float[Array, "b t y x"] | None,
    region: float,
    frame_mask: Float[Array, "b t"] | None,
) -> Float[Array, "b t y x"]:
    weight = jnp.ones(shape)
    if area is not None:
        weight = 1 + region * area / jnp.maximum(area.mean((1, 2, 3), keepdims=True), MIN_EDITED_SHARE)
    return weight if frame_mask is None else weight * frame_mask[:, :, None, None]
