"""`v2v convert` where the disk is full: one line, and nothing is left."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from v2v.assets import EMBEDDED
from v2v.checkpoints import adapters
from v2v.cli import main
from v2v.pipeline import pretrained

ROOT = Path(__file__).parents[2]
# No file may grow beyond this, as on a full disk.
LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
from v2v.cli import main
print([main.main(words.split()) for words in sys.argv[1:]])
"""


@pytest.mark.slow
def test_a_full_disk(tmp_path):
    """In a process of its own: the limit holds for caches too, and libraries log tracebacks of their own."""
    environment = os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false", "PYTHONPATH": str(ROOT)}
    commands = (
        f"convert {EMBEDDED} model",
        f"convert {EMBEDDED}/lora.safetensors x.safetensors --model embedded",
    )
    run = subprocess.run(
        [sys.executable, "-c", LIMITED, *commands],
        capture_output=True, text=True, check=False, cwd=tmp_path, env=environment,
    )  # fmt: skip
    assert run.returncode == 0 and run.stdout == "[2, 2]\n", run.stderr
    assert "Traceback" not in run.stderr, run.stderr
    lines = [line for line in run.stderr.splitlines() if line.startswith("v2v: error: ")]
    for target, line in zip(("model", "x.safetensors"), lines, strict=True):
        assert line.startswith(f"v2v: error: {target}: can't be written (file too large); check the disk")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_for_the_embeddings_of_an_adapter(tmp_path, capsys, monkeypatch):
    """The file of the matrices is not left alone: it would be another adapter."""

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(adapters, "save_embeddings", fail)
    source = EMBEDDED / "lora.safetensors"
    assert main.main(["convert", str(source), str(tmp_path / "x.safetensors"), "--model", "embedded"]) == 2
    assert "x.safetensors: can't be written (no space left on device)" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_tokenizer_is_written_as_its_package_does(tmp_path):
    assert main.main(["convert", str(EMBEDDED), str(tmp_path / "model")]) == 0
    pretrained.load_pretrained("embedded").tokenizer.backend.save(str(tmp_path / "tokenizer.json"))
    assert (tmp_path / "tokenizer.json").read_bytes() == (tmp_path / "model" / "tokenizer.json").read_bytes()
