"""`v2v pairs view | stats | drop | merge | split | extend | caption | export` on small sets."""

import io
import json
import re
import shutil
import tarfile
import tomllib

import numpy as np
import pytest

from data_synth.dataset.build import build_dataset, open_dataset
from data_synth.dataset.request import SynthRequest
from data_synth.recipes import own_pairs
from data_synth.recipes.sources import Sources
from v2v.data import datasets
from v2v.data.pair import decode_pair
from v2v.data.pair_table import read_table
from v2v.errors import InputError
from v2v.video import clip_pair
from v2v.video import video as codec

SIZE = {"frames": 3, "height": 32, "width": 48, "transition": 0.0}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A set of eight pairs and one of four."""
    folder = tmp_path_factory.mktemp("sets")
    build_dataset(SynthRequest(folder / "a", 8, edits=("sepia", "insert", "to-canny"), **SIZE))
    build_dataset(SynthRequest(folder / "b", 4, seed=500, edits=("night",), **SIZE))
    return folder


@pytest.fixture
def sets(made, tmp_path):
    for name in "ab":
        shutil.copytree(made / name, tmp_path / name)
    return tmp_path


def records(folder):
    opened = open_dataset(folder)
    return [opened[i] for i in range(len(opened))]


def run(v2v, capsys, *words):
    code = v2v("pairs", *map(str, words), "--json")
    captured = capsys.readouterr()
    return json.loads(captured.out) if code == 0 else captured.err


def test_stats_and_view(v2v, capsys, sets):
    table = run(v2v, capsys, "stats", sets / "a")
    pairs = [decode_pair(record) for record in records(sets / "a")]
    assert table["pairs"] == 8 and sum(table["edits"].values()) == 8 and table["bytes"] > 1000
    assert table["instructions"] == sum(len(pair.instructions) for pair in pairs)
    (sets / "a/pairs.jsonl").unlink()  # a set of before
    assert run(v2v, capsys, "stats", sets / "a") | {"bytes": 0, "output": ""} == table | {
        "bytes": 0,
        "output": "",
    }
    assert run(v2v, capsys, "view", sets / "a", "-o", sets / "p.html", "--limit", "3")["pairs"] == 3
    page = (sets / "p.html").read_text()
    assert page.count("class=item") == 3 and "save votes" in page and 'data-set="a"' in page
    assert (
        run(v2v, capsys, "view", sets / "a", "-o", sets / "q.html", "--edit", "sepia")["pairs"]
        == table["edits"]["sepia"]
    )
    assert "expected pairs that match" in run(
        v2v, capsys, "view", sets / "a", "-o", sets / "r.html", "--words", "zebra"
    )
    assert not (sets / "r.html").exists()


def test_drop_by_votes_and_by_edit(v2v, capsys, sets):
    before = records(sets / "a")
    (sets / "votes.json").write_text(json.dumps({"set": "a", "keep": [1], "drop": [0, 3]}))
    assert (
        run(v2v, capsys, "drop", sets / "a", "--votes", sets / "votes.json", "--out", sets / "c")["pairs"]
        == 6
    )
    assert records(sets / "c") == [before[i] for i in (1, 2, 4, 5, 6, 7)]
    sepia = sum(record["edit"] == b"sepia" for record in before)
    assert run(v2v, capsys, "drop", sets / "a", "--edit", "sepia", "--out", sets / "d")["pairs"] == 8 - sepia
    report = json.loads((sets / "d/report.json").read_text())
    assert "sepia" not in report["edits"] and report["request"]["command"] == "v2v pairs drop"
    assert datasets.open_pairs(sets / "d").measure(0).size == (3, 32, 48)
    for words, message in (
        (["--out", sets / "e"], "expected what to drop"),
        (["--out", sets / "d", "--edit", "sepia"], "expected a new folder"),
        (["--out", sets / "e", "--area-below", "2"], "none is left"),
    ):
        assert message in run(v2v, capsys, "drop", sets / "a", *words)
    (sets / "votes.json").write_text(json.dumps({"keep": [], "drop": [8]}))
    assert "votes on 8 pairs" in run(
        v2v, capsys, "drop", sets / "a", "--votes", sets / "votes.json", "--out", sets / "e"
    )
    assert not (sets / "e").exists() and not list(sets.glob(".*"))


def test_merge_and_split(v2v, capsys, sets):
    assert run(v2v, capsys, "merge", sets / "a", sets / "b", sets / "a", "--out", sets / "m")["pairs"] == 12
    assert records(sets / "m") == records(sets / "a") + records(sets / "b")
    told = run(v2v, capsys, "merge", sets / "b", sets / "b", "--keep-duplicates", "--out", sets / "n")
    assert told["pairs"] == 8
    parts = run(v2v, capsys, "split", sets / "m", "--parts", "x=0.5,y=0.5", "--out", sets / "s")["parts"]
    assert sum(parts.values()) == 12 == len(records(sets / "s/x")) + len(records(sets / "s/y"))
    for text in ("x=1", "x=0,y=1", "x=a,y=1", "../x=1,y=1"):
        assert "--parts" in run(v2v, capsys, "split", sets / "m", "--parts", text, "--out", sets / "t")


def test_an_extended_set_is_that_of_one_request(v2v, capsys, sets):
    assert run(v2v, capsys, "extend", sets / "a", "--pairs", "14", "--out", sets / "more")["pairs"] == 14
    build_dataset(SynthRequest(sets / "whole", 14, edits=("sepia", "insert", "to-canny"), **SIZE))
    assert records(sets / "more") == records(sets / "whole")
    for name in ("report.json", "pairs.jsonl"):
        assert (sets / "more" / name).read_bytes() == (sets / "whole" / name).read_bytes()
    assert "expected more than the 8 pairs" in run(
        v2v, capsys, "extend", sets / "a", "--pairs", "8", "--out", sets / "x"
    )


def test_an_extended_set_of_footage_drops_what_it_has_already(v2v, capsys, tmp_path):
    (tmp_path / "clips").mkdir()
    for name in range(4):
        video = np.random.default_rng(name).integers(0, 256, (5, 32, 48, 3), np.uint8)
        codec.write_video(codec.Video.from_array(video, 10), tmp_path / f"clips/{name}.mp4")
    how = {"edits": ("to-negation",), "sources": Sources(clips=str(tmp_path / "clips"))} | SIZE
    build_dataset(SynthRequest(tmp_path / "a", 3, **how))
    build_dataset(SynthRequest(tmp_path / "whole", 5, **how))
    assert (
        run(v2v, capsys, "extend", tmp_path / "a", "--pairs", "5", "--out", tmp_path / "more")["pairs"] == 5
    )
    assert records(tmp_path / "more") == records(tmp_path / "whole")
    assert (tmp_path / "more/report.json").read_bytes() == (tmp_path / "whole/report.json").read_bytes()
    (tmp_path / "clips/0.mp4").unlink()
    assert "its sources or the recipes' versions have changed" in run(
        v2v, capsys, "extend", tmp_path / "a", "--pairs", "6", "--out", tmp_path / "x"
    )


def test_texts_go_out_and_come_back(v2v, capsys, sets):
    assert run(v2v, capsys, "caption", sets / "b", "--write", sets / "t.jsonl")["pairs"] == 4
    lines = [json.loads(line) for line in (sets / "t.jsonl").read_text().splitlines()]
    lines[2]["instructions"] = ["make it look like a night in Malmö"]
    del lines[2]["source_caption"]
    (sets / "t.jsonl").write_text("\n".join(json.dumps(line) for line in lines[1:3]))
    told = run(v2v, capsys, "caption", sets / "b", "--read", sets / "t.jsonl", "--out", sets / "c")
    assert (told["pairs"], told["changed"]) == (4, 2)
    before, after = ([decode_pair(record) for record in records(sets / name)] for name in "bc")
    assert after[2].instructions == ("make it look like a night in Malmö",)
    assert (
        after[2].source_caption == before[2].source_caption
        and after[0].instructions == before[0].instructions
    )
    np.testing.assert_array_equal(after[2].target, before[2].target)
    for text in (
        "{}",
        '{"position": 4}',
        '{"position": 0, "instructions": []}',
        '{"position": 0, "source_caption": 3}',
    ):
        (sets / "t.jsonl").write_text(text)
        assert "line 1: expected" in run(
            v2v, capsys, "caption", sets / "b", "--read", sets / "t.jsonl", "--out", sets / "d"
        )
    assert not (sets / "d").exists()


@pytest.mark.parametrize("layout", ["diffsynth", "huggingface"])
def test_exports_are_tables_that_training_reads(v2v, capsys, sets, layout):
    out = sets / layout
    assert run(v2v, capsys, "export", sets / "a", "--to", layout, "--fps", "8", "--out", out)["pairs"] == 8
    tables = [out, out / "metadata_with_reference.csv"] if layout == "diffsynth" else [out]
    rows = sorted((row for table in tables for row in read_table(table).pairs), key=lambda row: row.target)
    if layout == "diffsynth":  # whose reader stops at an empty cell
        assert all(
            "" not in line.split(",")
            for table in out.glob("*.csv")
            for line in table.read_text().splitlines()
        )
    pairs = [decode_pair(record) for record in records(sets / "a")]
    assert [row.edit for row in rows] == [pair.edit for pair in pairs] and rows[0].license == "Apache-2.0"
    for row, pair in zip(rows, pairs, strict=True):
        clips = clip_pair.open_clip_pair(row.source, row.target, row.mask)
        assert (clips.count, clips.fps) == (3, 8.0) and row.instructions[0] == pair.instructions[0]
        moment = list(clips.iterate())[1]
        assert (
            np.abs(moment.target.astype(int) - pair.target[1]).mean() < 8
        )  # a quarter of the color at 48x32
        assert (row.mask is None) == (bool(pair.mask.all()) and layout != "diffsynth")
        assert (row.reference is None) == (pair.reference is None)


def test_exports_for_musubi_and_webdataset(v2v, capsys, sets):
    assert run(v2v, capsys, "export", sets / "a", "--to", "musubi", "--out", sets / "m")["pairs"] == 8
    (block,) = tomllib.loads((sets / "m/dataset.toml").read_text())["datasets"]
    assert block["resolution"] == [48, 32] and block["target_frames"] == [3]
    lines = [json.loads(line) for line in open(block["video_jsonl_file"])]
    assert len(lines) == 8 and all(
        codec.read_video(line["control_path"]).frames.shape == (3, 32, 48, 3) for line in lines[:2]
    )
    assert (
        run(v2v, capsys, "export", sets / "a", "--to", "webdataset", "--out", sets / "w", "--edit", "sepia")[
            "pairs"
        ]
        > 0
    )
    with tarfile.open(sets / "w/pairs-000000.tar") as archive:
        names = archive.getnames()
        facts = json.load(archive.extractfile("000000000.json"))
    assert {"000000000.json", "000000000.source.mp4", "000000000.target.mp4"} <= set(names) and facts[
        "edit"
    ] == "sepia"
    assert all(
        re.fullmatch(r"\d{9}\.(json|(source|target|mask)\.mp4|reference\.png)", name) for name in names
    )


@pytest.mark.parametrize("layout", ["huggingface", "webdataset"])
def test_exports_come_back(v2v, capsys, sets, layout, tmp_path, monkeypatch):
    """All that a set says of a pair but its seed: clips, mask, reference, words, captions, when the edit is on."""
    monkeypatch.setenv("V2V_CACHE", str(tmp_path / "cache"))
    late = SIZE | {"frames": 8, "transition": 1.0}
    build_dataset(SynthRequest(tmp_path / "late", 6, edits=("sepia", "recolour"), **late))
    run(v2v, capsys, "export", tmp_path / "late", "--to", layout, "--fps", "8", "--out", tmp_path / "out")
    recipe = own_pairs.OwnPairsRecipe(read_table(tmp_path / "out"))
    pairs = [decode_pair(record) for record in records(tmp_path / "late")]
    assert len(recipe.table.pairs) == 6 and any(pair.active != (0, 8) for pair in pairs)
    for number, pair in enumerate(pairs):
        back = recipe(number, 8, 32, 48)
        assert np.abs(back.target.astype(int) - pair.target).mean() < 8
        assert (back.active, back.instructions, back.edit) == (pair.active, pair.instructions, pair.edit)
        assert (back.source_caption, back.target_caption) == (pair.source_caption, pair.target_caption)
        assert abs(float((back.mask > 0).mean()) - float((pair.mask > 0).mean())) < 0.02
        assert (back.reference is None) == (pair.reference is None)
        assert back.provenance["license"] == "Apache-2.0"


def test_tars_of_others_are_read(tmp_path, monkeypatch):
    """Keys with folders, texts beside clips, other names of sides, a range of files; what is no pair costs itself, and no name leaves the cache folder."""
    monkeypatch.setenv("V2V_CACHE", str(tmp_path / "cache"))
    clip = tmp_path / "c.mp4"
    codec.write_video(codec.Video.from_array(np.full((3, 32, 48, 3), 90, np.uint8), 8), clip)

    def pack(path, members):
        with tarfile.open(path, "w") as archive:
            for name, content in members:
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))

    data = clip.read_bytes()
    pack(
        tmp_path / "p-000.tar",
        [
            ("a/1.before.mp4", data),
            ("a/1.after.mp4", data),
            ("a/1.txt", b"make it snow\n"),
            ("../../2.mp4", data),
            ("../../2.json", b"{"),
        ],
    )
    pack(
        tmp_path / "p-001.tar",
        [
            ("3.control.mp4", data),
            ("3.mp4", data),
            ("3.json", b'{"prompt": "night", "license": "MIT"}'),
            ("3.npy", b"x"),
        ],
    )
    table = read_table(tmp_path / "p-{000..001}.tar")
    assert [row.instructions for row in table.pairs] == [("make it snow",), ("night",)]
    assert table.pairs[1].license == "MIT" and {row.kind for row in table.rows if row not in table.pairs} == {
        "no source"
    }
    assert {path.name for path in tmp_path.iterdir()} == {"c.mp4", "p-000.tar", "p-001.tar", "cache"}
    assert len(datasets.open_pairs(tmp_path / "p-001.tar")) == 1
    (tmp_path / "p-001.tar").write_bytes(b"x" * 600)
    with pytest.raises(InputError, match="p-001.tar: expected a tar file of pairs"):
        read_table(tmp_path / "p-{000..001}.tar")
    with pytest.raises(InputError, match="gone.tar: can't be read"):
        read_table(tmp_path / "gone.tar")


def test_folders_with_a_table_for_each_split(tmp_path):
    for name in ("train", "validation"):
        (tmp_path / name).mkdir()
        line = {"source_file_name": "a.mp4", "target_file_name": "b.mp4", "prompt": f"make it {name}"}
        (tmp_path / name / "metadata.jsonl").write_text(json.dumps(line))
    train, held_out = read_table(tmp_path).pairs
    assert (train.split, train.place, train.source) == ("train", "train, line 1", tmp_path / "train/a.mp4")
    assert (held_out.split, held_out.instructions) == ("held_out", ("make it validation",))


def test_other_programs_read_their_exports(v2v, capsys, sets):
    hub = pytest.importorskip("datasets")
    run(v2v, capsys, "export", sets / "b", "--to", "huggingface", "--out", sets / "h")
    loaded = hub.load_dataset(
        "videofolder", data_dir=str(sets / "h"), split="train", cache_dir=str(sets / "cache")
    )
    assert len(loaded) == 4 and loaded[0]["edit"] == "night"
    wds = pytest.importorskip("webdataset")
    run(v2v, capsys, "export", sets / "b", "--to", "webdataset", "--out", sets / "w")
    samples = list(wds.WebDataset(str(sets / "w/pairs-000000.tar"), shardshuffle=False))
    assert len(samples) == 4 and {"source.mp4", "target.mp4", "json"} <= samples[0].keys()
