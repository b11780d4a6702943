"""Plans of whole edits: counts of the phases, layouts, and what is said."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import pytest

from v2v.checkpoints import known_models
from v2v.cli import main, plan
from v2v.config import MeshConfig, debug, wan22_a14b, wan22_ti2v_5b
from v2v.errors import InputError
from v2v.models.conditioning import default_conditions
from v2v.pipeline.memory_plan import ClipShape
from v2v.planning import edit_plan
from v2v.planning.passes import count_pass_flops
from v2v.runtime import flops


def test_phases_are_counted_and_add_up():
    config = debug()
    plan = edit_plan.plan_edit(config, "h100:1", "debug")
    assert list(plan.phases) == ["text", "encode", "sample", "decode"] and plan.memory.fits
    passes = plan.steps * plan.branches
    expected = passes * count_pass_flops(config, reference=True)["full"]
    assert plan.phases["sample"].tflop * 1e12 == pytest.approx(expected, rel=0.01)
    for cost in plan.phases.values():
        assert cost.tflop > 0 and cost.gb > 0 and cost.seconds >= cost.seconds_compute
    assert plan.seconds == pytest.approx(sum(cost.seconds for cost in plan.phases.values()))
    assert plan.phases["sample"].seconds_links == 0
    with pytest.raises(InputError, match="multiply to 1 devices"):
        edit_plan.plan_edit(config, "h100:1", "debug", MeshConfig(data=1, seq=2))
    assert "not measured" in plan.describe() and json.dumps(plan.to_json())
    # Devices that split a clip's tokens share its passes, and each reads the sentence.
    two = edit_plan.plan_edit(config, "h100:2", "debug", MeshConfig(data=1, seq=2))
    assert two.phases["text"].tflop == plan.phases["text"].tflop
    assert two.phases["sample"].tflop == plan.phases["sample"].tflop / 2


@pytest.mark.slow
def test_two_transformers_share_the_steps():
    """26 of Wan2.2-A14B's 40 steps are the high-noise transformer's; each is in the memory of its own phase."""
    assert edit_plan.count_passes(wan22_a14b()) == {"sample": 52, "sample_low": 28}
    config = dataclasses.replace(debug(), flow=dataclasses.replace(wan22_a14b().flow, steps=10))
    plan = edit_plan.plan_edit(config, "h100:1", "pair")
    assert list(plan.phases) == ["text", "encode", "sample", "sample_low", "decode"]
    passes = edit_plan.count_passes(config)
    share = passes["sample"] / passes["sample_low"]
    assert plan.phases["sample"].tflop == pytest.approx(share * plan.phases["sample_low"].tflop)


def test_products_are_counted_once_with_operands_and_results():
    def run(x, w):
        y = jax.lax.scan(lambda c, _: (c @ w, None), x, None, length=3)[0]
        return jnp.einsum("bij,bjk->bik", y[None], y.T[None])  # of attention's kind

    jaxpr = jax.make_jaxpr(run)(jnp.ones((4, 8)), jnp.ones((8, 8)))
    assert flops.count_product_bytes(jaxpr) == 3 * 4 * (4 * 8 + 8 * 8 + 4 * 8)
    assert flops.count_flops(jaxpr) == 3 * 2 * 4 * 8 * 8 + 2 * 4 * 8 * 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("topology", "weights_dtype", "size", "mesh", "seconds"),
    [
        ("v5e:1x1", None, {}, {}, (300, 450)),
        ("v5e:2x4", None, {}, {"data": 2, "seq": 4}, (35, 60)),
        ("h100:8", None, {}, {"data": 2, "seq": 4}, (7, 14)),
        ("rtx4090:1", "int8", {"frames": 121, "height": 704, "width": 1280}, {}, (1000, 4000)),
    ],
)
def test_the_5b_on_devices_people_have(topology, weights_dtype, size, mesh, seconds):
    config = dataclasses.replace(wan22_ti2v_5b(), **size)
    plan = edit_plan.plan_edit(config, topology, "5b", weights_dtype=weights_dtype)
    assert plan.memory.fits
    assert {axis: n for axis, n in plan.mesh.items() if n > 1} == mesh
    assert seconds[0] < plan.seconds < seconds[1]


def test_known_models_are_planned_as_published_but_for_what_is_set():
    """Without a network: an edit is that of the release, a training step has the experiment's clips."""
    own = wan22_ti2v_5b()
    given = dataclasses.replace(own, frames=49, flow=dataclasses.replace(own.flow, steps=7))
    model = plan._plan_model("bytedance/bernini-r-1.3b-diffusers", own, given, "edit")
    assert (model.frames, model.width, model.flow.steps, model.dit.width) == (49, 848, 7, 1536)
    assert (model.flow.guidance_source, model.condition.layout) == (1.25, "segments")
    trained = plan._plan_model("ByteDance/Bernini-R-1.3B-Diffusers", own, given, "train")
    assert (trained.frames, trained.width, trained.dit.width) == (49, own.width, 1536)
    assert trained.condition.layout == "segments"
    # The release that edits by references always has one.
    kinds = {kind: known_models.CONFIGURATIONS[f"linyq/kiwi-edit-5b-{kind}-diffusers"]() for kind in ("instruct-only", "reference-only")}  # fmt: skip
    tokens = {kind: ClipShape.of(config, default_conditions(config)).tokens for kind, config in kinds.items()}
    assert tokens == {"instruct-only": 18_480, "reference-only": 18_480 + 880}
    # Each has its release's sampling, as FastWan its three steps.
    fastwan = known_models.find_configuration("FastVideo/FastWan2.2-TI2V-5B-FullAttn-Diffusers")
    assert fastwan is not None and edit_plan.count_passes(fastwan) == {"sample": 3}


def test_a_published_model_in_an_experiments_place(tmp_path):
    names = ("Wan-AI/Wan2.2-TI2V-5B-Diffusers", "org/name@main", str(tmp_path))
    others = (
        "wan22_ti2v_5b",
        "wan22_ti2v_5b:14b",
        "experiments/mine.py",
        "mine.py",
        "./none",
        "org/name/more",
    )
    assert all(map(plan._is_model, names)) and not any(map(plan._is_model, others))


def test_the_command(capsys):
    assert main.main(["plan", "debug", "--what", "edit", "--topology", "2xrtx4090:1", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert plan["what"] == "edit" and plan["chips"] == 2 and plan["fits"]
    assert main.main(["plan", "debug", "--topology", "v5e:2x4", "--weights-dtype", "int8", "--trains", "full"]) == 2  # fmt: skip
    assert "is for a frozen base" in capsys.readouterr().err
