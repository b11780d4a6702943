"""A sweep from plan to report: what is done once, what is counted when it fails, what the numbers say."""

import dataclasses
import errno
import json

import numpy as np
import pytest

from tests.evaluation.sweeps import Shift, benchmark
from tests.example_clips import picture, write
from v2v.cli import eval_definition
from v2v.errors import InputError
from v2v.evaluation.cache import SweepCache
from v2v.evaluation.items import Benchmark
from v2v.evaluation.metrics.base import Column, Metric, Score, ScoringError
from v2v.evaluation.metrics.builtin import BUILTIN_METRICS, FunctionMetric
from v2v.evaluation.sweep import results, runner, sweep
from v2v.evaluation.sweep.methods import EditingMethod, ResultFolder, grid
from v2v.evaluation.sweep.sweep import Sweep
from v2v.video import video as codec


def methods(*editors):
    return tuple(
        EditingMethod(name, editor=lambda e=e: e, revision=name, options=options)
        for name, e, options in editors
    )


@dataclasses.dataclass
class Brightness(Metric):
    """A metric that counts how often it is asked, and fails as told."""

    name: str = "brightness"
    columns: tuple = (Column("level", worst=0.0),)
    required_fields: tuple = ()
    calls: int = 0
    absent: str | None = None
    trouble: Exception | None = None
    count: int = 0
    dollars: float = 0.01

    @property
    def identity(self):
        return {"metric": self.name, "version": 1}

    def missing(self):
        return self.absent

    def score(self, case):
        self.count += 1
        if self.trouble:
            raise self.trouble
        return Score({"level": float(next(iter(case.output)).mean())}, {"said": "verbatim"})


@pytest.fixture
def tiny(tmp_path):
    return benchmark(tmp_path / "bench")


def go(definition, folder):
    cache = SweepCache(folder)
    plan = sweep.plan_sweep(definition, cache)
    run = runner.run_sweep(definition, cache)
    return plan, run, results.build_results(run, plan).to_json()


def test_perfect_editor_beats_one_that_does_nothing(tiny, tmp_path):
    definition = Sweep(tiny, methods(("right", Shift(40), {}), ("idle", Shift(0), {})), BUILTIN_METRICS)
    _, _, document = go(definition, tmp_path / "cache")
    success = document["summary"]["success"]
    assert success["right"]["all"]["mean"] == 1 and success["idle"]["all"]["mean"] == 0
    assert success["right"]["all"]["n"] == 4 and success["right"]["kinds"]["dim"]["n"] == 2
    assert success["idle"]["delta"]["mean"] == -1 and success["idle"]["delta"]["n"] == 4
    wins = document["wins"]["PSNR"]
    assert wins[0][1]["mean"] == 1 and wins[1][0] == {**wins[1][0], "mean": 0, "losses": 4}
    assert wins[0][0] is None
    # Timing applies to the two items that begin inside the clip; three frames of six are on.
    timing = document["summary"]["timing error"]
    assert timing["right"]["all"] == {**timing["right"]["all"], "mean": 0, "n": 2}
    assert timing["idle"]["all"]["mean"] == 6
    inside = document["summary"]["change inside"]
    assert 38 < inside["right"]["all"]["mean"] < 42 and inside["idle"]["all"]["mean"] < 2
    assert document["summary"]["leakage outside"]["right"]["all"]["n"] == 2  # the others have no outside
    assert document["problems"] == []


def test_second_run_does_nothing_and_an_extended_one_only_what_is_new(tiny, tmp_path):
    editor, metric = Shift(), Brightness()
    definition = Sweep(tiny, methods(("a", editor, {})), (metric,))
    plan, run, first = go(definition, tmp_path / "cache")
    assert (plan.edits, plan.scores, editor.calls, metric.count) == (4, 4, 4, 4)
    plan, run, second = go(definition, tmp_path / "cache")
    assert (plan.edits, plan.edits_cached, plan.scores, plan.scores_cached) == (0, 4, 0, 4)
    assert editor.calls == 4 and metric.count == 4 and not any(m.is_new for m in run.outputs.values())
    assert second["summary"] == first["summary"] and second["scores"][0]["notes"] == {"said": "verbatim"}
    more = Sweep(
        tiny, methods(("a", editor, {}), ("b", editor, {"strength": 0.5})), (metric, *BUILTIN_METRICS)
    )
    plan, run, _ = go(more, tmp_path / "cache")
    assert (plan.edits, plan.edits_cached) == (4, 4) and editor.calls == 8 and metric.count == 8
    # Renamed or moved, nothing is done again: only content counts.
    moved = benchmark(tmp_path / "elsewhere")
    go(Sweep(moved, methods(("a", editor, {})), (metric,)), tmp_path / "cache")
    assert editor.calls == 8 and metric.count == 8


def test_a_change_of_anything_that_matters_is_a_new_edit(tiny, tmp_path):
    cache, item = SweepCache(tmp_path), tiny.items[1]
    base = EditingMethod("e", editor=Shift, revision="1", options={"seed": 0})
    keys = [
        m.key(i, cache)
        for m, i in (
            (base, item),
            (dataclasses.replace(base, options={"seed": 1}), item),
            (dataclasses.replace(base, revision="2"), item),
            (dataclasses.replace(base, use_mask=True), item),
            (base, dataclasses.replace(item, instruction="dim it")),
            (base, dataclasses.replace(item, start=0.0)),
            (base, dataclasses.replace(item, source=tiny.items[0].source)),
        )
    ]
    assert len({json.dumps(k, sort_keys=True) for k in keys}) == len(keys)
    assert dataclasses.replace(base, name="other").key(item, cache) == keys[0]


def test_failed_edits_are_counted_shown_and_tried_again(tiny, tmp_path):
    editor = Shift(refuse="dim")
    definition = Sweep(tiny, methods(("a", editor, {}), ("b", Shift(0), {})), BUILTIN_METRICS)
    _, _, document = go(definition, tmp_path / "cache")
    success, psnr = document["summary"]["success"]["a"]["all"], document["summary"]["PSNR"]["a"]["all"]
    assert success == {**success, "mean": 0.5, "n": 4, "failed": 2, "scored": 2}  # as the worst of its scale
    assert (
        psnr["n"] == 4 and psnr["scored"] == 2 and psnr["mean"] > 35
    )  # no worst: over those scored, and said so
    assert document["wins"]["PSNR"][1][0]["wins"] == 2  # b wins where a failed
    assert document["summary"]["PSNR"]["b"]["delta"]["n"] == 2
    assert any("item1: RuntimeError: out of luck" in p for p in document["problems"])
    editor.refuse = ""
    plan, _, document = go(definition, tmp_path / "cache")
    assert plan.edits == 2 and document["summary"]["success"]["a"]["all"]["mean"] == 1


def test_refused_sentences_have_a_column_of_their_own(tiny, tmp_path):
    class Choosy(Shift):
        def edit_video(self, video, instruction, **options):
            if "dim" in instruction:
                raise InputError("knows none of its words")
            return super().edit_video(video, instruction, **options)

    definition = Sweep(tiny, (EditingMethod("a", editor=Choosy, revision="1"),), BUILTIN_METRICS)
    run = runner.run_sweep(definition, SweepCache(tmp_path / "cache"))
    outcome = results.build_results(run)
    assert [edit["refused"] for edit in outcome.to_json()["edits"]] == [False, True, False, True]
    assert (
        outcome.summary["success"]["a"].overall.failed == 2
        and outcome.summary["success"]["a"].overall.mean == 0.5
    )
    line = next(x for x in results.format_summary_csv(outcome).splitlines() if ",refused," in x).split(",")
    assert line[:4] == ["a", "refused", "all", "0.5"] and line[6:] == ["4", "4", "0", "0"]


def test_a_clip_that_was_cut_is_not_compared_with_one_that_was_not(tmp_path):
    bench = benchmark(tmp_path / "bench", n=2)
    for name, length in (("full", 6), ("cut", 4)):
        for item in bench.items:
            path = tmp_path / name / f"{item.id}.mp4"
            path.parent.mkdir(exist_ok=True)
            write(path, picture(6, 32, 48, seed=3)[: length if item.id == "item1" else 6])
    folders = tuple(ResultFolder(name, tmp_path / name) for name in ("full", "cut"))
    _, _, document = go(Sweep(bench, folders, BUILTIN_METRICS), tmp_path / "cache")
    delta, wins = document["summary"]["flicker"]["cut"]["delta"], document["wins"]["flicker"][0][1]
    assert (delta["mean"], delta["n"], delta["unequal"], delta["clear"]) == (0, 1, 1, False)
    assert (wins["ties"], wins["wins"], wins["losses"], wins["unequal"]) == (1, 0, 0, 1)


def test_words_that_the_editor_ignored_are_a_problem_and_stay_one(tiny, tmp_path):
    class Forgetful(Shift):
        def edit_video(self, video, instruction, **options):
            clip = super().edit_video(video, instruction, **options)
            words = ["video"] if "3" in instruction else []
            return dataclasses.replace(clip, report={"unknown_words": words, "left_out": ""})

    definition = Sweep(tiny, (EditingMethod("a", editor=Forgetful, revision="1"),), BUILTIN_METRICS)
    for _ in range(2):
        _, _, document = go(definition, tmp_path / "cache")
        assert document["problems"] == ['a, item item3: the editor ignored "video" of the instruction']


def test_metric_troubles(tiny, tmp_path):
    skipped_metric = Brightness(
        name="heavy", columns=(Column("x"),), absent="wants weights/heavy, found no such folder"
    )
    broken = Brightness(name="broken", columns=(Column("y", worst=0.0),), trouble=ValueError("odd"))
    final = Brightness(
        name="final", columns=(Column("z"),), trouble=ScoringError("nonsense", {"answer": "?"}, final=True)
    )
    definition = Sweep(tiny, methods(("a", Shift(), {})), (skipped_metric, broken, final, Brightness()))
    for attempt in (1, 2):
        _, _, document = go(definition, tmp_path / "cache")
        assert document["skipped"] == {"heavy": "wants weights/heavy, found no such folder"}
        assert "x" not in document["summary"] and document["summary"]["level"]["a"]["all"]["scored"] == 4
        # A metric's error is not the editor's failure.
        assert document["summary"]["y"]["a"]["all"] == {
            **document["summary"]["y"]["a"]["all"],
            "mean": None,
            "failed": 0,
            "unscored": 4,
        }
        assert document["summary"]["z"]["a"]["all"] == {
            **document["summary"]["z"]["a"]["all"],
            "mean": None,
            "n": 4,
            "scored": 0,
        }
        assert broken.count == 4 * attempt and final.count == 4  # a final failure is remembered
    assert next(s for s in document["scores"] if s["metric"] == "final")["notes"] == {"answer": "?"}


def test_folder_of_results_missing_extra_corrupt_and_of_another_shape(tiny, tmp_path):
    folder = tmp_path / "theirs"
    folder.mkdir()
    write(folder / "item0.mp4", picture(4, 64, 96, seed=0) // 2 + 60)
    write(folder / "item1.mp4", picture(6, 32, 48, seed=1))
    data = (folder / "item1.mp4").read_bytes()
    (folder / "item1.mp4").write_bytes(data[: len(data) * 2 // 3])
    (folder / "item2").mkdir()
    (folder / "item2" / "generate.mp4").write_bytes((folder / "item0.mp4").read_bytes())
    (folder / "stray.mp4").write_bytes(b"x")
    plan, _, document = go(
        Sweep(tiny, (ResultFolder("theirs", folder),), BUILTIN_METRICS), tmp_path / "cache"
    )
    assert (plan.outputs_present, plan.outputs_missing, plan.edits) == (3, 1, 0)
    problems = "\n".join(document["problems"])
    assert "no output for 1 item: item3" in problems and "1 output belongs to no item: stray.mp4" in problems
    assert "item1: " in problems and "item3: no output in the folder" in problems
    assert (
        "4 frames against the source's 6: the first 4 are compared" in problems
        and "96x64 against the source's 48x32" in problems
    )
    assert document["summary"]["success"]["theirs"]["all"]["n"] == 4
    assert document["summary"]["PSNR"]["theirs"]["all"]["scored"] == 2


def test_plan_counts_judge_calls_and_cost(tiny, tmp_path):
    judge, free = Brightness(calls=3), Brightness(name="other", columns=(Column("o"),), calls=1, dollars=None)
    definition = Sweep(tiny, methods(("a", Shift(), {})), (judge,))
    plan = sweep.plan_sweep(definition, SweepCache(tmp_path / "cache"))
    assert plan.calls == 12 and plan.dollars == pytest.approx(0.04) and "about $0.04" in plan.format()
    _, run, _ = go(definition, tmp_path / "cache")
    assert judge.count == 4 and len(run.results) == 4
    plan = sweep.plan_sweep(
        dataclasses.replace(definition, metrics=(judge, free)), SweepCache(tmp_path / "cache")
    )
    assert (plan.calls, plan.calls_cached, plan.dollars) == (4, 12, None) and "price unknown" in plan.format()


def test_grid():
    points = grid(guidance=(1, 2.5), lora=(None, "runs/style.safetensors"), steps=4)
    assert [p.name for p in points] == [
        "guidance 1, lora none", "guidance 1, lora style", "guidance 2.5, lora none", "guidance 2.5, lora style",
    ]  # fmt: skip
    assert points[3].options == {"steps": 4, "guidance": 2.5} and points[3].axes == {
        "guidance": 2.5,
        "lora": "style",
    }
    assert points[0].lora is None and len({p.editor_key for p in points}) == 2


def test_sweeps_that_make_no_sense(tiny, tmp_path):
    a = methods(("a", Shift(), {}))
    for words, make in (
        ("a name of its own, got a twice", lambda: Sweep(tiny, a + a, BUILTIN_METRICS)),
        ("at least one method", lambda: Sweep(tiny, (), BUILTIN_METRICS)),
        ("none of the methods", lambda: Sweep(tiny, a, BUILTIN_METRICS, baseline="b")),
        ("revision", lambda: EditingMethod("x", editor=Shift)),
        ("method guidence 1: .*guidance", lambda: grid(guidence=(1, 2))),
        ("steps: expected at least 1", lambda: grid(steps=(0, 2))),
        ("no such folder", lambda: ResultFolder("x", tmp_path / "none")),
        ("got none", lambda: Benchmark("empty", ())),
        ("kinds among brighten, dim", lambda: tiny.take(kinds=("blur",))),
        (
            "no such model",
            lambda: EditingMethod("x", model=str(tmp_path / "no")).key(tiny.items[0], SweepCache(tmp_path)),
        ),
        ("no such sweep", lambda: eval_definition.load_sweep(tmp_path / "no.py", tmp_path)),
    ):
        with pytest.raises(InputError, match=words):
            make()


def test_problems_say_what_they_concern(tiny, tmp_path):
    skipped_metric = Brightness(name="heavy", columns=(Column("x"),), absent="wants weights")
    definition = Sweep(tiny, methods(("a", Shift(refuse="dim"), {})), (skipped_metric, Brightness()))
    cache = SweepCache(tmp_path / "cache")
    outcome = results.build_results(runner.run_sweep(definition, cache), sweep.plan_sweep(definition, cache))
    assert outcome.problems[0] == results.Problem("wants weights", metric="heavy")
    assert [(p.method, p.item) for p in outcome.problems[1:]] == [("a", "item1"), ("a", "item3")]
    assert str(outcome.problems[1]) == "a, item item1: RuntimeError: out of luck"
    assert (
        outcome.summary["level"]["a"].overall.failed == 2 and outcome.summary["level"]["a"].difference is None
    )
    assert outcome.to_json()["plan"].keys() >= {"found", "absent", "skipped", "calls_cached"}


ODD_VALUES = {
    "item0": ({"q": np.float32(2)}, "ok", ""),
    "item1": ({"q": float("nan")}, "n/a", ""),
    "item2": ({"q": float("inf")}, "unscored", "q: expected a finite number"),
    "item3": ({"q": "high"}, "unscored", "got 'high'"),
    "item4": ({"p": 1.0}, "unscored", "one of 'p'; list it among"),
    "item5": (3.0, "unscored", 'expected values by column, such as {"q": 0.5}, got float'),
    "item6": ({"q": np.bool_(True)}, "ok", ""),
}


def odd_value(case):
    return ODD_VALUES[case.item.id][0]


def test_what_is_no_number_is_no_score_and_told(tmp_path):
    metric = FunctionMetric("q", (Column("q"),), (), odd_value)
    definition = Sweep(benchmark(tmp_path / "b", n=7, T=2), methods(("a", Shift(0), {})), (metric,))
    cache = SweepCache(tmp_path / "cache")
    run = runner.run_sweep(definition, cache)
    for (_, item, _), result in run.results.items():
        _, status, reason = ODD_VALUES[item]
        assert result.status == status and reason in result.reason, item

    def refuse(text):
        raise ValueError(f"{text} is no JSON")

    document = results.build_results(run).to_json()
    assert json.loads(json.dumps(document), parse_constant=refuse)["summary"]["q"]["a"]["all"]["mean"] == 1.5
    again = runner.run_sweep(definition, cache)
    assert {item for (_, item, _), result in again.results.items() if result.is_new} == {
        "item2", "item3", "item4", "item5",
    }  # fmt: skip


def test_an_item_s_clips_are_read_once_for_all_methods(tiny, tmp_path, monkeypatch):
    reads = []
    read_video = codec.read_video
    monkeypatch.setattr(codec, "read_video", lambda path: reads.append(str(path)) or read_video(path))
    edits = methods(("a", Shift(20), {}), ("b", Shift(40), {}))
    run = runner.run_sweep(Sweep(tiny, edits, BUILTIN_METRICS), SweepCache(tmp_path / "cache"))
    assert all(result.status in ("ok", "n/a") for result in run.results.values())
    counts = [reads.count(str(file)) for item in tiny.items for file in (item.truth, item.mask)]
    assert counts == [1] * 8, "once each, although two outputs are compared with it"
    names = [(method, item) for method, item, _ in run.results]
    assert names == sorted(names), "results in the order of methods, then of items"


def test_a_full_disk_ends_the_run_and_is_no_fault_of_an_editor(tmp_path, monkeypatch):
    editor, cache = Shift(40), SweepCache(tmp_path / "cache")
    definition = Sweep(benchmark(tmp_path / "b", n=2, T=2), methods(("a", editor, {})), (BUILTIN_METRICS[1],))
    real_save = codec.Video.save

    def fill(clip, path, **settings):
        path.write_bytes(b"half")
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError:
            raise InputError(f"{path}: can't be written") from None

    monkeypatch.setattr(codec.Video, "save", fill)
    with pytest.raises(InputError, match=r"no space left on device\); what is finished is kept"):
        runner.run_sweep(definition, cache)
    monkeypatch.setattr(codec.Video, "save", real_save)
    assert not [path for path in (tmp_path / "cache" / "edits").rglob("*") if path.is_file()]
    run = runner.run_sweep(definition, cache)
    assert all(output.path for output in run.outputs.values()) and editor.calls == 3
    # Other errors of saving are the editor's, which gave what is no clip.
    odd = Sweep(definition.benchmark, methods(("b", Odd(), {})), definition.metrics)
    reasons = [output.reason for output in runner.run_sweep(odd, cache).outputs.values()]
    assert len(reasons) == 2 and all("AttributeError" in reason for reason in reasons)


class Odd:
    """Returns what is no clip."""

    def edit_video(self, video, instruction, **options):
        return 3
