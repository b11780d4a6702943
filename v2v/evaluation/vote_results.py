"""What the votes of a study tell: shares, preference, agreement, how raters did on checks, and ratings for `v2v eval calibrate`.

A vote counts for A, for B, or as a tie. Shares are over items: an item's share is the mean over its raters, so that an item with many votes doesn't
outweigh the others. Preference is the share of A with ties as one half, from `FEWEST_COMPARED` items on with an interval (`intervals.share`, items
resampled: both edits of an item stay together); it is a verdict where that leaves out one half.

Agreement of raters, 1 = all alike, 0 = as by chance, over items with two votes or more:

    Krippendorff's alpha = 1 - D_o / D_e,   D_o = sum over items of disagreeing ordered pairs / (raters of the item - 1),   both per vote,
                                            D_e = disagreeing ordered pairs among all votes / (number of votes - 1)
    Fleiss' kappa = (P - P_e) / (1 - P_e),  P = mean over items of the share of agreeing pairs of raters, P_e = sum of squared shares of the answers

Raters who fail more than `MOST_FAILED` of their answers to checks are left out of all this, and named. Repeats don't count as votes; they say how
often a rater repeats their answer.
"""

from __future__ import annotations

import csv
import html
import io
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from v2v.evaluation import intervals
from v2v.evaluation.counts import format_count
from v2v.evaluation.html_page import frame_page
from v2v.evaluation.intervals import Interval
from v2v.evaluation.json_values import to_json_values
from v2v.evaluation.study import QUESTIONS, Study
from v2v.evaluation.sweep.summary import FEWEST_COMPARED
from v2v.evaluation.vote_store import Rater, Vote

OUTCOMES = ("A", "tie", "B")
# Share of answers to checks; more, and a rater wasn't watching.
MOST_FAILED = 1 / 3
# What noise can't do as well as an edit; an edit that did nothing follows its sentence no better than noise.
CHECKED_QUESTIONS = ("preservation", "quality")
_SCORES = {"A": 1.0, "tie": 0.5, "B": 0.0}


@dataclass(frozen=True)
class QuestionResult:
    """The votes on one question.

    Attributes:
      votes: number of votes.
      items: items with a vote.
      alpha: Krippendorff's alpha, or None where it is undefined.
      kappa: Fleiss' kappa, likewise.
      shares: share of each of OUTCOMES over items; None without votes.
      preference: share of A with ties as one half; ends are nan below FEWEST_COMPARED items, None without votes.
      by_kind: the same by kind of the item.
    """

    votes: int
    items: int
    alpha: float | None
    kappa: float | None
    shares: Mapping[str, Interval | None]
    preference: Interval | None
    by_kind: Mapping[str, Interval]

    @property
    def is_clear(self) -> bool:
        """Return whether the preference is a verdict."""
        return self.preference is not None and (self.preference.low > 0.5 or self.preference.high < 0.5)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; the shares are under their outcomes."""
        return {
            "votes": self.votes, "items": self.items, "alpha": self.alpha, "kappa": self.kappa,
            **{outcome: share and share._asdict() for outcome, share in self.shares.items()},
            "preference": self.preference and self.preference._asdict(), "clear": self.is_clear,
            "kinds": {kind: interval._asdict() for kind, interval in self.by_kind.items()},
        }  # fmt: skip


@dataclass(frozen=True)
class RaterResult:
    """How a rater did; the field names are keys of votes.json.

    Attributes:
      name: their name.
      answer_count: questions answered, checks and repeats included.
      question_count: questions that they have in all.
      checks: answers to checks.
      mistakes: answers to checks that took noise for the better edit, or for as good.
      repeated: answers to repeats.
      consistent: answers to repeats that are as the first time.
      seconds: median of seconds to a trial's last answer; None without an answer.
      left_out: whether they are left out for their checks.
    """

    name: str
    answer_count: int
    question_count: int
    checks: int
    mistakes: int
    repeated: int
    consistent: int
    seconds: float | None
    left_out: bool


@dataclass(frozen=True)
class VoteResult:
    """What the votes tell.

    Attributes:
      study: the study.
      questions: results by question.
      raters: how each did.
      votes: votes that count: on pairs, by raters who weren't left out.
    """

    study: Study
    questions: Mapping[str, QuestionResult]
    raters: Sequence[RaterResult]
    votes: Sequence[Vote]

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        values = {
            "study": self.study.id, "A": self.study.a, "B": self.study.b, "pairs": len(self.study.pairs),
            "questions": {name: question.to_json() for name, question in self.questions.items()},
            "raters": [asdict(rater) for rater in self.raters], "votes": len(self.votes),
        }  # fmt: skip
        return to_json_values(values)

    def format(self) -> str:
        """Return tables for people."""
        lines = [
            f"A = {self.study.a}", f"B = {self.study.b}",
            f"{format_count(len(self.raters), 'rater')}, {format_count(len(self.votes), 'vote')} on {format_count(len(self.study.pairs), 'pair')}", "",
            f"{'question':<14}{'A wins':<18}{'tie':<18}{'B wins':<18}{'prefer A':<18}{'items':<7}{'alpha':<7}kappa",
        ]  # fmt: skip
        for name, question in self.questions.items():
            cells = "".join(f"{format_share(question.shares[outcome]):<18}" for outcome in OUTCOMES)
            agreement = "".join(
                f"{'' if value is None else f'{value:.2f}':<7}" for value in (question.alpha, question.kappa)
            )
            lines.append(
                f"{name:<14}{cells}{format_share(question.preference):<18}{question.items:<7}{agreement}"
            )
        left_out = [rater.name for rater in self.raters if rater.left_out]
        if left_out:
            lines.append(f"left out, as they failed checks: {', '.join(left_out)}")
        return "\n".join(lines)


def evaluate_votes(study: Study, raters: Sequence[Rater], votes: Sequence[Vote]) -> VoteResult:
    """Evaluate the votes of a study.

    Args:
      study: the study.
      raters: all raters.
      votes: their last answers.
    """
    by_rater: dict[str, list[Vote]] = {rater.name: [] for rater in raters}
    for vote in votes:
        by_rater[vote.rater].append(vote)
    results = [_evaluate_rater(rater, by_rater[rater.name]) for rater in raters]
    out = {rater.name for rater in results if rater.left_out}
    valid_votes = [vote for vote in votes if vote.trial.kind == "pair" and vote.rater not in out]
    questions = {name: _evaluate_question(study, name, valid_votes) for name, _ in QUESTIONS}
    return VoteResult(study, questions, results, valid_votes)


def outcome_of(vote: Vote) -> str:
    """Return what a vote is for: A, B, tie, or noise."""
    if vote.choice == "tie":
        return "tie"
    return vote.trial.left if vote.choice == "left" else vote.trial.right


def krippendorff_alpha(items: Iterable[Sequence[str]]) -> float | None:
    """Compute Krippendorff's alpha of nominal votes; None where no item has two votes or all votes agree."""
    items = [votes for votes in items if len(votes) > 1]
    total = Counter(v for votes in items for v in votes)
    n = sum(total.values())
    if not items or len(total) < 2:
        return None
    expected = (n * n - sum(c * c for c in total.values())) / (n - 1)
    observed = sum((len(v) ** 2 - sum(c * c for c in Counter(v).values())) / (len(v) - 1) for v in items)
    return 1 - observed / expected


def fleiss_kappa(items: Iterable[Sequence[str]]) -> float | None:
    """Compute Fleiss' kappa of nominal votes, of items with different numbers of raters too; None as for `krippendorff_alpha`."""
    items = [votes for votes in items if len(votes) > 1]
    total = Counter(v for votes in items for v in votes)
    n = sum(total.values())
    if not items or len(total) < 2:
        return None
    agreement = statistics.fmean(
        sum(c * (c - 1) for c in Counter(votes).values()) / (len(votes) * (len(votes) - 1)) for votes in items
    )
    chance = sum((c / n) ** 2 for c in total.values())
    return (agreement - chance) / (1 - chance)


def format_ratings(result: VoteResult, question: str = "") -> str:
    """Format the votes as a table for `v2v eval calibrate`: a rating of 1 for the better edit of a pair, 0 for the other, a half each for a tie.

    Args:
      result: the votes.
      question: the one that counts; "" for the mean of all that a rater answered.
    """
    ratings: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for vote in result.votes:
        if question in ("", vote.question):
            ratings[result.study.pair(vote.trial.pair).item, vote.rater].append(_SCORES[outcome_of(vote)])
    out = io.StringIO()
    write = csv.writer(out, lineterminator="\n")
    write.writerow(("item", "method", "rater", "score"))
    for (item, rater), scores in ratings.items():
        score = statistics.fmean(scores)
        for method, value in zip(result.study.methods, (score, 1 - score), strict=True):
            write.writerow((item, method, rater, round(value, 6)))
    return out.getvalue()


def format_share(share: Interval | None) -> str:
    """Format a share in percent with its interval, if it has one."""
    if share is None:
        return ""
    ends = "" if share.low != share.low else f" [{100 * share.low:.0f}, {100 * share.high:.0f}]"
    return f"{100 * share.mean:.0f}{ends}"


def build_vote_report(result: VoteResult) -> str:
    """Build the page of a study's results."""
    study, escape = result.study, html.escape
    questions = dict(QUESTIONS)
    rows = []
    for name, question in result.questions.items():
        shares = [question.shares[outcome] for outcome in OUTCOMES]
        bar = "".join(
            f'<i class="{outcome}" style="width:{100 * share.mean:.1f}%"></i>'
            for outcome, share in zip(OUTCOMES, shares, strict=True)
            if share
        )
        verdict = ""
        if question.is_clear and question.preference:
            verdict = "A is preferred" if question.preference.mean > 0.5 else "B is preferred"
        elif question.items:
            fewest = f"no verdict below {FEWEST_COMPARED} items"
            verdict = "no clear difference" if question.items >= FEWEST_COMPARED else fewest
        agreement = ["–" if v is None else f"{v:.2f}" for v in (question.alpha, question.kappa)]
        cells = [*(format_share(share) or "–" for share in shares), format_share(question.preference) or "–"]
        rows.append(
            [escape(questions[name]), f'<span class="bar">{bar}</span>', *cells, str(question.items), *agreement, verdict]
        )  # fmt: skip
    kinds = sorted({kind for question in result.questions.values() for kind in question.by_kind})
    kind_rows = [
        [escape(kind), *(format_share(q.by_kind.get(kind)) or "–" for q in result.questions.values())]
        for kind in kinds
    ]
    rater_rows = [
        [
            escape(r.name), f"{r.answer_count} of {r.question_count}", f"{r.checks - r.mistakes} of {r.checks}", f"{r.consistent} of {r.repeated}",
            "–" if r.seconds is None else f"{r.seconds:.0f}", "left out" if r.left_out else "",
        ]
        for r in result.raters
    ]  # fmt: skip
    style = """\
.bar i { display: inline-block; height: .9rem; } td .bar { display: flex; width: 12rem; gap: 0; }
.A { background: #2a6fdb; } .tie { background: #9aa3ad; } .B { background: #d9822b; }
"""
    heads = (
        "question",
        "A, tie, B",
        "A wins %",
        "tie %",
        "B wins %",
        "prefer A %",
        "items",
        "alpha",
        "kappa",
        "",
    )
    rater_heads = ("rater", "answered", "checks passed", "repeats alike", "seconds a pair", "")
    body = f"""\
<header><h1>What people prefer</h1>
<p>A: {escape(study.a)}<br>B: {escape(study.b)}<br>{format_count(len(study.pairs), "pair")}, {format_count(len(result.raters), "rater")}, {format_count(len(result.votes), "vote that counts", "votes that count")}.</p></header>
<div class="scroll">{_table(heads, rows)}</div>
<p class="note">Shares are means over items, brackets 95 % intervals by resampling items. Preference counts a tie as one half and has an interval from
{FEWEST_COMPARED} items on. Alpha (Krippendorff) and kappa (Fleiss): 1 where raters agree, 0 as by chance.</p>
<h2>Preference of A by kind, %</h2><div class="scroll">{_table(("kind", *result.questions), kind_rows)}</div>
<h2>Raters</h2><div class="scroll">{_table(rater_heads, rater_rows)}</div>
<p class="note">In a check one side is noise, which keeps and looks like nothing. Who fails more than a third of these questions is left out of the figures above.</p>"""
    return frame_page("Votes", body, style)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of HTML; cells are HTML already."""
    head = "".join(f"<th>{html.escape(text)}</th>" for text in heads)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _evaluate_rater(rater: Rater, votes: Sequence[Vote]) -> RaterResult:
    checks = [vote for vote in votes if vote.trial.kind == "check" and vote.question in CHECKED_QUESTIONS]
    mistakes = sum(outcome_of(vote) in ("tie", "noise") for vote in checks)
    first = {(v.trial.pair, v.question): outcome_of(v) for v in votes if v.trial.kind == "pair"}
    repeats = [
        outcome_of(vote) == first[vote.trial.pair, vote.question]
        for vote in votes
        if vote.trial.kind == "repeat" and (vote.trial.pair, vote.question) in first
    ]
    seconds: dict[int, float] = {}
    for vote in votes:
        seconds[vote.number] = max(vote.seconds, seconds.get(vote.number, 0.0))
    return RaterResult(
        name=rater.name,
        answer_count=len(votes),
        question_count=len(rater.trials) * len(QUESTIONS),
        checks=len(checks),
        mistakes=mistakes,
        repeated=len(repeats),
        consistent=sum(repeats),
        seconds=statistics.median(seconds.values()) if seconds else None,
        left_out=bool(checks) and mistakes > MOST_FAILED * len(checks),
    )


def _evaluate_question(study: Study, question: str, votes: Sequence[Vote]) -> QuestionResult:
    # In the study's order, so that figures don't depend on that of the votes.
    outcomes: dict[str, list[str]] = {pair.id: [] for pair in study.pairs}
    for vote in votes:
        if vote.question == question:
            outcomes[vote.trial.pair].append(outcome_of(vote))
    by_pair = {pair: values for pair, values in outcomes.items() if values}
    shares = {
        outcome: [votes.count(outcome) / len(votes) for votes in by_pair.values()] for outcome in OUTCOMES
    }
    preferences = {
        pair: statistics.fmean(_SCORES[outcome] for outcome in votes) for pair, votes in by_pair.items()
    }
    by_kind: defaultdict[str, list[float]] = defaultdict(list)
    for pair, preference in preferences.items():
        by_kind[study.pair(pair).kind].append(preference)
    return QuestionResult(
        votes=sum(map(len, by_pair.values())),
        items=len(by_pair),
        alpha=krippendorff_alpha(by_pair.values()),
        kappa=fleiss_kappa(by_pair.values()),
        shares={outcome: intervals.share(share) if share else None for outcome, share in shares.items()},
        preference=_preference([*preferences.values()]) if preferences else None,
        by_kind={kind: _preference(values) for kind, values in by_kind.items()},
    )


def _preference(scores: Sequence[float]) -> Interval:
    """Return the mean of scores with an interval, where they are enough for one."""
    if len(scores) >= FEWEST_COMPARED:
        return intervals.share(scores)
    return Interval(statistics.fmean(scores), float("nan"), float("nan"))
