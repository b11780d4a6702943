"""The straight path between data and noise. data/loader.py → **path** → flow_matching.py

    x_tau = (1 - tau) x0 + tau eps        velocity = d x_tau / d tau = eps - x0        tau: 1 noise, 0 data
Training draws tau where sampling will look: u uniform, then tau = s u / (1 + (s - 1) u) with shift s, or logit-normal. A sample's
loss may be weighed by its tau with the bell that DiffSynth-Studio trains this backbone with,
    w(tau) = (exp(-2 (tau - 1/2)²) - e^(-1/2)) / its mean over the shifted grid of 1000 steps

Velocity error on target tokens. flow_matching.py → **loss** → train/train_step.py

    L = Σ w |v - (eps - x0)|² / (c Σ w)        w = 1 + region · area / mean(area) per latent cell, 0 on clean frames
`area` is the share of a cell that the edit changes, its mean is the clip's: most of a clip is to be copied, and without `region`
the few cells that carry the edit of a small object would have little say beside an edit of the whole frame. region = 0 is the
plain mean. A factor per sample (path.tau_weight) multiplies the errors and not Σ w. Σ w may be given: that of a whole batch, when
the batch comes in parts whose losses are then added up.
"""

import jax
import jax.numpy as jnp
import numpy as np

from v2v.array_types import Array, Float, Latents, Tau
from v2v.config import FlowConfig


def interpolate(x0: Latents, noise: Latents, tau: Tau) -> tuple[Latents, Latents]:
    """The point at tau and the velocity there."""
    t = tau[:, None, None, None, None]
    return (1 - t) * x0 + t * noise, noise - x0


def shift_tau(tau: Float[Array, "*b"], s: float) -> Float[Array, "*b"]:
    """Move flow times towards noise; s = 1 changes nothing."""
    return s * tau / (1 + (s - 1) * tau)


def sample_tau(key: jax.Array, batch: int, cfg: FlowConfig) -> Tau:
    """Flow times for a training batch. One uniform draw is spread over the batch (stratified), which lowers the variance."""
    if cfg.sampling == "logit_normal":
        normal = jax.random.normal(key, (batch,))
        return shift_tau(jax.nn.sigmoid(cfg.logit_mean + cfg.logit_std * normal), cfg.shift)
    offset = jax.random.uniform(key, ())
    u = (jnp.arange(batch) / batch + offset) % 1.0
    return shift_tau(jax.random.permutation(jax.random.fold_in(key, 1), u), cfg.shift)


def tau_weight(tau: Tau, cfg: FlowConfig) -> Float[Array, "b"] | None:
    """Factor of each sample's loss; None where all are 1."""
    if cfg.weighting == "none":
        return None

    grid = shift_tau(np.linspace(1, 0, 1000, endpoint=False), cfg.shift)
    mean = (np.exp(-2 * (grid - 0.5) ** 2) - np.exp(-0.5)).mean()
    return ((jnp.exp(-2 * (tau - 0.5) ** 2) - np.exp(-0.5)) / mean).astype(jnp.float32)


MIN_EDITED_SHARE = 1 / 32  # of a clip: edits of less don't get more weight


def velocity_loss(
    predicted: Latents,
    velocity: Latents,
    area: Float[Array, "b t y x"] | None = None,
    region: float = 0.0,
    keep: Float[Array, "b t"] | None = None,
    *,
    sample: Float[Array, "b"] | None = None,
    total: Float[Array, ""] | None = None,
) -> Float[Array, ""]:
    """Weighted mean squared error, float32.

    Args:
      keep: 0 on latent frames left out of the loss.
      sample: a factor for each sample's error.
      total: Σ w of all parts of the batch (`total_weight`); None for this one's own.
    """
    err = ((predicted - velocity) ** 2).mean(-1)
    weight = _cells(err.shape, area, region, keep)
    if total is None:
        total = jnp.maximum(weight.sum(), 1e-6)
    if sample is not None:
        err = err * sample[:, None, None, None]
    return (err * weight).sum() / total


def total_weight(
    cells: tuple[int, int, int, int],
    area: Float[Array, "b t y x"] | None = None,
    region: float = 0.0,
    keep: Float[Array, "b t"] | None = None,
) -> Float[Array, ""]:
    """Σ w over `cells` = (b, t, y, x)."""
    return jnp.maximum(_cells(cells, area, region, keep).sum(), 1e-6)


def _cells(cells, area, region: float, keep) -> Float[Array, "b t y x"]:
    weight = jnp.ones(cells)
    if area is not None:
        weight = 1 + region * area / jnp.maximum(area.mean((1, 2, 3), keepdims=True), MIN_EDITED_SHARE)
    return weight if keep is None else weight * keep[:, :, None, None]
