"""The strict table: every parameter of every named model has its place, and what doesn't fit is named."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from v2v.config import OptimConfig, debug, embedded, wan22_ti2v_5b
from v2v.errors import InputError
from v2v.models.autoencoder import VAE
from v2v.models.initialization import init_adapter, init_base
from v2v.runtime import sharding
from v2v.train import optimizer
from v2v.train.state import TrainState


def shapes_of(cfg):
    def make(key):
        base = init_base(key, cfg)
        video = jnp.zeros((1, cfg.vae.stride_t + 1, 2 * cfg.vae.stride_xy, 2 * cfg.vae.stride_xy, 3))
        vae = VAE(cfg.vae).init(key, video)["params"]
        return base | {"vae": vae} | init_adapter(key, cfg, base["dit"])

    return jax.eval_shape(make, jax.random.key(0))


def mesh(**sizes):
    return sharding.make_mesh(
        **({"data": 1} | sizes), devices=jax.devices()[: int(np.prod([*sizes.values()]))]
    )


@pytest.mark.parametrize("cfg", [debug(), embedded(), wan22_ti2v_5b()], ids=lambda cfg: cfg.name)
def test_every_parameter_has_a_place(cfg):
    tree = shapes_of(cfg)
    shardings = sharding.tree_shardings(tree, mesh(fsdp=4, tensor=2))
    assert jax.tree.structure(tree) == jax.tree.structure(shardings)


def test_table_of_the_debug_model():
    lines = sharding.format_shardings(shapes_of(debug()), mesh(fsdp=2, tensor=2)).splitlines()
    partitions = {line.split("  ")[0]: line.split("  ")[2] for line in lines}
    blocks = "dit/blocks/self_attn"
    assert partitions[f"{blocks}/q/kernel"] == str(P(None, "fsdp", "tensor"))
    assert partitions[f"{blocks}/o/kernel"] == str(P(None, "tensor", "fsdp"))
    assert partitions["lora/blocks/self_attn/q/a"] == str(P(None, "fsdp", None))
    assert partitions["lora/blocks/self_attn/q/b"] == str(P(None, "fsdp", "tensor"))
    assert partitions["lora/blocks/ffn/down/a"] == str(P(None, "tensor", "fsdp"))
    assert partitions["lora/blocks/ffn/down/b"] == str(P(None, None, "fsdp"))
    assert partitions["dit/head/linear/kernel"] == str(P("fsdp", None))


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_optimiser_state_lies_where_its_parameters_lie(kind):
    def state(key):
        cfg = debug()
        trained = init_adapter(key, cfg, init_base(key, cfg)["dit"])
        return TrainState.create(trained, optimizer.build_optimizer(OptimConfig(kind=kind)))

    shapes = jax.eval_shape(state, jax.random.key(0))
    leaves = jax.tree_util.tree_leaves_with_path(sharding.tree_shardings(shapes, mesh(fsdp=2, tensor=2)))
    by_path = {sharding.format_key_path(path): leaf.spec for path, leaf in leaves}
    moments = [spec for path, spec in by_path.items() if path.endswith("lora/blocks/ffn/up/b")]
    assert len(moments) >= 3 and set(moments) == {P(None, "fsdp", "tensor")}
    assert by_path["step"] == P()


def test_an_unknown_leaf_is_named_with_its_shape_and_the_mesh():
    tree = {"dit": {"blocks": {"gate": {"kernel": np.zeros((2, 4, 4))}}}}
    with pytest.raises(InputError, match=r"'fsdp': 2.*dit/blocks/gate/kernel \(2, 4, 4\) matches no rule"):
        sharding.tree_shardings(tree, mesh(fsdp=2))


def test_sizes_that_dont_divide_are_all_named_at_once():
    tree = {"embed": {name: {"kernel": np.zeros((4, 6))} for name in ("source", "mask")}}
    with pytest.raises(InputError, match='embed/mask.*rule "- d".*6 doesn.t divide by fsdp=4.*embed/source'):
        sharding.tree_shardings(tree, mesh(fsdp=4))


def test_an_axis_used_twice_is_refused():
    with pytest.raises(InputError, match='rule "d w" uses a mesh axis twice'):
        sharding.tree_shardings({"square": np.zeros((4, 4))}, mesh(fsdp=2), rules=(("square", "d w"),))


def test_a_rule_of_another_rank_is_refused():
    with pytest.raises(InputError, match="has 3 axes.*has 2"):
        sharding.tree_shardings({"ffn": {"up": {"kernel": np.zeros((2, 4, 4))}}}, mesh(fsdp=2))


def test_activations_are_laid_out_by_their_dims_and_only_on_a_mesh():
    x = np.zeros((4, 8, 6), np.float32)
    assert sharding.constrain_activation(x, "b l d") is x
    with jax.set_mesh(mesh(data=2, fsdp=2, seq=2)):
        out = jax.jit(lambda x: sharding.constrain_activation(x, "b l d"))(x)
        assert out.sharding.spec == P(("data", "fsdp"), "seq")
        odd = jax.jit(lambda x: sharding.constrain_activation(x, "b l d"))(x[:1])
        assert odd.sharding.spec == P(None, "seq")


@pytest.mark.parametrize("sizes", [{"data": 3}, {"fsdp": 16}, {"data": -1, "tensor": 3}])
def test_a_mesh_that_doesnt_match_the_devices_is_refused(sizes):
    with pytest.raises(InputError, match="expected sizes that multiply to 8 devices"):
        sharding.make_mesh(**sizes)


def test_a_batch_that_doesnt_divide_is_refused():
    with pytest.raises(InputError, match="multiple of the 4 data-parallel devices, got 6"):
        sharding.batch_sharding(mesh(data=2, fsdp=2, seq=2), 6)


@pytest.mark.parametrize(
    ("visible", "share", "expected"),
    [("0", "1", [0]), ("0,1", "h100:2", [0, 1]), ("0,1,2,3", "1", None), ("0,1", "", None)],
)
def test_a_process_that_sees_its_own_gpus_alone_takes_them(monkeypatch, visible, share, expected):
    """JAX would take the fourth GPU for the fourth process of a node, where Slurm's --gpus-per-task shows one to each."""
    asked = {}
    monkeypatch.setattr(jax.distributed, "initialize", lambda **options: asked.update(options))
    monkeypatch.setattr(jax.config, "update", lambda *setting: None)
    for name, value in (
        ("SLURM_LOCALID", "3"),
        ("CUDA_VISIBLE_DEVICES", visible),
        ("SLURM_GPUS_PER_TASK", share),
    ):
        monkeypatch.setenv(name, value)
    sharding.join_processes()
    assert asked["local_device_ids"] == expected
    monkeypatch.delenv("SLURM_LOCALID")
    sharding.join_processes()
    assert asked["local_device_ids"] is None
