"""A program that someone wrote against the package's public names still runs."""

from pathlib import Path

import pytest

import v2v as package
from tests.fake_model import FakePretrained

NAMES = {
    "EasyV2VEditor", "InputError", "ModelConfig", "Pair", "Video", "load_pretrained", "lora_context", "read", "write",
}  # fmt: skip


def test_the_nine_names_are_there():
    assert NAMES <= set(package.__all__) and NAMES <= set(dir(package))


def test_a_users_program_runs(tmp_path):
    """A text and not a module, so that nobody who moves files corrects its imports."""
    program = Path(__file__).with_name("program.txt").read_text()
    scope = {"model": FakePretrained(), "folder": tmp_path}
    exec(compile(program, "program.txt", "exec"), scope)
    assert scope["done"] and NAMES <= scope.keys()
    with pytest.raises(ImportError):
        exec("from v2v import anything", {})
