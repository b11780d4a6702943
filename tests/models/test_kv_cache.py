"""A one_way pass in two halves says what the full one says, and a model that can't be split is refused."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models.test_transformer import CFG, TAU, C, T, X, Y, noise
from v2v.config import ConditionConfig
from v2v.errors import InputError
from v2v.models import kv_cache
from v2v.models.initialization import init_adapter, init_base
from v2v.models.transformer import DiT
from v2v.runtime import flops

ONE_WAY = ConditionConfig(attention="one_way")
NAMES = ("source", "mask", "reference")


def random_variables():
    """Return variables with every leaf random, so that nothing zero-initialised hides an error; drawn by NumPy, which compiles nothing."""
    base = jax.eval_shape(lambda key: init_base(key, CFG), jax.random.key(0))["dit"]
    adapter = jax.eval_shape(lambda key: init_adapter(key, CFG, base), jax.random.key(0))
    rng = np.random.default_rng(1)
    shapes = {"params": base, "embed": adapter["embed"]}
    return jax.tree.map(lambda s: jnp.asarray(0.3 * rng.standard_normal(s.shape, np.float32)), shapes)


@pytest.fixture(scope="module")
def variables():
    return random_variables()


def conditions(names):
    return {
        name: noise(i, 2, 1 if name == "reference" else T, Y, X, C)
        for i, name in enumerate(NAMES)
        if name in names
    }


@pytest.mark.parametrize(
    "names, rope, layout",
    [(NAMES, "contiguous", "sequence"), (("source",), "shared", "sequence"), (NAMES, "contiguous", "add")],
)
def test_two_halves_equal_the_full_pass(variables, names, rope, layout):
    dit = DiT(CFG.dit, dataclasses.replace(ONE_WAY, rope=rope, layout=layout))
    z, text, inputs = (
        noise(7, 2, T, Y, X, C),
        noise(5, 2, CFG.dit.text_len, CFG.dit.text_width),
        conditions(names),
    )

    @jax.jit
    def both(variables, z, text, inputs):
        cache = kv_cache.prefill(dit, variables, jnp.zeros_like(z), text, inputs)
        half = kv_cache.build_cached_velocity(
            dit, variables, cache, jnp.zeros_like(text), inputs
        )  # the text's part is in the cache
        return dit.apply(variables, z, jnp.full(2, 0.7), text, **inputs), half(z, 0.7), cache

    full, halves, cache = both(variables, z, text, inputs)
    assert float(jnp.abs(full).max()) > 0.1
    np.testing.assert_allclose(halves, full, rtol=0, atol=1e-5 * float(jnp.abs(full).max()))
    tokens = {"source": T * Y * X, "reference": Y * X}
    count = sum(
        n for name, n in tokens.items() if name in names and (layout == "sequence" or name == "reference")
    )
    assert cache["blocks"]["self_attn"]["k"].shape == (
        CFG.dit.layers,
        2,
        count,
        CFG.dit.heads,
        CFG.dit.head_dim,
    )


def test_branches_share_the_first_layer_only(variables):
    """Condition tokens read the text in every layer, so the prompt is in all keys but the first layer's."""
    dit, inputs, z = DiT(CFG.dit, ONE_WAY), conditions(NAMES), jnp.zeros((2, T, Y, X, C))
    fill = jax.jit(partial(kv_cache.prefill, dit))
    one, two = (fill(variables, z, noise(i, 2, CFG.dit.text_len, CFG.dit.text_width), inputs) for i in (3, 4))
    one, two = one["blocks"]["self_attn"]["k"], two["blocks"]["self_attn"]["k"]
    np.testing.assert_array_equal(one[0], two[0])
    assert float(jnp.abs(one[1] - two[1]).max()) > 1e-3


def test_a_step_pays_for_target_tokens_only(variables):
    """Less than six tenths of the whole pass."""
    dit, inputs = DiT(CFG.dit, ONE_WAY), conditions(("source", "mask"))
    z, text = jnp.zeros((2, T, Y, X, C)), jnp.zeros((2, CFG.dit.text_len, CFG.dit.text_width))
    cache = jax.eval_shape(partial(kv_cache.prefill, dit), variables, z, text, inputs)

    def operations(f, *args):
        return flops.count_flops(jax.make_jaxpr(f)(*args))

    step = operations(
        lambda cache, z: kv_cache.build_cached_velocity(dit, variables, cache, text, inputs)(z, 0.5), cache, z
    )
    full = operations(lambda z: dit.apply(variables, z, TAU, text, **inputs), z)
    assert step < 0.6 * full


@pytest.mark.parametrize("change", [{"attention": "full"}, {"time": "same"}])
def test_a_model_whose_conditions_change_is_refused(variables, change):
    dit, z = DiT(CFG.dit, dataclasses.replace(ONE_WAY, **change)), jnp.zeros((2, T, Y, X, C))
    with pytest.raises(InputError, match="one_way"):
        kv_cache.prefill(dit, variables, z, jnp.zeros((2, 4, 4)), conditions(NAMES))
