"""DoRA: lengths of weights apart from their directions; step 0 is the base bit for bit, and what is merged is what is trained."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from v2v.checkpoints import parameter_store
from v2v.checkpoints.adapters import Adapter, combine_adapters
from v2v.checkpoints.flat_tree import flatten_tree, unflatten_tree
from v2v.config import LoRAConfig
from v2v.errors import InputError
from v2v.models import lora, quantized
from v2v.models.layers import Dense
from v2v.runtime import sharding

D_IN, D_OUT, RANK = 24, 16, 3


def numbers(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32))


@pytest.fixture
def kernel():
    return numbers(D_IN, D_OUT)


def trained(seed=1, lead=(), change=0.3):
    leaves = {
        "a": 0.3 * numbers(*lead, D_IN, RANK, seed=seed),
        "b": 0.3 * numbers(*lead, RANK, D_OUT, seed=seed + 1),
        "magnitude_change": change * numbers(*lead, D_OUT, seed=seed + 2),
    }
    return leaves


def apply(kernel, adapter, x, dtype=jnp.float32):
    params = {"kernel": kernel, "bias": jnp.ones(D_OUT)}
    return Dense(D_OUT, dtype).apply({"params": params} | ({"lora": adapter} if adapter else {}), x)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_step_0_is_the_base_bit_for_bit(kernel, dtype):
    x = numbers(40, D_IN, seed=5)
    start = lora.init_lora(
        jax.random.key(0), {"q": {"kernel": kernel}}, LoRAConfig(RANK, targets="q", dora=True)
    )["q"]
    assert {name: leaf.shape for name, leaf in start.items()} == {
        "a": (D_IN, RANK), "b": (RANK, D_OUT), "magnitude_change": (D_OUT,),
    }  # fmt: skip
    base, with_dora = (
        jax.jit(apply, static_argnums=3)(kernel, adapter, x, dtype) for adapter in (None, start)
    )
    np.testing.assert_array_equal(with_dora, base)


def by_hand(kernel, a, b, magnitude):
    directed = kernel + a @ b
    return directed * (magnitude / np.linalg.norm(directed, axis=0))


def test_a_layer_is_that_of_the_paper_and_so_is_what_is_merged(kernel):
    x, adapter = numbers(40, D_IN, seed=5), trained()
    magnitude = np.linalg.norm(kernel, axis=0) + adapter["magnitude_change"]
    expected = x @ by_hand(kernel, adapter["a"], adapter["b"], magnitude) + 1
    np.testing.assert_allclose(apply(kernel, adapter, x), expected, atol=2e-5)
    base = {"q": {"kernel": kernel}}
    stored = lora.with_magnitudes({"q": adapter}, base)
    np.testing.assert_allclose(stored["q"]["magnitude"], magnitude, rtol=1e-6)
    merged = lora.merge_adapter(base, stored, 1.0)["q"]["kernel"]
    np.testing.assert_allclose(x @ np.asarray(merged) + 1, expected, atol=2e-5)
    back = lora.with_magnitude_changes(stored, base)["q"]
    np.testing.assert_allclose(back["magnitude_change"], adapter["magnitude_change"], atol=1e-6)


def test_lengths_count_as_constants_in_gradients(kernel):
    """As in the paper's section 4.3 and in PEFT."""
    x, adapter = numbers(40, D_IN, seed=5), trained()
    cotangent = numbers(40, D_OUT, seed=6)
    length = np.linalg.norm(kernel + adapter["a"] @ adapter["b"], axis=0)

    def plain(adapter):
        factor = (np.linalg.norm(kernel, axis=0) + adapter["magnitude_change"]) / length
        return ((x @ (kernel + adapter["a"] @ adapter["b"]) * factor) * cotangent).sum()

    ours = jax.grad(lambda adapter: (apply(kernel, adapter, x) * cotangent).sum())(adapter)
    for name, gradient in jax.grad(plain)(jax.tree.map(jnp.asarray, adapter)).items():
        np.testing.assert_allclose(ours[name], gradient, atol=1e-4 * float(jnp.abs(gradient).max()))


def test_weights_in_few_bits_have_their_own_lengths(kernel):
    values, scale = quantized.quantize_host(np.asarray(kernel), "int8")
    rounded, x, adapter = quantized.dequantize(values, scale), numbers(7, D_IN, seed=5), trained()
    params = {"kernel": jnp.asarray(values), quantized.SCALE: jnp.asarray(scale), "bias": jnp.zeros(D_OUT)}
    y = Dense(D_OUT, jnp.float32).apply({"params": params, "lora": adapter}, x)
    magnitude = np.linalg.norm(rounded, axis=0) + adapter["magnitude_change"]
    np.testing.assert_allclose(y, x @ by_hand(rounded, adapter["a"], adapter["b"], magnitude), atol=2e-4)


def store_tree(leaves):
    return {"blocks": {"ffn": {"up": leaves}}}


def test_on_the_device_and_while_reading_it_is_merged_alike():
    """After plain adapters, and at half its strength halfway between."""
    base = store_tree({"kernel": numbers(2, D_IN, D_OUT)})
    leaves = flatten_tree(lora.with_magnitudes(store_tree(trained(lead=(2,))), base))
    dora = Adapter(unflatten_tree(leaves), 0.5)
    plain = Adapter(store_tree({name: trained(9, (2,))[name] for name in ("a", "b")}), 2.0)
    kernel = np.asarray(base["blocks"]["ffn"]["up"]["kernel"])
    for pairs in (((dora, 1.0),), ((dora, 0.5),), ((dora, 1.0), (plain, 0.7))):
        on_device = parameter_store.merge_adapters(base, pairs)["blocks"]["ffn"]["up"]["kernel"]
        update = parameter_store.build_adapter_update(pairs)
        read = np.stack([update("blocks/ffn/up/kernel", i, kernel[i]) for i in range(2)])
        np.testing.assert_allclose(read, on_device, atol=1e-5)
        before = kernel.copy()
        if len(pairs) == 2:
            before = (
                kernel + 1.4 * plain.lora["blocks"]["ffn"]["up"]["a"] @ plain.lora["blocks"]["ffn"]["up"]["b"]
            )
        one = {name: np.asarray(leaves[f"blocks/ffn/up/{name}"]) for name in ("a", "b", "magnitude")}
        full = np.stack(
            [by_hand(before[i], one["a"][i], 0.5 * one["b"][i], one["magnitude"][i]) for i in range(2)]
        )
        np.testing.assert_allclose(read, before + pairs[0][1] * (full - before), atol=1e-5)
    for parts in (((dora, 0.5),), ((dora, 1.0), (plain, 1.0))):
        with pytest.raises(InputError, match="a DoRA sets the length of weights"):
            combine_adapters(parts, None)
    assert combine_adapters(((dora, 1.0),), None).lora["blocks"]["ffn"]["up"].keys() == {
        "a",
        "b",
        "magnitude",
    }


def test_magnitudes_are_split_as_their_outputs_are():
    """Over the mesh axis of the kernel's outputs, in moments too."""
    for path in ("lora/blocks/ffn/up/magnitude_change", "opt_state/0/mu/lora/blocks/ffn/up/magnitude_change"):
        assert sharding.parameter_dims(path, 2) == ("L", "f")
    assert sharding.parameter_dims("lora/blocks/self_attn/o/magnitude", 2) == ("L", "d")


def test_a_layer_of_another_size_is_named(kernel):
    stored = lora.with_magnitudes({"q": trained()}, {"q": {"kernel": kernel}})
    stored["q"]["magnitude"] = stored["q"]["magnitude"][1:]
    with pytest.raises(ValueError, match=r"q: magnitude \(15,\), kernel \(24, 16\)"):
        lora.merge_adapter({"q": {"kernel": kernel}}, stored, 1.0)
    assert dataclasses.asdict(LoRAConfig())["dora"] is False
