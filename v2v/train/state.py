"""What training changes, and nothing else: the frozen base is never in it. batch → step.py → **state** → checkpoint.py"""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax


@flax.struct.dataclass
class TrainState:
    """A pytree; saved and restored whole.

    Attributes:
      step: number of updates done, int32 scalar.
      trained: the tree being trained: {"lora", "embed"} of an adapter, or {"dit", "text"} of a backbone, or {"vae"}.
      ema: moving average of `trained`, float32: what is exported.
      opt_state: the optimiser's, float32.
    """

    step: jax.Array
    trained: Any
    ema: Any
    opt_state: Any

    @classmethod
    def create(cls, trained: Any, optimizer: optax.GradientTransformation) -> "TrainState":
        return cls(
            jnp.zeros((), jnp.int32), trained, jax.tree.map(jnp.copy, trained), optimizer.init(trained)
        )

    def update(self, grads: Any, optimizer: optax.GradientTransformation, ema_decay: float) -> "TrainState":
        """One optimiser step. The average warms up as (1 + step) / (10 + step) until it reaches `ema_decay`."""
        updates, opt_state = optimizer.update(grads, self.opt_state, self.trained)
        trained = optax.apply_updates(self.trained, updates)
        step = self.step + 1
        warm = (1.0 + step.astype(jnp.float32)) / (10.0 + step.astype(jnp.float32))
        decay = jnp.minimum(ema_decay, warm)
        ema = jax.tree.map(lambda e, p: decay * e + (1 - decay) * p, self.ema, trained)
        return self.replace(step=step, trained=trained, ema=ema, opt_state=opt_state)
