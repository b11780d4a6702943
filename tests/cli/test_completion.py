"""`v2v completion`: the scripts of shells, and what a shell gets when it asks."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from v2v.cli import completion, main

pytest.importorskip("argcomplete")
ROOT = Path(main.__file__).parents[2]


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_the_script_of_a_shell(v2v, capsys, shell):
    assert v2v("completion", shell) == 0
    script = capsys.readouterr().out
    assert "v2v" in script and "_ARGCOMPLETE" in script
    assert v2v("completion", shell, "--json") == 0
    assert json.loads(capsys.readouterr().out)["output"].strip() == script.strip()


def test_a_shell_that_is_not_known(v2v, capsys):
    assert (
        v2v("completion", "cmd") == 2
        and "expected one of bash, zsh, fish, got 'cmd'" in capsys.readouterr().err
    )


def test_without_the_library(v2v, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "argcomplete", None)
    assert v2v("completion", "bash") == 2 and "pip install argcomplete" in capsys.readouterr().err


@pytest.fixture(scope="module")
def bash(tmp_path_factory):
    """A function that returns what bash offers behind a line, with `v2v` on its path."""
    if shutil.which("bash") is None:
        pytest.skip("no bash")
    folder = tmp_path_factory.mktemp("bin")
    program = folder / "v2v"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m v2v "$@"\n')
    program.chmod(0o755)
    (folder / "clip.mp4").touch()
    environment = {
        **os.environ,
        "PATH": f"{folder}:{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    script = 'eval "$(v2v completion bash)"\n'
    script += 'for line in "$@"; do COMP_LINE=$line; COMP_POINT=${#line}; COMP_WORDS=($line); '
    script += "COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMP_TYPE=9; COMPREPLY=()\n"
    script += '_python_argcomplete v2v; printf "%s " "${COMPREPLY[@]}"; echo; done'

    def complete(*lines):
        done = subprocess.run(
            ["bash", "-c", script, "bash", *lines],
            capture_output=True,
            text=True,
            env=environment,
            cwd=folder,
        )
        assert done.returncode == 0, done.stderr
        return [line.split() for line in done.stdout.splitlines()]

    return complete


@pytest.mark.slow
def test_bash_completes(bash):
    commands, options, values, files = bash(
        "v2v ser", "v2v edit --ref", "v2v edit --solver uni", "v2v edit cli"
    )
    assert commands == ["serve"]
    assert options == ["--reference"]
    assert values == ["unipc"]
    assert files == ["clip.mp4"]
