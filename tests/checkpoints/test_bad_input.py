"""What can be wrong with a folder or an adapter: one error each, in one line, exit code 2, before any weight is read or clip edited."""

import json

import ml_dtypes
import numpy as np
import pytest

from tests.checkpoints import small_models
from tests.example_clips import picture
from tests.parity import tiny
from v2v import InputError, Video, load_pretrained
from v2v.checkpoints import adapters, safetensors_file, wan
from v2v.checkpoints.tensor_files import TensorFiles
from v2v.cli import main
from v2v.errors import collect_notes
from v2v.runtime import host_memory

CFG = small_models.config()
SHARD = "transformer/diffusion_pytorch_model-00002-of-00002.safetensors"
VAE = "vae/diffusion_pytorch_model.safetensors"


@pytest.fixture
def folder(tmp_path):
    path = small_models.write(tmp_path / "wan")
    adapters.save_adapter(tmp_path / "edit.safetensors", small_models.adapter(CFG), CFG)
    return path


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """Runs `v2v edit` and returns the one line it ends with."""

    def nothing_is_read(*args, **kwargs):
        raise AssertionError("weights were read")

    Video.from_array(picture(5, 32, 32), 10).save(tmp_path / "in.mp4")

    def run(model, *more, reads=False, size="32x32x5"):
        if not reads:
            monkeypatch.setattr(wan, "load_part", nothing_is_read)
        words = [
            "edit",
            tmp_path / "in.mp4",
            "make it sepia",
            "-o",
            tmp_path / "out.mp4",
            "--model",
            model,
            "--steps",
            1,
        ]
        if "--lora" not in more:
            more = (*more, "--lora", tmp_path / "edit.safetensors")
        assert main.main([str(w) for w in (*words, "--size", size, *more)]) == 2
        assert not list(tmp_path.glob("out*")) and not list(tmp_path.glob(".out*"))
        report = capsys.readouterr().err.strip().splitlines()
        report = [
            line for line in report if not line.startswith("v2v: note: memory: ")
        ]  # of a device that is too small
        assert len(report) == 1 and report[0].startswith("v2v: error: "), report
        return report[0]

    return run


def rewrite(path, change) -> None:
    """A safetensors file with its tensors changed in place."""
    files = TensorFiles.open(path)
    tensors = {name: files.read(name) for name in files.slots}
    change(tensors)
    safetensors_file.write_safetensors(path, tensors)


def config(path, **fields) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_truncated_shard(folder, refused):
    (folder / SHARD).write_bytes((folder / SHARD).read_bytes()[:-50])
    assert "00002-of-00002.safetensors: truncated: its header promises" in refused(folder)


def test_index_names_a_missing_file(folder, refused):
    (folder / SHARD).unlink()
    assert "names 2 files, 1 not there: diffusion_pytorch_model-00002-of-00002" in refused(folder)


def test_wrong_types(folder, refused):
    """Quantised checkpoints, whatever they add beside the weights."""

    def quantise(tensors):
        tensors["blocks.0.attn1.to_q.weight"] = tensors["blocks.0.attn1.to_q.weight"].astype(np.int8)
        tensors["blocks.0.attn1.to_q.scale_weight"] = np.float32([1.0])

    for shard in sorted((folder / "transformer").glob("*.safetensors")):
        if "blocks.0.attn1.to_q.weight" in TensorFiles.open(shard).slots:
            rewrite(shard, quantise)
    assert "but blocks.0.attn1.to_q.weight is I8; use the unquantized checkpoint" in refused(folder)


@pytest.mark.parametrize(
    "file, part", [(SHARD, "transformer"), (VAE, "vae"), ("text_encoder/model.safetensors", "text")]
)
@pytest.mark.parametrize("memory", [1, 1 << 40])
def test_values_that_are_no_numbers(folder, refused, file, part, memory, monkeypatch):
    """These only show when a tensor is read: before a frame is encoded, and in other parts before the text encoder is read."""
    loaded, load = [], wan.load_part
    monkeypatch.setattr(wan, "load_part", lambda part, *a, **k: (loaded.append(part), load(part, *a, **k))[1])
    monkeypatch.setattr(
        host_memory, "device_bytes", lambda: memory
    )  # too little for the whole model at once, or enough

    def spoil(tensors):
        name = sorted(n for n, x in tensors.items() if x.ndim > 1)[0]
        tensors[name] = tensors[name].astype(ml_dtypes.bfloat16)
        tensors[name].reshape(-1)[7] = np.nan

    rewrite(folder / file, spoil)
    report = refused(folder, reads=True)
    assert "holds NaN or infinite values" in report and part in report
    assert ("text" in loaded) == (part == "text")
    assert ("vae" in loaded) == (memory > 1 and part != "transformer")  # or only looked through


def test_an_autoencoder_of_the_other_type(folder, refused):
    config(folder / "vae" / "config.json", is_residual=False)
    report = refused(folder)
    assert "doesn't fit the vae" in report and "missing" in report


@pytest.mark.parametrize(
    "width, channels, words",
    [
        (5120, 36, "an image-to-video model, such as Wan2.2-I2V-A14B or Wan-Fun-InP (36 channels in"),
        (1536, 48, "48 channels in and 16 out (expected 16 or 32 in), such as Wan-Fun-Control"),
    ],
)
def test_other_backbones(tmp_path, refused, width, channels, words):
    tensors = {
        "patch_embedding.weight": np.zeros((width, channels, 1, 2, 2), ml_dtypes.bfloat16),
        "proj_out.weight": np.zeros((64, 1), ml_dtypes.bfloat16),
    }
    (tmp_path / "wan14").mkdir()
    safetensors_file.write_safetensors(tmp_path / "wan14" / "model.safetensors", tensors)
    report = refused(tmp_path / "wan14", "--lora", "none.safetensors")
    assert words in report and "this package runs Wan2.2-TI2V-5B, Wan2.1-T2V" in report


def test_a_missing_second_transformer(folder, refused):
    (folder / "transformer_2").mkdir()
    assert "expected a whole model, missing the second, low-noise transformer" in refused(folder)


def test_a_licence_without_commercial_use_is_told(folder, tmp_path):
    """By the pipeline of a copy in any folder, or by the folder's name; nothing is told of others."""
    with collect_notes() as notes:
        load_pretrained(str(folder), **small_models.SIZE)
        assert not any("licence" in note for note in notes)
        load_pretrained(str(folder.rename(tmp_path / "Lucy-Edit-1.1-Dev")), **small_models.SIZE)
    assert any("decart-ai/Lucy-Edit-1.1-Dev is published for non-commercial use (Decart" in n for n in notes)
    config(tmp_path / "Lucy-Edit-1.1-Dev" / "model_index.json", _class_name="LucyEditPipeline")
    with collect_notes() as notes:
        load_pretrained(str((tmp_path / "Lucy-Edit-1.1-Dev").rename(tmp_path / "mine")), **small_models.SIZE)
    assert any("decart-ai/Lucy-Edit-Dev is published for non-commercial use" in note for note in notes)


def test_parts_that_are_missing(folder, refused):
    (folder / "tokenizer" / "tokenizer.json").unlink()
    (folder / "text_encoder" / "model.safetensors").unlink()
    assert "missing text_encoder weights (text_encoder/*.safetensors), tokenizer" in refused(folder)


def test_tensors_that_are_missing(folder, refused):
    rewrite(folder / VAE, lambda tensors: tensors.pop("quant_conv.weight"))
    assert "1 missing, 0 unexpected, 0 mis-shaped): quant_conv.weight missing" in refused(folder)


def test_parts_of_different_releases(folder, refused):
    config(folder / "text_encoder" / "config.json", d_model=24)
    assert "its parts don't go together" in refused(folder)


def test_a_tokenizer_of_another_model(folder, refused):
    config(folder / "text_encoder" / "config.json", vocab_size=300)
    rewrite(
        folder / "text_encoder" / "model.safetensors",
        lambda t: t.update({"shared.weight": np.ascontiguousarray(t["shared.weight"][:300])}),
    )
    assert "has 400 tokens, the text encoder 300" in refused(folder)


@pytest.mark.parametrize(
    "size, words",
    [("36x32x5", "sides divisible by 8"), ("24x24x5", "don't divide by the patch"), ("32x32x6", "T = 4n+1")],
)
def test_sizes_the_model_cannot_work_at(folder, refused, size, words):
    assert words in refused(folder, size=size)


def test_no_adapter(folder, refused, tmp_path):
    (tmp_path / "plain.safetensors").write_bytes(
        (tmp_path / "edit.safetensors").read_bytes()
    )  # without embeddings
    assert "was never trained to edit; load an adapter" in refused(
        folder, "--lora", tmp_path / "plain.safetensors"
    )


@pytest.mark.parametrize(
    "width, whose",
    [(5120, "Wan 14B or A14B"), (1536, "Wan 1.3B"), (3072, "Wan2.2-TI2V-5B"), (80, "another backbone")],
)
def test_an_adapter_for_another_backbone(folder, refused, tmp_path, width, whose):
    tensors = {}
    for layer in range(40):
        tensors[f"diffusion_model.blocks.{layer}.self_attn.q.lora_A.weight"] = np.zeros(
            (2, width), np.float32
        )
        tensors[f"diffusion_model.blocks.{layer}.self_attn.q.lora_B.weight"] = np.zeros(
            (width, 2), np.float32
        )
    safetensors_file.write_safetensors(tmp_path / "other.safetensors", tensors)
    report = refused(folder, "--lora", tmp_path / "other.safetensors")
    assert f"is a LoRA for {whose} (width {width}), expected one for wan (width 60)" in report


def test_embeddings_for_another_backbone(folder, refused, tmp_path):
    adapters.save_embeddings(
        tmp_path / "edit.embeds.safetensors",
        {"source": {"kernel": np.zeros((24, 80)), "bias": np.zeros(80)}},
        CFG,
    )
    assert "not the new embeddings for wan" in refused(folder)
    embeds = {"mask": {"kernel": np.zeros((24, 60)), "bias": np.zeros(60)}}
    adapters.save_embeddings(tmp_path / "edit.embeds.safetensors", embeds, CFG)
    assert "none for the source video" in refused(folder)


def test_files_that_are_no_adapters(folder, refused, tmp_path):
    (tmp_path / "x.safetensors").write_text("hello")
    assert "its header can't be read" in refused(folder, "--lora", tmp_path / "x.safetensors")
    assert "found nothing" in refused(folder, "--lora", tmp_path / "y.safetensors")
    (tmp_path / "y.pth").write_bytes(b"x")
    assert "expected a file of torch.save" in refused(folder, "--lora", tmp_path / "y.pth")
    assert "matches no parameter" in refused(folder, "--lora", folder / VAE)


def test_doctor_tells_all_of_it(folder, capsys):
    """One damaged part doesn't hide the others."""
    (folder / SHARD).write_bytes((folder / SHARD).read_bytes()[:-50])
    (folder / VAE).unlink()
    rewrite(folder / "text_encoder" / "model.safetensors", lambda t: t.pop("encoder.final_layer_norm.weight"))
    (folder / "tokenizer" / "tokenizer.json").write_text("{")
    assert main.main(["doctor", "--model", str(folder), "--json"]) == 2
    report = json.loads(capsys.readouterr().out)
    assert [p.split(": ", 1)[1][:29] for p in report["problems"]] == [
        "truncated: its header promise", "missing vae weights (vae/*.sa",
    ]  # fmt: skip
    assert set(report["model"]["parts"]) == {"text"}
    small_models.write(folder.parent / "fresh")
    (folder / SHARD).write_bytes((folder.parent / "fresh" / SHARD).read_bytes())
    assert main.main(["doctor", "--model", str(folder)]) == 2
    report = capsys.readouterr().out
    assert (
        "missing vae weights" in report
        and "encoder.final_layer_norm.weight missing" in report
        and "expected a tokenizer.json" in report
    )


def test_doctor_on_another_file(tmp_path, capsys):
    (tmp_path / "in.mp4").write_bytes(b"0" * 99)
    assert main.main(["doctor", "--model", str(tmp_path / "in.mp4")]) == 2
    told = capsys.readouterr().out
    assert "in.mp4: expected" in told and "missing" not in told


def test_doctor_is_told_whose_values(capsys):
    assert main.main(["doctor", "--values"]) == 2
    assert "name one with --model" in capsys.readouterr().err


def test_doctor_reads_values_when_asked(folder, capsys):
    rewrite(folder / VAE, lambda t: t["quant_conv.weight"].fill(np.inf))
    assert main.main(["doctor", "--model", str(folder)]) == 0
    assert "nothing is missing" in capsys.readouterr().out
    assert main.main(["doctor", "--model", str(folder), "--values"]) == 2
    assert "quant_conv.weight holds NaN or infinite values" in capsys.readouterr().out


def test_doctor_on_a_healthy_folder(folder, tmp_path, capsys):
    assert (
        main.main(["doctor", "--model", str(folder), "--lora", str(tmp_path / "edit.safetensors"), "--json"])
        == 0
    )
    report = json.loads(capsys.readouterr().out)
    model = report["model"]
    assert report["packages"]["jax"] and report["devices"][0]["platform"] == "cpu" and not report["problems"]
    assert model["edits_by"] == ["source", "mask", "reference"] and model["sampling"]["solver"] == "unipc"
    assert model["parameters"] == {
        p: sum(int(np.prod(s)) for s in wan.parameter_shapes(p, CFG).values()) for p in ("dit", "vae", "text")
    }
    assert {p: (v["tensors"], v["layout"], v["types"]) for p, v in model["parts"].items()} == {
        p: (len(tiny.tensors(p, CFG)), "diffusers", ["F32"]) for p in ("dit", "vae", "text")
    }


@pytest.mark.parametrize("size", [{"height": 0}, {"width": -16}, {"frames": -3}])
def test_a_size_of_nothing(size):
    with pytest.raises(InputError, match="a clip needs T = 4n.1 frames"):
        load_pretrained("embedded", **size)


@pytest.mark.parametrize(
    "pipeline, words",
    [("WanCausalDMDPipeline", "earlier ones alone"), ("WanVACEPipeline", "control blocks")],
)
def test_pipelines_that_need_more(folder, refused, pipeline, words):
    """Their folders have every part and would be sampled wrongly without a word."""
    config(folder / "model_index.json", _class_name=pipeline)
    report = refused(folder)
    assert pipeline in report and words in report
    assert main.main(["doctor", "--model", str(folder)]) == 2


def test_unknown_pipelines_and_schedulers_are_noted(folder):
    config(folder / "model_index.json", _class_name="AnotherPipeline")
    config(folder / "scheduler" / "scheduler_config.json", _class_name="DPMSolver", use_karras_sigmas=True)
    with collect_notes() as notes:
        flow = load_pretrained(str(folder), **small_models.SIZE).config.flow
    assert flow.solver == "unipc"
    for words in ("AnotherPipeline", "DPMSolver", "use_karras_sigmas"):
        assert any(words in note for note in notes)
