"""A file at which the decoder crashes fails alone in every command that works on many: the others are done, and it is listed."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from tests.bad_decoder import replace_decoder
from tests.example_clips import picture
from v2v.video.video import Video


@pytest.fixture(autouse=True)
def crashing_decoder(monkeypatch):
    """Let decoders crash at the third frame of files called bad.*."""
    replace_decoder(monkeypatch, "abort", 2)


def test_a_manifest_goes_on(v2v, capsys):
    for name in ("good.mp4", "bad.mp4"):
        Video.from_array(picture(6)).save(name)
    lines = [
        {"video": name, "instruction": "make it grey", "mask": mask}
        for name, mask in (("good.mp4", None), ("bad.mp4", None), ("good.mp4", "bad.mp4"), ("good.mp4", None))
    ]
    Path("jobs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert v2v("edit", "--manifest", "jobs.jsonl", "--out", "edited", "--json") == 1
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert (report["done"], report["failed"]) == (2, 2)
    assert [error.split(": ")[0] for error in report["failures"]] == ["line 2", "line 3"]
    assert all("bad.mp4: the decoder crashed (SIGABRT)" in error for error in report["failures"])
    assert captured.err.count("bad.mp4: the decoder crashed") == 2
    results = [json.loads(line) for line in Path("edited/results.jsonl").read_text().splitlines()]
    assert [result["status"] for result in results] == ["done", "failed", "failed", "done"]


SWEEP = """
import dataclasses, os
from tests.evaluation.sweeps import Shift, benchmark
from v2v.evaluation.metrics.builtin import BUILTIN_METRICS
from v2v.evaluation.sweep.methods import EditingMethod
from v2v.evaluation.sweep.sweep import Sweep

def sweep(folder):
    plain = benchmark(folder)
    items = list(plain.items)
    for number, field in ((1, "source"), (2, "truth")):
        bad = folder / f"bad{number}.mkv"
        if not bad.exists():
            os.link(getattr(items[number], field), bad)
        items[number] = dataclasses.replace(items[number], **{field: bad})
    method = EditingMethod("by 40", editor=lambda: Shift(40), revision="40")
    return Sweep(dataclasses.replace(plain, items=tuple(items)), [method], BUILTIN_METRICS)
"""


def test_an_evaluation_goes_on(v2v, capsys):
    Path("s.py").write_text(SWEEP)
    v2v("eval", "s.py", "--out", "out", "--json")
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert report["edits"] == 3 and report["problems"] >= 2
    assert "bad1.mkv: the decoder crashed" in captured.err and "bad2.mkv: the decoder crashed" in captured.err
    with open("out/scores.csv") as file:
        statuses = [row["status"] for row in csv.DictReader(file) if row["column"] == "PSNR"]
    assert sorted(statuses) == ["failed", "failed", "ok", "ok"]
    assert "the decoder crashed" in Path("out/report.html").read_text()


def test_a_set_is_made_of_the_other_rows(v2v, capsys):
    folder = Path("set/videos")
    folder.mkdir(parents=True)
    for name, shade in (("a", 20), ("b", 90), ("bad", 90)):
        frames = np.full((6, 24, 32, 3), shade, np.uint8)
        frames += (np.arange(32) * 3).astype(np.uint8)[:, None]
        for t in range(6):
            frames[t, 4:12, 3 * t : 3 * t + 8] = 255 - shade
        Video.from_array(frames, 10).save(folder / f"{name}.mp4")
    rows = [f"{name}.mp4,a.mp4,make it blue {k}" for k, name in enumerate(["b", "bad", "b"])]
    Path("set/x.csv").write_text("video,original_video,prompt\n" + "\n".join(rows) + "\n")
    words = "--out made --pairs 2 --frames 4 --height 24 --width 32 --transition 0 --recipes openve --import openve=set --json"
    assert v2v("synth", *words.split()) == 0
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert report["pairs"] == 2
    assert "the decoder crashed" in json.dumps(report) + captured.err
