"""Agreement of scores with people: exact values on small tables, coverage of the intervals, and what the command writes."""

import json
import math

import numpy as np
import pytest
from scipy import stats

from v2v.cli import main
from v2v.errors import InputError
from v2v.evaluation import calibration as calibration_module
from v2v.evaluation.calibration import PEOPLE, Rating, calibrate, read_ratings

COLUMNS = [
    {"name": "good", "better": "higher", "identity": {"metric": "good"}},
    {"name": "bad", "better": "lower", "identity": {"metric": "bad"}},
    {"name": "size", "better": "neither", "identity": {"metric": "size"}},
]


def run_of(scores: dict[tuple[str, str], dict[str, float]]) -> dict:
    """Return the parts of results.json that are read, for scores by item and method."""
    items, methods = ({key[k] for key in scores} for k in (0, 1))
    return {
        "items": [{"id": item} for item in sorted(items)],
        "methods": [{"name": method} for method in sorted(methods)],
        "edits": [{"item": i, "method": m, "status": "ok"} for i, m in scores],
        "scores": [{"item": i, "method": m, "values": values} for (i, m), values in scores.items()],
        "columns": COLUMNS,
    }


def test_perfect_reversed_and_tied_scores():
    outputs = [(f"i{k}", method) for k in range(12) for method in "abc"]
    rng = np.random.default_rng(0)
    truth = dict(zip(outputs, rng.permutation(36).tolist(), strict=True))
    ratings = [Rating(*output, "r", float(value)) for output, value in truth.items()]
    perfect = run_of({o: {"good": v, "bad": v, "size": v} for o, v in truth.items()})
    good, bad = calibrate(ratings, perfect).agreements
    assert (good.spearman.mean, good.kendall.mean, good.pairwise.mean) == pytest.approx((1, 1, 1))
    assert (bad.spearman.mean, bad.kendall.mean, bad.pairwise.mean) == pytest.approx((-1, -1, 0))
    assert (good.outputs, good.items, good.pairs) == (36, 12, 36)
    assert good.pairwise.low < 0.9, "certainty from twelve items"
    tied = run_of({o: {"good": 1.0, "bad": v % 2} for o, v in truth.items()})
    good = calibrate(ratings, tied).agreements[0]
    assert good.pairwise.mean == 0.5 and math.isnan(good.spearman.mean) and math.isnan(good.kendall.low)


def test_values_are_scipy_s_and_ratings_of_raters_are_brought_to_one_scale():
    rng = np.random.default_rng(1)
    outputs = [(f"i{k}", method) for k in range(20) for method in "ab"]
    quality = dict(zip(outputs, rng.normal(size=40).tolist(), strict=True))
    scores = {o: {"good": q + rng.normal()} for o, q in quality.items()}
    # The second rater uses a scale a hundred times as wide, which must not make the first one's ratings nothing.
    first = {o: round(2 * (q + 0.3 * rng.normal())) for o, q in quality.items()}
    second = {o: 300 + 100 * (q + 0.3 * rng.normal()) for o, q in quality.items()}
    ratings = [Rating(*o, name, given[o]) for name, given in (("x", first), ("y", second)) for o in outputs]
    calibration = calibrate(ratings, run_of(scores))
    good, people = calibration.agreements[0], calibration.agreements[-1]
    mean = np.mean([stats.zscore(list(given.values())) for given in (first, second)], 0)
    values = [scores[o]["good"] for o in outputs]
    assert good.spearman.mean == pytest.approx(stats.spearmanr(mean, values).statistic)
    assert good.kendall.mean == pytest.approx(stats.kendalltau(mean, values).statistic)
    assert good.spearman.low < good.spearman.mean < good.spearman.high
    assert people.column == PEOPLE and people.spearman.mean == pytest.approx(
        stats.spearmanr(list(first.values()), list(second.values())).statistic
    )
    assert people.pairwise.mean > good.pairwise.mean and calibration.raters == 2


@pytest.mark.slow
def test_intervals_of_correlations_cover_95_percent(monkeypatch):
    """Outputs of one item share a part of both values, which an interval over outputs would take for evidence."""
    monkeypatch.setattr(calibration_module, "DRAWS", 200)
    covered = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        common, own = rng.normal(size=(24, 1)), rng.normal(size=(24, 3))
        people, scores = common + own, 0.7 * common + 0.7 * own + rng.normal(size=(24, 3))
        outputs = [(f"i{k}", m) for k in range(24) for m in "abc"]
        ratings = [Rating(*o, "r", v) for o, v in zip(outputs, people.ravel(), strict=True)]
        run = run_of({o: {"good": v} for o, v in zip(outputs, scores.ravel(), strict=True)})
        run["columns"] = COLUMNS[:1]
        interval = calibrate(ratings, run).agreements[0].spearman
        # Of jointly normal values: 6 / pi asin(r / 2).
        correlation = 1.4 / math.sqrt(2 * (0.49 * 2 + 1))
        covered.append(interval.low < 6 / math.pi * math.asin(correlation / 2) < interval.high)
    assert np.mean(covered) > 0.88


def test_ratings_that_cannot_be_read(tmp_path):
    file = tmp_path / "r.csv"
    for text, words in (
        ("item,method,score\na,b,1\n", "rater is missing"),
        ("item,method,rater,score\na,b,x,good\n", 'expected a number, got "good"'),
        ("item,method,rater,score\na,b,x,nan\n", "expected a number"),
        ("item,method,rater,score\na,b,x,1\na,b,x,2\n", "x twice for item a"),
        ("item,method,rater,score\n", "got none"),
    ):
        file.write_text(text)
        with pytest.raises(InputError, match=words):
            read_ratings(file)
    with pytest.raises(InputError, match="1 no such item in the run"):
        calibrate([Rating("z", "a", "x", 1.0)], run_of({("i", "a"): {"good": 1.0}}))


SWEEP = """
from tests.evaluation.sweeps import Shift, benchmark
from v2v.evaluation.metrics.builtin import PSNR
from v2v.evaluation.sweep.methods import EditingMethod
from v2v.evaluation.sweep.sweep import Sweep

def sweep(folder):
    edits = [EditingMethod(f"by {n}", editor=lambda n=n: Shift(n), revision=str(n)) for n in (0, 20, 38)]
    return Sweep(benchmark(folder, n=2, T=3), edits, (PSNR,))
"""


def test_the_command_and_the_report(tmp_path, capsys):
    file, out, table = tmp_path / "s.py", tmp_path / "out", tmp_path / "ratings.csv"
    file.write_text(SWEEP)
    assert main.main(["eval", "calibrate", str(table), "--out", str(out)]) == 2
    assert "expected the folder of a run" in capsys.readouterr().err
    assert main.main(["eval", str(file), "--out", str(out)]) == 0
    rows = [f"item{k},by {n},ann,{n}" for k in range(2) for n in (0, 20, 38)]
    table.write_text("\n".join(["item,method,rater,score", *rows, "item7,by 0,ann,1"]) + "\n")
    capsys.readouterr()
    assert main.main(["eval", "calibrate", str(table), "--out", str(out), "--json"]) == 0
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert document["columns"][0]["pairwise"]["mean"] == 1.0 and document["ratings"] == 6
    assert "1 rating not used: no such item in the run" in printed.err
    assert "| PSNR | 0.9" in (out / "calibration.md").read_text()
    assert main.main(["eval", str(file), "--out", str(out)]) == 0
    run = json.loads((out / "results.json").read_text())
    assert run["calibration"]["columns"][0]["column"] == "PSNR"
    # Scores of another metric under the same name have another agreement.
    file.write_text(SWEEP.replace("(PSNR,)", "(__import__('dataclasses').replace(PSNR, version=9),)"))
    assert main.main(["eval", str(file), "--out", str(out)]) == 0
    assert json.loads((out / "results.json").read_text())["calibration"]["columns"] == []
