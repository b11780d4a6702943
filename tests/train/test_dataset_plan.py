"""What a run trains on is decided, and what would end it is found, before anything is encoded or loaded."""

import dataclasses

import pytest

from v2v.config import DataConfig, LogConfig, MeshConfig, debug
from v2v.data import datasets
from v2v.data.datasets import RecordDataset
from v2v.data.latent_folder import LatentFolder
from v2v.errors import InputError
from v2v.train import dataset_plan
from v2v.train.config import Experiment, Stage
from v2v.train.dataset_plan import plan_datasets

MODEL = debug()


def line(frames=5, height=32, width=32, reference=False, edit="sepia"):
    size = {"frames": frames, "height": height, "width": width}
    return size | {"edit": edit, "recipe": edit, "reference": reference, "instructions": [f"make it {edit}"]}


def experiment(data=None, batch=4, **fields):
    return Experiment(
        name="mine", model=MODEL, sets=("set",), mesh=MeshConfig(data=1, fsdp=1, seq=-1),
        edit=Stage(batch=batch), data=data or DataConfig(reference=0.0), **fields,
    )  # fmt: skip


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """Return a function that plans a run on a set with these lines in its index, and no records at all."""

    def run(lines, cfg, dataset=None):
        monkeypatch.setattr(datasets, "open_pairs", lambda path, fps: dataset or RecordDataset(lines, lines))
        monkeypatch.setattr(datasets, "dataset_fingerprint", lambda path, fps: "x")
        return plan_datasets(cfg, LatentFolder(tmp_path / "latents"))

    return run


@pytest.mark.parametrize(
    "cfg, lines, message",
    [
        (experiment(batch=32), [line()] * 8, "takes 32 pairs with no need of a reference, got 8; --edit.batch 8 or fewer"),
        (experiment(DataConfig(reference=0.5)), [line()] * 8, "4 pairs with a reference, got 0; --data.reference 0, now 0.5"),
        (experiment(log=LogConfig(held_out_every=5)), [line()] * 8, "none of 8 are held out; give --data.held-out"),
        (experiment(DataConfig(own_sizes=True, reference=0.0)), [line(frames=3)] * 4, "3 frames, the model takes 1 or from 5 on"),
        (experiment(DataConfig(own_sizes=True, reference=0.0)), [line(width=7)] * 4, "none of its 4 pairs can be used .4: smaller than 8x8 pixels"),
    ],
)  # fmt: skip
def test_what_would_end_a_run_later_ends_it_now(plan, tmp_path, cfg, lines, message):
    with pytest.raises(InputError, match=message):
        plan(lines, cfg)
    assert not list(tmp_path.rglob("*.array_record"))


def test_nothing_is_dropped_at_sizes_of_their_own(plan):
    lines = (
        [line()] * 5
        + [line(height=48, width=32)] * 2
        + [line(frames=1)]
        + [line(frames=9, height=64, width=64)]
    )
    cfg = experiment(
        DataConfig(own_sizes=True, reference=0.0, held_out=0.25), log=LogConfig(held_out_every=1)
    )
    result, summary = plan(lines, cfg)
    assert "9 pairs, 9 used, 0 left out" in summary
    assert sum(len(group.indices) for group in result.groups) == 9
    assert set(result.batches.values()) == {4} and result.repeats
    held_out = [i for g in result.groups for k, i in enumerate(g.indices) if k in g.held_out]
    assert held_out == [0, 4, 8]  # every fourth of all, not one of each size
    group, index = result.choose_pairs(2)[0]
    assert index in held_out and group.size[0] > 1


def test_a_table_says_what_is_held_out(plan, tmp_path, monkeypatch):
    class Table(RecordDataset):
        def facts(self, index):
            return super().facts(index) | {"held_out": index in (2, 5)}

    lines = [line()] * 8
    for own in (False, True):
        cfg = experiment(
            DataConfig(own_sizes=own, reference=0.0, held_out=0.5), log=LogConfig(held_out_every=1)
        )
        result, _ = plan(lines, cfg, Table(lines, lines))
        assert [g.held_out for g in result.groups] == [(2, 5)]


def test_a_disk_without_room_is_told(plan, monkeypatch, tmp_path):
    result, _ = plan([line()] * 8, experiment())
    monkeypatch.setattr(
        dataset_plan.shutil, "disk_usage", lambda path: dataclasses.make_dataclass("Usage", ["free"])(10)
    )
    with pytest.raises(InputError, match="make room, or choose another disk with --latents"):
        dataset_plan.check_room(experiment(), result, LatentFolder(tmp_path))
