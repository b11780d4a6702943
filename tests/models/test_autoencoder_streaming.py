"""Streaming equals the whole sequence, for any chunk."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from v2v.config import VAEConfig
from v2v.models import autoencoder_streaming
from v2v.models.autoencoder import VAE

WAN22 = VAEConfig(
    base_dim=4,
    decoder_base_dim=6,
    z_dim=5,
    dim_mult=(1, 2, 2),
    num_res_blocks=1,
    temporal_downsample=(True, True),
)
WAN21 = dataclasses.replace(WAN22, patch=1, residual=False)


@functools.cache
def params(cfg: VAEConfig) -> dict:
    shapes = jax.eval_shape(VAE(cfg).init, jax.random.key(0), jnp.zeros((1, 5, 8, 16, 3)))
    assert set(shapes) == {"params"}
    key = iter(jax.random.split(jax.random.key(1), 1000))
    return jax.tree.map(
        lambda s: jax.random.normal(next(key), s.shape) / np.sqrt(max(1, np.prod(s.shape[:-1]))),
        shapes["params"],
    )


@pytest.mark.parametrize(
    "cfg, chunk", [(WAN22, 1), pytest.param(WAN22, 2, marks=pytest.mark.slow), (WAN21, 1)]
)
@pytest.mark.parametrize("method", ["encode", "decode"])
def test_chunks_equal_one_pass(cfg, method, chunk):
    vae = VAE(cfg)
    shape = (2, 17, 8, 16, 3) if method == "encode" else (2, 5, 1, 2, 5)
    x = 0.7 * jax.random.normal(jax.random.key(2), shape)
    full = functools.partial(vae.apply, method=method)
    pieces = functools.partial(getattr(autoencoder_streaming, f"{method}_in_chunks"), vae, chunk=chunk)
    quick = {"xla_backend_optimization_level": 0}
    full = jax.jit(full, compiler_options=quick)({"params": params(cfg)}, x)
    pieces = jax.jit(pieces, compiler_options=quick)(params(cfg), x)
    assert full.shape == pieces.shape and float(full.std()) > 0.01
    np.testing.assert_allclose(pieces, full, rtol=0, atol=2e-6 * float(jnp.abs(full).max()))


def test_chunks_must_divide():
    with pytest.raises(ValueError, match="chunks of 3 don't divide the 4 frames"):
        autoencoder_streaming.decode_in_chunks(VAE(WAN22), params(WAN22), jnp.zeros((1, 5, 1, 2, 5)), chunk=3)
