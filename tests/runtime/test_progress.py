"""Steps told from inside a program: in order, dropped errors and all, on CPUs; and what other backends compile instead."""

import jax
import jax.numpy as jnp
import pytest

from v2v.runtime import progress

ROWS = 5


@jax.jit
def sample(x):
    def body(x, index):
        x = jnp.sin(x) + 1
        return x, progress.report_progress(index, ROWS, x)

    return jax.lax.scan(body, x, jnp.arange(ROWS))


def test_every_row_is_told_in_order_to_everybody_who_watches():
    first, second = [], []
    with progress.watch_progress(lambda *numbers: first.append(numbers)):
        jax.block_until_ready(sample(jnp.ones((2, 3))))
        with progress.watch_progress(lambda *numbers: second.append(numbers)):
            jax.block_until_ready(sample(jnp.ones((2, 3))))
    jax.block_until_ready(sample(jnp.ones((2, 3))))
    rows = [(i + 1, ROWS) for i in range(ROWS)]
    assert second == rows and first == rows + rows
    assert sample._cache_size() == 1


def test_what_a_watcher_raises_is_not_the_samplers():
    def wrong(done, total):
        raise RuntimeError("a bar broke")

    with progress.watch_progress(wrong):
        x, done = sample(jnp.ones((2, 3)))
    assert list(done) == list(range(ROWS))


@pytest.mark.parametrize("platform, has_target", [("cpu", True), ("cuda", False), ("tpu", False)])
def test_other_backends_compile_the_plain_program(platform, has_target):
    """No host callback anywhere: nothing keeps the program out of the compilation cache."""
    text = (
        sample.trace(jax.ShapeDtypeStruct((2, 3), jnp.float32))
        .lower(lowering_platforms=(platform,))
        .as_text()
    )
    assert (progress.TARGET in text) == has_target
    assert "callback" not in text and ("custom_call" in text) == has_target
