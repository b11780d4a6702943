"""`v2v synth` as typed: options reach the engine, defaults are the engine's, bad requests are one line."""

import inspect
import json
import re
from pathlib import Path

import pytest

from data_synth.dataset import build
from data_synth.recipes import registry
from data_synth.recipes.published import PUBLISHED
from data_synth.recipes.sources import Sources


def synth_asked(monkeypatch) -> list:
    """What `synth` gets from the command line from now on: (arguments, keywords) of each call."""
    calls = []
    stand_in = lambda *words, **named: calls.append((words, named)) or {"pairs": 0}  # noqa: E731
    monkeypatch.setattr("data_synth.dataset.build.build_dataset", stand_in)
    return calls


def test_synth_flags_reach_the_engine(v2v, monkeypatch, capsys):
    calls = synth_asked(monkeypatch)
    words = (
        "--out o --pairs 7 --seed 5 --workers 2 --frames 5 --height 32 --width 48 --transition 0.25".split()
    )
    words += ["--recipes", "sepia,more saturated", "--clips", "shots", "--license", "CC BY 4.0"]
    words += ["--expert", "a.toml", "--expert", "b.toml", "--set", "ditto=d", "--set", "captions=c.json"]
    words += ["--operators", "wipe,dissolve", "--beam=--runner=FlinkRunner", "--unfinished", "gs://b"]
    assert v2v("synth", *words, "--writer", "w.toml", "--preview", "sheets", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"output": "o", "pairs": 0}
    [(positional, named)] = calls
    assert positional == ("o", 7, 5, 2) and callable(named.pop("progress"))
    assert named == {
        "edits": ("sepia", "more saturated"),
        "frames": 5,
        "height": 32,
        "width": 48,
        "transition": 0.25,
        "clips": "shots",
        "license": "CC BY 4.0",
        "experts": ["a.toml", "b.toml"],
        "sets": ["ditto=d", "captions=c.json"],
        "writer": "w.toml",
        "preview": "sheets",
        "operators": ("wipe", "dissolve"),
        "beam": ["--runner=FlinkRunner"],
        "unfinished": "gs://b",
    }


def test_synth_defaults_are_the_engines(v2v, monkeypatch):
    wanted = {name: p.default for name, p in inspect.signature(build.build_dataset).parameters.items()}
    calls = synth_asked(monkeypatch)
    assert v2v("synth", "--out", "o", "--pairs", "1") == 0
    [(positional, named)] = calls
    assert positional == ("o", 1, wanted["seed"], wanted["workers"])
    named.pop("progress")
    assert set(named) == set(wanted) - {"out", "pairs", "seed", "workers", "progress"}
    for name, value in named.items():
        assert (tuple(value) if isinstance(value, list) else value) == wanted[name], name


def test_synth_help_lists_every_recipe(v2v, capsys):
    assert v2v("synth", "--help") == 0
    listed = {word.strip(" :;()") for word in re.split(r"  +|,\s+|: | in | \(|\n", capsys.readouterr().out)}
    names = {*registry.recipe_names(Sources()), *PUBLISHED, "captions"}
    names = {re.sub("^(to|from|half)-", "", name) for name in names}
    assert names <= listed | {f"physics-{name}" for name in listed}


@pytest.mark.parametrize(
    "words, message",
    [
        (["--set", "ditto"], "NAME=PATH"),
        (["--recipes", "ditto"], "--set ditto=PATH"),
        (["--recipes", "fly"], "got 'fly'"),
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
