"""Parts of a model that give way to one another, wait on the host, and take their share of a mesh."""

import dataclasses

import jax
import numpy as np
import pytest

from v2v.checkpoints import parameter_store
from v2v.checkpoints.parameter_store import ParameterStore, ReplicatedStore
from v2v.config import ConditionConfig, wan22_ti2v_5b
from v2v.runtime import host_memory, sharding

# Lucy-Edit: the 5B with the source beside the noise.
CONFIG = wan22_ti2v_5b()
CONFIG = dataclasses.replace(
    CONFIG,
    batch=1,
    dit=dataclasses.replace(CONFIG.dit, in_channels=96),
    condition=ConditionConfig(layout="channel"),
)


@pytest.fixture
def memory(monkeypatch):
    """Sets the bytes of the device."""
    return lambda size: monkeypatch.setattr(host_memory, "device_bytes", lambda: size)


def small_store(sizes):
    """A store of trees of one number, and the parts it has read."""
    reads = []

    def read(part, adapters, streams):
        reads.append(part)
        return {"x": jax.numpy.zeros(1)}

    return ParameterStore(read, sizes), reads


def test_parts_wait_on_the_host_where_it_has_room(memory, monkeypatch):
    memory(1)
    monkeypatch.setattr(host_memory, "free_host_bytes", lambda: 2)
    store, reads = small_store({"dit": 1, "vae": 1, "text": 1})
    for part in ("dit", "vae", "dit", "vae"):
        np.testing.assert_array_equal(store.get(part)["x"], 0)
        assert [store.has_loaded(other) for other in ("dit", "vae")].count(True) == 1
    assert reads == ["dit", "vae"]


def test_copies_on_a_mesh_give_way_with_their_originals(memory):
    memory(2)
    source, _ = small_store({"dit": 1, "vae": 2, "text": 1})
    store = ReplicatedStore(source, sharding.make_mesh(devices=jax.devices()[:2]))
    store.get("dit")
    store.get("vae")
    assert not store.has_loaded("dit") and not source.has_loaded("dit")
    store.retain()
    assert not store.has_loaded("vae") and not source.has_loaded("vae")


def test_a_split_part_takes_its_share():
    mesh = sharding.make_mesh(data=1, fsdp=8)
    whole, split = (parameter_store.part_bytes(CONFIG, m)["dit"] for m in (None, mesh))
    assert split == pytest.approx(whole / 8, rel=0.01)
