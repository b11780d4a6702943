"""AdamW or Muon with a warm-up, and gradients clipped by group.

config.OptimConfig -> **optimizer** -> train_step.py

New embeddings start at zero, so condition tokens enter the first LayerNorm as exact zeros and their gradient is amplified by
1/sqrt(eps), about a thousandfold. Under one global norm, LoRA would hardly learn; so each group is clipped to a norm of its own.
"""

from typing import Any, cast

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from v2v.config import OptimConfig
from v2v.runtime import sharding
from v2v.train import stored_moments


def build_optimizer(cfg: OptimConfig) -> optax.GradientTransformation:
    """Build the optimizer, whose learning rate warms up and then stays, or with `decay_steps` falls to a tenth."""
    if cfg.kind == "muon":
        update = optax.contrib.muon(
            _schedule(cfg.peak_lr, cfg),
            adam_learning_rate=_schedule(cfg.adam_lr, cfg),
            adam_b1=cfg.b1,
            adam_b2=cfg.b2,
            weight_decay=cfg.weight_decay,
            muon_weight_dimension_numbers=_muon_axes,
        )
    elif cfg.moments != "float32":
        update = optax.chain(
            stored_moments.scale_by_adam(cfg.b1, cfg.b2, cfg.moments),
            optax.add_decayed_weights(cfg.weight_decay, _is_matrix),
            optax.scale_by_learning_rate(_schedule(cfg.peak_lr, cfg)),
        )
    else:
        update = optax.adamw(
            _schedule(cfg.peak_lr, cfg), b1=cfg.b1, b2=cfg.b2, weight_decay=cfg.weight_decay, mask=_is_matrix
        )
    steps = [clip_by_group(cfg.clip), update]
    if cfg.lora_plus != 1:
        steps.append(_scale_second_matrices(cfg.lora_plus))
    return optax.chain(*steps)


def _scale_second_matrices(ratio: float) -> optax.GradientTransformation:
    """Return a transformation that multiplies the updates of LoRA's second matrices: their learning rate."""

    def update(
        updates: optax.Updates, state: optax.OptState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.OptState]:
        del params

        def scale(path: tuple, leaf: jax.Array) -> jax.Array:
            names = sharding.format_key_path(path).split("/")
            return leaf * ratio if names[0] == "lora" and names[-1] == "b" else leaf

        return jax.tree_util.tree_map_with_path(scale, updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def learning_rate(cfg: OptimConfig, step: int) -> float:
    """Return the learning rate of an update, numbered from 1."""
    return float(jnp.asarray(_schedule(cfg.peak_lr, cfg)(step - 1)))


def _schedule(peak: float, cfg: OptimConfig) -> optax.Schedule:
    """Return the learning rate by step: warm-up to `peak`, then constant or a cosine to a tenth of it."""
    parts = [optax.linear_schedule(0.0, peak, cfg.warmup_steps)]
    if cfg.decay_steps:
        parts.append(optax.cosine_decay_schedule(peak, cfg.decay_steps, alpha=0.1))
    else:
        parts.append(optax.constant_schedule(peak))
    return optax.join_schedules(parts, [cfg.warmup_steps])


def _muon_axes(params: Any) -> Any:
    """Return the matrices that Muon updates: convolutions as (taps and channels in) x out, scanned linears layer by layer."""

    def axes(path: tuple, leaf: jax.Array) -> optax.contrib.MuonDimensionNumbers | None:
        names = sharding.format_key_path(path).split("/")
        if names[-1] not in ("kernel", "a", "b"):
            return None
        # The scan's axis is a batch of matrices.
        first = 1 if "blocks" in names else 0
        return optax.contrib.MuonDimensionNumbers(tuple(range(first, leaf.ndim - 1)), (leaf.ndim - 1,))

    return jax.tree_util.tree_map_with_path(axes, params)


def clip_by_group(max_norm: float) -> optax.GradientTransformation:
    """Return a transformation that clips each top-level entry of the gradients to a global norm of its own.

    Args:
      max_norm: largest norm of an entry.
    """

    def update(
        updates: optax.Updates, state: optax.OptState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.OptState]:
        del params
        clipped = {}
        for group, tree in cast(dict, updates).items():
            factor = jnp.minimum(1.0, max_norm / (optax.global_norm(tree) + 1e-12))
            clipped[group] = jax.tree.map(lambda g, f=factor: g * f, tree)
        return clipped, state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def _is_matrix(params: Any) -> Any:
    """Return which parameters decay: matrices; not gains, biases and modulation tables."""

    def decays(path: tuple, leaf: jax.Array) -> bool:
        name = sharding.format_key_path(path).split("/")[-1]
        return leaf.ndim >= 2 and name in ("kernel", "a", "b", "embedding")

    return jax.tree_util.tree_map_with_path(decays, params)
