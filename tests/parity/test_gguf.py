"""Files that the package gguf writes and quantizes, read without it; needs the extra [parity]."""

import numpy as np
import pytest

gguf = pytest.importorskip("gguf")

from tests.checkpoints import gguf_files
from tests.parity import tiny
from v2v.checkpoints import gguf_blocks, gguf_file, wan
from v2v.checkpoints.tensor_files import TensorFiles

CFG = tiny.config()


@pytest.mark.parametrize("dtype", list(gguf_blocks.BLOCK_FORMATS))
def test_blocks_are_those_of_the_package(dtype):
    blocks = gguf_files.random_blocks(dtype, 64).reshape(-1)
    expected = gguf.quants.dequantize(blocks, gguf.GGMLQuantizationType[dtype])
    np.testing.assert_array_equal(gguf_blocks.dequantize(blocks, dtype), expected)


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"])
def test_a_transformer_that_the_package_wrote(tmp_path, dtype):
    """Matrices in the type, all else in float32, and metadata of every kind before them."""
    kind = gguf.GGMLQuantizationType[dtype]
    writer = gguf.GGUFWriter(tmp_path / "wan.gguf", "wan")
    writer.add_string("general.name", "tiny")
    writer.add_array("tokenizer.ggml.tokens", ["a", "b", "c"])
    writer.add_float32("general.scale", 0.5)
    writer.add_bool("general.flag", True)
    tensors, expected = tiny.tensors("dit", CFG, "original"), {}
    for name, x in tensors.items():
        if x.ndim == 2 and x.shape[-1] % 32 == 0:
            data = gguf.quants.quantize(x, kind)
            writer.add_tensor(name, data, raw_dtype=kind)
            expected[name] = gguf.quants.dequantize(data, kind).reshape(x.shape)
        else:
            writer.add_tensor(name, x)
            expected[name] = x
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    files = TensorFiles.open(tmp_path / "wan.gguf")
    for name, x in expected.items():
        np.testing.assert_array_equal(files.read(name).astype(np.float32), x)
    wan.load_part("dit", files, CFG)


def test_a_text_encoder_and_its_vocabulary_that_the_package_wrote(tmp_path):
    """Tensors under the names that the package maps the published ones to, and the entries that its writer has for vocabularies."""
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.T5ENCODER, CFG.text.layers)
    writer = gguf.GGUFWriter(tmp_path / "t5.gguf", "t5encoder")
    writer.add_tokenizer_model("t5")
    writer.add_token_list(["<pad>", "</s>", "<unk>", "▁make", "<0x41>", "[PAD5]"])
    writer.add_token_scores([0.0, 0.0, 0.0, -2.5, -9.0, -1000.0])
    writer.add_token_types([3, 3, 2, 1, 6, 5])
    writer.add_add_space_prefix(True)
    writer.add_remove_extra_whitespaces(False)
    writer.add_precompiled_charsmap(b"\1\377\0")
    tensors = tiny.tensors("text", CFG)
    for name, x in tensors.items():
        short = names.get_name(name, try_suffixes=(".weight",))
        assert short is not None and short != name
        writer.add_tensor(short, x)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    files = TensorFiles.open(tmp_path / "t5.gguf")
    assert files.slots.keys() == tensors.keys()
    for name, x in tensors.items():
        np.testing.assert_array_equal(files.read(name), x)
    vocabulary = gguf_file.read_vocabulary(tmp_path / "t5.gguf")
    assert vocabulary is not None and [piece.kind for piece in vocabulary.pieces] == [3, 3, 2, 1, 6]
    assert vocabulary.pieces[3].text == "▁make" and vocabulary.pieces[3].score == -2.5
    assert vocabulary.has_bytes and vocabulary.has_space_in_front and not vocabulary.collapses_spaces
    assert vocabulary.character_map == b"\1\377\0"
