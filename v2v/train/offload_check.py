"""A check of gradients before a run whose tensors or weights wait in the host's memory.

config.DiTConfig.remat, Experiment.weights_memory -> **offload_check** -> stage.py

What a scan over blocks offloads has come back in the wrong order on GPUs (openxla/xla 46231): no error, gradients of other blocks. So the gradient of
an adapter of a small transformer, four blocks of the run's own kernels and types, is computed on the device at hand with what the run offloads and
without, before the run begins.
"""

import dataclasses
from typing import Any, cast

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np

from v2v.config import LoRAConfig, ModelConfig, debug, remat_places
from v2v.errors import InputError
from v2v.models import initialization
from v2v.models.transformer import DiT
from v2v.runtime import host_memory

# Share of the gradient by which rounding alone may change it: recomputed tensors are the same operations in another program.
TOLERANCE = 0.02


def check_offloading(cfg: ModelConfig, streams: bool) -> None:
    """Check that gradients don't change by what waits in the host's memory; nothing is done where nothing does.

    Args:
      cfg: the model of the run: its remat, attention kernel and types.
      streams: whether the base's blocks are in the host's memory.

    Raises:
      InputError: they are wrong, or the compiler can't offload.
    """
    if not streams and "host" not in remat_places(cfg.dit.remat).values():
        return
    version = f"{jax.local_devices()[0].device_kind}, jaxlib {jaxlib.__version__}"
    remedy = "keep everything on the device: --weights-memory device --model.dit.remat full"
    expected = gradients(cfg, "full", streams=False)
    try:
        difference = largest_difference(gradients(cfg, cfg.dit.remat, streams), expected)
    except jax.errors.JaxRuntimeError as error:
        raise InputError(
            f"the host's memory can't be used here ({version}): {str(error).splitlines()[0]}; {remedy}"
        ) from error
    if not difference <= TOLERANCE:
        raise InputError(
            f"gradients are wrong where the host's memory is used ({version}): expected those without it, got {difference:.0%} off, as in "
            f"openxla/xla 46231; {remedy}"
        )


def gradients(cfg: ModelConfig, remat: str, streams: bool) -> Any:
    """Return the gradient of an adapter of a small transformer, on the first device of this process.

    Args:
      cfg: gives the attention kernel and the type of products.
      remat: as `DiTConfig.remat`.
      streams: whether the base's blocks are in the host's memory.
    """
    small = debug()
    # Layers of whole tiles: TPUs don't copy less from the host's memory.
    dit = dataclasses.replace(
        small.dit, width=256, ffn_width=512, heads=2, layers=4, backend=cfg.dit.backend, dtype=cfg.dit.dtype, remat=remat
    )  # fmt: skip
    sizes = dataclasses.replace(small, dit=dit, lora=LoRAConfig(rank=8))
    device = jax.local_devices()[0]
    rng = np.random.default_rng(0)

    def draw(shape: jax.ShapeDtypeStruct) -> jax.Array:
        scale = shape.shape[-2] ** -0.5 if len(shape.shape) > 1 else 0.1
        return jax.device_put(jnp.asarray(scale * rng.standard_normal(shape.shape), shape.dtype), device)

    shapes = jax.eval_shape(lambda key: initialization.init_base(key, sizes)["dit"], jax.random.key(0))
    adapter_shapes = jax.eval_shape(
        lambda key: initialization.init_adapter(key, sizes, shapes)["lora"], jax.random.key(0)
    )
    base, adapter = jax.tree.map(draw, shapes), jax.tree.map(draw, adapter_shapes)
    # A latent frame of 16 x 16 tokens.
    z, text = (
        draw(jax.ShapeDtypeStruct(shape, jnp.float32))
        for shape in ((1, 1, 16, 16, dit.out_channels), (1, dit.text_len, dit.text_width))
    )
    if streams:
        base = host_memory.move_blocks_to_host(base)
    model = DiT(dit, sizes.condition, streams)

    @jax.jit
    def gradient(adapter: Any, base: Any) -> Any:
        def loss(adapter: Any) -> jax.Array:
            velocity = model.apply({"params": base, "lora": adapter}, z, jnp.full(1, 0.5), text)
            return jnp.square(cast(jax.Array, velocity)).mean()

        return jax.grad(loss)(adapter)

    return jax.device_get(gradient(adapter, base))


def largest_difference(ours: Any, theirs: Any) -> float:
    """Return the largest norm of a difference of two leaves, relative to the norm of theirs."""

    def difference(a: Any, b: Any) -> float:
        a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
        return float(np.linalg.norm(a - b) / max(float(np.linalg.norm(b)), 1e-30))

    return max(jax.tree.leaves(jax.tree.map(difference, ours, theirs)))
