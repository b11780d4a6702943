"""Velocity error on target tokens. path.py → **loss** → train/step.py

    L = Σ w |v - (eps - x0)|² / (c Σ w)        w = 1 + region · area / mean(area) per latent cell, 0 on clean frames
`area` is the share of a cell that the edit changes, its mean is the clip's: most of a clip is to be copied, and without `region`
the few cells that carry the edit of a small object would have little say beside an edit of the whole frame. region = 0 is the
plain mean. A factor per sample (path.tau_weight) multiplies the errors and not Σ w. Σ w may be given: that of a whole batch, when
the batch comes in parts whose losses are then added up.
"""

import jax.numpy as jnp

from v2v.shapes import Array, Float, Latents

SMALLEST = 1 / 32  # of a clip: edits of less don't get more weight


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
        weight = 1 + region * area / jnp.maximum(area.mean((1, 2, 3), keepdims=True), SMALLEST)
    return weight if keep is None else weight * keep[:, :, None, None]
