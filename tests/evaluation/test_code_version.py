"""A changed editor or metric is noticed, whatever is cached."""

import dataclasses
import functools
import importlib.util

import pytest

from tests.evaluation.sweeps import Shift, benchmark
from v2v.evaluation import code_version
from v2v.evaluation.cache import SweepCache
from v2v.evaluation.code_version import object_code, package_code
from v2v.evaluation.metrics.base import Column
from v2v.evaluation.metrics.builtin import PSNR, FunctionMetric
from v2v.evaluation.sweep import results, runner, sweep
from v2v.evaluation.sweep.methods import EditingMethod
from v2v.evaluation.sweep.sweep import Sweep


def forget_code():
    package_code.cache_clear(), code_version._file_code.cache_clear()
    code_version._hashed_objects.clear()


@pytest.fixture(autouse=True)
def _forgotten_code():
    """Hashes are remembered for a process; those of a changed package are not for other tests."""
    forget_code()
    yield
    forget_code()


MODULE = '''
"""A user's module."""
import numpy as np
from tests.evaluation.sweeps import Shift

GAIN = 2

def helper(x):
    return x.var()

def level(case):
    """Compute it."""
    return {"level": GAIN * float(helper(np.stack(list(case.output))))}

class Editor(Shift):
    def __init__(self):
        super().__init__(40)

    def edit_video(self, video, instruction, **options):
        return super().edit_video(video, instruction, **options)
'''


def module(folder, *changes):
    """The module with changes, each (old, new)."""
    text = MODULE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    number = len(list(folder.glob("m*.py")))
    path = folder / f"m{number}.py"
    path.write_text(text)
    spec = importlib.util.spec_from_file_location("user_module", path)
    value = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(value)
    return value


def definition(bench, user):
    metric = FunctionMetric("own", (Column("level"),), (), user.level)
    return Sweep(bench, (EditingMethod("own", editor=user.Editor, revision="1"),), (metric, PSNR))


def counts(definition, folder, **options):
    plan = sweep.plan_sweep(definition, SweepCache(folder, **options))
    return plan.edits, plan.scores


def test_a_changed_metric_or_editor_is_run_again_and_the_plan_says_why(tmp_path):
    bench, folder, cache = benchmark(tmp_path / "bench", n=2), tmp_path, SweepCache(tmp_path / "cache")
    first = definition(bench, module(folder))
    values = results.build_results(runner.run_sweep(first, cache)).summary["level"]["own"].overall.mean
    assert counts(first, tmp_path / "cache") == (0, 0)
    # Comments, docstrings and layout don't count.
    same = module(
        folder,
        ('"""Compute it."""', '"""Compute the level."""  # quickly'),
        ("GAIN = 2", "GAIN = (\n    2\n)"),
    )
    assert counts(definition(bench, same), tmp_path / "cache") == (0, 0)
    for change in (("x.var()", "x.mean()"), ("GAIN = 2", "GAIN = 3")):
        changed = definition(bench, module(folder, change))
        plan = sweep.plan_sweep(changed, cache)
        assert (plan.edits, plan.scores, plan.scores_cached) == (0, 2, 2) and plan.other_code == {"scores": 2}
        assert "2 scores: finished before by other code" in plan.format() and "--any-code" in plan.format()
        again = results.build_results(runner.run_sweep(changed, cache)).summary["level"]["own"].overall.mean
        assert again != values
    other_editor = definition(bench, module(folder, ("super().__init__(40)", "super().__init__(41)")))
    plan = sweep.plan_sweep(other_editor, cache)
    assert plan.edits == 2 and plan.other_code == {"edits": 2}
    assert counts(other_editor, tmp_path / "cache", any_code=True) == (0, 0)
    # The first ones are still there.
    assert counts(first, tmp_path / "cache") == (0, 0)
    plan = sweep.plan_sweep(first, cache)
    assert plan.commits["edits"] == {code_version.package_commit(): 2}
    assert f"2 of {code_version.package_commit()[:12]}" in plan.format()


def test_a_changed_package_is_noticed(tmp_path, monkeypatch):
    bench, cache = benchmark(tmp_path / "bench", n=1), SweepCache(tmp_path / "cache")
    for name in ("pipeline", "evaluation/metrics", "video"):
        (tmp_path / "v2v" / name).mkdir(parents=True)
        (tmp_path / "v2v" / name / "a.py").write_text("x = 1\n")
    monkeypatch.setattr(code_version, "PACKAGE", tmp_path / "v2v")
    monkeypatch.setattr("v2v.evaluation.sweep.methods.EDITING", ("pipeline", "video"))

    def codes():
        forget_code()
        return EditingMethod().editor_code(), PSNR.code

    edit, score = codes()
    (tmp_path / "v2v/pipeline/a.py").write_text('"""About."""\nx = 1  # one\n')
    assert codes() == (edit, score)
    (tmp_path / "v2v/pipeline/a.py").write_text("x = 2\n")
    assert codes()[0] != edit and codes()[1] == score
    (tmp_path / "v2v/evaluation/metrics/a.py").write_text("x = 2\n")
    assert codes()[1] != score
    assert bench and cache


@pytest.mark.parametrize("fresh, expected", [("edits", (2, 1)), ("scores", (1, 3)), ("judge", (1, 1))])
def test_fresh_work(tmp_path, fresh, expected):
    bench, metric = benchmark(tmp_path / "bench", n=1), PSNR
    count = {"edits": 0, "scores": 0}

    class Counting(Shift):
        def edit_video(self, *args, **options):
            count["edits"] += 1
            return super().edit_video(*args, **options)

    metric = FunctionMetric("own", (Column("level"),), (), functools.partial(_counted, count))
    method = EditingMethod("a", editor=Counting, revision="1")
    runner.run_sweep(Sweep(bench, (method,), (metric,)), SweepCache(tmp_path / "cache"))
    again = SweepCache(tmp_path / "cache", fresh=frozenset([fresh]))
    twice = (method, dataclasses.replace(method, name="b"))  # done once in a run, though fresh
    runner.run_sweep(Sweep(bench, twice[:1] if fresh == "edits" else twice, (metric,)), again)
    assert count["edits"] == expected[0]
    assert count["scores"] == (expected[1] if fresh != "scores" else 2)


def _counted(count, case):
    count["scores"] += 1
    return {"level": 1.0}


def test_objects_that_hold_code():
    assert object_code(functools.partial(_counted, {})) != object_code(functools.partial(counts, {}))
    assert object_code(lambda: Shift(1)) != object_code(lambda: Shift(2))
    assert object_code(Shift(1)) == object_code(Shift(2))  # what differs here, a revision tells


def test_the_hash_of_the_package_is_remembered_by_contents(tmp_path, monkeypatch):
    monkeypatch.setattr(code_version, "PACKAGE", tmp_path)
    monkeypatch.setenv("V2V_CACHE", str(tmp_path / "cache"))
    source, values = tmp_path / "part.py", []
    for text in ("x = 1", "x = 1", "x = 1  # as before", "x = 2"):
        source.write_text(text)
        code_version.package_code.cache_clear()
        values.append(code_version.package_code("part.py"))
        assert values[-1] in [memo.read_text() for memo in (tmp_path / "cache/code").iterdir()]
        for memo in (tmp_path / "cache/code").iterdir():
            memo.write_text("cut short")
    assert values[0] == values[1] == values[2] != values[3]
