"""Attention on a mesh: every device sees whole sequences of some heads, or of some clips.

Activations are split over tokens on mesh axis `seq`. Attention needs all tokens of a head, so (Ulysses, arXiv 2309.14509)

    [b, l/S, h, k]  --all-to-all-->  [b, l, h/S, k]  --attention-->  [b, l, h/S, k]  --all-to-all-->  [b, l/S, h, k]

and any kernel, with full or one_way attention, runs unchanged in between. Each device sends 4 l h k (S-1)/S² numbers a layer; a ring of
keys and values would send 2 l h k (S-1)/S, as much at S = 2 and more beyond. Cross-attention moves nothing: its keys are on every
device. Kernels are opaque to the partitioner, so on any mesh of several devices they run inside `shard_map`.
"""

from functools import partial
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, PartitionSpec

from v2v.array_types import Array, Float
from v2v.errors import InputError
from v2v.runtime.sharding import BATCH_AXES

# Mesh axes over which tokens and heads are split.
SEQ, HEADS = "seq", "tensor"


@runtime_checkable
class LocalAttention(Protocol):
    """Attention on one device, such as `attention.attend`."""

    def __call__(self, q: jax.Array, k: jax.Array, v: jax.Array, *, length: int | None = None) -> jax.Array:
        """Attend to the first `length` keys, None for all."""
        ...


def run_on_mesh(
    local: LocalAttention,
    q: Float[Array, "b l h k"],
    k: Float[Array, "b s h k"],
    v: Float[Array, "b s h k"],
    length: int | None = None,
    cross: bool = False,
) -> Float[Array, "b l h k"]:
    """Return local(q, k, v, length=length), computed by all devices of the mesh in use (`jax.set_mesh`), or directly without one.

    Args:
      local: attention on one device.
      q: queries.
      k: keys.
      v: values.
      length: number of keys that count; None for all.
      cross: whether keys and values are replicated over `seq`.

    Raises:
      InputError: heads or tokens don't divide by the mesh.
    """
    mesh = _mesh_in_use()
    if mesh is None:
        return local(q, k, v, length=length)
    size, tokens, heads = mesh.shape, q.shape[1], q.shape[2]
    parts = size[SEQ] * size[HEADS] if not cross else size[HEADS]
    if heads % parts or tokens % size[SEQ]:
        raise InputError(
            f"attention: {heads} heads and {tokens} tokens must divide by mesh seq={size[SEQ]} x tensor={size[HEADS]}"
            " and by seq; change the mesh"
        )
    if not cross and (pad := -k.shape[1] % size[SEQ]):
        length = k.shape[1] if length is None else length
        k, v = (jnp.pad(z, ((0, 0), (0, pad), (0, 0), (0, 0))) for z in (k, v))
    batch = _batch_axes(mesh, q.shape[0])
    spec = PartitionSpec(batch, SEQ, HEADS, None)
    spec_kv = PartitionSpec(batch, None, HEADS, None) if cross else spec

    def run_on_device(q, k, v):
        if cross or size[SEQ] == 1:
            return local(q, k, v, length=length)
        exchange = partial(jax.lax.all_to_all, axis_name=SEQ, tiled=True)
        q, k, v = (exchange(z, split_axis=2, concat_axis=1) for z in (q, k, v))
        return exchange(local(q, k, v, length=length), split_axis=1, concat_axis=2)

    return jax.shard_map(
        run_on_device, mesh=mesh, in_specs=(spec, spec_kv, spec_kv), out_specs=spec, check_vma=False
    )(q, k, v)


def token_multiple() -> int:
    """Return what the number of joint tokens must be a multiple of on the mesh in use."""
    mesh = _mesh_in_use()
    return 1 if mesh is None else mesh.shape[SEQ]


def splits_copies(rows: int, copies: int) -> bool:
    """Return whether the mesh in use splits a batch of several copies of so many rows, but not the rows themselves."""
    mesh = _mesh_in_use()
    return (
        mesh is not None and _batch_axes(mesh, rows) is None and _batch_axes(mesh, copies * rows) is not None
    )


def _mesh_in_use() -> AbstractMesh | None:
    mesh = jax.sharding.get_abstract_mesh()
    return mesh if SEQ in mesh.shape and mesh.size > 1 else None


def _batch_axes(mesh: AbstractMesh, b: int) -> tuple[str, ...] | None:
    """Return the mesh axes over which a batch is split; None where it doesn't divide (one clip sampled on many devices)."""
    parts = mesh.shape[BATCH_AXES[0]] * mesh.shape[BATCH_AXES[1]]
    return BATCH_AXES if b % parts == 0 else None
