"""Edits and sweeps finished before aren't done again."""

import json
import shutil
from pathlib import Path

import pytest

import v2v as package
from tests.compatibility import material, sweep_old
from tests.fake_model import FakePretrained
from v2v import EasyV2VEditor
from v2v.cli import main

pytestmark = pytest.mark.skipif(
    package.__version__ != "0.1.0", reason="another version of v2v does all anew, on purpose"
)


@pytest.fixture
def old(tmp_path, monkeypatch):
    folder, models = material.unpack("results", tmp_path), material.unpack("models", tmp_path)
    for name in ("model", "lora"):
        shutil.move(models / name, folder / name)
    monkeypatch.chdir(folder)
    return folder


def run(capsys, *words) -> dict:
    capsys.readouterr()
    assert main.main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def unchanged(old, name):
    return {path: data for path, data in material.contents(old / name).items() if path != "results.jsonl"}


def test_an_old_list_of_edits_is_done(old, monkeypatch, capsys):
    fake = FakePretrained()
    monkeypatch.setattr("v2v.pipeline.editor.EasyV2VEditor", lambda model: EasyV2VEditor(fake))
    before = unchanged(old, "fake")
    said = run(capsys, "edit", "--manifest", "fake.jsonl", "--out", "fake", *material.FAKE)
    assert (said["done"], said["skipped"], said["failed"]) == (0, 4, 0) and not fake.calls
    assert unchanged(old, "fake") == before
    rows = [json.loads(line) for line in (old / "fake/results.jsonl").read_text().splitlines()]
    assert [row["line"] for row in rows] == [1, 2, 3, 4] and "white everywhere" in rows[2]["notes"][0]


def test_an_old_list_of_edits_with_adapters_is_done(old, capsys):
    before = unchanged(old, "tiny")
    said = run(capsys, "edit", "--manifest", "tiny.jsonl", "--out", "tiny", *material.TINY)
    assert (said["done"], said["skipped"], said["failed"]) == (0, 2, 0)
    assert unchanged(old, "tiny") == before


def figures(value, old_value):
    """What an old document has, less the intervals: those of few items and of wins with ties were too short or too wide."""
    if isinstance(old_value, dict):
        return {key: figures(value[key], old_value[key]) for key in old_value if key not in ("low", "high")}
    return [*map(figures, value, old_value)] if isinstance(old_value, list) else value


def test_an_old_sweep_is_done(old, capsys):
    before = json.loads((old / "sweep/results.json").read_text())
    work = {kind: material.contents(old / "sweep/cache" / kind) for kind in ("edits", "scores")}
    # By which code it was done nobody knows, so that without --any-code it is done again, and the plan says so.
    plan = run(capsys, "eval", sweep_old.__file__, "--out", "sweep", "--plan")["plan"]
    assert (plan["edits"], plan["edits_cached"], plan["other_code"]) == (6, 0, {"edits": 6})
    plan = run(capsys, "eval", sweep_old.__file__, "--out", "sweep", "--any-code", "--plan")["plan"]
    assert plan["commits"]["edits"] == {"unknown": 6}
    assert (plan["edits"], plan["edits_cached"], plan["scores"]) == (0, 6, 0)
    assert plan["scores_cached"] == before["plan"]["scores"] > 0
    said = run(capsys, "eval", sweep_old.__file__, "--out", "sweep", "--any-code")
    assert (said["edits"], said["scores"], said["problems"]) == (0, 0, 0)
    assert work == {kind: material.contents(old / "sweep/cache" / kind) for kind in work}
    now = json.loads((old / "sweep/results.json").read_text())
    assert now.keys() - before.keys() == {"costs"} and before.keys() <= now.keys()
    for item in now["items"] + before["items"]:
        item["source"] = Path(item["source"]).name
    assert len(now["benchmark"].pop("contents")) == 64  # a hash, new beside the old keys
    for column in now["columns"] + before["columns"]:
        column.pop("about")  # the words for the report
    for name in ("schema", "benchmark", "methods", "columns", "kinds", "items", "scores"):
        assert now[name] == before[name], name
    for name in ("summary", "wins"):
        assert figures(now[name], before[name]) == figures(before[name], before[name]), name
