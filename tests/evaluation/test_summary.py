"""Means, differences and win rates of a column: what carries an interval, and what carries a verdict."""

import math

import numpy as np

from v2v.evaluation.metrics.base import Column
from v2v.evaluation.sweep.summary import ScoreTable, compare_methods, summarize_methods


def table(*rows, rate=False, lengths=None):
    values = np.array(rows, float)
    nothing = np.zeros(values.shape, bool)
    return ScoreTable(
        Column("x", rate=rate),
        values,
        nothing,
        nothing,
        np.full(values.shape, 24.0) if lengths is None else lengths,
    )


def summaries(*rows, rate=False):
    names = [f"m{k}" for k in range(len(rows))]
    kinds = ["a", "b"] * (len(rows[0]) // 2)
    return summarize_methods(table(*rows, rate=rate), names, kinds, "m0")


def test_two_items_have_students_interval_and_no_verdict():
    few = summaries([0.50, 0.52], [0.42, 0.44])["m1"]
    assert few.difference.mean < 0 and few.difference.high < 0 and not few.difference.clear
    cell = summaries([1.0, 0, 3.0, 0])["m0"].by_kind["a"]
    assert (cell.mean, cell.n) == (2, 2) and math.isclose(cell.high - cell.mean, 12.706, abs_tol=0.01)
    rng = np.random.default_rng(0)
    many = summaries(rng.normal(0, 1, 40), rng.normal(3, 1, 40))["m1"].difference
    assert many.clear and many.n == 40


def test_win_rate_with_ties_says_what_the_paired_difference_says():
    a, b = np.r_[np.ones(8), np.zeros(16)], np.zeros(24)
    wins = compare_methods(table(a, b, rate=True))
    assert wins[0][1].clear and 0.5 < wins[0][1].low < 0.6 and wins[0][1].high < 0.8
    assert (wins[0][1].wins, wins[0][1].ties, wins[0][1].losses) == (8, 16, 0)
    assert wins[1][0].clear and wins[1][0].high < 0.5
    delta = summaries(a, b, rate=True)["m1"].difference
    assert delta.clear and math.isclose(delta.low, 1 - 2 * wins[0][1].high, abs_tol=0.02)


def test_a_win_rate_of_few_items_has_no_interval():
    wins = compare_methods(table(np.ones(23), np.zeros(23)))[0][1]
    assert wins.mean == 1 and math.isnan(wins.low) and not wins.clear
    assert not math.isnan(compare_methods(table(np.ones(24), np.zeros(24)))[0][1].low)


def test_outputs_of_unequal_length_are_not_compared():
    rng = np.random.default_rng(1)
    a, b = rng.normal(0, 1, 40), rng.normal(3, 1, 40)
    lengths = np.full((2, 40), 24.0)
    lengths[1, :10] = 20
    scores = table(a, b, lengths=lengths)
    delta = summarize_methods(scores, ["m0", "m1"], ["a"] * 40, "m0")["m1"].difference
    assert (delta.n, delta.unequal, delta.clear) == (30, 10, True)
    assert np.isclose(delta.mean, (b - a)[10:].mean())
    wins = compare_methods(scores)[1][0]
    assert wins.wins + wins.ties + wins.losses == 30 and wins.unequal == 10
    lengths[1] = 20
    delta = summarize_methods(table(a, b, lengths=lengths), ["m0", "m1"], ["a"] * 40, "m0")["m1"].difference
    assert delta.n == 0 and math.isnan(delta.mean) and not delta.clear and delta.unequal == 40


def test_failures_keep_their_share_beside_items_that_were_not_scored():
    """24 items: 2 failed, 12 not scored because the judge went down, 10 with a grade of 6."""
    values = np.r_[np.full(2, np.nan), np.full(12, np.nan), np.full(10, 6.0)][None]
    failed, unscored = np.zeros((1, 24), bool), np.zeros((1, 24), bool)
    failed[0, :2], unscored[0, 2:14] = True, True
    column = Column("judge total", worst=0.0)
    scores = ScoreTable(column, values, failed, unscored, np.full((1, 24), 24.0))
    cell = summarize_methods(scores, ["m"], ["a"] * 24, "m")["m"].overall
    assert (cell.n, cell.scored, cell.failed, cell.unscored) == (24, 10, 2, 12)
    assert math.isclose(cell.mean, 6 * 22 / 24)
    nothing = ScoreTable(column, np.full((1, 24), np.nan), failed, ~failed, np.full((1, 24), 24.0))
    assert math.isnan(summarize_methods(nothing, ["m"], ["a"] * 24, "m")["m"].overall.mean)
