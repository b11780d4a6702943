"""GGUF: every kind of block against values that the package gguf gave, a transformer among ComfyUI's folders, and damage."""

import json
import struct

import ml_dtypes
import numpy as np
import pytest

from tests.checkpoints import gguf_files
from tests.notes import expect_note
from tests.parity import tiny
from v2v.checkpoints import gguf_blocks, gguf_file, safetensors_file, tensor_slot, wan
from v2v.checkpoints.model_folder import read_model_folder
from v2v.checkpoints.tensor_files import TensorFiles
from v2v.checkpoints.tensor_slot import TensorSlot
from v2v.errors import InputError
from v2v.pipeline import pretrained

CFG = tiny.config()
# Of five random blocks: values 0, 17, 100 and the last, and the sum of magnitudes, by gguf 0.19.0.
VALUES = {
    "Q4_0": ([-1.5439453, -9.263672, -0.9296875, -3.1875], 813.9609375),
    "Q4_1": ([3.6416016, 7.2685547, 25.172852, 9.112305], 2077.42578125),
    "Q5_0": ([-10.107422, -21.899414, -3.046875, 2.25], 1680.7021484375),
    "Q5_1": ([11.610352, 4.004883, 19.355469, 17.31543], 3724.548828125),
    "Q8_0": ([6.916992, -42.270508, 23.351562, -19.995117], 9344.068359375),
    "Q2_K": ([2.5195312, 3.8027344, 18.603516, 4.857422], 18018.921875),
    "Q3_K": ([37.898438, -124.52344, 72.1875, 198.10938], 52439.18359375),
    "Q4_K": ([240.39062, 35.078125, 37.875, 247.82031], 311750.9375),
    "Q5_K": ([76.62402, 131.20898, 625.7783, 384.53906], 543648.1875),
    "Q6_K": ([1980.0879, 1584.0703, 130.31348, 1120.1484], 1809141.0),
}


@pytest.mark.parametrize("dtype", list(gguf_blocks.BLOCK_FORMATS))
def test_blocks(dtype, monkeypatch):
    monkeypatch.setattr(gguf_blocks, "PIECE", 2)
    values = gguf_blocks.dequantize(gguf_files.random_blocks(dtype, 5).reshape(-1), dtype)
    expected, total = VALUES[dtype]
    assert values.dtype == np.float32 and len(values) == 5 * gguf_blocks.BLOCK_FORMATS[dtype].values
    np.testing.assert_allclose(values[[0, 17, 100, -1]], expected, rtol=1e-6)
    assert float(np.abs(values).sum()) == pytest.approx(total, rel=1e-6)


def test_types_shapes_and_an_original_shape(tmp_path):
    tensors = {
        "m": tiny.normal("m", 4, 64),
        "v": tiny.normal("v", 7),
        "h": tiny.normal("h", 2, 3).astype(np.float16),
        "b": tiny.normal("b", 2, 3, 1, 2, 2).astype(ml_dtypes.bfloat16),
        "flat": tiny.normal("flat", 8, 32),
    }
    shape = gguf_files.text("comfy.gguf.orig_shape.flat") + struct.pack("<IIQ2i", 9, 5, 2, 16, 16)
    number = gguf_files.text("general.file_type") + struct.pack("<II", 4, 7)
    files = TensorFiles.open(gguf_files.write(tmp_path / "m.gguf", tensors, entries=shape + number))
    assert files.metadata == {"general.architecture": "wan"}
    for name in ("v", "h", "b"):
        np.testing.assert_array_equal(files.read(name), tensors[name])
        assert files.read(name).dtype == tensors[name].dtype
    for name, x in (("m", tensors["m"]), ("flat", tensors["flat"].reshape(16, 16))):
        got = files.read(name)
        assert got.shape == x.shape and got.dtype == np.float32
        np.testing.assert_allclose(got, x, atol=np.abs(x).max() / 200)


def test_a_transformer_beside_other_parts_in_safetensors(tmp_path):
    """Read as the published one that it was made of, but for rounding; the plain file goes first where both are there."""
    tensors = tiny.tensors("dit", CFG, "original")
    file = gguf_files.write(tmp_path / "unet" / "wan2.2_ti2v_5B-Q8_0.gguf", tensors)
    for part, folder in (("vae", "vae"), ("text", "text_encoders")):
        (tmp_path / folder).mkdir()
        safetensors_file.write_safetensors(
            tmp_path / folder / f"{part}.safetensors", tiny.tensors(part, CFG, "original")
        )
    (tmp_path / "config.json").write_text(json.dumps({"num_heads": 3}))
    folder = read_model_folder(tmp_path)
    assert folder.parts["dit"].path == file and read_model_folder(file).parts["dit"].path == file
    small = wan.load_part("dit", folder.parts["dit"], CFG)["time_in"]["kernel"]
    safetensors_file.write_safetensors(tmp_path / "unet" / "wan.safetensors", tensors)
    exact = wan.load_part("dit", tmp_path / "unet" / "wan.safetensors", CFG)["time_in"]["kernel"]
    difference = np.abs(np.asarray(small, np.float32) - np.asarray(exact, np.float32)).max()
    assert 0 < difference < 0.01 * np.abs(np.asarray(exact, np.float32)).max()
    with expect_note("wan.safetensors goes before GGUF"):
        assert read_model_folder(tmp_path).parts["dit"].path.name == "wan.safetensors"


def test_a_text_encoder_with_its_vocabulary(tmp_path):
    """Names of llama.cpp, beside other parts in safetensors; unused pieces at the end are none of the tokenizer's."""
    for part, folder in (("dit", "diffusion_models"), ("vae", "vae")):
        (tmp_path / folder).mkdir()
        safetensors_file.write_safetensors(
            tmp_path / folder / f"{part}.safetensors", tiny.tensors(part, CFG, "original")
        )
    (tmp_path / "config.json").write_text(json.dumps({"num_heads": 3}))
    tensors = tiny.tensors("text", CFG)
    pieces = [("<pad>", 0.0, 3), ("</s>", 0.0, 3), ("<unk>", 0.0, 2), ("▁make", -2.0, 1), ("▁it", -2.0, 1)]
    unused = [(f"[PAD{i}]", -1000.0, 5) for i in range(3)]
    file = gguf_files.write(
        tmp_path / "text_encoders" / "umt5-xxl-encoder-Q8_0.gguf",
        gguf_files.llama_names(tensors),
        False,
        gguf_files.vocabulary(pieces + unused),
        4,
    )
    folder = read_model_folder(tmp_path).require()
    assert folder.parts["text"].path == file and folder.parts["text"].slots.keys() == tensors.keys()
    for name, x in tensors.items():
        np.testing.assert_array_equal(folder.parts["text"].read(name), x)
    tokenizer = pretrained.load_tokenizer(folder, folder.config)
    ids, lengths = tokenizer.encode(["make it"])
    assert ids[0, :4].tolist() == [3, 4, 1, 0] and lengths.tolist() == [3]
    assert tokenizer.backend.get_vocab_size() == len(pieces)


def test_a_vocabulary_that_does_not_go_together(tmp_path):
    entries = gguf_files.vocabulary([("</s>", 0.0, 3), ("a", -1.0, 1)])
    last = entries.rindex(gguf_files.text("tokenizer.ggml.token_type"))
    scores = gguf_files.text("tokenizer.ggml.token_type") + struct.pack("<IIQi", 9, 5, 1, 3)
    path = gguf_files.write(tmp_path / "t5.gguf", {}, False, entries[:last] + scores, 4)
    with pytest.raises(InputError, match="its vocabulary is damaged"):
        gguf_file.read_vocabulary(path)
    other = gguf_files.write(tmp_path / "wan.gguf", {"m": tiny.normal("m", 4, 64)})
    assert gguf_file.read_vocabulary(other) is None


def test_another_text_encoder_in_gguf_is_named(tmp_path):
    gguf_files.write(
        tmp_path / "text_encoders" / "umt5-xxl-Q8_0.gguf",
        {"text_model.layers.0.q_proj.weight": np.zeros((2, 32), np.float32)},
    )
    with pytest.raises(InputError, match="umt5-xxl-Q8_0.gguf: holds no text_encoder by the names"):
        read_model_folder(tmp_path)


def damage(content, name):
    if name == "cut":
        return content[:-10]
    if name == "header":
        return content[:60]
    if name == "text":
        return content[:24] + struct.pack("<Q", 1 << 60) + content[32:]
    if name == "version":
        return content[:4] + struct.pack("<I", 99) + content[8:]
    if name == "count":
        return content[:8] + struct.pack("<Q", 1 << 40) + content[16:]
    if name == "type":
        place = content.index(b"m" + struct.pack("<I", 2)) + 5 + 16
        return content[:place] + struct.pack("<I", 19) + content[place + 4 :]
    if name == "rows":
        place = content.index(b"m" + struct.pack("<I", 2)) + 5
        return content[:place] + struct.pack("<Q", 33) + content[place + 8 :]
    return b"PK" + content[2:]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cut", "ends inside m; fetch it again"),
        ("header", "its header is damaged or cut short"),
        ("text", "a text reaches beyond the end"),
        ("version", "is GGUF of version 99, expected 2 or 3"),
        ("count", "1099511627776 tensors"),
        ("type", "m is of GGUF's type 19, expected one of F32"),
        ("rows", "expected rows of a multiple of 32 values"),
        ("magic", 'expected a GGUF file, which begins with "GGUF"'),
    ],
)
def test_damaged_files_end_in_one_line(tmp_path, name, message):
    path = gguf_files.write(tmp_path / "m.gguf", {"m": tiny.normal("m", 4, 64)})
    path.write_bytes(damage(path.read_bytes(), name))
    with pytest.raises(InputError, match=message):
        TensorFiles.open(path)


def test_values_that_are_not_finite_and_shapes_that_do_not_fit(tmp_path):
    path = gguf_files.write(tmp_path / "m.gguf", {"m": tiny.normal("m", 4, 64)})
    slot = TensorFiles.open(path).slots["m"]
    content = bytearray(path.read_bytes())
    content[slot.start : slot.start + 2] = np.float16(np.inf).tobytes()
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match="m holds NaN or infinite values"):
        TensorFiles.open(path).read("m")
    with pytest.raises(InputError, match="are no Q8_0 of that shape"):
        tensor_slot.read_slot(TensorSlot(path, "Q8_0", (4, 96), slot.start, slot.size), "m")
