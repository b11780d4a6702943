"""The linear layer's own backward pass: the gradients of a plain product, and none that nobody asked for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from v2v.model.layers import low_rank, product


def operands(*shapes):
    keys = jax.random.split(jax.random.key(0), len(shapes))
    return [jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=True)]


@pytest.mark.parametrize("remat", [False, True])
def test_gradients_are_those_of_plain_products(remat):
    x, w, a, b, ask = operands((2, 3, 5), (5, 7), (5, 2), (2, 7), (2, 3, 7))

    def ours(x, w, a, b):
        return ((product(x, w) + low_rank(x, a, b)) * ask).sum()

    def plain(x, w, a, b):
        return ((x @ w + (x @ a) @ b) * ask).sum()

    ours = jax.checkpoint(ours) if remat else ours
    for wanted in ((0, 1, 2, 3), (0,), (1,), (2, 3)):
        got, want = (jax.jit(jax.grad(f, wanted))(x, w, a, b) for f in (ours, plain))
        for g, p in zip(got, want, strict=True):
            assert float(jnp.abs(p).max()) > 0.1
            np.testing.assert_allclose(g, p, atol=2e-6 * float(jnp.abs(p).max()))


def test_a_frozen_weight_costs_no_gradient():
    """In a scan over layers, as the DiT is: one product forward, one back, and a third only where the weight is trained."""
    x, w = operands((6, 5), (4, 5, 5))

    def loss(x, w):
        return jax.lax.scan(lambda x, w: (product(x, w), None), x, w)[0].sum()

    def products(wanted):
        return str(jax.make_jaxpr(jax.grad(loss, wanted))(x, w)).count("dot_general[")

    assert products(0) == 2 and products((0, 1)) == 3
