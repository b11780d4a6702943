"""Phases: each starts from the one before, and a run goes on where it was."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from v2v.checkpoints import safetensors_file
from v2v.cli.train import load_experiment
from v2v.errors import InputError
from v2v.train import phases

FIELDS = ["--phases.0.steps", "3", "--phases.1.steps", "4", "--phases.1.batch", "8", "--phases.2.steps", "0"]


@pytest.fixture
def calls(monkeypatch):
    """Calls of fine_tune, which makes the file that the real one makes, or is interrupted."""
    made = []

    def fine_tune(cfg, folder):
        made.append((folder.name, cfg))
        if cfg.seed == 9:
            raise KeyboardInterrupt
        folder.mkdir(parents=True)
        path = folder / "lora.safetensors"
        safetensors_file.write_safetensors(
            path, {"lora/a": np.zeros(1, np.float32)}, {"steps": str(cfg.edit.steps)}
        )
        return path

    monkeypatch.setattr(phases, "fine_tune", fine_tune)
    return made


def test_each_phase_starts_from_the_one_before(calls, tmp_path):
    cfg = load_experiment("wan22_phases", FIELDS, "train").config
    assert phases.run_phases(cfg, tmp_path) == tmp_path / "480p" / "lora.safetensors"
    (first, one), (second, two) = calls
    assert (first, second) == ("pictures", "480p") and type(one).__name__ == "Experiment"
    assert (one.model.frames, one.edit.steps, one.edit.batch, one.start) == (1, 3, 128, "")
    assert (two.model.frames, two.edit.steps, two.edit.batch) == (81, 4, 8)
    assert Path(two.start) == (tmp_path / "pictures" / "lora.safetensors").absolute()


def test_a_run_goes_on_with_the_phase_that_was_not_done(calls, tmp_path):
    cfg = load_experiment("wan22_phases", FIELDS, "train").config
    phases.run_phases(dataclasses.replace(cfg, phases=cfg.phases[:1]), tmp_path)
    with pytest.raises(KeyboardInterrupt):
        phases.run_phases(dataclasses.replace(cfg, seed=9), tmp_path)
    phases.run_phases(cfg, tmp_path)
    assert [name for name, _ in calls] == ["pictures", "480p", "480p"]


def test_phases_that_cannot_run_are_refused_before_the_first(calls, tmp_path):
    cfg = load_experiment("wan22_phases", FIELDS, "train").config
    same = dataclasses.replace(cfg.phases[1], name="pictures")
    odd = dataclasses.replace(cfg.phases[1], size=(80, 480, 832))
    for wrong, message in (
        ((), "expected phases with steps"),
        ((cfg.phases[0], same), "names of their own"),
        ((cfg.phases[0], odd), "phase 480p: .*80x480x832"),
    ):
        with pytest.raises(InputError, match=message):
            phases.run_phases(dataclasses.replace(cfg, phases=wrong), tmp_path)
    assert calls == []
    with pytest.raises(ValueError, match=r"Phase.name"):
        phases.Phase("../x", 1, (1, 32, 32))
