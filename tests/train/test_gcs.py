"""A run whose folder is a bucket: checkpoints, position and log on gs://, against an emulator on the loopback.

What is real: gcsfs behind etils.epath, and tensorstore's own gs:// driver inside orbax. What is not: Google's servers and credentials.
"""

import json
import socket

import grain
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from v2v.config import LogConfig
from v2v.train import loop
from v2v.train.checkpointing import Checkpoints
from v2v.train.state import TrainState


@pytest.fixture(scope="module")
def bucket():
    pytest.importorskip("gcsfs")
    emulator = pytest.importorskip("gcp_storage_emulator.server")
    with socket.socket() as s:
        s.bind(("localhost", 0))
        port = s.getsockname()[1]
    server = emulator.create_server("127.0.0.1", port, in_memory=True, default_bucket="pod")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("STORAGE_EMULATOR_HOST", "TENSORSTORE_GCS_HTTP_URL"):
            patch.setenv(name, f"http://127.0.0.1:{port}")
        server.start()
        yield "gs://pod"
        server.stop()


@jax.jit
def step(state, batch):
    grads = {"w": jax.random.normal(jax.random.fold_in(jax.random.key(0), state.step), (3, 4)) * batch.mean()}
    return state.update(grads, optax.adam(0.1), 0.9), {"loss": batch.mean().astype(jnp.float32)}


def train(folder, steps):
    state = TrainState.create({"w": jnp.zeros((3, 4))}, optax.adam(0.1))
    data = grain.MapDataset.range(100).seed(1).shuffle().repeat().batch(4).to_iter_dataset()
    return loop.fit(folder, state, step, iter(data), loop.Schedule(steps, 2, LogConfig(every=2)))


def test_a_run_in_a_bucket_resumes_to_the_bit(bucket, tmp_path):
    straight = train(tmp_path / "local", 6)
    train(f"{bucket}/run", 4)
    assert Checkpoints(f"{bucket}/run/checkpoints").latest() == 4
    resumed = train(f"{bucket}/run", 6)
    jax.tree.map(np.testing.assert_array_equal, straight, resumed)
    from etils import epath

    rows = [json.loads(line) for line in epath.Path(f"{bucket}/run/log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 4, 6]
    assert [row["loss"] for row in rows] == [
        json.loads(line)["loss"] for line in (tmp_path / "local" / "log.jsonl").read_text().splitlines()
    ]
    saved_steps = [p.name for p in epath.Path(f"{bucket}/run/checkpoints").iterdir() if p.name.isdigit()]
    assert sorted(saved_steps) == ["4", "6"]  # the newest two
