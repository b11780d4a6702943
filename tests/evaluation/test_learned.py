"""Metrics with models, on tiny random folders: what they compute, and what they say when weights are missing."""

import dataclasses

import numpy as np
import pytest

from tests.evaluation.sweeps import Shift, benchmark
from tests.parity import judges
from v2v.evaluation.cache import SweepCache
from v2v.evaluation.metrics import learned
from v2v.evaluation.metrics.base import Case
from v2v.evaluation.metrics.models import loading, preprocessing
from v2v.evaluation.sweep import results, runner
from v2v.evaluation.sweep.methods import EditingMethod
from v2v.evaluation.sweep.sweep import Sweep


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    home = tmp_path_factory.mktemp("weights")
    judges.clip(home / "clip-vit-large-patch14")
    judges.clip(home / "clip-vit-base-patch32")
    judges.clip(home / "PickScore_v1", "gelu", 10)
    judges.dinov2(home / "dinov2-base")
    judges.viclip(home / "viclip")
    judges.lpips(home / "lpips")
    return home


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    result = benchmark(tmp_path_factory.mktemp("bench"), n=2, T=10, H=40, W=56)
    items = tuple(dataclasses.replace(i, target_prompt="a b c d e f g h i a b c") for i in result.items)
    return dataclasses.replace(result, items=items)


@pytest.fixture(autouse=True)
def cache_home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_definitions(weights, bench):
    case = Case(bench.items[0], bench.items[0].truth)
    folder = weights / "clip-vit-large-patch14"
    model = loading.load_clip(folder)
    frames = np.stack([model.prepare(f) for f in case.output])
    unit = lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True)  # noqa: E731
    text, pictures, pooled = (
        unit(model.text(["a b c d e f g h i a b c"])),
        unit(model.vision(frames)),
        unit(model.pooled(frames)),
    )
    assert len(frames) == 10 and model.scale == pytest.approx(np.exp(1.7))  # not a multiple of the batch
    value = learned.FrameTextAlignment(folder).score(case).values["CLIP frame-text"]
    assert value == pytest.approx(float(model.scale * (pictures @ text.T).mean()), abs=1e-4)
    value = learned.TemporalConsistency(folder).score(case).values["CLIP consistency"]
    expected = [max(0.0, float(a @ b)) for a, b in zip(pooled, pooled[1:], strict=False)]
    assert value == pytest.approx(100 * np.mean(expected), abs=1e-3)
    # VBench's consistency: the mean of the cosines to the first frame and to the one before.
    value = learned.ClipConsistency(folder).score(case).values["background consistency"]
    both = [(max(0.0, float(pictures[0] @ b)) + max(0.0, float(a @ b))) / 2 for a, b in zip(pictures, pictures[1:], strict=False)]  # fmt: skip
    assert value == pytest.approx(100 * np.mean(both), abs=1e-3)


@pytest.mark.slow
def test_still_clip_is_perfectly_consistent_and_the_truth_has_no_distance(weights, bench, tmp_path):
    from v2v.video import video as codec

    frames = np.repeat(next(iter(Case(bench.items[0], bench.items[0].source).output))[None], 6, 0)
    from v2v.evaluation.benchmarks.exact_truth import write_lossless_clip

    write_lossless_clip(frames, tmp_path / "still.mkv")
    still = Case(bench.items[0], tmp_path / "still.mkv")
    assert learned.dino_consistency(weights / "dinov2-base").score(still).values[
        "DINO consistency"
    ] == pytest.approx(100, abs=1e-3)
    codec.Video.from_array(frames[:1]).save(tmp_path / "one.png")
    assert (
        learned.TemporalConsistency(weights / "clip-vit-large-patch14")
        .score(Case(bench.items[0], tmp_path / "one.png"))
        .values
        == {}
    )
    *_, lpips = learned.learned_metrics(weights)
    same, other = (
        lpips.score(Case(bench.items[0], p)).values["LPIPS"]
        for p in (bench.items[0].truth, bench.items[0].source)
    )
    assert same == pytest.approx(0, abs=1e-9) and other > 1e-6


def test_sentences_are_cut_with_their_end_kept(weights):
    tokens = loading.load_clip(weights / "clip-vit-large-patch14").tokens
    assert tokens(["a b"]).tolist() == [[9, 0, 1, 10, 10, 10, 10, 10, 10]]
    assert tokens(["a b c d e f g h i"]).tolist() == [[9, 0, 1, 2, 3, 4, 5, 6, 10]]
    assert loading.load_viclip(weights / "viclip").tokens(["a b"]).tolist() == [[9, 0, 1, 10, 0, 0, 0, 0]]


@pytest.mark.slow
def test_in_a_sweep_with_a_folder_missing(weights, bench, tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "load_viclip", lambda f: loading.ViclipModel(f, head=8))
    metrics = [
        *learned.learned_metrics(weights)[:-1],
        learned.FrameTextAlignment(tmp_path / "none", "another", "some CLIP"),
    ]
    sweep = Sweep(bench, (EditingMethod("e", editor=Shift, revision="1"),), metrics)
    document = results.build_results(runner.run_sweep(sweep, SweepCache(tmp_path / "cache"))).to_json()
    assert document["skipped"] == {
        "another": f"wants some CLIP in {tmp_path / 'none'}, missing config.json, tokenizer.json, *.safetensors"
    }
    assert [c["name"] for c in document["columns"]] == [
        "CLIP frame-text", "CLIP consistency", "DINO consistency", "background consistency", "subject consistency (DINOv2)",
        "PickScore", "ViCLIP video-text",
    ]  # fmt: skip
    assert all(s["status"] == "ok" for s in document["scores"])
    assert any("another skipped" in p for p in document["problems"])
    weight = learned.FrameTextAlignment(weights / "clip-vit-large-patch14").identity["weights"]
    assert len(weight) == 64 and weight != learned.pick_score(weights / "PickScore_v1").identity["weights"]


def test_prepared_pictures():
    frame = np.random.default_rng(0).integers(0, 256, (37, 90, 3)).astype(np.uint8)
    picture = preprocessing.preprocess(frame, 28, 20, (0.5,) * 3, (0.25,) * 3)
    assert picture.shape == (20, 20, 3) and picture.dtype == np.float32
    flat = preprocessing.preprocess(np.full((50, 30, 3), 200, np.uint8), 28, 28, (0.5,) * 3, (0.25,) * 3)
    assert np.allclose(flat, (200 / 255 - 0.5) / 0.25)
    assert preprocessing.resize_bicubic(frame, 37, 90) is frame
