"""A mesh shares the frames of a video: same result, a part of each frame on every device."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from v2v.config import VAEConfig
from v2v.models import autoencoder_layers, autoencoder_streaming
from v2v.models.autoencoder import VAE
from v2v.runtime import sharding

CFG = VAEConfig(
    base_dim=4, decoder_base_dim=6, z_dim=5, dim_mult=(1, 1), num_res_blocks=0, temporal_downsample=(True,)
)
QUICK = {"xla_backend_optimization_level": 0}


def mesh(**sizes):
    return {"data": 1, "fsdp": 1, "seq": 1, "tensor": 1} | sizes


def test_batch_first_then_the_longer_side():
    frames = (2, 31, 44, 80, 48)
    assert autoencoder_layers.video_partition_spec(frames, mesh(data=2, seq=8)) == P(
        ("data", "fsdp"), None, None, ("seq",), None
    )
    assert autoencoder_layers.video_partition_spec((1, *frames[1:]), mesh(data=2, seq=4)) == P(
        None, None, ("seq",), ("data",), None
    )
    batch_only = P(("data", "fsdp"), None, None, None, None)
    assert (
        autoencoder_layers.video_partition_spec((1, 31, 45, 81, 48), mesh(seq=2)) == batch_only
    )  # neither side divides
    narrow = (1, 31, 2, 8, 48)  # never less than two rows or columns
    assert autoencoder_layers.video_partition_spec(narrow, mesh(seq=4, tensor=2)) == P(
        ("data", "fsdp"), None, None, ("seq",), None
    )
    for scale in (1, 8):  # the same split at latent and at pixel size
        latent = (1, 31, scale * 44, scale * 80, 48)
        both = P(("data", "fsdp"), None, ("tensor",), ("seq",), None)
        assert autoencoder_layers.video_partition_spec(latent, mesh(seq=2, tensor=4)) == both


@pytest.mark.parametrize("method", [pytest.param("encode", marks=pytest.mark.slow), "decode"])
def test_a_mesh_changes_nothing(method):
    shapes = jax.eval_shape(VAE(CFG).init, jax.random.key(0), jnp.zeros((1, 3, 8, 16, 3)))["params"]
    keys = iter(jax.random.split(jax.random.key(1), 1000))
    params = jax.tree.map(
        lambda s: jax.random.normal(next(keys), s.shape) / np.sqrt(max(1, np.prod(s.shape[:-1]))), shapes
    )
    shape = (1, 5, 16, 32, 3) if method == "encode" else (1, 3, 4, 8, 5)
    x = 0.7 * jax.random.normal(jax.random.key(2), shape)
    run = functools.partial(getattr(autoencoder_streaming, f"{method}_in_chunks"), VAE(CFG))
    plain = jax.jit(run, compiler_options=QUICK)(params, x)
    with jax.set_mesh(sharding.make_mesh(data=1, seq=4, tensor=2)):
        sharded = jax.jit(run, compiler_options=QUICK)(params, x)
    b, t, rows, columns, c = plain.shape
    assert sharded.sharding.shard_shape(sharded.shape) == (b, t, rows // 2, columns // 4, c)
    np.testing.assert_allclose(sharded, plain, rtol=0, atol=2e-6 * float(jnp.abs(plain).max()))
