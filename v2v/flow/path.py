"""The straight path between data and noise. data/loader.py → **path** → loss.py

    x_tau = (1 - tau) x0 + tau eps        velocity = d x_tau / d tau = eps - x0        tau: 1 noise, 0 data
Training draws tau where sampling will look: u uniform, then tau = s u / (1 + (s - 1) u) with shift s, or logit-normal. A sample's
loss may be weighed by its tau with the bell that DiffSynth-Studio trains this backbone with,
    w(tau) = (exp(-2 (tau - 1/2)²) - e^(-1/2)) / its mean over the shifted grid of 1000 steps
"""

import jax
import jax.numpy as jnp
import numpy as np

from v2v.config import FlowConfig
from v2v.shapes import Array, Float, Latents, Tau


def interpolate(x0: Latents, noise: Latents, tau: Tau) -> tuple[Latents, Latents]:
    """The point at tau and the velocity there."""
    t = tau[:, None, None, None, None]
    return (1 - t) * x0 + t * noise, noise - x0


def shift(tau: Float[Array, "*b"], s: float) -> Float[Array, "*b"]:
    """Move flow times towards noise; s = 1 changes nothing."""
    return s * tau / (1 + (s - 1) * tau)


def sample_tau(key: jax.Array, batch: int, cfg: FlowConfig) -> Tau:
    """Flow times for a training batch. One uniform draw is spread over the batch (stratified), which lowers the variance."""
    if cfg.sampling == "logit_normal":
        normal = jax.random.normal(key, (batch,))
        return shift(jax.nn.sigmoid(cfg.logit_mean + cfg.logit_std * normal), cfg.shift)
    offset = jax.random.uniform(key, ())
    u = (jnp.arange(batch) / batch + offset) % 1.0
    return shift(jax.random.permutation(jax.random.fold_in(key, 1), u), cfg.shift)


def tau_weight(tau: Tau, cfg: FlowConfig) -> Float[Array, "b"] | None:
    """Factor of each sample's loss; None where all are 1."""
    if cfg.weighting == "none":
        return None

    grid = shift(np.linspace(1, 0, 1000, endpoint=False), cfg.shift)
    mean = (np.exp(-2 * (grid - 0.5) ** 2) - np.exp(-0.5)).mean()
    return ((jnp.exp(-2 * (tau - 0.5) ** 2) - np.exp(-0.5)) / mean).astype(jnp.float32)
