"""Adapters and models as others get them: both conventions of names, a card with the data's licences, uploads to a hub on this machine."""

import dataclasses
import json

import huggingface_hub.constants as hf
import numpy as np
import pytest

from tests import tiny_model
from tests.checkpoints import small_models
from tests.loopback_hub import TOKEN, LoopbackHub
from v2v.checkpoints import adapter_release, adapters, hub, hub_upload
from v2v.checkpoints.flat_tree import flatten_tree
from v2v.checkpoints.tensor_files import TensorFiles
from v2v.cli import main
from v2v.config import LoRAConfig
from v2v.errors import InputError
from v2v.pipeline.editor import EasyV2VEditor

FACTS = adapter_release.TrainingFacts(
    base="Wan-AI/Wan2.2-TI2V-5B-Diffusers",
    steps=2000,
    lora=LoRAConfig(rank=32, alpha=16),
    sizes={(81, 480, 832): 15, (1, 480, 832): 4},
    licences={"CC-BY-4.0": 12, "not stated": 7},
    sets=("my.csv",),
    instructions=("make it night", "remove the dog"),
    best=(1500, 0.1234),
)


@pytest.fixture
def server(tmp_path, monkeypatch):
    with LoopbackHub({}, uploads=tmp_path / "uploads") as running:
        monkeypatch.setattr(hf, "ENDPOINT", running.url)
        monkeypatch.setattr(
            hf, "HUGGINGFACE_CO_URL_TEMPLATE", running.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(hf, "HF_HUB_CACHE", str(tmp_path / "cache" / "hub"))
        monkeypatch.setattr(hf, "HF_TOKEN_PATH", str(tmp_path / "cache" / "token"))
        monkeypatch.setattr(hf, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(hf, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.chdir(tmp_path)
        hub.forget()
        yield running
    hub.forget()


@pytest.fixture
def release(tmp_path):
    cfg = small_models.config()
    adapter = dataclasses.replace(small_models.adapter(cfg), scale=0.5)
    return cfg, adapter, adapter_release.write_release(tmp_path / "mine" / "export", adapter, cfg, FACTS)


def test_both_conventions_hold_the_same_scaled_updates_and_the_schedule(release):
    cfg, adapter, written = release
    names = [path.relative_to(written.folder).as_posix() for path in written.files]
    assert names == [
        "pytorch_lora_weights.safetensors", "pytorch_lora_weights.embeds.safetensors",
        "comfyui/mine.safetensors", "comfyui/mine.embeds.safetensors", "README.md",
    ]  # fmt: skip
    loaded = [adapters.load_adapter(written.folder / names[i], cfg) for i in (0, 2)]
    expected = {k: v * (0.5 if k.endswith("/b") else 1) for k, v in flatten_tree(adapter.lora).items()}
    for other in loaded:
        assert (other.sampling.shift, other.sampling.steps) == (cfg.flow.shift, cfg.flow.steps)
        assert other.condition == cfg.condition and set(other.embed) == set(adapter.embed)
        for path, value in flatten_tree(other.lora).items():
            np.testing.assert_allclose(value, expected[path], rtol=1e-2, atol=1e-3)
    prefixes = [
        next(iter(TensorFiles.open(written.folder / names[i]).slots)).partition(".")[0] for i in (0, 2)
    ]
    assert prefixes == ["transformer", "diffusion_model"]


def test_the_card_tells_base_schedule_and_licences(release):
    _, _, written = release
    card = (written.folder / "README.md").read_text()
    head, _, text = card.removeprefix("---\n").partition("\n---\n")
    assert 'base_model: "Wan-AI/Wan2.2-TI2V-5B-Diffusers"' in head and "license: other" in head
    for line in (
        '--lora pytorch_lora_weights.safetensors --size 832x480x81', "| CC-BY-4.0 | 12 |", "| not stated | 7 |", "Apache-2.0",
        "| rank | 32 |", "(self_attn\\|cross_attn)", "| scale | 0.5, ", "0.1234 at step 1500", "- remove the dog", "81 x 480 x 832: 15",
    ):  # fmt: skip
        assert line in text, line


def test_a_release_is_uploaded_and_used_by_its_name(release, server, capsys):
    cfg, adapter, written = release
    assert main.main(["models", "--push", str(written.folder), "org/edits", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["output"] == f"{server.url}/org/edits"
    there = server.repositories["org/edits"]
    for path in written.files:
        assert (there / path.relative_to(written.folder)).read_bytes() == path.read_bytes()
    assert server.messages == ["Upload with v2v"]
    # The repository's name alone means the file that diffusers looks for.
    loaded = adapters.load_adapter("org/edits", cfg)
    assert set(flatten_tree(loaded.lora)) == set(flatten_tree(adapter.lora)) and loaded.embed


def test_what_cannot_be_uploaded_is_told(release, server, monkeypatch, tmp_path):
    _, _, written = release
    with pytest.raises(InputError, match="expected ORG/NAME, the repository to upload to"):
        hub_upload.push_folder(written.folder, "edits")
    with pytest.raises(InputError, match="expected a folder with files to upload"):
        hub_upload.push_folder(tmp_path / "none", "org/edits")
    with pytest.raises(InputError, match="needs HF_TOKEN, a token that may write to others"):
        hub_upload.push_folder(written.folder, "others/edits")
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(InputError, match="needs HF_TOKEN, a token that may write to org"):
        hub_upload.push_folder(written.folder, "org/edits")
    assert main.main(["models", "--private"]) == 2


@pytest.mark.slow
def test_an_editor_is_saved_and_pushed_with_its_adapters(server, tmp_path):
    (tmp_path / "tiny").mkdir()
    editor = EasyV2VEditor(str(tiny_model.write(tmp_path / "tiny")))
    assert editor.save_pretrained(tmp_path / "saved") == tmp_path / "saved"
    again = EasyV2VEditor.from_pretrained(tmp_path / "saved")
    for path, value in flatten_tree(editor.model.parameters("dit")).items():
        np.testing.assert_allclose(flatten_tree(again.model.parameters("dit"))[path], value, atol=1e-6)
    expected = flatten_tree(editor.model.adapter().lora)
    assert set(flatten_tree(again.model.adapter().lora)) == set(expected)
    with pytest.raises(InputError, match="already there"):
        editor.save_pretrained(tmp_path / "saved")
    assert editor.push_to_hub("org/tiny", private=True) == f"{server.url}/org/tiny"
    there = EasyV2VEditor.from_pretrained("org/tiny")
    for path, value in flatten_tree(there.model.adapter().lora).items():
        np.testing.assert_allclose(value, expected[path], atol=1e-6)
