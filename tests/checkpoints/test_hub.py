"""Models and adapters by name, from a hub on 127.0.0.1: what is fetched, resumed and checked, and how each refusal reads."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import huggingface_hub.constants as hf
import numpy as np
import pytest

from tests.checkpoints import gguf_files, small_models, torch_files
from tests.example_clips import picture
from tests.loopback_hub import LARGE_BYTES, TOKEN, LoopbackHub
from tests.parity import tiny
from v2v import EasyV2VEditor, Video, read
from v2v.checkpoints import adapters, hub, hub_cache, hub_client, hub_files, known_models, model_folder
from v2v.cli import main, plan
from v2v.cli.train import load_experiment
from v2v.errors import InputError, collect_notes
from v2v.evaluation.cache import SweepCache
from v2v.evaluation.sweep.methods import grid
from v2v.pipeline import manifest, pretrained

NAME = "org/tiny"
LORA = "org/edits"
GGUF = "org/quantized"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A published model with what nobody needs beside it, and a repository with a LoRA and its embeddings."""
    root = tmp_path_factory.mktemp("hub")
    clean = small_models.write(root / "local" / "tiny")
    model = shutil.copytree(clean, root / "tiny")
    (model / "README.md").write_text("# tiny\n" + "words " * 2000)
    (model / "examples").mkdir()
    (model / "examples" / "clip.mp4").write_bytes(bytes(5000))
    (model / "vae" / "diffusion_pytorch_model.fp16.safetensors").write_bytes(bytes(6000))
    (model / "text_encoder" / "pytorch_model.bin").write_bytes(bytes(6000))
    edits = root / "edits"
    edits.mkdir()
    cfg = small_models.config()
    adapters.save_adapter(edits / "edit.safetensors", small_models.adapter(cfg), cfg)
    quantized = root / "quantized"
    for file in ("tiny-Q8_0.gguf", "tiny-HighNoise-Q8_0.gguf"):
        gguf_files.write(quantized / file, tiny.tensors("dit", cfg))
    gguf_files.write(quantized / "other-Q8_0.gguf", tiny.tensors("dit", small_models.config(2 * tiny.Z)))
    return {NAME: model, LORA: edits, GGUF: quantized}


@pytest.fixture(scope="module")
def local(folders):
    """The published model alone, as a folder of the user's."""
    return folders[NAME].parent / "local" / "tiny"


@pytest.fixture
def server(folders, tmp_path, monkeypatch):
    """A running hub; the library is set to it and to an empty cache, as HF_ENDPOINT and HF_HOME do at its import."""
    with LoopbackHub(folders) as running:
        monkeypatch.setattr(hf, "ENDPOINT", running.url)
        monkeypatch.setattr(
            hf, "HUGGINGFACE_CO_URL_TEMPLATE", running.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(hf, "HF_HUB_CACHE", str(tmp_path / "cache" / "hub"))
        monkeypatch.setattr(hf, "HF_TOKEN_PATH", str(tmp_path / "cache" / "token"))
        monkeypatch.setattr(hf, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(
            hf, "DOWNLOAD_CHUNK_SIZE", 1000
        )  # what is kept of a broken answer are whole chunks
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.chdir(tmp_path)
        hub.forget()
        yield running
    hub.forget()


def test_names():
    def parts(text):
        name = hub_client.parse_hub_name(text)
        return name and (name.repository, name.file, name.revision)

    assert parts("Wan-AI/Wan2.2-TI2V-5B-Diffusers") == ("Wan-AI/Wan2.2-TI2V-5B-Diffusers", "", None)
    assert parts("org/name@refs/pr/3") == ("org/name", "", "refs/pr/3")
    assert parts("org/name/a/b.safetensors@v1") == ("org/name", "a/b.safetensors", "v1")
    no_names = (
        "./org/name",
        "../name",
        "/org/name",
        "name",
        "org/name/",
        "org/a.safetensors",
        "org/a/b",
        "a b/c",
        "~/x",
        "C:/x",
        "",
    )
    assert not any(map(parts, no_names))
    assert parts("org/name/b/a-Q4_K_M.gguf") == ("org/name", "b/a-Q4_K_M.gguf", None)
    assert str(hub_client.parse_hub_name("org/name/a.safetensors@v1")) == "org/name/a.safetensors@v1"


def test_a_path_goes_before_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org" / "tiny").mkdir(parents=True)
    assert hub_client.find_hub_name("org/tiny") is None and hub.resolve_model("org/tiny") == Path("org/tiny")
    assert hub_client.find_hub_name(Path("org/other")) is None
    assert hub_client.find_hub_name("./org/other") is None
    assert hub_client.find_hub_name("org/other") is not None


def test_what_a_layout_needs():
    diffusers = [
        "transformer/config.json", "transformer/diffusion_pytorch_model.safetensors.index.json",
        "transformer/diffusion_pytorch_model-00001-of-00002.safetensors", "transformer/diffusion_pytorch_model-00002-of-00002.safetensors",
        "vae/config.json", "vae/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors", "tokenizer/tokenizer.json",
        "model_index.json", "lora.safetensors", "scheduler/scheduler_config.json",
    ]  # fmt: skip
    extra = [
        "README.md", "vae/diffusion_pytorch_model.fp16.safetensors", "text_encoder/pytorch_model.bin", "all-in-one.safetensors",
        "tokenizer/spiece.model", "assets/a.mp4", "transformer/diffusion_pytorch_model.bin",
    ]  # fmt: skip
    assert hub_files.select_files(diffusers + extra) == sorted(diffusers)
    original = [
        "config.json",
        "dit.safetensors",
        "vae.safetensors",
        "t5.safetensors",
        "google/umt5-xxl/tokenizer.json",
    ]
    assert hub_files.select_files([*original, "a.pth", "google/umt5-xxl/spiece.model"]) == sorted(original)
    release = [
        "config.json", "diffusion_pytorch_model-00001-of-00003.safetensors", "diffusion_pytorch_model.safetensors.index.json",
        "Wan2.2_VAE.pth", "models_t5_umt5-xxl-enc-bf16.pth", "google/umt5-xxl/tokenizer.json",
    ]  # fmt: skip
    assert hub_files.select_files([*release, "google/umt5-xxl/spiece.model", "extra.ckpt"]) == sorted(release)
    export = ["base.safetensors", "vae.safetensors", "lora.safetensors", "config.json", "tokenizer.json"]
    assert hub_files.select_files([*export, "README.md", "state/x"]) == sorted(export)
    converted = ["config.json", "tokenizer.json", "dit/a/b", "vae/c", "text/d", "adapter/e"]
    assert hub_files.select_files([*converted, ".gitattributes"]) == sorted(converted)


def test_a_model_by_name(server, folders, local, capsys):
    path = hub.resolve_model(NAME)
    assert set(p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file()) == set(
        hub_files.select_files(p.relative_to(folders[NAME]).as_posix() for p in folders[NAME].rglob("*"))
    )
    assert not any(name.endswith((".md", ".mp4", ".bin", ".fp16.safetensors")) for name in server.fetched())
    sent_bytes = server.sent_bytes
    hub.forget()
    assert hub.resolve_model(f"{NAME}@main") == path and server.sent_bytes == sent_bytes
    assert hub.resolve_model(f"{NAME}@{server.commit(NAME)}") == path and server.sent_bytes == sent_bytes
    model = pretrained.load_pretrained(NAME)
    assert model.config == pretrained.load_pretrained(str(local)).config  # its name too
    assert main.main(["doctor", "--model", NAME, "--values"]) == 0 and server.sent_bytes == sent_bytes
    assert "all of it in the cache" in capsys.readouterr().out


@pytest.fixture
def small_is_known(monkeypatch, tmp_path):
    """The small model is one of those whose other parts go with a transformer."""
    monkeypatch.setattr(known_models, "CONFIGURATIONS", {NAME: small_models.config})
    monkeypatch.setenv("V2V_CACHE", str(tmp_path / "v2v"))


def test_a_transformer_in_gguf_by_name(server, small_is_known, monkeypatch, capsys):
    name = f"{GGUF}/tiny-Q8_0.gguf"
    assert main.main(["doctor", "--model", name]) == 0 and not hub_client.cache_folder().exists()
    assert "nothing is missing" in capsys.readouterr().out
    with collect_notes() as notes:
        path = hub.resolve_model(name)
    assert notes == [f"{name}: its other parts are those of {NAME}"]
    assert not [file for file in server.fetched() if re.match("transformer/.*safetensors$", file)]
    folder = model_folder.read_model_folder(path).require()
    assert folder.config.name == "tiny-Q8_0" and folder.parts["dit"].path.name == "tiny-Q8_0.gguf"
    assert folder.parts["text"].path.resolve().is_relative_to(hub_client.cache_folder().resolve())
    hub.forget()
    monkeypatch.setattr(hf, "HF_HUB_OFFLINE", True)
    assert hub.resolve_model(name) == path and model_folder.read_model_folder(path).require()


def test_transformers_in_gguf_that_are_refused(server, small_is_known):
    for file, words in (
        ("tiny-Q4.gguf", f"has no such file; its GGUF files are {GGUF}/other-Q8_0.gguf"),
        ("tiny-HighNoise-Q8_0.gguf", "is one of two transformers"),
        ("other-Q8_0.gguf", "as no known model"),
    ):
        with pytest.raises(InputError, match=words):
            hub.resolve_model(f"{GGUF}/{file}")
    assert not hub_client.cache_folder().exists()
    with pytest.raises(InputError, match="ORG/NAME/FILE.gguf"):
        hub.resolve_model(f"{LORA}/edit.safetensors")


def test_edit_by_names(server, folders, local):
    Video.from_array(picture(5, 32, 32), 10).save("in.mp4")
    words = ["edit", "in.mp4", "make it purple", "--steps", "1"]
    size = f"{small_models.SIZE['width']}x{small_models.SIZE['height']}x{small_models.SIZE['frames']}"
    by_name = ["--model", NAME, "--lora", f"{LORA}=0.5", "-o", "a.mp4", "--size", size]
    by_path = [
        "--model",
        local,
        "--lora",
        f"{folders[LORA]}/edit.safetensors=0.5",
        "-o",
        "b.mp4",
        "--size",
        size,
    ]
    assert main.main([*words, *by_name]) == 0
    assert main.main([*words, *map(str, by_path)]) == 0
    assert np.array_equal(read("a.mp4").frames, read("b.mp4").frames)
    editor = EasyV2VEditor.from_pretrained(NAME, **small_models.SIZE)
    editor.load_lora_weights(f"{LORA}/edit.safetensors", 0.5)
    assert editor.model.config.frames == 5 and set(editor.model.conditions) == {"source", "mask", "reference"}


def test_doctor_fetches_no_weights(server, folders, capsys):
    assert main.main(["doctor", "--model", NAME]) == 0
    out = capsys.readouterr().out
    assert (
        "to fetch" in out
        and "licence apache-2.0" in out
        and "nothing is missing" in out
        and "v2v-outline" not in out
    )
    weights = sum(p.stat().st_size for p in folders[NAME].rglob("*.safetensors"))
    assert server.sent_bytes < weights and not hub_client.cache_folder().exists()
    server.faults.ignores_ranges = True
    assert main.main(["doctor", "--model", NAME]) == 0
    assert main.main(["doctor", "--model", NAME, "--values"]) == 2
    assert f"v2v models --fetch {NAME}" in capsys.readouterr().out


def test_refused_before_the_first_weight(server, folders, tmp_path, capsys):
    partial = shutil.copytree(folders[NAME], tmp_path / "partial")
    shutil.rmtree(partial / "vae")
    moe = shutil.copytree(folders[NAME], tmp_path / "moe")
    (moe / "transformer_2").mkdir()
    (moe / "transformer_2" / "config.json").write_text("{}")
    damaged = shutil.copytree(folders[NAME], tmp_path / "damaged")
    next((damaged / "transformer").glob("*.safetensors")).write_bytes(b"<html>" * 2000)
    pickles = tmp_path / "pickles"
    pickles.mkdir()
    (pickles / "Wan2.2_VAE.pth").write_bytes(bytes(10_000))
    original = shutil.copytree(partial, tmp_path / "original")
    (original / "Wan2.2_VAE.pth").write_bytes(bytes(10_000))
    comfy, gguf = tmp_path / "comfy", tmp_path / "gguf"
    for file in (comfy / "split_files" / "vae" / "a.safetensors", gguf / "a-Q4.gguf"):
        file.parent.mkdir(parents=True)
        file.write_bytes(bytes(100))
    server.repositories |= {"org/original": original, "org/comfy": comfy, "org/gguf": gguf}
    server.repositories |= {
        "org/partial": partial,
        "org/moe": moe,
        "org/damaged": damaged,
        "org/pickles": pickles,
    }
    for name, reason in {
        "org/partial": "org/partial: expected a whole model, missing vae weights",
        "org/moe": "org/moe: expected a whole model, missing the second, low-noise transformer",
        "org/damaged": r"org/damaged/transformer/.*its header can't be read",
        "org/pickles": "org/pickles: expected a model .* found files of torch.save",
        "org/original": r"org/original/Wan2.2_VAE.pth: expected a file of torch.save",
        "org/comfy": "found safetensors in split_files/vae alone",
        "org/gguf": "found GGUF files",
        LORA: f"{LORA}: expected transformer",
        f"{LORA}/edit.safetensors": "is one file",
        "Wan-AI/Wan2.2-I2V-A14B-Diffusers": "Wan2.2-I2V-A14B is not supported yet: takes a first frame",
    }.items():
        with pytest.raises(InputError, match=reason):
            hub.resolve_model(name)
    assert not hub_client.cache_folder().exists()
    assert main.main(["doctor", "--model", "org/partial"]) == 2
    assert "problem: org/partial: missing vae weights" in capsys.readouterr().out


def test_the_original_release_by_name(server, folders, tmp_path, capsys):
    """Its files of torch.save are examined from both ends and then fetched; without the directory at the end nothing is."""
    original = shutil.copytree(folders[NAME], tmp_path / "original")
    cfg = small_models.config()
    for part, place, file in (
        ("vae", "vae", "Wan2.2_VAE.pth"),
        ("text", "text_encoder", "models_t5_umt5-xxl-enc-bf16.pth"),
    ):
        for weights in (*(original / place).glob("*.safetensors"), *(original / place).glob("*.bin")):
            weights.unlink()
        tensors = tiny.tensors(part, cfg, "original")
        tensors["unused"] = np.zeros((1024, 1024), np.float32)
        torch_files.write(
            original / file, {n: tensors[n] for n in sorted(tensors, key=lambda n: n != "unused")}
        )
    server.repositories["org/original"] = original
    assert main.main(["doctor", "--model", "org/original"]) == 2
    out = capsys.readouterr().out
    assert out.count("problem: ") == 2 and out.count("1 unexpected") == 2 and server.sent_bytes < 5 << 20
    for file in original.glob("*.pth"):
        part = "vae" if "VAE" in file.name else "text"
        torch_files.write(file, tiny.tensors(part, cfg, "original"))
    hub.forget()
    path = hub.resolve_model("org/original")
    assert (path / "Wan2.2_VAE.pth").is_file() and pretrained.load_pretrained(
        "org/original"
    ).config.name == "original"


def test_broken_connections_are_resumed(server, folders, monkeypatch):
    monkeypatch.setattr(hub, "_check_outline", lambda repository: None)
    largest = max(p.stat().st_size for p in folders[NAME].rglob("*.safetensors"))
    server.faults.cut_after, server.faults.cuts = largest // 3, 3
    path = hub.resolve_model(NAME)
    assert pretrained.load_pretrained(str(path)).config.dit.layers == 2
    resumed = [r for r in server.requests if r.range and not r.range.startswith("bytes=0-")]
    assert resumed and all(int(r.range[6:].split("-")[0]) >= largest // 3 // 1000 * 1000 for r in resumed)


def test_an_interrupted_download_goes_on_in_another_process(server, folders, monkeypatch):
    monkeypatch.setattr(hub_client, "MAX_RETRIES", 0)
    largest = max(p.stat().st_size for p in folders[NAME].rglob("*.safetensors"))
    with monkeypatch.context() as patch:
        patch.setattr(hub, "_check_outline", lambda repository: None)
        server.faults.cut_after, server.faults.cuts = largest // 2, 1
        with pytest.raises(
            InputError, match=r"org/tiny: the connection to .* broke 1 times .*; run this again to go on"
        ):
            hub.resolve_model(NAME)
    assert hub_cache.list_cached()[0].unfinished >= 1
    server.requests.clear()
    hub.forget()
    hub.resolve_model(NAME)
    resumed = f"bytes={largest // 2 // 1000 * 1000}-"
    assert resumed in [r.range for r in server.requests]
    assert [model.unfinished for model in hub_cache.list_cached()] == [0]


def test_an_interruption_ends_the_download(server, monkeypatch):
    def interrupt(futures):
        time.sleep(0.3)
        raise KeyboardInterrupt

    monkeypatch.setattr(hub, "_check_outline", lambda repository: None)
    monkeypatch.setattr(hub_client, "as_completed", interrupt)
    # The largest file alone would take 15 s.
    server.faults.block_seconds = 0.5
    with pytest.raises(KeyboardInterrupt):
        hub.resolve_model(NAME)
    assert hub_cache.list_cached()[0].unfinished >= 1


def test_damaged_content_is_removed(server, folders):
    server.faults.wrong_bytes = {"tokenizer.json"}
    with pytest.raises(
        InputError, match=r"tokenizer/tokenizer.json arrived damaged, expected the hash .* run this again"
    ):
        hub.resolve_model(NAME)
    server.faults.wrong_bytes = set()
    hub.forget()
    path = hub.resolve_model(NAME)
    assert (path / "tokenizer" / "tokenizer.json").read_bytes() == small_models.TOKENIZER.read_bytes()
    small = path / "transformer" / "config.json"
    assert small.stat().st_size < LARGE_BYTES <= (path / "tokenizer" / "tokenizer.json").stat().st_size


def test_tokens_and_terms(server, monkeypatch):
    server.faults.private = {NAME}
    with pytest.raises(
        InputError,
        match=r"no folder of this name here, and no model at .*/org/tiny, or a private one that needs HF_TOKEN",
    ):
        hub.resolve_model(NAME)
    server.faults.private, server.faults.gated = set(), {NAME}
    with pytest.raises(
        InputError, match=r"org/tiny: is gated; accept its terms at .*/org/tiny and set HF_TOKEN"
    ):
        hub.resolve_model(NAME)
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(InputError, match="refuses the token in HF_TOKEN"):
        hub.resolve_model(NAME)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(InputError, match="org/none.*no model at .*your HF_TOKEN may not read"):
        hub.resolve_model("org/none")
    with pytest.raises(InputError, match="has no revision v9"):
        hub.resolve_model(f"{NAME}@v9")
    server.faults.denied = {NAME}
    with pytest.raises(InputError, match=r"is gated; accept its terms at .* with the account of your token"):
        hub.resolve_model(NAME)
    server.faults.denied = set()
    assert hub.resolve_model(f"{NAME}@v1").is_dir()


def test_no_connection(server, monkeypatch):
    server.faults.busy = 50
    with pytest.raises(InputError, match=r"too many requests from here \(429\).*or set HF_TOKEN"):
        hub.resolve_model(NAME)
    server.faults.busy = 0
    path = hub.resolve_model(NAME)
    hub.forget()
    monkeypatch.setattr(hf, "ENDPOINT", "http://127.0.0.1:9")
    with collect_notes() as notes:
        assert hub.resolve_model(NAME) == path
    assert "can't be reached" in notes[0] and str(path) in notes[0]
    with pytest.raises(
        InputError, match=r"org/other: no folder of this name, and http://127.0.0.1:9 can't be reached"
    ):
        hub.resolve_model("org/other")
    monkeypatch.setattr(hf, "HF_HUB_OFFLINE", True)
    hub.forget()
    assert hub.resolve_model(NAME) == path
    with pytest.raises(InputError, match="with HF_HUB_OFFLINE set only"):
        hub.resolve_model("org/other")


def test_room_on_the_disk(server, monkeypatch):
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(hub_client.shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(
        InputError, match=r"org/tiny: needs .* more in .*, 1.0 kB are free; free some .*HF_HOME"
    ):
        hub.resolve_model(NAME)
    assert not list(hub_client.cache_folder().rglob("*.safetensors"))


def test_adapters_by_name(server, folders, tmp_path):
    path = hub.resolve_adapter(LORA)
    assert path.name == "edit.safetensors" and adapters.embeddings_path(path).is_file()
    assert adapters.load_adapter(f"{LORA}/edit.safetensors", small_models.config()).embed is not None
    several = shutil.copytree(folders[LORA], tmp_path / "several")
    (several / "more").mkdir()
    shutil.copy(several / "edit.safetensors", several / "more" / "b.safetensors")
    (several / "more" / "adapter_config.json").write_text("{}")
    server.repositories["org/several"] = several
    with pytest.raises(
        InputError, match=r"expected one LoRA file, got 2 \(org/several/edit.safetensors, org/several/more/b"
    ):
        hub.resolve_adapter("org/several")
    adapter_file = hub.resolve_adapter("org/several/more/b.safetensors")
    assert (adapter_file.parent / "adapter_config.json").is_file() and not (
        adapter_file.parents[1] / "edit.safetensors"
    ).exists()
    with pytest.raises(InputError, match="has no such file; its LoRA files are org/several/edit"):
        hub.resolve_adapter("org/several/c.safetensors")
    with pytest.raises(InputError, match="is a whole model, expected a LoRA; pass it with --model"):
        hub.resolve_adapter(NAME)


def test_names_in_manifests_and_sweeps(server, folders, local, tmp_path):
    lines = [{"video": "a.mp4", "instruction": "night", "lora": [[LORA, 0.5], "edit.safetensors"]}]
    (tmp_path / "jobs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    job = manifest.read_manifest(tmp_path / "jobs.jsonl")[0]
    assert job.lora[0] == (str(hub.resolve_adapter(LORA)), 0.5)
    dotted = {"video": "a.mp4", "instruction": "night", "lora": "./org/edits/a.safetensors"}
    (tmp_path / "dotted.jsonl").write_text(json.dumps(dotted))
    assert hub_client.find_hub_name(manifest.read_manifest("dotted.jsonl")[0].lora[0][0]) is None
    assert job.lora[1] == (str(tmp_path / "edit.safetensors"), 1.0)
    by_name, by_path = (
        grid(model=NAME, lora=LORA),
        grid(model=str(local), lora=str(folders[LORA] / "edit.safetensors")),
    )
    cache = SweepCache(tmp_path / "sweep")
    assert by_name[0].weights(cache) == by_path[0].weights(cache)


def test_convert_by_names(server, capsys):
    assert main.main(["convert", f"{LORA}/edit.safetensors", "out.safetensors", "--model", NAME]) == 0
    assert Path("out.safetensors").is_file() and Path("out.embeds.safetensors").is_file()
    assert [model.name for model in hub_cache.list_cached()] == [LORA]  # of the model headers were enough
    assert main.main(["convert", NAME, "here", "--lora", LORA]) == 0
    assert pretrained.is_converted_folder(Path("here"))
    assert main.main(["convert", "./org/tiny", "there"]) == 2
    assert "org/tiny" in capsys.readouterr().err and NAME not in server.fetched()


def test_sizes_of_a_plan(server, local):
    config = load_experiment("wan22_ti2v_5b", [], "plan").config.model
    planned = plan._plan_model(NAME, config, config, "train")
    assert (
        planned == plan._plan_model(str(local), config, config, "train")
        and planned.dit.layers == 2
        and planned.frames == config.frames
    )
    assert not hub_client.cache_folder().exists()


def test_the_cache(server, capsys):
    assert main.main(["models", "--cached"]) == 0
    assert capsys.readouterr().out.startswith("0.0 kB in ")
    assert main.main(["models", "--fetch", NAME]) == 0
    assert Path(capsys.readouterr().out.strip()).is_dir()
    assert main.main(["models", "--cached"]) == 0
    out = capsys.readouterr().out
    assert NAME in out and "main" in out
    assert main.main(["models", "--delete", "org/other"]) == 2
    assert "v2v models --cached lists them" in capsys.readouterr().err
    assert main.main(["models", "--delete", NAME]) == 0
    assert f"{NAME}: " in capsys.readouterr().out and hub_cache.list_cached() == []


def test_a_name_without_its_organization():
    with pytest.raises(InputError, match=r'got "lucy-edit-dev"; did you mean decart-ai/Lucy-Edit-Dev\?'):
        pretrained.load_pretrained("lucy-edit-dev")


def test_the_registry(capsys):
    assert main.main(["models"]) == 0
    out = capsys.readouterr().out
    assert all(model.name in out for model in known_models.KNOWN_MODELS)
    packaged = pretrained.load_pretrained("embedded")
    entry = known_models.find_known("embedded")
    assert entry and entry.frames == (packaged.config.frames, packaged.config.height, packaged.config.width)
    assert {"source", *entry.takes} == set(packaged.conditions)
    names = [m.name for m in known_models.KNOWN_MODELS] + [
        n for m in known_models.UNSUPPORTED_MODELS for n in m.names
    ]
    assert len(names) == len({name.lower() for name in names})
    assert all(hub_client.parse_hub_name(name) for name in names if name != "embedded")


@pytest.mark.slow
def test_the_variables_of_the_hub(folders, tmp_path):
    """HF_ENDPOINT, HF_HOME and HF_TOKEN reach a process as they are set for it."""
    with LoopbackHub(folders) as server:
        server.faults.private = {NAME}
        variables = {"HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": TOKEN}
        environment = {k: v for k, v in os.environ.items() if not k.startswith("HF_")} | variables
        command = [sys.executable, "-m", "v2v", "models", "--fetch", NAME]
        done = subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path / "home" / "hub" / "models--org--tiny"))
    assert (
        f"fetching {NAME}: " in done.stderr
        and "free in" in done.stderr
        and "licence apache-2.0" in done.stderr
    )
