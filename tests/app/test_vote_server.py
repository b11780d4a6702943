"""Votes over HTTP: a rater's link, blindness, bad input, and votes that survive a crash."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from v2v.app.vote_server import build_vote_server
from v2v.cli import main
from v2v.evaluation import vote_store
from v2v.evaluation.study import QUESTIONS, read_study
from v2v.evaluation.vote_store import DATABASE_FILE, VoteStore

ROOT = Path(__file__).parents[2]


def write_study(folder: Path, count: int = 8) -> None:
    """Write a study whose clips are a few bytes."""
    (folder / "clips").mkdir(parents=True)
    pairs = []
    for k in range(count):
        clips = {}
        for role in ("source", "A", "B", *(["noise"] if k == 0 else [])):
            file = f"{role}{k}.mp4"
            (folder / "clips" / file).write_bytes(f"clip {role} {k}".encode())
            clips[role] = {"file": file, "frames": 3, "width": 48, "height": 32}
        pairs.append({"id": f"p{k}", "item": f"item{k}", "kind": "x", "instruction": "<b>", "fps": 25.0, "clips": clips})  # fmt: skip
    document = {"study": "s", "A": "runs/x:new", "B": "runs/x:old", "seed": 0, "pairs": pairs}
    (folder / "study.json").write_text(json.dumps(document))


@pytest.fixture
def served(tmp_path):
    write_study(tmp_path)
    study = read_study(tmp_path)
    store = VoteStore(study)
    rater = store.add_rater("ann")
    yield store, rater, TestClient(build_vote_server(study, store))
    store.close()


def vote(http, rater, **values):
    body = {"trial": 0, "question": "quality", "choice": "left", "seconds": 1.5} | values
    return http.post(f"/r/{rater.token}/votes", json=body)


def test_a_rater_votes_and_goes_on(served):
    store, rater, http = served
    page = http.get(f"/r/{rater.token}")
    assert page.status_code == 200 and "no-referrer" in page.headers["referrer-policy"]
    trials = http.get(f"/r/{rater.token}/trials").json()
    assert trials["rater"] == "ann" and len(trials["trials"]) == 10 and trials["answers"] == {}
    # Nothing tells which side is which method, or which trials are checks.
    words = set(re.findall(r"\w+", json.dumps(trials)))
    assert (
        not {"new", "old", "noise", "check", "repeat", "item0", "runs"} & words and "item0" not in page.text
    )
    for number, trial in enumerate(rater.trials):
        for role in ("left", "right"):
            clip = http.get(f"/r/{rater.token}/clips/{number}/{role}")
            assert clip.content.decode() == f"clip {trial.side(role)} {trial.pair[1:]}"
            assert not re.search("clip|noise", str(clip.headers)), "names of files tell methods"
    assert vote(http, rater).json() == {"stored": True}
    assert vote(http, rater, choice="tie").json() == {"stored": True}  # thought again
    assert http.get(f"/r/{rater.token}/trials").json()["answers"] == {"0": {"quality": "tie"}}
    assert [(v.choice, v.trial) for v in store.read_votes()] == [("tie", rater.trials[0])]
    assert store.add_rater(" ann ") == rater and store.add_rater("bob").token != rater.token


def test_bad_requests_store_nothing(served):
    store, rater, http = served
    for values in (
        {"trial": 10}, {"trial": -1}, {"trial": "0"}, {"trial": True}, {"trial": 10**30}, {"question": "x"}, {"question": 7},
        {"choice": "both"}, {"choice": None}, {"seconds": -1}, {"seconds": "1"},
    ):  # fmt: skip
        reply = vote(http, rater, **values)
        assert reply.status_code == 400 and reply.json()["error"]["message"], values
    address = f"/r/{rater.token}/votes"
    for body in (b"", b"[]", b"7", b"[" * 4000, b"\xff", b'{"trial": NaN}', b'{"trial": 0, "question": "quality", "choice": "left", "seconds": NaN}'):  # fmt: skip
        assert http.post(address, content=body).status_code == 400, body[:20]
    assert http.post(address, content=b" " * 5000).status_code == 413
    for path in ("/r/x", "/r/x/trials", "/r/x/clips/0/left", f"/r/{rater.token}/clips/99/left"):
        assert http.get(path).status_code == 404
    assert http.get(f"/r/{rater.token}/clips/0/noise").status_code == 422
    assert http.post("/r/x/votes", json={}).status_code == 400
    assert store.read_votes() == []


def test_a_program_doesn_t_fill_the_disk(served, monkeypatch):
    store, rater, http = served
    monkeypatch.setattr(vote_store, "MOST_CHANGES", 2)
    for _ in range(2):
        store.add_vote(rater, 0, "quality", "left", 1)
    assert vote(http, rater).status_code == 400 and vote(http, rater, trial=1).status_code == 200


def test_a_damaged_database_is_refused(tmp_path, capsys):
    write_study(tmp_path)
    assert main.main(["eval", "vote", str(tmp_path), "--report"]) == 2
    assert "nobody has voted" in capsys.readouterr().err
    (tmp_path / DATABASE_FILE).write_bytes(b"not a database, " * 99)
    assert main.main(["eval", "vote", str(tmp_path), "--report"]) == 2
    assert "expected a database" in capsys.readouterr().err


def start(folder: Path, port: int) -> tuple[subprocess.Popen, dict[str, str]]:
    """Start a server; return it and its links by rater."""
    words = [sys.executable, "-m", "v2v", "eval", "vote", str(folder), "--serve", "--raters", "6", "--port", str(port)]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    server = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment)
    links: dict[str, str] = {}
    assert server.stderr is not None
    for line in server.stderr:
        if "serving" in line:
            return server, links
        name, _, link = line.strip().partition(": ")
        links[name] = link
    raise AssertionError("the server ended")


@pytest.mark.slow
def test_nothing_that_was_acknowledged_is_lost_by_kill_9(tmp_path):
    """Six raters vote at once while the server is killed twice; each repeats what wasn't acknowledged, as the page does."""
    write_study(tmp_path)
    server, links = start(tmp_path, 0)
    port = int(re.search(r":(\d+)/", links["rater 1"])[1])
    acknowledged: Counter[str] = Counter()
    lock = threading.Lock()

    def rate(name: str, link: str) -> None:
        for number in range(10):
            for question, _ in QUESTIONS:
                body = {"trial": number, "question": question, "choice": "left", "seconds": 1}
                request = urllib.request.Request(f"{link}/votes", json.dumps(body).encode())
                while True:
                    try:
                        assert json.load(urllib.request.urlopen(request, timeout=60)) == {"stored": True}
                        break
                    except (urllib.error.URLError, OSError):
                        time.sleep(0.1)
                with lock:
                    acknowledged[name] += 1

    threads = [threading.Thread(target=rate, args=pair, daemon=True) for pair in links.items()]
    for thread in threads:
        thread.start()
    for least in (40, 100):
        while sum(acknowledged.values()) < least:
            time.sleep(0.01)
        server.send_signal(signal.SIGKILL)
        server.wait()
        with lock:
            count = sum(acknowledged.values())
        store = VoteStore(read_study(tmp_path))
        stored = len(store.read_votes())
        store.close()
        # The last ones may have been stored without the answer having got through.
        assert count <= stored <= count + len(threads)
        server, again = start(tmp_path, port)
        assert again == links
    for thread in threads:
        thread.join(120)
    server.send_signal(signal.SIGTERM)
    server.wait(60)
    store = VoteStore(read_study(tmp_path))
    votes = store.read_votes()
    store.close()
    assert Counter(v.rater for v in votes) == acknowledged == dict.fromkeys(links, 30)
    assert main.main(["eval", "vote", str(tmp_path), "--report", "--json"]) == 0
    assert (tmp_path / "report.html").exists() and (tmp_path / "ratings-quality.csv").exists()
