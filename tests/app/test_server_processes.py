"""Two processes of `v2v serve` on one queue: a signal to one while it edits, its start anew, and each job done once."""

import os
import signal
import socket
import subprocess
import sys
import time

import httpx
import numpy as np
import pytest
import sqlalchemy as sa

from tests.app.test_networked_store import address as postgresql  # noqa: F401  a fixture
from v2v import Video

pytestmark = pytest.mark.slow
JOBS = 6


class Process:
    """A server with a worker; what it compiles is stored in a folder of its own, empty at first."""

    def __init__(self, folder, store, name):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        words = [sys.executable, "-m", "v2v", "serve", "--files", str(folder / "jobs"), "--port", str(self.port), "--batch", "1"]  # fmt: skip
        words += ["--store", store] if store else []
        cache = {"V2V_CACHE": str(folder / f"cache-{name}"), "JAX_PLATFORMS": "cpu"}
        self.log = (folder / f"{name}.log").open("ab")
        self._popen = subprocess.Popen(words, env=os.environ | cache, stderr=self.log, stdout=self.log)
        self.pid = self._popen.pid
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=120)

    def wait_for_start(self):
        while True:
            assert self._popen.poll() is None, "the server has ended"
            try:
                return self.http.get("/healthz")
            except httpx.HTTPError:
                time.sleep(0.2)

    def stop(self):
        """Send SIGTERM; return the exit code."""
        if self._popen.poll() is None:
            self._popen.send_signal(signal.SIGTERM)
        code = self._popen.wait(300)
        self.http.close()
        self.log.close()
        return code


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_signal_while_it_edits_loses_nothing_and_repeats_nothing(tmp_path, database, request):
    store = request.getfixturevalue("postgresql") if database == "postgresql" else ""
    clip = tmp_path / "in.mp4"
    frame = np.random.default_rng(0).integers(0, 255, (1, 64, 64, 3), np.uint8)
    Video.from_array(np.repeat(frame, 9, 0), 25).save(clip)
    processes = [Process(tmp_path, store, name) for name in ("a", "b")]
    try:
        for process in processes:
            process.wait_for_start()
        database = sa.create_engine(store or f"sqlite:///{tmp_path / 'jobs' / 'jobs.db'}")

        def read(columns):
            with database.connect() as connection:
                return connection.execute(
                    sa.text(f"SELECT {columns} FROM v2v_jobs ORDER BY created")
                ).fetchall()

        ids = []
        for i in range(JOBS):
            files = {"video": ("in.mp4", clip.read_bytes())}
            answer = processes[i % 2].http.post("/v1/videos", files=files, data={"prompt": "make it sepia", "seed": i})  # fmt: skip
            ids.append(answer.json()["id"])
        # Both work; the one with the oldest job compiles its program, as its cache is empty.
        while len(rows := [row for row in read("id, worker, status") if row.status == "in_progress"]) < 2:
            time.sleep(0.02)
        stopped = next(p for p in processes if f":{p.pid}:" in rows[0].worker)
        other = next(p for p in processes if p is not stopped)
        assert stopped.stop() == 0
        # Nothing is still claimed by it, and its job waits for anyone, as if untouched.
        assert not [row for row in read("worker, status") if row.status == "in_progress" and f":{stopped.pid}:" in row.worker]  # fmt: skip
        processes[processes.index(stopped)] = again = Process(tmp_path, store, "a" if stopped is processes[0] else "b")  # fmt: skip
        again.wait_for_start()
        for id in ids:
            while (job := other.http.get(f"/v1/videos/{id}").json())["status"] in ("queued", "in_progress"):
                time.sleep(0.2)
            assert job["status"] == "completed", job
            assert again.http.get(f"/v1/videos/{id}/content").content[4:8] == b"ftyp"
        assert [row.attempts for row in read("attempts")] == [1] * JOBS
        database.dispose()
    finally:
        codes = [process.stop() for process in processes]
    assert codes == [0, 0]
