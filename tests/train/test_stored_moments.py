"""AdamW with its moments in few bits: it learns as with float32, and a moment's rounding has no bias."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from v2v.config import OptimConfig
from v2v.runtime import sharding
from v2v.train import optimizer, stored_moments
from v2v.train.state import TrainState

MOMENTS = jnp.asarray(np.geomspace(1e-9, 1.0, 64, dtype=np.float32))[None]


@pytest.fixture(scope="module")
def losses():
    """The loss of a least squares problem after 60 steps by the type of the moments."""
    rng = np.random.default_rng(0)
    x, w = (jnp.asarray(rng.standard_normal(shape, np.float32)) for shape in ((64, 32), (32, 16)))
    y = x @ w

    def loss(trained):
        return jnp.square(x @ trained["lora"]["a"] - y).mean()

    def run(moments):
        update = optimizer.build_optimizer(
            OptimConfig(peak_lr=0.1, warmup_steps=0, moments=moments, clip=1e9)
        )
        state = TrainState.create({"lora": {"a": jnp.zeros((32, 16))}}, update, ema=False)
        state, _ = jax.lax.scan(
            lambda s, _: (s.update(jax.grad(loss)(s.trained), update, 0.0), None), state, None, 60
        )
        return loss(state.trained), state

    return {moments: run(moments) for moments in ("float32", "bfloat16", "int8")}


@pytest.mark.parametrize("moments", ["bfloat16", "int8"])
def test_it_learns_as_with_float32(losses, moments):
    (exact, _), (ours, state) = losses["float32"], losses[moments]
    assert exact < 0.1 and abs(ours - exact) < 0.3 * exact + 1e-3, (exact, ours)
    adam = state.opt_state[1][0]
    floats = [x.dtype for x in jax.tree.leaves((adam.mu, adam.nu)) if x.ndim and x.shape[-1] > 1]
    assert set(floats) == (
        {jnp.dtype("bfloat16")} if moments == "bfloat16" else {jnp.dtype("int8"), jnp.dtype("uint8")}
    )


@pytest.mark.parametrize("dtype, order", [("bfloat16", 0), ("bfloat16", 1), ("int8", 0)])
def test_rounding_has_no_bias(dtype, order):
    storage = stored_moments.Storage(dtype, order)
    draws = jax.vmap(lambda key: storage.unpack(storage.pack(MOMENTS, key)))(
        jax.random.split(jax.random.key(0), 512)
    )
    np.testing.assert_allclose(draws.mean(0), MOMENTS, rtol=0.02, atol=2e-5)


def test_no_second_moment_becomes_zero():
    storage = stored_moments.Storage("int8", 1)
    assert (storage.unpack(storage.pack(MOMENTS, jax.random.key(0))) > 0).all()


def test_moments_lie_where_their_parameters_do():
    mesh = sharding.make_mesh(1, 2, 1, 1, devices=jax.devices()[:2])
    state = stored_moments.scale_by_adam(0.9, 0.99, "int8").init(
        {"lora": {"blocks": {"ffn": {"up": {"a": jnp.zeros((2, 8, 4))}}}}}
    )
    places = sharding.tree_shardings(state, mesh)
    leaf = places.mu["lora"]["blocks"]["ffn"]["up"]["a"]
    assert leaf["moment"].spec[1] == "fsdp" and leaf["moment_scale"].spec[1:] == ("fsdp", None)


def test_muon_has_none():
    with pytest.raises(ValueError, match="expected kind adamw with moments in int8, got muon"):
        OptimConfig(kind="muon", moments="int8")
