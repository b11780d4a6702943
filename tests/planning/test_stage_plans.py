"""Plans of what surrounds training: the encoding of latents, and previews beside what a run holds."""

import dataclasses
import json

import jax
import pytest

from v2v.checkpoints import parameter_store
from v2v.cli import main
from v2v.config import LogConfig, debug, wan22_ti2v_5b
from v2v.planning import chips, compile, encode_plan, preview_plan, train_memory
from v2v.planning.compile import GIB, ProgramCost
from v2v.planning.report import build_setting
from v2v.train.config import Experiment, Stage
from v2v.train.encode_dataset import encoder_weights

CHIP = chips.CHIPS["v5e"]


def tree_bytes(tree):
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))


def test_each_device_encodes_a_clip_with_the_encoders_weights_alone():
    config = debug()
    program = encode_plan.build_clips_program(config, jax.devices())
    vae = parameter_store.abstract_parameters("vae", config)
    weights, clip = tree_bytes(encoder_weights(vae)), 3 * config.frames * config.height * config.width
    assert compile.argument_bytes(program) == weights + clip and weights < tree_bytes(vae)
    text = encode_plan.build_text_program(config, jax.devices()[:1])
    inputs = 4 * (config.text.text_len + 1)
    assert (
        compile.argument_bytes(text)
        == tree_bytes(parameter_store.abstract_parameters("text", config)) + inputs
    )


def test_time_and_size_of_latents_follow_from_the_programs(monkeypatch):
    monkeypatch.setattr(chips, "resolve_topology", lambda name: (CHIP, jax.devices()))
    costs = iter(
        [ProgramCost(GIB, GIB, 3 * GIB, True, 1e12), ProgramCost(GIB, 9 * GIB, 20 * GIB, False, 2e12)]
    )
    monkeypatch.setattr(encode_plan, "compile_program", lambda *_: next(costs))
    plan = encode_plan.plan_encoding(wan22_ti2v_5b(), "v5e:2x4", "mine", utilisation=0.5)
    assert plan.phases["text"].seconds == pytest.approx(1e12 / (0.5 * CHIP.flops), rel=1e-3)
    clip = 2e12 / (0.25 * CHIP.flops)
    assert plan.hours == pytest.approx([n * 1000 * clip / 8 / 3600 for n in (2, 3)], rel=1e-3)
    t, y, x, c = wan22_ti2v_5b().vae.latent_shape(81, 480, 832)
    assert plan.gigabytes[0] == pytest.approx(2 * 2 * t * y * x * c * 1000 / 1e9, rel=1e-3)
    assert not plan.fits and "TOO MUCH" in plan.describe() and "DOES NOT FIT" in plan.describe()


@pytest.mark.slow
def test_the_command_compiles_what_encoding_runs(monkeypatch, capsys):
    monkeypatch.setattr(chips, "resolve_topology", lambda name: (CHIP, jax.devices()))
    assert main.main(["plan", "debug", "--topology", "v5e:2x4", "--what", "encode", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["fits"] and document["chips"] == 8 and set(document["phases"]) == {"text", "clips"}
    program = encode_plan.build_clips_program(debug(), jax.devices())
    assert document["phases"]["clips"]["peak_gib"] * GIB > compile.argument_bytes(program)


def test_a_preview_is_planned_for_what_training_leaves():
    experiment = Experiment(model=debug(), edit=Stage(batch=8), log=LogConfig(preview_steps=7))
    plan = preview_plan.plan_preview(experiment, "v5p:2x2x1")
    memory = train_memory.estimate_memory(build_setting(experiment, "train"), "tpu", 4)
    assert plan.held_bytes == memory.weights + memory.state + 2 * memory.batch > 0
    assert plan.edit.memory.device_bytes == int(chips.CHIPS["v5p"].hbm) - plan.held_bytes
    assert plan.edit.steps == 7 and plan.edit.devices == 1 and plan.peak_bytes > plan.held_bytes
    assert plan.to_json()["what"] == "preview"


@pytest.mark.slow
def test_a_preview_on_a_small_card_takes_turns_where_a_large_one_keeps_the_model():
    experiment = Experiment(model=wan22_ti2v_5b(), edit=Stage(batch=1))
    large = preview_plan.plan_preview(experiment, "v5p:2x2x1")
    small = preview_plan.plan_preview(dataclasses.replace(experiment, weights_dtype="int8"), "rtx4090:1")
    assert small.edit.memory.makes_room and not large.edit.memory.makes_room
