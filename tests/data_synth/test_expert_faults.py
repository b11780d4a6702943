"""External experts that hang, crash, lie or go away: child processes, commands and a real server."""

import json
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from data_synth.experts import protocol, spec, wire
from data_synth.experts.wire import Job
from tests.data_synth.example_experts import clip, reasons, toml
from v2v.errors import InputError
from v2v.video import video as codec


@pytest.fixture
def connected(tmp_path):
    """Writes a module and connects an expert that calls its function f."""
    experts = []

    def connect(code, extra=""):
        name = f"code{len(experts)}_{os.getpid()}"
        (tmp_path / f"{name}.py").write_text("import os, time, numpy as np\n" + code)
        path = toml(tmp_path, f'kind = "python"\ncall = "{name}:f"\nretries = 0\n{extra}')
        experts.append(protocol.connect_expert(spec.load_spec(path)))
        return experts[-1]

    yield connect
    for expert in experts:
        expert.close()


def test_child_survives_hang_crash_and_error(connected):
    code = """
def f(jobs):
    v = int(jobs[0].clip[0, 0, 0, 0])
    if v == 1: os._exit(3)
    if v == 2: os.kill(os.getpid(), 9)
    if v == 3: time.sleep(60)
    if v == 4: raise ValueError("no")
    if v == 5: return []
    return [j.clip + 1 for j in jobs]
"""
    expert = connected(code, "seconds = 30\n")
    results = reasons(protocol.run_expert(expert, [Job(clip(v)) for v in (9, 1, 2, 4, 5, 9)]))
    assert results == [
        "clip",
        "crashed (exit 3)",
        "crashed (signal SIGKILL)",
        "raised ValueError: no",
        "answered 0 of 1 clips",
        "clip",
    ]
    first = expert.process.pid
    protocol.run_expert(expert, [Job(clip(9))])
    assert expert.process.pid == first  # kept between requests: weights load once
    expert.spec = protocol.dataclasses.replace(expert.spec, seconds=1.5)
    start = time.monotonic()
    assert (
        reasons(protocol.run_expert(expert, [Job(clip(3))])) == ["took more than 1.5 s"]
        and time.monotonic() - start < 45
    )
    assert not Path(f"/proc/{first}").exists()  # gone, not left behind


def test_child_that_cannot_be_imported_or_does_not_listen(connected):
    results = reasons(protocol.run_expert(connected("import nowhere\n"), [Job(clip())]))
    assert results[0].startswith("raised ImportError: code0") and "nowhere" in results[0]
    deaf = connected("time.sleep(60)\n", "seconds = 1\n")
    big = Job(np.zeros((8, 256, 256, 3), np.uint8))  # more than a socket holds: sending blocks
    assert reasons(protocol.run_expert(deaf, [big])) == ["took more than 1 s"]


def test_command_faults(tmp_path):
    script = tmp_path / "tool.sh"
    script.write_text(
        "case $1 in\n"
        'hang) sleep 60 & echo $! > "$2"; sleep 60 ;;\n'
        "crash) echo CUDA out of memory >&2; exit 1 ;;\n"
        'garbage) printf hello > "$3" ;;\n'
        "esac\n"
    )
    cases = {
        "crash": "crashed (exit 1): CUDA out of memory",
        "silent": "wrote no answer",
        "garbage": "answered 5 bytes that are no .npz",
        "hang": "took more than 2 s",
    }
    for mode, reason in cases.items():
        # A shell starts at once; those that end by themselves have all the time that a busy machine needs.
        seconds = 2 if mode == "hang" else 60
        command = ["sh", str(script), mode, str(tmp_path / "pid"), "{answers}", "{jobs}"]
        path = toml(
            tmp_path,
            f'kind = "command"\ncommand = {json.dumps(command)}\nseconds = {seconds}\nretries = 0\n',
        )
        assert reasons(protocol.run_expert(protocol.connect_expert(spec.load_spec(path)), [Job(clip())])) == [
            reason
        ]
    grandchild = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 10
    while Path(f"/proc/{grandchild}").exists() and time.monotonic() < deadline:
        state = Path(f"/proc/{grandchild}/stat").read_text().split()[2]
        if state == "Z":
            break
        time.sleep(0.05)
    else:
        assert not Path(f"/proc/{grandchild}").exists(), "what the command started must end with it"
    path = toml(
        tmp_path, 'kind = "command"\ncommand = ["/no/such/program", "{jobs}", "{answers}"]\nretries = 0\n'
    )
    results = reasons(protocol.run_expert(protocol.connect_expert(spec.load_spec(path)), [Job(clip())]))
    assert results == ["cannot be started: no such file or directory"]


def test_command_on_video_files(tmp_path):
    script = tmp_path / "copy.py"
    script.write_text(
        "import os, shutil, sys\nassert sys.argv[3] == 'make it {blue}'\n"
        "shutil.copy(sys.argv[1], sys.argv[2])\n"
        "shutil.copy(sys.argv[4], os.path.join(os.path.dirname(sys.argv[0]), os.path.basename(sys.argv[4])))\n"
    )
    command = f'["{sys.executable}", "{script}", "{{clip}}", "{{answer}}", "{{prompt}}", "{{mask}}"]'
    path = toml(tmp_path, f'kind = "command"\ncommand = {command}\nbatch = 2\nretries = 0\n')
    masks = np.where(np.random.default_rng(0).random((2, 3, 33, 47)) < 0.5, 255, 0).astype(np.uint8)
    jobs = [Job(clip(60 + 40 * i, 3, 33, 47), "make it {blue}", mask) for i, mask in enumerate(masks)]
    clips = protocol.run_expert(protocol.connect_expert(spec.load_spec(path)), jobs)
    assert reasons(clips) == ["clip", "clip"]
    for job, answer in zip(jobs, clips, strict=True):
        assert np.abs(answer.astype(int) - job.clip).max() <= 4  # H.264 on the way
    for i, mask in enumerate(masks):  # which come as they are, down to single pixels
        received = codec.read_video(tmp_path / f"{i}.mask.mkv").frames
        np.testing.assert_array_equal(np.asarray(received), np.repeat(mask[..., None], 3, -1))


class Faulty(BaseHTTPRequestHandler):
    requests: list = []

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.requests.append((self.path, self.headers.get("Authorization")))
        if self.path == "/500":
            self.send_error(500)
            return
        if self.path == "/hangup":
            self.connection.close()
            return
        if self.path == "/garbage":
            self.wfile.write(b"no status line\r\n\r\n")
            return
        self.send_response(200)
        self.end_headers()
        try:
            if self.path == "/trickle":
                for _ in range(400):
                    self.wfile.write(b"x")
                    self.wfile.flush()
                    time.sleep(0.05)
            elif self.path == "/flood":
                for _ in range(64):
                    self.wfile.write(b"x" * (1 << 20))
            elif self.path == "/silence":
                time.sleep(8)
            elif self.path == "/echo":
                self.wfile.write(wire.pack_clips([clip()]))
        except OSError:
            pass  # the client has left, as it should

    def log_message(self, *_):
        pass


def test_http_faults(tmp_path, monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Faulty)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    base = f"http://127.0.0.1:{server.server_address[1]}"
    # Those that never end wait for the limit; the others have all the time that a busy machine needs.
    cases = {
        "/500": "answered HTTP 500",
        "/hangup": "hung up",
        "/garbage": "hung up",
        "/trickle": "took more than 1 s",
        "/silence": "took more than 1 s",
        "/flood": "answered far more than the clips asked for",
        "/empty": "answered 0 bytes that are no .npz",
        "/echo": "clip",
    }
    for place, reason in cases.items():
        seconds = 1 if "took more" in reason else 60
        path = toml(
            tmp_path,
            f'kind = "http"\nurl = "{base}{place}"\nseconds = {seconds}\nretries = 0\ntoken = "X_TOKEN"\n',
        )
        monkeypatch.setenv("X_TOKEN", "s3cret")
        assert reasons(protocol.run_expert(protocol.connect_expert(spec.load_spec(path)), [Job(clip())])) == [
            reason
        ], place
    assert Faulty.requests[-1] == ("/echo", "Bearer s3cret")
    monkeypatch.delenv("X_TOKEN")
    with pytest.raises(InputError, match="X_TOKEN.*not set"):
        protocol.run_expert(protocol.connect_expert(spec.load_spec(path)), [Job(clip())])
    server.shutdown()
    server.server_close()
    dead = toml(tmp_path, f'kind = "http"\nurl = "{base}/"\nseconds = 60\nretries = 0\n')
    assert reasons(protocol.run_expert(protocol.connect_expert(spec.load_spec(dead)), [Job(clip())])) == [
        "cannot be reached"
    ]


def test_a_command_ends_with_the_process_that_asked_it(tmp_path):
    command = [
        sys.executable,
        "-c",
        f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)",
    ]
    path = toml(
        tmp_path,
        f'kind = "command"\ncommand = {json.dumps([*command, "{jobs}", "{answers}"])}\nretries = 0\n',
    )
    code = (
        "import numpy as np\nfrom data_synth.experts import protocol, spec\nfrom data_synth.experts.wire import Job\n"
        f"protocol.run_expert(protocol.connect_expert(spec.load_spec({str(path)!r})), [Job(np.zeros((1, 8, 8, 3), np.uint8))])"
    )
    parent = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 60
    while (
        not ((tmp_path / "pid").exists() and (tmp_path / "pid").read_text()) and time.monotonic() < deadline
    ):
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    child = Path(f"/proc/{(tmp_path / 'pid').read_text()}")
    while (
        child.exists()
        and child.joinpath("stat").read_text().split()[2] != "Z"
        and time.monotonic() < deadline
    ):
        time.sleep(0.05)
    assert not child.exists() or child.joinpath("stat").read_text().split()[2] == "Z"
