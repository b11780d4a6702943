"""Models of two transformers, as Wan2.2-A14B: folders in every layout, sampling, adapters in pairs, and what can be wrong with them."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest

from tests.checkpoints import small_models, torch_files
from tests.example_clips import picture
from tests.fake_model import FakePretrained
from tests.parity import tiny
from v2v import InputError, Video, load_pretrained, read
from v2v.checkpoints import adapters, model_folder, safetensors_file, wan
from v2v.cli import main
from v2v.diffusion.sampler import LowNoise, Sampler
from v2v.pipeline import batch, manifest
from v2v.pipeline.editor import EasyV2VEditor
from v2v.pipeline.model import SampleRequest
from v2v.runtime.sharding import make_mesh

CFG = small_models.two_transformers()
SHAPE = (1, *CFG.vae.latent_shape(5, 32, 32))


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory):
    return small_models.write(tmp_path_factory.mktemp("pair") / "wan", cfg=CFG)


@pytest.fixture
def folder(shared_folder, tmp_path):
    shutil.copytree(shared_folder, tmp_path / "wan")
    return tmp_path / "wan"


@pytest.fixture(scope="module")
def model(shared_folder):
    return load_pretrained(str(shared_folder), dtype="float32", **small_models.SIZE)


def write_adapter(path, seed_strength=0.3, embed=False):
    adapter = small_models.adapter(CFG, strength=seed_strength)
    if not embed:
        adapter = dataclasses.replace(adapter, embed=None)
    adapters.save_adapter(path, adapter, CFG, dtype="float32")
    return path


def equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_the_folder_tells_both(shared_folder, capsys):
    read = model_folder.read_model_folder(shared_folder).require()
    assert (
        read.config.parts
        == ("dit", "dit_low", "vae", "text")
        == tuple(sorted(read.parts, key=read.config.parts.index))
    )
    assert (read.config.flow.boundary, read.config.flow.low_guidance, read.config.flow.shift) == (
        0.7,
        3.0,
        3.0,
    )
    assert not read.config.dit.frame_times and read.config.fps == 16
    assert main.main(["doctor", "--model", str(shared_folder)]) == 0
    told = capsys.readouterr().out
    assert (
        "nothing is missing" in told
        and "from flow time 0.7 on, below it the low-noise one with guidance 3" in told
    )


def test_original_releases(tmp_path):
    """high_noise_model/ and low_noise_model/ beside files of torch.save; ComfyUI's two files; and one of the two named."""
    for part, name in (("dit", "high_noise_model"), ("dit_low", "low_noise_model")):
        (tmp_path / "wan" / name).mkdir(parents=True)
        file = tmp_path / "wan" / name / "diffusion_pytorch_model.safetensors"
        safetensors_file.write_safetensors(file, tiny.tensors(part, CFG, "original"))
        (file.parent / "config.json").write_text(json.dumps({"_class_name": "WanModel", "num_heads": 3}))
        comfy = (
            tmp_path
            / "comfy"
            / "diffusion_models"
            / f"wan2.2_t2v_{name.removesuffix('_model')}_14B.safetensors"
        )
        comfy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, comfy)
    torch_files.write(tmp_path / "wan" / "Wan2.1_VAE.pth", tiny.tensors("vae", CFG, "original"))
    read = model_folder.read_model_folder(tmp_path / "wan")
    assert set(read.parts) == {"dit", "dit_low", "vae"} and read.config.flow.boundary == 0.875
    for part in ("dit", "dit_low", "vae"):
        expected = tiny.tensors(part, CFG, "original")
        for name in ("patch_embedding.weight", "conv2.weight"):
            if name in expected:
                np.testing.assert_array_equal(read.parts[part].read(name), expected[name])
    (tmp_path / "comfy" / "config.json").write_text(json.dumps({"num_heads": 3}))
    for path in (tmp_path / "comfy", comfy):  # the folder, and the low-noise file
        read = model_folder.read_model_folder(path)
        assert "high_noise" in read.parts["dit"].path.name and "low_noise" in read.parts["dit_low"].path.name
    comfy.with_name(comfy.name.replace("low", "high")).unlink()
    with pytest.raises(InputError, match="expected a whole model, missing the second, low-noise transformer"):
        model_folder.read_model_folder(comfy).require()


def test_a_transformer_is_missing_or_of_another_model(folder):
    shutil.move(folder / "transformer_2", folder / "moved")
    with pytest.raises(
        InputError, match="missing the second, low-noise transformer .transformer_2/ or low_noise_model/"
    ):
        load_pretrained(str(folder))
    shutil.move(folder / "moved", folder / "transformer_2")
    shutil.move(folder / "transformer", folder.parent / "moved")
    with pytest.raises(
        InputError, match="has the low-noise transformer of two alone, missing the high-noise one"
    ):
        load_pretrained(str(folder))
    shutil.move(folder.parent / "moved", folder / "transformer")
    other = dataclasses.replace(CFG, dit=dataclasses.replace(CFG.dit, layers=1))
    shutil.rmtree(folder / "transformer_2")
    small_models.write(folder.parent / "other", cfg=other)
    shutil.copytree(folder.parent / "other" / "transformer_2", folder / "transformer_2")
    with pytest.raises(InputError, match=r"two transformers are of different models .layers 2 and 1"):
        load_pretrained(str(folder))


@pytest.mark.slow
def test_sampling_takes_each_for_its_noise(model, shared_folder):
    """The model's own way through both stores is the sampler's with both trees."""
    noise, text, null = (
        tiny.normal(name, *shape) for name, shape in (("n", SHAPE), ("t", (1, 512, 20)), ("u", (1, 512, 20)))
    )
    request = SampleRequest(None, None, None, text, noise, 4, 2.0, negative=null, low_guidance=1.5)
    ours = model.sample(request).latents
    trees = {part: wan.load_part(part, model_folder.read_model_folder(shared_folder).parts[part], model.config) for part in ("dit", "dit_low")}  # fmt: skip
    low = LowNoise(lambda: {"params": trees["dit_low"], "embed": {}}, 1.5)
    sampler = Sampler(model.config)
    expected = sampler({"params": trees["dit"], "embed": {}}, noise, text, null, {}, 4, 2.0, low=low).latents
    np.testing.assert_array_equal(ours, expected)
    alone = dataclasses.replace(request, low_guidance=2.5)
    assert np.abs(np.asarray(model.sample(alone).latents) - np.asarray(ours)).max() > 1e-3


def test_adapters_come_in_pairs(model, tmp_path):
    base = {part: model._variables(part, streams=False) for part in ("dit", "dit_low")}
    file = write_adapter(tmp_path / "a.safetensors")
    high = model.with_lora(file, transformer="high")
    equal(high._variables("dit_low", streams=False), base["dit_low"])
    both = high.with_lora(file, 0.5, transformer="low")
    assert both.adapter("dit") is not None and both.adapter("dit_low") is not None and model.adapter() is None
    for part in ("dit", "dit_low"):
        before, after = (m["params"]["blocks"]["ffn"]["up"]["kernel"] for m in (base[part], both._variables(part, streams=False)))  # fmt: skip
        assert np.abs(before - after).max() > 1e-3
    assert main.main(["convert", str(tmp_path / "a.safetensors"), str(tmp_path / "b.safetensors")]) == 2


def test_one_file_with_both_as_diffusers_writes_it(model, tmp_path):
    file = write_adapter(tmp_path / "a.safetensors")
    tensors = {}
    for name in (files := wan.TensorFiles.open(file)).slots:
        key = name.removeprefix("diffusion_model.")
        x = files.read(name)
        tensors[f"transformer.{key}"], tensors[f"transformer_2.{key}"] = x, 2 * x
    safetensors_file.write_safetensors(tmp_path / "both.safetensors", tensors)
    both = model.with_lora(tmp_path / "both.safetensors")
    apart = model.with_lora(file, transformer="high")
    equal(both._variables("dit", streams=False), apart._variables("dit", streams=False))
    factor = both.adapter("dit_low").lora["blocks"]["ffn"]["up"]["a"]
    np.testing.assert_allclose(factor, 2 * both.adapter("dit").lora["blocks"]["ffn"]["up"]["a"])


def test_adapters_for_the_wrong_one(model, tmp_path):
    file = write_adapter(tmp_path / "a.safetensors")
    named = shutil.copy(file, tmp_path / "edit_High-Noise.safetensors")
    low = {"transformer_2.blocks.0.attn1.to_q.lora_A.weight": np.zeros((2, 60), np.float32)}
    low["transformer_2.blocks.0.attn1.to_q.lora_B.weight"] = np.zeros((60, 2), np.float32)
    safetensors_file.write_safetensors(tmp_path / "second.safetensors", low)
    single = load_pretrained("embedded")
    for words, opened, path, transformer in (
        ("got one; pass the pair with --lora-high and --lora-low", model, file, None),
        ("high-noise transformer by its name, expected one of the low-noise; pass it with --lora-high", model, named, "low"),
        ("is an adapter of the low-noise transformer .* pass it with --lora-low", model, tmp_path / "second.safetensors", "high"),
        ("embedded has a single one; pass it with --lora", single, file, "low"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=words):
            opened.with_lora(path, transformer=transformer)
    half = model.with_lora(write_adapter(tmp_path / "e.safetensors", embed=True), transformer="high")
    with pytest.raises(InputError, match="the low-noise one has none; pass its file with --lora-low"):
        half.embed_text(["make it sepia"])
    assert half.with_lora(tmp_path / "e.safetensors", transformer="low").conditions == ("source", "mask", "reference")  # fmt: skip


@pytest.mark.slow
def test_converted_folders_keep_both(shared_folder, tmp_path):
    file = write_adapter(tmp_path / "a.safetensors", embed=True)
    words = ["convert", shared_folder, tmp_path / "fast", "--lora-high", file, "--lora-low", file]
    assert main.main([str(word) for word in words]) == 0
    opened = load_pretrained(str(tmp_path / "fast"), **small_models.SIZE)
    plain = load_pretrained(str(shared_folder), **small_models.SIZE)
    assert opened.conditions == ("source", "mask", "reference") and opened.config.flow.boundary == 0.7
    equal(opened.parameters("dit_low"), plain.parameters("dit_low"))
    assert opened.adapter("dit_low") is not None


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2])
def test_a_manifest_line_brings_its_pair(shared_folder, tmp_path, devices):
    """A line's pair does what `--lora-high` and `--lora-low` do, alone and beside other jobs on several devices, and is gone at the next line."""
    Video.from_array(picture(5, 32, 32), 16.0).save(tmp_path / "in.mp4")
    write_adapter(tmp_path / "a.safetensors", embed=True)
    write_adapter(tmp_path / "b.safetensors", 0.1, embed=True)
    settings = {"steps": 3, "detail": "model", "crf": 0, "pix_fmt": "yuv444p"}
    names = ("a.safetensors", "b.safetensors")
    lines = [
        {"video": "in.mp4", "instruction": "make it", "output": f"{high[0]}{low[0]}.mkv", "lora_high": high, "lora_low": low} | settings
        for high, low in (names, names[::-1])
    ] + [{"video": "in.mp4", "instruction": "make it", "output": "none.mkv"} | settings]  # fmt: skip
    (tmp_path / "jobs.jsonl").write_text("\n".join(map(json.dumps, lines)))
    mesh = make_mesh(data=devices, devices=jax.devices()[:devices]) if devices > 1 else None
    model = load_pretrained(str(shared_folder), **small_models.SIZE)
    jobs = manifest.read_manifest(tmp_path / "jobs.jsonl")
    running = batch.run_jobs(EasyV2VEditor(model), jobs, tmp_path / "out", mesh=mesh)
    results = sorted(running, key=lambda result: result["line"])
    assert [result["status"] for result in results] == ["done", "done", "failed"]
    assert "never trained to edit" in results[2]["error"]
    words = [
        "edit",
        "in.mp4",
        "make it",
        "--model",
        "MODEL",
        "--size",
        "32x32x5",
        "--steps",
        "3",
        "--detail",
        "model",
    ]
    words += [
        "--crf",
        "0",
        "--pix-fmt",
        "yuv444p",
        "-o",
        "alone.mkv",
        "--lora-high",
        "a.safetensors",
        "--lora-low",
        "b.safetensors",
    ]
    words = [str(tmp_path / word) if "." in word else word for word in words]
    words[words.index("MODEL")] = str(shared_folder)
    assert main.main(words) == 0
    alone, pair, turned = (read(tmp_path / name).frames for name in ("alone.mkv", "out/ab.mkv", "out/ba.mkv"))
    assert np.abs(alone.astype(int) - pair).max() <= (0 if devices == 1 else 1)
    assert np.abs(pair.astype(int) - turned).max() > 4


def test_a_first_frame_and_the_second_guidance_need_a_model_for_them(model):
    editor = EasyV2VEditor(model)
    frame = np.zeros((32, 32, 3), np.uint8)
    with pytest.raises(InputError, match="trained with the same noise on all frames and takes none"):
        editor.generate("a red car", first_frame=frame)
    with pytest.raises(InputError, match="has one transformer, for which it would do nothing"):
        EasyV2VEditor(FakePretrained()).edit_video(
            np.zeros((5, 32, 32, 3), np.uint8), "make it sepia", low_guidance=2.0
        )
