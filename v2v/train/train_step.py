"""The train step: a batch to gradients to a new state.

objectives.py -> **train_step** -> loop.py

    x = (1 - tau) x0 + tau eps,   loss = |DiT(x, tau, text, conditions) - (eps - x0)|^2 on target tokens
The step knows an `Objective`: what is drawn for a whole batch, and the loss of its rows. `objectives.text_to_video` trains all of a
backbone; `objectives.edit` trains an adapter, {"lora", "embed"}, or a whole editor, {"dit", "embed"}, and reads the other weights from
`frozen`, which is never part of the state; text.py and vae.py hold the other two. One step serves the packaged model and the 5B
alike: arrays come sharded, and the table of runtime/sharding.py keeps them so.

Gradient accumulation cuts a batch into `micro` parts and adds up their gradients. The loss of a part is divided by the sums of the whole
batch, and noise and tau are drawn for all of it, so the parts together equal the whole batch up to rounding. On several devices each adds up the
gradients of its own rows in float32; they are summed over devices, and so between slices, once in an update and not once in a part.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol, TypeVar

import jax
import jax.numpy as jnp
import optax

from v2v.errors import InputError
from v2v.runtime import sharding
from v2v.train.objectives import Metrics, Objective, Parameters, Rows, Sums
from v2v.train.state import TrainState

Batch = TypeVar("Batch")
BatchInput = TypeVar("BatchInput", contravariant=True)


class TrainStep(Protocol[BatchInput]):
    """A jitted train step, which donates the memory of the state it is given."""

    def __call__(
        self, state: TrainState, batch: BatchInput, frozen: Parameters | None = None
    ) -> tuple[TrainState, Metrics]:
        """Return the next state, and the metrics of the batch."""
        ...

    def lower(
        self, state: TrainState, batch: BatchInput, frozen: Parameters | None = None
    ) -> jax.stages.Lowered:
        """Return the program for arguments of these shapes, to be compiled."""
        ...


def train_step(
    objective: Objective[Batch, Any, Any],
    optimizer: optax.GradientTransformation,
    ema: float,
    *,
    seed: int = 0,
    micro: int = 1,
    places: Any = None,
    compiler_options: Mapping[str, str | bool] | None = None,
) -> TrainStep[Batch]:
    """Return the train step of an objective.

    A metric is a scalar, or [sum, count] when not every sample contributes. Gradient norms are by group, before clipping; update
    norms are those of what the weights change by.

    Args:
      objective: the loss.
      optimizer: updates the trained weights.
      ema: decay of their moving average.
      seed: of noise and tau.
      micro: parts that a batch is cut into.
      places: shardings of the state (`sharding.tree_shardings`); without them the compiler may choose others.
      compiler_options: of this program (runtime/compiler_options.py).

    Raises:
      InputError: when traced, if the batch does not divide into `micro` parts.
    """
    out_shardings = {} if places is None else {"out_shardings": (places, None)}

    @partial(jax.jit, donate_argnames="state", compiler_options=dict(compiler_options or {}), **out_shardings)
    def step(state: TrainState, batch: Batch, frozen: Parameters | None = None) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        rows, sums = objective.draw(key, batch)
        grads, metrics = _compute_gradients(objective, state.trained, frozen, rows, sums, micro)
        for group, tree in grads.items():
            metrics[f"grad_norm_{group}"] = optax.global_norm(tree)
        updated = state.update(grads, optimizer, ema)
        for group, tree in updated.trained.items():
            change = jax.tree.map(jnp.subtract, tree, state.trained[group])
            metrics[f"update_norm_{group}"] = optax.global_norm(change)
        return sharding.constrain_params(updated), metrics

    return step


class Evaluation(Protocol[BatchInput]):
    """A jitted evaluation of an objective."""

    def __call__(
        self,
        trained: Parameters,
        batch: BatchInput,
        frozen: Parameters | None = None,
        tau: float | None = None,
    ) -> Metrics:
        """Return the metrics of a batch, with the same noise at every call, and the same flow times or that of all rows."""
        ...


def build_evaluation(objective: Objective[Batch, Any, Any], seed: int = 0) -> Evaluation[Batch]:
    """Return the evaluation of an objective; `seed` is that of noise and of flow times that aren't given."""

    @jax.jit
    def evaluate(
        trained: Parameters,
        batch: Batch,
        frozen: Parameters | None = None,
        tau: float | jax.Array | None = None,
    ) -> Metrics:
        key = jax.random.key(seed)
        if tau is None or objective.draw_at is None:
            rows, sums = objective.draw(key, batch)
        else:
            rows, sums = objective.draw_at(key, batch, jnp.asarray(tau))
        return objective.loss(trained, frozen, rows, sums)[1]

    return evaluate


def _compute_gradients(
    objective: Objective[Any, Rows, Sums],
    trained: Parameters,
    frozen: Parameters | None,
    rows: Rows,
    sums: Sums,
    micro: int,
) -> tuple[Parameters, Metrics]:
    """Return gradients and metrics of a batch, added up over `micro` parts."""
    grad: Callable[..., tuple[Parameters, Metrics]] = jax.grad(objective.loss, has_aux=True)
    if micro == 1:
        return grad(trained, frozen, rows, sums)
    b = len(jax.tree.leaves(rows)[0])
    if b % micro:
        raise InputError(f"batch: {b} doesn't divide into {micro} micro-batches; change one of them")
    # part i takes rows i, i + micro, ...: a batch split over devices stays where it is
    parts = jax.tree.map(lambda x: x.reshape(b // micro, micro, *x.shape[1:]).swapaxes(0, 1), rows)
    groups = sharding.count_batch_groups(b // micro)
    if groups > 1:
        # [micro, groups, rows, ...]: the sums of a group stay on its devices.
        parts = jax.tree.map(lambda x: x.reshape(micro, groups, -1, *x.shape[2:]), parts)
        grad = jax.vmap(grad, in_axes=(None, None, 0, None), spmd_axis_name=sharding.BATCH_AXES)

    def add(total, part):
        return jax.tree.map(jnp.add, total, grad(trained, frozen, part, sums)), None

    shapes = jax.eval_shape(grad, trained, frozen, jax.tree.map(lambda x: x[0], parts), sums)
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    if groups > 1:
        parts, zeros = sharding.constrain_groups(parts, 1), sharding.constrain_groups(zeros, 0)
    total = jax.lax.scan(add, zeros, parts)[0]
    return total if groups == 1 else jax.tree.map(lambda x: x.sum(0), total)
