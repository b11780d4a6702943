"""Blind pairwise comparison by people: the page, its key, and the evaluation of votes.

`page` writes one HTML file with source, left and right on one clock and the paper's three questions (EasyV2V, Fig. V): which edit follows the
instruction better, keeps the rest better, looks better. Order of items and sides are shuffled by a seed; which side is which method is only
in the key, a file beside the page that raters don't get.

`score` joins key and vote files. A vote counts for a method, or as a tie. Shares are over items: an item's share is the mean over its
raters, so that a popular item doesn't outweigh the others; intervals as of a rate (intervals.py), which is a little wide when
several raters agree. Agreement is Krippendorff's alpha for nominal data, 1 = all alike, 0 = as by chance:

    alpha = 1 - D_o / D_e,    D_o = sum over items of disagreeing ordered pairs / (raters of the item - 1),   both per vote,
    D_e = disagreeing ordered pairs among all votes / (number of votes - 1).
"""

from __future__ import annotations

import html
import json
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from string import Template

from v2v.errors import InputError
from v2v.evaluation import intervals
from v2v.evaluation.cache import SweepCache, digest, write_text_atomically
from v2v.evaluation.metrics.clips import Clip
from v2v.evaluation.sweep.report import PAGE_FOLDER, encode_preview, inline_json

QUESTIONS = (
    ("instruction", "Which edit does better what the sentence asks?"),
    ("preservation", "Which edit keeps better what should stay as it was?"),
    ("quality", "Which edit looks better?"),
)
PREVIEW_SIDE = 640


def write_study(
    a: str, b: str, out: Path, cache: SweepCache, *, seed: int = 0, limit: int | None = None
) -> dict:
    """Write the study page of two methods and its key.

    Args:
      a: first side, "SWEEP-FOLDER:method".
      b: second side, "SWEEP-FOLDER:method" of a finished sweep; both of one sweep or of two over the same items.
      cache: the sweep cache with the previews.
      seed: of the order of items and sides.
      out: the page; the key gets its name with .key.json.
      limit: how many items, evenly from all kinds.

    Returns:
      {"pairs": number, "key": path}

    Raises:
      InputError: no such sweep or method, the same side twice, or no item that both have.
    """
    sides = [_side(a), _side(b)]
    if a == b:
        raise InputError(f"ab: expected two different sides, got {a} twice")
    shared = [i for i in sides[0][0] if i in sides[1][0]]
    if not shared:
        raise InputError(
            f"ab: {a} and {b} have no item in common with an output each; compare sweeps of one benchmark"
        )
    items = {i: sides[0][1][i] for i in shared}
    rng = random.Random(seed)
    if limit is not None and limit < len(shared):
        shared = _spread(shared, items, limit, rng)
    rng.shuffle(shared)
    pairs, key, media = [], {}, {}
    for number, name in enumerate(shared):
        first = rng.randrange(2)
        source = Path(items[name]["source"])
        fps = min(60.0, max(1.0, Clip(source).fps))
        files = (source, sides[first][0][name], sides[1 - first][0][name])
        media_ids = []
        for path in files:
            clip, _ = encode_preview(path, fps, cache, PREVIEW_SIDE)
            ident = f"m{len(media)}"
            media[ident] = clip
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
    text = Template((PAGE_FOLDER / "study.html").read_text()).substitute(
        title=html.escape("Which edit is better?"),
        css=(PAGE_FOLDER / "report.css").read_text(),
        data=inline_json({"study": study, "questions": questions, "pairs": pairs}),
        media=inline_json(media),
        player=(PAGE_FOLDER / "player.js").read_text(),
        script=(PAGE_FOLDER / "study.js").read_text(),
    )
    out = Path(out)
    write_text_atomically(out, text)
    write_text_atomically(key_path(out), json.dumps({"study": study, "A": a, "B": b, "pairs": key}, indent=1))
    return {"pairs": len(pairs), "key": str(key_path(out))}


def key_path(out: Path) -> Path:
    """Return the path of the key of a study page."""
    return out.with_name(f"{out.stem}.key.json")


def score_votes(key: Path, files: Sequence[Path]) -> dict:
    """Combine a key and files of votes.

    Returns:
      A, B, raters, votes, unanswered, notes, questions: {question: {A: interval, tie: ..., B: ..., votes, items, alpha}}.

    Raises:
      InputError: a file that isn't a key or a vote, votes of another study, the same rater twice, no votes at all.
    """
    study_key = _json(key, ("study", "A", "B", "pairs"), "the key of a study")
    raters: dict[str, dict] = {}
    for path in files:
        votes = _json(path, ("study", "rater", "votes"), "votes saved by a study page")
        if votes["study"] != study_key["study"]:
            raise InputError(
                f"{path}: votes of study {votes['study']}, the key is of {study_key['study']}; leave the file out"
            )
        if votes["rater"] in raters:
            raise InputError(
                f"{path}: rater {votes['rater']!r} has voted in another file already; leave one out"
            )
        raters[votes["rater"]] = votes["votes"]
    result = {
        "A": study_key["A"], "B": study_key["B"], "raters": len(raters),
        "questions": {q: _question(q, study_key["pairs"], raters) for q, _ in QUESTIONS},
    }  # fmt: skip
    item_names = len(study_key["pairs"]) * len(raters) * len(QUESTIONS)
    result["votes"] = sum(q["votes"] for q in result["questions"].values())
    result["unanswered"] = item_names - result["votes"]
    if not result["votes"]:
        raise InputError("votes: expected at least one answered question, got none")
    return result


def format_votes(result: dict) -> str:
    """Format the result of `score_votes` as a table."""
    text = [f"A = {result['A']}", f"B = {result['B']}",
            f"{result['raters']} raters, {result['votes']} votes, {result['unanswered']} questions unanswered", "",
            f"{'question':<14}{'A wins':<18}{'tie':<18}{'B wins':<18}{'items':<7}agreement (alpha)"]  # fmt: skip
    for name, q in result["questions"].items():
        cells = [f"{100 * q[k]['mean']:.0f} [{100 * q[k]['low']:.0f}, {100 * q[k]['high']:.0f}]" if q["votes"] else "" for k in ("A", "tie", "B")]  # fmt: skip
        alpha = "one rater an item" if q["alpha"] is None else f"{q['alpha']:.2f}"
        text.append(f"{name:<14}{cells[0]:<18}{cells[1]:<18}{cells[2]:<18}{q['items']:<7}{alpha}")
    return "\n".join(text)


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


def _question(question: str, pairs: dict, raters: dict[str, dict]) -> dict:
    by_item = []
    for name, pair in pairs.items():
        replies = [votes.get(name, {}).get(question) for votes in raters.values()]
        votes = [
            pair[v] if v in ("left", "right") else "tie" for v in replies if v in ("left", "right", "tie")
        ]
        if votes:
            by_item.append(votes)
    summary: dict = {
        "votes": sum(map(len, by_item)),
        "items": len(by_item),
        "alpha": krippendorff_alpha(by_item),
    }
    for side in ("A", "tie", "B"):
        shares = [votes.count(side) / len(votes) for votes in by_item]
        summary[side] = intervals.rate(shares)._asdict() if shares else None
    return summary


def _side(name: str) -> tuple[dict[str, Path], dict[str, dict]]:
    """(outputs by item, items) of "FOLDER:method"."""
    folder, colon, method = name.rpartition(":")
    file = Path(folder) / "results.json"
    if not colon or not file.is_file():
        raise InputError(f'ab: expected SWEEP-FOLDER:"method" with a results.json in the folder, got {name}')
    document = json.loads(file.read_text())
    methods = [m["name"] for m in document["methods"]]
    if method not in methods:
        raise InputError(f"ab: {folder} has no method {method!r}; it has {', '.join(methods)}")
    outputs = {e["item"]: Path(e["path"]) for e in document["edits"] if e["method"] == method and e["path"]}
    return {k: p for k, p in outputs.items() if p.exists()}, {i["id"]: i for i in document["items"]}


def _spread(names: list[str], items: dict[str, dict], limit: int, rng: random.Random) -> list[str]:
    """`limit` names, kinds in turns, at random within a kind."""
    kinds: dict[str, list[str]] = {}
    for name in rng.sample(names, len(names)):
        kinds.setdefault(items[name]["kind"], []).append(name)
    selected_names: list[str] = []
    while len(selected_names) < limit:
        for group in kinds.values():
            if group and len(selected_names) < limit:
                selected_names.append(group.pop())
    return selected_names


def _json(path: Path, fields: Sequence[str], what: str) -> dict:
    try:
        document = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected {what}, could not read it ({error})") from None
    if not isinstance(document, dict) or any(f not in document for f in fields):
        raise InputError(f"{path}: expected {what} with {', '.join(fields)}")
    return document
