"""A run in processes of their own: killed and resumed, stopped by a signal, on other devices, in two processes, on a full disk."""

import json
import resource
import signal
import socket
import time

import jax
import numpy as np
import pytest

from tools.checks import resume as runs
from v2v.errors import InputError
from v2v.train.checkpointing import Checkpoints

STEPS = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Latents, and an uninterrupted run of STEPS."""
    path = tmp_path_factory.mktemp("resume")
    runs.make_latents(path)
    runs.wait_for(runs.start(path, "straight", STEPS))
    return path


def wait_for(condition, run, seconds=600):
    end = time.time() + seconds
    while not condition() and run.poll() is None and time.time() < end:
        time.sleep(0.002)


def same(folder, name):
    return all(map(np.array_equal, runs.read_final(folder, "straight"), runs.read_final(folder, name)))


def losses(folder, name):
    rows = [json.loads(line) for line in (folder / name / "log.jsonl").read_text().splitlines()]
    return {row["step"]: row["loss"] for row in rows}


def close(folder, name):
    """The same batches, hence the same losses. Not the same weights: new embeddings start at zero, behind which a LayerNorm
    amplifies rounding a thousandfold, and Adam makes whole steps of it."""
    straight, other = losses(folder, "straight"), losses(folder, name)
    assert sorted(other) == list(range(1, STEPS + 1))
    np.testing.assert_allclose([other[k] for k in straight], [straight[k] for k in straight], rtol=2e-3)


@pytest.mark.slow
def test_killed_while_saving_it_resumes_to_the_bit(folder):
    saves = folder / "killed" / "checkpoints"
    run = runs.start(folder, "killed", STEPS)
    wait_for(lambda: (saves / "2").exists() and any(saves.glob("*tmp*")), run)
    run.kill()
    run.communicate()
    assert not (folder / "killed" / "final.npz").exists()
    runs.wait_for(runs.start(folder, "killed", STEPS))
    assert same(folder, "killed")
    assert not list(saves.glob("*tmp*"))  # what the killed save left is cleared away


@pytest.mark.slow
def test_a_signal_saves_and_a_run_goes_on_with_other_devices(folder):
    run = runs.start(folder, "moved", STEPS)
    wait_for((folder / "moved" / "checkpoints" / "2").exists, run)
    run.send_signal(signal.SIGTERM)
    assert "run again to resume" in run.communicate()[1] and run.returncode == 0
    runs.wait_for(runs.start(folder, "moved", STEPS, devices=2))
    close(folder, "moved")


@pytest.mark.slow
def test_two_processes_equal_one_and_either_goes_on_where_the_other_stopped(folder):
    def train_pair(steps):
        with socket.socket() as s:
            s.bind(("localhost", 0))
            port = s.getsockname()[1]
        pair = [runs.start(folder, "pair", steps, process=i, processes=2, port=port) for i in range(2)]
        for run in pair:
            runs.wait_for(run)

    train_pair(3)
    rows = [json.loads(line) for line in (folder / "pair" / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3]  # process 0 alone writes
    runs.wait_for(runs.start(folder, "pair", STEPS))
    close(folder, "pair")


def test_a_save_that_fails_is_told_and_leaves_the_last_one(tmp_path):
    state = {"w": jax.numpy.asarray(np.random.default_rng(0).standard_normal((512, 512), np.float32))}
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(1, state)
    checkpoints.wait()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # No file may grow beyond this, as on a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(InputError, match="saving step 2 failed .*step 1 is intact"):
            checkpoints.save(2, state)
            checkpoints.wait()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        checkpoints.close()
    reopened = Checkpoints(tmp_path / "checkpoints")
    assert reopened.latest() == 1
    np.testing.assert_array_equal(reopened.restore(state)["w"], state["w"])
    reopened.close()


def test_a_disk_without_room_is_told_before_the_first_step(tmp_path, monkeypatch):
    state = {"w": jax.numpy.zeros(1000)}
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.check_room(state)
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 3999})())
    with pytest.raises(InputError, match="a save needs about"):
        checkpoints.check_room(state)
    checkpoints.close()
