"""`--memory`: the fastest setting that fits a device by shapes alone, what stays as it was given, and what is refused."""

import dataclasses

import pytest

from tests.notes import expect_note
from v2v.cli.memory_preset import resolve_memory
from v2v.cli.train import load_experiment
from v2v.config import debug
from v2v.errors import InputError
from v2v.planning import report, train_memory
from v2v.planning.chips import CHIPS, GIB
from v2v.train.config import Experiment, Stage

SMALL = Experiment(model=debug(), edit=Stage(batch=4), memory="24")


def with_memory(total):
    return train_memory.StepMemory(total, 0, 0, 0, 0, 0)


def test_what_fits_as_it_is_recomputes_nothing_and_rounds_nothing():
    with expect_note("--memory 24: --model.dit.remat none --edit.micro 4; predicted"):
        cfg = resolve_memory(SMALL, [], 1)
    assert (cfg.model.dit.remat, cfg.edit.micro, cfg.weights_dtype, cfg.weights_memory) == (
        "none",
        4,
        None,
        "device",
    )
    assert resolve_memory(dataclasses.replace(SMALL, memory=""), [], 1).edit.micro == 1


def test_what_is_given_stays():
    words = ["--edit.micro", "1", "--model.dit.remat=full", "--weights_dtype", "int8"]
    requested = dataclasses.replace(
        SMALL,
        weights_dtype="int8",
        model=dataclasses.replace(SMALL.model, dit=dataclasses.replace(debug().dit, remat="full")),
    )
    with expect_note("--model.dit.remat full --edit.micro 1 --weights-dtype int8"):
        cfg = resolve_memory(requested, words, 1)
    assert (cfg.model.dit.remat, cfg.edit.micro, cfg.weights_dtype) == ("full", 1, "int8")


@pytest.mark.parametrize(
    "chip, order",
    [
        ("v5e", [(None, "device"), (None, "host"), ("int8", "device"), ("int8", "host")]),
        ("h100", [(None, "device"), ("int8", "device"), ("nf4", "device"), (None, "host")]),
    ],
)
def test_results_change_last_and_gpus_copy_last(monkeypatch, chip, order):
    """A kind fits that allows no setting before it."""
    tried = []

    def estimate(s, platform, devices):
        tried.append((s.weights_dtype, s.weights_memory))
        return with_memory(1 << 50)

    monkeypatch.setattr(train_memory, "estimate_memory", estimate)
    chip = dataclasses.replace(CHIPS["v5e"], platform="gpu" if chip == "h100" else "tpu")
    with pytest.raises(InputError, match="smallest setting takes"):
        train_memory.choose_preset(report.build_setting(SMALL, "train"), chip)
    assert list(dict.fromkeys(tried))[:4] == order


def test_the_nearest_device_that_fits_is_named(monkeypatch):
    monkeypatch.setattr(train_memory, "estimate_memory", lambda *_: with_memory(int(20 * GIB)))
    with pytest.raises(
        InputError,
        match=r"--memory 24: expected a run that fits 17.7 GiB .* takes 20.0; --memory 40 fits, or fewer frames",
    ):
        resolve_memory(SMALL, [], 1)


@pytest.mark.slow
@pytest.mark.parametrize("memory, limit", [("24", 17.5), ("v5e", 14.5), ("v5p", 95.7)])
def test_the_5b_at_480p_fits_as_predicted(memory, limit):
    """The compilers' own figures are in `tools/checks/training_memory.py`."""
    setting = report.build_setting(load_experiment("wan22_lora", [], "plan").config, "train")
    preset = train_memory.choose_preset(setting, train_memory.chip_of_memory(memory))
    assert preset.memory.total <= limit * GIB
    remat, uses_host = preset.setting.model.dit.remat, preset.memory.host > 0
    assert (remat != "full") if memory == "v5p" else uses_host == (memory == "v5e")
