"""Which device is used: choices, hints and names, without the devices."""

import importlib.util
import os
import subprocess
import sys

import jax
import pytest

from v2v.errors import InputError
from v2v.runtime import devices


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine without device files, on which the given packages are installed."""
    monkeypatch.setattr(devices, "TPU_FILES", (tmp_path / "accel0",))
    monkeypatch.setattr(devices, "NVIDIA_FILE", tmp_path / "nvidia0")
    monkeypatch.setattr(devices, "PCI_DEVICES", tmp_path / "pci")
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    installed = {"libtpu"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name if name in installed else None)
    return installed


def test_libtpu_is_not_started_where_there_is_no_tpu(machine, monkeypatch, tmp_path):
    devices.skip_absent_tpu()
    assert os.environ["JAX_PLATFORMS"] == "cpu"
    monkeypatch.delenv("JAX_PLATFORMS")
    machine.add("jax_cuda12_plugin")
    devices.skip_absent_tpu()
    assert "JAX_PLATFORMS" not in os.environ
    machine.remove("jax_cuda12_plugin")
    (tmp_path / "pci" / "0000:00:04.0").mkdir(parents=True)
    (tmp_path / "pci" / "0000:00:04.0" / "vendor").write_text("0x1ae0\n")
    devices.skip_absent_tpu()
    assert "JAX_PLATFORMS" not in os.environ


def test_devices_that_jax_does_not_use_are_named(machine, monkeypatch, tmp_path):
    monkeypatch.setattr(devices, "fell_back_to_cpu", lambda: True)
    assert devices.find_unused_device() == ""
    (tmp_path / "accel0").touch()
    assert 'pip install -U "jax[tpu]"' in devices.find_unused_device()
    (tmp_path / "nvidia0").touch()
    assert 'pip install -U "jax[cuda12]"' in devices.find_unused_device()


@pytest.mark.parametrize("choice", ["cuda", "cpu:1", "gpu:x", "tpu:"])
def test_choices_that_are_none(choice):
    with pytest.raises(InputError, match="expected cpu, gpu, tpu, gpu:N or tpu:N"):
        devices.select_device(choice)


def test_a_platform_that_jax_cannot_start(monkeypatch):
    """Without its plugin JAX fails by an assertion without words; a process that has started another platform keeps it."""

    def fail():
        raise AssertionError

    monkeypatch.setattr(jax.config, "update", lambda *setting: None)
    with pytest.raises(InputError, match="--device gpu: this process uses JAX on cpu already"):
        devices.select_device("gpu")
    monkeypatch.setattr(jax, "local_devices", fail)
    with pytest.raises(
        InputError, match=r"--device gpu: JAX can't start it \(it has no support.*jax\[cuda12\]"
    ):
        devices.select_device("gpu")


def test_a_choice_in_a_process_of_its_own():
    """The platform is JAX's for the whole process, so each choice has one."""
    program = "from v2v.runtime import devices; import sys; devices.select_device(sys.argv[1]); print(devices.describe_devices())"
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "3"}
    environment.pop("JAX_PLATFORMS", None)
    environment.pop("XLA_FLAGS", None)

    def run(choice: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-c", program, choice], capture_output=True, text=True, env=environment
        )

    assert run("cpu").stdout.startswith("CPU (")
    assert "CUDA_VISIBLE_DEVICES shows 1, numbered from 0" in run("gpu:1").stderr
