"""Velocity error on target tokens. path.py → **loss** → train/step.py

    L = Σ w |v - (eps - x0)|² / (c Σ w)        w = (1 + region · area) per latent cell, 0 on clean frames
`area` is the share of a cell that the edit changes: most of a clip is to be copied, and without `region` the few cells that
carry the edit would have little say. region = 0 is the plain mean.
"""

import jax.numpy as jnp

from v2v.shapes import Array, Float, Latents


def velocity_loss(
    predicted: Latents,
    velocity: Latents,
    area: Float[Array, "b t y x"] | None = None,
    region: float = 0.0,
    keep: Float[Array, "b t"] | None = None,
) -> Float[Array, ""]:
    """Weighted mean squared error, float32. `keep` is 0 on latent frames left out of the loss."""
    err = ((predicted - velocity) ** 2).mean(-1)
    weight = jnp.ones_like(err) if area is None else 1 + region * area
    if keep is not None:
        weight = weight * keep[:, :, None, None]
    return (err * weight).sum() / jnp.maximum(weight.sum(), 1e-6)
