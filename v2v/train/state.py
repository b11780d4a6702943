"""State that training changes; frozen weights are not part of it.

train_step.py -> **state** -> checkpointing.py
"""

import dataclasses
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax


@flax.struct.dataclass
class TrainState:
    """The training state, a pytree that is saved and restored as one.

    Attributes:
      step: number of updates done, int32 scalar.
      trained: the tree being trained: {"lora", "embed"} of an adapter, {"dit", "embed"} when all of an editor is trained,
        {"dit", "text"} of a backbone, or {"vae"}.
      ema: moving average of `trained`, float32; None when none is kept.
      opt_state: state of the optimizer, float32.
    """

    step: jax.Array
    trained: Any
    ema: Any
    opt_state: Any

    @classmethod
    def create(cls, trained: Any, optimizer: optax.GradientTransformation, ema: bool = True) -> "TrainState":
        """Return the state at step 0.

        Args:
          trained: initial weights.
          optimizer: updates them.
          ema: keep a moving average.
        """
        average = jax.tree.map(jnp.copy, trained) if ema else None
        return cls(jnp.zeros((), jnp.int32), trained, average, optimizer.init(trained))

    @property
    def result(self) -> Any:
        """The weights to export: the moving average, or else the trained weights."""
        return self.trained if self.ema is None else self.ema

    def update(self, grads: Any, optimizer: optax.GradientTransformation, ema_decay: float) -> "TrainState":
        """Apply one optimizer step and update the moving average.

        Args:
          grads: gradients, a tree like `trained`.
          optimizer: the optimizer that `opt_state` belongs to.
          ema_decay: decay of the average, which warms up as (1 + step) / (10 + step).
        """
        updates, opt_state = optimizer.update(grads, self.opt_state, self.trained)
        trained = optax.apply_updates(self.trained, updates)
        step, ema = self.step + 1, None
        if self.ema is not None:
            warm = (1.0 + step.astype(jnp.float32)) / (10.0 + step.astype(jnp.float32))
            decay = jnp.minimum(ema_decay, warm)
            ema = jax.tree.map(lambda e, p: decay * e + (1 - decay) * p, self.ema, trained)
        return dataclasses.replace(self, step=step, trained=trained, ema=ema, opt_state=opt_state)
