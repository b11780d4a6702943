"""Blind pairwise comparison by people: the study folder, and which pairs a rater sees in which order.

`write_study` writes a folder: study.json, and small copies of source and edits in clips/. `v2v eval vote STUDY --serve` lets people vote
(`v2v/app/vote_server.py`), with the paper's three questions (EasyV2V, Fig. V): which edit follows the instruction better, preserves the remainder
better, looks better. Votes lie in the folder too (vote_store.py); vote_results.py says what they tell.

`plan_trials` shuffles pairs and sides for each rater, always in the same way for the same study and name, and mixes in

- checks: one side is an edit, the other noise. Who doesn't see that isn't watching;
- repeats: a pair that comes again with its sides exchanged, by which a rater is compared with themselves.
"""

from __future__ import annotations

import base64
import json
import random
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from v2v.errors import InputError
from v2v.evaluation.cache import SweepCache, atomic_path, digest, write_text_atomically
from v2v.evaluation.metrics.clips import Clip
from v2v.evaluation.sweep.report import encode_preview
from v2v.runtime import text_files
from v2v.video import video as codec

QUESTIONS = (
    ("instruction", "Which edit does better what the sentence asks?"),
    ("preservation", "Which edit keeps better what should stay as it was?"),
    ("quality", "Which edit looks better?"),
)
STUDY_FILE, CLIP_FOLDER = "study.json", "clips"
# Longest side of the clips in pixels.
PREVIEW_SIDE = 640
# A check and a repeat for so many pairs; no repeats among fewer than the last.
PAIRS_PER_CHECK, PAIRS_PER_REPEAT, FEWEST_PAIRS_WITH_REPEATS = 8, 12, 6
# Side of a square of the noise in checks, in pixels.
NOISE_SQUARE = 16

Role = Literal["source", "left", "right"]
# What stands on a side: an edit by A or B, or the noise of a check.
Side = Literal["A", "B", "noise"]
TrialKind = Literal["pair", "check", "repeat"]


@dataclass(frozen=True)
class StudyClip:
    """A small copy of a clip.

    Attributes:
      file: its name in clips/.
      frames: number of frames.
      width: in pixels.
      height: in pixels.
    """

    file: str
    frames: int
    width: int
    height: int


@dataclass(frozen=True)
class StudyPair:
    """Two edits of one item.

    Attributes:
      id: its name in the study.
      item: id of the item.
      kind: the item's kind.
      instruction: what was asked.
      fps: frames a second of the clips.
      clips: by "source", "A" and "B", and of pairs that serve as checks "noise".
    """

    id: str
    item: str
    kind: str
    instruction: str
    fps: float
    clips: Mapping[str, StudyClip]


@dataclass(frozen=True)
class Study:
    """A study.

    Attributes:
      folder: where it lies.
      id: hash of what is compared.
      a: the side called A, "SWEEP-FOLDER:method".
      b: the side called B.
      seed: of the order of items.
      pairs: what is compared.
    """

    folder: Path
    id: str
    a: str
    b: str
    seed: int
    pairs: Sequence[StudyPair]

    def pair(self, id: str) -> StudyPair:
        """Return the pair of an id."""
        return next(pair for pair in self.pairs if pair.id == id)

    def clip_file(self, trial: Trial, role: Role) -> Path:
        """Return the file that a rater sees in a trial."""
        clip = self.pair(trial.pair).clips["source" if role == "source" else trial.side(role)]
        return self.folder / CLIP_FOLDER / clip.file

    @property
    def methods(self) -> tuple[str, str]:
        """Return the names of the methods; with their folders where both are called the same."""
        names = self.a.rpartition(":")[2], self.b.rpartition(":")[2]
        return names if names[0] != names[1] else (self.a, self.b)


@dataclass(frozen=True)
class Trial:
    """One screen of a rater.

    Attributes:
      pair: id of the pair.
      kind: why it is shown.
      left: what stands on the left.
      right: what stands on the right.
    """

    pair: str
    kind: TrialKind
    left: Side
    right: Side

    def side(self, role: Role) -> Side:
        """Return what stands on a side."""
        return self.left if role == "left" else self.right


@dataclass(frozen=True)
class _Side:
    """One method of a finished sweep: its existing outputs by item, and the items of results.json by id."""

    outputs: dict[str, Path]
    items: dict[str, dict]


def write_study(
    a: str, b: str, out: Path, cache: SweepCache, *, seed: int = 0, limit: int | None = None
) -> Study:
    """Write a study of two methods.

    Args:
      a: first side, "SWEEP-FOLDER:method" of a finished sweep.
      b: second side; of the same sweep or of another one over the same items.
      out: its folder.
      cache: the sweep cache with the previews.
      seed: of the order of items.
      limit: number of items, evenly from all kinds; None for all.

    Raises:
      InputError: no such sweep or method, the same side twice, no item that both have, or a folder with another study, whose votes would be lost.
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
    out = Path(out)
    pairs = []
    for number, name in enumerate(shared):
        source = Path(items[name]["source"])
        fps = min(60.0, max(1.0, Clip(source).fps))
        files = {"source": source, "A": sides[0].outputs[name], "B": sides[1].outputs[name]}
        clips = {role: _write_clip(path, fps, cache, out / CLIP_FOLDER) for role, path in files.items()}
        if number < _check_count(len(shared)):
            clips["noise"] = _write_noise(clips["A"], fps, cache, out / CLIP_FOLDER)
        pairs.append(
            StudyPair(f"p{number}", name, items[name]["kind"], items[name]["instruction"], fps, clips)
        )
    study = Study(out, digest([a, b, seed, [asdict(pair) for pair in pairs]])[:12], a, b, seed, pairs)
    if (out / STUDY_FILE).exists() and read_study(out).id != study.id:
        raise InputError(
            f"--out {out}: there is another study, whose votes belong to it; name another folder"
        )
    document = {
        "study": study.id,
        "A": a,
        "B": b,
        "seed": seed,
        "questions": dict(QUESTIONS),
        "pairs": [asdict(pair) for pair in pairs],
    }
    write_text_atomically(out / STUDY_FILE, json.dumps(document, indent=1))
    return study


def read_study(folder: Path) -> Study:
    """Read a study.

    Raises:
      InputError: the folder has none, or one that is damaged.
    """
    folder, file = Path(folder), Path(folder) / STUDY_FILE
    if not file.is_file():
        raise InputError(
            f"{folder}: expected the folder of a study with {STUDY_FILE}; make one with v2v eval ab A B --out {folder}"
        )
    document = _json(file, ("study", "A", "B", "seed", "pairs"), "a study of v2v eval ab")
    try:
        pairs = []
        for row in document["pairs"]:
            clips = {role: StudyClip(**clip) for role, clip in row["clips"].items()}
            for clip in clips.values():
                if Path(clip.file).name != clip.file or not (folder / CLIP_FOLDER / clip.file).is_file():
                    raise InputError(f"{file}: {CLIP_FOLDER}/{clip.file} is missing; make the study again")
            pairs.append(StudyPair(**{**row, "clips": clips}))
        id, a, b = (str(document[name]) for name in ("study", "A", "B"))
        return Study(folder, id, a, b, int(document["seed"]), pairs)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(
            f"{file}: expected a study of v2v eval ab, got another shape ({type(error).__name__}: {error})"
        ) from None


def plan_trials(study: Study, rater: str) -> list[Trial]:
    """Return what a rater sees, in order: all pairs, sides at random, with checks and repeats among them.

    Args:
      study: the study.
      rater: their name; the same name gives the same trials.
    """
    rng = random.Random(f"{study.id} {rater}")

    def trial(pair: str, kind: TrialKind, first: Side, second: Side) -> Trial:
        return Trial(pair, kind, *((first, second) if rng.random() < 0.5 else (second, first)))

    names = [pair.id for pair in study.pairs]
    rng.shuffle(names)
    trials = [trial(name, "pair", "A", "B") for name in names]
    count = len(names) // PAIRS_PER_REPEAT or int(len(names) >= FEWEST_PAIRS_WITH_REPEATS)
    for early in rng.sample(trials[: len(trials) // 2], count):
        # Far enough from its first showing that sides aren't remembered.
        place = rng.randrange(2 * len(names) // 3 + 1, len(trials) + 1)
        trials.insert(place, Trial(early.pair, "repeat", early.right, early.left))
    checks = [pair.id for pair in study.pairs if "noise" in pair.clips]
    for k, name in enumerate(rng.sample(checks, len(checks))):
        # One in each of as many parts of the study.
        start, end = (len(trials) * n // len(checks) for n in (k, k + 1))
        place = rng.randrange(start, end) + 1
        trials.insert(place, trial(name, "check", "A" if rng.random() < 0.5 else "B", "noise"))
    return trials


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


def _check_count(pairs: int) -> int:
    return max(1, pairs // PAIRS_PER_CHECK)


def _write_clip(path: Path, fps: float, cache: SweepCache, folder: Path) -> StudyClip:
    """Write a small copy of a clip under its hash."""
    preview = encode_preview(path, fps, cache, PREVIEW_SIDE)
    # Names tell a rater nothing: the server doesn't show them.
    file = f"{preview.source_hash[:24]}.mp4"
    with atomic_path(folder / file) as partial:
        partial.write_bytes(base64.b64decode(preview.data))
    return StudyClip(file, preview.frames, preview.width, preview.height)


def _write_noise(like: StudyClip, fps: float, cache: SweepCache, folder: Path) -> StudyClip:
    """Write a clip of moving gray squares of another clip's length and size."""
    rng, size = np.random.default_rng(0), NOISE_SQUARE
    rows, columns = -(-like.height // size), -(-like.width // size)
    squares = rng.integers(0, 256, (like.frames, rows, columns, 1), np.uint8).repeat(size, 1).repeat(size, 2)
    frames = squares[:, : like.height, : like.width].repeat(3, 3)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "noise.mp4"
        codec.Video.from_array(frames, fps).save(path)
        return _write_clip(path, fps, cache, folder)


def _json(path: Path, fields: Sequence[str], what: str) -> dict:
    text = text_files.read_text(path)
    try:
        document = text_files.parse_json(text)
    except ValueError as error:
        raise InputError(f"{path}: expected {what}, could not read it ({error})") from None
    if not isinstance(document, dict) or any(f not in document for f in fields):
        raise InputError(f"{path}: expected {what} with {', '.join(fields)}")
    return document
