"""Weights in few bits: what they lose, that every layer which holds them multiplies by their scales, and gradients through them."""

import dataclasses

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from v2v.config import debug
from v2v.errors import InputError
from v2v.models import layers, lora, quantized
from v2v.models.text_encoder import TextEncoder
from v2v.models.transformer import DiT
from v2v.runtime import sharding

RNG = np.random.default_rng(0)
FORMATS = list(quantized.FORMATS)


def in_few_bits(part, tree, weights_dtype):
    """A tree with its blocks' kernels in few bits, and the same with the float32 weights that these stand for."""
    small, large = {}, {}
    for path, leaf in flax.traverse_util.flatten_dict(tree, sep="/").items():
        small[path] = large[path] = leaf
        if quantized.is_quantized(part, path, weights_dtype):
            values, scale = quantized.quantize_host(leaf, weights_dtype)
            small[path], small[quantized.scale_path(path)] = values, scale
            large[path] = quantized.dequantize(values, scale)
    return [flax.traverse_util.unflatten_dict(leaves, sep="/") for leaves in (small, large)]


def random_tree(shapes):
    return jax.tree.map(lambda s: RNG.normal(0, 0.2, s.shape).astype(np.float32), shapes)


# Decibels by which rounding lies below normal weights; bytes a weight, scales included.
LOSSES = {"int8": (41, 45, 1.01), "fp8": (30, 33, 1.01), "nf4": (19, 22, 0.54)}


@pytest.mark.parametrize("weights_dtype", FORMATS)
def test_rounding_lies_far_below_the_weights(weights_dtype):
    kernel = RNG.normal(size=(3, 512, 8)).astype(np.float32)
    kernel[1, :, 2] = 0
    values, scale = quantized.quantize_host(kernel, weights_dtype)
    shapes = quantized.FORMATS[weights_dtype].abstract(kernel.shape)
    assert [(x.shape, x.dtype) for x in shapes] == [(x.shape, x.dtype) for x in (values, scale)]
    assert quantized.weight_shape(values, scale) == kernel.shape
    assert quantized.format_name(values.dtype) == weights_dtype
    back = quantized.dequantize(values, scale)
    assert back.dtype == np.float32 and not back[1, :, 2].any()
    for array in (values[0], scale[0]):  # of one layer, by numpy and by XLA
        assert isinstance(array, np.ndarray)
    ours = quantized.FORMATS[weights_dtype].quantize(jnp.asarray(kernel))
    np.testing.assert_allclose(quantized.dequantize(*ours), back, atol=1e-6)
    error = quantized.RoundingError()
    assert error.decibels is None
    error.add(kernel, values, scale)
    low, high, size = LOSSES[weights_dtype]
    assert low < error.decibels < high
    assert values.nbytes + scale.nbytes < size * kernel.size + 4 * kernel.shape[-1] * 3


def test_int8_is_off_by_half_a_step_at_most():
    kernel = RNG.normal(size=(3, 512, 8)).astype(np.float32)
    values, scale = quantized.quantize_host(kernel, "int8")
    assert np.abs(values).max() == 127
    assert np.all(np.abs(values * scale[:, None] - kernel) <= 0.5001 * scale[:, None])


def test_nf4_has_the_published_numbers_and_takes_the_nearest():
    stored = quantized.FORMATS["nf4"]
    published = [-1, -0.69619280, -0.52507305, -0.39491749, -0.28444138, -0.18477343, -0.09105004, 0]  # fmt: skip
    published += [0.07958030, 0.16093020, 0.24611230, 0.33791524, 0.44070983, 0.56261700, 0.72295684, 1]
    np.testing.assert_allclose(stored.table, published, atol=1e-6)
    kernel = RNG.uniform(-1, 1, size=(128, 3)).astype(np.float32)
    kernel[[0, 64]] = 1
    table = np.asarray(stored.table)
    nearest = table[np.abs(kernel[..., None] - table).argmin(-1)]
    np.testing.assert_allclose(
        quantized.dequantize(*quantized.quantize_host(kernel, "nf4")), nearest, atol=1e-6
    )
    with pytest.raises(InputError, match="even number of rows, got one of 5"):
        stored.abstract((5, 2))


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

    pairs = {part: in_few_bits(part, tree, "nf4") for part, tree in trees.items()}
    small, large = ({part: pair[i] for part, pair in pairs.items()} for i in (0, 1))
    for ours, expected, exact in zip(run(small), run(large), run(trees), strict=True):
        scale = float(jnp.abs(expected).max())
        assert scale > 0.01
        np.testing.assert_allclose(ours, expected, atol=1e-5 * scale)
        assert float(jnp.abs(ours - exact).max()) > 1e-4 * scale  # few bits do cost something


class Layers(flax.linen.Module):
    """Three layers under a scan, as the blocks of the transformer."""

    dtype: str

    @flax.linen.compact
    def __call__(self, x):
        class Body(flax.linen.Module):
            dtype: str

            @flax.linen.compact
            def __call__(self, x):
                return x + layers.Dense(x.shape[-1], self.dtype, name="up")(x).astype(x.dtype), None

        scan = flax.linen.scan(
            Body, variable_axes={"params": 0, "lora": 0}, split_rngs={"params": True}, length=3
        )
        return scan(self.dtype, name="blocks")(x)[0]


@jax.jit
def gradients(params, x, adapter, target):
    """Return the gradients of a loss of `Layers` with respect to its input and its adapter."""

    def loss(x, adapter):
        y = Layers("float32").apply({"params": params, "lora": {"blocks": {"up": adapter}}}, x)
        return ((y - target) ** 2).sum()

    return jax.grad(loss, (0, 1))(x, adapter)


@pytest.mark.parametrize("weights_dtype", FORMATS)
def test_gradients_pass_through_frozen_weights(weights_dtype):
    """To the input and to an adapter, equal to those through the float32 weights that few bits stand for."""
    model, x = Layers("float32"), jnp.asarray(RNG.normal(size=(2, 5, 64)), jnp.float32)
    params = random_tree(jax.eval_shape(model.init, jax.random.key(0), x)["params"])
    small, large = in_few_bits("dit", params, weights_dtype)
    assert set(small["blocks"]["up"]) == {"kernel", "kernel_scale", "bias"}
    factors = {"a": (3, 64, 4), "b": (3, 4, 64)}
    adapter = {name: jnp.asarray(RNG.normal(0, 0.1, shape), jnp.float32) for name, shape in factors.items()}
    target = jnp.asarray(RNG.normal(size=x.shape), jnp.float32)
    both = [gradients(tree, x, adapter, target) for tree in (small, large)]
    for ours, expected in zip(*map(jax.tree.leaves, both), strict=True):
        scale = float(jnp.abs(expected).max())
        assert scale > 0.1
        np.testing.assert_allclose(ours, expected, atol=2e-5 * scale)
    untrained = adapter | {"b": jnp.zeros_like(adapter["b"])}
    with_adapter = model.apply({"params": small, "lora": {"blocks": {"up": untrained}}}, x)
    np.testing.assert_array_equal(with_adapter, model.apply({"params": small}, x))


@pytest.mark.parametrize("weights_dtype", FORMATS)
def test_the_backward_pass_stores_no_larger_weights(weights_dtype):
    """What a training step keeps of frozen weights are those few bits, not their values in the layers' type for all layers."""
    model, x = Layers("bfloat16"), jnp.zeros((1, 2, 64))
    shapes = jax.eval_shape(model.init, jax.random.key(0), x)["params"]
    small, _ = in_few_bits("dit", random_tree(shapes), weights_dtype)
    _, backward = jax.vjp(lambda x: model.apply({"params": small}, x), x)
    stored = [leaf for leaf in jax.tree.leaves(backward) if leaf.size >= 3 * 64 * 64 // 2]
    assert stored and {leaf.dtype for leaf in stored} == {small["blocks"]["up"]["kernel"].dtype}


@pytest.mark.parametrize("weights_dtype", ["int8", "nf4"])
def test_adapters_are_added_to_weights_in_few_bits(weights_dtype):
    kernel = RNG.normal(size=(2, 16, 8)).astype(np.float32)
    values, scale = quantized.quantize_host(kernel, weights_dtype)
    base = {"blocks": {"q": {"kernel": values, "kernel_scale": scale}}}
    config = dataclasses.replace(debug().lora, rank=3, targets="q")
    low_rank = lora.init_lora(jax.random.key(0), base, config)["blocks"]["q"]
    assert low_rank["a"].shape == (2, 16, 3) and low_rank["b"].shape == (2, 3, 8)
    low_rank["b"] = RNG.normal(size=(2, 3, 8)).astype(np.float32)
    merged = lora.merge_adapter(base, {"blocks": {"q": low_rank}}, 0.5)["blocks"]["q"]
    assert merged["kernel"].dtype == values.dtype and merged["kernel"].shape == values.shape
    expected = quantized.dequantize(values, scale) + 0.5 * np.asarray(low_rank["a"] @ low_rank["b"])
    error = np.linalg.norm(quantized.dequantize(merged["kernel"], merged["kernel_scale"]) - expected)
    assert error < {"int8": 0.01, "nf4": 0.12}[weights_dtype] * np.linalg.norm(expected)
    with pytest.raises(ValueError, match=r"kernel \(2, 16, 8\)"):
        lora.merge_adapter(base, {"blocks": {"q": {"a": np.zeros((2, 8, 3)), "b": np.zeros((2, 3, 8))}}}, 1.0)


def test_scales_lie_as_their_kernels():
    for path, dims in (
        ("dit/blocks/ffn/up", ("L", "d", "f")),
        ("dit/blocks/self_attn/o", ("L", "h", "d")),
        ("text/blocks/gate", ("L", "w", "f")),
    ):
        assert sharding.parameter_dims(f"{path}/kernel", 3) == dims
        assert sharding.parameter_dims(f"{path}/kernel_scale", 2) == (dims[0], dims[2])
        assert sharding.parameter_dims(f"{path}/kernel_scale", 3) == dims
    mesh = sharding.abstract_mesh({"fsdp": 4, "tensor": 2})
    tree = {"blocks": {"ffn": {"up": {"kernel": np.zeros((2, 96, 16), np.uint8), "kernel_scale": np.zeros((2, 3, 16))}}}}  # fmt: skip
    specs = jax.tree.map(lambda place: place.spec, sharding.tree_shardings({"dit": tree}, mesh))
    up = specs["dit"]["blocks"]["ffn"]["up"]
    assert tuple(up["kernel"]) == (None, "fsdp", "tensor")
    assert tuple(up["kernel_scale"]) == (None, None, "tensor")  # 3 blocks of rows don't divide by 4
