"""The contract of the model (DESIGN): what conditions may and may not change, and what they cost nothing for."""

import dataclasses

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from v2v.config import ConditionConfig, debug
from v2v.models import conditioning, lora
from v2v.models.attention import attend_one_way
from v2v.models.initialization import init_adapter, init_base
from v2v.models.transformer import DiT

CFG = debug()
T, Y, X, C = 2, 4, 6, CFG.dit.in_channels
TAU = jnp.asarray([0.7, 0.2])


def noise(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


def randomised(tree, seed):
    """Every leaf random, so that nothing zero-initialised hides an error."""
    flat = flax.traverse_util.flatten_dict(tree, sep="/")
    keys = jax.random.split(jax.random.key(seed), len(flat))
    out = {
        p: 0.3 * jax.random.normal(k, v.shape) for (p, v), k in zip(sorted(flat.items()), keys, strict=True)
    }
    return flax.traverse_util.unflatten_dict(out, sep="/")


@pytest.fixture(scope="module")
def params():
    return randomised(jax.eval_shape(lambda key: init_base(key, CFG), jax.random.key(0))["dit"], 1)


@pytest.fixture(scope="module")
def adapter(params):
    return init_adapter(jax.random.key(2), CFG, params)


@pytest.fixture(scope="module")
def inputs():
    z = {name: noise(i, 2, T, Y, X, C) for i, name in enumerate(("z", "source", "mask"))}
    return z | {
        "text": noise(5, 2, CFG.dit.text_len, CFG.dit.text_width),
        "reference": noise(6, 2, 1, Y, X, C),
    }


def velocity(
    params,
    inputs,
    adapter=None,
    condition=None,
    names=("source", "mask", "reference"),
    **changes,
):
    variables = {"params": params} | ({} if adapter is None else adapter)
    x = inputs | changes
    conditions = {name: x[name] for name in names}
    return jax.jit(DiT(CFG.dit, condition or ConditionConfig()).apply)(
        variables, x["z"], TAU, x["text"], **conditions
    )


def test_unpatchify_inverts_patchify_up_to_the_channel_order():
    z = noise(0, 2, 4, 4, 6, 5)
    patches = conditioning.patchify(z, (2, 2, 3))
    assert patches.shape == (2, 8, 60)
    channel_last = patches.reshape(2, 8, 5, 12).swapaxes(2, 3).reshape(2, 8, 60)
    np.testing.assert_array_equal(conditioning.unpatchify(channel_last, (2, 2, 2), (2, 2, 3)), z)


def test_lora_at_init_equals_the_base_bit_for_bit(params, inputs):
    with_lora = {
        "lora": lora.scale_adapter(lora.init_lora(jax.random.key(0), params, CFG.lora), CFG.lora.scale)
    }
    plain = velocity(params, inputs, names=())
    np.testing.assert_array_equal(velocity(params, inputs, with_lora, names=()), plain)


def test_low_rank_path_equals_merged_weights(params, adapter, inputs):
    cfg = dataclasses.replace(CFG.lora, alpha=3.0)
    trained = randomised(adapter["lora"], 3)
    embed = randomised(adapter["embed"], 4)
    low_rank = velocity(params, inputs, {"lora": lora.scale_adapter(trained, cfg.scale), "embed": embed})
    merged = velocity(lora.merge_adapter(params, trained, cfg.scale), inputs, {"embed": embed})
    assert float(jnp.abs(low_rank - velocity(params, inputs, {"embed": embed})).max()) > 1e-2
    np.testing.assert_allclose(low_rank, merged, rtol=0, atol=2e-4)


def test_low_rank_gradient_equals_automatic_differentiation():
    from v2v.models.layers import low_rank_matmul

    x, a, b = noise(0, 2, 5, 8), noise(1, 8, 3), noise(2, 3, 6)

    def loss(f):
        return lambda *args: (f(*args) ** 3).sum()

    ours = jax.grad(loss(low_rank_matmul), (0, 1, 2))(x, a, b)
    theirs = jax.grad(loss(lambda x, a, b: (x @ a) @ b), (0, 1, 2))(x, a, b)
    for u, v in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(u, v, rtol=2e-4, atol=2e-4)


def test_new_embeddings_at_zero_still_leave_conditions_silent_about_their_content(params, adapter, inputs):
    first = velocity(params, inputs, adapter)
    other = velocity(params, inputs, adapter, source=noise(9, 2, T, Y, X, C), mask=noise(8, 2, T, Y, X, C))
    np.testing.assert_array_equal(first, other)


def test_one_way_is_full_attention_with_the_conditions_shut_off_from_the_target():
    """One call on all tokens with a mask says the same as the two calls without one; gradients from conditions to target are 0."""
    q, k, v = (noise(i, 2, 11, 2, 8) for i in range(3))
    start, stop = 4, 9
    target = (np.arange(11) >= start) & (np.arange(11) < stop)
    logits = jnp.einsum("blhk,bshk->bhls", q, k) * 8**-0.5
    logits = jnp.where(~target[:, None] & target[None], -jnp.inf, logits)
    masked = jnp.einsum("bhls,bshk->blhk", jax.nn.softmax(logits), v)
    np.testing.assert_allclose(attend_one_way(q, k, v, start, stop), masked, atol=1e-6)


def test_one_way_changes_the_model_and_full_is_its_default(params, adapter, inputs):
    embed = {"embed": randomised(adapter["embed"], 4)}
    full = velocity(params, inputs, embed)
    one_way = velocity(params, inputs, embed, ConditionConfig(attention="one_way"))
    assert float(jnp.abs(full - one_way).max()) > 1e-3
    unconditioned = velocity(params, inputs, None, ConditionConfig(attention="one_way"), names=())
    np.testing.assert_array_equal(unconditioned, velocity(params, inputs, names=()))


def test_positions_continue_or_are_shared():
    grids = {"source": (2, 1, 1), "target": (2, 1, 1), "reference": (1, 1, 1)}
    contiguous, shared = (
        conditioning.build_conditioning(CFG.dit, ConditionConfig(rope=rope)).layout(grids)
        for rope in ("contiguous", "shared")
    )
    assert contiguous.positions[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert shared.positions[:, 0].tolist() == [0, 1, 0, 1, 2]
    assert contiguous.target == slice(2, 4)


def test_clean_first_frame_is_read_at_time_zero(params, inputs):
    jitted = jax.jit(DiT(CFG.dit).apply)

    def run(tau, clean):
        return jitted({"params": params}, inputs["z"], tau, inputs["text"], first_clean=jnp.asarray(clean))

    none = run(TAU, [False, False])
    np.testing.assert_array_equal(none, velocity(params, inputs, names=()))
    assert float(jnp.abs(run(TAU, [True, True]) - none).max()) > 1e-3
    zero = jnp.zeros(2)
    np.testing.assert_allclose(run(zero, [True, True]), run(zero, [False, False]), atol=1e-6)


def test_remat_changes_nothing(params, inputs):
    plain = velocity(params, inputs, names=())
    for policy in ("full", "q=device"):
        cfg = dataclasses.replace(CFG.dit, remat=policy)
        out = jax.jit(DiT(cfg).apply)({"params": params}, inputs["z"], TAU, inputs["text"])
        np.testing.assert_allclose(out, plain, atol=1e-6)


def test_lora_names_what_it_could_have_matched(params):
    with pytest.raises(ValueError, match="blocks/self_attn/q"):
        lora.init_lora(jax.random.key(0), params, dataclasses.replace(CFG.lora, targets="nothing_here"))


def test_lora_of_another_backbone_is_refused_by_name(params):
    wrong = lora.init_lora(jax.random.key(0), params, CFG.lora)
    wrong["blocks"]["ffn"]["up"]["a"] = jnp.zeros((2, 5, 4))
    with pytest.raises(ValueError, match="blocks/ffn/up"):
        lora.merge_adapter(params, wrong, 1.0)


def test_what_is_float32_is_exact_on_every_device():
    """The products of time MLP, head and new embeddings, lowered for a TPU, whose default is one pass of bfloat16; no others are."""
    cfg = dataclasses.replace(debug().dit, dtype="bfloat16")
    model, z = DiT(cfg), jnp.zeros((1, 2, 4, 4, 8))
    arguments = z, jnp.ones(1), jnp.zeros((1, 24, 16)), z
    variables = jax.eval_shape(model.init, jax.random.key(0), *arguments)
    lowered = jax.jit(model.apply).trace(variables, *arguments).lower(lowering_platforms=("tpu",)).as_text()
    products = [line for line in lowered.splitlines() if "dot_general" in line]
    exact = [line for line in products if "HIGHEST" in line]
    assert len(exact) == 5 < len(products) and all("f32" in line.rpartition("->")[2] for line in exact)
