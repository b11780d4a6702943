"""A manifest under Beam: the same files and results as on one machine, whoever began it, and one line where it can't go on."""

import json
import os
from pathlib import Path

import pytest

from tests.example_clips import picture
from tests.fake_model import FakePretrained
from v2v import EasyV2VEditor, InputError, Video
from v2v.pipeline import batch, distributed_batch, manifest
from v2v.runtime import distributed_jobs

pytest.importorskip("apache_beam")

LINES = [
    {"video": "a.mp4", "instruction": "make it grey", "output": "grey.mp4"},
    {"video": "none.mp4", "instruction": "make it grey"},
    {"video": "a.mp4", "instruction": "make it negative", "output": "n.mp4", "mask": "4,4,20,20", "seed": 3},
    {"video": "a.mp4", "instruction": "make it negative", "output": "grey.mp4"},
]


@pytest.fixture
def clips(v2v):
    Video.from_array(picture(6, 32, 48)).save("a.mp4")
    Path("jobs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES))
    return v2v


def results(out):
    rows = [json.loads(line) for line in Path(out, "results.jsonl").read_text().splitlines()]
    return [
        {name: row[name] for name in ("line", "status", "report", "notes")}
        | {"output": Path(row["output"]).name}
        for row in rows
    ]


def outputs(out):
    return {path.name: path.read_bytes() for path in Path(out).iterdir() if path.suffix == ".mp4"}


def test_beam_gives_the_same_files_and_results(clips, capsys):
    assert clips("edit", "--manifest", "jobs.jsonl", "--out", "own") == 1
    alone = capsys.readouterr().err
    assert clips("edit", "--manifest", "jobs.jsonl", "--out", "beam", "--beam", "--json") == 1
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert (report["done"], report["failed"]) == (2, 2)
    assert results("beam") == results("own") and outputs("beam") == outputs("own")
    assert set(outputs("beam")) == {"grey.mp4", "n.mp4"}
    assert "output grey.mp4 is line 1's too" in captured.err and "is line 1's too" in alone
    assert not [path for path in Path("beam/.jobs").iterdir() if path.name.startswith("run-")]


def test_a_manifest_goes_on_where_it_stood_on_either_way(clips, capsys):
    """What one machine finished is not edited again under Beam, and the other way round; what failed is tried again."""
    assert clips("edit", "--manifest", "jobs.jsonl", "--out", "made", "--beam") == 1
    os.remove("made/n.mp4")
    Video.from_array(picture(6, 32, 48, 2)).save("none.mp4")
    assert clips("edit", "--manifest", "jobs.jsonl", "--out", "made") == 1
    statuses = [row["status"] for row in results("made")]
    assert statuses == ["skipped", "done", "done", "failed"]
    os.remove("made/grey.mp4")
    assert clips("edit", "--manifest", "jobs.jsonl", "--out", "made", "--beam") == 1
    assert [row["status"] for row in results("made")] == ["done", "skipped", "skipped", "failed"]


def test_a_worker_that_dies_leaves_what_it_finished(clips, monkeypatch):
    jobs = manifest.read_manifest("jobs.jsonl")
    writes = []

    def load_editor():
        editor = EasyV2VEditor(FakePretrained())
        write = editor.write

        def write_or_die(*args, **options):
            writes.append(args[1].name)
            if args[1].name == "n.mp4":
                raise KeyboardInterrupt  # no Exception, as little as a killed process is
            return write(*args, **options)

        editor.write = write_or_die
        return editor

    def run_in_order(function, numbers, workers, options):
        """A runner that calls the first job twice, as those do that lost a worker, and dies with the third."""
        try:
            for number in (0, 0, 1, 2):
                function(number)
        except KeyboardInterrupt:
            raise distributed_jobs.RunnerFailedError("--beam: killed") from None

    message = "killed; 2 of 4 jobs left no result in made; .*run the same command again"
    with monkeypatch.context() as patch, pytest.raises(InputError, match=message):
        patch.setattr(distributed_jobs, "run_jobs", run_in_order)
        list(distributed_batch.run_jobs(load_editor, jobs, "made"))
    assert writes == ["grey.mp4", "00002-none.mp4", "n.mp4"] and set(outputs("made")) == {"grey.mp4"}
    assert [path.name for path in Path("made/.jobs").iterdir()] == ["grey.mp4.json"]
    again = list(batch.run_jobs(EasyV2VEditor(FakePretrained()), jobs, "made"))
    assert [row["status"] for row in again] == ["skipped", "failed", "done", "failed"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--beam", "--distributed"], "leave one out"),
        (["--workers", "2"], "--workers is the number of processes of --beam"),
        (["--beam=--bogus=3"], "expected options of Beam's, got bogus"),
    ],
)
def test_options_that_do_not_go_together(clips, capsys, options, message):
    assert clips("edit", "--manifest", "jobs.jsonl", "--out", "made", *options) == 2
    assert message in capsys.readouterr().err
    assert not Path("made/results.jsonl").exists()
    assert clips("edit", "a.mp4", "make it grey", "-o", "o.mp4", "--beam") == 2
    assert "--beam would do nothing without --manifest" in capsys.readouterr().err
