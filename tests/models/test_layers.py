"""Backward passes written by hand: the gradients of what they stand for, and none that is not needed."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from v2v.models.layers import Dense, gelu, low_rank_matmul, matmul, merged_matmul, rms_norm
from v2v.models.rotary import apply_rotary, rotary_table


def operands(*shapes):
    keys = jax.random.split(jax.random.key(0), len(shapes))
    return [jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=True)]


@pytest.mark.parametrize(
    "linear", [merged_matmul, lambda x, w, a, b: matmul(x, w) + low_rank_matmul(x, a, b)]
)
@pytest.mark.parametrize("remat", [False, True])
def test_gradients_are_those_of_plain_products(remat, linear):
    x, w, a, b, cotangent = operands((2, 3, 5), (5, 7), (5, 2), (2, 7), (2, 3, 7))

    def ours(x, w, a, b):
        return (linear(x, w, a, b) * cotangent).sum()

    def plain(x, w, a, b):
        return ((x @ w + (x @ a) @ b) * cotangent).sum()

    ours = jax.checkpoint(ours) if remat else ours
    for arguments in ((0, 1, 2, 3), (0,), (1,), (2, 3)):
        ours_out, plain_out = (jax.jit(jax.grad(f, arguments))(x, w, a, b) for f in (ours, plain))
        for g, p in zip(ours_out, plain_out, strict=True):
            assert float(jnp.abs(p).max()) > 0.1
            np.testing.assert_allclose(g, p, atol=2e-6 * float(jnp.abs(p).max()))


def test_a_frozen_weight_costs_no_gradient():
    """In a scan over layers, as the DiT is: one product forward, one back, and a third only where the weight is trained."""
    x, w = operands((6, 5), (4, 5, 5))

    def loss(x, w):
        return jax.lax.scan(lambda x, w: (matmul(x, w), None), x, w)[0].sum()

    def products(arguments):
        return str(jax.make_jaxpr(jax.grad(loss, arguments))(x, w)).count("dot_general[")

    assert products(0) == 2 and products((0, 1)) == 3


def test_gradients_of_an_adapter_are_not_rounded_to_bfloat16_before_they_are_summed():
    """Each device's part would be, and then each sum of two."""
    x, a, b = operands((40, 24), (24, 2), (2, 24))
    layer = Dense(24, jnp.bfloat16)
    params = layer.init(jax.random.key(1), x)["params"]

    def loss(lora, x):
        return layer.apply({"params": params, "lora": lora}, x).astype(jnp.float32).sum()

    whole = jax.grad(loss)({"a": a, "b": b}, x)
    halves = [jax.grad(loss)({"a": a, "b": b}, x[i::2]) for i in range(2)]
    for name, gradient in whole.items():
        rounded = gradient.astype(jnp.bfloat16).astype(jnp.float32)
        assert gradient.dtype == jnp.float32 and (gradient != rounded).any(), name
        summed = sum(half[name] for half in halves)
        np.testing.assert_allclose(summed, gradient, atol=1e-5 * float(jnp.abs(gradient).max()))


def test_the_adapter_is_merged_where_that_is_exact_and_less_work():
    """A product as large as the weights shows whether a layer merged its adapter; its output is the same either way."""
    short, long = operands((3, 24), (40, 24))
    a, b = operands((24, 2), (2, 24))

    def layer(dtype):
        return Dense(24, dtype)

    params = layer(jnp.float32).init(jax.random.key(1), short)["params"]
    for x, dtype, is_merged in (
        (short, "float32", False),
        (long, "float32", True),
        (long, "bfloat16", False),
    ):
        run = partial(layer(jnp.dtype(dtype)).apply, mutable=False)
        variables = {"params": params, "lora": {"a": a, "b": b}}
        assert ("24,24] = dot_general" in str(jax.make_jaxpr(run)(variables, x))) == is_merged, (
            x.shape,
            dtype,
        )
        plain, zero = (run({"params": params, "lora": {"a": a, "b": k * b}}, x) for k in (1, 0))
        np.testing.assert_array_equal(zero, run({"params": params}, x))
        np.testing.assert_allclose(
            plain, x @ params["kernel"] + x @ a @ b, atol=1e-5 if dtype == "float32" else 0.4
        )


def test_gelu_and_its_gradient_are_flax_s():
    (x,) = operands((4, 5))
    ours_out, plain_out = (jax.value_and_grad(lambda x, f=f: (f(x) ** 2).sum())(x) for f in (gelu, nn.gelu))
    np.testing.assert_array_equal(ours_out[0], plain_out[0])
    np.testing.assert_allclose(ours_out[1], plain_out[1], rtol=1e-6)


def test_gradients_of_the_norm_are_those_derived():
    x, scale, cotangent = operands((2, 3, 6), (6,), (2, 3, 6))

    def derived(x, scale):
        return x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + 0.1) * scale

    ours_out, plain_out = (
        jax.jit(jax.value_and_grad(lambda x, scale, f=f: (f(x, scale) * cotangent).sum(), (0, 1)))(x, scale)
        for f in (lambda x, scale: rms_norm(x, scale, 0.1), derived)
    )
    for g, w in zip(jax.tree.leaves(ours_out), jax.tree.leaves(plain_out), strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-5, atol=1e-6)


def test_gradient_of_a_rotation_is_turned_back():
    x, angles, cotangent = operands((2, 3, 2, 6), (3, 3), (2, 3, 2, 6))
    pairs = (x[..., 0::2] + 1j * x[..., 1::2]) * jnp.exp(1j * angles)[:, None]
    y, back = jax.vjp(lambda x: apply_rotary(x, rotary_table(angles)), x)
    np.testing.assert_allclose(y[..., 0::2] + 1j * y[..., 1::2], pairs, atol=1e-6)
    # a linear map and its transpose
    np.testing.assert_allclose((back(cotangent)[0] * x).sum(), (cotangent * y).sum(), rtol=1e-5)
