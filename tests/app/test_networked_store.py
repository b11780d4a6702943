"""The queue in PostgreSQL, where there are a server's programs and psycopg: workers share it, and each job is done once."""

import os
import shutil
import socket
import subprocess
import tempfile
import threading
from pathlib import Path

import pytest

from tests.example_clips import picture
from tests.example_clips import write as make
from tests.fake_model import FakePretrained
from v2v import EasyV2VEditor, InputError
from v2v.app.job import Job, new_id
from v2v.app.job_files import JobFiles
from v2v.app.job_store import JobStore
from v2v.app.worker import Worker, WorkerThread

pytestmark = pytest.mark.slow


def find_programs() -> Path:
    """Return the folder of initdb and pg_ctl."""
    pytest.importorskip("psycopg")
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not folders:
        pytest.skip("no PostgreSQL")
    return folders[-1]


@pytest.fixture(scope="module")
def address():
    """The address of a database of a server that ends with the tests."""
    programs = find_programs()
    # It refuses to run as root, and pytest's own folders are closed to others.
    user = {"user": "postgres"} if os.geteuid() == 0 else {}
    with tempfile.TemporaryDirectory(prefix="v2v-postgres-") as folder, socket.socket() as probe:
        if user:
            shutil.chown(folder, "postgres")
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()

        def run(*words):
            words = [programs / words[0], *words[1:]]
            subprocess.run(words, check=True, capture_output=True, cwd=folder, timeout=300, **user)

        data = Path(folder) / "data"
        run("initdb", "-D", data, "-U", "v2v", "--auth", "trust", "--no-sync")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
        run("pg_ctl", "-D", data, "-l", Path(folder) / "log", "-w", "-t", "240", "-o", options, "start")
        try:
            yield f"postgresql+psycopg://v2v@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "-D", data, "-m", "fast", "-t", "240", "stop")


@pytest.fixture
def store(address):
    store = JobStore(address)
    yield store
    for owner in ("ann", "bob"):
        for job in store.list(owner, 1000):
            store.delete(job.id)
    store.close()


def add(store, files, owner="ann", **settings):
    job = Job(new_id(), owner, "make it grey", settings, {"video": "video.mp4"}, shape="5x32x48")
    files.folder(job.id).mkdir()
    make(files.folder(job.id) / "video.mp4", picture(5, 32, 48))
    return store.add(job).id


def test_workers_share_the_jobs(store, address, tmp_path):
    """As on two machines: each has its own connection, and the folder of files in common."""
    files = JobFiles(tmp_path / "jobs")
    ids = [add(store, files, "ann" if i % 3 else "bob", seed=i) for i in range(12)]
    stores = [JobStore(address) for _ in range(2)]
    done: list[list[str]] = [[], []]

    class Telling(Worker):
        def do(self, job, model=None):
            done[stores.index(self._store)].append(job.id)
            super().do(job, model)

    workers = [
        WorkerThread.start(Telling(EasyV2VEditor(FakePretrained()), each, files, "fake", batch=2))
        for each in stores
    ]
    ended = threading.Event()
    while store.count(("queued", "in_progress")):
        ended.wait(0.1)
    for worker in workers:
        worker.stop()
    assert sorted(done[0] + done[1]) == sorted(ids) and all(done)
    assert {store.find(id).status for id in ids} == {"completed"}
    assert all(files.output(id).exists() for id in ids)
    for each in stores:
        each.close()


def test_a_row_is_claimed_once(store, address, tmp_path):
    files = JobFiles(tmp_path / "jobs")
    ids = [add(store, files, "bob" if i % 2 else "ann") for i in range(10)]
    claimed, lock = [], threading.Lock()

    def work(name):
        mine = JobStore(address)
        while jobs := mine.claim_batch(name, 3):
            with lock:
                claimed.extend(job.id for job in jobs)
        mine.close()

    threads = [threading.Thread(target=work, args=(f"w{i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == sorted(ids)
    pages, after = [], ""
    while page := store.list("ann", 2, after):
        pages += [entry.id for entry in page]
        after = page[-1].id
    assert sorted(pages) == sorted(id for id in ids if store.find(id).owner == "ann")


def test_a_database_that_does_not_answer():
    pytest.importorskip("psycopg")
    with pytest.raises(InputError, match="--store 127.0.0.1:1/none: expected a database"):
        JobStore("postgresql+psycopg://v2v:secret@127.0.0.1:1/none")
