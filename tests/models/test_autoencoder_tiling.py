"""Decoding in tiles equals decoding whole frames."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from v2v.config import VAEConfig, wan22_ti2v_5b
from v2v.models import autoencoder_tiling
from v2v.models.autoencoder import VAE
from v2v.models.autoencoder_tiling import TileAxis

CFG = VAEConfig(
    base_dim=2, decoder_base_dim=4, z_dim=3, dim_mult=(1, 2, 2), num_res_blocks=1, temporal_downsample=(True, True)
)  # fmt: skip


WAN21 = dataclasses.replace(CFG, patch=1, residual=False)

QUICK = {"xla_backend_optimization_level": 0}


def random_params(cfg):
    shapes = jax.eval_shape(VAE(cfg).init, jax.random.key(0), jnp.zeros((1, 5, 8, 16, 3)))["params"]
    rng = np.random.default_rng(1)
    return jax.tree.map(
        lambda s: jnp.asarray(rng.normal(size=s.shape), jnp.float32) / np.sqrt(max(1, np.prod(s.shape[:-1]))),
        shapes,
    )


@pytest.fixture(scope="module")
def params():
    return random_params(CFG)


@pytest.mark.parametrize("cfg", [CFG, pytest.param(WAN21, marks=pytest.mark.slow)])
def test_tiles_equal_the_whole(cfg):
    vae, tiles, params = VAE(cfg), (2, 3), random_params(cfg)
    scale = cfg.stride_xy
    z = jnp.asarray(np.random.default_rng(2).normal(0, 0.7, (1, 3, 9, 12, 3)), jnp.float32)
    whole = jax.jit(lambda p, z: vae.apply({"params": p}, z, method="decode"), compiler_options=QUICK)(
        params, z
    )
    tiled = jax.jit(
        lambda p, z: autoencoder_tiling.decode_in_tiles(vae, p, z, tiles), compiler_options=QUICK
    )(params, z)
    assert whole.shape == tiled.shape == (1, 9, 9 * scale, 12 * scale, 3) and float(whole.std()) > 0.01
    np.testing.assert_allclose(tiled, whole, rtol=0, atol=4e-6)


def test_without_the_margin_tiles_differ(params, monkeypatch):
    margin = autoencoder_tiling.tile_margin(CFG)
    assert margin == 7 and autoencoder_tiling.tile_margin(wan22_ti2v_5b().vae) == 10
    monkeypatch.setattr(autoencoder_tiling, "tile_margin", lambda cfg: margin - 4)
    vae = VAE(CFG)
    z = jnp.asarray(np.random.default_rng(2).normal(0, 0.7, (1, 1, 1, 16, 3)), jnp.float32)
    whole = jax.jit(lambda: vae.apply({"params": params}, z, method="decode"), compiler_options=QUICK)()
    tiled = jax.jit(
        lambda: autoencoder_tiling.decode_in_tiles(vae, params, z, (1, 2)), compiler_options=QUICK
    )()
    assert float(jnp.abs(whole - tiled).max()) > 1e-5


@pytest.mark.parametrize(
    ("size", "count", "margin"), [(120, 2, 10), (208, 3, 10), (30, 4, 7), (7, 7, 1), (5, 1, 9)]
)
def test_cores_cover_the_side_and_have_their_margin(size, count, margin):
    axis = TileAxis.of(size, count, margin)
    covered = set()
    for start, core in zip(axis.starts, axis.core_starts, strict=True):
        assert 0 <= start <= start + axis.window <= size
        assert start == 0 or core - start >= margin
        assert start + axis.window == size or start + axis.window - core - axis.core >= margin
        covered |= set(range(core, core + axis.core))
    assert covered == set(range(size))
