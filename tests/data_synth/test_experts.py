"""External experts: three kinds, real processes and a real server, and everything they can do wrong."""

import os
import shutil
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

import data_synth.experts
from data_synth import pipeline, plugged
from data_synth.experts import protocol, wire
from data_synth.experts.examples import sketch
from data_synth.experts.wire import Job
from data_synth.recipes import Sources
from v2v.errors import InputError

EXAMPLES = Path(data_synth.experts.__file__).parent / "examples"
HEAD = 'name = "x"\nversion = "7"\nlicense = "MIT"\nrole = "control"\n'


def clip(value=100, T=2, H=16, W=20):
    return np.full((T, H, W, 3), value, np.uint8)


def toml(folder, body, head=HEAD):
    (folder / "x.toml").write_text(head + body)
    return folder / "x.toml"


def reasons(answers):
    return [a.reason if isinstance(a, protocol.Failure) else "clip" for a in answers]


@pytest.fixture
def connected(tmp_path):
    """Writes a module and connects an expert that calls its function f."""
    made = []

    def connect(code, extra=""):
        name = f"code{len(made)}_{os.getpid()}"
        (tmp_path / f"{name}.py").write_text("import os, time, numpy as np\n" + code)
        path = toml(tmp_path, f'kind = "python"\ncall = "{name}:f"\nretries = 0\n{extra}')
        made.append(protocol.connect(protocol.load(path)))
        return made[-1]

    yield connect
    for expert in made:
        expert.close()


def test_wire_round_trip_and_no_pickle():
    jobs = [Job(clip(1)), Job(clip(2, H=8), "make it “blue”", clip(3)[..., 0], clip(4)[0])]
    back = wire.unpack_jobs(wire.pack_jobs(jobs))
    for a, b in zip(jobs, back, strict=True):
        assert a.prompt == b.prompt
        for name in ("clip", "mask", "reference"):
            x, y = getattr(a, name), getattr(b, name)
            assert (x is None and y is None) or np.array_equal(x, y)
    assert np.array_equal(wire.unpack_clips(wire.pack_clips([clip(9)]), 1)[0], clip(9))
    for bad in (b"", b"hello", wire.pack_clips([clip()])[:-40]):
        with pytest.raises(ValueError, match="no .npz"):
            wire.unpack_clips(bad, 1)
    with pytest.raises(ValueError, match="1 of 2"):
        wire.unpack_clips(wire.pack_clips([clip()]), 2)


def test_the_three_examples_agree(tmp_path, monkeypatch):
    jobs = [Job(np.random.default_rng(s).integers(0, 256, (2, 24, 32, 3), np.uint8)) for s in range(5)]
    want = sketch.sketch(jobs)
    root = str(Path(data_synth.experts.__file__).parents[2])
    monkeypatch.setenv("PYTHONPATH", root)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    for path in EXAMPLES.glob("*.toml"):
        shutil.copy(path, tmp_path)
    shutil.copy(EXAMPLES / "sketch.py", tmp_path)
    server = sketch.service(0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    service = tmp_path / "sketch_service.toml"
    service.write_text(service.read_text().replace("8765", str(server.server_address[1])))
    for name in ("sketch", "sketch_command", "sketch_service"):
        spec = protocol.load(tmp_path / f"{name}.toml")
        expert = protocol.connect(spec)
        answers = protocol.run(expert, jobs)
        expert.close()
        assert reasons(answers) == ["clip"] * 5, (name, reasons(answers))
        for a, b in zip(answers, want, strict=True):
            np.testing.assert_array_equal(a, b)
    server.shutdown()
    server.server_close()


def test_a_poisoned_clip_fails_alone_and_batches_are_bounded():
    sizes = []

    def function(jobs):
        sizes.append(len(jobs))
        if any(job.clip[0, 0, 0, 0] == 7 for job in jobs):
            raise RuntimeError("bad clip")
        return [255 - job.clip for job in jobs]

    expert = protocol.InProcess("x", "1", function, batch=4, retries=1)
    answers = protocol.run(expert, [Job(clip(v)) for v in (1, 2, 7, 4, 5, 6)], pause=0.001)
    assert reasons(answers) == ["clip", "clip", "raised RuntimeError: bad clip", "clip", "clip", "clip"]
    assert np.array_equal(answers[3], clip(251))
    assert sizes == [
        4,
        4,
        1,
        1,
        1,
        1,
        1,
        2,
    ]  # two tries together, then alone (the poisoned one twice), then the rest


def test_a_passing_fault_is_retried_a_bounded_number_of_times():
    calls = []

    def function(jobs):
        calls.append(1)
        if len(calls) < 3:
            raise OSError("busy")
        return [job.clip for job in jobs]

    assert reasons(
        protocol.run(protocol.InProcess("x", "1", function, retries=2), [Job(clip())], pause=0.001)
    ) == ["clip"]
    calls.clear()
    got = protocol.run(protocol.InProcess("x", "1", function, retries=1), [Job(clip())], pause=0.001)
    assert reasons(got) == ["raised OSError: busy"] and len(calls) == 2


@pytest.mark.parametrize(
    "answer, reason",
    [
        ("[j.clip[:, :8] for j in jobs]", "answered another size: 2x8x20 for 2x16x20"),
        (
            "[j.clip.astype(float) for j in jobs]",
            "answered float64 of 4 dimensions, expected uint8 [T, H, W, 3]",
        ),
        ("jobs[0].clip[..., 0][None]", "answered uint8 of 3 dimensions, expected uint8 [T, H, W, 3]"),
    ],
)
def test_wrong_sizes_are_named(answer, reason):
    expert = protocol.InProcess("x", "1", eval(f"lambda jobs: {answer}"))
    assert reasons(protocol.run(expert, [Job(clip())])) == [reason]


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
    got = reasons(protocol.run(expert, [Job(clip(v)) for v in (9, 1, 2, 4, 5, 9)]))
    assert got == [
        "clip",
        "crashed (exit 3)",
        "crashed (signal SIGKILL)",
        "raised ValueError: no",
        "answered 0 of 1 clips",
        "clip",
    ]
    first = expert.process.pid
    protocol.run(expert, [Job(clip(9))])
    assert expert.process.pid == first  # kept between requests: weights load once
    expert.spec = protocol.dataclasses.replace(expert.spec, seconds=1.5)
    start = time.monotonic()
    assert (
        reasons(protocol.run(expert, [Job(clip(3))])) == ["took more than 1.5 s"]
        and time.monotonic() - start < 20
    )
    assert not Path(f"/proc/{first}").exists()  # gone, not left behind


def test_child_that_cannot_be_imported_or_does_not_listen(connected):
    got = reasons(protocol.run(connected("import nowhere\n"), [Job(clip())]))
    assert got[0].startswith("raised ImportError: code0") and "nowhere" in got[0]
    deaf = connected("time.sleep(60)\n", "seconds = 1\n")
    big = Job(np.zeros((8, 256, 256, 3), np.uint8))  # more than a socket holds: sending blocks
    assert reasons(protocol.run(deaf, [big])) == ["took more than 1 s"]


def test_command_faults(tmp_path):
    script = tmp_path / "tool.py"
    script.write_text(
        "import sys, time, subprocess\n"
        "mode = sys.argv[1]\n"
        "if mode == 'hang':\n"
        "    child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "    open(sys.argv[2], 'w').write(str(child.pid)); time.sleep(60)\n"
        "if mode == 'crash': sys.exit('CUDA out of memory')\n"
        "if mode == 'garbage': open(sys.argv[3], 'w').write('hello')\n"
    )
    cases = {
        "crash": "crashed (exit 1): CUDA out of memory",
        "silent": "wrote no answer",
        "garbage": "answered 5 bytes that are no .npz",
        "hang": "took more than 8 s",
    }
    for mode, reason in cases.items():
        command = [sys.executable, str(script), mode, str(tmp_path / "pid"), "{answers}", "{jobs}"]
        path = toml(
            tmp_path, f'kind = "command"\ncommand = {command!r}\nseconds = 8\nretries = 0\n'.replace("'", '"')
        )
        assert reasons(protocol.run(protocol.connect(protocol.load(path)), [Job(clip())])) == [reason]
    grandchild = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 10
    while Path(f"/proc/{grandchild}").exists() and time.monotonic() < deadline:
        state = Path(f"/proc/{grandchild}/stat").read_text().split()[2]
        if state == "Z":
            break
        time.sleep(0.05)
    else:
        assert not Path(f"/proc/{grandchild}").exists(), "what the command started must end with it"
    path = toml(tmp_path, 'kind = "command"\ncommand = ["/no/such/program", "{jobs}"]\nretries = 0\n')
    got = reasons(protocol.run(protocol.connect(protocol.load(path)), [Job(clip())]))
    assert got == ["cannot be started: no such file or directory"]


def test_command_on_video_files(tmp_path):
    script = tmp_path / "copy.py"
    script.write_text(
        "import shutil, sys\nassert sys.argv[3] == 'make it {blue}' and sys.argv[4].endswith('.mask.mp4')\n"
        "shutil.copy(sys.argv[1], sys.argv[2])\n"
    )
    command = f'["{sys.executable}", "{script}", "{{clip}}", "{{answer}}", "{{prompt}}", "{{mask}}"]'
    path = toml(tmp_path, f'kind = "command"\ncommand = {command}\nbatch = 2\nretries = 0\n')
    jobs = [
        Job(clip(60 + 40 * i, 3, 33, 47), "make it {blue}", clip(255, 3, 33, 47)[..., 0]) for i in range(2)
    ]
    answers = protocol.run(protocol.connect(protocol.load(path)), jobs)
    assert reasons(answers) == ["clip", "clip"]
    for job, answer in zip(jobs, answers, strict=True):
        assert np.abs(answer.astype(int) - job.clip).max() <= 4  # H.264 on the way


class Faulty(BaseHTTPRequestHandler):
    seen: list = []

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append((self.path, self.headers.get("Authorization")))
        if self.path == "/500":
            self.send_error(500)
            return
        if self.path == "/hangup":
            self.connection.close()
            return
        self.send_response(200)
        self.end_headers()
        try:
            if self.path == "/trickle":
                for _ in range(200):
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
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_address[1]}"
    cases = {
        "/500": "answered HTTP 500",
        "/hangup": "cannot be reached, or hung up",
        "/trickle": "took more than 2 s",
        "/silence": "took more than 2 s",
        "/flood": "answered far more than the clips asked for",
        "/empty": "answered 0 bytes that are no .npz",
        "/echo": "clip",
    }
    for place, reason in cases.items():
        path = toml(
            tmp_path, f'kind = "http"\nurl = "{base}{place}"\nseconds = 2\nretries = 0\ntoken = "X_TOKEN"\n'
        )
        monkeypatch.setenv("X_TOKEN", "s3cret")
        assert reasons(protocol.run(protocol.connect(protocol.load(path)), [Job(clip())])) == [reason], place
    assert Faulty.seen[-1] == ("/echo", "Bearer s3cret")
    monkeypatch.delenv("X_TOKEN")
    with pytest.raises(InputError, match="X_TOKEN.*not set"):
        protocol.run(protocol.connect(protocol.load(path)), [Job(clip())])
    server.shutdown()
    server.server_close()
    dead = toml(tmp_path, f'kind = "http"\nurl = "{base}/"\nseconds = 2\nretries = 0\n')
    assert reasons(protocol.run(protocol.connect(protocol.load(dead)), [Job(clip())])) == [
        "cannot be reached, or hung up"
    ]


@pytest.mark.parametrize(
    "body, message",
    [
        ('kind = "python"\n', "expected call; add it"),
        ('kind = "ftp"\n', "kind: expected one of python, command, http"),
        ('kind = "http"\nurl = 3\n', "url: expected str, got 3"),
        ('kind = "http"\nurl = "u"\nbatch = 0\n', "batch >= 1"),
        ('kind = "http"\nurl = "u"\nspeed = 1\n', "speed: expected one of"),
        ("kind = \n", "expected a TOML file"),
        ('kind = "command"\ncommand = ["a", 1]\n', "command: expected list of strings"),
    ],
)
def test_descriptions_are_checked(tmp_path, body, message):
    with pytest.raises(InputError, match=message):
        protocol.load(toml(tmp_path, body))


def test_recipes_of_an_expert(tmp_path):
    (tmp_path / "inv_expert.py").write_text(
        "def f(jobs):\n    if any(j.clip[0, 0, 0, 0] % 4 == 0 for j in jobs): raise ValueError('dislikes it')\n"
        "    return [255 - j.clip for j in jobs]\n"
    )
    control = toml(
        tmp_path, 'noun = "inverted"\nkind = "python"\ncall = "inv_expert:f"\nbatch = 3\nretries = 0\n'
    )
    edit = tmp_path / "edit.toml"
    edit.write_text(
        'name = "inverter"\nversion = "2"\nlicense = "MIT"\nrole = "edit"\nprompts = ["invert it all"]\n'
        'kind = "python"\ncall = "inv_expert:f"\nretries = 0\n'
    )
    remover = tmp_path / "remove.toml"
    remover.write_text(
        'name = "eraser"\nversion = "3"\nlicense = "MIT"\nrole = "remove"\n'
        'kind = "python"\ncall = "inv_expert:f"\nretries = 0\n'
    )
    sources = Sources(experts=(str(control), str(edit), str(remover)))
    assert plugged.names(sources.experts) == ["to-x", "from-x", "inverter", "eraser"]
    size = {"T": 3, "H": 32, "W": 32, "transition": 0.0, "sources": sources}
    for name in plugged.names(sources.experts):
        together = pipeline.make_block(range(8), edits=(name,), **size)
        pairs = [pair for pair, _ in together if pair]
        assert pairs and any(
            reason == f"{name}: expert raised ValueError: dislikes it" for _, reason in together
        )
        for seed in (0, 5):  # the same alone as in a batch
            alone, reason = pipeline.make_pair(seed, edits=(name,), **size)
            assert reason == together[seed][1]
            assert alone is None or np.array_equal(alone.target, together[seed][0].target)
        pair = pairs[0]
        assert pair.provenance["expert"]["version"] in "723" and pair.provenance["expert"]["license"] == "MIT"
        on = pair.mask > 0
        np.testing.assert_array_equal(pair.target[on], 255 - pair.source[on])
        np.testing.assert_array_equal(pair.target[~on], pair.source[~on])
        assert name != "to-x" or any("inverted" in i for i in pair.instructions)
    for path in sources.experts:
        plugged._connected(path).close()
