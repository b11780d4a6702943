"""Checkpoints that are damaged, or of another model: each is one InputError, raised before tensors are read where it can be."""

import json
import pickle

import ml_dtypes
import numpy as np
import pytest

from tests.parity import tiny
from v2v.checkpoints import model_folder as folders
from v2v.checkpoints import safetensors_file, wan
from v2v.checkpoints.tensor_files import TensorFiles
from v2v.errors import InputError

CFG = tiny.config()


def test_all_mismatches_are_listed_with_the_nearest_name(tmp_path):
    tensors = tiny.tensors("dit", CFG)
    for i in range(2):
        tensors[f"blocks.{i}.attn1.to_query.weight"] = tensors.pop(f"blocks.{i}.attn1.to_q.weight")
    tensors["proj_out.weight"] = tensors["proj_out.weight"][:, :-1].copy()
    safetensors_file.write_safetensors(tmp_path / "m.safetensors", tensors)
    with pytest.raises(InputError) as error:
        wan.load_part("dit", tmp_path / "m.safetensors", CFG)
    text = str(error.value)
    assert "2 missing, 2 unexpected, 1 mis-shaped" in text and "\n" not in text
    assert "blocks.{0-1}.attn1.to_q.weight missing, nearest is blocks.N.attn1.to_query.weight" in text
    assert "blocks.{0-1}.attn1.to_query.weight unexpected" in text
    assert "proj_out.weight shape [24, 59], expected [24, 60]" in text


def test_truncated_shard(copy):
    shard = next((copy / "transformer").glob("*00002-of-00002.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-100])
    refused(copy, "00002-of-00002.safetensors: truncated: its header promises")


def test_cut_inside_the_header(copy):
    (copy / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(b"\x40\x00\x00\x00\x00\x00\x00\x00{")
    refused(copy, "its header can't be read")


def test_index_names_a_missing_file(copy):
    next((copy / "transformer").glob("*00001-of-00002.safetensors")).unlink()
    refused(copy, "names 2 files, 1 not there: diffusion_pytorch_model-00001-of-00002.safetensors")


def test_index_names_a_missing_tensor(copy):
    index = next((copy / "transformer").glob("*.index.json"))
    message = json.loads(index.read_text())
    message["weight_map"]["blocks.9.nothing"] = "diffusion_pytorch_model-00001-of-00002.safetensors"
    index.write_text(json.dumps(message))
    refused(copy, "1 tensors of the index are in none of its files, first blocks.9.nothing")


def test_broken_json(copy):
    (copy / "vae" / "config.json").write_text("{")
    refused(copy, "expected JSON")


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_values_that_are_no_numbers(tmp_path, value, dtype):
    tensors = {n: t.astype(dtype) for n, t in tiny.tensors("text", CFG).items()}
    tensors["encoder.block.1.layer.1.DenseReluDense.wo.weight"][3, 4] = value
    safetensors_file.write_safetensors(tmp_path / "m.safetensors", tensors)
    with pytest.raises(InputError, match="block.1.layer.1.DenseReluDense.wo.weight holds NaN or infinite"):
        wan.load_part("text", tmp_path / "m.safetensors", CFG)


def test_wrong_dtype(tmp_path):
    tensors = tiny.tensors("text", CFG)
    tensors["shared.weight"] = tensors["shared.weight"].astype(np.int8)
    safetensors_file.write_safetensors(tmp_path / "m.safetensors", tensors)
    with pytest.raises(
        InputError, match="expected tensors of F64, F32, F16, BF16, F8_E4M3, F8_E5M2, but shared.weight is I8"
    ):
        wan.match_tensors(
            "text", TensorFiles.open(tmp_path / "m.safetensors"), CFG
        )  # before anything is read


def test_pickles_that_are_no_files_of_torch(tmp_path):
    (tmp_path / "Wan2.2_VAE.pth").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(
        InputError, match="expected a file of torch.save, could not read it .* older than torch 1.6"
    ):
        wan.load_part("vae", tmp_path / "Wan2.2_VAE.pth", CFG)
    safetensors_file.write_safetensors(tmp_path / "dit.safetensors", tiny.tensors("dit", CFG))
    refused(tmp_path, "Wan2.2_VAE.pth: expected a file of torch.save")


@pytest.mark.parametrize(
    "file, words",
    [
        ("model.pt", "model.pt: expected a file of torch.save, could not read it"),
        ("wan-Q4.gguf", "wan-Q4.gguf: expected a GGUF file"),
    ],
)
def test_transformers_in_files_that_are_not_read_are_named(tmp_path, file, words):
    (tmp_path / file).write_bytes(b"")
    refused(tmp_path, words)


@pytest.mark.parametrize(
    "width, channels, out, words",
    [
        (1536, 48, 16, "48 channels in and 16 out"),
        (5120, 36, 16, "image-to-video model, such as Wan2.2-I2V-A14B"),
        (3072, 100, 48, "image-to-video model, .* .100 channels in"),
    ],
)
def test_relatives_of_the_backbone_are_named(tmp_path, width, channels, out, words):
    """Whatever else lies beside them that can't be read either."""
    (tmp_path / "models_t5_umt5-xxl-enc-bf16.pth").write_bytes(b"")
    tensors = {
        "patch_embedding.weight": np.zeros((width, channels, 1, 2, 2), ml_dtypes.bfloat16),
        "proj_out.weight": np.zeros((out * 4, 1), ml_dtypes.bfloat16),
    }
    safetensors_file.write_safetensors(tmp_path / "m.safetensors", tensors)
    refused(tmp_path, words)


def test_no_model_at_all(tmp_path):
    refused(tmp_path, "found none")
    refused(tmp_path / "nowhere", "found no folder")


def refused(path, words):
    with pytest.raises(InputError, match=words) as error:
        folders.read_model_folder(path)
    assert "\n" not in str(error.value)
