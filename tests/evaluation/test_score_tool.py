"""The scoring command, whole, with an editor that inverts colours whatever it is asked."""

import importlib.util
import json
import sys
from pathlib import Path

import cv2
import pytest

from tests.example_clips import picture, write
from v2v.errors import InputError
from v2v.evaluation.sweep import own_editor
from v2v.video import video as codec

TOOL = Path(__file__).parents[2] / "tools" / "checks" / "score_embedded.py"


class Inverter:
    def __init__(self, model):
        pass

    def edit_video(self, video, instruction, mask=None, reference=None, start=None, end=None, anyway=False):
        clip = video if isinstance(video, codec.Video) else codec.read_video(video)
        frames = 255 - clip.frames
        if start is not None:  # the other times stay
            off = (clip.times < start) | (clip.times >= end)
            frames[off] = clip.frames[off]
        return codec.Video.from_array(frames, clip.fps)


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.setattr(own_editor, "EasyV2VEditor", Inverter)
    spec = importlib.util.spec_from_file_location("score_embedded", TOOL)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "score_embedded", module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_from_arguments_to_table_json_and_sheets(tool, tmp_path, capsys):
    clip = write(tmp_path / "real.mp4", picture(6, 48, 64))
    (tmp_path / "notes.txt").write_text("not a clip")
    sheets = tmp_path / "sheets"
    tool.main(tool.Args(pairs=11, flicker_pairs=1, real=(tmp_path,), real_frames=4, sheet=sheets, json=True))
    *table, last = capsys.readouterr().out.strip().splitlines()
    values = json.loads(last)
    # Of the first eleven types only "negative" is what this editor does.
    assert values["pairs"] == 11 and values["success"] == pytest.approx(1 / 11, abs=1e-4)
    assert values["by_type"] == {name: float(name == "negative") for name in values["by_type"]}
    assert values["flicker_ratio"] == pytest.approx(1) and values["seconds"] > 0
    psnr = values["real_psnr"][clip.name]
    assert len(psnr) == 15 and psnr["negative"] > 30 > max(v for k, v in psnr.items() if k != "negative")
    assert any(line.startswith("negative") and "100 [" in line for line in table)
    for name in ("negative", "recolour", "real"):
        assert cv2.imread(str(sheets / f"{name}.png")) is not None


def test_a_missing_clip_is_told_before_any_work(tool, tmp_path):
    with pytest.raises(InputError, match="no such file"):
        tool.main(tool.Args(real=(tmp_path / "absent.mp4",)))
