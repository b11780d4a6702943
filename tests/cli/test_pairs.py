"""`v2v pairs` as typed."""

import json
from pathlib import Path

from tests.example_clips import picture, write


def test_check(v2v, capsys):
    write("a.mp4", picture(6))
    write("b.mp4", 255 - picture(6))
    Path("my.csv").write_text("source,video,prompt\na.mp4,b.mp4,invert it\na.mp4,gone.mp4,invert it\n")
    assert v2v("pairs", "check", "my.csv") == 0
    assert "line 3 left out: file missing: gone.mp4" in capsys.readouterr().out
    assert v2v("pairs", "--json", "check", "my.csv", "--strict", "--size", "64x48x5") == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["used"], report["cut"], report["left_out"]) == (1, 1, 1)
    assert report["unusable"][0]["line"] == 3 and report["pairs"][0]["fps"] == 25
    Path("word.csv").write_text("source,video,prompt\na.mp4,b.mp4,invert\n")
    assert v2v("pairs", "check", "word.csv", "--size", "64x48x5") == 0
    assert "line 2 left out: instruction too short or long" in capsys.readouterr().out
    assert v2v("pairs", "check", "none.csv") == 2 and "none.csv" in capsys.readouterr().err
