"""The autoencoder's residual blocks, and a form of them that compilers for TPUs take a fraction of the time for.

A compiler for TPUs searches for the best way to compute every large convolution, which takes seconds of processor time for each. A stage has
up to six of equal shape. So where a chunk of a video is compiled for a TPU, they are one convolution in a loop, whose step is half a block:

    (x, h) -> u = conv(silu(norm(h)));    in a block's first half (x, u), in its second (x + u, x + u)
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from v2v.array_types import Array, Float
from v2v.models.autoencoder_layers import CausalConv, ChannelNorm, FeatureMap, Start, constrain_video
from v2v.runtime.platform import product_dtype, target_platform


class ResBlock(nn.Module):
    """Two causal convolutions with norms, and a shortcut.

    Attributes:
      features: output channels.
      dtype: type of the convolutions.
    """

    features: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: FeatureMap, start: Start = None) -> Float[Array, "b T H W d"]:
        """Apply the block."""
        x = constrain_video(x)
        h = nn.silu(ChannelNorm(name="norm1")(x))
        h = CausalConv(self.features, dtype=self.dtype, name="conv1")(h, start)
        h = nn.silu(ChannelNorm(name="norm2")(h))
        h = CausalConv(self.features, dtype=self.dtype, zero=True, name="conv2")(h, start)
        if x.shape[-1] != self.features:
            x = CausalConv(self.features, (1, 1, 1), dtype=self.dtype, name="shortcut")(x)
        return constrain_video(x + h)


def apply_blocks(
    module: nn.Module, names: Sequence[str], features: int, dtype: DTypeLike, x: FeatureMap, start: Start
) -> Float[Array, "b T H W d"]:
    """Apply residual blocks of one width one after the other.

    Args:
      module: the one whose submodules they are; this is called in its compact method.
      names: of the blocks.
      features: output channels.
      dtype: type of the convolutions.
      x: the first block's input.
      start: whether this chunk is the first; None where the whole video is coded at once.
    """
    if start is None or not names or not loops_blocks():
        for name in names:
            x = ResBlock(features, dtype, name=name)(x, start)
        return x
    params: Any = [module.variables["params"][name] for name in names]
    # Stacked for every chunk anew, so that the copies of a stage's weights are in memory while they are needed, not all the time.
    params, x = jax.lax.optimization_barrier((params, constrain_video(x)))
    halves = [
        (block[f"norm{i}"], _round_kernel(block[f"conv{i}"], dtype)) for block in params for i in (1, 2)
    ]
    is_second = [i == 2 for _ in params for i in (1, 2)]
    h = x
    if x.shape[-1] != features:
        h, history = _apply_half(
            *halves[0], module.get_variable("stream", f"{names[0]}_first"), dtype, x, start
        )
        module.put_variable("stream", f"{names[0]}_first", history)
        shortcut: Any = CausalConv(features, (1, 1, 1), dtype=dtype, parent=None)
        x = shortcut.apply({"params": params[0]["shortcut"]}, x)
        halves, is_second = halves[1:], is_second[1:]
    empty = jnp.zeros((len(halves), x.shape[0], 2, *x.shape[2:]), product_dtype(dtype))
    histories = module.get_variable("stream", f"{names[0]}_loop", empty)

    def step(state, half):
        x, h, histories = state
        number, is_second, norm, conv = half
        # Updated in place: as inputs and outputs of the loop they would be in memory twice.
        history = jax.lax.dynamic_index_in_dim(histories, number, keepdims=False)
        u, history = _apply_half(norm, conv, history, dtype, h, start)
        histories = jax.lax.dynamic_update_index_in_dim(histories, history, number, 0)
        total = x + u
        return (jnp.where(is_second, total, x), jnp.where(is_second, total, u), histories), None

    norms, convs = jax.tree.map(lambda *leaves: jnp.stack(leaves), *halves)
    steps = jnp.arange(len(halves)), jnp.asarray(is_second), norms, convs
    (x, _, histories), _ = jax.lax.scan(step, (x, h, histories), steps)
    module.put_variable("stream", f"{names[0]}_loop", histories)
    return constrain_video(x)


def loops_blocks() -> bool:
    """Return whether equal convolutions are one in a loop on the platform that code is compiled for."""
    return target_platform() == "tpu"


def _apply_half(
    norm: dict[str, Array],
    conv: dict[str, Array],
    history: Array | None,
    dtype: DTypeLike,
    h: FeatureMap,
    start: Start,
) -> tuple[Float[Array, "b T H W d"], Array]:
    """Return the output of half a block, and the history of its convolution for the next chunk.

    Args:
      norm: parameters.
      conv: parameters.
      history: of the convolution; None for zeros.
      dtype: type of the convolution.
      h: the half's input.
      start: whether this chunk is the first.
    """
    normalized: Any = ChannelNorm(parent=None).apply({"params": norm}, constrain_video(h))
    stream = {} if history is None else {"stream": {"past": history}}
    out: Any = CausalConv(conv["bias"].shape[0], dtype=dtype, parent=None).apply(
        {"params": conv, **stream}, nn.silu(normalized), start, mutable=["stream"]
    )
    return constrain_video(out[0]), out[1]["stream"]["past"]


def _round_kernel(conv: dict[str, Array], dtype: DTypeLike) -> dict[str, Array]:
    """Return a convolution's parameters, the kernel in the type of the device's products."""
    return conv | {"kernel": conv["kernel"].astype(product_dtype(dtype))}
