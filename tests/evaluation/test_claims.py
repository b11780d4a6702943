"""Several processes at one sweep: nothing twice, one result, and a killed one's share taken over."""

import errno
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.evaluation.sweeps import benchmark
from v2v.evaluation.cache import StorageError
from v2v.evaluation.sweep.claims import WorkClaims, share_work

ROOT = Path(__file__).parents[2]

SWEEP = """
import os, time
from pathlib import Path
from tests.evaluation.sweeps import Shift, benchmark
from v2v.evaluation.metrics.builtin import PSNR, FunctionMetric
from v2v.evaluation.metrics.base import Column
from v2v.evaluation.sweep.methods import EditingMethod
from v2v.evaluation.sweep.sweep import Sweep

LOG = Path(__file__).parent

class Slow(Shift):
    def edit_video(self, video, instruction, **options):
        # Nobody begins before all are there.
        while len([*LOG.glob("out/cache/claims/*.member")]) < int(os.environ["MEMBERS"]):
            time.sleep(0.05)
        with open(LOG / f"log.{os.getpid()}", "a") as log:
            log.write(f"{self.by} {instruction}\\n")
        time.sleep(float(os.environ.get("SLOWNESS", "0.1")))
        return super().edit_video(video, instruction, **options)

def count(case):
    with open(LOG / f"scores.{os.getpid()}", "a") as log:
        log.write(f"{case.item.id} {case.path.name}\\n")
    if case.item.id == "item1":
        raise RuntimeError("no score for it")
    return {"count": 1.0}

def sweep(folder):
    edits = [EditingMethod(f"by {n}", editor=lambda n=n: Slow(n, refuse="2"), revision=str(n)) for n in (0, 40)]
    return Sweep(benchmark(LOG / "items"), edits, (PSNR, FunctionMetric("count", (Column("count"),), (), count)))
"""


def start(folder, **environment):
    code = "import sys; from v2v.cli.main import main; sys.exit(main(sys.argv[1:]))"
    words = [
        sys.executable,
        "-c",
        code,
        "eval",
        str(folder / "s.py"),
        "--out",
        str(folder / "out"),
        "--shared",
    ]
    values = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "MEMBERS": "1", **environment}
    return subprocess.Popen(words, env=values, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def lines(folder, name):
    """Return what all processes logged, with how often."""
    return Counter(line for file in folder.glob(f"{name}.*") for line in file.read_text().splitlines())


@pytest.fixture
def folder(tmp_path):
    benchmark(tmp_path / "items")
    # The items are there already, so that processes don't write them while others read.
    text = SWEEP.replace('benchmark(LOG / "items")', "items()")
    items = "\n".join(
        [
            "def items():",
            "    from v2v.evaluation.items import Benchmark, Item",
            "    f = LOG / 'items'",
            "    return Benchmark('tiny', tuple(Item(f'item{k}', f / f'source{k}.mkv', f'dim the video {k}', 'dim',",
            "        f / f'truth{k}.mkv', f / f'mask{k}.mkv') for k in range(4)))",
        ]
    )
    (tmp_path / "s.py").write_text(text + "\n" + items + "\n")
    return tmp_path


@pytest.mark.slow
def test_three_processes_do_nothing_twice_and_end_with_one_result(folder):
    processes = [start(folder, MEMBERS="3") for _ in range(3)]
    printed = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], printed
    edits, scores = lines(folder, "log"), lines(folder, "scores")
    assert len(edits) == 8 and set(edits.values()) == {1}, "an edit was made twice"
    # Six outputs, as two edits fail; the scores of item1 fail, once each.
    assert len(scores) == 6 and set(scores.values()) == {1}, "a score was computed twice"
    run = json.loads((folder / "out/results.json").read_text())
    assert run["summary"]["count"]["by 0"]["all"]["scored"] == 2
    assert sum("no score for it" in problem for problem in run["problems"]) == 2
    assert not [*(folder / "out/cache/claims").glob("*.claim")]


@pytest.mark.slow
def test_a_killed_process_s_share_is_taken_over(folder):
    first = start(folder, SLOWNESS="600")
    deadline = time.monotonic() + 120
    while not lines(folder, "log") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(lines(folder, "log")) == 1
    second = start(folder)
    while len(lines(folder, "log")) < 8 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert second.poll() is None, "it didn't wait for the edit that the first one has"
    first.send_signal(signal.SIGKILL)
    first.communicate()
    text, _ = second.communicate(timeout=300)
    assert second.returncode == 0, text
    edits = lines(folder, "log")
    assert sorted(edits.values()) == [1] * 7 + [2], "the killed one's edit, and only that, was begun again"


def test_claims(tmp_path):
    first, second = WorkClaims(tmp_path), WorkClaims(tmp_path)
    assert first.take("a") and not second.take("a") and second.take("b")
    first.release("a")
    assert second.take("a")
    second.store_failure("c", {"reason": "x"})
    assert first.load_failure("c") == {"reason": "x"} and first.load_failure("d") is None
    assert WorkClaims(tmp_path).load_failure("c"), "a process that joins belongs to the run"
    for member in tmp_path.glob("*.member"):
        member.unlink()
    later = WorkClaims(tmp_path)
    os.utime(later._path("c", ".failed"), (1, 1))
    assert later.load_failure("c") is None, "a failure of an earlier run"


def test_a_claim_on_a_full_disk_is_told_and_leaves_no_file(tmp_path, monkeypatch):
    claims = WorkClaims(tmp_path)

    def fill(value, file):
        file.write("{")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("json.dump", fill)
        with pytest.raises(StorageError, match=r"\.claim: can't be written \(no space left on device\)"):
            claims.take("a")
        patch.setattr("json.dumps", lambda value: fill(value, io.StringIO()))
        with pytest.raises(StorageError, match=r"\.member: can't be written"):
            WorkClaims(tmp_path)
    assert [path.suffix for path in tmp_path.iterdir()] == [".member"], (
        "half-written claims keep others waiting"
    )
    assert claims.take("a")


def test_claims_that_nobody_touches_are_taken_over(tmp_path):
    first, second = WorkClaims(tmp_path), WorkClaims(tmp_path, stale_seconds=5)
    first.take("a")
    assert not second.take("a")
    os.utime(first._path("a", ".claim"), (time.time() - 10, time.time() - 10))
    assert second.take("a")
    # Of a process of this machine that has ended, at once.
    path = first._path("b", ".claim")
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    path.write_text(json.dumps({"host": socket.gethostname(), "pid": ended.pid}))
    assert second.take("b")
    path.write_text(json.dumps({"host": "another", "pid": ended.pid}))
    assert not first.take("b")


def test_live_claims_are_touched(tmp_path):
    deadline = time.monotonic() + 120
    with WorkClaims(tmp_path, stale_seconds=0.1) as first:
        first.take("a")
        claim = first._path("a", ".claim")
        os.utime(claim, (1, 1))
        while claim.stat().st_mtime < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not WorkClaims(tmp_path, stale_seconds=120).take("a")
    assert WorkClaims(tmp_path).take("a"), "claims outlive their context"


def test_work_of_others_is_found(tmp_path):
    claims, done = WorkClaims(tmp_path), {1: "theirs"}

    def work(task):
        done[task] = "ours"
        return done[task]

    assert dict(share_work(claims, [0, 1, 2], lambda t: t, done.get, work)) == {
        0: "ours",
        1: "theirs",
        2: "ours",
    }
