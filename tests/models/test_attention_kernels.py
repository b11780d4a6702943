"""Every kernel computes what plain attention does: on one device, on eight, with padding, one_way, and backwards."""

import dataclasses
import importlib.util
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from v2v.config import ConditionConfig, debug
from v2v.errors import InputError
from v2v.models import attention_kernels
from v2v.models.attention import attend, attend_one_way
from v2v.models.attention_kernels import cudnn, plain, splash
from v2v.models.attention_kernels.parallel import run_on_mesh
from v2v.models.transformer import DiT
from v2v.runtime import platform
from v2v.runtime.sharding import make_mesh

TOLERANCE = {jnp.float32: 2e-5, jnp.bfloat16: 2e-2}


def qkv(tokens, keys=None, heads=4, width=32, dtype=jnp.float32, batch=2):
    shapes = ((batch, tokens, heads, width), *[(batch, keys or tokens, heads, width)] * 2)
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.standard_normal(s, np.float32), dtype) for s in shapes]


def out_and_grads(f, q, k, v):
    def loss(*args):
        out = f(*args)
        return (out.astype(jnp.float32) ** 2).sum(), out

    grads, out = jax.jit(jax.grad(loss, (0, 1, 2), has_aux=True))(q, k, v)
    return out, *grads


def assert_same(ours, theirs, tolerance):
    for name, a, b in zip(("out", "dq", "dk", "dv"), ours, theirs, strict=True):
        scale = float(jnp.abs(b.astype(jnp.float32)).max())
        a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(1, scale), err_msg=name)


SMALL_BLOCKS = splash.BlockLimits(128, 128)


def test_plain_does_not_look_beyond_length():
    q, k, v = qkv(7, 11)
    np.testing.assert_allclose(plain.attend(q, k, v, 9), plain.attend(q, k[:, :9], v[:, :9]), atol=1e-6)


@pytest.mark.parametrize(
    "tokens, keys, length, dtype",
    [(150, 300, None, jnp.float32), (130, 130, 120, jnp.float32), (128, 256, None, jnp.bfloat16)],
)
def test_splash_equals_plain_also_where_blocks_and_lanes_are_padded(tokens, keys, length, dtype):
    args = qkv(tokens, keys, heads=1, dtype=dtype, batch=1)
    kernel = partial(splash.attend, length=length, limits=SMALL_BLOCKS, interpret=True)
    assert_same(
        out_and_grads(kernel, *args),
        out_and_grads(partial(plain.attend, length=length), *args),
        TOLERANCE[dtype],
    )


@pytest.mark.parametrize("length", [None, 9])
def test_cudnn_call_without_cudnn_equals_plain(length):
    args = qkv(11)
    theirs = plain.attend(*args, length)
    np.testing.assert_allclose(cudnn.attend(*args, length, implementation="xla"), theirs, atol=2e-5)


@pytest.mark.parametrize(
    "sizes, one_way", [((2, 1, 2, 2), None), ((1, 2, 4, 1), (4, 10)), ((1, 1, 1, 4), None)]
)
def test_on_a_mesh_equals_one_device(sizes, one_way):
    args = qkv(16)
    local = attend if one_way is None else partial(attend_one_way, start=one_way[0], stop=one_way[1])
    single = out_and_grads(partial(local, length=13), *args)
    with jax.set_mesh(_part_of_the_devices(sizes)):
        sharded = out_and_grads(partial(run_on_mesh, local, length=13), *args)
    assert_same([z[:, :13] for z in sharded], [z[:, :13] for z in single], 2e-5)


def test_splash_under_ulysses_equals_plain():
    args = qkv(128, heads=2)
    local = partial(splash.attend, limits=SMALL_BLOCKS, interpret=True)
    with jax.set_mesh(_part_of_the_devices((2, 1, 2, 1))):
        sharded = jax.jit(partial(run_on_mesh, local, length=120))(*args)
    np.testing.assert_allclose(sharded, plain.attend(*args, 120), atol=2e-5)


def test_cross_attention_on_a_mesh_keeps_its_keys_whole():
    args = qkv(8, 5)
    with jax.set_mesh(make_mesh(1, 1, 4, 2)):
        sharded = jax.jit(partial(run_on_mesh, attend, cross=True))(*args)
    np.testing.assert_allclose(sharded, attend(*args), atol=2e-5)


def test_the_model_on_a_mesh_pads_tokens_and_equals_itself():
    cfg = dataclasses.replace(debug().dit, layers=1)
    rng = np.random.default_rng(0)
    z = rng.standard_normal((2, 3, 3, 3, cfg.in_channels), np.float32)  # 27 + 27 + 9 tokens, seq 2
    text = rng.standard_normal((2, cfg.text_len, cfg.text_width), np.float32)
    model, tau = DiT(cfg, ConditionConfig(attention="one_way")), np.asarray([0.2, 0.9], np.float32)
    args = (z, tau, text, z + 1, z - 1, z[:, :1])
    shapes = jax.eval_shape(model.init, jax.random.key(2), *args)
    variables = jax.tree.map(lambda s: 0.3 * rng.standard_normal(s.shape, np.float32), shapes)
    single = jax.jit(model.apply)(variables, *args)
    with jax.set_mesh(_part_of_the_devices((1, 1, 2, 1))):
        sharded = jax.jit(model.apply)(variables, *args)
    np.testing.assert_allclose(sharded, single, atol=5e-4)


def test_auto_is_plain_for_few_tokens_on_a_cpu():
    args = qkv(9)
    assert (
        platform.target_platform() == "cpu"
        and attention_kernels.select_kernel("auto", *args[:2]) is plain.attend
    )
    np.testing.assert_array_equal(attend(*args, "auto"), plain.attend(*args))


@pytest.mark.parametrize(
    "name, message", [("splash", "runs on TPUs"), ("cudnn", "runs on GPUs"), ("flash", "one of")]
)
def test_an_impossible_backend_is_refused_with_the_remedy(name, message):
    with pytest.raises(InputError, match=message):
        attend(*qkv(4), name)


def test_heads_that_do_not_divide_are_refused():
    with jax.set_mesh(make_mesh(1, 1, 8, 1)), pytest.raises(InputError, match="4 heads"):
        jax.jit(partial(run_on_mesh, attend))(*qkv(16))


@pytest.mark.parametrize("largest", [splash.MAX_BLOCK, *{x.queries for x in splash.BLOCK_LIMITS.values()}])
def test_blocks_pad_little_and_divide(largest):
    for tokens in (1, 128, 1000, 1100, 4096, 16380, 36960, 54560):
        b = splash.block_size(tokens, largest)
        assert b % 128 == 0 and b <= largest
        assert b <= splash.MAX_BLOCK or (b // 2) % 128 == 0
        assert -(-tokens // b) * b - tokens < max(256, 0.02 * tokens)


def test_blocks_larger_than_their_logits_equal_plain(monkeypatch):
    """Keys in halves of a block, and smaller blocks backward, as on chips with more memory in the kernel."""
    monkeypatch.setattr(splash, "MAX_BLOCK", 128)
    args = qkv(256, 512, heads=1, batch=1)
    kernel = partial(splash.attend, length=500, limits=splash.BlockLimits(256, 256), interpret=True)
    assert_same(out_and_grads(kernel, *args), out_and_grads(partial(plain.attend, length=500), *args), 2e-5)


def test_limits_are_those_of_the_chip_that_is_compiled_for():
    assert platform.target_kind() == "cpu" and "cpu" not in splash.BLOCK_LIMITS
    limits = splash.BLOCK_LIMITS["TPU v6 lite"]
    assert 4 * limits.queries * limits.keys // 2 <= 8 << 20


def _part_of_the_devices(sizes):
    return make_mesh(*sizes, devices=jax.devices()[: int(np.prod(sizes))])


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed")
def test_auto_is_splash_on_a_tpu_and_its_kernels_compile_forwards_and_backwards():
    from v2v.planning import chips

    mesh = make_mesh(1, 1, 2, 1, devices=chips.resolve_topology("v5e:2x2")[1][:2])
    rows = NamedSharding(mesh, PartitionSpec(None, "seq"))
    x = jax.ShapeDtypeStruct((1, 3202, 4, 128), jnp.bfloat16, sharding=rows)

    def loss(q, k, v):
        out = run_on_mesh(partial(attend, backend="auto"), q, k, v, 3190)
        return (out.astype(jnp.float32) ** 2).sum()

    with jax.set_mesh(mesh):
        text = jax.jit(jax.grad(loss, (0, 1, 2))).lower(x, x, x).compile().as_text()
    for kernel in ("splash_mha_fwd_segmented", "splash_mha_dq", "splash_mha_dkv"):
        assert kernel in text
    assert "all-to-all" in text
