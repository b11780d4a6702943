"""Intervals: coverage by simulation, and the cases where a naive bootstrap lies."""

import math

import numpy as np
import pytest

from v2v.errors import InputError
from v2v.evaluation import intervals

TRIALS = 4000  # standard error of a coverage of 95 %: 0.35 %


def coverage(interval, truth):
    return np.mean((interval.low <= truth) & (truth <= interval.high))


@pytest.mark.parametrize("n", [10, 40])
def test_mean_covers_95_percent(n):
    scores = np.random.default_rng(n).normal(3.0, 2.0, (TRIALS, n))
    assert 0.93 < coverage(intervals.mean(scores, draws=1000), 3.0) < 0.97
    assert 0.77 < coverage(intervals.mean(scores, draws=1000, level=0.8), 3.0) < 0.83


def test_mean_covers_95_percent_of_skewed_scores():
    scores = np.random.default_rng(0).gamma(2.0, 1.0, (TRIALS, 50))
    assert 0.93 < coverage(intervals.mean(scores, draws=1000), 2.0) < 0.97


def test_mean_of_symmetric_scores_is_students_interval():
    scores = np.linspace(-1, 1, 12)
    interval = intervals.mean(scores, draws=100_000)
    expected = 2.201 * scores.std(ddof=1) / np.sqrt(12)  # t of 11 degrees of freedom
    assert -interval.low == pytest.approx(expected, rel=0.03) and interval.high == pytest.approx(
        expected, rel=0.03
    )


def test_paired_difference_covers_and_is_narrower_than_unpaired():
    rng = np.random.default_rng(1)
    common = rng.normal(0, 5, (TRIALS, 30))
    a, b = common + rng.normal(1, 1, common.shape), common + rng.normal(0, 1, common.shape)
    paired = intervals.difference(a, b, draws=1000)
    assert 0.93 < coverage(paired, 1.0) < 0.97
    unpaired = intervals.mean(a, draws=1000)
    assert np.mean(paired.high - paired.low) < 0.5 * np.mean(unpaired.high - unpaired.low)


def test_ratio_covers_95_percent():
    rng = np.random.default_rng(2)
    b = rng.gamma(9.0, 1.0, (TRIALS, 40))
    a = 0.7 * b + rng.normal(0, 0.5, b.shape)
    assert 0.93 < coverage(intervals.ratio(a, b, draws=1000), 0.7) < 0.97


@pytest.mark.parametrize("n", [12, 256])
def test_rate_covers_95_percent_over_rates(n):
    rng = np.random.default_rng(3)
    truth = rng.uniform(0.5, 1.0, TRIALS)
    interval = intervals.rate(rng.random((TRIALS, n)) < truth[:, None])
    assert 0.93 < coverage(interval, truth) < 0.97


def test_rate_is_what_resampling_gives_where_resampling_works():
    successes = np.arange(256) % 5 > 0
    a, b = intervals.rate(successes), intervals.mean(successes)
    assert a.mean == b.mean == pytest.approx(0.8, abs=0.01)
    assert np.allclose(a[1:], b[1:], atol=0.01)


def test_twelve_successes_of_twelve_are_no_certainty():
    interval = intervals.rate(np.ones(12))
    assert interval.mean == interval.high == 1 and 0.75 < interval.low < 0.9
    none = intervals.rate(np.zeros(12))
    assert none.low == 0 and none.high == pytest.approx(1 - interval.low)


def test_seed_decides_everything():
    scores = np.random.default_rng(4).normal(size=25)
    assert intervals.mean(scores) == intervals.mean(scores) != intervals.mean(scores, seed=1)
    rows = intervals.mean(np.stack([scores, scores]))
    assert rows.low[0] == rows.low[1] == pytest.approx(intervals.mean(scores).low)


def test_bad_scores():
    assert math.isnan(intervals.mean([1.0]).low)
    for scores, words in (([], "at least one"), ([1.0, np.nan], "1 of 2")):
        with pytest.raises(InputError, match=words):
            intervals.mean(scores)
    with pytest.raises(InputError, match="same items"):
        intervals.difference([1.0, 2.0], [1.0])


@pytest.mark.parametrize("n", [2, 3, 4, 5, 7, 8, 20, 200])
def test_mean_covers_94_to_96_percent_of_normal_scores_at_any_number(n):
    scores = np.random.default_rng(n).normal(3.0, 2.0, (4 * TRIALS, n))
    assert (
        0.938 < coverage(intervals.mean(scores, draws=1000), 3.0) < 0.962
    )  # 94 to 96, two standard errors less


def test_few_items_have_no_interval_of_a_ratio():
    assert math.isnan(intervals.ratio([1.0, 2, 3], [2.0, 3, 4]).low)
    assert intervals.ratio(np.arange(1.0, 9), np.arange(2.0, 10)).low > 0


@pytest.mark.parametrize("n, least", [(5, 0.78), (24, 0.85), (100, 0.89)])
def test_rates_cover_on_average_over_p_and_not_much_less_anywhere(n, least):
    """Jeffreys' interval: 95 % on average over p; the minimum is what it is at rates near 0 and 1."""
    rng, truth = np.random.default_rng(5), np.linspace(0.02, 0.98, 49)
    covers = [coverage(intervals.rate(rng.random((2000, n)) < p), p) for p in truth]
    assert 0.93 < np.mean(covers) < 0.97 and min(covers) > least


@pytest.mark.parametrize("n", [50, 200])
@pytest.mark.parametrize("ties", [0.0, 0.3, 0.7, 0.9])
def test_shares_with_ties_cover_95_percent(n, ties):
    rng = np.random.default_rng(6)
    for win in (0.5, 0.6, 0.75):
        p = [(1 - ties) * (1 - win), ties, (1 - ties) * win]
        points = rng.choice([0, 0.5, 1], p=p, size=(TRIALS, n))
        assert 0.93 < coverage(intervals.share(points, draws=1000), p[2] + ties / 2) < 0.97


def test_a_share_of_zeros_and_ones_is_a_rate():
    for k in (0, 3, 12):
        outcomes = np.arange(12) < k
        share, rate = intervals.share(outcomes, draws=100_000), intervals.rate(outcomes)
        assert np.allclose(share, rate, atol=0.005)
    with pytest.raises(InputError, match="from 0 to 1"):
        intervals.share([0.5, 2.0])
