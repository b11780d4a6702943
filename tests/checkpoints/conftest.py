"""A tiny random model in the diffusers layout, for the tests of folders and of what damages them."""

import shutil

import pytest

from tests.parity import tiny


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tiny.write_folder(tmp_path_factory.mktemp("model") / "tiny", tiny.config())


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")
