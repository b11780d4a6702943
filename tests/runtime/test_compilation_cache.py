"""A second start compiles nothing: counted, in processes of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from tests import tiny_model
from tests.example_clips import picture
from v2v import Video
from v2v.cli import edit_ahead
from v2v.errors import InputError, collect_notes
from v2v.runtime import compilation_cache

ROOT = Path(compilation_cache.__file__).parents[2]

EDIT = """
import sys
from v2v.runtime import compilation_cache
compilation_cache.set_environment()
from v2v import EasyV2VEditor
with compilation_cache.count_compilations() as counts:
    editor = EasyV2VEditor(sys.argv[1])
    editor.edit_file("in.mp4", "make it warmer", "out.mp4", guidance=float(sys.argv[2]))
print(counts.compiled, counts.hits)
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model.write(tmp_path_factory.mktemp("model"))


@pytest.mark.slow
def test_the_second_start_compiles_nothing(model, tmp_path):
    """`--warm` compiles what an edit needs; other weights of the guidance and other clips are the same programs."""
    Video.from_array(picture(12, 40, 60)).save(tmp_path / "in.mp4")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    environment |= {
        "PYTHONPATH": str(ROOT),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "JAX_PLATFORMS": "cpu",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "XLA_FLAGS": os.environ["XLA_FLAGS"].replace("device_count=8", "device_count=1"),
    }

    def run_python(*words):
        done = subprocess.run(
            [sys.executable, *words], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    warmed = json.loads(run_python("-m", "v2v", "edit", "--warm", "--model", str(model), "--json"))
    assert warmed["compiled"] > 3 and Path(warmed["output"]) == tmp_path / "cache" / "v2v" / "jax"
    compiled, hits = map(int, run_python("-c", EDIT, str(model), "1.5").split())
    assert compiled == 0 and hits > 3


def test_settings_of_the_users_own_are_left(monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "mine")
    monkeypatch.delenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", raising=False)
    compilation_cache.set_environment()
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == "mine"
    assert os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] == "0"


def test_a_home_that_cannot_be_written_is_told_once_and_costs_only_the_cache(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("V2V_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    try:
        compilation_cache.set_environment()
        with collect_notes() as notes:
            compilation_cache.use_compilation_cache()
        assert jax.config.jax_compilation_cache_dir is None
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
    assert "JAX_COMPILATION_CACHE_DIR" not in os.environ
    assert len(notes) == 1 and "set V2V_CACHE to a folder that can be written" in notes[0]


def test_buckets():
    assert edit_ahead.parse_buckets("") == [edit_ahead.Bucket()]
    assert edit_ahead.parse_buckets("4, 8x5") == [edit_ahead.Bucket(4), edit_ahead.Bucket(8, 5)]
    for bad in ("four", "4x5x6", "4x"):
        with pytest.raises(InputError, match="--warm"):
            edit_ahead.parse_buckets(bad)
