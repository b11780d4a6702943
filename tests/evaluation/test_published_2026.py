"""Benchmarks of 2026 in their published layouts: read, edited and exported again."""

import csv
import json

import pytest

from tests.evaluation.sweeps import Shift, benchmark
from tests.example_clips import picture
from v2v.errors import InputError
from v2v.evaluation.benchmarks import published_2026 as published
from v2v.evaluation.cache import SweepCache
from v2v.evaluation.metrics.builtin import FLICKER
from v2v.evaluation.sweep import export, results, runner, sweep
from v2v.evaluation.sweep.methods import EditingMethod
from v2v.evaluation.sweep.sweep import Sweep
from v2v.video import video as codec

COVE_ROW = {
    "id": 1,
    "original_description": "A lamp.",
    "editing_instruction": "Replace the lamp and pan right.",
    "target_video_description": "A candle.",
    "evaluation_groups": [{"target_element": "lamp", "questions": [{"id": "Q1", "type": "Single-TF"}]}],
    "videoA_path": "data/6.mp4",
    "category": [{"Level 1": "Subject", "Level 2": "Swap"}, {"Level 1": "Camera"}],
}


def write_clip(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    codec.Video.from_array(picture(3, 32, 48, seed=seed), 24.0).save(path)


def exported(items, folder, tmp_path):
    """Return the files of an export, by name, after editing all items."""
    definition = Sweep(items, [EditingMethod("ours", editor=Shift, revision="1")], [FLICKER])
    run = runner.run_sweep(definition, SweepCache(tmp_path / "cache"))
    assert all(output.path for output in run.outputs.values()), [o.reason for o in run.outputs.values()]
    export.export_outputs(run, "ours", folder)
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_covebench(tmp_path):
    write_clip(tmp_path / "cove/data/6.mp4")
    rows = [COVE_ROW, {**COVE_ROW, "id": 2, "category": []}]
    (tmp_path / "cove/checklist.json").write_text(json.dumps(rows))
    cove = published.read_covebench(tmp_path / "cove")
    first, second = cove.items
    assert (first.id, first.kind, second.kind) == ("1", "Subject", "compositional")
    assert first.target_prompt == "A candle." and first.extra["row"]["evaluation_groups"]
    assert exported(cove, tmp_path / "out", tmp_path) == {"1.mp4", "2.mp4"}
    (tmp_path / "cove/checklist.json").write_text(json.dumps([{"id": 1, "videoA_path": "x"}]))
    with pytest.raises(InputError, match="row 1: expected fields .*editing_instruction missing"):
        published.read_covebench(tmp_path / "cove")
    with pytest.raises(InputError, match=r"checklist\.json"):
        published.read_covebench(tmp_path)


def test_longv2vbench(tmp_path):
    root = tmp_path / "LongV2VBench"
    write_clip(root / "videos/a.mp4")
    lines = ["edited_type,original_video,prompt", "local_add,LongV2VBench/videos/a.mp4,add a hat"]
    lines += [
        "global_style,videos/a.mp4,make it ink",
        "local_add,videos/a.mp4,",
        "local_add,videos/a.mp4,add a cat",
    ]
    (root / "benchmark_videos.csv").write_text("\n".join(lines))
    items = published.read_longv2vbench(root).items
    assert [i.id for i in items] == ["local_add-a", "global_style-a", "local_add-a-4"]
    assert all(i.source == root / "videos/a.mp4" for i in items)
    files = exported(published.read_longv2vbench(root), tmp_path / "out", tmp_path)
    assert {"fullset/local_add/a.mp4", "fullset/local_add/a_src.mp4", "fullset/global_style/a_prompt.txt"} <= files  # fmt: skip
    assert "fullset/local_add/local_add-a-4.mp4" in files
    (root / "benchmark_videos.csv").unlink()
    (root / "long.jsonl").write_text('{"segment": "../up", "video": "videos/a.mp4", "prompt": "x"}\n')
    with pytest.raises(InputError, match="expected a name, got '../up'"):
        published.read_longv2vbench(root)


def test_refvie_bench(tmp_path):
    write_clip(tmp_path / "source_videos/s.mp4")
    (tmp_path / "ref_images").mkdir()
    codec.Video.from_array(picture(1, 32, 48), 24.0).save(tmp_path / "ref_images/r.png")
    text = "- src_video: source_videos/s.mp4\n  ref_img: ref_images/r.png\n  edit_type: subject\n"
    text += '  instruction: "Replace the dog: with\n    this one"\n'
    (tmp_path / "refvie_bench.yaml").write_text(text)
    bench = published.read_refvie_bench(tmp_path)
    item = bench.items[0]
    assert item.instruction == "Replace the dog: with this one" and item.reference_is_asked
    assert item.reference == tmp_path / "ref_images/r.png" and item.kind == "subject"
    assert exported(bench, tmp_path / "out", tmp_path) == {"0_Replace th_s.mp4"}
    for text, words in (("a: [", "expected YAML"), ("a: 1", "expected a list"), ("- src_video: x", "missing")):  # fmt: skip
        (tmp_path / "refvie_bench.yaml").write_text(text)
        with pytest.raises(InputError, match=words):
            published.read_refvie_bench(tmp_path)


def test_pairs_of_vefx_bench(tmp_path):
    write_clip(tmp_path / "a_original.mp4")
    row = {"original": "a_original.mp4", "edited": "a_edited.mp4", "instruction": "zoom in", "category": "Camera Motion"}  # fmt: skip
    (tmp_path / "prompts.json").write_text(json.dumps([row, row]))
    bench = published.read_vefx_pairs(tmp_path)
    assert [(i.id, i.kind) for i in bench.items] == [("a_original", "Camera Motion"), ("a_original-2", "Camera Motion")]  # fmt: skip
    files = exported(bench, tmp_path / "out", tmp_path)
    assert files == {"a_original.mp4", "a_original-2.mp4", "edits.csv"}
    table = list(csv.DictReader((tmp_path / "out/edits.csv").open()))
    assert table[0]["instruction"] == "zoom in" and table[1]["edited_video"].endswith("out/a_original-2.mp4")


def test_the_hash_of_what_is_brought_is_printed_and_stored(tmp_path):
    tiny, cache = benchmark(tmp_path / "b", n=2, T=3), SweepCache(tmp_path / "cache")
    definition = Sweep(tiny, [EditingMethod("ours", editor=Shift, revision="1")], [FLICKER])
    plan = sweep.plan_sweep(definition, cache)
    assert plan.contents[:16] in plan.format()
    document = results.build_results(runner.run_sweep(definition, cache), plan).to_json()
    assert document["benchmark"]["contents"] == plan.contents
    moved = benchmark(tmp_path / "elsewhere", n=2, T=3)
    assert sweep.hash_contents(moved, cache) == plan.contents
    tiny.items[0].source.write_bytes(tiny.items[1].source.read_bytes())
    assert sweep.hash_contents(tiny, cache) != plan.contents
