"""Cached latents made before are accepted and give the same batches; a run that was stopped goes on with the same losses."""

import shutil

import pytest

from tests.compatibility import material
from v2v import InputError
from v2v.checkpoints import native
from v2v.data import latent_cache
from v2v.train.checkpointing import Checkpoints

OLD = material.expected()["training"]


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    return material.unpack("training", tmp_path_factory.mktemp("training"))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return material.unpack("models", tmp_path_factory.mktemp("models")) / "model"


@pytest.mark.parametrize("kind", ["short", "long"])
def test_old_latents_are_read(old, kind):
    paths = latent_cache.list_shards(old / "cached" / kind, material.VAE_HASH)
    assert latent_cache.read_facts(paths) == OLD[kind]["facts"]
    assert [material.record_hashes(path) for path in paths] == OLD[kind]["records"]
    with pytest.raises(InputError, match="made by VAE 0123456789ab, this run uses another"):
        latent_cache.list_shards(old / "cached" / kind, "another")


def test_old_latents_arent_encoded_again(old):
    def read(*which):
        raise AssertionError(f"pair {which} is encoded again")

    before = material.contents(old / "cached")
    material.write_cache(old / "cached", read)
    assert material.contents(old / "cached") == before


def test_new_latents_are_as_the_old_ones(old, tmp_path):
    material.write_cache(tmp_path)
    before, now = material.contents(old / "cached"), material.contents(tmp_path)
    assert now.keys() == before.keys()
    assert all(now[name][1] == data for name, (_, data) in before.items() if name.endswith((".json", ".npy")))
    for kind in ("short", "long"):
        assert [material.record_hashes(path) for path in latent_cache.list_shards(tmp_path / kind)] == OLD[
            kind
        ]["records"]


def test_old_latents_give_the_same_batches(old, model):
    stream = iter(material.batches(old / "cached", native.load_config(model / "config.json")))
    assert [material.leaves(next(stream)) for _ in OLD["batches"]] == OLD["batches"]


@pytest.mark.parametrize("name, how", [("adamw", material.ADAMW), ("muon", material.MUON)])
def test_an_old_checkpoint_is_restored(old, model, name, how):
    cfg, base = native.load_config(model / "config.json"), native.load_parameters(model / "base.safetensors")
    checkpoints = Checkpoints(old / name / "checkpoints")
    position = iter(material.batches(old / "cached", cfg))
    state = checkpoints.restore(material.fresh(cfg, base, how), position)
    checkpoints.close()
    assert int(state.step) == material.SAVED and position.get_state() == {"next_index": material.SAVED}
    assert material.leaves(state) == OLD[name]


def test_an_old_run_goes_on(old, model, tmp_path):
    workdir = shutil.copytree(old / "adamw", tmp_path / "adamw")
    material.train(workdir, old / "cached", model, material.ADAMW, material.LATER)
    found, before = material.log_of(workdir), {int(k): v for k, v in OLD["losses"].items()}
    assert sorted(found) == sorted(before) == list(range(1, material.LATER + 1))
    assert found == pytest.approx(before, rel=1e-6)
