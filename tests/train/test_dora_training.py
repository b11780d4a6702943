"""A DoRA is trained, written with its magnitudes, and gone on with."""

import dataclasses

import jax
import numpy as np
import pytest

from tests.train.tiny_training import live_base
from v2v.checkpoints import adapters, native
from v2v.checkpoints.flat_tree import flatten_tree
from v2v.config import LoRAConfig, OptimConfig, debug
from v2v.errors import InputError
from v2v.models import initialization, lora
from v2v.runtime import host_memory
from v2v.train import objectives, optimizer, train_step
from v2v.train.stage import finish_adapter, to_host
from v2v.train.start_adapter import check_start, load_start
from v2v.train.state import TrainState

CFG = dataclasses.replace(debug(), lora=LoRAConfig(rank=4, alpha=8, dora=True))


def batch():
    t, y, x, c = CFG.vae.latent_shape(CFG.frames, CFG.height, CFG.width)
    rng = np.random.default_rng(0)
    latents = {
        name: rng.standard_normal((2, t, y, x, c), np.float32) for name in ("source", "target", "mask")
    }
    ids = rng.integers(3, 20, (2, CFG.text.text_len), dtype=np.int32)
    return latents | {
        "area": np.ones((2, t, y, x), np.float32),
        "ids": ids,
        "lengths": np.full(2, 5, np.int32),
    }


@pytest.mark.slow
def test_a_dora_learns_and_its_file_is_what_was_trained(tmp_path):
    base, optim = live_base(CFG), optimizer.build_optimizer(OptimConfig(peak_lr=1e-2, warmup_steps=1))
    initial = initialization.init_adapter(jax.random.key(1), CFG, base["dit"])
    objective = objectives.edit(CFG)
    step = train_step.train_step(objective, optim, 0.0)
    state = TrainState.create(jax.tree.map(np.array, initial), optim, ema=False)
    for _ in range(3):
        state, metrics = step(state, batch(), base)
    leaves = flatten_tree(to_host(state.trained["lora"]))
    moved = [np.abs(x).max() for name, x in leaves.items() if name.endswith("magnitude_change")]
    assert len(moved) == 10 and min(moved) > 0 and np.isfinite(metrics["loss"])

    path = tmp_path / "lora.safetensors"
    native.save_parameters(
        path, to_host(finish_adapter(state.result, base["dit"])), adapters.adapter_metadata(CFG)
    )
    adapter = adapters.load_adapter(path, CFG)
    rows, sums = objective.draw(jax.random.key(0), batch())
    frozen = base | {"dit": lora.merge_adapter(base["dit"], adapter.lora, adapter.scale)}
    nothing = {"lora": {}, "embed": adapter.embed}
    merged = jax.jit(objective.loss)(nothing, frozen, rows, sums)[0]
    low_rank = jax.jit(objective.loss)(state.trained, base, rows, sums)[0]
    np.testing.assert_allclose(merged, low_rank, rtol=2e-3)  # factors are stored as float16

    check_start(str(path), CFG, initial)
    start = load_start(str(path), CFG, initial, dit=base["dit"])
    for name, leaf in flatten_tree(start["lora"]).items():
        np.testing.assert_allclose(leaf, leaves[name], atol=2e-4, err_msg=name)
    plain = dataclasses.replace(CFG, lora=LoRAConfig(rank=4))
    shapes = jax.eval_shape(
        lambda key: initialization.init_adapter(key, plain, base["dit"]), jax.random.key(0)
    )
    with pytest.raises(InputError, match="is a DoRA, the run trains no DoRA; give --model.lora.dora"):
        check_start(str(path), plain, shapes)


@pytest.mark.slow
def test_a_dora_on_a_base_in_the_hosts_memory_is_the_same():
    """Each block brings the weights whose lengths it needs; at the end they are taken a layer at a time."""
    base, optim = live_base(CFG), optimizer.build_optimizer(OptimConfig(peak_lr=1e-2, warmup_steps=1))
    initial = jax.tree.map(np.array, initialization.init_adapter(jax.random.key(1), CFG, base["dit"]))
    results = []
    for streams in (False, True):
        dit = host_memory.move_blocks_to_host(base["dit"]) if streams else base["dit"]
        step = train_step.train_step(objectives.edit(CFG, streams=streams), optim, 0.0)
        state = TrainState.create(jax.tree.map(np.array, initial), optim, ema=False)
        for _ in range(2):
            state, _ = step(state, batch(), base | {"dit": dit})
        results.append(flatten_tree(to_host(finish_adapter(state.result, dit))))
        assert streams == any(x.sharding.memory_kind == "pinned_host" for x in jax.tree.leaves(dit["blocks"]))
    assert any(name.endswith("/magnitude") for name in results[0])
    for name, leaf in results[0].items():
        np.testing.assert_allclose(results[1][name], leaf, rtol=1e-5, atol=1e-6, err_msg=name)
