"""What a server bears: uploads that never end, many at once, connections without a request, lost stores, full disks, and clocks that jump."""

import asyncio
import dataclasses
import errno
import os
import platform
import socket
import subprocess
import sys
import threading
import time

import pytest
import sqlalchemy.exc
from fastapi.testclient import TestClient
from uvicorn import Config
from uvicorn.server import ServerState

from tests.app.test_job_store import Clock, job
from tests.app.test_server import Service
from tests.example_clips import picture
from tests.example_clips import write as make
from v2v.app import webhook, worker
from v2v.app.access import Limits
from v2v.app.admission import Admission
from v2v.app.api_error import ApiError
from v2v.app.clip_files import ClipFiles
from v2v.app.connections import LimitedConnection, most_connections
from v2v.app.job import new_id
from v2v.app.job_store import JobStore
from v2v.app.request_body import LimitedBody
from v2v.pipeline.batched_model import count_places
from v2v.runtime import allocator, compiled_programs
from v2v.runtime.database import LostDatabaseError


@pytest.fixture
def service(tmp_path):
    service = Service(tmp_path)
    # Answers of faults, as clients get them.
    service.http = TestClient(service.http.app, headers=service.http.headers, raise_server_exceptions=False)
    yield service
    service.store.close()


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "in.mp4"
    make(path, picture(2, 16, 16))
    return path.read_bytes()


def error_of(answer):
    error = answer.json()["error"]
    assert "\n" not in error["message"]
    return answer.status_code, error["code"]


def send_body(parts, **limits):
    """Send a body to an application that reads all of it, and return the messages that it got, or the error."""
    messages = iter(parts)
    read = []

    async def receive():
        delay, body, more = next(messages)
        await asyncio.sleep(delay)
        return {"type": "http.request", "body": body, "more_body": more}

    async def send(message):
        raise AssertionError("nothing is answered")

    async def app(scope, receive, send):
        while not read or read[-1]["more_body"]:
            read.append(await receive())

    scope = {"type": "http", "headers": []}
    try:
        asyncio.run(LimitedBody(app, 1000, **limits)(scope, receive, send))
    except ApiError as error:
        return error.status, error.code
    return b"".join(message["body"] for message in read)


def test_a_body_has_to_come_to_its_end():
    assert send_body([(0, b"a", True), (0, b"b", False)]) == b"ab"
    assert send_body([(0, b"a", True), (9, b"b", False)], pause=0.01) == (408, "too_slow")
    drops = [(0.002, b"a", True)] * 50
    assert send_body(drops, grace=0.01, least_speed=1e6) == (408, "too_slow")
    assert send_body([(0.02, b"a", False)], grace=0.01, least_speed=1e6) == b"a"
    assert send_body([(0, bytes(600), True), (0, bytes(600), False)]) == (413, "too_large")


def test_uploads_on_their_way_count_as_if_they_were_here(service):
    limits = Limits(waiting=2, per_minute=9, disk_bytes=1000, upload_bytes=400)
    admission = Admission(service.store, service.files, ClipFiles(service.files.root), limits)
    first = admission.admit_job("ann", 300)
    with admission.admit_job("ann", None):  # of unknown size: as large as may be
        for owner, code in (("ann", "too_many_jobs"), ("bob", "disk_full")):
            with pytest.raises(ApiError) as refused:
                admission.admit_job(owner, 301)
            assert refused.value.code == code
        with pytest.raises(ApiError, match="disk is full"):
            admission.admit_clip("bob", 301)
        with admission.admit_clip("bob", 300):
            pass
    with admission.admit_job("ann", 301), first:
        pass
    admission.check_disk(1000)


def test_faults_are_answered_in_one_line(service, clip, monkeypatch):
    def fail(error):
        def raise_error(*args, **options):
            raise error

        return raise_error

    lost = sqlalchemy.exc.OperationalError("SELECT secret", {}, Exception("database is locked"))
    for error, expected in (
        (lost, (503, "store_away")),
        (LostDatabaseError("deleted"), (503, "store_away")),
        (OSError(errno.ENOSPC, "no space"), (507, "disk_full")),
        (PermissionError(errno.EACCES, "secret"), (503, "disk_away")),
        (RuntimeError("secret"), (500, "internal")),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(service.store, "add", fail(error))
            answer = service.send(clip)
        assert error_of(answer) == expected and "secret" not in answer.text
        assert list(service.files.root.iterdir()) == []
    assert service.send(clip).status_code == 200


def test_malformed_addresses(tmp_path, clip):
    service = Service(tmp_path, webhook_hosts=["h"])
    for address in ("http://[", "http://h:99999/", "http://h:x/", "http://h/a b", "http://h/é"):
        assert error_of(service.send(clip, webhook=address)) == (400, "bad_input")
    assert error_of(service.http.get("/v1/videos", headers={"Origin": "http://["})) == (403, "wrong_origin")
    assert error_of(service.http.get("/v1/videos", params={"limit": "x"})) == (400, "bad_input")
    service.store.close()


def test_what_was_left_behind_is_found(service):
    forgotten, known = new_id(), new_id()
    for id in (forgotten, known):
        service.files.folder(id).mkdir()
    os.utime(service.files.folder(forgotten), (1, 1))
    (service.files.root / "video_other").mkdir()
    assert service.files.find_forgotten(1000) == [forgotten]


def test_clocks_that_are_put_back_or_forward(tmp_path):
    clock = Clock()
    store = JobStore(f"sqlite:///{tmp_path / 'jobs.db'}", lease=60, clock=clock)

    def claim(worker):
        claimed = store.claim(worker)
        return None if claimed is None else claimed.id

    id = store.add(job()).id
    assert claim("one") == id and claim("two") is None
    clock.now -= 500  # its lease would last for nine minutes
    assert store.count(("in_progress",), "ann", since=clock.now - 60) == 0
    assert claim("two") == id and claim("one") is None
    clock.now += 5000
    assert claim("one") == id
    store.close()


def test_the_worker_outlives_its_store_and_whatever_is_raised(service, monkeypatch):
    monkeypatch.setattr("v2v.app.worker.AWAY", 0.0)
    failures = [
        sqlalchemy.exc.DatabaseError("x", {}, Exception("malformed")),
        RuntimeError("x"),
        sqlalchemy.exc.OperationalError("x", {}, Exception("locked")),
    ]

    def claim(*args):
        if failures:
            raise failures.pop()
        service.worker.stop()
        return []

    monkeypatch.setattr(service.store, "claim_batch", claim)
    thread = threading.Thread(target=service.worker.run)
    thread.start()
    thread.join(30)
    assert not thread.is_alive() and not failures


def test_an_edit_outlives_an_absence_of_its_store(service, clip, monkeypatch):
    monkeypatch.setattr("v2v.app.worker.AWAY", 0.0)
    monkeypatch.setattr("v2v.app.worker.REPORT", 0.0)
    id = service.send(clip).json()["id"]
    end, calls = service.store.end, []

    def fail_twice(*args, **options):
        calls.append(args)
        if len(calls) < 3:
            raise sqlalchemy.exc.OperationalError("x", {}, Exception("locked"))
        return end(*args, **options)

    def report(*args):
        raise sqlalchemy.exc.OperationalError("x", {}, Exception("locked"))

    monkeypatch.setattr(service.store, "end", fail_twice)
    monkeypatch.setattr(service.store, "report", report)
    service.work()
    assert len(calls) == 3 and service.tell(id)["status"] == "completed"


def test_a_job_that_is_deleted_while_it_is_done_leaves_nothing(service, clip, monkeypatch):
    id = service.send(clip).json()["id"]
    end = service.store.end

    def delete_first(*args, **options):
        service.http.delete(f"/v1/videos/{id}")
        service.files.folder(id).mkdir()  # as the writer of the result may, at the same moment
        return end(*args, **options)

    monkeypatch.setattr(service.store, "end", delete_first)
    service.work()
    assert list(service.files.root.iterdir()) == []


def test_a_worker_that_does_not_stop_in_time_gives_its_jobs_back(service, clip):
    id = service.send(clip).json()["id"]
    service.worker._jobs = service.store.claim_batch(service.worker.name, 1)
    assert service.tell(id)["status"] == "in_progress"
    service.worker.give_back()
    assert service.tell(id)["status"] == "queued" and service.store.find(id).attempts == 0


class Address:
    """A webhook that answers each connection by a function."""

    def __init__(self, answer):
        self.calls = 0
        self._answer = answer
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/x?y=1"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.calls += 1
            with connection:
                data = b""
                while b"}}" not in data and (part := connection.recv(65536)):
                    data += part
                self._answer(connection)

    def close(self):
        self._socket.close()


def drip(connection):
    try:
        for _ in range(1000):
            connection.sendall(b"H")
            time.sleep(0.01)
    except OSError:
        pass


def test_webhooks_that_are_dead_slow_or_lead_elsewhere(monkeypatch):
    monkeypatch.setattr("v2v.app.webhook.time.sleep", lambda seconds: None)
    ended = job()
    answers = {
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n": (True, 1),
        "HTTP/1.1 307 x\r\nLocation: http://127.0.0.1:1/\r\n\r\n": (False, 3),
        "HTTP/1.1 500 x\r\n\r\n": (False, 3),
        "nonsense\r\n\r\n": (False, 3),
        "": (False, 3),
    }
    for text, expected in answers.items():
        address = Address(lambda connection, text=text: connection.sendall(text.encode()))
        told = webhook.call_webhook(dataclasses.replace(ended, webhook=address.url), "fake")
        assert (told, address.calls) == expected, text
        address.close()
    for dead in (address.url, "http://127.0.0.1:1/\x01"):
        assert not webhook.call_webhook(dataclasses.replace(ended, webhook=dead), "fake")


def test_a_webhook_is_told_once_and_later_where_there_were_too_many(service, monkeypatch):
    """What doesn't fit into the queue, or was left by a worker that was killed, is told once nobody else does."""
    clock = Clock()
    monkeypatch.setattr(service.store, "_clock", clock)
    monkeypatch.setattr(webhook, "_MOST_WAITING", 1)
    told, go_on = [], threading.Event()

    def call(ended, model):
        assert go_on.wait(30)
        told.append(ended.id)
        return True

    monkeypatch.setattr(webhook, "call_webhook", call)
    monkeypatch.setattr(webhook, "_THREADS", 1)
    caller = webhook.WebhookCaller("fake", service.store, "w")
    ids = []
    for _ in range(3):  # one is told, one waits, one finds no room
        service.store.add(job(webhook="http://x/y"))
        ended = service.store.end(service.store.claim("w"), "w")
        ids.append(ended.id)
        caller.tell(ended)
        caller.tell(ended)
        while len(ids) == 1 and caller._jobs.qsize():
            time.sleep(0.01)
    go_on.set()
    caller.wait(30)
    assert told == ids[:2]
    caller.take_over()
    caller.wait(30)
    assert told == ids[:2]
    clock.now += 600
    caller.take_over()
    caller.wait(30)
    assert told == ids and not service.store.claim_untold("other", 9)


def test_a_webhook_that_drips_is_given_up():
    address = Address(drip)
    with pytest.raises(TimeoutError, match="no answer within"):
        webhook._post(address.url, b"{}}", 0.05)
    address.close()


def test_connections_without_a_request_are_closed_and_bounded():
    async def answer(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    class Connection(LimitedConnection):
        head_seconds, limit = 0.05, 2

    async def check():
        config, state = Config(answer, ws="none", log_config=None), ServerState()
        config.load()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Connection(config, state, {}), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        silent = await asyncio.open_connection("127.0.0.1", port)
        partial = await asyncio.open_connection("127.0.0.1", port)
        partial[1].write(b"GET / HT")
        await asyncio.sleep(0)
        third = await asyncio.open_connection("127.0.0.1", port)
        for reader, _ in (third, silent, partial):
            try:
                assert await asyncio.wait_for(reader.read(), 120) == b""
            except ConnectionResetError:
                assert reader is third[0]
        # What asks for something has all the time that a busy machine needs.
        Connection.head_seconds = 60
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(2):
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"200" in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 120)
        writer.close()
        server.close()
        for _, other in (silent, partial, third):
            other.close()

    asyncio.run(check())
    number = most_connections()
    assert number is None or number >= 16


def test_memory_is_bounded(service, clip, monkeypatch):
    """After each batch programs of ever new shapes are forgotten, and what was freed goes back."""
    calls, programs = [], [worker.MOST_PROGRAMS]
    monkeypatch.setattr(compiled_programs, "count_programs", lambda: programs[0])
    monkeypatch.setattr(compiled_programs.jax, "clear_caches", lambda: calls.append("forgotten"))
    monkeypatch.setattr(allocator, "return_free_memory", lambda: calls.append("returned"))
    service.worker._tidy()
    assert calls == ["returned"]
    programs[0] += 1
    id = service.send(clip).json()["id"]
    running = worker.WorkerThread.start(service.worker)
    while calls.count("returned") < 2:
        time.sleep(0.01)
    running.stop()
    assert calls[1:] == ["forgotten", "returned"] and service.tell(id)["status"] == "completed"


def test_batches_have_few_sizes():
    assert [count_places(n, 16) for n in (1, 2, 4, 5, 16)] == [1, 4, 4, 16, 16]
    assert [count_places(n, 3) for n in (1, 2, 3)] == [1, 3, 3]


def test_few_arenas():
    """In a process of its own, since limits stay; elsewhere than with glibc nothing can be set, and nothing fails."""
    assert allocator.return_free_memory() in (True, False)
    code = "from v2v.runtime.allocator import limit_arenas; print(limit_arenas())"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == str("glibc" in platform.libc_ver()[0])
