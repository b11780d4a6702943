"""Streaming equals the whole sequence, for any chunk."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from v2v.config import VAEConfig
from v2v.models import autoencoder_blocks, autoencoder_layers, autoencoder_streaming
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
QUICK = {"xla_backend_optimization_level": 0}


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
    full = jax.jit(full, compiler_options=QUICK)({"params": params(cfg)}, x)
    pieces = jax.jit(pieces, compiler_options=QUICK)(params(cfg), x)
    assert full.shape == pieces.shape and float(full.std()) > 0.01
    np.testing.assert_allclose(pieces, full, rtol=0, atol=2e-6 * float(jnp.abs(full).max()))


def compile_for_tpu(monkeypatch, product_dtype=jnp.float32):
    """Make the modules take the form for TPUs, on the CPU of the test."""
    for module in (autoencoder_blocks, autoencoder_layers):
        monkeypatch.setattr(module, "target_platform", lambda: "tpu")
        monkeypatch.setattr(module, "product_dtype", lambda dtype: product_dtype)


@pytest.mark.slow
@pytest.mark.parametrize("cfg", [WAN22, WAN21])
@pytest.mark.parametrize("method", ["encode", "decode"])
def test_the_form_for_tpus_equals_the_other(cfg, method, monkeypatch):
    """Equal convolutions are one in a loop; what is kept in bfloat16 is rounded, which TPUs do with all factors."""
    cfg = dataclasses.replace(cfg, num_res_blocks=2)
    shape = (1, 9, 8, 16, 3) if method == "encode" else (1, 3, 1, 2, 5)
    x = 0.7 * jax.random.normal(jax.random.key(2), shape)
    code = getattr(autoencoder_streaming, f"{method}_in_chunks")

    def run():
        return jax.jit(lambda p, x: code(VAE(cfg), p, x), compiler_options=QUICK)(params(cfg), x)

    plain = run()
    compile_for_tpu(monkeypatch)
    np.testing.assert_allclose(run(), plain, rtol=0, atol=2e-6 * float(jnp.abs(plain).max()))
    compile_for_tpu(monkeypatch, jnp.bfloat16)
    assert 1e-5 < float(jnp.abs(run() - plain).max()) < 0.05 * float(jnp.abs(plain).max())


@pytest.mark.slow
def test_a_compiler_for_tpus_sees_equal_convolutions_once(monkeypatch):
    """Of the 5B model's decoder 20, not 40, and once, not for the first chunk and again for the others."""
    cfg = dataclasses.replace(
        WAN22, dim_mult=(1, 2, 4, 4), num_res_blocks=2, temporal_downsample=(False, True, True)
    )
    shapes = jax.eval_shape(VAE(cfg).init, jax.random.key(0), jnp.zeros((1, 1, 16, 16, 3)))["params"]
    latents = jax.ShapeDtypeStruct((1, 3, 1, 1, 5), jnp.float32)

    def lower():
        decode = jax.jit(lambda p, z: autoencoder_streaming.decode_in_chunks(VAE(cfg), p, z))
        return decode.lower(shapes, latents).as_text()

    assert lower().count("stablehlo.convolution") == 40
    compile_for_tpu(monkeypatch, jnp.bfloat16)
    assert lower().count("stablehlo.convolution") == 20


def test_chunks_must_divide():
    with pytest.raises(ValueError, match="chunks of 3 don't divide the 4 frames"):
        autoencoder_streaming.decode_in_chunks(VAE(WAN22), params(WAN22), jnp.zeros((1, 5, 1, 2, 5)), chunk=3)
