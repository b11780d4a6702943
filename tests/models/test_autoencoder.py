"""The causal VAE: shapes, causality, images as one-frame videos."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from v2v.config import VAEConfig, debug
from v2v.models import autoencoder as v
from v2v.models import autoencoder_layers as layers

CFG = debug().vae


@pytest.fixture(scope="module")
def params():
    shapes = jax.eval_shape(v.VAE(CFG).init, jax.random.key(0), jnp.zeros((1, 5, 32, 32, 3)))
    leaves, tree = jax.tree.flatten(shapes)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    return jax.tree.unflatten(
        tree, [0.2 * jax.random.normal(k, x.shape) for k, x in zip(keys, leaves, strict=True)]
    )


@functools.cache
def _run(cfg, method):
    return jax.jit(functools.partial(v.VAE(cfg).apply, method=method))


def encode(params, x):
    return _run(CFG, "encode")(params, x)


def decode(params, z):
    return _run(CFG, "decode")(params, z)


def test_shapes_and_prefix_causality(params):
    x = jax.random.uniform(jax.random.key(2), (1, 9, 16, 24, 3), minval=-1)
    z = encode(params, x)
    assert z.shape == (1, *CFG.latent_shape(9, 16, 24))
    for n in (1, 5):
        np.testing.assert_allclose(encode(params, x[:, :n]), z[:, : (n + 3) // 4], atol=1e-4)
    y = decode(params, z)
    assert y.shape == x.shape
    np.testing.assert_allclose(decode(params, z[:, :2]), y[:, :5], atol=1e-4)


def test_space_to_channels_inverts_and_puts_width_before_height():
    x = jnp.arange(2 * 4 * 4 * 3, dtype=jnp.float32).reshape(1, 2, 4, 4, 3)
    h = v.space_to_channels(x, 2)
    np.testing.assert_array_equal(v.channels_to_space(h, 2), x)
    np.testing.assert_array_equal(h[0, 0, 0, 0, :4], x[0, 0, [0, 1, 0, 1], [0, 0, 1, 1], 0])


def test_avg_down_averages_runs_of_channels_and_dup_up_repeats_them():
    x = jax.random.normal(jax.random.key(0), (1, 4, 2, 2, 3))
    np.testing.assert_allclose(
        layers.avg_down(x, 2, 2, 3)[0, :, 0, 0], x[0].reshape(2, 8, 3).mean(1), atol=1e-6
    )
    up = layers.dup_up(x[:, :2], 2, 2, 3)
    assert up.shape == (1, 3, 4, 4, 3)
    np.testing.assert_array_equal(up[0, 0, :2, :2], jnp.broadcast_to(x[0, 0, 0, 0], (2, 2, 3)))


def test_a_clip_that_does_not_fit_is_refused_with_the_remedy(params):
    with pytest.raises(ValueError, match=r"T = 4n\+1 frames and sides divisible by 8"):
        encode(params, jnp.zeros((1, 4, 16, 16, 3)))


def test_latents_are_normalised_by_the_statistics(params):
    x = jax.random.uniform(jax.random.key(3), (1, 1, 16, 16, 3))
    cfg = dataclasses.replace(CFG, mean=(1.0,) * CFG.z_dim, std=(2.0,) * CFG.z_dim)
    z = _run(cfg, "encode")(params, x)
    np.testing.assert_allclose(z, (encode(params, x) - 1) / 2, atol=1e-5)
    np.testing.assert_allclose(_run(cfg, "decode")(params, z), decode(params, encode(params, x)), atol=1e-4)


def test_config_refuses_statistics_of_another_size():
    with pytest.raises(ValueError, match="expected 48 numbers, got 3"):
        VAEConfig(mean=(0.0,) * 3)
