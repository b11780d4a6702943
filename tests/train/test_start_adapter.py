"""Runs that start from an adapter: of v2v train, or a LoRA of another tool, padded without changing what it does."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.notes import expect_note
from v2v.checkpoints import adapters, lora_files, native, wan
from v2v.checkpoints.flat_tree import flatten_tree, unflatten_tree
from v2v.config import LoRAConfig, OptimConfig, debug
from v2v.errors import InputError
from v2v.models import initialization
from v2v.train import optimizer
from v2v.train.start_adapter import check_start, load_start

CFG = dataclasses.replace(debug(), lora=LoRAConfig(rank=4, alpha=8))


def tree(cfg, seed=0, targets=None):
    """Return an adapter of random numbers, embeddings included."""
    cfg = dataclasses.replace(cfg, lora=dataclasses.replace(cfg.lora, targets=targets or cfg.lora.targets))
    dit = unflatten_tree(
        {p: jax.ShapeDtypeStruct(s, np.float32) for p, s in wan.parameter_shapes("dit", cfg).items()}
    )
    shapes = jax.eval_shape(lambda key: initialization.init_adapter(key, cfg, dit), jax.random.key(0))
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda s: rng.standard_normal(s.shape).astype(np.float32), shapes)


def products(lora, scale):
    flat = flatten_tree(lora)
    paths = sorted({name.rsplit("/", 1)[0] for name in flat})
    return {p: scale * np.asarray(flat[f"{p}/a"]) @ np.asarray(flat[f"{p}/b"]) for p in paths}


@pytest.fixture
def foreign(tmp_path):
    """A LoRA file of rank 2 on the attentions alone, of scale 0.5."""
    small = dataclasses.replace(CFG, lora=LoRAConfig(rank=2))
    lora = tree(small, 1, r"self_attn/(q|k)$")["lora"]
    path = tmp_path / "foreign.safetensors"
    lora_files.save_lora(path, lora, CFG, scale=0.5, dtype="float32")
    return path, lora


def test_a_foreign_lora_does_at_step_0_what_it_did_before(foreign):
    path, lora = foreign
    initial = tree(CFG)
    initial["lora"] = unflatten_tree(
        {k: 0 * v if k.endswith("/b") else v for k, v in flatten_tree(initial["lora"]).items()}
    )
    with expect_note("has no embeddings of source, mask and reference; they start at zero"):
        start = load_start(str(path), CFG, initial)
    assert jax.tree.map(np.shape, start) == jax.tree.map(np.shape, initial)
    expected = products(lora, 0.5)
    for name, product in products(start["lora"], CFG.lora.scale).items():
        np.testing.assert_allclose(product, expected.get(name, np.zeros(())), atol=1e-5)
    # The columns that were added can learn.
    q = start["lora"]["blocks"]["self_attn"]["q"]["a"]
    assert np.abs(q[..., 2:]).min() > 0
    assert start["embed"] is initial["embed"]


def test_what_is_not_trained_or_does_not_fit_is_named(foreign, tmp_path):
    path, _ = foreign
    for change, message in (
        ({"rank": 1}, "has rank 2 in blocks/self_attn/., expected 1 at most; give --model.lora.rank 2"),
        ({"targets": "ffn"}, "layers that aren't trained .blocks/self_attn/k, blocks/self_attn/q"),
    ):
        cfg = dataclasses.replace(CFG, lora=dataclasses.replace(CFG.lora, **change))
        with pytest.raises(InputError, match=f"--start .*{message}"):
            check_start(str(path), cfg, jax.eval_shape(lambda x: x, tree(cfg)))


def test_an_adapter_of_ours_goes_on_at_another_scale(tmp_path):
    initial, path = tree(CFG, 2), tmp_path / "lora.safetensors"
    stabilized = dataclasses.replace(CFG, lora=LoRAConfig(rank=4, alpha=8, rank_stabilized=True))
    native.save_parameters(path, initial, adapters.adapter_metadata(stabilized))
    check_start(str(path), CFG, initial)
    start = load_start(str(path), CFG, initial)
    expected = products(initial["lora"], 4.0)
    for name, product in products(start["lora"], 2.0).items():
        np.testing.assert_allclose(product, expected[name], rtol=5e-3, atol=5e-2)  # stored as float16
    assert '"ranks"' not in adapters.adapter_metadata(CFG)["v2v_lora"]  # earlier versions don't know it


def test_second_matrices_have_a_learning_rate_of_their_own():
    params = {"lora": {"x": {"a": jnp.ones(3), "b": jnp.ones(3)}}, "embed": {"b": jnp.ones(3)}}
    grads = jax.tree.map(lambda x: 0.01 * x, params)
    changes = {}
    for ratio in (1.0, 16.0):
        update = optimizer.build_optimizer(OptimConfig(warmup_steps=0, lora_plus=ratio))
        changes[ratio], _ = update.update(grads, update.init(params), params)
    same, scaled = changes[1.0], changes[16.0]
    np.testing.assert_allclose(scaled["lora"]["x"]["b"], 16 * same["lora"]["x"]["b"], rtol=1e-6)
    np.testing.assert_array_equal(scaled["lora"]["x"]["a"], same["lora"]["x"]["a"])
    np.testing.assert_array_equal(scaled["embed"]["b"], same["embed"]["b"])
