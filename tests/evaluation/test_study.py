"""The study: blind, shuffled for each rater in a way of their own, and read right."""

import csv
import json
import random
from collections import Counter
from dataclasses import replace

import pytest

from tests.evaluation.sweeps import Shift, benchmark
from v2v.cli import main
from v2v.errors import InputError
from v2v.evaluation import study, vote_results
from v2v.evaluation.cache import SweepCache
from v2v.evaluation.calibration import read_ratings
from v2v.evaluation.intervals import share
from v2v.evaluation.metrics.builtin import FLICKER
from v2v.evaluation.study import QUESTIONS, Study, StudyClip, StudyPair, Trial, plan_trials
from v2v.evaluation.sweep import results, runner
from v2v.evaluation.sweep.methods import EditingMethod
from v2v.evaluation.sweep.sweep import Sweep
from v2v.evaluation.vote_results import evaluate_votes, fleiss_kappa, krippendorff_alpha, outcome_of
from v2v.evaluation.vote_store import Rater, Vote
from v2v.video import video as codec


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A finished sweep of two methods over eight items, the second failing on one."""
    home = tmp_path_factory.mktemp("swept")
    edits = [
        EditingMethod(name, editor=lambda n=n, r=r: Shift(n, r), revision=name)
        for name, n, r in (("bright", 40, ""), ("dark", -10, "video 7"))
    ]
    definition = Sweep(benchmark(home / "bench", n=8, T=3), edits, (FLICKER,))
    document = results.build_results(runner.run_sweep(definition, SweepCache(home / "cache"))).to_json()
    (home / "results.json").write_text(json.dumps(document))
    return home


def imaginary_study(folder, count=24) -> Study:
    clip = StudyClip("a.mp4", 3, 48, 32)
    roles = {"source": clip, "A": clip, "B": clip}
    pairs = [
        StudyPair(f"p{k}", f"item{k}", f"kind{k % 2}", "x", 25.0, {**roles, **({"noise": clip} if k < 3 else {})})
        for k in range(count)
    ]  # fmt: skip
    return Study(folder, "s", "runs/x:new", "runs/x:old", 0, pairs)


def test_a_study_is_written_and_read(swept, tmp_path, capsys):
    out = tmp_path / "study"
    words = ["eval", "ab", f"{swept}:bright", f"{swept}:dark", "--out", str(out), "--json"]
    assert main.main(words) == 0
    assert json.loads(capsys.readouterr().out)["pairs"] == 7  # one failed
    read = study.read_study(out)
    assert read.methods == ("bright", "dark") and len(read.pairs) == 7
    order = [pair.item for pair in read.pairs]
    assert order != sorted(order) and main.main(words) == 0 and study.read_study(out) == read
    for pair in read.pairs[:2]:
        levels = {
            role: codec.read_video(out / "clips" / clip.file).frames[-1] for role, clip in pair.clips.items()
        }
        assert levels["A"].mean() > levels["B"].mean() + 20
    assert levels.keys() == {"source", "A", "B"} and "noise" in read.pairs[0].clips
    # Another study would take over the votes.
    assert main.main([*words, "--seed", "4"]) == 2 and "another study" in capsys.readouterr().err
    cache = SweepCache(swept / "cache")
    some = study.write_study(f"{swept}:bright", f"{swept}:dark", tmp_path / "b", cache, seed=4, limit=4)
    assert sorted(pair.kind for pair in some.pairs) == ["brighten", "brighten", "dim", "dim"]
    for sides in ((f"{swept}:bright",) * 2, (f"{swept}:bright", f"{swept}:none"), (str(swept), "x")):
        with pytest.raises(InputError):
            study.write_study(*sides, tmp_path / "c", cache)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: "{",
        lambda d: [],
        lambda d: {**d, "pairs": [7]},
        lambda d: {**d, "pairs": [{**d["pairs"][0], "clips": 7}]},
        lambda d: {
            **d,
            "pairs": [
                {**d["pairs"][0], "clips": {"A": {"file": "../x", "frames": 1, "width": 1, "height": 1}}}
            ],
        },
        lambda d: {**d, "seed": "x"},
    ],
)
def test_a_damaged_study_is_refused(swept, tmp_path, change):
    study.write_study(f"{swept}:bright", f"{swept}:dark", tmp_path, SweepCache(swept / "cache"), limit=1)
    file = tmp_path / study.STUDY_FILE
    value = change(json.loads(file.read_text()))
    file.write_text(value if isinstance(value, str) else json.dumps(value))
    with pytest.raises(InputError, match="study.json: "):
        study.read_study(tmp_path)
    with pytest.raises(InputError, match="v2v eval ab"):
        study.read_study(tmp_path / "none")


def test_every_rater_sees_all_pairs_in_an_order_of_their_own(tmp_path):
    made = imaginary_study(tmp_path)
    plans = {name: plan_trials(made, name) for name in ("ann", "bob")}
    assert plans["ann"] == plan_trials(made, "ann") != plans["bob"]
    for trials in plans.values():
        kinds = Counter(trial.kind for trial in trials)
        assert kinds == {"pair": 24, "repeat": 2, "check": 3}
        assert {t.pair for t in trials if t.kind == "pair"} == {pair.id for pair in made.pairs}
        assert {t.left for t in trials if t.kind == "pair"} == {"A", "B"}
        for k, trial in enumerate(trials):
            if trial.kind == "repeat":
                first = next(n for n, t in enumerate(trials) if t.kind == "pair" and t.pair == trial.pair)
                assert k - first >= 4 and (trial.left, trial.right) == (
                    trials[first].right,
                    trials[first].left,
                )
            assert ("noise" in (trial.left, trial.right)) == (trial.kind == "check")
    sides = Counter(t.left for n in range(200) for t in plan_trials(made, f"r{n}") if t.kind == "pair")
    assert abs(sides["A"] / sum(sides.values()) - 0.5) < 0.03


def votes_of(rater: Rater, decide) -> list[Vote]:
    """Return all votes of a rater; `decide` returns A, B, tie or noise for a trial and a question."""
    votes = []
    for number, trial in enumerate(rater.trials):
        for question, _ in QUESTIONS:
            outcome = decide(trial, question)
            choice = "tie" if outcome == "tie" else "left" if trial.left == outcome else "right"
            votes.append(Vote(rater.name, number, trial, question, choice, 5.0))
    return votes


def test_votes_are_evaluated(tmp_path):
    made, rng = imaginary_study(tmp_path), random.Random(0)
    raters = [Rater(name, name, plan_trials(made, name)) for name in ("ann", "bob", "blind")]

    def prefer(trial: Trial, question: str) -> str:
        if trial.kind == "check":
            return "tie" if question == "instruction" else "A" if "A" in (trial.left, trial.right) else "B"
        return {"quality": "A", "preservation": "tie"}.get(question) or (
            "A" if int(trial.pair[1:]) % 4 else "B"
        )

    votes = votes_of(raters[0], prefer) + votes_of(raters[1], prefer)
    votes += votes_of(raters[2], lambda trial, _: rng.choice((trial.left, trial.right)))
    result = evaluate_votes(made, raters, votes)
    assert [rater.left_out for rater in result.raters] == [False, False, True]
    assert result.raters[0].consistent == result.raters[0].repeated == 6 and result.raters[0].checks == 6
    quality, preservation = result.questions["quality"], result.questions["preservation"]
    assert quality.votes == 48 and quality.is_clear and quality.shares["A"].mean == 1 > quality.preference.low
    assert preservation.preference.mean == 0.5 and not preservation.is_clear
    mixed = result.questions["instruction"]
    assert (
        mixed.preference == share([float(k % 4 > 0) for k in range(24)]) and mixed.alpha == mixed.kappa == 1
    )
    assert mixed.by_kind["kind1"].mean == 1 and mixed.by_kind["kind1"].low != mixed.by_kind["kind1"].low
    few = replace(made, pairs=made.pairs[:20])
    half = [v for v in votes if int(v.trial.pair[1:]) < 20]
    assert not evaluate_votes(few, raters, half).questions["quality"].is_clear
    page = vote_results.build_vote_report(result)
    assert "A is preferred" in page and "left out" in page and "no clear difference" in page
    file = tmp_path / "ratings.csv"
    file.write_text(vote_results.format_ratings(result, "quality"))
    ratings = read_ratings(file)
    assert len(ratings) == 24 * 2 * 2 and {r.score for r in ratings if r.method == "new"} == {1.0}
    file.write_text(vote_results.format_ratings(result))
    rows = [row for row in csv.DictReader(file.open()) if row["item"] == "item0" and row["method"] == "new"]
    assert {float(row["score"]) for row in rows} == {0.5}  # lost, tied and won
    assert outcome_of(replace(votes[0], choice="tie")) == "tie"


def test_names_of_raters_and_methods_are_text_in_the_report(tmp_path):
    made = replace(imaginary_study(tmp_path), a="<script>:x", b="b:x")
    rater = Rater("t", "<b>ann", plan_trials(made, "ann"))
    page = vote_results.build_vote_report(evaluate_votes(made, [rater], []))
    assert "<script>:" not in page and "<b>ann" not in page and made.methods == (made.a, made.b)


def test_agreement_against_worked_values():
    # Perfect agreement, and Krippendorff's published example of nominal data with missing votes
    # ("Computing Krippendorff's Alpha-Reliability", 2011, section C: alpha = 0.691 for two observers, 10 units).
    assert krippendorff_alpha([["a", "a"], ["b", "b"]]) == fleiss_kappa([["a", "a"], ["b", "b"]]) == 1
    first = "a a b b d c c c e d d a".split()
    second = "b a b b b c c c e d d d".split()
    assert krippendorff_alpha(list(zip(first, second, strict=True))) == pytest.approx(0.692, abs=0.001)
    for measure in (krippendorff_alpha, fleiss_kappa):
        assert measure([["a"], ["b"]]) is None and measure([["a", "a"]]) is None
    # Fourteen raters, ten items, five answers: Fleiss' kappa is 0.210.
    counts = (
        "0 0 0 0 14|0 2 6 4 2|0 0 3 5 6|0 3 9 2 0|2 2 8 1 1|7 7 0 0 0|3 2 6 3 0|2 5 3 2 2|6 5 2 1 0|0 2 2 3 7"
    )
    items = [[k for k, n in enumerate(map(int, row.split())) for _ in range(n)] for row in counts.split("|")]
    assert fleiss_kappa(items) == pytest.approx(0.210, abs=0.001)
    rng = random.Random(1)
    chance = [[rng.choice("abc") for _ in range(3)] for _ in range(3000)]
    assert abs(krippendorff_alpha(chance)) < 0.03 and abs(fleiss_kappa(chance)) < 0.03
