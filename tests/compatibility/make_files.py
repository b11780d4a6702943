"""Makes `files/`: what the code of commit 6354e55 (version 0.1.0) writes, for the tests beside this file.

    python -m tests.compatibility.make_files

Made once, at that commit. They stand for the folders that users have, so that a test which fails over them is no reason to make them
anew: later code has to read them. A new format gets new files beside these.
"""

import contextlib
import json
import os
import shutil
import tempfile
from pathlib import Path

os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

import jax
import numpy as np
import pytest

from data_synth.dataset.build import build_dataset
from data_synth.dataset.request import SynthRequest
from tests.compatibility import material, sweep_old
from tests.example_clips import picture
from tests.fake_model import FakePretrained
from tests.train.tiny_training import live_base
from v2v import Video, load_pretrained
from v2v.checkpoints import adapters, native
from v2v.cli import main as main_lib
from v2v.data import datasets, latent_cache
from v2v.evaluation.benchmarks.exact_truth import write_lossless_clip
from v2v.models.autoencoder import VAE
from v2v.pipeline import editor
from v2v.pipeline.batch import fingerprint_weights
from v2v.train.checkpointing import Checkpoints


class Enough(Exception):
    """Stops a build."""


def main() -> None:
    target = material.FILES
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            said = make_pairs() | make_models() | make_training()
            make_results()
        finally:
            os.chdir(before)
        for path in Path(folder).rglob("commit_success.txt"):  # orbax says where it stood; nobody reads that
            path.write_text(path.read_text().replace(folder, "folder"))
        for name in ("pairs", "models", "training", "results"):
            material.pack(Path(folder) / name, target / f"{name}.tar.xz")
    (target / "expected.json").write_text(material.compact(said) + "\n")
    print({path.name: path.stat().st_size for path in sorted(target.iterdir())})


def run(*words: str) -> None:
    if code := main_lib.main([*words, "--json"]):
        raise SystemExit(f"{words}: {code}")


def make_pairs() -> dict:
    """A finished set, one that looks at footage, one that was stopped, and what single seeds give."""
    folder = Path("pairs")
    (folder / "clips").mkdir(parents=True)
    Video.from_array(picture(4, 40, 60)).save(folder / "clips" / "a.mp4")
    with contextlib.chdir(folder):
        run("synth", "--out", "set", *material.SYNTH)
        run("synth", "--out", "footage", *material.FOOTAGE)

        def stop(_):
            raise Enough

        with contextlib.suppress(Enough):
            build_dataset(SynthRequest("stopped", **material.STOPPED), progress=stop)
        found = datasets.open_dataset("set")
        stored = [material.sha({k: v for k, v in found[i].items()}) for i in range(len(found))]
        datasets.load_or_survey(Path("survey.json"), "set", found, material.WANTED)
        for page in Path().rglob("report.html"):
            page.unlink()  # large, for people, and read by nothing
    families = material.FAMILIES | {"rooms": material.ROOMS}
    return {
        "versions": material.versions(),
        "simulator": material.simulator(),
        "pairs": {name: material.made(family) for name, family in families.items()},
        "set": stored,
    }


def make_models() -> dict:
    """An exported model, and one adapter in every style."""
    cfg, folder = material.model(), Path("models")
    (folder / "lora").mkdir(parents=True)
    base = jax.device_get(live_base(cfg))
    vae = VAE(cfg.vae).init(jax.random.key(2), np.zeros((1, cfg.frames, 32, 32, 3), np.float32))["params"]
    adapter = material.adapter(cfg, base)
    model = folder / "model"
    model.mkdir()
    native.save_config(model / "config.json", cfg)
    native.save_parameters(model / "base.safetensors", base)
    native.save_parameters(model / "vae.safetensors", {"vae": vae}, int8=True)
    native.save_parameters(folder / "large.safetensors", material.large(), int8=True)
    condition = adapters.condition_metadata(cfg.condition)
    own = {"lora": adapter.lora, "embed": adapter.embed}
    native.save_parameters(model / "lora.safetensors", own, condition)
    material.tokenizer(cfg).backend.save(str(model / "tokenizer.json"))
    native.save_parameters(folder / "lora" / "own.safetensors", own, condition)
    for style in ("original", "diffusers"):
        for dtype in ("bfloat16", "float32"):
            adapters.save_adapter(
                folder / "lora" / f"{style}-{dtype}.safetensors", adapter, cfg, style=style, dtype=dtype
            )
    run("convert", str(model), str(folder / "converted"))
    made = load_pretrained(str(model))
    parts = {part: material.leaves(made.parameters(part)) for part in ("dit", "vae", "text")}
    tree = native.load_parameters(model / "vae.safetensors")["vae"]
    return {
        "model": parts,
        "large": material.leaves(native.load_parameters(folder / "large.safetensors")),
        "vae hash": latent_cache.tree_hash(tree),
        "words": np.asarray(made.embed_text(["make it sepia, please"])[0]).round(6).tolist(),
        "adapter": material.adapter_leaves(adapter),
        "fingerprints": {
            str(path.relative_to(folder)): fingerprint_weights(path)
            for path in sorted(folder.glob("lora/*")) + [model]
        },
    }


def make_training() -> dict:
    """Cached latents, the first batches of them, and two runs that were stopped: their states, and how the first goes on."""
    folder, model = Path("training"), Path("models/model")
    cfg = native.load_config(model / "config.json")
    material.write_cache(folder / "cached")
    said = {}
    for kind in ("short", "long"):
        paths = latent_cache.list_shards(folder / "cached" / kind)
        said[kind] = {
            "facts": latent_cache.read_facts(paths),
            "records": [material.record_hashes(path) for path in paths],
        }
    stream = iter(material.batches(folder / "cached", cfg))
    said["batches"] = [material.leaves(next(stream)) for _ in range(6)]
    for name, how in (("adamw", material.ADAMW), ("muon", material.MUON)):
        state = material.train(folder / name, folder / "cached", model, how, material.SAVED)
        said[name] = material.leaves(state)
    shutil.copytree(folder / "adamw", "further")
    material.train(Path("further"), folder / "cached", model, material.ADAMW, material.LATER)
    said["losses"] = material.log_of(Path("further"))
    assert Checkpoints(folder / "adamw" / "checkpoints").latest() == material.SAVED
    return {"training": said}


def make_results() -> None:
    """A finished list of edits for the stand-in, one for the tiny model, a finished sweep."""
    folder = Path("results")
    shutil.copytree("models/model", folder / "model")
    shutil.copytree("models/lora", folder / "lora")
    for name in ("a", "b"):
        Video.from_array(picture(6, 32, 48, ord(name))).save(folder / f"{name}.mp4")
    Video.from_array(np.full((32, 48, 3), 255, np.uint8)).save(folder / "white.png")
    for name, lines in material.LISTS.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    clips = folder / "sweep" / "cache" / "benchmarks"
    clips.mkdir(parents=True)
    for k in range(2):
        frames, mask = picture(4, 24, 32, k), np.full((4, 24, 32, 3), 255, np.uint8)
        truth = 255 - frames
        if k:
            truth[:2], mask[:2] = frames[:2], 0
        for name, clip in (("source", frames), ("truth", truth), ("mask", mask)):
            write_lossless_clip(clip, clips / f"{name}{k}.mkv")
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        real = editor.EasyV2VEditor
        run("edit", "--manifest", "tiny.jsonl", "--out", "tiny", *material.TINY)
        run("eval", sweep_old.__file__, "--out", "sweep")
        patch.setattr(editor, "EasyV2VEditor", lambda model: real(FakePretrained()))
        run("edit", "--manifest", "fake.jsonl", "--out", "fake", *material.FAKE)
        results = Path("sweep") / "results.json"
        results.write_text(results.read_text().replace(str(Path.cwd()), "folder"))  # nothing of this machine
        (Path("sweep") / "report.html").unlink()  # large, and made anew from the cache
        shutil.rmtree("model")
        shutil.rmtree("lora")


if __name__ == "__main__":
    main()
