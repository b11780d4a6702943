"""Every implementation of `Expert` keeps the same promises: clips in order, failures with a kind, use after failure and close."""

import contextlib
import dataclasses
import email.utils
import inspect
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from data_synth.experts import http_errors, protocol, wire
from data_synth.experts import spec as spec_lib
from data_synth.experts.base import Expert, ExpertError, Failure, FailureKind
from data_synth.experts.wire import Job
from tests.data_synth.example_experts import clip, toml

# Inverts clips; the first pixel of the first clip asks for a fault.
SCRIPT = """import os, sys, time
def invert(jobs):
    fault = int(jobs[0].clip[0, 0, 0, 0])
    if fault == 1: raise ValueError("no")
    if fault == 2: os._exit(3)
    if fault == 3: time.sleep(60)
    return [255 - job.clip for job in jobs]
if __name__ == "__main__":
    from pathlib import Path
    from data_synth.experts import wire
    Path(sys.argv[2]).write_bytes(wire.pack_clips(invert(wire.unpack_jobs(Path(sys.argv[1]).read_bytes()))))
"""
EXCEPTION, CRASH, HANG = 1, 2, 3
HEAD = "batch = 3\nretries = 0\n"


class Service(BaseHTTPRequestHandler):
    """The same faults as an HTTP service has them."""

    def do_POST(self):
        jobs = wire.unpack_jobs(self.rfile.read(int(self.headers["Content-Length"])))
        fault = jobs[0].clip[0, 0, 0, 0]
        if fault == HANG:
            self.server.stop.wait(20)
        elif fault in (EXCEPTION, CRASH):
            self.send_error(400 if fault == EXCEPTION else 500)
        else:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(wire.pack_clips([255 - job.clip for job in jobs]))

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def function_expert(folder, seconds):
    def invert(jobs):
        if jobs[0].clip[0, 0, 0, 0] == EXCEPTION:
            raise ValueError("no")
        return [255 - job.clip for job in jobs]

    yield protocol.FunctionExpert("x", "7", invert, batch=3)


@contextlib.contextmanager
def child_expert(folder, seconds):
    (folder / "invert_clips.py").write_text(SCRIPT)
    body = f'kind = "python"\ncall = "invert_clips:invert"\nseconds = {seconds}\n{HEAD}'
    yield protocol.connect_expert(spec_lib.load_spec(toml(folder, body)))


@contextlib.contextmanager
def command_expert(folder, seconds):
    (folder / "invert_clips.py").write_text(SCRIPT)
    command = f'["{sys.executable}", "invert_clips.py", "{{jobs}}", "{{answers}}"]'
    body = f'kind = "command"\ncommand = {command}\nseconds = {seconds}\n{HEAD}'
    yield protocol.connect_expert(spec_lib.load_spec(toml(folder, body)))


@contextlib.contextmanager
def http_expert(folder, seconds):
    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        server.stop = threading.Event()
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        body = f'kind = "http"\nurl = "http://127.0.0.1:{server.server_address[1]}/"\nseconds = {seconds}\n{HEAD}'
        yield protocol.connect_expert(spec_lib.load_spec(toml(folder, body)))
        server.stop.set()
        server.shutdown()


# For each implementation the kinds of its failures; a trusted function has no time limit and crashes with this process.
EXPERTS = {
    "function": (function_expert, {EXCEPTION: FailureKind.EXCEPTION}),
    "python": (
        child_expert,
        {EXCEPTION: FailureKind.EXCEPTION, CRASH: FailureKind.CRASH, HANG: FailureKind.TIMEOUT},
    ),
    # A program shows an exception as every crash: by its exit status.
    "command": (
        command_expert,
        {EXCEPTION: FailureKind.CRASH, CRASH: FailureKind.CRASH, HANG: FailureKind.TIMEOUT},
    ),
    "http": (
        http_expert,
        {EXCEPTION: FailureKind.REQUEST, CRASH: FailureKind.CRASH, HANG: FailureKind.TIMEOUT},
    ),
}


def test_every_kind_of_a_description_has_an_expert_and_a_case_here():
    # What writes behind a chat endpoint makes no clips; its cases are in test_text_experts.py.
    assert set(protocol.EXPERT_KINDS) == set(spec_lib.KINDS) == set(EXPERTS) - {"function"} | {"chat"}


@pytest.mark.parametrize("kind", EXPERTS)
def test_an_expert_has_the_declared_members_and_answers_in_order(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    connect, _ = EXPERTS[kind]
    with connect(tmp_path, 60) as expert:
        assert isinstance(expert, Expert)
        assert (expert.name, expert.version, expert.batch, expert.retries) == ("x", "7", 3, 0)
        assert list(inspect.signature(expert.__call__).parameters) == ["jobs"]
        jobs = [Job(clip(value)) for value in (10, 20, 30)]
        for answer, job in zip(expert(jobs), jobs, strict=True):
            np.testing.assert_array_equal(answer, 255 - job.clip)
        expert.close()
        expert.close()
        assert len(expert(jobs[:1])) == 1  # starts again
        expert.close()


@pytest.mark.parametrize(
    "kind, fault", [(kind, fault) for kind, (_, faults) in EXPERTS.items() for fault in faults]
)
def test_a_failure_has_a_kind_and_the_expert_stays_usable(kind, fault, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    connect, faults = EXPERTS[kind]
    with connect(tmp_path, 60) as expert:
        assert len(expert([Job(clip(9))])) == 1  # what starts slowly has started
        if fault == HANG:
            expert.spec = dataclasses.replace(expert.spec, seconds=1.0)
        with pytest.raises(ExpertError) as caught:
            expert([Job(clip(fault))])
        assert caught.value.failure.kind is faults[fault]
        assert str(caught.value) == caught.value.failure.reason
        if fault == HANG:
            expert.spec = dataclasses.replace(expert.spec, seconds=60.0)
        assert len(expert([Job(clip(9))])) == 1
        expert.close()


def test_what_cannot_be_reached_is_told_apart(tmp_path):
    closed_server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    port = closed_server.server_address[1]
    closed_server.server_close()
    for body in (
        'kind = "command"\ncommand = ["/no/such/program", "{jobs}", "{answers}"]\n',
        f'kind = "http"\nurl = "http://127.0.0.1:{port}/"\n',
    ):
        expert = protocol.connect_expert(spec_lib.load_spec(toml(tmp_path, body)))
        with pytest.raises(ExpertError) as caught:
            expert([Job(clip())])
        assert caught.value.failure.kind is FailureKind.UNREACHABLE


def test_a_command_that_says_it_cannot_be_started_has_crashed(tmp_path):
    code = "print('cannot be started: no licence'); raise SystemExit(125)"
    body = f'kind = "command"\ncommand = ["{sys.executable}", "-c", "{code}", "{{jobs}}", "{{answers}}"]\nretries = 0\n'
    expert = protocol.connect_expert(spec_lib.load_spec(toml(tmp_path, body)))
    (failure,) = protocol.run_expert(expert, [Job(clip())])
    assert failure == Failure("crashed (exit 125): cannot be started: no licence", FailureKind.CRASH)


def test_a_service_that_is_busy_is_waited_for(tmp_path, monkeypatch):
    """429 with Retry-After is neither the clip's fault nor one of the retries."""
    answers = [("429", "0"), ("503", None), ("429", "0.01"), None, ("429", "3600")]

    class Busy(BaseHTTPRequestHandler):
        def do_POST(self):
            jobs = wire.unpack_jobs(self.rfile.read(int(self.headers["Content-Length"])))
            answer = answers.pop(0)
            self.send_response(int(answer[0]) if answer else 200)
            if answer and answer[1]:
                self.send_header("Retry-After", answer[1])
            self.end_headers()
            if not answer:
                self.wfile.write(wire.pack_clips([255 - job.clip for job in jobs]))

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Busy) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        expert = protocol.connect_expert(
            spec_lib.load_spec(toml(tmp_path, f'kind = "http"\nurl = "{url}"\n{HEAD}'))
        )
        (answer,) = protocol.run_expert(expert, [Job(clip(9))], pause=0.001)
        assert isinstance(answer, np.ndarray)
        (failure,) = protocol.run_expert(expert, [Job(clip(9))], pause=0.001)  # an hour is too long
        assert failure == Failure("answered HTTP 429", FailureKind.BUSY) and failure.outage
        server.shutdown()


def test_retry_after_is_a_number_or_a_date():
    assert http_errors.parse_retry_after("2.5") == 2.5
    assert http_errors.parse_retry_after(None) == http_errors.parse_retry_after("soon") == 0.0
    later = email.utils.formatdate(time.time() + 100, usegmt=True)
    assert 90 < http_errors.parse_retry_after(later) <= 100


def test_outages_are_no_fault_of_a_clip():
    outages = {kind for kind in FailureKind if Failure("", kind).outage}
    assert outages == {FailureKind.UNREACHABLE, FailureKind.BUSY, FailureKind.ACCESS}


def test_clips_of_an_unreachable_expert_are_not_sent_one_by_one():
    sizes = []

    class Unreachable:
        name, version, batch, retries = "x", "1", 4, 1

        def __call__(self, jobs):
            sizes.append(len(jobs))
            raise ExpertError("cannot be reached", FailureKind.UNREACHABLE)

        def close(self):
            pass

    results = protocol.run_expert(Unreachable(), [Job(clip())] * 4, pause=0.001)
    assert sizes == [4, 4] and results == [Failure("cannot be reached", FailureKind.UNREACHABLE)] * 4
