"""Presets have the published levels; what a user, a preset, an adapter and the model say of sampling goes in that order, with notes."""

import json
import shutil

import numpy as np
import pytest

from tests.checkpoints import small_models
from tests.example_clips import picture
from tests.notes import expect_no_notes, expect_note
from tests.parity import tiny
from v2v import Video
from v2v.checkpoints import adapters, lora_files, native, safetensors_file, wan
from v2v.checkpoints.presets import PRESETS, describe_sampling, find_preset, parse_sampling
from v2v.checkpoints.tensor_files import TensorFiles
from v2v.cli import main
from v2v.config import SamplingConfig
from v2v.errors import InputError, collect_notes
from v2v.pipeline import pretrained
from v2v.pipeline.sampling_choice import note_settings, sampling_of
from v2v.pipeline.settings import EditSettings

# (timesteps, sigmas) as computed by hand from the published lists and tables.
THREE_RAW = ([1000, 757, 522], [1, 2240 / 2960, 960 / 1840])
FOUR_RAW = ([1000, 750, 500, 250], [1, 2184 / 2911, 888 / 1777, 0.25])
FOUR_WARPED = ([1000, 937.5, 833.3333, 625], [1, 0.9375, 0.8333333, 0.625])
PUBLISHED = {
    "fastwan": ("renoise", *THREE_RAW),
    "turbo": ("renoise", *FOUR_RAW),
    "causvid": ("renoise", *THREE_RAW),
    "self-forcing": ("renoise", *FOUR_WARPED),
    "lightx2v": ("euler", *FOUR_WARPED),
    "lightning": ("euler", *FOUR_WARPED),
    "causvid-lora": (
        "euler",
        [1000, 934, 862, 756, 603, 410, 250, 140],
        [1, 0.934, 0.862, 0.756, 0.603, 0.41, 0.25, 0.14],
    ),
}
FEW = SamplingConfig("renoise", 3, levels=find_preset("fastwan").sampling.levels)


@pytest.mark.parametrize("name", PUBLISHED)
def test_levels_are_the_published_ones(name):
    sampling = find_preset(name).sampling
    solver, timesteps, sigmas = PUBLISHED[name]
    assert (sampling.solver, sampling.steps, sampling.guidance) == (solver, len(sigmas), 1.0)
    np.testing.assert_allclose(np.array(sampling.levels).T, [timesteps, sigmas], rtol=2e-6)


def test_every_preset_says_what_it_is_of():
    assert {preset.name for preset in PRESETS} == {*PUBLISHED, "lucy-fastwan"}
    lucy = find_preset("lucy-fastwan")
    assert "unmeasured" in lucy.caution and lucy.adapter.endswith(".safetensors")
    assert (
        describe_sampling(lucy.sampling) == "unipc, 5 steps of schedule diffusers with shift 3, no guidance"
    )
    assert describe_sampling(FEW) == "renoise, 3 steps at sigma 1, 0.757, 0.522, no guidance"
    with pytest.raises(InputError, match=r'got "fastwam"; did you mean fastwan\?'):
        find_preset("fastwam")


@pytest.mark.parametrize(
    "text, words",
    [
        ("[]", "expected an object, got list"),
        ('{"solver": "renoise"}', "missing .* 'steps'"),
        ('{"solver": "ddim", "steps": 3}', "solver: expected one of"),
        ('{"solver": "euler", "steps": 3, "cfg": 1}', "unknown cfg"),
        ('{"solver": "euler", "steps": 2, "levels": [[1000, 1]]}', "one for each of 2 steps"),
        ('{"solver": "euler", "levels": [[1000]]}', "expected pairs"),
        ('{"solver": "euler", "levels": [7]}', "levels"),
        ('{"solver": "euler", "levels": [["a", "b"]]}', "levels"),
        ('{"solver": "euler", "steps": 0}', "steps >= 1"),
        ('{"solver": "euler", "steps": "4"}', "steps"),
        ('{"solver": "euler", "steps": 4, "guidance": null}', "guidance"),
        ('{"solver": ["euler"], "steps": 4}', "solver"),
        ("{", "JSON"),
    ],
)
def test_bad_files_are_one_line(tmp_path, text, words):
    (tmp_path / "mine.json").write_text(text)
    with pytest.raises(InputError, match=words) as caught:
        find_preset(tmp_path / "mine.json")
    assert "\n" not in str(caught.value) and "mine.json" in str(caught.value)
    with pytest.raises(InputError, match="found none"):
        find_preset(tmp_path / "none.json")


def test_a_preset_of_ones_own(tmp_path):
    (tmp_path / "mine.json").write_text('{"solver": "renoise", "levels": [[1000, 1], [757, 0.757]]}')
    preset = find_preset(tmp_path / "mine.json")
    assert preset.name == "mine" and preset.sampling == SamplingConfig(
        "renoise", 2, levels=((1000, 1), (757, 0.757))
    )
    assert parse_sampling(json.loads(json.dumps(vars(FEW)))) == FEW


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return small_models.write(tmp_path_factory.mktemp("t2v") / "Wan2.2-TI2V-5B-Diffusers")


@pytest.fixture(scope="module")
def distilled(folder):
    """An adapter whose header says how it was distilled."""
    path = folder.parent / "fast.safetensors"
    cfg = small_models.config()
    adapter = adapters.Adapter(small_models.adapter(cfg).lora, sampling=FEW)
    adapters.save_adapter(path, adapter, cfg)
    assert adapters.load_adapter(path, cfg).sampling == FEW
    return path


def flow_of(model):
    return sampling_of(model.config.flow)


def test_an_adapter_is_sampled_as_it_was_distilled(folder, distilled):
    plain = pretrained.load_pretrained(folder, **small_models.SIZE)
    assert flow_of(plain).solver == "unipc" and flow_of(plain).levels == ()
    with expect_note(
        "as .*fast.safetensors was distilled: renoise, 3 steps at sigma 1, 0.757, 0.522, no guid"
    ):
        model = plain.with_lora(distilled)
    # Schedule and shift, for other numbers of steps, are the adapter's too.
    assert flow_of(model) == FEW
    with expect_no_notes():
        assert flow_of(plain.with_lora(distilled, 0.0)) == flow_of(plain)
        assert flow_of(model.with_lora(distilled)) == FEW
        note_settings(EditSettings(), model.config)
        note_settings(EditSettings(steps=3, guidance=1.0), model.config)
        note_settings(EditSettings(steps=7), plain.config)
    with expect_note("is meant for renoise, 3 steps .*; with renoise, 8 steps of schedule linear"):
        note_settings(EditSettings(steps=8), model.config)
    with expect_note("with renoise, 3 steps .* guidance 4, as asked, results may be poor"):
        note_settings(EditSettings(guidance=4), model.config)


def test_a_folder_of_a_few_step_pipeline_is_sampled_as_that_is(folder, tmp_path):
    """FastWan's steps are in the code of its pipeline alone; its scheduler_config.json is that of the base model."""
    copy = shutil.copytree(folder, tmp_path / "FastWan")
    (copy / "model_index.json").write_text('{"_class_name": "WanDMDPipeline"}')
    with expect_note("made for WanDMDPipeline, so it is sampled with preset fastwan, renoise, 3 steps"):
        model = pretrained.load_pretrained(copy, **small_models.SIZE)
    assert flow_of(model) == find_preset("fastwan").sampling
    with expect_note("model was distilled for renoise, 3 steps .* with renoise, 4 steps of schedule linear"):
        assert flow_of(pretrained.load_pretrained(copy, **small_models.SIZE, steps=4)).levels == ()


def test_what_the_user_sets_goes_first(folder, distilled):
    user_model = pretrained.load_pretrained(folder, **small_models.SIZE, solver="euler", steps=6)
    with expect_note("fast.safetensors is meant for renoise, 3 .*; with euler, 6 steps of schedule linear"):
        model = user_model.with_lora(distilled)
    flow = flow_of(model)
    assert (flow.solver, flow.steps, flow.levels, flow.guidance) == ("euler", 6, (), 1.0)
    same_steps = pretrained.load_pretrained(folder, **small_models.SIZE, solver="euler", steps=3)
    assert flow_of(same_steps.with_lora(distilled)).levels == FEW.levels


def test_a_preset_goes_before_an_adapter(folder, distilled):
    with collect_notes() as notes:
        model = pretrained.load_pretrained(folder, **small_models.SIZE, preset="turbo", solver="heun")
    assert any("non" in note or "commercially" in note for note in notes)
    assert any("is another backbone" in note for note in notes)
    assert any("preset turbo is meant for renoise, 4" in note and "with heun, 4" in note for note in notes)
    assert (flow_of(model).solver, flow_of(model).steps) == ("heun", 4)
    with expect_note("fast.safetensors is meant for renoise, 3"):
        assert flow_of(model.with_lora(distilled)) == flow_of(model)
    plain = pretrained.load_pretrained(folder, **small_models.SIZE, preset="fastwan")
    with expect_no_notes():
        assert flow_of(plain.with_lora(distilled)) == find_preset("fastwan").sampling


def test_training_of_a_model_with_levels_writes_them(tmp_path, folder):
    model = pretrained.load_pretrained(folder, **small_models.SIZE, preset="fastwan")
    metadata = adapters.adapter_metadata(model.config)
    lora = small_models.adapter(model.config).lora
    native.save_parameters(tmp_path / "lora.safetensors", {"lora": lora}, metadata)
    assert adapters.load_adapter(tmp_path / "lora.safetensors", model.config).sampling == flow_of(model)
    native.save_parameters(tmp_path / "bad.safetensors", {"lora": lora}, {adapters.SAMPLING_KEY: "{}"})
    with pytest.raises(InputError, match="v2v_sampling in its header can't be read"):
        adapters.load_adapter(tmp_path / "bad.safetensors", model.config)
    native.save_config(tmp_path / "config.json", model.config)
    assert native.load_config(tmp_path / "config.json") == model.config
    assert adapters.SAMPLING_KEY not in adapters.adapter_metadata(small_models.config())


def test_an_update_of_the_plain_patch_embedding_is_added_to_the_noise_channels(tmp_path):
    """The LoRA of FastWan is of 48 channels, Lucy's input has 96: noise, then source."""
    wide, narrow = small_models.config(2 * tiny.Z), small_models.config()
    width, patch = narrow.dit.width, narrow.dit.patch
    tensors = {
        "diffusion_model.patch_embedding.lora_down.weight": tiny.normal("a", 3, tiny.Z, *patch),
        "diffusion_model.patch_embedding.lora_up.weight": tiny.normal("b", width, 3, 1, 1, 1),
        "diffusion_model.patch_embedding.diff_b": tiny.normal("c", width),
    }
    path = tmp_path / "fast.safetensors"
    safetensors_file.write_safetensors(path, tensors)
    plain, added = (lora_files.load_lora(path, cfg).lora["patch_embedding"] for cfg in (narrow, wide))
    np.testing.assert_array_equal(added["b"], plain["b"])
    size = len(plain["a"])
    assert added["a"].shape[0] == 2 * size == wan.parameter_shapes("dit", wide)["patch_embedding/kernel"][0]
    np.testing.assert_array_equal(added["a"][:size], plain["a"])
    assert not added["a"][size:].any()
    full = {"patch_embedding.diff": tiny.normal("d", width, tiny.Z, *patch)}
    safetensors_file.write_safetensors(path, full)
    deltas = [lora_files.load_lora(path, cfg).delta for cfg in (narrow, wide)]
    kernels = [delta["patch_embedding"]["kernel"] for delta in deltas]
    np.testing.assert_array_equal(kernels[1][:size], kernels[0])
    assert not kernels[1][size:].any()
    safetensors_file.write_safetensors(path, {"patch_embedding.diff": tiny.normal("d", width, 2, *patch)})
    with pytest.raises(InputError, match="is for another backbone"):
        lora_files.load_lora(path, wide)


@pytest.mark.slow
def test_the_command_line_stores_a_preset_in_an_adapter_and_follows_it(folder, tmp_path, capsys):
    cfg, adapter_file, out = (
        small_models.config(),
        tmp_path / "edit.safetensors",
        tmp_path / "fast.safetensors",
    )
    adapters.save_adapter(adapter_file, small_models.adapter(cfg), cfg)
    (tmp_path / "two.json").write_text('{"solver": "renoise", "levels": [[1000, 1], [600, 0.6]]}')
    words = [
        "convert",
        str(adapter_file),
        str(out),
        "--model",
        str(folder),
        "--preset",
        str(tmp_path / "two.json"),
    ]
    assert main.main([*words, "--format", "diffusers"]) == 0
    loaded = adapters.load_adapter(out, cfg)
    assert loaded.sampling == find_preset(tmp_path / "two.json").sampling and loaded.embed is not None
    assert TensorFiles.open(out).metadata.keys() >= {adapters.SAMPLING_KEY, lora_files.METADATA_KEY}
    Video.from_array(picture(5, 40, 48), 10).save(tmp_path / "in.mp4")
    words = [
        "edit",
        tmp_path / "in.mp4",
        "make it sepia",
        "--model",
        folder,
        "--size",
        "32x32x5",
        "--lora",
        out,
    ]
    capsys.readouterr()
    assert main.main([str(word) for word in [*words, "-o", tmp_path / "a.mp4", "--json"]]) == 0
    captured = capsys.readouterr()
    report = json.loads(captured.out.splitlines()[-1])
    assert (report["steps"], report["guidance"]) == (2, 1.0)
    assert "was distilled: renoise, 2 steps at sigma 1, 0.6, no guidance" in captured.err
