"""`v2v convert` where the disk is full: one line, and nothing is left."""

import resource
import signal
import subprocess
import sys

import pytest

from v2v.assets import EMBEDDED
from v2v.checkpoints import adapters
from v2v.cli import main
from v2v.pipeline import pretrained


@pytest.fixture
def file_limit():
    """Let no file grow beyond a size, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


def check_refusal(folder, words, capsys):
    assert main.main(["convert", *map(str, words)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert (
        line.startswith(f"v2v: error: {folder}/")
        and "can't be written (file too large); check the disk" in line
    )
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("size", [0, 10_000, 200_000])
def test_a_model(tmp_path, file_limit, capsys, size):
    file_limit(size)
    check_refusal(tmp_path, [EMBEDDED, tmp_path / "model"], capsys)


@pytest.mark.parametrize("size", [0, 100_000])
def test_an_adapter(tmp_path, file_limit, capsys, size):
    file_limit(size)
    words = [EMBEDDED / "lora.safetensors", tmp_path / "x.safetensors", "--model", "embedded"]
    check_refusal(tmp_path, words, capsys)


def test_the_embeddings_of_an_adapter(tmp_path, capsys, monkeypatch):
    """The file of the matrices is not left alone: it would be another adapter."""

    def fail(path, *args):
        path.write_bytes(b"begun")
        path.unlink()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(adapters, "save_embeddings", fail)
    source = EMBEDDED / "lora.safetensors"
    assert main.main(["convert", str(source), str(tmp_path / "x.safetensors"), "--model", "embedded"]) == 2
    assert "x.safetensors: can't be written (no space left on device)" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_tokenizer_is_written_as_before(tmp_path, capsys):
    assert main.main(["convert", str(EMBEDDED), str(tmp_path / "model")]) == 0
    pretrained.load_pretrained("embedded").tokenizer.backend.save(str(tmp_path / "tokenizer.json"))
    assert (tmp_path / "tokenizer.json").read_bytes() == (tmp_path / "model" / "tokenizer.json").read_bytes()


def test_one_line_alone_is_printed(tmp_path):
    """Libraries log tracebacks of their own, which only a process of its own shows."""
    limited = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY));"
        "from v2v.cli import main; sys.exit(main.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", limited, "convert", str(EMBEDDED), str(tmp_path / "model")]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 2 and run.stdout == "" and len(run.stderr.splitlines()) == 1, run.stderr
