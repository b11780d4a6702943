"""batch → gradients → new state: the one train step.

loader.py -> **step** -> state.py

    x = (1 - tau) x0 + tau eps,   loss = |DiT(x, tau, text, conditions) - (eps - x0)|² on target tokens
The step knows an `Objective`: what is drawn for a whole batch, and the loss of its rows. Three of them: `text_to_video` trains
everything of a backbone; `edit` trains what the state holds of an editor, {"lora", "embed"} or, all of it, {"dit", "embed"}, and
reads the rest from `frozen`, an argument of its own that is never part of the state; train/vae.py has the third. One step serves
the embedded model and the 5B alike: arrays come sharded, the table of v2v/runtime/sharding.py holds them there.

Gradient accumulation cuts a batch into `micro` parts, adds their gradients and divides by nothing: Σ w in the loss is the whole
batch's, and noise and tau are drawn for all of it, so the parts together are the whole batch up to rounding.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from v2v.errors import InputError
from v2v.runtime import sharding
from v2v.train.objectives import Objective
from v2v.train.state import TrainState

Step = Callable[..., tuple[TrainState, dict[str, jax.Array]]]


def train_step(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    ema: float,
    *,
    seed: int = 0,
    micro: int = 1,
    places: Any = None,
) -> Step:
    """Return a jitted (state, batch, frozen) to (state, metrics), which donates the memory of the state.

    A metric is a scalar, or [sum, count] when not every batch contributes. Gradient norms are by group, before clipping.

    Args:
      objective: the loss.
      optimizer: of the trained weights.
      ema: decay of their moving average.
      seed: of noise and tau.
      micro: parts that a batch is cut into.
      places: shardings of the state (`sharding.shardings`); without them the compiler may choose others.

    Raises:
      InputError: when traced, if the batch does not divide into `micro` parts.
    """
    out_shardings = {} if places is None else {"out_shardings": (places, None)}

    @partial(jax.jit, donate_argnames="state", **out_shardings)
    def step(state: TrainState, batch: dict, frozen: Any = None):
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        rows, shared = objective.draw(key, batch)
        grads, metrics = _gradients(objective, state.trained, frozen, rows, shared, micro)
        for group, tree in grads.items():
            metrics[f"grad_norm_{group}"] = optax.global_norm(tree)
        return sharding.constrain_params(state.update(grads, optimizer, ema)), metrics

    return step


def build_evaluation(objective: Objective, seed: int = 0) -> Callable[..., dict[str, jax.Array]]:
    """Return a jitted (trained, batch, frozen) to metrics, with the same tau and noise at every call."""

    @jax.jit
    def run(trained, batch, frozen=None):
        rows, shared = objective.draw(jax.random.key(seed), batch)
        return objective.loss(trained, frozen, rows, shared)[1]

    return run


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
