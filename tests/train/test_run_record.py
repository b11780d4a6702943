"""A folder goes on with the run that began in it."""

import dataclasses
import json

import pytest

from tests.notes import expect_note
from v2v.config import LogConfig, MeshConfig
from v2v.errors import InputError
from v2v.train.config import Experiment
from v2v.train.run_record import check_run

CFG = Experiment(name="mine")


def change(**fields):
    return dataclasses.replace(CFG, **fields)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"log": LogConfig(every=1), "mesh": MeshConfig(fsdp=2), "save_every": 9, "workers": 4},
        {"edit": dataclasses.replace(CFG.edit, steps=CFG.edit.steps + 1)},
        {"base": dataclasses.replace(CFG.base, steps=CFG.base.steps + 1)},
    ],
)
def test_a_run_goes_on_with_more_steps_and_other_machines(tmp_path, changed):
    check_run(CFG, tmp_path)
    check_run(change(**changed), tmp_path)
    assert (
        json.loads((tmp_path / "experiment.json").read_text())["save_every"] == change(**changed).save_every
    )


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"seed": 9}, "seed: was 0, now 9"),
        ({"sets": ("other",)}, "sets: was .., now .'other'."),
        ({"edit": dataclasses.replace(CFG.edit, batch=CFG.edit.batch + 1)}, "edit.batch"),
        (
            {"model": dataclasses.replace(CFG.model, lora=dataclasses.replace(CFG.model.lora, alpha=64.0))},
            "alpha",
        ),
    ],
)
def test_another_run_is_refused_unless_it_is_adopted(tmp_path, changed, message):
    check_run(CFG, tmp_path)
    with pytest.raises(InputError, match=f"begun with another configuration.*{message}.*--adopt"):
        check_run(change(**changed), tmp_path)
    with expect_note(message):
        check_run(change(**changed, adopt=True), tmp_path)
    check_run(change(**changed), tmp_path)


def test_a_finished_stage_is_not_trained_longer(tmp_path):
    check_run(CFG, tmp_path)
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "base.safetensors").touch()
    with pytest.raises(InputError, match=r"base\.steps"):
        check_run(change(base=dataclasses.replace(CFG.base, steps=CFG.base.steps + 1)), tmp_path)


def test_fields_of_another_version_are_not_compared(tmp_path):
    check_run(CFG, tmp_path)
    path = tmp_path / "experiment.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"gone": 1}))
    check_run(CFG, tmp_path)
