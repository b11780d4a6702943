"""Latents are encoded on all devices of a process, after the text encoder is gone; a signal loses no pair."""

import gc
import json
import weakref
from pathlib import Path

import fsspec
import jax
import numpy as np
import pytest

from data_synth.dataset.build import build_dataset
from data_synth.dataset.request import SynthRequest
from tests.checkpoints import small_models
from v2v.checkpoints import model_folder, wan
from v2v.cli import main
from v2v.errors import InputError
from v2v.models import autoencoder_streaming
from v2v.models.autoencoder import VAE
from v2v.pipeline import pretrained
from v2v.train import encode_dataset, fine_tuning
from v2v.train.encode_dataset import Encoders
from v2v.video.pixels import normalize_pixels

pytestmark = pytest.mark.slow


def test_each_device_holds_a_clip_and_the_text_encoder_is_gone_before_the_autoencoder_comes(
    tmp_path, monkeypatch
):
    folder = model_folder.read_model_folder(small_models.write(tmp_path / "wan")).require()
    config = small_models.config()
    tokenizer = pretrained.load_tokenizer(folder, config)
    loaded, leaves = [], []

    def load_part(part, *args, **kwargs):
        gc.collect()
        loaded.append((part, [leaf() is None for leaf in leaves]))
        tree = real(part, *args, **kwargs)
        if part == "text":
            leaves.extend(weakref.ref(leaf) for leaf in jax.tree.leaves(tree))
        return tree

    real = wan.load_part
    monkeypatch.setattr(encode_dataset.wan, "load_part", load_part)
    encoders = Encoders(config, folder, tokenizer)
    encoders.embed_ahead(["make it red", "a dog"])
    ahead = encoders.embed(["a dog", "make it red", ""])
    assert [part for part, _ in loaded] == ["text"]
    clips = np.random.default_rng(0).integers(0, 256, (encoders.batch, 5, 32, 32, 3), np.uint8)
    assert encoders.batch == len(jax.local_devices()) > 1
    latents = encoders.encode(clips)
    assert loaded[1][0] == "vae" and loaded[1][1] and all(loaded[1][1])
    params = real("vae", folder.parts["vae"], config)
    one = autoencoder_streaming.encode_in_chunks(VAE(config.vae), params, normalize_pixels(clips[3:4]))
    np.testing.assert_allclose(latents[3:4], one, atol=1e-5)
    assert len({latents[i].tobytes() for i in range(len(latents))}) == encoders.batch
    # A sentence that nothing announced: the text encoder comes back, with the same result.
    np.testing.assert_array_equal(encoders.embed(["make it red"])[0], ahead[1])
    assert encoders.embed(["a cat"])[0].shape[-1] == config.text.width


def test_latents_are_encoded_by_a_command_into_a_bucket_from_which_another_machine_trains(
    tmp_path, monkeypatch, capsys
):
    folder = small_models.write(tmp_path / "wan")
    build_dataset(SynthRequest(tmp_path / "pairs", 8, frames=5, height=32, width=32, edits=("sepia",)))
    files = fsspec.filesystem("memory")
    files.put(str(tmp_path / "pairs"), "memory://encode-test/pairs", recursive=True)
    words = [
        "wan22_ti2v_5b",
        "--model",
        str(folder),
        "--model.frames",
        "5",
        "--model.height",
        "32",
        "--model.width",
        "32",
    ]
    words += ["--data.reference", "0", "--edit.batch", "8", "--json"]

    def encode(machine, sets, latents):
        monkeypatch.setenv("V2V_CACHE", str(tmp_path / machine))
        code = main.main(["encode", *words, "--sets", sets, *(["--latents", latents] if latents else [])])
        return code, capsys.readouterr()

    code, captured = encode("first", "memory://encode-test/pairs", "")
    assert code == 2 and "expected a backbone, pairs and a folder for their latents" in captured.err
    code, captured = encode("first", str(tmp_path / "pairs"), str(tmp_path / "latents"))
    assert code == 0
    code, captured = encode("first", "memory://encode-test/pairs", "memory://encode-test/latents")
    assert code == 0 and json.loads(captured.out) == {"output": "memory://encode-test/latents"}
    staged = tmp_path / "first" / "staged"
    assert not [p for p in staged.rglob("latents-*.array_record")]
    assert (
        main.main(["encode", "debug", "--latents", str(tmp_path / "none"), "--sets", str(tmp_path / "pairs")])
        == 2
    )
    assert "trains on published weights" in capsys.readouterr().err

    def refuse(self, clips):
        raise AssertionError("encoded again")

    def stop(cfg, stage, folder, task, **options):
        tasks.append(task)
        raise InputError("seen")

    tasks = []
    monkeypatch.setattr(Encoders, "encode", refuse)
    monkeypatch.setattr(fine_tuning, "fit_stage", stop)
    monkeypatch.setenv("V2V_CACHE", str(tmp_path / "second"))
    for latents in ("memory://encode-test/latents", str(tmp_path / "latents")):
        command = [
            "train",
            *words,
            "--sets",
            str(tmp_path / "pairs"),
            "--latents",
            latents,
            "--mesh.data",
            "4",
            "--mesh.fsdp",
            "2",
        ]
        assert main.main([*command, "--workdir", str(tmp_path / Path(latents).parent.name)]) == 2
        assert "seen" in capsys.readouterr().err
    staged_batch, local_batch = (next(iter(task.data)) for task in tasks)
    jax.tree.map(np.testing.assert_array_equal, staged_batch, local_batch)
    files.rm("memory://encode-test", recursive=True)
