"""Eight CPU devices for every test, asked for before JAX starts; and the command line as a fixture."""

import sys

import pytest

from v2v import sharding

sharding.cpu_devices(8)


@pytest.fixture
def v2v(monkeypatch, tmp_path):
    """Runs a command line in an empty folder, with the stand-in model unless another is asked for."""
    from tests.fake import FakePretrained
    from v2v import cli, editor

    monkeypatch.chdir(tmp_path)
    real = editor.EasyV2VEditor

    def build(name="embedded"):
        return real(FakePretrained() if name == "embedded" else name)

    monkeypatch.setattr(editor, "EasyV2VEditor", build)
    monkeypatch.setattr("warnings.showwarning", None)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def run(*words):
        try:
            return cli.main([str(word) for word in words])
        except SystemExit as stopped:
            return stopped.code

    return run
