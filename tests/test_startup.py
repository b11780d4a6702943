"""A second start compiles nothing: counted, in processes of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.clips import picture
from v2v import Video, command, startup
from v2v.errors import InputError
from v2v.weights import export

ROOT = Path(startup.__file__).parents[1]

EDIT = """
import sys
from v2v import startup
startup.environment()
from v2v import EasyV2VEditor, command
with startup.counted() as compiles:
    editor = EasyV2VEditor(sys.argv[1])
    editor.edit_file("in.mp4", "make it warmer", "out.mp4", guidance=float(sys.argv[2]))
print(compiles.made, compiles.found)
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A tiny model with random weights, as a folder."""
    import jax

    from v2v.codec.text import word_tokenizer
    from v2v.codec.vae import VAE
    from v2v.config import debug
    from v2v.train.step import init_adapter, init_base

    cfg, folder, key = debug(), tmp_path_factory.mktemp("model"), jax.random.key(0)
    shapes = {"base": jax.eval_shape(lambda k: init_base(k, cfg), key)}
    shapes["vae"] = jax.eval_shape(
        VAE(cfg.vae).init, key, jax.ShapeDtypeStruct((1, 5, 32, 32, 3), np.float32)
    )["params"]
    shapes["adapter"] = jax.eval_shape(lambda k, dit: init_adapter(k, cfg, dit), key, shapes["base"]["dit"])
    rng = np.random.default_rng(0)
    trees = jax.tree.map(lambda s: rng.normal(0, 0.05, s.shape).astype(np.float32), shapes)
    export.save_config(folder / "config.json", cfg)
    export.save_tree(folder / "base.safetensors", trees["base"])
    export.save_tree(folder / "vae.safetensors", {"vae": trees["vae"]})
    export.save_tree(folder / "lora.safetensors", trees["adapter"])
    word_tokenizer(["make", "it", "warmer", "sepia"], cfg.text.text_len, cfg.text.vocab).backend.save(
        str(folder / "tokenizer.json")
    )
    return folder


def test_the_second_start_compiles_nothing(model, tmp_path):
    """`--warm` compiles what an edit needs; other weights of the guidance and other clips are the same programs."""
    Video.from_array(picture(12, 40, 60)).save(tmp_path / "in.mp4")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "XLA_"))}
    environment |= {
        "PYTHONPATH": str(ROOT),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "JAX_PLATFORMS": "cpu",
    }

    def fresh(*words):
        done = subprocess.run(
            [sys.executable, *words], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    warmed = json.loads(fresh("-m", "v2v", "edit", "--warm", "--model", str(model), "--json"))
    assert warmed["compiled"] > 3 and Path(warmed["output"]) == tmp_path / "cache" / "v2v" / "jax"
    made, found = map(int, fresh("-c", EDIT, str(model), "1.5").split())
    assert made == 0 and found > 3


def test_settings_of_the_users_own_are_left(monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "mine")
    monkeypatch.delenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", raising=False)
    startup.environment()
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == "mine"
    assert os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] == "0"


def test_buckets():
    assert command.buckets("") == [(None, None)] and command.buckets("4, 8x5") == [(4, None), (8, 5)]
    for bad in ("four", "4x5x6", "4x"):
        with pytest.raises(InputError, match="--warm"):
            command.buckets(bad)
