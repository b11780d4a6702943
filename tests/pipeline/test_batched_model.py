"""Jobs side by side on a mesh: each as if alone, whatever it shares a batch with."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from tests import tiny_model
from tests.example_clips import picture
from tests.fake_model import FakePretrained
from v2v import EasyV2VEditor, InputError, Video, read
from v2v.checkpoints.presets import Preset
from v2v.config import SamplingConfig
from v2v.diffusion import windows
from v2v.pipeline import batch, batched_model, manifest
from v2v.pipeline.model import SampleRequest
from v2v.pipeline.pretrained import load_pretrained
from v2v.pipeline.settings import EditRequest, EditSettings
from v2v.runtime import sharding

ROOT = Path(batch.__file__).parents[2]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model.write(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def listed(tmp_path_factory):
    """Clips of several lengths; one job with a mask, one with another guidance, one that fails."""
    folder = tmp_path_factory.mktemp("jobs")
    lines = []
    for i, (length, more) in enumerate(
        [(5, {}), (30, {}), (9, {"seed": 7}), (5, {"mask": "4,4,20,20"}), (12, {"guidance": 3}), (40, {})]
    ):
        Video.from_array(picture(length, 40, 56, i)).save(folder / f"{i}.mp4")
        words = "make it warmer" if i % 2 else "make it sepia"
        lines.append({"video": f"{i}.mp4", "instruction": words, "output": f"{i}.mp4", "guidance": 2, **more})
    lines.insert(2, {"video": "none.mp4", "instruction": "make it sepia"})
    (folder / "jobs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder / "jobs.jsonl"


@pytest.fixture(scope="module")
def alone(model, listed, tmp_path_factory):
    """The same jobs one at a time: (results by line, pixels by name)."""
    folder = tmp_path_factory.mktemp("alone")
    results = batch.run_jobs(EasyV2VEditor(str(model)), manifest.read_manifest(listed), folder)
    return {r["line"]: r for r in results}, pixels(folder)


def pixels(folder):
    return {path.name: read(path).frames.astype(int) for path in folder.glob("*.mp4")}


def assert_equal(many, one):
    """Latents differ by 1e-5 at most (below), which may round a level otherwise here and there before the encoder."""
    assert len(one) == 6 and one.keys() == many.keys()
    for name in one:
        assert np.abs(one[name] - many[name]).mean() < 0.05, name


@pytest.mark.slow
def test_jobs_on_a_mesh_equal_jobs_one_at_a_time(model, listed, alone, tmp_path):
    mesh = sharding.make_mesh(data=4, devices=jax.devices()[:4])
    results = batch.run_jobs(EasyV2VEditor(str(model)), manifest.read_manifest(listed), tmp_path, mesh=mesh)
    many = {r["line"]: r for r in results}
    assert [many[line]["status"] for line in range(1, 8)] == ["done"] * 2 + ["failed"] + ["done"] * 4
    for line, one in alone[0].items():
        assert many[line]["error"] == one["error"]
        assert many[line]["report"].get("prompt") == one["report"].get("prompt")
    assert_equal(pixels(tmp_path), alone[1])


@pytest.mark.slow
def test_jobs_on_several_devices_each_equal_jobs_one_at_a_time(model, listed, alone, tmp_path):
    mesh = sharding.make_mesh(data=2, seq=2, devices=jax.devices()[:4])
    results = batch.run_jobs(EasyV2VEditor(str(model)), manifest.read_manifest(listed), tmp_path, mesh=mesh)
    assert sorted(result["status"] for result in results) == ["done"] * 6 + ["failed"]
    assert_equal(pixels(tmp_path), alone[1])


# Noise levels of two steps with fresh noise between them.
RENOISE = Preset("two", SamplingConfig("renoise", 2, levels=((1000, 1.0), (600, 0.6))), "tests")


@pytest.mark.slow
@pytest.mark.parametrize("preset", [None, RENOISE])
def test_rows_are_shared_out_and_answers_are_ones_own(model, preset):
    """Four jobs, one call on four devices; latents within 1e-5 of a call of one's own; past, fresh noise and all."""
    mesh = sharding.make_mesh(data=4, devices=jax.devices()[:4])
    base = load_pretrained(model, preset=preset)
    seen, real = [], type(base).sample

    class Watched(type(base)):
        def sample(self, request):
            source = request.source
            seen.append((source.shape[0], len(source.sharding.device_set), request.links.clips))
            return real(self, request)

    watched = base.with_skip(0.0)
    watched.skipping, watched.__class__ = None, Watched
    plan = windows.plan_windows(40, base.config.frames // 4 + 1)
    size = (2, base.config.frames, base.config.height, base.config.width, 3)

    def edit(model, job):
        rng = np.random.default_rng(job)
        clip = rng.integers(0, 256, size, dtype=np.uint8)
        text = np.repeat(np.asarray(model.embed_text(["make it sepia"]).rows), 2, 0)
        z, everywhere, past, out = model.encode(clip), model.encode(np.full(size, 255, np.uint8)), None, []
        for low in (0, 2):
            chosen = np.arange(low, low + 2)
            noise = np.stack(
                [windows.window_noise(job, plan.starts[i], z.shape[1], z.shape[2:]) for i in chosen]
            )
            links = plan.links(chosen, past)
            seeds = np.stack([windows.noise_seeds(job, plan.starts[i], z.shape[1]) for i in chosen])
            output = model.sample(
                SampleRequest(z, everywhere, None, text, noise, 2, 2.0, links, begin=z, seeds=seeds)
            )
            past = output.past
            out.append(np.asarray(output.latents))
        return job, np.concatenate(out)

    made = dict(
        batched_model.run_tasks(watched, mesh, [lambda seat, job=job: edit(seat, job) for job in range(4)])
    )
    assert seen == [(8, 4, 4)] * 2
    for job in range(4):
        np.testing.assert_allclose(made[job], edit(base, job)[1], atol=1e-5)


def test_the_first_jobs_wait_for_one_another(monkeypatch):
    """However late their threads start: the batch of the first is everybody's."""
    real, sizes = batched_model.BatchedModel.join, []

    def late(seat):
        if threading.current_thread() is not threading.main_thread():
            time.sleep(0.2 * int(threading.current_thread().name[-1]))
        real(seat)

    class Counts(FakePretrained):
        def encode(self, video):
            sizes.append(len({float(row.mean()) for row in np.asarray(video)}))
            return super().encode(np.asarray(video))

    monkeypatch.setattr(batched_model.BatchedModel, "join", late)
    mesh = sharding.make_mesh(data=4, devices=jax.devices()[:4])
    tasks = [lambda seat, job=job: seat.encode(np.full((1, 5, 8, 8, 3), job, np.uint8)) for job in range(4)]
    assert len(list(batched_model.run_tasks(Counts(), mesh, tasks))) == 4 and sizes == [4]


def test_a_job_that_fails_costs_the_others_nothing(model):
    mesh, base = sharding.make_mesh(data=2, devices=jax.devices()[:2]), EasyV2VEditor(str(model)).model
    frame = np.zeros((1, 5, base.config.height, base.config.width, 3), np.uint8)

    def task(seat, job):
        if job == 1:
            return "gone"
        if job == 2:
            with pytest.raises((TypeError, ValueError), match="."):
                seat.encode(frame[0])  # an axis is missing
            return "refused"
        return seat.encode(frame).shape[0]

    tasks = [lambda seat, job=job: task(seat, job) for job in range(5)]
    assert sorted(map(str, batched_model.run_tasks(base, mesh, tasks))) == ["1", "1", "1", "gone", "refused"]
    assert not [t for t in threading.enumerate() if t.name.startswith("job")]


WORKER = """
import sys
from v2v.cli import main
sys.exit(main.main(["edit", "--manifest", sys.argv[1], "--out", "out", "--model", sys.argv[2], "--json", *sys.argv[3:]]))
"""


@pytest.mark.slow
def test_two_processes_of_two_devices_equal_one_of_one(model, listed, alone, tmp_path):
    """`v2v edit --manifest --distributed`: each process takes its share over its own devices; one list comes out."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    environment |= {
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "XLA_FLAGS": os.environ["XLA_FLAGS"].replace("device_count=8", "device_count=2"),
        "JAX_COORDINATOR_ADDRESS": address,
        "JAX_NUM_PROCESSES": "2",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    words = [sys.executable, "-c", WORKER, str(listed), str(model), "--distributed"]
    started = [
        subprocess.Popen(
            words,
            cwd=tmp_path,
            text=True,
            stdout=-1,
            stderr=-1,
            env=environment | {"JAX_PROCESS_ID": str(rank)},
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=900) for process in started]
    assert [process.returncode for process in started] == [1, 1], said  # one job's clip is missing
    counts = [json.loads(out.splitlines()[-1]) for out, _ in said]
    assert [(c["done"], c["failed"]) for c in counts] == [(6, 1)] * 2
    assert ["line 1: done" in err for _, err in said] == [True, False]
    results = [json.loads(line) for line in (tmp_path / "out" / batch.RESULTS_FILE).read_text().splitlines()]
    statuses = [(r["line"], r["status"]) for r in results]
    assert statuses == [(line, "failed" if line == 3 else "done") for line in range(1, 8)]
    assert_equal(pixels(tmp_path / "out"), alone[1])


def test_a_mesh_needs_no_jobs(model, tmp_path):
    mesh = sharding.make_mesh(data=2, devices=jax.devices()[:2])
    assert list(batched_model.run_tasks(EasyV2VEditor(str(model)).model, mesh, [])) == []
    with pytest.raises(InputError, match="can't be made"):
        (tmp_path / "file").touch()
        list(batch.run_jobs(EasyV2VEditor(str(model)), [], tmp_path / "file", mesh=mesh))


def test_adapters_stay_with_their_jobs(tmp_path):
    """Jobs with the same adapters share calls, others don't; each clip gets its own."""
    Video.from_array(picture(6, 32, 48)).save(tmp_path / "a.mp4")
    loras = [(), (("20", 1.0),), (("20", 1.0),), (("20", 0.5), ("10", 2.0))]
    request = EditRequest(str(tmp_path / "a.mp4"), "make it", settings=EditSettings(detail="model"))
    wanted = [manifest.Job(i, request, f"{i}.mp4", lora=lora) for i, lora in enumerate(loras)]
    model = FakePretrained()
    mesh = sharding.make_mesh(data=4, devices=jax.devices()[:4])
    results = list(batch.run_jobs(EasyV2VEditor(model), wanted, tmp_path / "out", mesh=mesh))
    assert [r["status"] for r in results] == ["done"] * 4, results
    means = [read(tmp_path / "out" / f"{i}.mp4").frames.mean() for i in range(4)]
    np.testing.assert_allclose(np.subtract(means, means[0]), [0, 20, 20, 30], atol=2)
    assert {call["links"].clips for call in model.calls} == {4}
