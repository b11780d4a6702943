"""The straight path between data and noise. data/loader.py → **path** → loss.py

    x_tau = (1 - tau) x0 + tau eps        velocity = d x_tau / d tau = eps - x0        tau: 1 noise, 0 data
Training draws tau where sampling will look: u uniform, then tau = s u / (1 + (s - 1) u) with shift s, or logit-normal.
"""

import jax
import jax.numpy as jnp

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
        return shift(jax.nn.sigmoid(jax.random.normal(key, (batch,))), cfg.shift)
    offset = jax.random.uniform(key, ())
    u = (jnp.arange(batch) / batch + offset) % 1.0
    return shift(jax.random.permutation(jax.random.fold_in(key, 1), u), cfg.shift)
