"""How far metrics and judges agree with people: ratings of people beside the scores of a run.

    v2v eval calibrate RATINGS.csv --out runs/sweep

RATINGS.csv has the columns item, method, rater and score, a row for each rating; a higher score is better, on whatever scale. The ratings of an
output are brought to one scale (each rater's scores minus their mean, divided by their standard deviation, where a rater gave different
scores) and averaged over raters. Then, for every column of the run that has a better direction,

    spearman, kendall      rank correlation over all rated outputs, Kendall's tau-b; the column's sign is turned where lower is better
    pairwise agreement     share of pairs of outputs of one item that people tell apart, in which the column prefers the same one; a tie of the
                           column counts half. Chance is 50 %

with 95 % intervals by resampling items (all outputs of an item together; `intervals.py` says how percentiles are widened), from
`FEWEST_ITEMS` items on. Correlation over all outputs also rewards knowing which items are easy; the pairwise agreement doesn't.

Beside them stands what people reach themselves: each rater against the mean of the others, in the same three measures. A column that agrees
with people as well as people agree with each other can't be told from a rater.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from v2v.data.table_file import format_value, iterate_items
from v2v.errors import InputError
from v2v.evaluation.counts import format_count
from v2v.evaluation.intervals import Interval, from_resamples, rate
from v2v.evaluation.json_values import to_json_values
from v2v.evaluation.sweep.results import PEOPLE

COLUMNS = ("item", "method", "rater", "score")
# Items from which there is an interval, and resamples of items.
FEWEST_ITEMS, DRAWS = 8, 1000
MEASURES = ("spearman", "kendall", "pairwise")

# An output: item and method.
Output = tuple[str, str]


@dataclass(frozen=True)
class Rating:
    """One rating of one output.

    Attributes:
      item: id of the item.
      method: name of the method.
      rater: who gave it.
      score: higher is better.
    """

    item: str
    method: str
    rater: str
    score: float


@dataclass(frozen=True)
class Agreement:
    """The agreement of one column with people; the field names are keys of calibration.json.

    Attributes:
      column: name of the column, or PEOPLE for raters against each other.
      outputs: outputs that have a score and a rating.
      items: items of these.
      pairs: pairs of outputs of an item that people tell apart.
      spearman: rank correlation with its interval; ends are nan below FEWEST_ITEMS items.
      kendall: Kendall's tau-b, likewise.
      pairwise: pairwise agreement, likewise.
      identity: identity of the metric or judge, JSON-able, by which a later report knows whether it is the same.
    """

    column: str
    outputs: int
    items: int
    pairs: int
    spearman: Interval
    kendall: Interval
    pairwise: Interval
    identity: Any = None

    def to_json(self) -> dict[str, Any]:
        """Return the agreement as JSON values, intervals as {"mean", "low", "high"}."""
        measures = {name: vars(self)[name]._asdict() for name in MEASURES}
        return to_json_values({**asdict(self), **measures})


@dataclass(frozen=True)
class Calibration:
    """The agreement of a run's columns with people.

    Attributes:
      agreements: by column, in the order of the run; those of people with each other last, where there are two raters.
      raters: number of raters.
      ratings: number of ratings that were used.
      unmatched: number of ratings by reason for which the run has no output, item or method of theirs.
    """

    agreements: Sequence[Agreement]
    raters: int
    ratings: int
    unmatched: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """Return the calibration as JSON values."""
        return {
            "raters": self.raters,
            "ratings": self.ratings,
            "unmatched": dict(self.unmatched),
            "columns": [agreement.to_json() for agreement in self.agreements],
        }

    def format(self) -> str:
        """Return the calibration as a table of Markdown."""
        lines = [f"Agreement with people: {format_count(self.ratings, 'rating')} of {format_count(self.raters, 'rater')}, 95 % intervals over items.", ""]  # fmt: skip
        lines += ["| column | Spearman | Kendall | pairwise agreement | outputs | items | pairs |", "|---|---|---|---|---|---|---|"]  # fmt: skip
        for a in self.agreements:
            name = "people with each other" if a.column == PEOPLE else a.column.replace("|", "\\|")
            cells = [_format_interval(a.spearman), _format_interval(a.kendall), _format_interval(a.pairwise, 100)]  # fmt: skip
            lines.append(f"| {name} | {' | '.join(cells)} | {a.outputs} | {a.items} | {a.pairs} |")
        lines += [
            f"\n{format_count(count, 'rating')} not used: {reason}"
            for reason, count in self.unmatched.items()
        ]
        return "\n".join(lines) + "\n"


def read_ratings(file: Path | str) -> list[Rating]:
    """Read a table of ratings: CSV, JSON Lines or a JSON list.

    Raises:
      InputError: a table that can't be read or has no row, a missing column, a score that is no number, or a rater who rated an output twice.
    """
    ratings = []
    for row in iterate_items(Path(file)):
        place = f"{file}, line {row.line}"
        if row.problem:
            raise InputError(f"{place}: {row.problem}")
        missing = [name for name in COLUMNS if row.fields.get(name) in (None, "")]
        if missing:
            raise InputError(f"{place}: expected the columns {', '.join(COLUMNS)}; {missing[0]} is missing")
        value = row.fields["score"]
        try:
            score = float(value) if not isinstance(value, bool) else math.nan
        except (TypeError, ValueError):
            score = math.nan
        if not math.isfinite(score):
            raise InputError(f"{place}: score: expected a number, got {format_value(value)}")
        item, method, rater = (str(row.fields[name]) for name in COLUMNS[:3])
        ratings.append(Rating(item, method, rater, score))
    if not ratings:
        raise InputError(f"{file}: expected ratings, got none")
    repeated = [key for key, n in Counter((r.item, r.method, r.rater) for r in ratings).items() if n > 1]
    if repeated:
        item, method, rater = repeated[0]
        raise InputError(
            f"{file}: expected one rating an output of each rater, got {rater} twice for item {item}, {method}; remove one"
        )
    return ratings


def calibrate(ratings: Sequence[Rating], run: Mapping[str, Any]) -> Calibration:
    """Compare people's ratings with the scores of a run.

    Args:
      ratings: of `read_ratings`.
      run: the document `results.json` of the run.

    Raises:
      InputError: no rating belongs to an output of the run.
    """
    outputs = {(edit["item"], edit["method"]) for edit in run["edits"] if edit["status"] == "ok"}
    items, methods = {item["id"] for item in run["items"]}, {method["name"] for method in run["methods"]}
    matched, unmatched = [], Counter()
    for rating in ratings:
        if (rating.item, rating.method) in outputs:
            matched.append(rating)
        elif rating.item not in items:
            unmatched["no such item in the run"] += 1
        elif rating.method not in methods:
            unmatched["no such method in the run"] += 1
        else:
            unmatched["the run has no output there"] += 1
    if not matched:
        reasons = ", ".join(f"{count} {reason}" for reason, count in unmatched.items())
        raise InputError(
            f"ratings: expected items and methods of the run, such as {min(items, default='')!r} and {min(methods, default='')!r}; "
            f"got none ({reasons})"
        )
    by_rater = _standardize(matched)
    people = _mean_ratings(by_rater.values())
    scores = _read_scores(run)
    agreements = [
        _measure(column["name"], people, scores.get(column["name"], {}), _sign(column), column["identity"])
        for column in run["columns"]
        if column["better"] != "neither"
    ]
    if len(by_rater) > 1:
        agreements.append(_measure_people(by_rater))
    return Calibration(agreements, len(by_rater), len(matched), dict(unmatched))


def _sign(column: Mapping[str, Any]) -> int:
    return 1 if column["better"] == "higher" else -1


def _read_scores(run: Mapping[str, Any]) -> dict[str, dict[Output, float]]:
    """Return the scores of a run by column and output."""
    scores: dict[str, dict[Output, float]] = defaultdict(dict)
    for entry in run["scores"]:
        for column, value in entry["values"].items():
            # Infinite values are written as texts.
            number = float(value) if value is not None else math.nan
            if not math.isnan(number):
                scores[column][entry["item"], entry["method"]] = number
    return scores


def _standardize(ratings: Sequence[Rating]) -> dict[str, dict[Output, float]]:
    """Return the ratings by rater and output, each rater's with mean 0 and, where they differ, standard deviation 1."""
    by_rater: dict[str, dict[Output, float]] = defaultdict(dict)
    for rating in ratings:
        by_rater[rating.rater][rating.item, rating.method] = rating.score
    for scores_of_rater in by_rater.values():
        values = np.array(list(scores_of_rater.values()))
        spread = values.std()
        scores_of_rater.update(
            zip(scores_of_rater, ((values - values.mean()) / (spread or 1.0)).tolist(), strict=True)
        )
    return by_rater


def _mean_ratings(raters: Any) -> dict[Output, float]:
    values: dict[Output, list[float]] = defaultdict(list)
    for scores_of_rater in raters:
        for output, score in scores_of_rater.items():
            values[output].append(score)
    return {output: float(np.mean(scores)) for output, scores in values.items()}


def _measure(
    name: str, people: Mapping[Output, float], scores: Mapping[Output, float], sign: int, identity: Any
) -> Agreement:
    """Return the agreement of one column with people."""
    pairs_of_values = {output: (people[output], sign * scores[output]) for output in people if output in scores}  # fmt: skip
    return _agree(name, [pairs_of_values], identity)


def _measure_people(by_rater: Mapping[str, Mapping[Output, float]]) -> Agreement:
    """Return the agreement of each rater with the mean of the others."""
    sets = []
    for rater, scores_of_rater in by_rater.items():
        others = _mean_ratings(other for name, other in by_rater.items() if name != rater)
        sets.append(
            {
                output: (others[output], scores_of_rater[output])
                for output in scores_of_rater
                if output in others
            }
        )
    return _agree(PEOPLE, sets, None)


@dataclass(frozen=True)
class _PairedValues:
    """Two values of each output, those of people first.

    Attributes:
      values: [outputs, 2].
      items: number of the item of each output, [outputs].
      agreed: by item, pairs of outputs that people tell apart and in which the second values prefer the same; a tie of these is a half.
      pairs: by item, pairs of outputs that people tell apart.
    """

    values: np.ndarray
    items: np.ndarray
    agreed: np.ndarray
    pairs: np.ndarray

    def draw(self, weights: np.ndarray) -> np.ndarray:
        """Return the values of the outputs, those of each item as often as the item was drawn."""
        return self.values[np.repeat(np.arange(len(self.values)), weights[self.items])]


def _agree(name: str, sets: Sequence[Mapping[Output, tuple[float, float]]], identity: Any) -> Agreement:
    """Return the agreement of two values of each output; the mean over several sets of them."""
    names = sorted({item for values in sets for item, _ in values})
    pairings = [_pair(values, names) for values in sets]
    n, draws = len(names), []
    if n >= FEWEST_ITEMS:
        draws = list(np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), DRAWS))

    def find_interval(measure: Callable[[_PairedValues, np.ndarray], float]) -> Interval:
        def mean_over_sets(weights: np.ndarray) -> float:
            values = [measure(pairing, weights) for pairing in pairings]
            finite = [value for value in values if math.isfinite(value)]
            return float(np.mean(finite)) if finite else math.nan

        estimate = mean_over_sets(np.ones(n, int))
        resampled = np.array([mean_over_sets(weights) for weights in draws])
        resampled = resampled[np.isfinite(resampled)]
        if len(resampled) < DRAWS // 2 or not math.isfinite(estimate):
            return Interval(estimate, math.nan, math.nan)
        return from_resamples(estimate, resampled, n)

    pairwise = find_interval(_pairwise)
    compared = int(np.any([pairing.pairs > 0 for pairing in pairings], axis=0).sum())
    if pairwise.mean in (0, 1) and compared >= FEWEST_ITEMS:
        # Resampling nothing but agreement would give certainty.
        pairwise = rate(np.full(compared, pairwise.mean))
    return Agreement(
        name,
        outputs=sum(map(len, sets)),
        items=n,
        pairs=sum(int(pairing.pairs.sum()) for pairing in pairings),
        spearman=find_interval(_spearman),
        kendall=find_interval(_kendall),
        pairwise=pairwise,
        identity=identity,
    )


def _pair(values: Mapping[Output, tuple[float, float]], names: Sequence[str]) -> _PairedValues:
    """Return the two values of each output, with items by their place in `names`."""
    number = {item: k for k, item in enumerate(names)}
    groups: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for (item, _), pair in values.items():
        groups[number[item]].append(pair)
    agreed, pairs = np.zeros(len(names)), np.zeros(len(names), int)
    for k, group in groups.items():
        for (a, x), (b, y) in itertools.combinations(group, 2):
            if a != b:
                agreed[k] += 0.5 if x == y else float((a > b) == (x > y))
                pairs[k] += 1
    items = np.array([number[item] for item, _ in values], int)
    return _PairedValues(np.array(list(values.values())).reshape(-1, 2), items, agreed, pairs)


def _spearman(pairing: _PairedValues, weights: np.ndarray) -> float:
    values = pairing.draw(weights)
    if _is_constant(values):
        return math.nan
    return float(np.corrcoef(stats.rankdata(values, axis=0).T)[0, 1])


def _kendall(pairing: _PairedValues, weights: np.ndarray) -> float:
    values = pairing.draw(weights)
    return (
        math.nan
        if _is_constant(values)
        else float(np.asarray(stats.kendalltau(values[:, 0], values[:, 1]))[0])
    )


def _is_constant(values: np.ndarray) -> bool:
    """Return whether one of the two values is the same everywhere, or there is none."""
    return not len(values) or bool((values == values[0]).all(0).any())


def _pairwise(pairing: _PairedValues, weights: np.ndarray) -> float:
    pairs = int(weights @ pairing.pairs)
    return float(weights @ pairing.agreed) / pairs if pairs else math.nan


def _format_interval(interval: Interval, scale: float = 1) -> str:
    low, mean, high = (x * scale for x in (interval.low, interval.mean, interval.high))
    digits, unit = (0, " %") if scale == 100 else (2, "")
    if math.isnan(mean):
        return "–"
    ends = "" if math.isnan(low) else f" [{low:.{digits}f}, {high:.{digits}f}]"
    return f"{mean:.{digits}f}{unit}{ends}"
