"""The judge against a real server on the loopback interface, which also times out, answers 429, 500 and nonsense."""

import base64
import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pytest

from tests.evaluation.sweeps import Shift, benchmark
from v2v.errors import InputError
from v2v.evaluation.cache import SweepCache
from v2v.evaluation.judge import rubrics
from v2v.evaluation.judge.endpoint import Endpoint, EndpointJudge
from v2v.evaluation.judge.judge import Judge, Question
from v2v.evaluation.judge.judge_metric import JudgeMetric
from v2v.evaluation.metrics.base import Case, ScoringError
from v2v.evaluation.sweep import results, runner, sweep
from v2v.evaluation.sweep.methods import EditingMethod
from v2v.evaluation.sweep.sweep import Sweep

GOOD = "**Prompt Following:** 3 - yes\nEdit Quality: 2 - fine\n- Background Consistency: [1] - shifts 2 pixels\nTotal Score: 6"


class Server:
    """Answers as `plan` says, one entry a request, the last one for ever: text, an HTTP status, or ("sleep", seconds)."""

    def __init__(self, *plan):
        self.plan, self.bodies, self.keys, self.at_once, self.peak = list(plan), [], [], 0, 0
        self.lock = threading.Lock()

    @contextmanager
    def running(self):
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with outer.lock:
                    outer.bodies.append(body)
                    outer.keys.append(self.headers.get("Authorization"))
                    what = outer.plan.pop(0) if len(outer.plan) > 1 else outer.plan[0]
                    outer.at_once += 1
                    outer.peak = max(outer.peak, outer.at_once)
                if isinstance(what, tuple):
                    time.sleep(what[1])
                    what = GOOD
                try:
                    self.send_response(what if isinstance(what, int) else 200)
                    if what == 429:
                        self.send_header("Retry-After", "0.01")
                    self.end_headers()
                    text = b"busy" if isinstance(what, int) else what
                    if isinstance(what, str):
                        text = json.dumps({"choices": [{"message": {"content": what}}]}).encode()
                    self.wfile.write(text)
                except OSError:
                    pass  # the other side has hung up
                finally:
                    with outer.lock:
                        outer.at_once -= 1

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield Endpoint(
                f"http://127.0.0.1:{server.server_port}/v1", key="V2V_TEST_KEY", timeout=60, pause=0.01
            )
        finally:
            server.shutdown()
            server.server_close()


def picture_of(part):
    data = base64.b64decode(part["image_url"]["url"].split(",")[1])
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


@pytest.fixture
def tiny(tmp_path):
    return benchmark(tmp_path / "bench", n=2, T=8)


@pytest.fixture
def case(tiny):
    return Case(tiny.items[0], tiny.items[0].truth)


def test_a_score_with_its_verbatim_answers_frames_and_rule(case, monkeypatch):
    monkeypatch.setenv("V2V_TEST_KEY", "secret")
    server = Server(GOOD)
    with server.running() as endpoint:
        judge = JudgeMetric(EndpointJudge("some-model", endpoint), rubrics.EDITVERSE)
        score = judge.score(case)
    assert score.values == {
        "judge total": 6.0, "judge: Prompt Following": 3.0, "judge: Edit Quality": 2.0, "judge: Background Consistency": 1.0,
    }  # fmt: skip
    assert [a["frames"] for a in score.notes["answers"]] == [1, 4, 6] == judge.frame_numbers(8, 9)
    assert score.notes["answers"][0]["text"] == GOOD and "floor((2 k + 1) L / 6)" in score.notes["rule"]
    assert set(server.keys) == {"Bearer secret"} and "secret" not in json.dumps([score.notes, judge.identity])
    body = server.bodies[1]
    assert body["model"] == "some-model" and body["temperature"] == 0
    text, source_part, output_part = body["messages"][0]["content"]
    assert "brighten the video 0" in text["text"]
    source, truth = (list(c)[4].astype(int) for c in (case.source, case.truth))
    assert (
        np.abs(picture_of(source_part) - source).mean() < 4
        and np.abs(picture_of(output_part) - truth).mean() < 4
    )


def test_an_address_without_a_scheme_is_told_before_any_question():
    for url in ("localhost:8000/v1", "", "ftp://x"):
        with pytest.raises(InputError, match="begins with http"):
            Endpoint(url)


def test_no_key_no_header(case, monkeypatch):
    monkeypatch.delenv("V2V_TEST_KEY", raising=False)
    server = Server(GOOD)
    with server.running() as endpoint:
        EndpointJudge("m", endpoint).answer(Question("", []))
    assert server.keys == [None]


def test_busy_broken_and_silent_servers_are_asked_again_within_bounds(case):
    server = Server(429, 500, b"not json", ("sleep", 5.0), GOOD)
    with server.running() as endpoint:
        endpoint.timeout = 1.0
        assert endpoint.ask({"q": 1})["choices"] and len(server.bodies) == 5
    server = Server(503)
    with server.running() as endpoint:
        endpoint.tries = 3
        with pytest.raises(ScoringError, match="after 3 tries, last: HTTP 503 busy"):
            endpoint.ask({})
        assert len(server.bodies) == 3
    server = Server(401)
    with server.running() as endpoint:
        with pytest.raises(ScoringError, match="HTTP 401"):
            endpoint.ask({})
        assert len(server.bodies) == 1  # a wrong key stays wrong


def test_unreadable_answers_are_quoted_not_the_editors_fault_and_asked_again(tiny, tmp_path):
    server = Server("As a language model I like it.")
    with server.running() as endpoint:
        judge = JudgeMetric(EndpointJudge("m", endpoint, parallel=1), rubrics.EDITVERSE)
        definition = Sweep(tiny, (EditingMethod("e", editor=Shift, revision="1"),), (judge,))
        document = results.build_results(runner.run_sweep(definition, SweepCache(tmp_path))).to_json()
        assert len(server.bodies) == 2 * 3 * 2
        cell = document["summary"]["judge total"]["e"]["all"]
        assert cell == {**cell, "mean": None, "n": 2, "failed": 0, "scored": 0, "unscored": 2}
        assert 'such as "As a language model I like it."' in document["problems"][0]
        notes = document["scores"][0]["notes"]
        assert notes["unparsable"] == 3 and notes["answers"][0]["text"].startswith("As a language model")
        assert sweep.plan_sweep(definition, SweepCache(tmp_path)).calls == 6
        server.plan = [GOOD]
        document = results.build_results(runner.run_sweep(definition, SweepCache(tmp_path))).to_json()
        assert document["summary"]["judge total"]["e"]["all"]["mean"] == 6
    assert sweep.plan_sweep(definition, SweepCache(tmp_path)).calls == 0


def test_judge_down_fails_fast_is_told_and_tried_again(tiny, tmp_path):
    server = Server(GOOD)
    with server.running() as endpoint:
        pass  # nobody listens there any more
    endpoint.tries, endpoint.patience = 2, 1
    judge = JudgeMetric(EndpointJudge("m", endpoint, parallel=1), rubrics.OPENVE)
    definition = Sweep(tiny, (EditingMethod("e", editor=Shift, revision="1"),), (judge,))
    document = results.build_results(runner.run_sweep(definition, SweepCache(tmp_path))).to_json()
    problems = "\n".join(document["problems"])
    assert "no answer after 2 tries" in problems and "judge down" in problems
    cell = document["summary"]["judge total"]["e"]["all"]
    assert (cell["mean"], cell["failed"], cell["unscored"]) == (None, 0, 2)
    assert sweep.plan_sweep(definition, SweepCache(tmp_path)).calls == 2


def test_a_judge_that_fails_halfway_takes_nothing_from_a_method(tiny, tmp_path):
    """Two equal methods; the judge answers the first one's items and one of the second's."""
    names = ("Instruction Compliance", "Consistency & Detail Fidelity", "Visual Quality & Stability")
    server = Server(*3 * ["\n".join(f"{name}: 4" for name in names)], 401)
    with server.running() as endpoint:
        judge = JudgeMetric(EndpointJudge("m", endpoint, parallel=1), rubrics.OPENVE)
        methods = tuple(
            EditingMethod(name, editor=lambda by=by: Shift(by), revision=name)
            for name, by in (("a", 40), ("b", 20))
        )
        run = runner.run_sweep(Sweep(tiny, methods, (judge,)), SweepCache(tmp_path))
        document = results.build_results(run).to_json()
    cells = {name: by["all"] for name, by in document["summary"]["judge total"].items()}
    assert cells["a"]["mean"] == cells["b"]["mean"] > 0
    counts = [(cells[m]["n"], cells[m]["scored"], cells[m]["failed"], cells[m]["unscored"]) for m in "ab"]
    assert sorted(counts) == [(2, 1, 0, 1), (2, 2, 0, 0)]
    wins = document["wins"]["judge total"]["ab".index("a")][1]
    assert (wins["wins"], wins["ties"], wins["losses"]) == (0, 1, 0)
    assert "judge at" in document["problems"][-1] and "HTTP 401" in document["problems"][-1]


def test_what_a_judges_scores_are_stored_by(tiny, tmp_path):
    def identity(url="http://a:1/v1", retries=1, **options):
        judge = EndpointJudge("m", Endpoint(url), **options)
        return JudgeMetric(judge, rubrics.OPENVE, retries=retries).identity

    assert identity() == identity("http://b:2/v1")  # a judge that has moved is the same
    others = [
        identity(max_tokens=4096),
        identity(temperature=0.5),
        identity(revision="awq"),
        identity(retries=5),
    ]
    assert all(other != identity() for other in others)


def test_scores_from_before_are_found_by_the_address(tiny, tmp_path):
    from v2v.evaluation.judge.judge_metric import RUBRIC_VERSION

    judge = JudgeMetric(EndpointJudge("m", Endpoint("http://a:1/v1")), rubrics.OPENVE)
    method = EditingMethod("e", editor=Shift, revision="1")
    cache = SweepCache(tmp_path / "cache", any_code=True)
    output = runner.run_sweep(Sweep(tiny, (method,), (rubric_free(),)), cache).outputs["e", "item0"]
    old_identity = {"metric": "judge", "model": "m", "server": "http://a:1/v1", "rubric": "openve",
                    "version": RUBRIC_VERSION, "compat": "", "side": 1024}  # fmt: skip
    inputs = sweep.score_key(judge, tiny.items[0], output.sha256, cache)
    old_key = {**old_identity, **{k: v for k, v in inputs.items() if k not in judge.identity}}
    record = {"status": "ok", "values": {"judge total": 4.0}, "reason": "", "notes": {}}
    cache.store("scores", old_key, record)
    assert sweep.plan_sweep(Sweep(tiny, (method,), (judge,)), cache).calls_cached == 1
    plan = sweep.plan_sweep(Sweep(tiny, (method,), (judge,)), SweepCache(tmp_path / "cache"))
    assert (plan.calls, plan.other_code) == (2, {"judge": 1})
    cache.store("scores", old_key, {**record, "status": "failed", "notes": {"unparsable": 1}})
    assert sweep.plan_sweep(Sweep(tiny, (method,), (judge,)), cache).calls_cached == 0


def rubric_free():
    from v2v.evaluation.metrics.builtin import PSNR

    return PSNR


def test_parallel_with_a_limit(tiny, tmp_path):
    server = Server(("sleep", 0.05))
    tiny = benchmark(tmp_path / "more", n=6, T=3)
    with server.running() as endpoint:
        judge = JudgeMetric(EndpointJudge("m", endpoint, parallel=3), rubrics.EDITVERSE)
        definition = Sweep(tiny, (EditingMethod("e", editor=Shift, revision="1"),), (judge,))
        runner.run_sweep(definition, SweepCache(tmp_path / "cache"))
    assert len(server.bodies) == 18 and 2 <= server.peak <= 3


def test_compat_repeats_frames_tags_and_exchanged_channels(case):
    import dataclasses

    item = dataclasses.replace(case.item, extra={"text": "<video1> Brighten it"})
    server = Server(GOOD)
    with server.running() as endpoint:
        judge = JudgeMetric(EndpointJudge("m", endpoint), rubrics.EDITVERSE, compat="editverse")
        score = judge.score(Case(item, item.truth))
        assert judge.frame_numbers(64, 64) == [0, 21, 42, 63] and judge.frame_numbers(81, 81) == [0, 27, 54]
        with pytest.raises(ScoringError, match="frame 63"):
            judge.frame_numbers(64, 60)
    assert [a["frames"] for a in score.notes["answers"]] == [0, 2, 4, 6]
    assert score.notes["compat"] == "editverse" and "red and blue" in score.notes["rule"]
    text, _, output_part = server.bodies[0]["messages"][0]["content"]
    assert "<video1> Brighten it" in text["text"]
    truth = next(iter(case.truth)).astype(int)
    assert (
        np.abs(picture_of(output_part) - truth[..., ::-1]).mean()
        < 4
        < np.abs(picture_of(output_part) - truth).mean()
    )
    assert judge.identity != dataclasses.replace(judge, compat="").identity


def test_temporal_rubric_asks_by_place(tmp_path):
    import dataclasses

    tiny = benchmark(tmp_path, n=2, T=20)
    item = dataclasses.replace(tiny.items[1], start=10 / 25, end=20 / 25)
    server = Server(GOOD)
    with server.running() as endpoint:
        judge = JudgeMetric(EndpointJudge("m", endpoint), rubrics.TEMPORAL)
        judge.score(Case(item, item.truth))
        assert judge.frame_numbers(20, 20) == [2, 6, 10, 14, 18]
    texts = [s["messages"][0]["content"][0]["text"] for s in server.bodies]
    assert ["before" in t for t in (s.split("This frame")[1][:40] for s in texts)] == [
        True,
        True,
        False,
        False,
        False,
    ]
    assert "lies where the edit begins" in texts[2] and "inside the edited stretch" in texts[4]
    assert "must be left alone" in texts[0] and "all of it and nothing else" in texts[4]


@pytest.mark.parametrize(
    "answer, grades",
    [
        ("Instruction Compliance: 4\nConsistency & Detail Fidelity: 5 - x\nVisual Quality & Stability: 3.0", [4, 4, 3]),
        ("Instruction Compliance: 6\nConsistency & Detail Fidelity: 5\nVisual Quality & Stability: 3", None),
        ("Instruction Compliance: 4\nVisual Quality & Stability: 3", None),
        ("Instruction Compliance: 3.5\nConsistency & Detail Fidelity: 5\nVisual Quality & Stability: 3", None),
        ("", None),
        ("1. Instruction Compliance: 4 - a\n2) **Consistency & Detail Fidelity**: 5/5\n3. Visual Quality & Stability: 3", [4, 4, 3]),
        ('{"Instruction Compliance": 4, "Consistency & Detail Fidelity": 5, "Visual Quality & Stability": 3}', [4, 4, 3]),
        ('```json\n{"scores": {"instruction_compliance": {"score": 4, "reason": "x"}, "consistency_detail_fidelity": "5 - y",\n "Visual Quality & Stability": 3.0}}\n```', [4, 4, 3]),
        ('{"Instruction Compliance": 4, "Consistency & Detail Fidelity": 9, "Visual Quality & Stability": 3}', None),
        ('{"Instruction Compliance": 4, "Consistency & Detail Fidelity": 4.5, "Visual Quality & Stability": 3}', None),
        ("<think>a {set}</think>\nInstruction Compliance: 4\nConsistency & Detail Fidelity: 5\nVisual Quality & Stability: 3", [4, 4, 3]),
    ],
)  # fmt: skip
def test_reading_answers_and_the_cap(answer, grades):
    assert rubrics.OPENVE.parse(answer) == grades
    if grades:
        assert rubrics.OPENVE.combine(grades) == pytest.approx(11 / 3)


@pytest.mark.parametrize(
    "answer",
    [
        "\n" * 30_000,
        ("\n" + " " * 100) * 300,
        "Instruction Compliance" + " " * 30_000 + "x",
        "Instruction Compliance: " + "9" * 5000,
        '{"Instruction Compliance": "' + "9" * 5000 + '"}',
        '{"a":' * 5000 + "1" + "}" * 5000,
    ],
)
def test_answers_of_models_that_repeat_themselves(answer):
    """They have no grades, and it doesn't take minutes to find that out."""
    assert rubrics.OPENVE.parse(answer) is None


def test_every_rubric_names_its_lines_and_the_instruction(tiny):
    for rubric in (rubrics.EDITVERSE, rubrics.TEMPORAL, rubrics.OPENVE, rubrics.IMGEDIT):
        text = rubric.prompt(tiny.items[0], "during")
        assert all(f"{c}: <" in text for c in rubric.criteria) and "brighten the video 0" in text
        answer = "\n".join(f"{c}: {rubric.high}" for c in rubric.criteria)
        assert rubric.combine(rubric.parse(answer)) == rubric.ends[1]


def test_a_judge_of_your_own_needs_no_server(case):
    class Lenient:
        """A judge as judge.py describes one."""

        model, identity, parallel, dollars_per_call = "lenient", {"model": "lenient", "server": ""}, 2, None

        def answer(self, question: Question) -> str:
            assert "brighten the video 0" in question.prompt and len(question.pictures) == 2
            return GOOD

    judge: Judge = Lenient()
    metric = JudgeMetric(judge, rubrics.EDITVERSE)
    assert metric.score(case).values["judge total"] == 6
    assert (metric.calls, metric.parallel, metric.dollars) == (3, 2, None)
    assert metric.identity["model"] == "lenient"


SWEEP = """
from tests.evaluation.sweeps import Shift, benchmark
from v2v.evaluation.judge.endpoint import Endpoint, EndpointJudge
from v2v.evaluation.judge.judge_metric import JudgeMetric
from v2v.evaluation.metrics.builtin import CHANGE
from v2v.evaluation.sweep.methods import EditingMethod
from v2v.evaluation.judge.rubrics import EDITVERSE
from v2v.evaluation.sweep.sweep import Sweep

def sweep(folder):
    made = benchmark(folder, n=2, T=8)
    object.__setattr__(made, "name", "EditVerseBench")
    endpoint = Endpoint("URL", key="V2V_TEST_KEY", pause=0.01)
    judge = JudgeMetric(EndpointJudge("m", endpoint, dollars_per_call=0.5), EDITVERSE)
    return Sweep(made, (EditingMethod("ours", editor=Shift, revision="1"),), (CHANGE, judge), published=("easyv2v_editversebench",))
"""


def test_from_the_command_line_with_compat_and_export(tmp_path, capsys):
    import csv

    from v2v.cli import main

    server, out, theirs = Server(GOOD), tmp_path / "out", tmp_path / "theirs"
    with server.running() as endpoint:
        (tmp_path / "s.py").write_text(SWEEP.replace("URL", endpoint.url))
        args = [
            "eval",
            str(tmp_path / "s.py"),
            "--out",
            str(out),
            "--compat",
            "editverse",
            "--export",
            f"ours={theirs}",
        ]
        assert main.main(args) == 0
        assert main.main(args) == 0
    assert len(server.bodies) == 2 * 4  # frames 0, 2, 4, 6 of 8, once
    printed = capsys.readouterr().err
    assert (
        "6 to do (12 pictures" in printed and "about $3.00)" in printed
    )  # the plan counts three frames an item
    document = json.loads((out / "results.json").read_text())
    assert document["summary"]["judge total"]["ours"]["all"]["mean"] == 6
    assert (
        "EditVerseBench's own frames"
        in next(c for c in document["columns"] if c["name"] == "judge total")["about"]
    )
    assert (
        document["scores"][-1]["notes"]["compat"] == "editverse"
        and "Runway Aleph" in (out / "report.html").read_text()
    )
    lines = list(csv.DictReader((theirs / "scores.csv").open()))
    assert [r["id"] for r in lines] == ["item0", "item1", "Average"] and lines[2]["judge total"] == "6.0"
    assert (theirs / "item0" / "generate.mp4").exists() and (theirs / "item0" / "video1.mp4").exists()
    assert main.main([*args[:-1], "nobody=x"]) == 2


def test_a_limit_of_calls_is_kept_and_the_next_run_goes_on(tmp_path):
    """Three questions an item, each perhaps repeated once: a limit of 7 is enough for one item, which is reserved 6 and takes 3, and then not for another."""
    tiny = benchmark(tmp_path / "b", n=4, T=3)
    cache = SweepCache(tmp_path / "cache")
    server = Server(GOOD)
    with server.running() as endpoint:
        metric = JudgeMetric(EndpointJudge("m", endpoint, parallel=1), rubrics.EDITVERSE)
        definition = Sweep(tiny, [EditingMethod("by 40", editor=Shift, revision="1")], [metric])
        run = runner.run_sweep(definition, cache, max_calls=7)
        reasons = [result.reason for result in run.results.values()]
        assert len(server.bodies) == 3 and sum("limit of judge calls" in reason for reason in reasons) == 3
        assert [str(p) for p in results.list_problems(run)] == [f"3 scores of judges: {runner.NOT_ASKED}"]
        runner.run_sweep(definition, cache, max_calls=0)
        assert len(server.bodies) == 3
        assert sweep.plan_sweep(definition, cache).calls == 9
        runner.run_sweep(definition, cache)
    assert len(server.bodies) == 12 and sweep.plan_sweep(definition, cache).calls == 0


def test_repeated_questions_count_against_the_limit(tmp_path):
    tiny = benchmark(tmp_path / "b", n=4, T=3)
    server = Server("no grades here")
    with server.running() as endpoint:
        metric = JudgeMetric(EndpointJudge("m", endpoint, parallel=2), rubrics.EDITVERSE, retries=2)
        definition = Sweep(tiny, [EditingMethod("by 40", editor=Shift, revision="1")], [metric])
        runner.run_sweep(definition, SweepCache(tmp_path / "cache"), max_calls=20)
    assert len(server.bodies) == 18


def test_the_plan_tells_calls_pictures_tokens_and_price(tmp_path):
    tiny = benchmark(tmp_path / "b", n=2, T=3, H=56, W=84)
    judge = EndpointJudge("m", Endpoint("http://127.0.0.1:1/v1"), max_tokens=100)
    definition = Sweep(
        tiny, [EditingMethod("by 40", editor=Shift, revision="1")], [JudgeMetric(judge, rubrics.OPENVE)]
    )
    cache = SweepCache(tmp_path / "cache")
    plan = sweep.plan_sweep(definition, cache, prices=(2.0, 10.0), max_calls=5)
    # Sixteen pictures of 2 x 3 tokens and a prompt for each of two items.
    prompts = sum(-(-len(rubrics.OPENVE.prompt(item, "during")) // 4) for item in tiny.items)
    assert (plan.calls, plan.pictures, plan.tokens_in, plan.tokens_out) == (2, 32, 32 * 6 + prompts, 200)
    assert plan.dollars == pytest.approx((plan.tokens_in * 2 + 200 * 10) / 1e6)
    text = plan.format()
    assert f"2 to do (32 pictures, about {plan.tokens_in:,} tokens in, at most 200 out, about $0.00 at $2 and $10 a million)" in text  # fmt: skip
    assert "at most       5 judge calls" in text
    assert sweep.plan_sweep(definition, cache).dollars is None, "a price that nobody stated"


def test_the_server_s_own_count_of_tokens(case):
    usage = {"prompt_tokens": 1000, "completion_tokens": 20}
    server = Server(json.dumps({"choices": [{"message": {"content": GOOD}}], "usage": usage}).encode())
    with server.running() as endpoint:
        JudgeMetric(EndpointJudge("m", endpoint), rubrics.EDITVERSE).score(case)
        assert (endpoint.usage.answers, endpoint.usage.tokens_in, endpoint.usage.tokens_out) == (3, 3000, 60)
        assert endpoint.usage.is_complete
        server.plan[:] = [GOOD]
        JudgeMetric(EndpointJudge("m", endpoint), rubrics.EDITVERSE).score(case)
    assert not endpoint.usage.is_complete
