"""Topologies, settings, the search and the command; compiling for a TPU where libtpu is installed."""

import dataclasses
import importlib.util
import json
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from v2v.cli import main
from v2v.cli.plan import format_plan
from v2v.config import LogConfig, MeshConfig, debug, wan22_ti2v_5b
from v2v.errors import InputError
from v2v.planning import chips, compile, programs, report, search, traffic, train_memory
from v2v.planning.compile import GIB, ProgramCost
from v2v.planning.programs import PlanSetting, Program
from v2v.runtime import sharding
from v2v.train.config import Experiment, Stage

needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed"
)
CHIP = chips.CHIPS["v5e"]


def setting(**changes):
    return dataclasses.replace(PlanSetting(debug(), mesh=MeshConfig(data=-1), batch=16), **changes)


@pytest.mark.parametrize("name", ["v100:8", "v5e", "v5e:8", "v5e:eight", "v6e:2x4x", "h100:2x4", "0xv5e:2x4"])
def test_an_unknown_topology_is_refused(name):
    with pytest.raises(InputError, match="expected a topology such as"):
        chips.resolve_topology(name)


def test_missing_libtpu_is_named_with_its_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"v2v-edit\[plan\]"):
        chips.resolve_topology("v5e:2x4")


@needs_libtpu
def test_topologies_have_the_chips_their_name_says():
    counts = {"v5e:2x4": 8, "v4:2x2x1": 4, "v5e:1x1": 1, "v6e:1x1": 1}
    assert {name: len(chips.resolve_topology(name)[1]) for name in counts} == counts
    with pytest.raises(InputError, match="knows no topology"):
        chips.resolve_topology("v6e:3x5")


@needs_libtpu
def test_slices_are_joined_along_data_or_fsdp():
    devices = chips.resolve_topology("2xv5e:2x4")[1]
    for axes in ({"data": 2, "seq": 8}, {"data": 0, "fsdp": -1}, {"data": 1, "fsdp": 4, "seq": 4}):
        grid = sharding.make_mesh(**axes, devices=devices).devices
        assert [{device.slice_index for device in row} for row in grid.reshape(2, -1)] == [{0}, {1}]
    with pytest.raises(InputError, match="multiple of the 2 slices"):
        sharding.make_mesh(data=1, seq=16, devices=devices)


@needs_libtpu
@pytest.mark.slow
def test_gradients_of_micro_batches_cross_between_slices_once_in_an_update():
    """No loop of the compiled step sends between slices, neither that over micro-batches nor that over blocks."""
    cfg = dataclasses.replace(debug(), dit=dataclasses.replace(debug().dit, remat="full", backend="plain"))
    devices = chips.resolve_topology("2xv5e:2x2")[1]
    setting = programs.PlanSetting(cfg, mesh=MeshConfig(0, -1, 1, 1), batch=16, micro=2)
    program = programs.build_program(setting, devices)
    with jax.set_mesh(program.mesh):
        hlo = program.jitted.lower(*program.args).compile().as_text()
    crossings, loops = traffic.find_crossings(hlo, 4), traffic.find_loop_computations(hlo)
    assert crossings and loops and not [name for name, _ in crossings if name in loops]


def test_the_parts_of_a_topologys_name():
    several = chips.parse_topology("2xv5e:2x4")
    assert (several.chip.name, several.chips, several.slices) == ("v5e", 16, 2)
    cards = chips.parse_topology("h100:8")
    assert (cards.chip.platform, cards.chips) == ("gpu", 8) and 59 < cards.chip.hbm / 2**30 < 60


@needs_libtpu
def test_a_mesh_may_split_the_axes_of_the_torus():
    mesh = sharding.make_mesh(data=1, fsdp=8, seq=8, devices=chips.resolve_topology("v5p:4x4x4")[1])
    assert dict(mesh.shape) == {"data": 1, "fsdp": 8, "seq": 8, "tensor": 1}
    assert len({device.id for device in mesh.devices.flat}) == 64


def test_a_mesh_that_does_not_match_is_refused_before_compiling():
    with pytest.raises(InputError, match="multiply to 8 devices"):
        search.search_settings(setting(mesh=MeshConfig(fsdp=3)), CHIP, jax.devices())


def test_what_is_compiled_is_the_train_step_with_its_shardings():
    program = programs.build_program(setting(mesh=MeshConfig(data=2, fsdp=4), model=debug()), jax.devices())
    state, batch, frozen = program.args
    assert batch["target"].sharding.spec == PartitionSpec(("data", "fsdp"))
    assert frozen["dit"]["blocks"]["ffn"]["up"]["kernel"].sharding.spec == PartitionSpec(
        None, "fsdp", "tensor"
    )
    one = programs.build_program(setting(mesh=MeshConfig(data=8)), jax.devices())
    assert compile.argument_bytes(program) < 0.5 * compile.argument_bytes(one)
    with jax.set_mesh(program.mesh):
        out = jax.eval_shape(program.jitted, *program.args)
    assert jax.tree.map(jnp.shape, out[0]) == jax.tree.map(jnp.shape, state) and "loss" in out[1]


def test_the_sampler_is_planned_for_one_clip_on_many_chips():
    program = programs.build_program(
        setting(program="sample", batch=1, mesh=MeshConfig(fsdp=8, data=1)), jax.devices()
    )
    with jax.set_mesh(program.mesh):
        out = jax.eval_shape(program.jitted, *program.args)
    assert out.shape == program.args[1].shape


def test_a_samplers_plan_compares_what_a_step_costs():
    """The figures of issue 6 for the published backbone: T2V, all tokens, and conditions computed once."""
    cost = report.compare_passes(wan22_ti2v_5b(), CHIP, 0.4)
    times = {name: row.tflop / cost["t2v"].tflop for name, row in cost.items()}
    assert times["cached"] == pytest.approx(1.26, rel=0.05) and times["full"] == pytest.approx(2.5, rel=0.05)
    assert cost["t2v"].seconds == pytest.approx(cost["t2v"].tflop / (0.4 * 197), rel=0.01)
    row = report.describe_trial(
        search.Trial("as asked", setting(program="sample"), ProgramCost(0, 0, 0, True, 1e12, {})),
        CHIP,
        0.4,
        8,
    )
    plan = report.Plan("a", "sample", "v5e:2x4", 8, "b", 1, 16, row, (), cost)
    lines = format_plan(plan).splitlines()
    assert sum("x t2v" in line for line in lines) == len(cost) and any("cached" in line for line in lines)


def test_candidates_get_thriftier_one_step_at_a_time():
    candidates = [
        (change, s.model.dit.remat, s.micro, s.mesh) for change, s in search.iterate_candidates(setting(), 4)
    ]
    assert [f[0] for f in candidates][:2] == ["as asked", "remat dots"]
    assert [f[1] for f in candidates[:4]] == list(search.REMAT_POLICIES)
    assert [f[2] for f in candidates if f[0].startswith("micro")] == [2, 4]
    assert candidates[-2][0] == "weights over 4 chips" and candidates[-1][3] == MeshConfig(1, 2, 2, 1)
    for _, s in search.iterate_candidates(setting(), 4):
        sharding.batch_sharding(
            sharding.make_mesh(**dataclasses.asdict(s.mesh), devices=jax.devices()[:4]), s.batch // s.micro
        )


def test_the_search_stops_at_the_first_that_fits_and_says_what_it_tried(monkeypatch):
    def cost(s, chip, devices):
        gib = {"none": 40, "dots": 30, "outputs": 20}.get(s.model.dit.remat, 10)
        return ProgramCost(
            2 * GIB, None if gib > 16 else 8 * GIB, gib * GIB, gib < 16, 4e14, {"all-gather": 2e9}
        )

    monkeypatch.setattr(search, "_measure_cost", cost)
    trials = search.search_settings(setting(), CHIP, jax.devices())
    assert [t.change for t in trials] == ["as asked", "remat dots", "remat outputs", "remat full"]
    assert trials[-1].cost.fits and not trials[-2].cost.fits
    row = report.describe_trial(trials[-1], CHIP, 0.5, 8)
    assert row.seconds == pytest.approx(4e14 / (0.5 * 197e12), rel=0.01)
    single_trial = search.search_settings(setting(), CHIP, jax.devices(), search=False)
    assert len(single_trial) == 1 and not single_trial[0].cost.fits


def test_memory_that_is_left_over_is_used(monkeypatch):
    """Of what fits by its shapes the fastest is compiled, and taken if the compiler agrees."""
    fits = {"none": False, "dots": False, "outputs": True, "full": True}
    predicted = {"none": 40, "dots": 12, "outputs": 10}
    tried = []

    def cost(s, chip, devices):
        tried.append(s.model.dit.remat)
        return ProgramCost(GIB, GIB, 2 * GIB, fits[tried[-1]], 4e14)

    def estimate(s, platform, devices):
        return train_memory.StepMemory(int(predicted.get(s.model.dit.remat, 1) * GIB), 0, 0, 0, 0, 0)

    monkeypatch.setattr(search, "_measure_cost", cost)
    monkeypatch.setattr(search, "estimate_memory", estimate)
    asked = setting()
    asked = dataclasses.replace(
        asked, model=dataclasses.replace(asked.model, dit=dataclasses.replace(asked.model.dit, remat="full"))
    )
    trials = search.search_settings(asked, CHIP, jax.devices())
    assert tried == ["dots", "outputs"]  # "none" is predicted not to fit; as asked is not compiled
    assert [(t.setting.model.dit.remat, t.cost.fits) for t in trials] == [("dots", False), ("outputs", True)]
    tried.clear()
    fits["outputs"] = False
    trials = search.search_settings(asked, CHIP, jax.devices())
    assert tried == ["dots", "outputs", "full"] and trials[-1].change == "as asked" and trials[-1].cost.fits
    predicted["outputs"] = (
        15.5  # of 15.75: predictions are a little too small, so that it isn't worth compiling
    )
    tried.clear()
    search.search_settings(asked, CHIP, jax.devices())
    assert tried == ["dots", "full"]
    assert len(search.search_settings(asked, CHIP, jax.devices(), search=False)) == 1


def test_a_long_compilation_is_reported():
    lines, report = [], threading.Event()

    def progress(line):
        lines.append(line)
        report.set()

    with search._reports(progress, "as asked", interval=0.001):
        assert report.wait(30)
    count = len(lines)
    assert lines[0].startswith("as asked: compiling for 0 s")
    time.sleep(0.01)
    assert len(lines) == count  # nothing afterwards


def test_the_compilers_refusal_is_read():
    message = "RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 20.50G of 15.75G hbm."
    assert compile.parse_out_of_memory(message, GIB) == 20.5 * GIB
    message = "the total memory required for HLO temporaries (40.00G) exceeds available HBM (15.75G)"
    assert compile.parse_out_of_memory(message, GIB) == 41 * GIB
    assert compile.parse_out_of_memory("INTERNAL: something else", GIB) is None


@needs_libtpu
def test_memory_of_a_program_compiled_for_chips_that_are_not_here():
    chip, devices = chips.resolve_topology("v5e:2x2")
    mesh = sharding.make_mesh(1, 4, 1, 1, devices=devices)
    rows = NamedSharding(mesh, PartitionSpec("fsdp"))

    def program(n, layers=12):
        x = jax.ShapeDtypeStruct((4 * n, n), jnp.bfloat16, sharding=rows)
        ws = jax.ShapeDtypeStruct(
            (layers, n, n), jnp.bfloat16, sharding=NamedSharding(mesh, PartitionSpec(None, "fsdp"))
        )

        def chain(x, ws):
            return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, ws)[0]

        return Program(jax.jit(chain, out_shardings=rows), (x, ws), mesh)

    cost = compile.compile_program(program(1024), chip.hbm)
    assert cost.fits and cost.arguments == (4 + 12) * 1024 * 1024 * 2 // 4
    assert cost.flops == 12 * 2 * 4 * 1024**3 / 4
    assert cost.sent_bytes == {
        "all-gather": pytest.approx(12 * 1024 * 1024 * 2 * 3 / 4)
    }  # each layer's weights, once
    large = compile.compile_program(program(65536, 2), chip.hbm)
    assert not large.fits and large.peak > chip.hbm


def test_what_a_run_holds_beside_its_step_is_part_of_the_plan(monkeypatch):
    """Batches of steps begun ahead, and held-out ones."""
    experiment = Experiment(model=debug(), edit=Stage(batch=8))
    held_out = dataclasses.replace(experiment, log=LogConfig(held_out_every=5))
    plain, more = (report.build_setting(cfg, "train") for cfg in (experiment, held_out))
    assert (plain.held_batches, more.held_batches) == (2, 12)
    program = programs.build_program(dataclasses.replace(plain, mesh=MeshConfig(data=8)), jax.devices())
    batch = sum(
        x.nbytes for x in jax.tree.leaves(jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), program.args[1]))
    )
    assert search.held_bytes(program, 2) == 2 * batch / 8 and search.held_bytes(program, 0) == 0
    row = report.describe_trial(
        search.Trial("as asked", plain, ProgramCost(0, 0, 3 * GIB, True, 0.0, held_bytes=GIB)), CHIP, 0.4, 8
    )
    assert row.held_gib == 1


def test_the_command_refuses_in_one_line(tmp_path, capsys):
    assert main.main(["plan", str(tmp_path / "none.py"), "--topology", "v5e:2x4"]) == 2
    assert main.main(["plan", "experiments/debug.py", "--topology", "cloud:9"]) == 2
    assert main.main(["plan", "experiments/debug.py", "--topology", "v5e:2x4", "--utilisation", "40"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3 and "no such experiment" in lines[0] and "expected a topology" in lines[1]
    assert "expected 0 to 1" in lines[2]


def test_the_command_prints_a_table_or_json(monkeypatch, capsys):
    monkeypatch.setattr(chips, "resolve_topology", lambda name: (CHIP, jax.devices()))
    monkeypatch.setattr(search, "_measure_cost", lambda *_: ProgramCost(GIB, GIB, 2 * GIB, True, 1e12))
    line = ["plan", "experiments/debug.py", "--topology", "v5e:2x4", "--edit.batch", "8"]
    assert main.main([*line, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["fits"] and document["batch"] == 8 and document["chips"] == 8 and document["tflop"] == 1
    assert main.main(line) == 0
    output = capsys.readouterr().out
    assert "peak 2 of 15.8 GiB  fits" in output and "1 TFLOP a step" in output and "hours" in output
