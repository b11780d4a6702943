"""Scores by a program and by a server outside of v2v: what they are asked, and every way in which they fail."""

import dataclasses
import json
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.evaluation.sweeps import Shift, benchmark
from v2v.errors import InputError
from v2v.evaluation.cache import SweepCache
from v2v.evaluation.judge.outside_metric import OutsideMetric, call_scorer, start_program, vefx_reward
from v2v.evaluation.metrics.base import Case, Column, ScoringError
from v2v.evaluation.sweep import results, runner, sweep
from v2v.evaluation.sweep.methods import EditingMethod
from v2v.evaluation.sweep.sweep import Sweep

PROGRAM = """
import json, sys, time
count = 0
for line in sys.stdin:
    request, count = json.loads(line), count + 1
    what = request["instruction"]
    if "crash" in what:
        sys.exit("no memory left")
    if "hang" in what:
        time.sleep(60)
    if "nonsense" in what:
        print("hello", flush=True)
    elif "refuse" in what:
        print(json.dumps({"error": "too dark"}), flush=True)
    elif "short" in what:
        print(json.dumps({"scores": {"A": 2.0}}), flush=True)
    else:
        print(json.dumps({"scores": {"A": 2.0, "B": 4.0}, "notes": {"count": count, "request": request}}), flush=True)
"""
COLUMNS = (Column("mine: A", worst=1.0), Column("mine: B", worst=1.0))


@pytest.fixture
def case(tmp_path):
    item = benchmark(tmp_path / "bench", n=1, T=3).items[0]
    return Case(item, item.truth)


@pytest.fixture
def metric(tmp_path):
    file = tmp_path / "score.py"
    file.write_text(PROGRAM)
    metric = OutsideMetric("mine", COLUMNS, start_program("mine", [sys.executable, str(file)], timeout=120))
    yield metric
    metric.scorer.stop()


def asked(case, instruction):
    return Case(dataclasses.replace(case.item, instruction=instruction), case.path)


def test_one_program_scores_all_and_gets_what_the_item_has(case, metric):
    first, second = metric.score(case), metric.score(case)
    assert first.values == {"mine: A": 2.0, "mine: B": 4.0}
    assert (first.notes["count"], second.notes["count"]) == (1, 2), "started anew for an edit"
    request = first.notes["request"]
    assert request["output"] == str(case.path) and request["source"] == str(case.item.source)
    assert request["mask"] and request["target_prompt"] == "a bright video" and "reference" not in request


def test_a_weighted_geometric_mean(case, metric):
    columns = (*COLUMNS, Column("mine mean", worst=1.0))
    values = dataclasses.replace(metric, columns=columns, mean_weights={"A": 2, "B": 1}).score(case).values
    assert values["mine mean"] == pytest.approx((2 * 2 * 4) ** (1 / 3))


@pytest.mark.parametrize(
    "instruction, words",
    [("crash", "ended: no memory left"), ("nonsense", "got hello"), ("refuse", "too dark"), ("short", "'mine: B'")],
)  # fmt: skip
def test_failures_are_named_and_the_next_edit_is_scored(case, metric, instruction, words):
    with pytest.raises(ScoringError, match=words) as error:
        metric.score(asked(case, instruction))
    assert not error.value.final
    assert metric.score(case).values["mine: A"] == 2.0


def test_a_program_that_hangs_is_ended(case, tmp_path, metric):
    quick = dataclasses.replace(metric, scorer=dataclasses.replace(metric.scorer, timeout=0.5))
    with pytest.raises(ScoringError, match=r"more than 0\.5 s"):
        quick.score(asked(case, "hang"))


def test_a_program_that_is_not_there(case):
    lost = OutsideMetric("mine", COLUMNS, start_program("mine", "no-such-program-anywhere"))
    with pytest.raises(ScoringError, match="can't be run"):
        lost.score(case)
    with pytest.raises(InputError, match="empty"):
        start_program("mine", "")
    weights = vefx_reward("nowhere/VEFX-Reward-4B")
    assert "nowhere" in (weights.missing() or "")
    assert [c.name for c in weights.columns] == ["VEFX: IF", "VEFX: RQ", "VEFX: EE", "VEFX mean"]


def test_a_sweep_with_a_program_is_cached_until_the_program_changes(tmp_path, metric):
    tiny = benchmark(tmp_path / "b", n=2, T=3)
    definition = Sweep(tiny, [EditingMethod("by 40", editor=Shift, revision="1")], [metric])
    cache = SweepCache(tmp_path / "cache")
    run = runner.run_sweep(definition, cache)
    summary = results.build_results(run).to_json()["summary"]
    assert summary["mine: B"]["by 40"]["all"]["mean"] == 4.0
    assert sweep.plan_sweep(definition, cache).calls == 0
    (tmp_path / "score.py").write_text(PROGRAM + "# changed\n")
    assert sweep.plan_sweep(definition, SweepCache(tmp_path / "cache")).calls == 2


@contextmanager
def serve(status: int, reply: bytes):
    bodies = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/score", bodies
    finally:
        server.shutdown()
        server.server_close()


def test_a_server_gets_the_same(case):
    with serve(200, b'{"scores": {"A": 3, "B": 1.5}}') as (url, bodies):
        score = OutsideMetric("mine", COLUMNS, call_scorer(url, revision="1")).score(case)
    assert score.values == {"mine: A": 3.0, "mine: B": 1.5}
    assert bodies[0]["instruction"] == case.item.instruction
    with serve(500, b"out of memory") as (url, _), pytest.raises(ScoringError, match="HTTP 500 out of memory"):  # fmt: skip
        OutsideMetric("mine", COLUMNS, call_scorer(url, revision="1")).score(case)
    # Nothing listens there any more.
    with pytest.raises(ScoringError, match="scorer at"):
        OutsideMetric("mine", COLUMNS, call_scorer(url, revision="1", timeout=2)).score(case)
    with pytest.raises(InputError, match="http"):
        call_scorer("ftp://x", revision="1")
