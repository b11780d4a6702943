"""Every convention of LoRA files reads as the same adapter, what we write reads back, and nothing applies by half."""

import dataclasses
import json

import flax
import jax
import ml_dtypes
import numpy as np
import pytest

from tests.parity import tiny
from v2v.checkpoints import adapters, lora_files, name_mapping, native, safetensors_file, wan
from v2v.checkpoints.tensor_files import TensorFiles
from v2v.config import LORA_TARGETS
from v2v.errors import InputError

CFG = tiny.config()
RANK, ALPHA = 4, 6.0
FACTOR = np.float32(ALPHA / RANK)


def adapter(rank: int = RANK) -> dict:
    """Random a and b for every target."""
    import re

    out = {}
    for path, shape in wan.parameter_shapes("dit", CFG).items():
        module = path.removesuffix("/kernel")
        if module != path and re.search(LORA_TARGETS, module):
            out[f"{module}/a"] = tiny.normal(module + "a", *shape[:-1], rank)
            out[f"{module}/b"] = tiny.normal(module + "b", shape[0], rank, shape[-1])
    return out


def published(layout: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Module name in a layout → (A [r, i], B [o, r])."""
    flat, out = adapter(), {}
    for name, (path, layer) in name_mapping.map_linear_modules(CFG.dit.layers, layout).items():
        if f"{path}/a" in flat:
            out[name] = flat[f"{path}/a"][layer].T, flat[f"{path}/b"][layer].T
    return out


def write(path, layout, spell, *, alpha="", metadata=None, down="lora_A", up="lora_B"):
    tensors = {}
    for name, (a, b) in published(layout).items():
        tensors[f"{spell(name)}.{down}.weight"], tensors[f"{spell(name)}.{up}.weight"] = a, b
        if alpha:
            tensors[f"{spell(name)}.{alpha}"] = np.float32(ALPHA)
    safetensors_file.write_safetensors(
        path, {k: np.ascontiguousarray(v) for k, v in tensors.items()}, metadata
    )
    return path


HEADER = {"lora_adapter_metadata": json.dumps({"transformer.r": RANK, "transformer.lora_alpha": ALPHA})}
KOHYA = {"down": "lora_down", "up": "lora_up"}
CONVENTIONS = {
    "diffusers": ("diffusers", "transformer.{}".format, {}),
    "diffusers, alpha in the header": ("diffusers", "transformer.{}".format, {"metadata": HEADER}),
    "peft, raw": ("diffusers", "base_model.model.{}".format, {}),
    "comfyui": ("original", "diffusion_model.{}".format, {"alpha": "alpha"}),
    "comfyui, down and up": ("original", "diffusion_model.{}".format, {"alpha": "alpha", **KOHYA}),
    "ai-toolkit, diffusion-pipe": ("original", "diffusion_model.{}".format, {}),
    "musubi, kohya": ("original", lambda n: "lora_unet_" + n.replace(".", "_"), {"alpha": "alpha", **KOHYA}),
    "videox-fun": ("original", lambda n: "lora_unet__" + n.replace(".", "_"), {"alpha": "alpha", **KOHYA}),
    "diffsynth": ("original", str, {"down": "lora_A.default", "up": "lora_B.default"}),
    "diffsynth, pipe": ("original", "pipe.dit.{}".format, {"down": "lora_A.default", "up": "lora_B.default"}),
    "full checkpoint prefix": ("original", "model.diffusion_model.{}".format, {}),
    "kiwi": ("original", "dit.{}".format, {}),
    "diffusers, old": ("diffusers", "lora_transformer_{}".format, {"down": "lora.down", "up": "lora.up"}),
    "fastvideo": ("original", str, {"alpha": "lora_alpha"}),
}


@pytest.mark.parametrize("name", CONVENTIONS)
def test_reads_every_convention(tmp_path, name):
    layout, spell, options = CONVENTIONS[name]
    path = write(tmp_path / "lora.safetensors", layout, spell, **options)
    loaded_tree = lora_files.load_lora(path, CFG).lora
    factor = FACTOR if "alpha" in options or "metadata" in options else np.float32(1)
    expected = {k: v * factor if k.endswith("/b") else v for k, v in adapter().items()}
    same(loaded_tree, expected)


def test_peft_keeps_alpha_beside_the_file(tmp_path):
    path = write(tmp_path / "adapter_model.safetensors", "diffusers", "base_model.model.{}".format)
    config = {"r": RANK, "lora_alpha": 1.0, "alpha_pattern": {"attn1.to_q": ALPHA, "blocks.1.ffn.net.2": 2.0}}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    loaded_tree = flax.traverse_util.flatten_dict(lora_files.load_lora(path, CFG).lora, sep="/")
    want = adapter()
    factors = {
        "blocks/self_attn/q": [FACTOR, FACTOR],
        "blocks/ffn/down": [0.25, 0.5],
        "blocks/cross_attn/q": [0.25, 0.25],
    }
    for module, per_layer in factors.items():
        for layer, factor in enumerate(per_layer):
            np.testing.assert_array_equal(
                loaded_tree[f"{module}/b"][layer], want[f"{module}/b"][layer] * np.float32(factor)
            )


def test_rank_stabilized_updates_are_scaled_by_the_root_of_the_rank(tmp_path):
    """PEFT's use_rslora, with an alpha of its own for a module; without an alpha the factor can't be known."""
    path = write(tmp_path / "adapter_model.safetensors", "diffusers", "base_model.model.{}".format)
    settings = {"r": RANK, "lora_alpha": ALPHA, "use_rslora": True, "alpha_pattern": {"attn1.to_q": 1.0}}
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    loaded_tree = flax.traverse_util.flatten_dict(lora_files.load_lora(path, CFG).lora, sep="/")
    for module, factor in (("ffn/down", ALPHA / 2), ("self_attn/q", 0.5)):
        expected = adapter()[f"blocks/{module}/b"] * np.float32(factor)
        np.testing.assert_array_equal(loaded_tree[f"blocks/{module}/b"], expected)
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": RANK, "use_rslora": True}))
    with pytest.raises(InputError, match="expected lora_alpha"):
        lora_files.load_lora(path, CFG)


@pytest.mark.parametrize("style", ["original", "diffusers"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_written_reads_back(tmp_path, style, dtype):
    path, tree = tmp_path / "lora.safetensors", flax.traverse_util.unflatten_dict(adapter(), sep="/")
    lora_files.save_lora(path, tree, CFG, scale=ALPHA / RANK, style=style, dtype=dtype)
    kind = np.float32 if dtype == "float32" else ml_dtypes.bfloat16
    same(
        lora_files.load_lora(path, CFG).lora,
        {
            k: (v * FACTOR if k.endswith("/b") else v).astype(kind).astype(np.float32)
            for k, v in adapter().items()
        },
    )
    keys = TensorFiles.open(path).slots
    assert not any("alpha" in k for k in keys) and len(keys) == 2 * 10 * CFG.dit.layers


def test_missing_blocks_are_zero_and_ranks_are_padded(tmp_path):
    a, b = tiny.normal("a", 3, 60), tiny.normal("b", 60, 3)
    tensors = {
        "blocks.0.self_attn.q.lora_A.weight": a[:2],
        "blocks.0.self_attn.q.lora_B.weight": np.ascontiguousarray(b[:, :2]),
        "blocks.1.self_attn.q.lora_A.weight": a,
        "blocks.1.self_attn.q.lora_B.weight": b,
        "blocks.1.ffn.2.lora_A.weight": tiny.normal("c", 2, 88),
        "blocks.1.ffn.2.lora_B.weight": tiny.normal("d", 60, 2),
        "time_projection.1.lora_A.weight": tiny.normal("e", 2, 60),
        "time_projection.1.lora_B.weight": tiny.normal("f", 360, 2),
    }
    safetensors_file.write_safetensors(tmp_path / "lora.safetensors", tensors)
    tree = lora_files.load_lora(tmp_path / "lora.safetensors", CFG).lora
    q = tree["blocks"]["self_attn"]["q"]
    np.testing.assert_allclose(q["a"][0] @ q["b"][0], a[:2].T @ b[:, :2].T, atol=1e-6)
    assert q["a"].shape == (2, 60, 3) and not np.asarray(q["a"][0, :, 2]).any()
    assert not np.asarray(tree["blocks"]["ffn"]["down"]["b"][0]).any()
    assert tree["time_proj"]["a"].shape == (60, 2)


def test_patch_embedding(tmp_path):
    tree = {"patch_embedding": {"a": tiny.normal("a", 24, 2), "b": tiny.normal("b", 2, 60)}}
    path = tmp_path / "lora.safetensors"
    with pytest.raises(InputError, match="format diffusers"):
        lora_files.save_lora(path, tree, CFG)
    lora_files.save_lora(path, tree, CFG, style="diffusers", dtype="float32")
    shapes = {k: s.shape for k, s in TensorFiles.open(path).slots.items()}
    assert shapes == {
        "transformer.patch_embedding.lora_A.weight": (2, 6, 1, 2, 2),
        "transformer.patch_embedding.lora_B.weight": (60, 2, 1, 1, 1),
    }
    same(lora_files.load_lora(path, CFG).lora, flax.traverse_util.flatten_dict(tree, sep="/"))


@pytest.mark.parametrize(
    "extra, words",
    [
        (
            {"diffusion_model.blocks.0.norm3.diff": (64,)},
            r"norm3.diff \[64\] is for another backbone, expected \[60\]",
        ),
        (
            {"diffusion_model.patch_embedding.set_weight": (60, 6, 1, 2, 2)},
            "replaces a weight instead of adding",
        ),
        ({"diffusion_model.patch_embedding.reshape_weight": (5,)}, "another number of input channels"),
        ({"blocks.0.self_attn.q.dora_scale": (60, 1)}, "q.dora_scale lacks its other half"),
        (
            {"blocks.0.self_attn.k.dora_scale": (1, 60)},
            r"dora_scale \[1, 60\] has no length for each of 60 outputs",
        ),
        ({"lora_unet_blocks_0_self_attn_q.hada_w1_a": (60, 2)}, "LoHa, LoKr or OFT"),
        (
            {"transformer_2.blocks.0.attn1.to_q.lora_A.weight": (2, 60)},
            "low-noise transformer of a model of two",
        ),
        ({"lora_te_text_model_q.lora_down.weight": (2, 60)}, "of the text encoder"),
        ({"vace_blocks.0.self_attn.q.lora_A.weight": (2, 60)}, "VACE"),
        (
            {"text_encoder.layers.0.q.lora_A.weight": (2, 60)},
            "text_encoder.layers.0.q.lora_A.weight matches no parameter",
        ),
        (
            {"blocks.7.self_attn.q.lora_A.weight": (2, 60)},
            "blocks.7.self_attn.q.lora_A.weight matches no parameter",
        ),
        ({"blocks.0.ffn.0.lora_A.weight": (2, 60)}, "lacks its other half"),
        (
            {"blocks.0.ffn.0.lora_A.weight": (2, 5120), "blocks.0.ffn.0.lora_B.weight": (13824, 2)},
            r"another backbone, expected \[r, 60\] and \[88, r\]",
        ),
    ],
)
def test_keys_without_a_home_stop_the_read(tmp_path, extra, words):
    good = {"blocks.0.self_attn.k.lora_A.weight": (2, 60), "blocks.0.self_attn.k.lora_B.weight": (60, 2)}
    tensors = {k: np.zeros(s, np.float32) for k, s in {**good, **extra}.items()}
    safetensors_file.write_safetensors(tmp_path / "lora.safetensors", tensors)
    with pytest.raises(InputError, match=words):
        lora_files.load_lora(tmp_path / "lora.safetensors", CFG)


def test_full_updates_beside_the_factors(tmp_path):
    """What tools that subtract checkpoints add: gains, biases, modulation and convolutions, each in our place and layout."""
    full = {
        "diffusion_model.blocks.1.norm3.diff": tiny.normal("n", 60),
        "diffusion_model.blocks.0.self_attn.norm_q.diff": tiny.normal("q", 60),
        "diffusion_model.blocks.0.modulation.diff": tiny.normal("m", 1, 6, 60),
        "diffusion_model.head.modulation.diff": tiny.normal("h", 1, 2, 60),
        "diffusion_model.patch_embedding.diff": tiny.normal("p", 60, 6, 1, 2, 2),
        "diffusion_model.patch_embedding.diff_b": tiny.normal("b", 60),
        "lora_unet_blocks_1_ffn_0.diff_b": tiny.normal("f", 88),
        "transformer.blocks.0.attn1.to_k.lora_B.bias": tiny.normal("k", 60),
    }
    factors = {
        "transformer.blocks.0.attn1.to_k.lora_A.weight": tiny.normal("a", 4, 60),
        "transformer.blocks.0.attn1.to_k.lora_B.weight": tiny.normal("c", 60, 4),
        "transformer.blocks.0.attn1.to_k.alpha": np.float32(ALPHA),
    }
    safetensors_file.write_safetensors(tmp_path / "lora.safetensors", {**full, **factors})
    updates = lora_files.load_lora(tmp_path / "lora.safetensors", CFG)
    loaded_tree, values = flax.traverse_util.flatten_dict(updates.delta, sep="/"), list(full.values())
    layers = {
        "blocks/norm_cross/scale": {1: values[0]},
        "blocks/self_attn/norm_q/scale": {0: values[1]},
        "blocks/modulation": {0: values[2][0]},
        "blocks/ffn/up/bias": {1: values[6]},
        "blocks/self_attn/k/bias": {0: values[7] * FACTOR},
    }
    unstacked = {
        "head/modulation": values[3][0],
        "patch_embedding/kernel": values[4].reshape(60, 24).T,
        "patch_embedding/bias": values[5],
    }
    assert set(loaded_tree) == {*layers, *unstacked}
    for path, expected in unstacked.items():
        np.testing.assert_array_equal(loaded_tree[path], expected, err_msg=path)
    for path, by_layer in layers.items():
        for layer in range(CFG.dit.layers):
            np.testing.assert_array_equal(
                loaded_tree[path][layer], by_layer.get(layer, 0 * loaded_tree[path][layer]), err_msg=path
            )
    assert set(updates.lora["blocks"]["self_attn"]) == {"k"}


@pytest.mark.parametrize(
    "spell", ["diffusion_model.{}".format, str, lambda name: "lora_unet_" + name.replace(".", "_")]
)
def test_updates_of_modulation_are_also_called_diff_m(tmp_path, spell):
    """Files of lightx2v and CausVid leave out the name of the table: `blocks.N.diff_m`, `head.diff_m`."""
    block, head = tiny.normal("m", 1, 6, 60), tiny.normal("h", 1, 2, 60)
    path = tmp_path / "lora.safetensors"
    safetensors_file.write_safetensors(path, {spell("blocks.1.diff_m"): block, spell("head.diff_m"): head})
    delta = flax.traverse_util.flatten_dict(lora_files.load_lora(path, CFG).delta, sep="/")
    assert set(delta) == {"blocks/modulation", "head/modulation"}
    np.testing.assert_array_equal(delta["blocks/modulation"], np.stack([0 * block[0], block[0]]))
    np.testing.assert_array_equal(delta["head/modulation"], head[0])
    safetensors_file.write_safetensors(path, {spell("blocks.1.diff_m"): tiny.normal("m", 1, 6, 64)})
    with pytest.raises(
        InputError, match=r"diff_m \[1, 6, 64\] is for another backbone, expected \[1, 6, 60\]"
    ):
        lora_files.load_lora(path, CFG)


def test_new_embeddings_have_their_own_file(tmp_path):
    embeds = {
        n: {"kernel": tiny.normal(n, 24, 60), "bias": tiny.normal(n + "b", 60)} for n in ("source", "mask")
    }
    path = tmp_path / "embeds.safetensors"
    adapters.save_embeddings(path, embeds, CFG)
    assert TensorFiles.open(path).slots["source_embedding.weight"].shape == (60, 6, 1, 2, 2)
    same(adapters.load_embeddings(path, CFG), flax.traverse_util.flatten_dict(embeds, sep="/"))
    lora = tmp_path / "lora.safetensors"
    lora_files.save_lora(lora, flax.traverse_util.unflatten_dict(adapter(), sep="/"), CFG)
    with pytest.raises(InputError, match="new embeddings"):
        adapters.load_embeddings(lora, CFG)


def test_embeddings_of_pooled_masks_are_narrow_and_come_back(tmp_path):
    pooled = dataclasses.replace(CFG.condition, mask_code="pooled")
    embeds = {
        name: {"kernel": tiny.normal(name, 4 * channels, 60), "bias": tiny.normal(name + "b", 60)}
        for name, channels in (("source", 6), ("mask", 1))
    }
    path = tmp_path / "embeds.safetensors"
    adapters.save_embeddings(path, embeds, CFG, pooled)
    expected = flax.traverse_util.flatten_dict(embeds, sep="/")
    same(adapters.load_embeddings(path, CFG, pooled), expected)
    low_rank = flax.traverse_util.unflatten_dict(adapter(), sep="/")
    adapters.save_adapter(
        tmp_path / "a.safetensors", adapters.Adapter(low_rank, embed=embeds, condition=pooled), CFG
    )
    loaded = adapters.load_adapter(tmp_path / "a.safetensors", CFG)
    same(loaded.embed, expected)
    assert loaded.condition == pooled
    with pytest.raises(InputError, match="mask_embedding"):
        adapters.load_embeddings(path, CFG)


def test_an_adapter_of_training_says_at_what_strength_it_is_applied(tmp_path):
    trained = dataclasses.replace(CFG, lora=dataclasses.replace(CFG.lora, rank=3, alpha=6.0))
    low_rank = flax.traverse_util.unflatten_dict(adapter(), sep="/")
    path = tmp_path / "lora.safetensors"
    native.save_parameters(path, {"lora": low_rank}, adapters.adapter_metadata(trained))
    assert adapters.load_adapter(path, CFG).scale == 2.0 and CFG.lora.scale == 1.0
    native.save_parameters(path, {"lora": low_rank})
    assert adapters.load_adapter(path, CFG).scale == 1.0 and adapters.load_adapter(path, trained).scale == 2.0
    native.save_parameters(path, {"lora": low_rank}, {adapters.LORA_KEY: '{"rank": 0}'})
    with pytest.raises(InputError, match="v2v_lora in its header"):
        adapters.load_adapter(path, CFG)


def same(tree, expected):
    loaded_tree = flax.traverse_util.flatten_dict(jax.device_get(tree), sep="/")
    assert set(loaded_tree) == set(expected)
    for path in loaded_tree:
        np.testing.assert_array_equal(loaded_tree[path], expected[path], err_msg=path)
