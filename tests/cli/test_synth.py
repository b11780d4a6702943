"""`v2v synth` as typed: options reach the engine, defaults are the engine's, bad requests are one line."""

import json
import re
from pathlib import Path

import pytest

from data_synth.dataset.request import SynthRequest
from data_synth.recipes import registry
from data_synth.recipes.published import PUBLISHED
from data_synth.recipes.sources import Sources


def record_requests(monkeypatch) -> list[SynthRequest]:
    """Record the requests that `v2v synth` makes from now on, instead of building them."""
    requests = []

    def record(request, progress):
        assert callable(progress)
        requests.append(request)
        return {"pairs": 0}

    monkeypatch.setattr("data_synth.dataset.build.build_dataset", record)
    return requests


def test_synth_flags_reach_the_engine(v2v, monkeypatch, capsys):
    requests = record_requests(monkeypatch)
    words = (
        "--out o --pairs 7 --seed 5 --workers 2 --frames 5 --height 32 --width 48 --transition 0.25".split()
    )
    words += ["--recipes", "sepia,more saturated", "--clips", "shots", "--license", "CC BY 4.0"]
    words += ["--expert", "a.toml", "--expert", "b.toml", "--import", "ditto=d", "--set", "captions=c.json"]
    words += ["--operators", "wipe,dissolve", "--beam=--runner=FlinkRunner", "--unfinished", "gs://b"]
    assert v2v("synth", *words, "--writer", "w.toml", "--preview", "sheets", "--json") == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"output": "o", "pairs": 0} and "called --import now" in captured.err
    assert requests == [
        SynthRequest(
            "o",
            7,
            5,
            2,
            edits=("sepia", "more saturated"),
            frames=5,
            height=32,
            width=48,
            transition=0.25,
            operators=("wipe", "dissolve"),
            sources=Sources(
                "shots",
                "CC BY 4.0",
                ("a.toml", "b.toml"),
                (("ditto", "d"), ("captions", "c.json")),
                "w.toml",
            ),
            preview="sheets",
            beam=("--runner=FlinkRunner",),
            unfinished="gs://b",
        )
    ]


def test_synth_defaults_are_the_engines(v2v, monkeypatch):
    requests = record_requests(monkeypatch)
    assert v2v("synth", "--out", "o", "--pairs", "1") == 0
    assert requests == [SynthRequest("o", 1)]


def test_synth_help_lists_every_recipe(v2v, capsys):
    assert v2v("synth", "--help") == 0
    listed = {word.strip(" :;()") for word in re.split(r"  +|,\s+|: | in | \(|\n", capsys.readouterr().out)}
    names = {*registry.recipe_names(Sources()), *PUBLISHED, "captions"}
    names = {re.sub("^(to|from|half|undo|remove)-", "", name) for name in names}
    assert names <= listed | {f"physics-{name}" for name in listed}


@pytest.mark.parametrize(
    "words, message",
    [
        (["--import", "ditto"], "NAME=PATH"),
        (["--import", "paris=x"], "--import paris: expected one of captions, pairs"),
        (["--recipes", "ditto"], "--import ditto=PATH"),
        (["--recipes", "fly"], "--recipes fly: no such recipe"),
        (["--expert", "none.toml"], "none.toml"),
        (["--recipes", "removal", "--clips", "none"], "none"),
        (["--recipes", "image"], "--frames 1"),
        (["--height", "8"], "16 x 16"),
        (["--transition", "2"], "between 0 and 1"),
        (["--preview", "file"], "--preview file"),
        (["--preview", "file/sheets"], "--preview file/sheets"),
    ],
)
def test_bad_synth_requests_are_one_line_and_exit_2(v2v, capsys, words, message):
    Path("file").touch()
    assert v2v("synth", "--out", "o", "--pairs", "1", *words) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("v2v: error: ") and captured.err.count("\n") == 1
    assert message in captured.err
    assert [p.name for p in Path().iterdir()] == ["file"]
