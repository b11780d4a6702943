"""What an installation without extras can do: packages of the extras are hidden from a fresh process."""

import subprocess
import sys
from pathlib import Path

import pytest

# Packages that only extras install. flax itself brings optax and orbax.
EXTRAS = (
    "ai_edge_litert",
    "apache_beam",
    "array_record",
    "grain",
    "libtpu",
    "mujoco",
    "onnxruntime",
    "pyarrow",
    "rapidocr",
    "scenedetect",
    "tensorboardX",
    "tensorflow_datasets",
    "torch",
    "tyro",
    "wandb",
)
PROGRAM = '''
import sys

class Without:
    """A finder that doesn't find some packages, as if they weren't installed."""
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in {extras} else self.finder.find_spec(name, path, target)

sys.meta_path[:] = map(Without, sys.meta_path)
from v2v.cli.main import main
sys.exit(main(sys.argv[1:]))
'''


def run(*words: str | Path) -> subprocess.CompletedProcess:
    """Run the command line in a process that cannot import the packages of extras."""
    program = PROGRAM.replace("{extras}", repr(set(EXTRAS)))
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, words)],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_an_edit_needs_no_extra(tmp_path):
    edit = run("edit", "sample", "make it sepia", "-o", tmp_path / "sepia.mp4")
    assert edit.returncode == 0 and (tmp_path / "sepia.mp4").stat().st_size > 0, edit.stderr


def test_a_missing_extra_is_one_line_with_the_remedy(tmp_path):
    synth = run("synth", "--out", tmp_path / "pairs", "--pairs", "1")
    assert synth.returncode == 2 and "pip install 'v2v-edit[synth]'" in synth.stderr
    assert "Traceback" not in synth.stderr
