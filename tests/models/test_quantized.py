"""Weights in 8 bits: what they lose, and that every layer which holds them multiplies by their scales."""

import dataclasses

import flax
import jax
import jax.numpy as jnp
import numpy as np

from v2v.config import debug
from v2v.models import lora, quantized
from v2v.models.text_encoder import TextEncoder
from v2v.models.transformer import DiT
from v2v.runtime import sharding

RNG = np.random.default_rng(0)


def in_8_bits(part, tree):
    """A tree with its blocks' kernels in 8 bits, and the same with the float32 weights that these stand for."""
    small, large = {}, {}
    for path, leaf in flax.traverse_util.flatten_dict(tree, sep="/").items():
        small[path] = large[path] = leaf
        if quantized.is_quantized(part, path, "int8"):
            values, scale = quantized.quantize_host(leaf)
            small[path], small[quantized.scale_path(path)] = values, scale
            large[path] = values * scale[..., None, :]
    return [flax.traverse_util.unflatten_dict(leaves, sep="/") for leaves in (small, large)]


def random_tree(shapes):
    return jax.tree.map(lambda s: RNG.normal(0, 0.2, s.shape).astype(np.float32), shapes)


def test_rounding_is_half_a_step_and_lies_42_db_below():
    kernel = RNG.normal(size=(3, 512, 8)).astype(np.float32)
    kernel[1, :, 2] = 0
    values, scale = quantized.quantize_host(kernel)
    assert values.dtype == np.int8 and scale.shape == (3, 8) and np.abs(values).max() == 127
    back = quantized.dequantize(values, scale)
    assert np.all(np.abs(back - kernel) <= 0.5001 * scale[:, None])
    for ours, other in zip(quantized.quantize(jnp.asarray(kernel)), (values, scale), strict=True):
        np.testing.assert_allclose(ours, other, rtol=1e-6)
    error = quantized.RoundingError()
    assert error.decibels is None
    error.add(kernel, values, scale)
    assert 41 < error.decibels < 45


def test_models_apply_the_scales():
    cfg = dataclasses.replace(debug().dit, dtype="float32", backend="plain")
    z = jnp.asarray(RNG.normal(size=(1, 2, 4, 4, cfg.in_channels)), jnp.float32)
    tau, text = jnp.ones(1), jnp.asarray(RNG.normal(size=(1, cfg.text_len, cfg.text_width)), jnp.float32)
    dit, encoder = DiT(cfg), TextEncoder(dataclasses.replace(debug().text, dtype="float32"))
    ids, lengths = jnp.ones((1, debug().text.text_len), jnp.int32), jnp.array([3], jnp.int32)
    key = jax.random.key(0)
    trees = {
        "dit": random_tree(jax.eval_shape(dit.init, key, z, tau, text)["params"]),
        "text": random_tree(jax.eval_shape(encoder.init, key, ids, lengths)["params"]),
    }

    @jax.jit
    def run(trees):
        v = dit.apply({"params": trees["dit"]}, z, tau, text)
        return v, encoder.apply({"params": trees["text"]}, ids, lengths)

    pairs = {part: in_8_bits(part, tree) for part, tree in trees.items()}
    small, large = ({part: pair[i] for part, pair in pairs.items()} for i in (0, 1))
    for ours, expected, exact in zip(run(small), run(large), run(trees), strict=True):
        scale = float(jnp.abs(expected).max())
        assert scale > 0.01
        np.testing.assert_allclose(ours, expected, atol=1e-5 * scale)
        assert float(jnp.abs(ours - exact).max()) > 1e-4 * scale  # 8 bits do cost something


def test_adapters_are_added_to_weights_in_8_bits():
    kernel = RNG.normal(size=(2, 16, 8)).astype(np.float32)
    values, scale = quantized.quantize_host(kernel)
    low_rank = {"a": RNG.normal(size=(2, 16, 3)), "b": RNG.normal(size=(2, 3, 8))}
    low_rank = {name: x.astype(np.float32) for name, x in low_rank.items()}
    base = {"blocks": {"q": {"kernel": values, "kernel_scale": scale}}}
    merged = lora.merge_adapter(base, {"blocks": {"q": low_rank}}, 0.5)["blocks"]["q"]
    expected = values * scale[:, None] + 0.5 * low_rank["a"] @ low_rank["b"]
    assert merged["kernel"].dtype == jnp.int8
    error = np.abs(quantized.dequantize(merged["kernel"], merged["kernel_scale"]) - expected)
    assert np.all(error <= 0.501 * np.asarray(merged["kernel_scale"])[:, None])


def test_scales_lie_as_their_kernels_outputs():
    for path, dims in (
        ("dit/blocks/ffn/up", ("L", "d", "f")),
        ("dit/blocks/self_attn/o", ("L", "h", "d")),
        ("text/blocks/gate", ("L", "w", "f")),
    ):
        assert sharding.parameter_dims(f"{path}/kernel", 3) == dims
        assert sharding.parameter_dims(f"{path}/kernel_scale", 2) == (dims[0], dims[2])
