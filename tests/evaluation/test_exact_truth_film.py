"""Version 4 of the exact-truth benchmark: materials take turns, what is missing is said, and the same sources make the same bytes."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from v2v.errors import InputError
from v2v.evaluation.benchmarks import exact_truth_film
from v2v.evaluation.benchmarks.exact_truth_film import build_film_benchmark
from v2v.video import video as codec

SIZES = ((48, 64), (64, 48))


@pytest.fixture(scope="module")
def cutouts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cutouts")
    picture = np.zeros((60, 60, 4), np.uint8)
    cv2.circle(picture, (30, 30), 26, (40, 60, 220, 255), -1)
    cv2.imwrite(str(folder / "red ball.png"), picture)
    return folder


def build(folder, **options) -> exact_truth_film.Benchmark:
    return build_film_benchmark(folder, frames=5, sizes=SIZES, **options)


def test_materials_take_turns_and_are_exact(cutouts, tmp_path):
    kinds = ("insert", "move", "sepia", "thermal")
    first = build(
        tmp_path / "a", per_kind=2, kinds=kinds, materials=("scene", "cut-out", "film"), cutouts=cutouts
    )
    assert [(item.kind, item.extra["material"]) for item in first.items] == [
        ("insert", "scene"), ("insert", "cut-out"), ("move", "cut-out"), ("move", "cut-out"),
        ("sepia", "scene"), ("sepia", "film"), ("thermal", "film"), ("thermal", "film"),
    ]  # fmt: skip
    assert len({item.extra["seed"] for item in first.items}) == 8
    assert min(item.extra["seed"] for item in first.items) >= exact_truth_film.FIRST_SEED
    for item in first.items:
        source, truth, mask = (codec.read_video(p).frames for p in (item.source, item.truth, item.mask))
        assert (source == truth)[mask < 128].all() and (source != truth).any(), item.id
        assert source.shape[:3] in [(5, *size) for size in SIZES]
    second = build(
        tmp_path / "b", per_kind=1, kinds=kinds, materials=("scene", "cut-out", "film"), cutouts=cutouts
    )
    paired = [(a, b) for a in first.items for b in second.items if a.id == b.id]
    assert len(paired) == 4
    for a, b in paired:
        assert a.truth.read_bytes() == b.truth.read_bytes() and a.instruction == b.instruction
    sheet = (first.items[0].source.parents[1] / "README.txt").read_text()
    assert (
        "4 kinds, 2 of each, scene, cut-out, film" in sheet
        and "cut-outs " in sheet
        and "Left out: nothing" in sheet
    )
    assert "footage" in first.version and "4 (4 kinds x 2, scene+cut-out+film" in first.version


def test_what_is_missing_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(exact_truth_film.importlib.util, "find_spec", lambda name: None)
    benchmark = build(tmp_path, per_kind=2, kinds=("recolour",))
    assert [item.extra["material"] for item in benchmark.items] == ["scene", "scene"]
    assert "left out: room (MuJoCo is not installed), cut-out (no cut-outs were given)" in benchmark.about
    for options, message in (
        ({"kinds": ("move",)}, "kind move: expected one of the materials cut-out, got scene, film"),
        ({"kinds": ("dance",)}, "expected names among .*; got dance"),
        ({"materials": ("clay",)}, "materials: expected names among .*; got clay"),
    ):
        with pytest.raises(InputError, match=message):
            build(tmp_path, per_kind=1, **options)


def test_other_footage_is_another_benchmark(tmp_path):
    rng = np.random.default_rng(0)
    versions = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        picture = cv2.resize(
            rng.integers(0, 255, (12, 16, 3)).astype(np.uint8), (80, 48), interpolation=cv2.INTER_CUBIC
        )
        frames = np.stack([picture[:, 2 * k : 2 * k + 64] for k in range(6)])
        codec.Video.from_array(frames, 25).save(tmp_path / name / "clip.mp4")
        benchmark = build(
            tmp_path / "work", per_kind=1, kinds=("night",), materials=("film",), clips=tmp_path / name
        )
        versions.append(benchmark.version)
        record = json.loads((benchmark.items[0].source.parent / "item.json").read_text())
        assert record["material"] == "film" and Path(benchmark.items[0].source).is_file()
    assert versions[0] != versions[1]


def test_footage_that_gives_no_item_ends(tmp_path, monkeypatch):
    monkeypatch.setattr("v2v.evaluation.benchmarks.exact_truth.MAX_TRIES", 3)
    codec.Video.from_array(np.zeros((2, 48, 64, 3), np.uint8), 25).save(tmp_path / "short.mp4")
    with pytest.raises(
        InputError, match="none of 3 seeds gives an item; thermal: clip short.mp4 is shorter than 5 frames"
    ):
        build(tmp_path / "work", per_kind=1, kinds=("thermal",), materials=("film",), clips=tmp_path)
