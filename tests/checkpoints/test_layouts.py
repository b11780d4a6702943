"""Layouts in which people download models: files of torch.save, 8-bit weights with factors, ComfyUI's folders, a tokenizer inside."""

import json
import shutil
import struct
from pathlib import Path

import jax
import ml_dtypes
import numpy as np
import pytest

from tests.checkpoints import small_models, torch_files
from tests.parity import tiny
from v2v.checkpoints import hub, hub_files, model_folder, part_files, safetensors_file, torch_file, wan
from v2v.checkpoints.tensor_files import TensorFiles
from v2v.checkpoints.tensor_slot import TensorSlot
from v2v.checkpoints.torch_file import read_torch_file
from v2v.cli import main
from v2v.errors import InputError, collect_notes
from v2v.models.text_encoder import Tokenizer
from v2v.pipeline import pretrained

CFG = tiny.config()


def save(path: Path, part: str, **changes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    safetensors_file.write_safetensors(path, {**tiny.tensors(part, CFG, "original"), **changes})
    return path


def comfy(root: Path) -> Path:
    """The three files as ComfyUI's users have them, and a tokenizer."""
    save(root / "diffusion_models" / "wan2.2_ti2v_5B_fp16.safetensors", "dit")
    save(root / "vae" / "wan2.2_vae.safetensors", "vae")
    save(root / "text_encoders" / "umt5_xxl_fp16.safetensors", "text")
    (root / "text_encoders" / "spiece.model").write_bytes(vocabulary())
    return root


def test_files_of_torch(tmp_path):
    """Values, types, an offset of zero and transposed tensors; a dictionary in a dictionary."""
    tensors = {
        "a.weight": tiny.normal("a", 3, 5),
        "b.weight": tiny.normal("b", 4, 2).astype(ml_dtypes.bfloat16),
        "c": np.asfortranarray(tiny.normal("c", 3, 4)),
        "d": np.float16([1.5]).reshape(()),
    }
    plain = TensorFiles.open(torch_files.write(tmp_path / "m.pth", tensors))
    inside = TensorFiles.open(
        torch_files.write(
            tmp_path / "n.pt",
            tensors,
            b"}(" + torch_files.text("epoch") + b"K\5" + torch_files.text("model"),
            b"u",
        )
    )
    for files in (plain, inside):
        assert set(files.slots) == set(tensors)
        for name, x in tensors.items():
            np.testing.assert_array_equal(files.read(name), x)
            assert files.read(name).dtype == x.dtype


HARMFUL = [
    b"cos\nsystem\n(" + torch_files.text("touch harmed") + b"tR0",
    b"cbuiltins\neval\n(" + torch_files.text("open('harmed','w')") + b"tR0",
    b"(S'touch harmed'\nios\nsystem\n0",
]


@pytest.mark.parametrize("harm", HARMFUL)
def test_nothing_in_a_pickle_is_run(tmp_path, monkeypatch, harm):
    """What isn't a tensor is passed by or ends the reading; the tensors beside it are read all the same where it is passed by."""
    monkeypatch.chdir(tmp_path)
    path = torch_files.write(tmp_path / "m.pth", {"a": tiny.normal("a", 2, 2)}, harm)
    try:
        assert list(read_torch_file(path)) == ["a"]
    except InputError as err:
        assert "can't be followed" in str(err)
    assert not (tmp_path / "harmed").exists()


def test_damaged_files_of_torch(tmp_path):
    x = {"a": tiny.normal("a", 40, 50)}
    data = torch_files.write(tmp_path / "m.pth", x).read_bytes()
    cut, old, loop, reach = (tmp_path / f"{name}.pth" for name in ("cut", "old", "loop", "reach"))
    cut.write_bytes(data[:-300])
    old.write_bytes(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.")
    reach.write_bytes(data.replace(struct.pack("<i", 40), struct.pack("<i", 4000)))
    torch_files.write(loop, x, b"}q\1(" + torch_files.text("me") + b"h\1" + torch_files.text("model"), b"u")
    for path, words in {
        cut: "could not read it",
        old: "older than torch 1.6",
        reach: "reaches beyond|could not read it",
        tmp_path / "none.pth": "found nothing",
    }.items():
        with pytest.raises(InputError, match=words) as error:
            TensorFiles.open(path)
        assert "\n" not in str(error.value)
    assert list(read_torch_file(loop)) == ["model.a"]


def test_the_original_release(tmp_path):
    """Wan-AI/Wan2.2-TI2V-5B: shards beside an autoencoder and a text encoder of torch.save."""
    save(tmp_path / "diffusion_pytorch_model.safetensors", "dit")
    torch_files.write(tmp_path / "Wan2.2_VAE.pth", tiny.tensors("vae", CFG, "original"))
    torch_files.write(tmp_path / "models_t5_umt5-xxl-enc-bf16.pth", tiny.tensors("text", CFG, "original"))
    (tmp_path / "google" / "umt5-xxl").mkdir(parents=True)
    shutil.copy(small_models.TOKENIZER, tmp_path / "google" / "umt5-xxl")
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "WanModel", "num_heads": 3}))
    folder = model_folder.read_model_folder(tmp_path).require()
    for part in ("vae", "text"):
        expected = tiny.tensors(part, CFG, "original")
        assert set(folder.parts[part].slots) == set(expected)
        for name, x in expected.items():
            np.testing.assert_array_equal(folder.parts[part].read(name), x)


@pytest.mark.parametrize("place", ["", "split_files", "models"])
def test_folders_of_comfyui(tmp_path, place):
    comfy(tmp_path / place)
    (tmp_path / "config.json").write_text(json.dumps({"num_heads": 3}))
    folder = model_folder.read_model_folder(tmp_path).require()
    assert folder.config.dit.layers == CFG.dit.layers and set(folder.parts) == {"dit", "vae", "text"}


def test_a_folder_of_many_models(tmp_path, capsys):
    """Of what else ComfyUI has, what can't be a part is passed by; several transformers are told by their files."""
    comfy(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"num_heads": 3}))
    other = {
        "patch_embedding.weight": np.zeros((5120, 36, 1, 2, 2), np.float16),
        "head.head.weight": np.zeros((64, 1), np.float16),
    }
    safetensors_file.write_safetensors(tmp_path / "diffusion_models" / "wan2.1_i2v_14B.safetensors", other)
    flat = {
        n.replace("downsamples.0.downsamples", "downsamples"): x
        for n, x in tiny.tensors("vae", CFG, "original").items()
    }
    flat["conv2.weight"] = np.zeros((16, 16, 1, 1, 1), np.float16)
    safetensors_file.write_safetensors(tmp_path / "vae" / "wan_2.1_vae.safetensors", flat)
    clip = {
        "shared.weight": np.zeros((300, 20), np.float16),
        "encoder.block.0.layer.0.SelfAttention.q.weight": np.zeros((1, 1), np.float16),
    }
    safetensors_file.write_safetensors(tmp_path / "text_encoders" / "t5xxl_fp16.safetensors", clip)
    folder = model_folder.read_model_folder(tmp_path).require()
    assert {part: files.path.name for part, files in folder.parts.items()} == {
        "dit": "wan2.2_ti2v_5B_fp16.safetensors", "vae": "wan2.2_vae.safetensors", "text": "umt5_xxl_fp16.safetensors",
    }  # fmt: skip
    save(tmp_path / "diffusion_models" / "mine" / "tuned.safetensors", "dit")
    with pytest.raises(InputError, match=r"2 transformers .*pass the file of one"):
        model_folder.read_model_folder(tmp_path)
    tuned = tmp_path / "diffusion_models" / "mine" / "tuned.safetensors"
    one = model_folder.read_model_folder(tuned).require()
    assert one.config.name == "tuned" and one.parts["dit"].path == tuned
    assert main.main(["doctor", "--model", str(tuned)]) == 0
    assert "nothing is missing" in capsys.readouterr().out
    vae = tmp_path / "vae" / "wan2.2_vae.safetensors"
    with pytest.raises(InputError, match="expected the weights of a transformer"):
        model_folder.read_model_folder(vae)


@pytest.mark.parametrize(
    "suffix, shape", [("scale_weight", ()), ("weight_scale", (1,)), ("scale_weight", (60, 1))]
)
def test_scaled_weights(tmp_path, suffix, shape):
    """Factor times weight, in float32; of a file that is scaled and one that isn't the other is taken."""
    tensors = tiny.tensors("dit", CFG, "original")
    name = "blocks.0.self_attn.q"
    factor = (
        np.full(shape, 0.25, np.float32)
        if shape != (60, 1)
        else np.linspace(0.1, 1, 60, dtype=np.float32)[:, None]
    )
    small = tensors[f"{name}.weight"].astype(ml_dtypes.float8_e4m3fn)
    scaled = {
        **tensors,
        f"{name}.weight": small,
        f"{name}.{suffix}": factor,
        f"{name}.scale_input": np.ones((), np.float32),
    }
    scaled["scaled_fp8"] = np.zeros(2, ml_dtypes.float8_e4m3fn)
    safetensors_file.write_safetensors(tmp_path / "m.safetensors", scaled)
    files = TensorFiles.open(tmp_path / "m.safetensors")
    assert set(files.slots) == set(tensors)
    np.testing.assert_array_equal(files.read(f"{name}.weight"), small.astype(np.float32) * factor)
    wan.match_tensors("dit", files, CFG)
    scaled[f"{name}.{suffix}"] = np.ones(7, np.float32)
    safetensors_file.write_safetensors(tmp_path / "m.safetensors", scaled)
    with pytest.raises(InputError, match="holds 7 numbers, expected one, or one for each of 60 rows"):
        TensorFiles.open(tmp_path / "m.safetensors").read(f"{name}.weight")


def test_of_two_precisions_the_higher(tmp_path):
    comfy(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"num_heads": 3}))
    lower = {
        name: x.astype(ml_dtypes.float8_e4m3fn) for name, x in tiny.tensors("text", CFG, "original").items()
    }
    safetensors_file.write_safetensors(tmp_path / "text_encoders" / "a_fp8.safetensors", lower)
    with collect_notes() as notes:
        folder = model_folder.read_model_folder(tmp_path)
    assert folder.parts["text"].path.name == "umt5_xxl_fp16.safetensors"
    assert any("umt5_xxl_fp16.safetensors is used; a_fp8.safetensors would do too" in note for note in notes)


def test_values_of_8_bits_that_are_no_numbers(tmp_path):
    for kind in (ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2):
        path = tmp_path / f"{kind.__name__}.safetensors"
        safetensors_file.write_safetensors(
            path, {"a": np.array([1, np.nan], kind), "b": np.array([448, -448], kind)}
        )
        with pytest.raises(InputError, match="holds NaN or infinite"):
            TensorFiles.open(path).read("a")
        TensorFiles.open(path).read("b")


def field(number: int, value: bytes | int | float) -> bytes:
    """A field of a protocol buffer."""
    if isinstance(value, int):
        assert value < 128
        return (
            bytes([number << 3 & 0x7F | (0x80 if number > 15 else 0)])
            + (b"\2" if number > 15 else b"")
            + bytes([value])
        )
    if isinstance(value, float):
        return bytes([number << 3 | 5]) + struct.pack("<f", value)
    assert len(value) < 128
    return bytes([number << 3 | 2, len(value)]) + value


def vocabulary() -> bytes:
    """A SentencePiece model of a few pieces."""
    special = [("<pad>", 3), ("</s>", 3), ("<unk>", 2)]
    pieces = [
        ("▁", -4.0),
        ("▁make", -2.0),
        ("▁it", -2.0),
        ("▁blue", -2.5),
        ("b", -6.0),
        ("lue", -6.0),
        ("i", -7.0),
        ("t", -7.0),
    ]
    out = [field(1, field(1, p.encode()) + field(2, 0.0) + field(3, kind)) for p, kind in special]
    out += [field(1, field(1, p.encode()) + field(2, score)) for p, score in pieces]
    return b"".join(out) + field(2, field(3, 1)) + field(3, field(4, 1))


def test_a_tokenizer_inside_the_text_encoder(tmp_path):
    folder = comfy(tmp_path)
    (folder / "text_encoders" / "spiece.model").unlink()
    (folder / "config.json").write_text(json.dumps({"num_heads": 3}))
    assert model_folder.read_model_folder(folder).missing == [model_folder.MISSING_TOKENIZER]
    save(
        folder / "text_encoders" / "umt5_xxl_fp16.safetensors",
        "text",
        spiece_model=np.frombuffer(vocabulary(), np.uint8),
    )
    opened = model_folder.read_model_folder(folder).require()
    tokens = pretrained.load_tokenizer(opened, opened.config)
    ids, lengths = tokens.encode(["make  it blue", "x it"])
    assert ids[0, :5].tolist() == [4, 5, 6, 1, 0] and lengths.tolist() == [4, 4]
    assert ids[1, :4].tolist() == [3, 2, 5, 1]
    assert tokens.unknown_words("make x") == ["x"]
    for content in (b"", b"{}", vocabulary()[:-30], vocabulary().replace(b"</s>", b"</t>")):
        with pytest.raises(InputError, match="expected a SentencePiece model"):
            Tokenizer.parse_sentencepiece(content, 8, "spiece.model")


def test_the_folder_of_a_repository_in_the_cache(tmp_path):
    cache = tmp_path / "models--org--tiny"
    for commit in ("a" * 40, "b" * 40):
        (cache / "snapshots" / commit).mkdir(parents=True)
    with pytest.raises(InputError, match="found 2; pass a folder in"):
        hub.resolve_model(cache)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("b" * 40)
    assert hub.resolve_model(cache) == cache / "snapshots" / ("b" * 40)


@pytest.mark.parametrize(
    "extra, words",
    [
        ({"blocks.0.self_attn.to_gate_compress.weight": (1,)}, "VSA"),
        ({"vace_blocks.0.before_proj.weight": (1,)}, "VACE"),
        ({"vae_condition.patch_embedding.weight": (1,)}, "Kiwi-Edit"),
        ({"generator.x": (1,)}, "few-step distillation"),
    ],
)
def test_relatives_in_one_file_are_named(tmp_path, extra, words):
    tensors = tiny.tensors("dit", CFG, "original") | {n: np.zeros(s, np.float32) for n, s in extra.items()}
    safetensors_file.write_safetensors(tmp_path / "m.safetensors", tensors)
    with pytest.raises(InputError, match=words):
        model_folder.read_model_folder(tmp_path)


def test_relatives_whose_transformer_has_another_name(tmp_path):
    """Kiwi-Edit's training checkpoint."""
    kiwi = {f"dit.{n}": x for n, x in tiny.tensors("dit", CFG, "original").items()}
    kiwi["vae_condition.patch_embedding.weight"] = np.zeros(1, np.float32)
    safetensors_file.write_safetensors(tmp_path / "kiwi.safetensors", kiwi)
    with pytest.raises(InputError, match="is Kiwi-Edit"):
        model_folder.read_model_folder(tmp_path)


@pytest.mark.parametrize("name", ["generator.pt", "causal.safetensors"])
def test_generators_of_few_step_distillation(tmp_path, name):
    """Turbo, CausVid and Self-Forcing: the network under `generator`, with the names of its class and of FSDP; or its tensors alone."""
    tensors = tiny.tensors("dit", CFG, "original")
    small_models.write(tmp_path / "wan", cfg=CFG)
    shutil.rmtree(tmp_path / "wan" / "transformer")
    (tmp_path / "wan" / "config.json").write_text(json.dumps({"num_heads": CFG.dit.heads}))
    file = tmp_path / "wan" / name
    with collect_notes() as notes:
        if name.endswith(".pt"):
            wrap = b"}(" + torch_files.text("step") + b"K\5" + torch_files.text("generator_ema")
            wrapped = {f"model._fsdp_wrapped_module.{n}": x for n, x in tensors.items()}
            torch_files.write(file, wrapped, wrap, b"u")
        else:
            safetensors_file.write_safetensors(file, {f"model.{n}": x for n, x in tensors.items()})
        read = model_folder.read_model_folder(file)
        read.require()
    assert read.config.dit.width == CFG.dit.width
    tree = wan.load_part("dit", read.parts["dit"], read.config)
    plain = TensorFiles.open(save(tmp_path / "plain.safetensors", "dit"))
    jax.tree.map(np.testing.assert_array_equal, tree, wan.load_part("dit", plain, read.config))
    assert [("generator_ema is read and not step" in text) for text in notes] == [True] * name.endswith(".pt")


def test_of_two_generators_the_averaged_one_is_read():
    slots = [TensorSlot(Path("f"), "F32", (1,), n, 4) for n in (0, 4)]
    tree = {n: {"model.x": slot} for n, slot in zip(("generator", "generator_ema"), slots, strict=True)}
    with collect_notes() as notes:
        tensors = torch_file._collect_tensors(Path("m.pt"), tree | {"critic": {"model.y": slots[0]}})
    assert tensors == {"x": slots[1]} and "not generator, critic" in notes[0]


def test_shards_of_torch_with_an_index(tmp_path):
    """As older releases have them, in the folders of diffusers; a shard that is missing is named."""
    tensors = tiny.tensors("dit", CFG)
    names, folder = list(tensors), tmp_path / "transformer"
    folder.mkdir()
    weight_map = {}
    for number, part in enumerate((names[::2], names[1::2]), 1):
        file = torch_files.write(
            folder / f"diffusion_pytorch_model-0000{number}-of-00002.bin", {n: tensors[n] for n in part}
        )
        weight_map |= dict.fromkeys(part, file.name)
    index = folder / "diffusion_pytorch_model.bin.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    for place in (folder, index):
        files = TensorFiles.open(place)
        assert set(files.slots) == set(names)
        for name in names[:3]:
            np.testing.assert_array_equal(files.read(name), tensors[name])
    assert part_files.open_parts(tmp_path)["dit"].path == index
    listed = [f"transformer/{file.name}" for file in folder.iterdir()]
    assert set(hub_files._torch_files(listed)) == set(listed)
    file.unlink()
    with pytest.raises(InputError, match="names 2 files, 1 not there: diffusion_pytorch_model-00002"):
        TensorFiles.open(folder)
