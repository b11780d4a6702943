"""Blind pairwise comparison by people: the page, its key, and the evaluation of votes.

`write_study` writes one HTML file with source, left and right edit on one clock and the paper's three questions (EasyV2V, Fig. V): which edit
follows the instruction better, preserves the remainder better, looks better. The order of items and the sides are shuffled by a seed. Which
side is which method is only in the key, a file beside the page that raters do not get.

`score_votes` joins the key and files of votes. A vote counts for a method, or as a tie. Shares are over items: an item's share is the mean
over its raters, so that an item with many votes does not outweigh the others. Intervals are `intervals.share`. Agreement is Krippendorff's alpha for nominal data, 1 = all alike, 0 = as by chance:

    alpha = 1 - D_o / D_e,    D_o = sum over items of disagreeing ordered pairs / (raters of the item - 1),   both per vote,
    D_e = disagreeing ordered pairs among all votes / (number of votes - 1).
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from v2v.errors import InputError
from v2v.evaluation import intervals
from v2v.evaluation.cache import SweepCache, digest, write_text_atomically
from v2v.evaluation.html_page import fill_page
from v2v.evaluation.intervals import Interval
from v2v.evaluation.metrics.clips import Clip
from v2v.evaluation.sweep.report import encode_preview
from v2v.runtime import text_files

QUESTIONS = (
    ("instruction", "Which edit does better what the sentence asks?"),
    ("preservation", "Which edit keeps better what should stay as it was?"),
    ("quality", "Which edit looks better?"),
)
# Longest side of the clips in pixels.
PREVIEW_SIDE = 640
CHOICES = ("A", "tie", "B")


@dataclass(frozen=True)
class StudyPage:
    """A study that was written.

    Attributes:
      pairs: number of comparisons.
      key: path of the key.
    """

    pairs: int
    key: Path


@dataclass(frozen=True)
class QuestionResult:
    """The votes on one question.

    Attributes:
      votes: number of votes.
      items: items with a vote.
      alpha: Krippendorff's alpha, or None where it is undefined.
      shares: share of each of CHOICES over items; None without votes.
    """

    votes: int
    items: int
    alpha: float | None
    shares: dict[str, Interval | None]

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; the shares are under their choices."""
        shares = {choice: share and share._asdict() for choice, share in self.shares.items()}
        return {"votes": self.votes, "items": self.items, "alpha": self.alpha, **shares}


@dataclass(frozen=True)
class VoteResult:
    """The evaluation of a study.

    Attributes:
      a: the method called A.
      b: the method called B.
      raters: number of raters.
      questions: results by question.
      votes: number of answered questions.
      unanswered: number of others.
    """

    a: str
    b: str
    raters: int
    questions: dict[str, QuestionResult]
    votes: int
    unanswered: int

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "A": self.a,
            "B": self.b,
            "raters": self.raters,
            "questions": {name: question.to_json() for name, question in self.questions.items()},
            "votes": self.votes,
            "unanswered": self.unanswered,
        }

    def format(self) -> str:
        """Return a table for people."""
        lines = [
            f"A = {self.a}",
            f"B = {self.b}",
            f"{self.raters} raters, {self.votes} votes, {self.unanswered} questions unanswered",
            "",
            f"{'question':<14}{'A wins':<18}{'tie':<18}{'B wins':<18}{'items':<7}agreement (alpha)",
        ]
        for name, question in self.questions.items():
            cells = "".join(f"{_format_share(question.shares[choice]):<18}" for choice in CHOICES)
            alpha = "one rater an item" if question.alpha is None else f"{question.alpha:.2f}"
            lines.append(f"{name:<14}{cells}{question.items:<7}{alpha}")
        return "\n".join(lines)


@dataclass(frozen=True)
class _Side:
    """One method of a finished sweep: its existing outputs by item, and the items of results.json by id."""

    outputs: dict[str, Path]
    items: dict[str, dict]


def write_study(
    a: str, b: str, out: Path, cache: SweepCache, *, seed: int = 0, limit: int | None = None
) -> StudyPage:
    """Write the study page of two methods and its key.

    Args:
      a: first side, "SWEEP-FOLDER:method" of a finished sweep.
      b: second side; of the same sweep or of another one over the same items.
      out: the page; the key gets its name with .key.json.
      cache: the sweep cache with the previews.
      seed: of the order of items and sides.
      limit: number of items, evenly from all kinds; None for all.

    Raises:
      InputError: no such sweep or method, the same side twice, or no item that both have.
    """
    sides = [_read_side(a), _read_side(b)]
    if a == b:
        raise InputError(f"ab: expected two different sides, got {a} twice")
    shared = [i for i in sides[0].outputs if i in sides[1].outputs]
    if not shared:
        raise InputError(
            f"ab: {a} and {b} have no item in common with an output each; compare sweeps of one benchmark"
        )
    items = {i: sides[0].items[i] for i in shared}
    rng = random.Random(seed)
    if limit is not None and limit < len(shared):
        shared = _select_evenly(shared, items, limit, rng)
    rng.shuffle(shared)
    pairs, key, media = [], {}, {}
    for number, name in enumerate(shared):
        first = rng.randrange(2)
        source = Path(items[name]["source"])
        fps = min(60.0, max(1.0, Clip(source).fps))
        files = (source, sides[first].outputs[name], sides[1 - first].outputs[name])
        media_ids = []
        for path in files:
            ident = f"m{len(media)}"
            media[ident] = encode_preview(path, fps, cache, PREVIEW_SIDE).to_json()
            media_ids.append(ident)
        pairs.append({"id": f"p{number}", "fps": fps, "instruction": items[name]["instruction"],
                      "source": media_ids[0], "left": media_ids[1], "right": media_ids[2]})  # fmt: skip
        key[f"p{number}"] = {
            "item": name,
            "kind": items[name]["kind"],
            "left": "AB"[first],
            "right": "AB"[1 - first],
        }
    study = digest([a, b, seed, key])[:12]
    questions = [{"id": k, "text": t} for k, t in QUESTIONS]
    data = {"study": study, "questions": questions, "pairs": pairs}
    text = fill_page("study.html", "Which edit is better?", data, media, ("player.js", "study.js"))
    out = Path(out)
    write_text_atomically(out, text)
    write_text_atomically(key_path(out), json.dumps({"study": study, "A": a, "B": b, "pairs": key}, indent=1))
    return StudyPage(len(pairs), key_path(out))


def key_path(out: Path) -> Path:
    """Return the path of the key of a study page."""
    return out.with_name(f"{out.stem}.key.json")


def score_votes(key: Path, files: Sequence[Path]) -> VoteResult:
    """Combine a key and files of votes.

    Args:
      key: the key of a study.
      files: files that raters saved, one per rater.

    Raises:
      InputError: a file that isn't a key or a vote, votes of another study, the same rater twice, no votes at all.
    """
    study_key = _json(key, ("study", "A", "B", "pairs"), "the key of a study")
    if not _maps_to_objects(study_key["pairs"]) or not all(
        pair.get(side) in ("A", "B") for pair in study_key["pairs"].values() for side in ("left", "right")
    ):
        raise InputError(f"{key}: expected the key of a study, with A or B for each side of a pair")
    raters: dict[str, dict] = {}
    for path in files:
        votes = _json(path, ("study", "rater", "votes"), "votes saved by a study page")
        if votes["study"] != study_key["study"]:
            raise InputError(
                f"{path}: votes of study {votes['study']}, the key is of {study_key['study']}; leave the file out"
            )
        if not isinstance(votes["rater"], str) or not _maps_to_objects(votes["votes"]):
            raise InputError(f"{path}: expected votes saved by a study page, with answers for each pair")
        if votes["rater"] in raters:
            raise InputError(
                f"{path}: rater {votes['rater']!r} has voted in another file already; leave one out"
            )
        raters[votes["rater"]] = votes["votes"]
    questions = {name: _score_question(name, study_key["pairs"], raters) for name, _ in QUESTIONS}
    votes = sum(question.votes for question in questions.values())
    if not votes:
        raise InputError("votes: expected at least one answered question, got none")
    unanswered = len(study_key["pairs"]) * len(raters) * len(QUESTIONS) - votes
    return VoteResult(study_key["A"], study_key["B"], len(raters), questions, votes, unanswered)


def krippendorff_alpha(items: Sequence[Sequence[str]]) -> float | None:
    """Compute Krippendorff's alpha of nominal votes; None where no item has two votes or all votes agree."""
    items = [votes for votes in items if len(votes) > 1]
    total = Counter(v for votes in items for v in votes)
    n = sum(total.values())
    if not items or len(total) < 2:
        return None
    expected = (n * n - sum(c * c for c in total.values())) / (n - 1)
    observed = sum((len(v) ** 2 - sum(c * c for c in Counter(v).values())) / (len(v) - 1) for v in items)
    return 1 - observed / expected


def _score_question(question: str, pairs: dict, raters: dict[str, dict]) -> QuestionResult:
    by_item = []
    for name, pair in pairs.items():
        choices = [votes.get(name, {}).get(question) for votes in raters.values()]
        votes = [
            "tie" if answer == "tie" else pair[answer]
            for answer in choices
            if answer in ("left", "right", "tie")
        ]
        if votes:
            by_item.append(votes)
    shares = {choice: [votes.count(choice) / len(votes) for votes in by_item] for choice in CHOICES}
    return QuestionResult(
        votes=sum(map(len, by_item)),
        items=len(by_item),
        alpha=krippendorff_alpha(by_item),
        shares={choice: intervals.share(share) if share else None for choice, share in shares.items()},
    )


def _format_share(share: Interval | None) -> str:
    if share is None:
        return ""
    return f"{100 * share.mean:.0f} [{100 * share.low:.0f}, {100 * share.high:.0f}]"


def _read_side(name: str) -> _Side:
    """Read "FOLDER:method"."""
    folder, colon, method = name.rpartition(":")
    file = Path(folder) / "results.json"
    if not colon or not file.is_file():
        raise InputError(f'ab: expected SWEEP-FOLDER:"method" with a results.json in the folder, got {name}')
    document = _json(file, ("methods", "edits", "items"), "results of v2v eval")
    try:
        methods = [m["name"] for m in document["methods"]]
        if method not in methods:
            raise InputError(f"ab: {folder} has no method {method!r}; it has {', '.join(methods)}")
        outputs = {
            e["item"]: Path(e["path"]) for e in document["edits"] if e["method"] == method and e["path"]
        }
        items = {item["id"]: item for item in document["items"]}
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{file}: expected results of v2v eval, got another shape ({type(error).__name__}: {error}); run the sweep again"
        ) from None
    return _Side({item: path for item, path in outputs.items() if path.exists()}, items)


def _select_evenly(names: list[str], items: dict[str, dict], limit: int, rng: random.Random) -> list[str]:
    """Return `limit` names, of all kinds in turns, at random within a kind."""
    kinds: dict[str, list[str]] = {}
    for name in rng.sample(names, len(names)):
        kinds.setdefault(items[name]["kind"], []).append(name)
    selected_names: list[str] = []
    while len(selected_names) < limit:
        for group in kinds.values():
            if group and len(selected_names) < limit:
                selected_names.append(group.pop())
    return selected_names


def _maps_to_objects(value: Any) -> bool:
    """Return whether a JSON value is an object of objects."""
    return isinstance(value, dict) and all(isinstance(entry, dict) for entry in value.values())


def _json(path: Path, fields: Sequence[str], what: str) -> dict:
    text = text_files.read_text(path)
    try:
        document = text_files.parse_json(text)
    except ValueError as error:
        raise InputError(f"{path}: expected {what}, could not read it ({error})") from None
    if not isinstance(document, dict) or any(f not in document for f in fields):
        raise InputError(f"{path}: expected {what} with {', '.join(fields)}")
    return document
