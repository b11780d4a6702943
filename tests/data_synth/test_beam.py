"""Beam makes the same shards: same bytes whatever runs them, nothing twice, and a poisoned clip fails alone."""

import errno
import socket
import subprocess
import sys
import time

import pytest

pytest.importorskip("apache_beam")

from data_synth import generate
from data_synth.dataset import build as module
from data_synth.dataset import shards
from data_synth.dataset.build import build_dataset
from data_synth.dataset.request import SynthRequest
from v2v.errors import InputError

SMALL = {"frames": 2, "height": 16, "width": 24}


REAL, DONE = module.make_records, []


def counts(seeds, options):
    DONE.append(list(seeds))
    return REAL(seeds, options)


def dies(seeds, options):  # at module level, as what Beam runs must be
    if len(DONE) > 1:
        raise MemoryError("killed")
    return counts(seeds, options)


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_beam_changes_no_byte_with_one_process_or_two(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "MAX_BLOCK", 4)
    build_dataset(SynthRequest(tmp_path / "own", 9, seed=2, **SMALL))
    for workers in (1, 2):
        build_dataset(SynthRequest(tmp_path / str(workers), 9, seed=2, workers=workers, beam=(), **SMALL))
        assert contents(tmp_path / str(workers)) == contents(tmp_path / "own")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1", "2", "own"]  # nothing is left of the work


@pytest.fixture(scope="module")
def cluster():
    """Beam's options that reach a job server and a pool of workers, each a process of its own, through their ports."""
    ports, processes = [_free_port(), _free_port()], []
    for module_name, flag, port in (
        ("apache_beam.runners.portability.local_job_service_main", "-p", ports[0]),
        ("apache_beam.runners.worker.worker_pool_main", "--service_port", ports[1]),
    ):
        command = [sys.executable, "-m", module_name, flag, str(port)]
        processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    for port in ports:
        _wait_for(port)
    yield [f"--job_endpoint=localhost:{ports[0]}", "--environment_type=EXTERNAL", f"--environment_config=localhost:{ports[1]}"]  # fmt: skip
    for process in processes:
        process.terminate()
        process.wait()


@pytest.mark.parametrize("runner", ["FlinkRunner", "SparkRunner", "PortableRunner"])
def test_a_job_server_in_another_process_gives_the_same_bytes(tmp_path, monkeypatch, runner, cluster):
    """Flink and Spark are reached this way; what is behind the port is Beam's own engine."""
    monkeypatch.setattr(shards, "MAX_BLOCK", 4)
    monkeypatch.setattr(
        shards, "iterate_shards", lambda *_: pytest.fail("made here")
    )  # by a path other than Beam's
    build_dataset(SynthRequest(tmp_path / "there", 9, seed=2, beam=(f"--runner={runner}", *cluster), **SMALL))
    monkeypatch.undo()
    build_dataset(SynthRequest(tmp_path / "own", 9, seed=2, **SMALL))
    assert contents(tmp_path / "there") == contents(tmp_path / "own")


def test_workers_that_share_a_bucket(tmp_path, monkeypatch):
    """Not Google's servers: an emulator behind gcsfs. A stopped build goes on from the bucket, and leaves nothing there."""
    pytest.importorskip("gcsfs")
    emulator = pytest.importorskip("gcp_storage_emulator.server")
    from etils import epath

    monkeypatch.setattr(shards, "MAX_BLOCK", 2)
    port = _free_port()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
    server = emulator.create_server("127.0.0.1", port, in_memory=True, default_bucket="pod")
    server.start()
    try:
        bucket_options = {"beam": (), "unfinished": "gs://pod/waiting"}
        monkeypatch.setattr(module, "make_records", dies)
        DONE.clear()
        with pytest.raises(shards.BuildStoppedError, match="killed"):
            build_dataset(SynthRequest(tmp_path / "a", 8, seed=3, **bucket_options, **SMALL))
        stored = list(epath.Path("gs://pod/waiting").glob("a.*/*/*.jsonl"))
        # Only the list of the set that is begun lies beside it, no shard.
        assert stored and {p.name for p in tmp_path.rglob("*.jsonl")} <= {"pairs.jsonl"}
        monkeypatch.setattr(module, "make_records", counts)
        DONE.clear()
        build_dataset(SynthRequest(tmp_path / "a", 8, seed=3, **bucket_options, **SMALL))
        new_seeds = {seed for seeds in DONE for seed in seeds}
        assert new_seeds and not new_seeds & {int(p.name[:12]) for p in stored}
        assert not list(epath.Path("gs://pod/waiting").glob("a.*/*/*.jsonl"))
    finally:
        server.stop()
    build_dataset(SynthRequest(tmp_path / "own", 8, seed=3, **SMALL))
    assert contents(tmp_path / "a") == contents(tmp_path / "own")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="--unfinished .*file: expected a folder"):
        build_dataset(SynthRequest(tmp_path / "b", 8, unfinished=str(tmp_path / "file"), **SMALL))


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def _wait_for(port: int, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            return socket.create_connection(("localhost", port), 1).close()
        except OSError:
            assert time.monotonic() < end, f"nothing listens on port {port}"
            time.sleep(0.1)


def test_a_stopped_build_goes_on_where_it_stood(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "MAX_BLOCK", 2)
    build_dataset(SynthRequest(tmp_path / "whole", 8, seed=3, **SMALL))
    monkeypatch.setattr(module, "make_records", dies)
    DONE.clear()
    with pytest.raises(shards.BuildStoppedError, match="runner to finish, got .killed"):
        build_dataset(SynthRequest(tmp_path / "a", 8, seed=3, beam=(), **SMALL))
    stored = list(tmp_path.glob(".a.*/shards/*/*.jsonl"))
    assert stored and not (tmp_path / "a").exists()
    monkeypatch.setattr(module, "make_records", counts)
    DONE.clear()
    build_dataset(SynthRequest(tmp_path / "a", 8, seed=3, beam=(), **SMALL))
    new_seeds = {seed for seeds in DONE for seed in seeds}
    assert new_seeds and not new_seeds & {int(p.name[:12]) for p in stored}
    assert contents(tmp_path / "a") == contents(tmp_path / "whole")


@pytest.mark.parametrize("beam", [None, ()], ids=["own processes", "beam"])
def test_a_poisoned_clip_fails_alone_and_is_listed(tmp_path, monkeypatch, beam):
    real = generate.make_block

    def poisoned(seeds, options):
        if 5 in seeds:
            raise ZeroDivisionError("bad clip")
        return real(seeds, options)

    report = build_dataset(SynthRequest(tmp_path / "good", 6, seed=3, **SMALL))
    monkeypatch.setattr(generate, "make_block", poisoned)
    out = build_dataset(SynthRequest(tmp_path / "a", 6, seed=3, beam=beam, **SMALL))
    assert out["pairs"] == report["pairs"] == 6 and out["dropped"]["failed"] == 1
    assert out["failed"] == [{"seed": 5, "error": "ZeroDivisionError: bad clip"}]
    assert "failed" not in report
    seeds = [int(module.open_dataset(tmp_path / "a")[i]["seed"]) for i in range(6)]
    assert 5 not in seeds and seeds == sorted(seeds)


def test_a_full_disk_is_named_whatever_the_runner_passes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "MAX_BLOCK", 2)
    real, count = shards.os.fsync, iter(range(100))

    def full(fd):
        if next(count) >= 2:  # however often the runner tries
            raise OSError(errno.ENOSPC, "worded by the system")
        real(fd)

    monkeypatch.setattr(shards.os, "fsync", full)
    with pytest.raises(
        shards.DiskFullError, match="disk is full; free some space and run the same command again"
    ):
        build_dataset(SynthRequest(tmp_path / "a", 8, beam=(), **SMALL))
    stored = list(tmp_path.glob(".a.*/shards/*/*"))
    assert stored and {p.suffix for p in stored} <= {".array_record", ".jsonl"}
    monkeypatch.setattr(shards.os, "fsync", real)
    assert build_dataset(SynthRequest(tmp_path / "a", 8, beam=(), **SMALL))["pairs"] == 8


def test_beam_missing_or_failing_is_named(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="--beam --runner=Nonsense: expected the runner to finish"):
        build_dataset(SynthRequest(tmp_path / "a", 2, beam=("--runner=Nonsense",), **SMALL))
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(InputError, match=r"pip install 'v2v-edit\[beam\]'"):
        build_dataset(SynthRequest(tmp_path / "b", 2, beam=(), **SMALL))
    assert not list(tmp_path.iterdir())


def test_an_option_that_beam_does_not_know_is_refused(tmp_path):
    with pytest.raises(InputError, match="--beam: expected options of Beam's, got bogus"):
        build_dataset(SynthRequest(tmp_path / "out", 2, beam=["--bogus=3"]))
