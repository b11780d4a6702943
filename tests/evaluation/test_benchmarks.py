"""Readers and exporters on small folders in exactly the published layouts, and our own benchmark."""

import csv
import json

import cv2
import numpy as np
import pytest

from tests.evaluation.sweeps import Shift
from tests.example_clips import picture, write
from v2v.errors import InputError
from v2v.evaluation.benchmarks import published
from v2v.evaluation.benchmarks.exact_truth import KINDS, build_benchmark
from v2v.evaluation.cache import SweepCache
from v2v.evaluation.judge.judge_metric import JudgeMetric
from v2v.evaluation.judge.rubrics import IMGEDIT
from v2v.evaluation.metrics.builtin import FLICKER
from v2v.evaluation.metrics.clips import Clip
from v2v.evaluation.sweep import published_tables, runner, sweep
from v2v.evaluation.sweep.export import export_outputs
from v2v.evaluation.sweep.methods import EditingMethod, ResultFolder
from v2v.evaluation.sweep.sweep import Sweep
from v2v.video import video as codec


def run(benchmark, folder, refuse=""):
    return runner.run_sweep(
        Sweep(benchmark, (EditingMethod("ours", editor=lambda: Shift(9, refuse), revision="1"),), (FLICKER,)),
        SweepCache(folder),
    )


def test_edit_verse_bench(tmp_path):
    home = tmp_path / "EditVerseBench"
    for sub in ("videos", "images"):
        (home / sub).mkdir(parents=True)
    write(home / "videos" / "a.mp4", picture(4))
    write(home / "videos" / "b.mp4", picture(4, seed=1))
    cv2.imwrite(str(home / "images" / "hat.jpg"), np.zeros((8, 8, 3), np.uint8))
    rows = {
        "0": {"<text>": "<video1> Add a small golden crown", "<video1>": "videos/a.mp4", "<video1> link": "https://x", "direction": "horizontal",
              "target_prompt": "a man with a crown", "source_prompt": "a man", "type": "add object"},
        "1": {"<text>": "<video1> <image1> Put the hat on", "<video1>": "videos/b.mp4", "<image1>": "images/hat.jpg", "direction": "vertical",
              "target_prompt": "t", "source_prompt": "s", "type": "reference insertion"},
        "2": {"<text>": "<video1> refuse this", "<video1>": "videos/gone.mp4", "direction": "vertical", "type": "add object"},
    }  # fmt: skip
    (home / "EditVerseBench.json").write_text(json.dumps(rows))
    items_read = published.read_editverse_bench(home)
    first, second, third = items_read.items
    assert (first.id, first.instruction, first.kind) == ("0", "Add a small golden crown", "add object")
    assert first.target_prompt == "a man with a crown" and first.extra["text"].startswith("<video1>")
    assert second.instruction == "Put the hat on" and second.reference_is_asked and second.reference.exists()
    assert not third.source.exists()
    done = run(items_read, tmp_path / "cache")
    out = export_outputs(done, "ours", tmp_path / "results")
    assert sorted(p.relative_to(out).as_posix() for p in out.rglob("*.mp4")) == [
        "0/generate.mp4", "0/video1.mp4", "1/generate.mp4", "1/video1.mp4",
    ]  # fmt: skip
    assert (out / "0/video1.mp4").read_bytes() == (home / "videos/a.mp4").read_bytes()
    lines = list(csv.reader((out / "scores.csv").open()))
    assert lines[0] == ["id", "flicker", "flicker of source", "type"] and lines[-1][0] == "Average"
    assert (
        float(lines[-1][1]) == pytest.approx((float(lines[1][1]) + float(lines[2][1])) / 2)
        and lines[3][1] == ""
    )
    assert "2\tno such file" in (out / "MISSING.txt").read_text()
    # What was written is read again as a folder of results.
    assert ResultFolder("theirs", out).extra(items_read.items) == []
    second_run = runner.run_sweep(
        Sweep(items_read, (ResultFolder("theirs", out),), (FLICKER,)), SweepCache(tmp_path / "cache")
    )
    assert second_run.outputs["theirs", "0"].sha256 == done.outputs["ours", "0"].sha256


def test_edit_verse_bench_with_pictures_and_second_videos_in_the_sentence(tmp_path):
    write(tmp_path / "a.mp4", picture(4))
    cv2.imwrite(str(tmp_path / "hat.jpg"), np.zeros((8, 8, 3), np.uint8))
    texts = {
        "0": "<video1> Repaint the car with the colours of <image1>.",
        "1": "Turn <video1> into night. <video1>",
        "2": "Generate a video from depth <video2>.",
    }
    rows = {
        k: {"<text>": text, "<video1>": "a.mp4", "<image1>": "hat.jpg", "type": "t"}
        for k, text in texts.items()
    }
    (tmp_path / "EditVerseBench.json").write_text(json.dumps(rows))
    bench = published.read_editverse_bench(tmp_path)
    assert [item.instruction for item in bench.items] == [
        "Repaint the car with the colours of the reference image.",
        "Turn the video into night.",
        "Generate a video from depth video2.",
    ]
    assert [item.unsupported_inputs for item in bench.items] == [(), (), ("<video2>",)]
    done = run(bench, tmp_path / "cache")
    assert done.outputs["ours", "0"].path and done.outputs["ours", "2"].path is None
    assert done.outputs["ours", "2"].is_refused and "speaks of <video2>" in done.outputs["ours", "2"].reason
    plan = sweep.plan_sweep(done.sweep, SweepCache(tmp_path / "cache"))
    assert plan.edits == 0 and plan.notes == [
        "1 item has inputs that are not passed on: 2 (speaks of <video2>)"
    ]


def test_open_ve_bench(tmp_path):
    home = tmp_path / "OpenVE-Bench"
    (home / "videos").mkdir(parents=True)
    for name in "ab":
        write(home / "videos" / f"{name}.mp4", picture(3))
    with (home / "benchmark_videos.csv").open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(("original_video", "prompt", "edited_type"))
        lines.writerow(("OpenVE-Bench/videos/a.mp4", "make it, well, red", "global_style"))
        lines.writerow(("OpenVE-Bench/videos/b.mp4", "zoom in", "camera_edit"))
        lines.writerow(("OpenVE-Bench/videos/a.mp4", "remove it", "local_remove"))
    items_read = published.read_openve_bench(home, excluded_kinds=("camera_edit",))
    assert [(i.id, i.kind) for i in items_read.items] == [("a", "global_style"), ("a-2", "local_remove")]
    assert items_read.items[0].source.exists() and items_read.items[0].instruction == "make it, well, red"
    out = export_outputs(run(items_read, tmp_path / "cache"), "ours", tmp_path / "results")
    assert sorted(p.name for p in out.iterdir()) == ["a-2_edited.mp4", "a_edited.mp4"]
    assert ResultFolder("theirs", out).path(items_read.items[1]).name == "a-2_edited.mp4"


def test_ive_bench(tmp_path):
    home = tmp_path / "ive"
    (home / "short" / "dog").mkdir(parents=True)
    for k in range(3):
        cv2.imwrite(str(home / "short" / "dog" / f"{k:05d}.png"), picture(3)[k][..., ::-1])
    write(home / "cat.mp4", picture(3))
    rows = [
        {"id": 1, "src_video_name": "dog.mp4", "category": "style", "subcategory": "oil", "source_prompt": "s", "edit_prompt": "paint it", "target_prompt": "t"},
        {"id": 2, "src_video_name": "cat.mp4", "category": "subject", "subcategory": "x", "source_prompt": "s", "edit_prompt": "brighten it", "target_prompt": "t"},
    ]  # fmt: skip
    (home / "info.json").write_text(json.dumps(rows))
    items_read = published.read_ivebench(home)
    assert [i.source.name for i in items_read.items] == ["dog", "cat.mp4"] and items_read.items[
        0
    ].kind == "style"

    class Any(Shift):  # takes clips as well as files
        def edit_video(self, video, *args, **options):
            return video if isinstance(video, codec.Video) else super().edit_video(video, *args, **options)

    method = EditingMethod("ours", editor=Any, revision="1")
    done = runner.run_sweep(Sweep(items_read, (method,), (FLICKER,)), SweepCache(tmp_path / "cache"))
    assert not any(m.reason for m in done.outputs.values())
    out = export_outputs(done, "ours", tmp_path / "results")
    assert sorted(p.relative_to(out).as_posix() for p in out.rglob("*.png")) == [
        f"{name}/{k:05d}.png" for name in ("cat", "dog") for k in range(3)
    ]
    assert len(Clip(out / "dog")) == 3 and Clip(out / "dog").size == (48, 64)
    theirs = ResultFolder("theirs", out)
    assert [theirs.path(i).name for i in items_read.items] == ["dog", "cat"] and theirs.extra(
        items_read.items
    ) == []


def test_img_edit_bench_pictures_are_clips_of_one_frame(tmp_path):
    home = tmp_path / "Benchmark"
    (home / "originals" / "animal").mkdir(parents=True)
    cv2.imwrite(str(home / "originals" / "animal" / "1.jpg"), picture(1)[0][..., ::-1])
    (home / "basic_edit.json").write_text(
        json.dumps({"1082": {"id": "animal/1.jpg", "prompt": "smooth it", "edit_type": "adjust"}})
    )
    items_read = published.read_imgedit_bench(home)
    assert items_read.items[0].source.exists() and items_read.items[0].kind == "adjust"
    out = export_outputs(run(items_read, tmp_path / "cache"), "ours", tmp_path / "results")
    assert [p.name for p in out.iterdir()] == ["1082.png"]
    shifted, source_picture = (
        cv2.imread(str(out / "1082.png")).astype(int),
        cv2.imread(str(items_read.items[0].source)).astype(int),
    )
    assert np.abs(shifted - source_picture - 9).mean() < 1


def test_img_edit_benchs_script_can_average_what_is_exported(tmp_path):
    class Friendly:
        model, identity, parallel, dollars_per_call = "friendly", {"model": "friendly"}, 1, None

        def answer(self, question):
            return "Instruction Adherence: 5 - fine.\nEditing Quality: 4\nDetail Preservation: 2 - lost: 1"

    cv2.imwrite(str(tmp_path / "1.jpg"), picture(1)[0][..., ::-1])
    (tmp_path / "basic_edit.json").write_text(
        json.dumps({"7": {"id": "1.jpg", "prompt": "smooth it", "edit_type": "adjust"}})
    )
    bench = published.read_imgedit_bench(tmp_path)
    method = EditingMethod("ours", editor=Shift, revision="1")
    definition = Sweep(bench, (method,), (JudgeMetric(Friendly(), IMGEDIT),))
    out = export_outputs(
        runner.run_sweep(definition, SweepCache(tmp_path / "cache")), "ours", tmp_path / "out"
    )
    text = json.loads((out / "result.json").read_text())["7"]
    # The script counts the lines that are a name, ": " and digits only.
    parts = [line.strip().split(": ") for line in text.splitlines()]
    assert [int(p[1]) for p in parts if len(p) == 2 and p[1].isdigit()] == [5, 4, 2]
    assert "fine." in text


def test_readers_say_what_is_wrong(tmp_path):
    with pytest.raises(InputError, match="EditVerseBench.json or test.json"):
        published.read_editverse_bench(tmp_path)
    (tmp_path / "test.json").write_text("{")
    with pytest.raises(InputError, match="expected JSON"):
        published.read_editverse_bench(tmp_path)
    (tmp_path / "test.json").write_text(json.dumps({"7": {"<text>": "x"}}))
    with pytest.raises(InputError, match="item 7.*<video1>, type missing"):
        published.read_editverse_bench(tmp_path)
    with pytest.raises(InputError, match="list of videos"):
        published.read_ivebench(tmp_path)
    (tmp_path / "long.json").write_text("[]")
    with pytest.raises(InputError, match="expected one listing, got long.json, test.json"):
        published.read_ivebench(tmp_path)


def test_own_benchmark_is_exact_and_the_same_every_time(tmp_path):
    small = {
        "per_kind": 2,
        "kinds": ("recolour", "palette"),
        "frames": 5,
        "sizes": ((48, 64),),
        "physics": False,
    }
    first, second = build_benchmark(tmp_path / "a", **small), build_benchmark(tmp_path / "b", **small)
    assert [i.id for i in first.items] == ["recolour-00", "recolour-01", "palette-00", "palette-01"]
    for a, b in zip(first.items, second.items, strict=True):
        assert (a.instruction, a.start, a.end) == (b.instruction, b.start, b.end)
        for part in ("source", "truth", "mask"):
            assert getattr(a, part).read_bytes() == getattr(b, part).read_bytes()
        source, truth, mask = (np.stack(list(Clip(getattr(a, part)))) for part in ("source", "truth", "mask"))
        assert source.shape == (5, 48, 64, 3) and set(np.unique(mask)) <= {0, 255}
        assert np.array_equal(source[mask == 0], truth[mask == 0]) and (source != truth).any()
        on = (mask > 0).any((1, 2, 3))
        assert on.all() == (a.start is None)
        if a.start is not None:
            assert on[round(a.start * 25) : round(a.end * 25)].all()
    assert first.items[2].reference_is_asked and first.items[2].reference.exists()
    stamp = first.items[0].source.stat().st_mtime_ns
    assert build_benchmark(tmp_path / "a", **small).items == first.items
    assert first.items[0].source.stat().st_mtime_ns == stamp  # made once
    assert build_benchmark(tmp_path / "a", **{**small, "per_kind": 1}).items[0] == first.items[0]
    assert len(KINDS) == 12


def test_own_benchmark_has_rooms_with_physics(tmp_path):
    pytest.importorskip("mujoco")
    from data_synth.recipes import registry
    from data_synth.recipes.sources import NO_SOURCES

    options = {"kinds": ("remove",), "frames": 5, "sizes": ((48, 64),)}
    try:
        mixed = build_benchmark(tmp_path, per_kind=2, **options)
    except InputError as error:
        pytest.skip(f"no offscreen rendering here: {error}")
    planar = build_benchmark(tmp_path, per_kind=1, physics=False, **options)
    assert mixed.items[0].source.read_bytes() == planar.items[0].source.read_bytes()
    assert len(Clip(mixed.items[1].truth)) == 5 and "physics-remove" in registry.recipe_names(NO_SOURCES)


def test_published_tables_name_their_source_and_hold_what_they_say():
    assert len(published_tables.list_tables()) >= 8
    for name in published_tables.list_tables():
        table = published_tables.read_table(name)
        assert table["source"] and table["notes"] and table["rows"]
        assert all(set(r["values"]) <= set(table["columns"]) for r in table["rows"])
    main = {r["method"]: r["values"] for r in published_tables.read_table("easyv2v_editversebench")["rows"]}
    assert main["EasyV2V without reference"]["judge total"] == 7.73 and len(main) == 11
    with pytest.raises(InputError, match="expected one of"):
        published_tables.read_table("no")
