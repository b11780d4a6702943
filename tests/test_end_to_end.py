"""Every arrow once, for real and tiny: synth → TFDS → latents → VAE, base, LoRA → export → edit with that LoRA → score."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from data_synth.generate import SCORE_SEED_BASE, PairOptions, make_pair
from v2v.checkpoints import native
from v2v.errors import InputError
from v2v.pipeline import pretrained
from v2v.pipeline.editor import EasyV2VEditor
from v2v.video import video

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent
# As a user's: the tests' own eight devices and quick compiles, behind which a VAE trains slowly, stay here.
ENV = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "JAX_DISABLE_MOST_OPTIMIZATIONS")}


def v2v(*args):
    return subprocess.run(
        [sys.executable, "-m", "v2v", *map(str, args)],
        cwd=ROOT,
        env=ENV,
        capture_output=True,
        text=True,
        timeout=1800,
    )


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "debug"
    done = v2v("train", "experiments/debug.py", "--workdir", folder, "--json")
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1])["output"] == str(folder / "export")
    return folder


def test_pipeline_trains_every_stage(workdir):
    for stage, steps in (("vae", 4), ("base", 4), ("edit", 4)):
        rows = [json.loads(line) for line in (workdir / stage / "log.jsonl").read_text().splitlines()]
        assert rows[-1]["step"] == steps and np.isfinite(rows[-1]["loss"])
    cfg = native.load_config(workdir / "export" / "config.json")
    assert len(cfg.vae.mean) == cfg.vae.z_dim and min(cfg.vae.std) > 0


def test_finished_run_is_not_done_again(workdir):
    before = (workdir / "edit" / "log.jsonl").read_text()
    done = v2v("train", "experiments/debug.py", "--workdir", workdir)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (workdir / "edit" / "log.jsonl").read_text() == before


def test_a_model_is_trained_further(workdir, tmp_path):
    flags = {"pairs": 80, "workers": 1, "base.steps": 2, "base.batch": 4, "edit.steps": 2, "edit.batch": 4}
    short = [word for name, value in flags.items() for word in (f"--{name}", value)]
    done = v2v("train", "experiments/embedded_more.py", "--workdir", tmp_path, "--weights", workdir / "export", *short)  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    for name, moved in (("vae", False), ("base", True), ("lora", True)):
        before, after = (
            np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(native.load_parameters(folder / f"{name}.safetensors"))])
            for folder in (workdir / "export", tmp_path / "export")
        )  # fmt: skip
        distance = np.linalg.norm(after - before) / np.linalg.norm(before)
        assert (0 < distance < 0.3) if moved else distance < 0.01, name  # from nothing it would be about 1.4


def test_edit_with_the_trained_lora_and_score(workdir, tmp_path):
    pair = make_pair(SCORE_SEED_BASE, PairOptions(7, 48, 40, ("greyscale",), 0.0))
    video.Video.from_array(pair.source, fps=10).save(tmp_path / "in.mp4")
    out = tmp_path / "out.mp4"
    done = v2v(
        "edit", tmp_path / "in.mp4", pair.instructions[0], "-o", out,
        "--model", workdir / "export", "--lora", workdir / "edit" / "lora.safetensors", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    clip = video.read_video(out)
    assert clip.frames.shape == pair.source.shape
    score = subprocess.run(
        [sys.executable, "tools/checks/score_embedded.py", "--pairs", "6", "--model", workdir / "export", "--json"],
        cwd=ROOT, env=ENV, capture_output=True, text=True, timeout=1800,
    )  # fmt: skip
    assert score.returncode == 0, score.stderr[-3000:]
    assert 0 <= json.loads(score.stdout.splitlines()[-1])["success"] <= 1


def test_adapters_change_the_edit_and_leave_the_model_as_it_was(workdir):
    model = pretrained.load_pretrained(str(workdir / "export"))
    editor = EasyV2VEditor(model)
    pair = make_pair(7, PairOptions(5, 32, 32, ("sepia",), 0.0))

    def edit():
        return editor.edit_video(pair.source, "make it sepia", detail="model").frames

    before = edit()
    stronger = {"lora": native.load_parameters(workdir / "edit" / "lora.safetensors")["lora"]}
    stronger["lora"]["blocks"]["ffn"]["down"]["b"] = stronger["lora"]["blocks"]["ffn"]["down"]["b"] + 0.5
    editor.load_lora_weights(stronger)
    assert (edit() != before).any()
    editor.unload_lora_weights()
    np.testing.assert_array_equal(edit(), before)


def test_bad_weights_are_refused_by_name(workdir, tmp_path):
    with pytest.raises(InputError, match='expected "embedded" or a folder'):
        pretrained.load_pretrained(str(tmp_path / "nowhere"))
    tree = native.load_parameters(workdir / "export" / "base.safetensors")
    del tree["dit"]["head"]
    tree["dit"]["extra"] = np.zeros(3, np.float32)
    native.save_parameters(tmp_path / "base.safetensors", tree)
    like = native.load_parameters(workdir / "export" / "base.safetensors")
    with pytest.raises(InputError, match="dit/head/linear/kernel missing.*dit/extra unexpected"):
        native.load_parameters(tmp_path / "base.safetensors", like)
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "base.safetensors").read_bytes()[:-100])
    with pytest.raises(InputError, match="could not read it"):
        native.load_parameters(tmp_path / "cut.safetensors")
