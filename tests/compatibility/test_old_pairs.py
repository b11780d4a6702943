"""Sets of pairs made before are open_dataset, found finished, and gone on with; the same seeds still give the same bytes."""

import json

import pytest

from data_synth.dataset.build import build_dataset, make_records, open_dataset
from data_synth.dataset.request import SynthRequest
from tests.compatibility import material
from v2v import InputError
from v2v.data import datasets, pair

OLD = material.expected()
SAME_MACHINE = material.versions() == OLD["versions"]


@pytest.fixture
def old(tmp_path, monkeypatch):
    folder = material.unpack("pairs", tmp_path)
    monkeypatch.chdir(folder)
    return folder


def same(found: dict, before: dict, exact: bool) -> None:
    """Byte for byte; where NumPy or OpenCV is another or the processor rounds otherwise, to half a level and to the word."""
    if exact:
        assert found == before
        return
    assert found.keys() == before.keys()
    for seed, was in before.items():
        now = {name: part for name, part in found[seed].items() if name not in ("sha256", "means")}
        assert now == {name: part for name, part in was.items() if name not in ("sha256", "means")}, seed
        assert found[seed].get("means") == pytest.approx(was.get("means"), abs=0.5), seed


@pytest.mark.parametrize("family", material.FAMILIES)
def test_the_same_seeds_give_the_same_pairs(family):
    same(material.made(material.FAMILIES[family]), OLD["pairs"][family], SAME_MACHINE)


def test_the_same_seeds_give_the_same_rooms():
    """Never byte for byte: OpenGL draws, and which one isn't known."""
    if material.simulator() != OLD["simulator"] or not SAME_MACHINE:
        pytest.skip("needs the extra scenes; another simulator or processor may let things fall otherwise")
    try:
        found = material.made(material.ROOMS)
    except InputError as error:
        pytest.skip(str(error))
    same(found, OLD["pairs"]["rooms"], False)


def test_an_old_set_is_read(old):
    found = datasets.open_dataset(old / "set")
    assert [material.sha(dict(found[i])) for i in range(len(found))] == OLD["set"]
    decoded = [pair.decode_pair(record) for record in open_dataset(old / "set")]
    assert [pair.seed for pair in decoded] == [5, 6, 7, 8, 9, 10]
    assert {pair.source.shape for pair in decoded} == {(2, 16, 24, 3)}


def test_an_old_survey_is_believed(old):
    unread = [None] * 6
    found = datasets.load_or_survey(old / "survey.json", "set", unread, material.WANTED)
    assert found.indices_by_size == {(2, 16, 24): [0, 1, 2, 3, 4, 5]} and (
        found.used_frames,
        found.all_frames,
    ) == (12, 12)


def test_the_same_request_makes_the_same_files(old, v2v, monkeypatch):
    monkeypatch.chdir(old)
    assert v2v("synth", "--out", "new", *material.SYNTH) == 0
    assert json.loads((old / "new/report.json").read_text()) == json.loads(
        (old / "set/report.json").read_text()
    )
    about, before = (json.loads((old / name / "dataset_info.json").read_text()) for name in ("new", "set"))
    [stored] = (old / "set").glob("*.array_record*")
    assert (about["name"], about["version"], about["fileFormat"]) == ("v2v_pairs", "1.1.0", "array_record")
    assert json.loads((old / "new/features.json").read_text()) == json.loads(
        (old / "set/features.json").read_text()
    )
    made = old / "new" / stored.name
    assert made.is_file()
    if SAME_MACHINE:
        assert made.read_bytes() == stored.read_bytes() and about["splits"] == before["splits"]


@pytest.mark.parametrize("name, words", [("set", material.SYNTH), ("footage", material.FOOTAGE)])
def test_an_old_set_is_finished(old, v2v, monkeypatch, capsys, name, words):
    monkeypatch.chdir(old)
    before = material.contents(old / name)
    assert v2v("synth", "--out", name, *words, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said == {"output": name} | json.loads((old / name / "report.json").read_text())
    assert material.contents(old / name) == before
    assert v2v("synth", "--out", name, *words, "--transition", "0.75") == 2
    assert "holds pairs of another request" in capsys.readouterr().err


def test_a_build_that_was_stopped_goes_on(old, monkeypatch):
    [hidden] = old.glob(".stopped.*.unfinished")
    asked = []

    def counted(seeds, **options):
        asked.extend(seeds)
        return make_records(seeds, **options)

    monkeypatch.setattr("data_synth.dataset.build.make_records", counted)
    report = build_dataset(SynthRequest(old / "stopped", **material.STOPPED))
    assert report["pairs"] == len(open_dataset(old / "stopped")) == 33 and not hidden.exists()
    assert min(asked) == material.STOPPED["seed"] + 32  # what lay in the old shard isn't made again
