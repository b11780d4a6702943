"""The judge that answers checklists, against the server on the loopback interface."""

import dataclasses
import json

import pytest

from tests.evaluation.sweeps import Shift, benchmark
from tests.evaluation.test_judge import Server
from v2v.evaluation.cache import SweepCache
from v2v.evaluation.judge.checklist import ChecklistMetric, read_answers, read_checklist
from v2v.evaluation.judge.endpoint import Endpoint, EndpointJudge
from v2v.evaluation.metrics.base import Case, ScoringError
from v2v.evaluation.sweep import runner, sweep
from v2v.evaluation.sweep.methods import EditingMethod
from v2v.evaluation.sweep.sweep import Sweep

GROUPS = [
    {
        "questions": [
            {"id": "Q1", "type": "AB-MCQ", "dimension": "Execution Accuracy", "question": "What is there?",
             "options": {"A": "a hat", "B": "a bow"}, "expected_answer": "A and B"},
            {"id": "Q2", "type": "Single-TF", "dimension": "Physical Logic", "question": "Real?", "expected_answer": "Yes"},
            {"id": "Q3", "type": "Dual-TF", "dimension": "Execution Accuracy", "question": "Moved?", "expected_answer": "No"},
            {"id": "Q4", "type": "Dual-TF", "dimension": "Physical Logic", "question": "Smooth?", "expected_answer": "Yes"},
        ]
    },
    {
        "questions": [
            {"id": 5, "type": "Score-MCQ", "dimension": "Semantic Preservation", "question": "The car?", "expected_answer": "10"},
            {"id": "Q6", "type": "Essay", "question": "Why?"},
        ]
    },
]  # fmt: skip
AB = '[{"id": "Q1", "reasoning": "both", "final_answer": "B and A"}]'
SINGLE = '<think>[hm]</think>```json\n[{"id": "Q2", "reasoning": "", "answer": true}]\n```'
DUAL = '[{"id": "Q3", "answer": "Yes"}, {"id": "Q4", "answer": "yes."}]'
GRADE = '{"id": "5", "final_score": 7}'


@pytest.fixture
def tiny(tmp_path):
    bench = benchmark(tmp_path / "bench", n=2, T=8)
    items = [dataclasses.replace(item, extra={"row": {"evaluation_groups": GROUPS}}) for item in bench.items]
    return dataclasses.replace(bench, items=tuple(items))


def test_scores_are_those_of_the_benchmark_s_script(tiny):
    item = tiny.items[0]
    server = Server(AB, SINGLE, DUAL, GRADE)
    with server.running() as endpoint:
        score = ChecklistMetric(EndpointJudge("m", endpoint), frames=3, side=24).score(Case(item, item.truth))
    assert score.values == {
        "checklist UAS": 0.0, "checklist IFS": 50.0, "checklist VRS": 100.0, "checklist SEM": 7.0,
    }  # fmt: skip
    assert score.notes["asked"] == 4 and score.notes["left_out"] == ["Q6"]
    contents = [body["messages"][0]["content"] for body in server.bodies]
    assert [len(parts) - 1 for parts in contents] == [3, 3, 6, 6]
    prompts = [parts[0]["text"] for parts in contents]
    assert all(item.instruction in prompt for prompt in prompts) and '"A": "a hat"' in prompts[0]
    assert "expected" not in "".join(prompts) and "Video A" in prompts[2] and "Video A" not in prompts[1]


def test_answers_that_are_none_are_asked_for_again_and_quoted(tiny):
    item = tiny.items[0]
    server = Server(AB, "no idea", SINGLE, "Q3: perhaps")
    with server.running() as endpoint:
        metric = ChecklistMetric(EndpointJudge("m", endpoint), frames=1)
        with pytest.raises(ScoringError, match='2 of 4 answers.*"Q3: perhaps"') as error:
            metric.score(Case(item, item.truth))
    assert len(server.bodies) == 7 == error.value.notes["asked"] and not error.value.final


def test_reading_of_answers(tiny):
    questions, left_out = read_checklist(tiny.items[0])
    grade, pair = [questions[4]], questions[:1]
    assert left_out == ["Q6"] and [q.score for q in questions] == ["IFS", "VRS", "IFS", "VRS", "SEM"]
    for text, answers in (
        ('[{"id": 5, "score": "8/10"}]', {"5": 8.0}),
        ('[{"id": 5, "score": 11}]', None),
        ('[{"id": 5, "score": 7.5}]', None),
        ('[{"id": 6, "score": 7}]', None),
        ("[" * 9000, None),
        ("7", None),
    ):
        assert read_answers(text, grade) == answers
    assert read_answers('[{"id": "Q1", "answer": "A"}]', pair) == {"Q1": "a"}
    assert read_answers('[{"id": "Q1", "answer": "A or B"}]', pair) is None
    broken = dataclasses.replace(tiny.items[0], extra={"row": {"evaluation_groups": [{"questions": [7]}]}})
    with pytest.raises(ScoringError, match="correct the checklist"):
        read_checklist(broken)


def test_the_plan_counts_the_types_and_changed_questions_are_asked_again(tiny, tmp_path):
    one = dataclasses.replace(tiny.items[1], extra={"row": {"evaluation_groups": GROUPS[1:]}})
    bench = dataclasses.replace(tiny, items=(tiny.items[0], one))
    judge = EndpointJudge("m", Endpoint("http://127.0.0.1:1/v1"), max_tokens=100, parallel=1)
    methods, cache = [EditingMethod("by 40", editor=Shift, revision="1")], SweepCache(tmp_path / "cache")
    plan = sweep.plan_sweep(
        Sweep(bench, methods, [ChecklistMetric(judge, frames=2)]), cache, prices=(2.0, 10.0)
    )
    assert (plan.calls, plan.pictures, plan.tokens_out) == (5, 12 + 4, 500) and plan.dollars
    server = Server(json.dumps([*map(json.loads, (AB[1:-1], GRADE)), {"id": "Q2", "answer": "No"}, *json.loads(DUAL)]))  # fmt: skip
    with server.running() as endpoint:
        metric = ChecklistMetric(dataclasses.replace(judge, endpoint=endpoint), frames=1, retries=0)
        definition = Sweep(bench, methods, [metric])
        run = runner.run_sweep(definition, cache, max_calls=5)
        values = [result.values for result in run.results.values()]
        assert len(server.bodies) == 5 and values[1] == {"checklist SEM": 7.0}
        runner.run_sweep(definition, cache)
        assert len(server.bodies) == 5
        questions = [{"questions": [{**GROUPS[1]["questions"][0], "question": "The tree?"}]}]
        other = dataclasses.replace(one, extra={"row": {"evaluation_groups": questions}})
        changed = dataclasses.replace(bench, items=(tiny.items[0], other))
        runner.run_sweep(dataclasses.replace(definition, benchmark=changed), cache)
    assert len(server.bodies) == 6
    plain = dataclasses.replace(one, extra={})
    assert metric.count_calls(plain) == 0 and metric.score(Case(plain, plain.truth)).values == {}
