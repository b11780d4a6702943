"""Published editors among folders: told by config.json, names and folders; mixed releases are refused before anything is read."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from tests.checkpoints import small_models
from tests.parity import published_editors, tiny
from v2v.checkpoints import editor_folder, hub_files, known_models, safetensors_file
from v2v.checkpoints.model_folder import read_model_folder
from v2v.config import ConditionConfig, VAEConfig
from v2v.errors import InputError, collect_notes
from v2v.language.task_prompts import WAN_NEGATIVE


def write_bernini(path, **top):
    """A folder of a Wan2.1-type backbone with the config.json of Bernini-R's release."""
    cfg = small_models.config()
    vae = VAEConfig(
        base_dim=4, decoder_base_dim=4, z_dim=tiny.Z, dim_mult=(1, 2, 2), num_res_blocks=0, temporal_downsample=(True, True),
        patch=1, residual=False, **tiny.STATS,
    )  # fmt: skip
    tiny.write_folder(path, dataclasses.replace(cfg, vae=vae))
    for name in ("tokenizer", "scheduler"):
        (path / name).mkdir()
    shutil.copy(small_models.TOKENIZER, path / "tokenizer" / "tokenizer.json")
    scheduler = small_models.SCHEDULER | {"_diffusers_version": "0.35.2"}
    (path / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    if top:
        (path / "config.json").write_text(json.dumps(top))
    return path


def write_kiwi(path, *, reference: bool = True, reference_first: bool = False, vae: VAEConfig | None = None):
    """A folder as the release exports it: the autoencoder under its original names beside a configuration of another program."""
    config = small_models.config()
    if vae is not None:
        config = dataclasses.replace(config, vae=vae, height=64, width=64)
    tiny.write_folder(path, config)
    shutil.rmtree(path / "text_encoder")
    originals = tiny.tensors("vae", config, "original")
    safetensors_file.write_safetensors(path / "vae" / "diffusion_pytorch_model.safetensors", originals)
    (path / "vae" / "config.json").write_text(json.dumps({"_class_name": "VAE", "dim": 4, "z_dim": tiny.Z}))
    (path / "model_index.json").write_text(
        json.dumps({"_class_name": ["pipeline_kiwi_edit", "KiwiEditPipeline"]})
    )
    for name, folder in editor_folder.EMBEDDERS.items():
        (path / folder).mkdir()
        settings = {"_class_name": "ConditionalEmbedder", "ref_pad_first": reference_first}
        (path / folder / "config.json").write_text(json.dumps(settings))
        if name == "source" or reference:
            weight, bias = published_editors.embedder(name)
            tensors = {"patch_embedding.weight": weight, "patch_embedding.bias": bias}
            safetensors_file.write_safetensors(path / folder / "diffusion_pytorch_model.safetensors", tensors)
    return path


def test_bernini_is_told_by_its_configuration(tmp_path):
    config = read_model_folder(write_bernini(tmp_path / "model", model_type="bernini_renderer")).config
    assert config.condition == ConditionConfig(layout="segments", time="same")
    flow = config.flow
    # The release samples with this shift whatever its scheduler says.
    assert (flow.shift, flow.steps, flow.solver, flow.schedule) == (5.0, 40, "unipc", "wan")
    assert (flow.guidance, flow.guidance_reference, flow.guidance_source) == (4.0, 4.5, 1.25)
    assert flow.negative == WAN_NEGATIVE and (config.frames, config.fps) == (81, 16)


def test_bernini_is_told_by_a_name_with_a_note(tmp_path):
    with collect_notes() as notes:
        config = read_model_folder(write_bernini(tmp_path / "wan2.1_Bernini_1.3B")).config
    assert config.condition.layout == "segments" and "because of its name" in notes[0]
    assert read_model_folder(write_bernini(tmp_path / "wan")).config.condition.layout == "sequence"


def test_sizes_of_another_model_in_the_configuration_are_not_believed(tmp_path):
    """A release of the small model had the large one's transformer/config.json; heads of this family are 128 wide."""
    cfg = small_models.config()
    wide = dataclasses.replace(cfg, dit=dataclasses.replace(cfg.dit, width=256, heads=2))
    path = tiny.write_folder(tmp_path / "model", wide)
    file = path / "transformer" / "config.json"
    values = json.loads(file.read_text())
    file.write_text(json.dumps(values | {"num_attention_heads": 40, "attention_head_dim": 128}))
    assert read_model_folder(path).config.dit.heads == 2


@pytest.mark.parametrize(
    "top, words",
    [({"model_type": "bernini"}, "with its planner"), ({"model_type": "bernini_renderer"}, "mixes releases")],
)
def test_other_berninis_are_refused(tmp_path, top, words):
    folder = small_models.write(tmp_path / "model")  # a backbone with residual paths
    (folder / "config.json").write_text(json.dumps(top))
    with pytest.raises(InputError, match=words):
        read_model_folder(folder)


@pytest.mark.parametrize("reference, first", [(False, False), (True, False), (True, True)])
def test_kiwi_is_told_by_its_embedders(tmp_path, reference, first):
    folder = read_model_folder(write_kiwi(tmp_path / "model", reference=reference, reference_first=first))
    folder.require()
    condition = folder.config.condition
    assert (condition.layout, condition.context, condition.time) == ("scaled_add", "stored", "same")
    assert condition.reference == ("before" if first else "after") and "text" not in folder.config.parts
    flow = folder.config.flow
    assert (flow.guidance, flow.solver, flow.schedule, flow.steps) == (1.0, "euler", "diffsynth", 50)
    embed = editor_folder.load_embeddings(dict(folder.embedders), folder.config)
    assert set(embed) == ({"source", "reference"} if reference else {"source"})
    weight, bias = published_editors.embedder("source")
    np.testing.assert_array_equal(embed["source"]["kernel"], weight.reshape(len(bias), -1).T)
    np.testing.assert_array_equal(embed["source"]["bias"], bias)


def test_mixed_releases_of_kiwi_are_refused(tmp_path):
    folder = write_kiwi(tmp_path / "model")
    shutil.copytree(small_models.write(tmp_path / "wan") / "text_encoder", folder / "text_encoder")
    with pytest.raises(InputError, match="mixes releases: Kiwi-Edit has no text encoder"):
        read_model_folder(folder)
    shutil.rmtree(folder / "text_encoder")
    weight, bias = published_editors.embedder("source")
    tensors = {"patch_embedding.weight": weight[:, :3], "patch_embedding.bias": bias}
    file = folder / "source_embedder" / "diffusion_pytorch_model.safetensors"
    safetensors_file.write_safetensors(file, tensors)
    with pytest.raises(InputError, match=r"source_embedder expected .* different releases"):
        read_model_folder(folder)
    file.unlink()
    with pytest.raises(InputError, match="would not see the clip"):
        read_model_folder(folder)
    lucy = small_models.write(tmp_path / "lucy", 2 * tiny.Z)
    shutil.rmtree(lucy / "text_encoder")
    shutil.copytree(write_kiwi(tmp_path / "other") / "source_embedder", lucy / "source_embedder")
    with pytest.raises(InputError, match="takes the source as further channels"):
        read_model_folder(lucy)


def test_what_is_fetched_of_kiwi():
    files = [
        "model_index.json", "transformer/config.json", "transformer/diffusion_pytorch_model.safetensors", "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors", "source_embedder/config.json", "source_embedder/diffusion_pytorch_model.safetensors",
        "ref_embedder/config.json", "ref_embedder/diffusion_pytorch_model.safetensors",
    ]  # fmt: skip
    others = [
        "mllm_encoder/model-00001-of-00002.safetensors",
        "mllm_encoder/mllm_encoder.py",
        "processor/vocab.json",
    ]
    assert hub_files.select_files([*files, *others]) == sorted(files)


def test_licences_that_forbid_uses_are_told():
    assert "non-commercial" in known_models.licence_note("Lucy-Edit-1.1-Dev")
    assert known_models.licence_note("ByteDance/Bernini-R-1.3B-Diffusers") == ""
    assert known_models.licence_note("my-model") == ""
