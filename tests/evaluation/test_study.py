"""The study: blind, shuffled, and scored right."""

import json
import random

import pytest

from tests.evaluation.sweeps import Shift, benchmark
from v2v.cli import eval, main
from v2v.errors import InputError
from v2v.evaluation import study
from v2v.evaluation.cache import SweepCache
from v2v.evaluation.metrics.builtin import FLICKER
from v2v.evaluation.sweep import results, runner
from v2v.evaluation.sweep.methods import EditingMethod
from v2v.evaluation.sweep.sweep import Sweep


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


def between(page, ident):
    return json.loads(page.split(f'id="{ident}">')[1].split("</script>")[0])


def test_page_is_blind_shuffled_and_reproducible(swept, tmp_path):
    out = tmp_path / "study.html"
    page_info = study.write_study(
        f"{swept}:bright", f"{swept}:dark", out, SweepCache(swept / "cache"), seed=3
    )
    assert page_info.pairs == 7  # one failed
    page, key = out.read_text(), json.loads((tmp_path / "study.key.json").read_text())
    assert 'bright"' not in page.replace("brighten", "") and "item" not in json.dumps(between(page, "data"))
    pairs = between(page, "data")["pairs"]
    assert [key["pairs"][p["id"]]["item"] for p in pairs] != sorted(v["item"] for v in key["pairs"].values())
    assert {v["left"] for v in key["pairs"].values()} == {"A", "B"}
    assert len(between(page, "data")["questions"]) == 3
    second_page = tmp_path / "again.html"
    study.write_study(f"{swept}:bright", f"{swept}:dark", second_page, SweepCache(swept / "cache"), seed=3)
    assert second_page.read_text() == page
    study.write_study(
        f"{swept}:bright", f"{swept}:dark", second_page, SweepCache(swept / "cache"), seed=4, limit=4
    )
    kinds = [v["kind"] for v in json.loads((tmp_path / "again.key.json").read_text())["pairs"].values()]
    assert sorted(kinds) == ["brighten", "brighten", "dim", "dim"]


def test_left_and_right_are_what_the_key_says(swept, tmp_path):
    import base64

    from v2v.video import video as codec

    out = tmp_path / "study.html"
    study.write_study(f"{swept}:bright", f"{swept}:dark", out, SweepCache(swept / "cache"))
    page, key = out.read_text(), json.loads((tmp_path / "study.key.json").read_text())
    media = between(page, "media")
    for pair in between(page, "data")["pairs"]:
        level = {}
        for side in ("left", "right"):
            (tmp_path / "clip.mp4").write_bytes(base64.b64decode(media[pair[side]]["data"]))
            level[key["pairs"][pair["id"]][side]] = codec.read_video(tmp_path / "clip.mp4").frames[-1].mean()
        assert level["A"] > level["B"] + 20


def votes_of(key, rater, prefer, rng, chance=1.0):
    answers_by_pair = {}
    for name, pair in key["pairs"].items():
        side = "left" if pair["left"] == prefer else "right"
        answers_by_pair[name] = {q: side if rng.random() < chance else "tie" for q, _ in study.QUESTIONS}
    return {"study": key["study"], "rater": rater, "votes": answers_by_pair}


def test_scoring_command(swept, tmp_path, capsys):
    rng, out = random.Random(0), tmp_path / "study.html"
    assert main.main(["eval", "ab", f"{swept}:bright", f"{swept}:dark", "--out", str(out)]) == 0
    key = json.loads((tmp_path / "study.key.json").read_text())
    for rater in ("ann", "bob"):
        (tmp_path / f"{rater}.json").write_text(json.dumps(votes_of(key, rater, "A", rng)))
    half = votes_of(key, "cid", "B", rng)
    half["votes"] = dict(list(half["votes"].items())[:3])
    (tmp_path / "cid.json").write_text(json.dumps(half))
    files = [str(tmp_path / f"{r}.json") for r in ("ann", "bob", "cid")]
    args = ["eval", "votes", str(tmp_path / "study.key.json"), *files, "--out", str(tmp_path / "v.json")]
    assert main.main(args) == 0
    assert "bright" in capsys.readouterr().err
    result = json.loads((tmp_path / "v.json").read_text())
    assert result["raters"] == 3 and result["votes"] == 3 * (7 + 7 + 3) and result["unanswered"] == 12
    q = result["questions"]["quality"]
    assert q["A"]["mean"] == pytest.approx((4 + 3 * 2 / 3) / 7) and q["tie"]["mean"] == 0
    assert q["A"]["low"] < q["A"]["mean"] < q["A"]["high"] <= 1
    # The same rater twice, another study, a file that is no vote, the same side twice.
    assert main.main([*args, "--json"]) == 0
    assert main.main(["eval", "votes", args[2], files[0], files[0], "--out", "x.json"]) == 2
    assert "voted in another file" in capsys.readouterr().err
    (tmp_path / "bad.json").write_text(json.dumps({**half, "study": "other"}))
    for bad in (str(tmp_path / "bad.json"), str(out)):
        assert main.main(["eval", "votes", args[2], bad, "--out", "x.json"]) == 2
    for sides in ((f"{swept}:bright",) * 2, (f"{swept}:bright", f"{swept}:none"), (str(swept), "x")):
        with pytest.raises(InputError):
            study.write_study(*sides, out, SweepCache(swept / "cache"))
    assert "ab A B" in eval.ABOUT or "eval ab" in eval.ABOUT


def test_alpha_against_worked_values():
    # Perfect agreement, and Krippendorff's published example of nominal data with missing votes
    # ("Computing Krippendorff's Alpha-Reliability", 2011, section C: alpha = 0.691 for two observers, 10 units).
    assert study.krippendorff_alpha([["a", "a"], ["b", "b"]]) == 1
    first = "a a b b d c c c e d d a".split()
    second = "b a b b b c c c e d d d".split()
    assert study.krippendorff_alpha(list(zip(first, second, strict=True))) == pytest.approx(0.692, abs=0.001)
    assert study.krippendorff_alpha([["a"], ["b"]]) is None and study.krippendorff_alpha([["a", "a"]]) is None
    rng = random.Random(1)
    chance = [[rng.choice("abc") for _ in range(3)] for _ in range(3000)]
    assert abs(study.krippendorff_alpha(chance)) < 0.03
