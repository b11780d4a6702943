"""Checkpoints: full-size name tables, folders of either layout, sharded placement. Damaged ones are in test_damage.py."""

import dataclasses
import json

import flax
import jax
import ml_dtypes
import numpy as np
import pytest

from tests.parity import tiny
from v2v.checkpoints import model_folder as folders
from v2v.checkpoints import name_mapping, safetensors_file, wan
from v2v.checkpoints.tensor_files import TensorFiles
from v2v.config import FlowConfig, embedded, wan22_ti2v_5b
from v2v.errors import InputError

CFG = tiny.config()


@pytest.mark.parametrize(
    "part, size, count",
    [("dit", 4_999_787_712, 825), ("vae", 704_688_668, 196), ("text", 5_680_910_336, 243)],
)
def test_full_size(part, size, count):
    """Sizes as published; both name tables are one to one and cover every parameter."""
    cfg = wan22_ti2v_5b()
    shapes = wan.parameter_shapes(part, cfg)
    assert sum(int(np.prod(s)) for s in shapes.values()) == size
    tables = {layout: name_mapping.map_tensors(part, shapes, cfg, layout) for layout in name_mapping.LAYOUTS}
    for entries in tables.values():
        assert (
            len({e.name for e in entries}) == len(entries) == count - (part == "text")
        )  # the tied embedding has two names
        assert {(e.path, e.layer) for e in entries} == {
            (p, i) for p, s in shapes.items() for i in (range(s[0]) if p.startswith("blocks/") else [None])
        }
        assert sum(int(np.prod(e.shape)) for e in entries) == size
    assert [e.shape for e in tables["diffusers"]] == [e.shape for e in tables["original"]]


def test_published_names_and_shapes():
    """A few of every kind, as the reference lists them."""
    cfg = wan22_ti2v_5b()
    both = {
        part: {d.name: (o.name, d.shape) for d, o in zip(*(name_mapping.map_tensors(part, wan.parameter_shapes(part, cfg), cfg, x) for x in name_mapping.LAYOUTS), strict=True)}
        for part in name_mapping.PARTS
    }  # fmt: skip
    assert both["dit"]["patch_embedding.weight"] == ("patch_embedding.weight", (3072, 48, 1, 2, 2))
    assert both["dit"]["scale_shift_table"] == ("head.modulation", (1, 2, 3072))
    assert both["dit"]["blocks.29.norm2.weight"] == ("blocks.29.norm3.weight", (3072,))
    assert both["dit"]["blocks.7.ffn.net.0.proj.weight"] == ("blocks.7.ffn.0.weight", (14336, 3072))
    assert both["dit"]["condition_embedder.time_proj.weight"] == ("time_projection.1.weight", (18432, 3072))
    vae = both["vae"]
    assert vae["encoder.down_blocks.1.downsampler.time_conv.weight"] == (
        "encoder.downsamples.1.downsamples.2.time_conv.weight", (320, 320, 3, 1, 1),
    )  # fmt: skip
    assert vae["decoder.up_blocks.0.upsampler.time_conv.weight"] == (
        "decoder.upsamples.0.upsamples.3.time_conv.weight", (2048, 1024, 3, 1, 1),
    )  # fmt: skip
    assert vae["decoder.mid_block.attentions.0.norm.gamma"] == ("decoder.middle.1.norm.gamma", (1024, 1, 1))
    assert vae["encoder.down_blocks.2.resnets.0.conv_shortcut.bias"] == (
        "encoder.downsamples.2.downsamples.0.shortcut.bias",
        (640,),
    )
    assert vae["quant_conv.weight"] == ("conv1.weight", (96, 96, 1, 1, 1))
    assert both["text"]["encoder.block.23.layer.1.DenseReluDense.wi_0.weight"] == (
        "blocks.23.ffn.gate.0.weight",
        (10240, 4096),
    )


def test_folder_tells_the_configuration(folder):
    model_folder = folders.read_model_folder(folder)
    expected = dataclasses.replace(
        CFG, frames=81, height=480, width=832, largest=(121, 704, 1280), dit=dataclasses.replace(CFG.dit, dtype="bfloat16"),
        text=dataclasses.replace(CFG.text, dtype="bfloat16"), batch=1, flow=FlowConfig(solver="unipc", schedule="wan"),
    )  # fmt: skip
    assert model_folder.config == expected
    assert model_folder.missing == ["tokenizer (tokenizer/tokenizer.json)"]
    with pytest.raises(InputError, match="missing tokenizer"):
        model_folder.require()


@pytest.mark.parametrize(
    "scheduler, expected",
    [
        (
            {
                "_class_name": "UniPCMultistepScheduler",
                "_diffusers_version": "0.36.0.dev0",
                "flow_shift": 3.0,
            },
            ("unipc", "wan", 3),
        ),
        (
            {"_class_name": "UniPCMultistepScheduler", "_diffusers_version": "0.37.0", "flow_shift": 5.0},
            ("unipc", "diffusers", 5),
        ),
        (
            {"_class_name": "UniPCMultistepScheduler", "_diffusers_version": "1.0.0"},
            ("unipc", "diffusers", 5),
        ),
        ({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 4.0}, ("euler", "euler", 4)),
        (
            {"_class_name": "FlowMatchEulerDiscreteScheduler", "stochastic_sampling": True},
            ("renoise", "euler", 5),
        ),
        ({"_class_name": "FlowMatchLCMScheduler", "shift": 3.0}, ("renoise", "euler", 3)),
        ({"_class_name": "FlowMatchHeunDiscreteScheduler", "shift": 3.0}, ("heun", "euler", 3)),
    ],
)
def test_folder_tells_how_it_is_sampled(copy, scheduler, expected):
    """Which of the two tables called UniPC was meant shows in the version that wrote the folder."""
    (copy / "scheduler").mkdir()
    (copy / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    flow = folders.read_model_folder(copy).config.flow
    assert (flow.solver, flow.schedule, flow.shift) == expected


@pytest.mark.parametrize("part", name_mapping.PARTS)
@pytest.mark.parametrize("layout", name_mapping.LAYOUTS)
def test_load_and_back(tmp_path, part, layout):
    """Published tensors → our tree → the same tensors; with the prefix single files carry, and the tied name instead."""
    tensors = tiny.tensors(part, CFG, layout)
    prefixed = {("model.diffusion_model." if part == "dit" else "") + n: t for n, t in tensors.items()}
    if "shared.weight" in prefixed:
        prefixed["encoder.embed_tokens.weight"] = prefixed.pop("shared.weight")
    path = tmp_path / "model.safetensors"
    safetensors_file.write_safetensors(path, prefixed)
    tree = wan.load_part(part, path, CFG)
    back = wan.published_tensors(part, tree, CFG, layout)
    assert set(back) == set(tensors)
    for name in tensors:
        np.testing.assert_array_equal(back[name], tensors[name], err_msg=name)
    wan.save_part(part, path, tree, CFG, layout)
    assert set(TensorFiles.open(path).slots) == set(tensors)


def test_original_names_side_by_side(tmp_path):
    """Lone files are told apart by what they hold, and their sizes by shapes."""
    for part in name_mapping.PARTS:
        safetensors_file.write_safetensors(
            tmp_path / f"{part}.safetensors", tiny.tensors(part, CFG, "original")
        )
    (tmp_path / "config.json").write_text(
        json.dumps({"_class_name": "WanModel", "num_heads": 3, "eps": 1e-6})
    )
    model_folder = folders.read_model_folder(tmp_path)
    assert dataclasses.replace(model_folder.config.dit, dtype="float32") == CFG.dit
    assert dataclasses.replace(model_folder.config.vae, mean=CFG.vae.mean, std=CFG.vae.std) == CFG.vae
    assert dataclasses.replace(model_folder.config.text, dtype="float32") == CFG.text
    for part in name_mapping.PARTS:
        wan.load_part(part, model_folder.parts[part], model_folder.config)


def test_bfloat16_keeps_what_the_original_computes_in_float32(folder):
    flat = flax.traverse_util.flatten_dict(
        wan.load_part("dit", folder / "transformer", CFG, dtype=jax.numpy.bfloat16), sep="/"
    )
    float32_paths = {p for p, x in flat.items() if x.dtype == np.float32}
    assert {p.split("/")[0] for p in float32_paths} == {"time_in", "time_out", "time_proj", "head", "blocks"}
    assert all("norm" in p or "modulation" in p for p in float32_paths if p.startswith("blocks/"))
    name = "blocks.1.ffn.net.2.weight"
    expected = tiny.tensors("dit", CFG)[name].astype(ml_dtypes.bfloat16)
    np.testing.assert_array_equal(flat["blocks/ffn/down/kernel"][1], expected.T)


def test_placed_straight_into_shards(folder):
    devices = np.array(jax.devices()[:1])
    mesh = jax.sharding.Mesh(devices, ("fsdp",))
    spec = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(None, "fsdp"))
    tree = wan.load_part(
        "dit", folder / "transformer", CFG, place=lambda path: spec if path.endswith("up/kernel") else None
    )
    assert tree["blocks"]["ffn"]["up"]["kernel"].sharding == spec
    plain = wan.load_part("dit", folder / "transformer", CFG)
    jax.tree.map(np.testing.assert_array_equal, tree, plain)


def test_our_own_model_saves_and_loads_in_the_published_layout(tmp_path):
    """The embedded configuration goes through the same tables."""
    cfg = embedded()
    for part in name_mapping.PARTS:
        flat = {p: tiny.normal(p, *shape) for p, shape in wan.parameter_shapes(part, cfg).items()}
        tree = flax.traverse_util.unflatten_dict(flat, sep="/")
        wan.save_part(part, tmp_path / "m.safetensors", tree, cfg)
        jax.tree.map(
            np.testing.assert_array_equal, wan.load_part(part, tmp_path / "m.safetensors", cfg), tree
        )
