"""Attention in blocks equals plain attention, its gradients too, and holds no square matrix."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from v2v.models.attention_kernels import chunked, plain, select_kernel

pytestmark = pytest.mark.usefixtures("well_compiled")

# 37 queries to 29 keys: no block divides either
SHAPES = ((2, 37, 3, 10), (2, 29, 3, 10), (2, 29, 3, 10))


def operands(dtype=jnp.float32, scale=1.0):
    keys = jax.random.split(jax.random.key(0), 4)
    q, k, v = (scale * jax.random.normal(key, s) for key, s in zip(keys, SHAPES, strict=False))
    return (q.astype(dtype), k.astype(dtype), v.astype(dtype)), jax.random.normal(keys[3], SHAPES[0])


@pytest.mark.parametrize(
    "block, length",
    [(512, None), *(pytest.param(*case, marks=pytest.mark.slow) for case in ((8, 17), (8, None), (512, 17)))],
)
def test_equals_plain_and_so_do_its_gradients(block, length):
    qkv, weights = operands(scale=2.0)

    def run(attend, **settings):
        def f(q, k, v):
            out = attend(q, k, v, length, **settings)
            return (out * weights).sum(), out

        (_, out), grads = jax.jit(jax.value_and_grad(f, argnums=(0, 1, 2), has_aux=True))(*qkv)
        return out, *grads

    for ours, theirs in zip(run(chunked.attend, block=block), run(plain.attend), strict=True):
        assert ours.shape == theirs.shape and float(jnp.abs(theirs).max()) > 0.1
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-6 * max(1, float(jnp.abs(theirs).max())))


def test_bfloat16():
    qkv, _ = operands(jnp.bfloat16)
    ours, theirs = chunked.attend(*qkv, block=8), plain.attend(*qkv)
    assert ours.dtype == theirs.dtype == jnp.bfloat16
    np.testing.assert_allclose(ours.astype(np.float32), theirs.astype(np.float32), atol=2e-2)


def test_gradients_in_bfloat16():
    """XLA for CPUs used to refuse them when they ran, so that bfloat16 models could not be trained there."""
    (q, k, v), weights = operands(jnp.bfloat16)

    def loss(attend, q, **settings):
        return (attend(q, k, v, **settings).astype(jnp.float32) * weights).sum()

    ours = jax.jit(jax.grad(lambda q: loss(chunked.attend, q, block=8)))(q)
    theirs = jax.grad(lambda q: loss(plain.attend, q))(q)
    assert float(jnp.abs(theirs).max()) > 0.1
    np.testing.assert_allclose(ours.astype(np.float32), theirs.astype(np.float32), atol=3e-2)


def test_large_logits_do_not_overflow():
    qkv, _ = operands(scale=100.0)
    theirs = plain.attend(*qkv)
    np.testing.assert_allclose(
        chunked.attend(*qkv, block=8), theirs, atol=2e-5 * float(jnp.abs(theirs).max())
    )


def test_memory_grows_with_the_length_not_with_its_square():
    q = jax.ShapeDtypeStruct((1, 4096, 4, 32), jnp.float32)

    def loss(q, k, v):
        return chunked.attend(q, k, v).sum()

    compiled = jax.jit(jax.grad(loss, argnums=(0, 1, 2))).lower(q, q, q).compile()
    logits = 4 * 4 * 4096**2
    assert compiled.memory_analysis().temp_size_in_bytes < logits / 4


def test_auto_takes_it_on_a_cpu_but_for_the_shortest_sequences():
    def kernel_for(b, queries, keys):
        q, k = (jax.ShapeDtypeStruct((b, n, 6, 128), jnp.float32) for n in (queries, keys))
        return select_kernel("auto", q, k)

    assert kernel_for(1, 4096, 4096) is chunked.attend and kernel_for(8, 400, 64) is chunked.attend
    assert kernel_for(1, 100, 100) is plain.attend and kernel_for(512, 100, 100) is plain.attend
