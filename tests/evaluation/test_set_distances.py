"""Distances of sets: closed forms, unbiased where said so, intervals that cover, and one number a method in a sweep's results."""

import base64
from dataclasses import dataclass

import numpy as np
import pytest

from tests.evaluation.sweeps import Shift, benchmark
from v2v.errors import InputError
from v2v.evaluation import intervals
from v2v.evaluation.cache import SweepCache
from v2v.evaluation.metrics import set_distances
from v2v.evaluation.metrics.feature_distances import ClipSetDistance, FrameSetDistance, evenly_spaced_frames
from v2v.evaluation.sweep import results, runner
from v2v.evaluation.sweep.methods import EditingMethod
from v2v.evaluation.sweep.sweep import Sweep


def normal(n, mean, scale, seed):
    return np.random.default_rng(seed).normal(size=(n, len(mean))) * scale + mean


def test_frechet_of_gaussians_is_its_closed_form():
    mean_x, mean_y, scale_x, scale_y = np.array([[1.0, 0, 2], [0, 0, -1], [1, 2, 3], [2, 1, 0.5]])
    distance = set_distances.frechet_distance(
        normal(20_000, mean_x, scale_x, 0), normal(20_000, mean_y, scale_y, 1)
    )
    expected = ((mean_x - mean_y) ** 2).sum() + ((scale_x - scale_y) ** 2).sum()
    assert distance == pytest.approx(expected, rel=0.03)


def test_frechet_agrees_with_the_matrix_root_and_is_zero_for_one_set():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(9, 4)) @ rng.normal(size=(4, 4)), rng.normal(size=(7, 4)) + 0.3
    roots = np.sqrt(np.clip(np.linalg.eigvals(np.cov(x.T) @ np.cov(y.T)).real, 0, None)).sum()
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(np.cov(x.T) + np.cov(y.T)) - 2 * roots
    assert set_distances.frechet_distance(x, y) == pytest.approx(expected, rel=1e-9)
    assert set_distances.frechet_distance(x, x) == pytest.approx(0, abs=1e-9)
    small = rng.normal(size=(5, 40))  # fewer items than dimensions
    assert set_distances.frechet_distance(small, small + 1) == pytest.approx(40, rel=1e-9)


def test_kernel_distance_is_unbiased_and_its_shares_cover():
    same, covered = [], 0
    shifted = [
        set_distances.kernel_distance(
            normal(1000, np.full(3, 0.5), 1, s), normal(1000, np.zeros(3), 1, 99 + s)
        )
        for s in range(6)
    ]
    truth = float(np.mean(shifted))
    for seed in range(100):
        x, y = normal(25, np.zeros(3), 1, 2 * seed), normal(25, np.zeros(3), 1, 2 * seed + 1)
        same.append(set_distances.kernel_distance(x, y))
        shares = set_distances.jackknife_pseudo_values(set_distances.kernel_distance, x + 0.5, y)
        assert shares.mean() == pytest.approx(set_distances.kernel_distance(x + 0.5, y), rel=1e-6)
        low, high = intervals.mean(shares, draws=500)[1:]
        covered += low <= truth <= high
    assert abs(np.mean(same)) < 3 * np.std(same) / np.sqrt(len(same))
    assert 0.86 <= covered / 100 <= 0.99


def test_what_is_no_pair_of_sets():
    with pytest.raises(InputError, match="at least two items"):
        set_distances.frechet_distance(np.zeros((1, 3)), np.zeros((4, 3)))
    with pytest.raises(InputError, match="same items"):
        set_distances.kernel_distance(np.zeros((3, 3)), np.zeros((4, 3)))
    assert np.isnan(
        set_distances.jackknife_pseudo_values(
            set_distances.frechet_distance, np.zeros((2, 3)), np.ones((2, 3))
        )
    ).all()


@dataclass(frozen=True)
class Means(FrameSetDistance):
    """Mean colour for a feature, so that no weights are needed."""

    name: str = "means"

    def missing(self):
        return None

    def features(self, clip):
        return np.mean([frame.mean((0, 1)) for frame in evenly_spaced_frames(clip, 4)], 0)


def test_a_method_has_one_number_in_the_results(tmp_path):
    edits = tuple(EditingMethod(f"by {n}", editor=lambda n=n: Shift(n), revision=str(n)) for n in (0, 40))
    definition = Sweep(
        benchmark(tmp_path / "bench", n=5),
        edits,
        (Means(tmp_path), FrameSetDistance(tmp_path / "dinov2-base"), ClipSetDistance(tmp_path / "viclip")),
    )
    run = runner.run_sweep(definition, SweepCache(tmp_path / "out"))
    assert (
        "wants facebook/dinov2-base" in run.skipped_metrics["DINO sets"]
        and "viclip" in run.skipped_metrics["ViCLIP sets"]
    )
    document = results.build_results(run).to_json()
    for column, distance in (
        ("means, Frechet", set_distances.frechet_distance),
        ("means, kernel", set_distances.kernel_distance),
    ):
        for method in ("by 0", "by 40"):
            notes = [run.results[method, i.id, "means"].notes["features"] for i in definition.benchmark.items]
            cell = document["summary"][column][method]["all"]
            x, y = (
                np.stack([np.frombuffer(base64.b64decode(n[s]), np.float16) for n in notes]).astype(float)
                for s in (0, 1)
            )
            assert cell["n"] == 5 and cell["low"] < cell["high"]
            if distance is set_distances.kernel_distance:
                assert cell["mean"] == pytest.approx(distance(x, y), rel=1e-3)
        assert document["wins"][column] == []  # an item has no number of its own that could win
    assert "features" not in str(document["scores"])
    summary = document["summary"]["means, Frechet"]
    assert (
        summary["by 40"]["all"]["mean"] < summary["by 0"]["all"]["mean"]
    )  # 40 is what the truth was moved by
