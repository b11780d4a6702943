"""LoRA files between us and diffusers with PEFT, both ways; skipped without the extra [parity]."""

import re

import flax
import numpy as np
import pytest

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")
peft = pytest.importorskip("peft")

from tests.parity import ours, reference, tiny
from tests.parity.pipelines import parts
from v2v.checkpoints import lora_files, name_mapping, wan
from v2v.config import LORA_TARGETS
from v2v.models import lora
from v2v.models.transformer import DiT

SCALE = 1.5


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.write_folder(tmp_path_factory.mktemp("model"), tiny.config())


@pytest.fixture
def pipe(folder):
    return diffusers.WanPipeline(**parts(folder))


def adapter(rank=4) -> dict:
    out = {}
    for path, shape in wan.parameter_shapes("dit", tiny.config()).items():
        module = path.removesuffix("/kernel")
        if module != path and re.search(LORA_TARGETS, module):
            out[f"{module}/a"] = tiny.normal(module + "a", *shape[:-1], rank) / np.float32(shape[-2] ** 0.5)
            out[f"{module}/b"] = 0.3 * tiny.normal(module + "b", shape[0], rank, shape[-1])
    return flax.traverse_util.unflatten_dict(out, sep="/")


def our_velocity(folder, tree) -> np.ndarray:
    model, inputs = DiT(ours.config(folder).dit), tiny.dit_inputs()
    variables = {"params": ours.params(folder, "dit")} | ({"lora": tree} if tree else {})
    return np.asarray(ours.jit(model.apply)(variables, inputs["z"], inputs["tau"], inputs["text"]))


@torch.no_grad()
def their_velocity(transformer) -> np.ndarray:
    inputs = tiny.dit_inputs()
    time = torch.from_numpy(inputs["tau"] * np.float32(1000))
    out = transformer(
        reference.channels_first(inputs["z"]), time, torch.from_numpy(inputs["text"]), return_dict=False
    )
    return reference.channels_last(out[0])


@pytest.mark.parametrize("style", ["original", "diffusers"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_our_file_in_diffusers(folder, pipe, tmp_path, style, dtype):
    """Every factor arrives to the bit, at scale 1, and the output moves as ours does."""
    lora_files.save_lora(
        tmp_path / "lora.safetensors", adapter(), tiny.config(), scale=SCALE, style=style, dtype=dtype
    )
    tree = lora_files.load_lora(tmp_path / "lora.safetensors", tiny.config()).lora
    before = their_velocity(pipe.transformer)
    pipe.load_lora_weights(tmp_path, weight_name="lora.safetensors", adapter_name="edit")
    modules = dict(pipe.transformer.named_modules())
    flat = flax.traverse_util.flatten_dict(tree, sep="/")
    seen = 0
    for name, (path, layer) in name_mapping.map_linear_modules(2, "diffusers").items():
        if f"{path}/a" not in flat:
            continue
        layer_ = modules[name]
        assert layer_.scaling["edit"] == 1.0
        a, b = (w["edit"].weight.detach().float().numpy() for w in (layer_.lora_A, layer_.lora_B))
        np.testing.assert_array_equal(a.T, flat[f"{path}/a"][layer])
        np.testing.assert_array_equal(b.T, flat[f"{path}/b"][layer])
        seen += 1
    assert seen == 20
    pipe.transformer.float()  # the adapter computes in the file's dtype otherwise
    after = their_velocity(pipe.transformer)
    assert np.abs(after - before).max() > 0.1
    assert np.abs((after - before) - (our_velocity(folder, tree) - our_velocity(folder, None))).max() <= 2e-5


def test_their_file_here(folder, pipe, tmp_path):
    """A file PEFT and diffusers wrote, alpha in its header."""
    targets = ["to_q", "to_k", "to_v", "to_out.0", "net.0.proj", "net.2", "time_proj", "proj_out"]
    config = peft.LoraConfig(r=4, lora_alpha=6, target_modules=targets, init_lora_weights=False)
    pipe.transformer.add_adapter(config)
    from diffusers.training_utils import _collate_lora_metadata

    pipe.save_lora_weights(
        tmp_path, transformer_lora_layers=peft.get_peft_model_state_dict(pipe.transformer),
        **_collate_lora_metadata({"transformer": pipe.transformer}),
    )  # fmt: skip
    tree = lora_files.load_lora(tmp_path / "pytorch_lora_weights.safetensors", tiny.config()).lora
    assert "head" in tree and "time_proj" in tree
    theirs = their_velocity(pipe.transformer)
    assert np.abs(theirs - our_velocity(folder, None)).max() > 0.05
    assert np.abs(theirs - our_velocity(folder, tree)).max() <= 2e-5
    merged = {"params": lora.merge_adapter(ours.params(folder, "dit"), tree, 1.0)}
    inputs = tiny.dit_inputs()
    out = ours.jit(DiT(ours.config(folder).dit).apply)(merged, inputs["z"], inputs["tau"], inputs["text"])
    assert np.abs(theirs - out).max() <= 2e-5


def merged_velocity(folder, tree) -> np.ndarray:
    inputs = tiny.dit_inputs()
    params = {"params": lora.merge_adapter(ours.params(folder, "dit"), tree, 1.0)}
    return np.asarray(
        ours.jit(DiT(ours.config(folder).dit).apply)(params, inputs["z"], inputs["tau"], inputs["text"])
    )


def test_a_dora_is_that_of_peft_both_ways(folder, pipe, tmp_path):
    """As files of either side, merged and on the low-rank path that training takes, with their magnitudes moved."""
    config = peft.LoraConfig(
        r=4,
        lora_alpha=6,
        target_modules=["to_q", "to_v", "net.0.proj"],
        init_lora_weights=False,
        use_dora=True,
    )
    pipe.transformer.add_adapter(config)
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in pipe.transformer.named_parameters():
            if "lora_magnitude_vector" in name:
                parameter.mul_(1 + 0.2 * torch.randn_like(parameter))
    from diffusers.training_utils import _collate_lora_metadata

    pipe.save_lora_weights(
        tmp_path, transformer_lora_layers=peft.get_peft_model_state_dict(pipe.transformer),
        **_collate_lora_metadata({"transformer": pipe.transformer}),
    )  # fmt: skip
    tree = lora_files.load_lora(tmp_path / "pytorch_lora_weights.safetensors", tiny.config()).lora
    assert tree["blocks"]["self_attn"]["q"].keys() == {"a", "b", "magnitude"}
    theirs, base = their_velocity(pipe.transformer), our_velocity(folder, None)
    assert np.abs(theirs - base).max() > 0.05
    assert np.abs(theirs - merged_velocity(folder, tree)).max() <= 2e-5
    trained = lora.with_magnitude_changes(tree, ours.params(folder, "dit"))
    assert np.abs(theirs - our_velocity(folder, trained)).max() <= 2e-5
    pipe.delete_adapters("default")
    for style in ("diffusers", "original"):
        path = tmp_path / style / "lora.safetensors"
        path.parent.mkdir()
        lora_files.save_lora(path, tree, tiny.config(), style=style, dtype="float32")
        again = lora_files.load_lora(path, tiny.config()).lora
        flat, expected = (flax.traverse_util.flatten_dict(x, sep="/") for x in (again, tree))
        assert flat.keys() == expected.keys()
        for name, leaf in flat.items():
            np.testing.assert_array_equal(leaf, expected[name])
    pipe.load_lora_weights(tmp_path / "diffusers", weight_name="lora.safetensors", adapter_name="edit")
    pipe.transformer.float()
    assert np.abs(their_velocity(pipe.transformer) - theirs).max() <= 2e-5
