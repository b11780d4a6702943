"""Files that the package gguf writes and quantizes, read without it; needs the extra [parity]."""

import numpy as np
import pytest

gguf = pytest.importorskip("gguf")

from tests.checkpoints import gguf_files
from tests.parity import tiny
from v2v.checkpoints import gguf_blocks, wan
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
