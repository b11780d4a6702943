"""AdamW's moments in 16 or 8 bits between steps; within a step they are float32.

    bfloat16   half of float32's memory
    int8       a quarter, and a float32 scale for each row, the largest magnitude in it:
                   first moment    m = scale sign(q) (q/127)^2            q in -127 ... 127
                   second moment   v = scale (q/255)^4                    q in 0 ... 255, at least 1 where v > 0, so that no step is divided by nothing

The powers put most codes near zero, where most moments are: an eighth of a row's largest magnitude has as many codes as the rest (after Dettmers et
al., arXiv 2110.02861, who take tables and blocks). Rounding is stochastic. Rounded to the nearest, a second moment would stay where it is: with
b2 = 0.999 a step changes it by a thousandth, bfloat16's numbers are a hundredth apart. Draws depend on the step and the leaf alone, so a resumed
run goes on as an uninterrupted one. The update itself is computed from moments before they are rounded.
"""

import dataclasses
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from v2v.array_types import Array, Float

# Names of an 8 bit moment in the tree; its sharding is that of the parameter (runtime/sharding.py).
MOMENT, MOMENT_SCALE = "moment", "moment_scale"
# Powers of the codes' values, and their largest code, of the first and the second moment.
POWERS, CODES = (2, 4), (127, 255)


class StoredMoments(NamedTuple):
    """The state of AdamW.

    Attributes:
      count: number of updates, int32 scalar.
      mu: first moments, a tree like the parameters.
      nu: second moments, the same.
    """

    count: jax.Array
    mu: Any
    nu: Any


@dataclasses.dataclass(frozen=True)
class Storage:
    """How a moment is stored.

    Attributes:
      dtype: its type.
      order: 0 for the first moment, 1 for the second, which is not negative.
    """

    dtype: Literal["bfloat16", "int8"]
    order: int

    def pack(self, x: Float[Array, "*b"], key: jax.Array) -> Any:
        """Return a float32 moment as it is stored."""
        if self.dtype == "bfloat16":
            return _round_to_bfloat16(x, key)
        power, top = POWERS[self.order], CODES[self.order]
        scale = jnp.abs(x).max(-1, keepdims=True)
        share = jnp.abs(x) / jnp.where(scale > 0, scale, 1.0)
        lower = jnp.minimum(jnp.floor(top * share ** (1 / power)), top - 1)
        low, high = (lower / top) ** power, ((lower + 1) / top) ** power
        up = jax.random.uniform(key, x.shape) < (share - low) / (high - low)
        code = lower + up
        if self.order == 1:
            return {MOMENT: jnp.where(x > 0, jnp.maximum(code, 1), 0).astype(jnp.uint8), MOMENT_SCALE: scale}
        return {MOMENT: (jnp.sign(x) * code).astype(jnp.int8), MOMENT_SCALE: scale}

    def unpack(self, stored: Any) -> Float[Array, "*b"]:
        """Return a stored moment in float32."""
        if self.dtype == "bfloat16":
            return stored.astype(jnp.float32)
        power, top = POWERS[self.order], CODES[self.order]
        code = stored[MOMENT].astype(jnp.float32)
        return jnp.sign(code) * (jnp.abs(code) / top) ** power * stored[MOMENT_SCALE]


def scale_by_adam(
    b1: float, b2: float, dtype: Literal["bfloat16", "int8"], eps: float = 1e-8
) -> optax.GradientTransformation:
    """Return Adam's transformation of gradients with its moments in few bits.

    Args:
      b1: decay of the first moment.
      b2: decay of the second moment.
      dtype: type of the stored moments.
      eps: added to the root of the second moment.
    """
    first, second = Storage(dtype, 0), Storage(dtype, 1)

    def init(params: optax.Params) -> StoredMoments:
        def zeros(storage: Storage) -> Any:
            return jax.tree.map(
                lambda x: storage.pack(jnp.zeros(x.shape, jnp.float32), jax.random.key(0)), params
            )

        return StoredMoments(jnp.zeros((), jnp.int32), zeros(first), zeros(second))

    def update(
        updates: optax.Updates, state: optax.OptState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.OptState]:
        del params
        assert isinstance(state, StoredMoments)
        count = state.count + 1
        leaves, structure = jax.tree.flatten(updates)
        stored = zip(structure.flatten_up_to(state.mu), structure.flatten_up_to(state.nu), strict=True)
        key, out = jax.random.fold_in(jax.random.key(0), count), []
        for index, (gradient, (mu, nu)) in enumerate(zip(leaves, stored, strict=True)):
            mean_key, square_key = jax.random.split(jax.random.fold_in(key, index))
            mu = b1 * first.unpack(mu) + (1 - b1) * gradient
            nu = b2 * second.unpack(nu) + (1 - b2) * gradient * gradient
            step = (mu / (1 - b1**count)) / (jnp.sqrt(nu / (1 - b2**count)) + eps)
            out.append((step, first.pack(mu, mean_key), second.pack(nu, square_key)))
        steps, mu, nu = (structure.unflatten(column) for column in zip(*out, strict=True))
        return steps, StoredMoments(count, mu, nu)

    return optax.GradientTransformation(init, update)


def _round_to_bfloat16(x: Float[Array, "*b"], key: jax.Array) -> Float[Array, "*b"]:
    """Return x in bfloat16, up or down at random with x as its mean."""
    bits = jax.lax.bitcast_convert_type(x.astype(jnp.float32), jnp.uint32)
    noise = jax.random.bits(key, x.shape, jnp.uint16).astype(jnp.uint32)
    upper = ((bits + noise) >> 16).astype(jnp.uint16)
    return jax.lax.bitcast_convert_type(upper, jnp.bfloat16)
