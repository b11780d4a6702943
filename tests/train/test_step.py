"""The one train step: its variants are the same function of the same numbers, however it is cut up or spread over devices."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.train.tiny_training import live_base
from v2v.config import FlowConfig, OptimConfig, debug
from v2v.diffusion.flow_matching import tau_weight
from v2v.errors import InputError
from v2v.models import initialization
from v2v.models.text_encoder import TextEncoder
from v2v.runtime import host_memory, sharding
from v2v.train import objectives, optimizer, train_step
from v2v.train.metric_writer import mean_metrics
from v2v.train.state import TrainState

CFG = dataclasses.replace(
    debug(), dit=dataclasses.replace(debug().dit, heads=4)
)  # they divide by seq x tensor
OPTIM = optimizer.build_optimizer(OptimConfig(peak_lr=1e-2, warmup_steps=0))


def variant(**fields):
    cfg = CFG
    for name, change in fields.items():
        cfg = dataclasses.replace(cfg, **{name: dataclasses.replace(getattr(cfg, name), **change)})
    return cfg


@pytest.fixture(scope="module")
def base():
    return live_base(CFG)


def batch(b=8):
    """Text comes embedded, which spares every compilation the text encoder."""
    t, y, x, c = CFG.vae.latent_shape(CFG.frames, CFG.height, CFG.width)
    rng = np.random.default_rng(0)
    z = {
        name: rng.standard_normal((b, t, y, x, c)).astype(np.float16) for name in ("source", "target", "mask")
    }
    text = rng.standard_normal((b, CFG.text.text_len, CFG.text.width)).astype(np.float32)
    return z | {
        "reference": z["source"][:, :1],
        "area": rng.random((b, t, y, x)).astype(np.float16),
        "text": text,
    }


def adapter(base, cfg=CFG):
    """No zeros, behind which a wrong sum could hide; drawn by NumPy, which compiles nothing."""
    shapes = jax.eval_shape(lambda key: initialization.init_adapter(key, cfg, base["dit"]), jax.random.key(1))
    rng = np.random.default_rng(2)
    return jax.tree.map(lambda s: jnp.asarray(0.1 * rng.standard_normal(s.shape, np.float32)), shapes)


def run(base, cfg=CFG, trained=None, steps=2, micro=1, ema=0.9, mesh=None, optimizer=OPTIM, streams=False):
    trained = adapter(base, cfg) if trained is None else trained
    state, rows = TrainState.create(jax.tree.map(jnp.array, trained), optimizer, ema=ema > 0), batch()
    mesh = mesh or sharding.make_mesh(data=1, devices=jax.devices()[:1])
    places = sharding.tree_shardings(state, mesh)
    objective = objectives.edit(cfg, 3.0, streams=streams)
    one = train_step.train_step(objective, optimizer, ema, micro=micro, places=places)
    with jax.set_mesh(mesh):
        state = jax.device_put(state, places)
        frozen = jax.device_put(base, sharding.tree_shardings(base, mesh))
        frozen = frozen | {"dit": host_memory.move_blocks_to_host(frozen["dit"])} if streams else frozen
        rows = sharding.place_batch(mesh, 8, rows)
        for _ in range(steps):
            state, metrics = one(state, rows, frozen)
    return state, metrics


def close(a, b, atol):
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=0, atol=atol), jax.device_get(a), jax.device_get(b)
    )


@pytest.fixture(scope="module")
def plain(base):
    sgd = optimizer.clip_by_group(1.0)  # no Adam: its sign-like first steps would blow rounding up
    return run(base, optimizer=sgd)


@pytest.mark.parametrize(
    "sizes",
    [pytest.param({"data": 2, "fsdp": 4}, marks=pytest.mark.slow), {"fsdp": 2, "seq": 2, "tensor": 2}],
    ids=str,
)
def test_sharded_equals_unsharded(base, plain, sizes):
    state, metrics = run(
        base, mesh=sharding.make_mesh(**({"data": 1} | sizes)), optimizer=optimizer.clip_by_group(1.0)
    )
    close(state.trained, plain[0].trained, 2e-5)
    close(metrics["loss"], plain[1]["loss"], 1e-4)
    places = sharding.tree_shardings(state, sharding.make_mesh(**({"data": 1} | sizes)))
    same = jax.tree.map(lambda x, place: x.sharding.is_equivalent_to(place, x.ndim), state, places)
    assert all(jax.tree.leaves(same))  # where the table wants it, after the step too


@pytest.mark.slow
@pytest.mark.parametrize(
    "sizes", [pytest.param({"data": 1}, marks=pytest.mark.slow), {"data": 2, "fsdp": 2}], ids=str
)
def test_accumulated_gradients_are_those_of_the_whole_batch(base, plain, sizes):
    """On several devices each adds up its own, which are summed once at the end."""
    mesh = sharding.make_mesh(**sizes, devices=jax.devices()[: int(np.prod(list(sizes.values())))])
    micro = 8 // mesh.size if mesh.size > 1 else 4
    state, metrics = run(base, micro=micro, mesh=mesh, optimizer=optimizer.clip_by_group(1.0))
    close(state.trained, plain[0].trained, 2e-5)
    for name in ("loss", "inside", "outside", "loss_tau_0.50"):
        close(metrics[name], plain[1][name], 1e-4)


def test_a_batch_that_doesnt_divide_into_micro_batches_is_refused(base):
    with pytest.raises(InputError, match="8 doesn't divide into 3"):
        run(base, micro=3)


@pytest.mark.parametrize(
    "policy",
    [
        pytest.param("full", marks=pytest.mark.slow),
        "layer_input=host,self_attention=host,ffn_up=device",
    ],
)
def test_remat_changes_no_gradient(base, plain, policy):
    state, _ = run(base, variant(dit={"remat": policy}), optimizer=optimizer.clip_by_group(1.0))
    close(state.trained, plain[0].trained, 2e-5)


@pytest.mark.slow
def test_a_base_in_the_hosts_memory_changes_no_gradient(base, plain):
    cfg = variant(dit={"remat": "full"})
    state, _ = run(base, cfg, optimizer=optimizer.clip_by_group(1.0), streams=True)
    close(state.trained, plain[0].trained, 2e-5)


@pytest.mark.parametrize(
    "condition",
    [pytest.param({"layout": "add"}, marks=pytest.mark.slow), {"attention": "one_way"}],
    ids=str,
)
def test_each_conditioning_trains_and_is_a_model_of_its_own(base, plain, condition):
    state, metrics = run(base, variant(condition=condition), steps=1, optimizer=optimizer.clip_by_group(1.0))
    assert np.isfinite(metrics["loss"]) and abs(float(metrics["loss"] - plain[1]["loss"])) > 1e-6
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(jax.device_get(state.trained)))


@pytest.mark.slow
def test_averaged_masks_and_losses_by_recipe(base):
    cfg, rows = variant(condition={"mask_code": "pooled"}), batch()
    pooled = rows | {"mask": rows["area"][..., None], "recipe": np.array([0, 0, 1, 0, 0, 0, 0, 1], np.int32)}
    trained = adapter(base, cfg)
    assert trained["embed"]["mask"]["kernel"].shape == (1, cfg.dit.width)
    evaluate = train_step.build_evaluation(objectives.edit(cfg, 0.0, ("local", "lift", "none")))
    metrics = jax.device_get(evaluate(trained, pooled, base))
    assert [metrics[f"loss_recipe_{name}"][1] for name in ("local", "lift", "none")] == [6, 2, 0]
    row = mean_metrics([metrics])
    assert "loss_recipe_none" not in row
    np.testing.assert_allclose(
        (6 * row["loss_recipe_local"] + 2 * row["loss_recipe_lift"]) / 8, row["loss"], rtol=1e-5
    )
    other = evaluate(trained, pooled | {"mask": 1 - pooled["mask"]}, base)
    assert abs(float(other["loss"]) - row["loss"]) > 1e-6  # the mask is seen


@pytest.mark.slow
def test_full_fine_tuning_moves_every_weight_of_the_dit(base):
    trained = {"dit": jax.tree.map(jnp.array, base["dit"]), "embed": adapter(base)["embed"]}
    state, metrics = run(base, trained=trained, steps=1)
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), state.trained["dit"], base["dit"])
    still = [sharding.format_key_path(p) for p, d in jax.tree_util.tree_leaves_with_path(moved) if d == 0]
    assert still == [] and "grad_norm_dit" in metrics


def test_no_average_is_kept_when_none_is_asked_for():
    state = TrainState.create({"a": {"kernel": jnp.ones((2, 2))}}, OPTIM, ema=False)
    state = state.update({"a": {"kernel": jnp.ones((2, 2))}}, OPTIM, 0.0)
    assert state.ema is None and state.result is state.trained
    assert float(state.trained["a"]["kernel"][0, 0]) < 1


def test_text_may_come_embedded_or_as_tokens_and_evaluation_is_repeatable(base):
    evaluate, rows, trained = train_step.build_evaluation(objectives.edit(CFG, 3.0)), batch(), adapter(base)
    ids = np.random.default_rng(1).integers(3, 20, (8, CFG.text.text_len), dtype=np.int32)
    lengths = np.full(8, 5, np.int32)
    text = jax.jit(TextEncoder(CFG.text).apply)({"params": base["text"]}, ids, lengths)
    ready = evaluate(trained, rows | {"text": text}, base)
    online = evaluate(
        trained, {k: v for k, v in rows.items() if k != "text"} | {"ids": ids, "lengths": lengths}, base
    )
    close(online["loss"], ready["loss"], 1e-5)
    assert abs(float(online["loss"] - evaluate(trained, rows, base)["loss"])) > 1e-6
    close(ready, evaluate(trained, rows | {"text": text}, base), 0)


def test_tau_weights_are_a_bell_of_mean_one_over_what_is_drawn():
    cfg = FlowConfig(shift=5.0, weighting="gaussian")
    u = (np.arange(1000) + 1) / 1000
    tau = 5 * u / (1 + 4 * u)
    weights = tau_weight(jnp.asarray(tau, jnp.float32), cfg)
    np.testing.assert_allclose(weights.mean(), 1.0, rtol=1e-3)
    assert int(weights.argmax()) == int(np.abs(tau - 0.5).argmin()) and float(weights[-1]) < 1e-5
    assert tau_weight(jnp.ones(3), FlowConfig()) is None


def test_rows_of_the_log_average_scalars_and_sum_up_buckets():
    rows = [
        {"loss": 1.0, "loss_tau_0.00": np.array([0.0, 0.0])},
        {"loss": 3.0, "loss_tau_0.00": np.array([6.0, 2.0])},
    ]
    assert mean_metrics(rows) == {"loss": 2.0, "loss_tau_0.00": 3.0}
    assert mean_metrics(rows[:1]) == {"loss": 1.0}
