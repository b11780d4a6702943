"""AdamW or Muon with a warm-up, and gradients clipped by group.

Gradients are clipped by group because new embeddings start at zero, so condition tokens enter the first LayerNorm as exact zeros and their gradient is
amplified by 1/sqrt(eps), about a thousandfold. One global norm would then starve LoRA.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from v2v.config import OptimConfig


def build_optimizer(cfg: OptimConfig) -> optax.GradientTransformation:
    """Build the optimizer: warm-up to `peak_lr`, constant, then (if `decay_steps`) a cosine to a tenth of it."""
    if cfg.kind == "muon":
        update = optax.contrib.muon(
            _schedule(cfg.peak_lr, cfg),
            adam_learning_rate=_schedule(cfg.adam_lr, cfg),
            adam_b1=cfg.b1,
            adam_b2=cfg.b2,
            weight_decay=cfg.weight_decay,
            muon_weight_dimension_numbers=_muon_axes,
        )
    else:
        update = optax.adamw(
            _schedule(cfg.peak_lr, cfg), b1=cfg.b1, b2=cfg.b2, weight_decay=cfg.weight_decay, mask=_is_matrix
        )
    return optax.chain(clip_by_group(cfg.clip), update)


def _schedule(peak: float, cfg: OptimConfig) -> optax.Schedule:
    parts = [optax.linear_schedule(0.0, peak, cfg.warmup_steps)]
    if cfg.decay_steps:
        parts.append(optax.cosine_decay_schedule(peak, cfg.decay_steps, alpha=0.1))
    else:
        parts.append(optax.constant_schedule(peak))
    return optax.join_schedules(parts, [cfg.warmup_steps])


def _muon_axes(params: Any) -> Any:
    """Return the matrices that Muon updates: convolutions as (taps and channels in) x out, scanned linears layer by layer."""

    def axes(path, leaf):
        names = [getattr(k, "key", "") for k in path]
        if names[-1] not in ("kernel", "a", "b"):
            return None
        first = 1 if "blocks" in names else 0  # the scan's axis is a batch of matrices
        return optax.contrib.MuonDimensionNumbers(tuple(range(first, leaf.ndim - 1)), (leaf.ndim - 1,))

    return jax.tree_util.tree_map_with_path(axes, params)


def clip_by_group(max_norm: float) -> optax.GradientTransformation:
    """Clip each top-level entry of the tree to its own global norm."""

    def update(updates: dict, state, params=None):
        del params
        clipped = {}
        for group, tree in updates.items():
            factor = jnp.minimum(1.0, max_norm / (optax.global_norm(tree) + 1e-12))
            clipped[group] = jax.tree.map(lambda g, f=factor: g * f, tree)
        return clipped, state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def _is_matrix(params: Any) -> Any:
    """Weight decay only on matrices; not on gains, biases and modulation tables."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: (
            leaf.ndim >= 2 and getattr(path[-1], "key", "") in ("kernel", "a", "b", "embedding")
        ),
        params,
    )
